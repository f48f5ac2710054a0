"""scikit-learn's KMeans on all pixels in memory, from the start that Terrazzo had, for as many passes.

Run as a fresh process, as someone would do it who has read the scene into memory: the pixel table in the file's
own type, ``KMeans`` with an array to start from and one start, one plain write.  Prints one JSON line with the seconds
of each stage, the inertia and the number of passes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans

from benchmarks.blog import read_cube, write_labels


def main(argv: list[str] | None = None) -> None:
    """Read, cluster from a model's centroids, write, and print the seconds of each stage."""
    parser = argparse.ArgumentParser(prog="benchmarks.sklearn_kmeans")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="a Terrazzo model to start from")
    parser.add_argument("--passes", type=int, required=True)
    parser.add_argument("file", type=Path)
    args = parser.parse_args(argv)
    start = np.array(json.loads(args.model.read_text(encoding="utf-8"))["centroids"])
    marks = [time.perf_counter()]
    cube, crs, transform = read_cube(args.file)
    marks.append(time.perf_counter())
    table = cube.reshape(-1, cube.shape[2])
    model = KMeans(len(start), init=start, n_init=1, max_iter=args.passes, tol=0).fit(table)
    marks.append(time.perf_counter())
    labels = model.labels_.astype(np.uint8).reshape(cube.shape[:2])
    write_labels(args.out, labels, crs, transform)
    marks.append(time.perf_counter())
    seconds = dict(zip(("read", "cluster", "write"), np.diff(marks).tolist(), strict=True))
    print(json.dumps({"seconds": seconds, "inertia": float(model.inertia_), "passes": int(model.n_iter_)}))


if __name__ == "__main__":
    main()
