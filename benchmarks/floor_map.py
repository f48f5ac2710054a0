"""Write a given label array as the kind of map that ``terrazzo run`` writes.

The second half of the floor: a Cloud-Optimized GeoTIFF with a palette and mode
overviews, by the quickest of the ways tried with bare rasterio.  Measures the
seconds of its three stages: the pixels, the overviews, and the final copy.
"""

from __future__ import annotations

import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.windows import Window

TILE = 512
ZLEVEL = 1
PALETTE = {value: (28 * value, 255 - 28 * value, 128, 255) for value in range(9)}
# One row of tiles, four tiles at a time: larger pieces were slower to write.
PIECE = (TILE, 4 * TILE)
# A small block cache is the quicker one: no block is wanted twice, so a large
# one only touches more fresh memory.
CACHE_BYTES = 32 * 2**20
WRITE_OPTIONS = {
    "GDAL_NUM_THREADS": "ALL_CPUS",
    "GDAL_CACHEMAX": CACHE_BYTES,
    "GDAL_TIFF_OVR_BLOCKSIZE": str(TILE),
}


def write_map(labels: NDArray[np.uint8], like: Path, path: Path) -> dict[str, float]:
    """Write labels as a Cloud-Optimized GeoTIFF with mode overviews.

    Parameters
    ----------
    labels : ndarray of uint8
        The classes, 0 where there is none.
    like : Path
        A file whose coordinate system and transform the map takes.
    path : Path
        The map; it appears under this name only when it is whole.

    Returns
    -------
    dict
        Seconds of each stage.

    """
    marks = [time.perf_counter()]
    with (
        tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as temp,
        rasterio.Env(**WRITE_OPTIONS),
    ):
        # Uncompressed, as it is read back at once: compressing it costs more
        # than the bytes that it saves.
        plain, part = Path(temp) / "plain.tif", Path(temp) / path.name
        _write_plain(labels, like, plain)
        marks.append(time.perf_counter())
        with rasterio.open(plain, "r+") as sink:
            sink.build_overviews(_overview_factors(labels.shape), Resampling.mode)
        marks.append(time.perf_counter())
        rasterio.shutil.copy(
            plain,
            part,
            driver="COG",
            compress="DEFLATE",
            level=str(ZLEVEL),
            blocksize=str(TILE),
            overviews="FORCE_USE_EXISTING",
            num_threads="ALL_CPUS",
            bigtiff="IF_SAFER",
        )
        part.replace(path)
        marks.append(time.perf_counter())
    names = ("write", "overviews", "cog")
    return dict(zip(names, np.diff(marks).tolist(), strict=True))


def _write_plain(labels: NDArray[np.uint8], like: Path, path: Path) -> None:
    """Write labels as a tiled, uncompressed GeoTIFF."""
    rows, cols = labels.shape
    with rasterio.open(like) as source:
        crs, transform = source.crs, source.transform
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=cols,
        height=rows,
        count=1,
        dtype="uint8",
        nodata=0,
        crs=crs,
        transform=transform,
        tiled=True,
        blockxsize=TILE,
        blockysize=TILE,
        bigtiff="IF_SAFER",
    ) as sink:
        sink.write_colormap(1, PALETTE)
        step_rows, step_cols = PIECE
        for top, left in product(range(0, rows, step_rows), range(0, cols, step_cols)):
            piece = labels[top : top + step_rows, left : left + step_cols]
            height, width = piece.shape
            sink.write(piece, 1, window=Window(left, top, width, height))


def _overview_factors(shape: tuple[int, ...]) -> list[int]:
    """Halve until the longer side fits in one tile."""
    factors: list[int] = []
    side = max(shape)
    while side > TILE:
        side = (side + 1) // 2
        factors.append(2 ** (len(factors) + 1))
    return factors
