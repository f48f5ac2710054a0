"""How blocks are worked on: threads, cache, progress, signals, memory, temporary folders."""
