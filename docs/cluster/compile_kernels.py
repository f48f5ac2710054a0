"""Compile the kernels of usual runs into the cache of machine code: each is compiled once for each type of pixels.

Runs small scenes of random pixels, with and without nodata; run it as the user, and on the kind of processor, that will
run Terrazzo.
"""

import tempfile
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from pipeline import load_config, run_config

SIDE = 640  # more than 512: the map has an overview
DTYPES = ("uint8", "uint16", "int16", "float32")
FITS = ("{method: kmeans, k: 3}", "{method: kmeans, k: 3, pixels: all}", "{method: gmm, k: 3}")


def write_scene(path: Path, dtype: str) -> None:
    """Write random pixels of four bands, some of them nodata."""
    pixels = np.random.default_rng(0).integers(1, 100, (4, SIDE, SIDE)).astype(dtype)
    pixels[:, :20, :20] = 0
    grid = {"crs": "EPSG:32633", "transform": from_origin(300_000, 5_900_000, 10, 10)}
    profile = {"driver": "GTiff", "count": 4, "height": SIDE, "width": SIDE, "dtype": dtype, "nodata": 0}
    profile["photometric"] = "MINISBLACK"  # else the fourth band of bytes is tagged as alpha
    with rasterio.open(path, "w", **profile, **grid) as file:
        file.write(pixels)


def main() -> None:
    """Run each fit on a scene of each type."""
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job.yaml"
        for dtype in DTYPES:
            write_scene(Path(folder) / "scene.tif", dtype)
            for fit in FITS:
                job.write_text(f"version: 1\nscene: {{source: scene.tif}}\nfit: {fit}\noutput: {{labels: map.tif}}\n")
                run_config(load_config(job), overwrite=True)


if __name__ == "__main__":
    main()
