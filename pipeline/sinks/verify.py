"""Read a finished map back, before it gets its name.

GDAL writes tiles when it sees fit, some while it closes the file, and what goes wrong then is not always
reported: a full disk can leave a map with holes and no error.
"""

from collections.abc import Sequence
from pathlib import Path

import rasterio

from pipeline.errors import OutputError
from pipeline.grid import Block, cut
from pipeline.kernels.checks import add_checksums, checksum
from pipeline.runtime.schedule import stream
from pipeline.runtime.workfolder import folder_of
from pipeline.scenes.gdal import GDAL_ERRORS, gdal_options
from pipeline.sinks.pyramid import PIECE


def verify_map(path: Path, expected: Sequence[int], workers: int = 1) -> None:
    """Check that a map and its overviews hold the labels that were written to them.

    Parameters
    ----------
    path : Path
        The map.
    expected : sequence of int
        Checksums of the labels at full resolution and of each overview, the largest first.
    workers : int
        Pieces worked on at once.

    Raises
    ------
    OutputError
        When a tile is missing or differs.
    """
    try:
        for level, total in enumerate(expected):
            if _checksum_of(path, level, workers) != total:
                what = f"overview {level}" if level else "the map"
                msg = (
                    f"{folder_of(path)}: {what}, read back, differs from what was written; is the disk full or failing?"
                )
                raise OutputError(msg)
    except GDAL_ERRORS as error:
        msg = (
            f"{folder_of(path)}: the map can't be read back ({error.__cause__ or error}); is the disk full or failing?"
        )
        raise OutputError(msg) from error


def _checksum_of(path: Path, level: int, workers: int) -> int:
    """Read the map at full resolution (level 0) or one of its overviews."""
    options = {"sharing": False, **({"overview_level": level - 1} if level else {})}

    def piece_checksum(piece: Block) -> int:
        with rasterio.Env(**gdal_options()), rasterio.open(path, **options) as file:
            return checksum(file.read(1, window=piece.window), (piece.top, piece.left))

    with rasterio.Env(**gdal_options()), rasterio.open(path, **options) as file:
        shape = file.shape
    total = 0
    for _, found in stream(piece_checksum, cut(shape, PIECE), workers):
        total = add_checksums(total, found)
    return total
