"""dask-ml's KMeans on the same chunks, as its documentation shows it.

Run as a fresh process: a lazy array of the scene in chunks of whole tiles, pixels in rows, float32, dask-ml's own
start (k-means||), labels computed and written in one go.  Prints one JSON line with the seconds of each stage.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import dask.array as da
import numpy as np
import rioxarray
from dask_ml.cluster import KMeans

from benchmarks.blog import write_labels
from benchmarks.settings import CLUSTERS

CHUNK = 2048


def main(argv: list[str] | None = None) -> None:
    """Open lazily, cluster, write, and print the seconds of each stage."""
    parser = argparse.ArgumentParser(prog="benchmarks.dask_kmeans")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("file", type=Path)
    args = parser.parse_args(argv)
    marks = [time.perf_counter()]
    scene = rioxarray.open_rasterio(args.file, chunks={"band": -1, "y": CHUNK, "x": CHUNK}, lock=False)
    # rows of pixels chunk by chunk: the order in which they come does not matter to k-means
    blocks = scene.data.blocks
    parts = [blocks[0, i, j] for i in range(blocks.shape[1]) for j in range(blocks.shape[2])]
    table = da.concatenate([part.reshape(part.shape[0], -1).T for part in parts]).astype("float32")
    model = KMeans(CLUSTERS, random_state=0).fit(table)
    marks.append(time.perf_counter())
    labels = np.empty(scene.shape[1:], np.uint8)
    found = model.labels_.compute().astype(np.uint8)
    starts = np.cumsum([0, *(part.shape[1] * part.shape[2] for part in parts)])
    for number, part in enumerate(parts):
        i, j = divmod(number, blocks.shape[2])
        window = np.s_[i * CHUNK : i * CHUNK + part.shape[1], j * CHUNK : j * CHUNK + part.shape[2]]
        labels[window] = found[starts[number] : starts[number + 1]].reshape(part.shape[1:])
    write_labels(args.out, labels, scene.rio.crs, scene.rio.transform())
    marks.append(time.perf_counter())
    print(json.dumps({"seconds": dict(zip(("cluster", "write"), np.diff(marks).tolist(), strict=True))}))


if __name__ == "__main__":
    main()
