"""Memory that GDAL uses during a run: its cache of decoded blocks, and the open source files of virtual ones."""

from typing import Any, Final

from pipeline.geo.gdal import gdal_options
from pipeline.scenes.reading import Reading

_SMALLEST_CACHE: Final = 12 * 2**20
"""Least size in bytes. Large scenes fill any cache: with 32 MB they took more memory and were no faster."""

_OPEN_FILES: Final = 8
"""Open source files per worker: the deepest nesting of virtual files, and more than most blocks overlap."""


def gdal_cache_bytes(reading: Reading, workers: int) -> int:
    """Return the size in bytes of GDAL's cache of decoded file blocks for a run.

    Our blocks are whole multiples of the file's, so only those that the workers are decoding are worth caching.
    GDAL's own default, 5 % of the machine's memory, would exceed the planned memory.
    """
    return max(_SMALLEST_CACHE, reading.blocks_at_once * workers * reading.file_block_bytes)


def open_files_bytes(reading: Reading, workers: int) -> int:
    """Return the bytes held by open source files of virtual ones, without those that workers are decoding."""
    files = reading.open_files
    return max(0, min(most_open_files(workers), workers * files.count) - workers) * files.held_bytes


def most_open_files(workers: int) -> int:
    """Return how many source files of virtual ones GDAL may keep open; each holds the block read last."""
    return _OPEN_FILES * workers


def gdal_limits(reading: Reading, workers: int) -> dict[str, Any]:
    """Return the GDAL settings that keep its memory within what is planned."""
    return gdal_options(
        GDAL_CACHEMAX=gdal_cache_bytes(reading, workers), GDAL_MAX_DATASET_POOL_SIZE=most_open_files(workers)
    )
