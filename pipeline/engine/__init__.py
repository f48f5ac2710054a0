"""Execution of a run: threads, cache, progress, signals, time limits, memory, temporary folders."""
