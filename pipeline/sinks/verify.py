"""Verify a finished map: read it back and compare checksums, before it gets its final name.

GDAL writes some tiles only when it closes the file, and does not always report errors then: a full disk can leave a
map with missing tiles and no error.
"""

from collections.abc import Sequence
from pathlib import Path

import rasterio

from pipeline.core.errors import OutputError
from pipeline.core.grid import Block, split_into_blocks
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.work_folder import folder_of
from pipeline.geo.gdal import GDAL_ERRORS, gdal_options
from pipeline.kernels.checksum import add_checksums, checksum
from pipeline.sinks.overviews import WINDOW_SHAPE, level_shapes, window_reader


def verify_map(path: Path, expected: Sequence[int], workers: int = 1) -> None:
    """Raise OutputError unless a map and its overviews contain the labels that were written to them.

    `expected` are the checksums of the labels at full resolution and of each overview, the largest first.
    """
    try:
        with rasterio.Env(**gdal_options()), rasterio.open(path) as file:
            shapes = level_shapes(file.shape)
        found = [_checksum_of(path, level, shapes[level], workers) for level in range(len(expected))]
    except GDAL_ERRORS as error:
        msg = (
            f"{folder_of(path)}: the map can't be read back ({error.__cause__ or error}); is the disk full or failing?"
        )
        raise OutputError(msg) from error
    for level, total in enumerate(expected):
        if found[level] != total:
            what = f"overview {level}" if level else "the map"
            msg = f"{folder_of(path)}: {what} read back differs from what was written; is the disk full or failing?"
            raise OutputError(msg)


def _checksum_of(path: Path, level: int, shape: tuple[int, int], workers: int) -> int:
    """Return the checksum of the labels of a map (level 0) or of one of its overviews."""
    total, pieces = 0, split_into_blocks(shape, WINDOW_SHAPE)
    options = {"overview_level": level - 1} if level else {}
    with window_reader(path, min(workers, len(pieces)), **options) as read:

        def checksum_of(piece: Block) -> int:
            return checksum(read(piece), (piece.top, piece.left))

        for _, part in ThreadExecutor(workers).map(checksum_of, pieces):
            total = add_checksums(total, part)
    return total
