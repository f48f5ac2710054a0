"""The floor: what reading a scene once and writing its map cost at the least.

Run as a fresh process.  Bare rasterio decodes every block of the scene exactly
once on all cores and throws the pixels away, then writes a given label array
as the kind of map that ``terrazzo run`` writes: a Cloud-Optimized GeoTIFF with
a palette and mode overviews.  Nothing is computed in between, so the ratio to
it is what a map of every pixel costs beyond its input and output.  Prints one
JSON line with the seconds of each stage.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

from benchmarks.floor_map import CACHE_BYTES, write_map

os.environ.setdefault("OPJ_NUM_THREADS", "0")  # no pool of one thread for each JPEG 2000 tile

READ_SIZE = 1024
DECODE_OPTIONS = {"GDAL_NUM_THREADS": "1", "GDAL_CACHEMAX": CACHE_BYTES}


def decode_all(paths: Sequence[Path], threads: int) -> int:
    """Decode every block of the files once and drop the pixels.

    Parameters
    ----------
    paths : sequence of Path
        The files of one scene, all on the same grid.
    threads : int
        How many threads decode at once.

    Returns
    -------
    int
        The number of values decoded.

    """
    todo: SimpleQueue[tuple[int, int, Window]] = SimpleQueue()
    for number, path in enumerate(paths):
        with rasterio.open(path) as source:
            for window in _aligned_windows(source):
                for band in source.indexes:
                    todo.put((number, band, window))
    with ThreadPoolExecutor(threads) as pool:
        jobs = [pool.submit(_drain, todo, paths) for _ in range(threads)]
        return sum(job.result() for job in jobs)


def _aligned_windows(source: Any) -> list[Window]:
    """Cut a dataset along its own blocks into windows of a fair size."""
    block_rows, block_cols = source.block_shapes[0]
    rows = block_rows * max(1, READ_SIZE // block_rows)
    cols = block_cols * max(1, READ_SIZE // block_cols)
    corners = product(range(0, source.height, rows), range(0, source.width, cols))
    return [
        Window(
            left,
            top,
            min(cols, source.width - left),
            min(rows, source.height - top),
        )
        for top, left in corners
    ]


def _drain(
    todo: SimpleQueue[tuple[int, int, Window]],
    paths: Sequence[Path],
) -> int:
    """Decode windows with handles of this thread's own until none is left."""
    count = 0
    buffer = np.empty(0, np.uint8)
    # rasterio's options are kept per thread, so each thread states them.
    with rasterio.Env(**DECODE_OPTIONS), ExitStack() as stack:
        sources = [stack.enter_context(rasterio.open(path, sharing=False)) for path in paths]
        while True:
            try:
                number, band, window = todo.get_nowait()
            except Empty:
                return count
            source = sources[number]
            shape = (window.height, window.width)
            dtype = np.dtype(source.dtypes[band - 1])
            size = window.height * window.width * dtype.itemsize
            if buffer.size < size:
                buffer = np.empty(size, np.uint8)
            target = buffer[:size].view(dtype).reshape(shape)
            source.read(band, window=window, out=target)
            count += target.size


def main(argv: list[str] | None = None) -> None:
    """Decode, write, and print the seconds of each stage."""
    parser = argparse.ArgumentParser(prog="benchmarks.floor")
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("files", type=Path, nargs="+")
    args = parser.parse_args(argv)
    threads = os.cpu_count() or 1
    start = time.perf_counter()
    with rasterio.Env(**DECODE_OPTIONS):
        values = decode_all(args.files, threads)
    stages = {"decode": time.perf_counter() - start}
    # Mapped: the labels are given, so reading them in is no part of the floor.
    labels = np.load(args.labels, mmap_mode="r", allow_pickle=False)
    stages |= write_map(labels, args.files[0], args.out)
    report = {
        "seconds": stages,
        "values_decoded": values,
        "threads": threads,
        "gdal": rasterio.__gdal_version__,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
