"""Write overviews of a map by majority, each half the size of the one before, reading windows on several threads.

GDAL reads `map.tif.ovr` as the first overview of `map.tif`, `map.tif.ovr.ovr` as the second, and so on. They are
separate files because rasterio can't write into the overviews of a file.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine

from pipeline.core.grid import Block, split_into_blocks
from pipeline.engine.executor import ThreadExecutor
from pipeline.geo.gdal import gdal_options
from pipeline.kernels.checksum import add_checksums, checksum
from pipeline.kernels.majority import halve

WINDOW_SHAPE: Final = (2048, 2048)
"""Shape of a window read at once, (rows, columns): whole tiles, and even numbers."""

_LARGEST_LAST: Final = 512
"""Longest side of the last overview in pixels: labels are halved until they fit."""

_MOST_FILES: Final = 16
"""Largest number of open file handles: far below the limits of operating systems."""


def level_shapes(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Return the shapes (rows, columns) of a map and of each of its overviews."""
    levels = [shape]
    while max(levels[-1]) > _LARGEST_LAST:
        rows, columns = levels[-1]
        levels.append((-(-rows // 2), -(-columns // 2)))
    return levels


def overview_paths(path: Path, shape: tuple[int, int]) -> list[Path]:
    """Return the paths where GDAL looks for the overviews of a map of a shape (rows, columns), the largest first."""
    return [path.with_name(path.name + n * ".ovr") for n in range(1, len(level_shapes(shape)))]


def write_overviews(path: Path, profile: dict[str, Any], workers: int) -> list[int]:
    """Write the overviews of a finished GeoTIFF of labels next to it; return their checksums, the largest first.

    `profile` are the options that rasterio created it with; `workers` windows are processed at the same time.
    """
    sums: list[int] = []
    for coarser in overview_paths(path, (profile["height"], profile["width"])):
        rows, columns = profile["height"], profile["width"]
        profile = profile | {
            "height": -(-rows // 2),
            "width": -(-columns // 2),
            "transform": profile["transform"] @ Affine.scale(2),
            "crs": None,  # that of the map; stating it would cost a lookup in PROJ's database
        }
        with rasterio.open(coarser, "w", **profile) as file:
            sums.append(_halve_into(file, path, (rows, columns), workers))
        path = coarser
    return sums


def _halve_into(file: rasterio.io.DatasetWriter, path: Path, shape: tuple[int, int], workers: int) -> int:
    """Write the majorities of 2 x 2 labels of a file into another one, and return its checksum."""
    total, pieces = 0, split_into_blocks(shape, WINDOW_SHAPE)
    with window_reader(path, min(workers, len(pieces))) as read:
        for piece, labels in ThreadExecutor(workers).map(lambda piece: halve(read(piece)), pieces):
            top, left = piece.top // 2, piece.left // 2
            file.write(labels, 1, window=((top, top + labels.shape[0]), (left, left + labels.shape[1])))
            total = add_checksums(total, checksum(labels, (top, left)))
    return total


@contextmanager
def window_reader(path: Path, workers: int, **options: Any) -> Iterator[Callable[[Block], npt.NDArray[np.uint8]]]:
    """Open a GeoTIFF of one band once per worker, up to 16 times, and return what reads a window; more calls wait.

    One thread opens all handles: PROJ looks the coordinate system up in its database once per thread, which takes as
    long as making a small overview. `options` are for GDAL to open the file with.
    """
    with ExitStack() as context:
        idle: SimpleQueue[rasterio.DatasetReader] = SimpleQueue()
        with rasterio.Env(**gdal_options()):
            for _ in range(min(workers, _MOST_FILES)):
                idle.put(context.enter_context(rasterio.open(path, sharing=False, **options)))

        def read(window: Block) -> npt.NDArray[np.uint8]:
            file = idle.get()
            try:
                with rasterio.Env(**gdal_options()):
                    labels: npt.NDArray[np.uint8] = file.read(1, window=window.window)
                    return labels
            finally:
                idle.put(file)

        yield read
