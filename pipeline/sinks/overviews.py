"""Overviews of a map by majority, each half the size of the one before.

GDAL takes `map.tif.ovr` for the first overview of `map.tif`, `map.tif.ovr.ovr` for the second, and so on. They are
files of their own because rasterio can't write into a file's overviews.
"""

from pathlib import Path
from typing import Any, Final

import rasterio
from affine import Affine

from pipeline.core.grid import split_into_blocks
from pipeline.engine.threads import stream
from pipeline.kernels.checksum import add_checksums, checksum
from pipeline.kernels.majority import halve
from pipeline.sinks.windows import window_reader

WINDOW_SHAPE: Final = (2048, 2048)
"""(rows, columns) read at once: whole tiles, and even numbers."""

_LARGEST_LAST: Final = 512
"""Labels are halved until the longer side is no more than this."""


def level_shapes(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """(rows, columns) of a map and of each of its overviews."""
    levels = [shape]
    while max(levels[-1]) > _LARGEST_LAST:
        rows, columns = levels[-1]
        levels.append((-(-rows // 2), -(-columns // 2)))
    return levels


def overview_paths(path: Path, shape: tuple[int, int]) -> list[Path]:
    """Where GDAL looks for the overviews of a file of (rows, columns) labels, the largest first."""
    return [path.with_name(path.name + n * ".ovr") for n in range(1, len(level_shapes(shape)))]


def write_overviews(path: Path, profile: dict[str, Any], workers: int) -> list[int]:
    """Write the overviews of a finished file of labels beside it.

    Parameters
    ----------
    path : Path
        A GeoTIFF.
    profile : dict
        How rasterio created it.
    workers : int
        Pieces worked on at once.

    Returns
    -------
    list of int
        The overviews' checksums, the largest overview first.
    """
    sums: list[int] = []
    for coarser in overview_paths(path, (profile["height"], profile["width"])):
        rows, columns = profile["height"], profile["width"]
        profile = profile | {
            "height": -(-rows // 2),
            "width": -(-columns // 2),
            "transform": profile["transform"] @ Affine.scale(2),
            "crs": None,  # the map's; GDAL would ask its database for it
        }
        with rasterio.open(coarser, "w", **profile) as file:
            sums.append(_halve_into(file, path, (rows, columns), workers))
        path = coarser
    return sums


def _halve_into(file: rasterio.io.DatasetWriter, path: Path, shape: tuple[int, int], workers: int) -> int:
    """Fill a file with the majorities of another one's labels; give its checksum."""
    total, pieces = 0, list(split_into_blocks(shape, WINDOW_SHAPE))
    with window_reader(path, min(workers, len(pieces))) as read:
        for piece, labels in stream(lambda piece: halve(read(piece)), pieces, workers):
            top, left = piece.top // 2, piece.left // 2
            file.write(labels, 1, window=((top, top + labels.shape[0]), (left, left + labels.shape[1])))
            total = add_checksums(total, checksum(labels, (top, left)))
    return total
