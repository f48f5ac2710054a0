"""Memory that GDAL holds during a run: its cache of decoded blocks, and files behind virtual ones."""

from typing import Final

from pipeline.core.scene_info import SceneInfo

_SMALLEST_CACHE: Final = 12 * 2**20
"""Bytes; with 32 MB large scenes, which fill it at any time, took more memory than small ones, and were no faster."""


_OPEN_FILES: Final = 8
"""For each worker: as many virtual files as may lie within each other, and more than meet in most blocks."""


def gdal_cache_bytes(info: SceneInfo, workers: int) -> int:
    """Size of GDAL's cache of decoded file blocks for a run.

    Our blocks are whole multiples of the file's, so little is worth keeping: what each worker is decoding.
    GDAL's own default, 5 % of the machine's memory, is outside any plan.
    """
    return max(_SMALLEST_CACHE, info.blocks_at_once * workers * info.file_block_bytes)


def open_files_bytes(info: SceneInfo, workers: int) -> int:
    """What files behind virtual ones take while GDAL keeps them open, beside that which each worker is decoding."""
    files = info.open_files
    return max(0, min(most_open_files(workers), workers * files.count) - workers) * files.held_bytes


def most_open_files(workers: int) -> int:
    """Files behind virtual ones that GDAL may keep open; by its own default 100. Each holds the block read last."""
    return _OPEN_FILES * workers
