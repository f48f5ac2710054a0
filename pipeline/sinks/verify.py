"""Read a finished map back, before it gets its name.

GDAL writes tiles when it sees fit, some while it closes the file, and what goes wrong then is not always
reported: a full disk can leave a map with holes and no error.
"""

from functools import partial
from pathlib import Path
from typing import Final

import rasterio

from pipeline.errors import OutputError
from pipeline.grid import Block, Grid
from pipeline.kernels.checks import add_checksums, checksum, count_holes
from pipeline.runtime.schedule import stream
from pipeline.scenes.gdal import GDAL_ERRORS, gdal_options

_PIECE: Final = 2048
"""Side of the pieces read at once: whole tiles of the map, at every level."""


def verify_map(path: Path, grid: Grid, expected: int, workers: int = 1) -> None:
    """Check that a map holds the labels that were written to it, and overviews without holes.

    Parameters
    ----------
    path : Path
        The map.
    grid : Grid
        Its grid.
    expected : int
        Checksum of the labels that were computed.
    workers : int
        Pieces worked on at once.

    Raises
    ------
    OutputError
        When a tile is missing or differs.
    """
    try:
        with rasterio.Env(**gdal_options()), rasterio.open(path) as file:
            overviews = len(file.overviews(1))
        found = 0
        for level in range(max(1, overviews)):
            pieces = Grid(shape=_shape_of(path, level), transform=grid.transform, crs=None).blocks((_PIECE, _PIECE))
            check = partial(_check_piece, path, level, has_next=level < overviews)
            for _, (total, holes) in stream(check, pieces, workers):
                if holes:
                    msg = f"{path.parent}: the map's overviews have {holes} holes; is the disk full or failing?"
                    raise OutputError(msg)
                found = add_checksums(found, total) if level == 0 else found
    except GDAL_ERRORS as error:
        msg = f"{path.parent}: the map can't be read back ({error.__cause__ or error}); is the disk full or failing?"
        raise OutputError(msg) from error
    if found != expected:
        msg = f"{path.parent}: the map, read back, differs from what was written; is the disk full or failing?"
        raise OutputError(msg)


def _open_level(path: Path, level: int) -> rasterio.DatasetReader:
    """Open the map at full resolution (level 0) or one of its overviews."""
    return rasterio.open(path, sharing=False, **({"overview_level": level - 1} if level else {}))


def _shape_of(path: Path, level: int) -> tuple[int, int]:
    with rasterio.Env(**gdal_options()), _open_level(path, level) as file:
        rows, columns = file.shape
        return rows, columns


def _check_piece(path: Path, level: int, piece: Block, *, has_next: bool) -> tuple[int, int]:
    """Checksum of a piece of one level, and the holes of the overview below it."""
    with rasterio.Env(**gdal_options()):
        with _open_level(path, level) as file:
            labels = file.read(1, window=piece.window)
        if not has_next:
            return checksum(labels, (piece.top, piece.left)), 0
        with _open_level(path, level + 1) as file:
            rows, columns = file.shape
            bottom, right = piece.top + piece.height, piece.left + piece.width
            half = (piece.top // 2, min(rows, -(-bottom // 2))), (piece.left // 2, min(columns, -(-right // 2)))
            coarse = file.read(1, window=half)
    return checksum(labels, (piece.top, piece.left)) if level == 0 else 0, count_holes(labels, coarse)
