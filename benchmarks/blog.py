"""The blog posts' way: a whole scene in one array, k-means on every pixel.

Run as a fresh process.  Measures what the many tutorials on unsupervised
land-cover mapping cost on a whole tile: all bands in memory, a pixel table
made by ``reshape``, scikit-learn's ``KMeans`` with its defaults fitted on all
pixels, one plain write.  Prints one JSON line with the seconds of each stage.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from benchmarks.settings import CLUSTERS


def read_cube(path: Path) -> tuple[NDArray[Any], Any, Any]:
    """Read all bands of a file into one array of rows, columns and bands.

    Parameters
    ----------
    path : Path
        A raster file whose bands share one type.

    Returns
    -------
    cube : ndarray
        Shape (rows, cols, bands), in the file's own type.
    crs, transform
        The file's coordinate system and transform.

    """
    with rasterio.open(path) as source:
        shape = (source.height, source.width, source.count)
        cube = np.zeros(shape, dtype=source.dtypes[0])
        for band in range(source.count):
            cube[:, :, band] = source.read(band + 1)
        return cube, source.crs, source.transform


def cluster(cube: NDArray[Any]) -> NDArray[np.uint8]:
    """Fit k-means on all pixels at once and give their classes.

    Parameters
    ----------
    cube : ndarray
        Shape (rows, cols, bands).

    Returns
    -------
    ndarray of uint8
        Shape (rows, cols), classes from 0.

    """
    table = cube.reshape(-1, cube.shape[2])
    # The posts leave the seed out; it is set only so that two runs iterate
    # equally often.
    model = KMeans(n_clusters=CLUSTERS, random_state=0).fit(table)
    labels: NDArray[np.uint8] = model.labels_.astype(np.uint8)
    return labels.reshape(cube.shape[:2])


def write_labels(path: Path, labels: NDArray[np.uint8], crs: Any, transform: Any) -> None:
    """Write the classes with one call, as a GeoTIFF with default options."""
    rows, cols = labels.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=cols,
        height=rows,
        count=1,
        dtype="uint8",
        crs=crs,
        transform=transform,
    ) as sink:
        sink.write(labels, 1)


def main(argv: list[str] | None = None) -> None:
    """Read, cluster, write, and print the seconds of each stage."""
    parser = argparse.ArgumentParser(prog="benchmarks.blog")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("file", type=Path)
    args = parser.parse_args(argv)
    marks = [time.perf_counter()]
    cube, crs, transform = read_cube(args.file)
    marks.append(time.perf_counter())
    labels = cluster(cube)
    marks.append(time.perf_counter())
    write_labels(args.out, labels, crs, transform)
    marks.append(time.perf_counter())
    stages = np.diff(marks).tolist()
    seconds = dict(zip(("read", "cluster", "write"), stages, strict=True))
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
