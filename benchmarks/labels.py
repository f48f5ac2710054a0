"""Read a map back as the label array that the floor writes.

Measures nothing.  The floor must write labels that compress as real ones do,
so they are taken from the map of one ``terrazzo run`` of the same scene.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import rasterio


def main(argv: list[str] | None = None) -> None:
    """Save the pixels of a one-band uint8 map as an ``.npy`` file."""
    parser = argparse.ArgumentParser(prog="benchmarks.labels")
    parser.add_argument("map", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args(argv)
    with rasterio.open(args.map) as source:
        labels = source.read(1)
    if labels.dtype != np.uint8:
        parser.error(f"{args.map} holds {labels.dtype}, expected uint8")
    np.save(args.out, labels, allow_pickle=False)
    counts = np.bincount(labels.ravel(), minlength=1)
    print(json.dumps({"shape": labels.shape, "counts": counts.tolist()}))


if __name__ == "__main__":
    main()
