"""Read a finished map back, before it gets its name.

GDAL writes tiles when it sees fit, some while it closes the file, and what goes wrong then is not always
reported: a full disk can leave a map with holes and no error.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import rasterio

from pipeline.errors import OutputError
from pipeline.grid import Block, cut
from pipeline.kernels.checks import add_checksums, checksum
from pipeline.runtime.schedule import stream
from pipeline.runtime.workfolder import folder_of
from pipeline.scenes.gdal import GDAL_ERRORS, gdal_options
from pipeline.sinks.pyramid import PIECE, level_shapes


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
    found = [0] * len(expected)
    try:
        for (level, _), part in stream(partial(_checksum_of, path), _pieces(path, len(expected)), workers):
            found[level] = add_checksums(found[level], part)
    except GDAL_ERRORS as error:
        msg = (
            f"{folder_of(path)}: the map can't be read back ({error.__cause__ or error}); is the disk full or failing?"
        )
        raise OutputError(msg) from error
    for level, total in enumerate(expected):
        if found[level] != total:
            what = f"overview {level}" if level else "the map"
            msg = f"{folder_of(path)}: {what}, read back, differs from what was written; is the disk full or failing?"
            raise OutputError(msg)


def _open(path: Path, level: int) -> rasterio.DatasetReader:
    """Open the map at full resolution (level 0) or one of its overviews."""
    return rasterio.open(path, sharing=False, **({"overview_level": level - 1} if level else {}))


def _pieces(path: Path, levels: int) -> Iterator[tuple[int, Block]]:
    """Cut each level of a map."""
    with rasterio.Env(**gdal_options()), _open(path, 0) as file:
        shapes = level_shapes(file.shape)
    for level, shape in enumerate(shapes[:levels]):
        yield from ((level, piece) for piece in cut(shape, PIECE))


def _checksum_of(path: Path, part: tuple[int, Block]) -> int:
    """Read a piece of a level of a map."""
    level, piece = part
    with rasterio.Env(**gdal_options()), _open(path, level) as file:
        return checksum(file.read(1, window=piece.window), (piece.top, piece.left))
