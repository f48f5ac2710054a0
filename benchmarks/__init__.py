"""Whole-tile benchmarks of ``terrazzo run``; see ``benchmarks/README.md``."""
