"""Build the whole-tile scenes that the benchmarks read.

Measures nothing itself.  A real 10 m chip is mirror-tiled up to N x N pixels
in four bands (B02, B03, B04, B08), as one GeoTIFF and as four JP2 files, and in
twelve at 10, 20 and 60 m as a Sentinel-2 product, in a cache folder outside the
checkout.  ``python -m benchmarks.scenes`` builds what
is missing and prints one JSON line with the paths and the chip used.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from benchmarks.chips import Chip, find_chip
from benchmarks.safe import RESOLUTIONS, SafeRecipe, copy_as_jp2, write_safe
from benchmarks.settings import BANDS, CASES, DEFAULT_SIZE, SIXTY_METRES, TWENTY_METRES, cache_folder

# Part of the folder name: a changed recipe never meets files of the old one.
RECIPE = "v1"
TIFF_TILE = 512
JP2_TILE = 1024
JP2_NAME = "T00XXX_20200101T000000_{band}.jp2"


def mirror_index(length: int, size: int) -> NDArray[np.intp]:
    """Give the chip index of each of `size` pixels when tiled by mirroring.

    Parameters
    ----------
    length : int
        Pixels of the chip along the axis.
    size : int
        Pixels wanted along the axis.

    Returns
    -------
    ndarray
        0 .. length-1, then back down to 0, and so on.

    """
    phase = np.arange(size) % (2 * length)
    return np.where(phase < length, phase, 2 * length - 1 - phase)


def build_scene(kind: str, size: int, chip: Chip, folder: Path) -> list[Path]:
    """Build one scene where it is not in `folder` yet.

    Parameters
    ----------
    kind : str
        ``"geotiff"`` (one file of four bands), ``"geotiff10"`` (of ten),
        ``"jp2"`` (four files) or ``"safe"`` (a product).
    size : int
        Rows and columns of the scene.
    chip : Chip
        The real pixels to tile.
    folder : Path
        Where the scene is kept.

    Returns
    -------
    list of Path
        The scene as it is opened: its files in the order of the bands, or the
        product's folder.

    """
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "safe":
        return [_build_safe(size, chip, folder)]
    if kind in {"geotiff", "geotiff10"}:
        path = folder / ("scene.tif" if kind == "geotiff" else "scene10.tif")
        bands = BANDS if kind == "geotiff" else BANDS + TWENTY_METRES
        if not path.exists():
            with _renamed_when_whole(path) as part:
                _write_tiff(part, chip, size, bands)
        return [path]
    paths = [folder / JP2_NAME.format(band=band) for band in BANDS]
    for path, band in zip(paths, BANDS, strict=True):
        if not path.exists():
            with _renamed_when_whole(path) as part:
                _write_jp2(part, chip, size, band)
    return paths


def _build_safe(size: int, chip: Chip, folder: Path) -> Path:
    """Build a Level-2A product of all twelve bands and a classification."""
    recipe = SafeRecipe()
    product = folder / recipe.name
    if not product.exists():
        with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as temp:
            write_safe(Path(temp), _Layers(size, chip), recipe).replace(product)
    return product


class _Layers(Mapping[str, NDArray[Any]]):
    """Layers of a product, each made when it is asked for: one at a time fits memory."""

    def __init__(self, size: int, chip: Chip) -> None:
        self._size = size
        self._chip = chip
        self._names = (*BANDS, *TWENTY_METRES, *SIXTY_METRES, "SCL")

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __getitem__(self, name: str) -> NDArray[Any]:
        rows = self._size * 10 // RESOLUTIONS[name]
        if name == "SCL":
            # bare soil and vegetation by the red edge, a bank of clouds in a corner
            red_edge = self["B05"]
            scl = np.where(red_edge > np.median(red_edge), 5, 4).astype(np.uint8)
            scl[: rows // 8, : rows // 5] = 9
            return scl
        pixels = self._chip.band(name)
        tiled = pixels[mirror_index(len(pixels), rows)][:, mirror_index(pixels.shape[1], rows)]
        return tiled + np.uint16(1000)  # as baselines from 04.00 on add


def files_of(case: str, source: Sequence[Path]) -> list[Path]:
    """Give the files that hold the bands of a case."""
    if CASES[case].scene != "safe":
        return list(source)
    recipe = SafeRecipe()
    images = (recipe.image(band, RESOLUTIONS[band]) for band in CASES[case].bands)
    return [source[0] / f"{image}.jp2" for image in images]


def scene_folder(size: int, chip: Chip) -> Path:
    """Give the cache folder of the scenes of one chip and size."""
    return cache_folder() / "scenes" / f"{chip.name}-{size}-{RECIPE}"


def _write_tiff(
    path: Path,
    chip: Chip,
    size: int,
    bands: tuple[str, ...],
    **overrides: Any,
) -> None:
    """Write the tiled chip, one row of tiles at a time."""
    profile: dict[str, Any] = {
        "driver": "GTiff",
        "width": size,
        "height": size,
        "count": len(bands),
        "dtype": chip.pixels.dtype,
        "crs": chip.crs,
        "transform": chip.transform,
        "tiled": True,
        "blockxsize": TIFF_TILE,
        "blockysize": TIFF_TILE,
        "interleave": "band",
        "bigtiff": "if_safer",
        "compress": "deflate",
        "predictor": 2,
        "num_threads": "all_cpus",
    }
    profile.update(overrides)
    _, chip_rows, chip_cols = chip.pixels.shape
    rows, cols = mirror_index(chip_rows, size), mirror_index(chip_cols, size)
    picked = np.stack([_at_ten_metres(chip, band) for band in bands])
    with rasterio.open(path, "w", **profile) as sink:
        if len(bands) > 1:
            sink.descriptions = bands
        for top in range(0, size, TIFF_TILE):
            strip = picked[:, rows[top : top + TIFF_TILE]][:, :, cols]
            sink.write(strip, window=Window(0, top, size, strip.shape[1]))


def _at_ten_metres(chip: Chip, band: str) -> NDArray[np.uint16]:
    """Give a band of the chip in pixels of 10 m, each coarser one repeated."""
    if band in BANDS:
        return chip.pixels[BANDS.index(band)]
    times = RESOLUTIONS[band] // 10
    rows, cols = chip.pixels.shape[1:]
    return chip.band(band).repeat(times, 0).repeat(times, 1)[:rows, :cols]


def _write_jp2(path: Path, chip: Chip, size: int, band: str) -> None:
    """Write one band as a lossless JP2 with the tiles that ESA uses."""
    # JP2 can only be made as a copy, so the band passes through a plain file.
    plain = path.with_name(path.name + ".plain.tif")
    try:
        _write_tiff(plain, chip, size, (band,), compress="none", predictor=1)
        copy_as_jp2(plain, path, JP2_TILE)
    finally:
        plain.unlink(missing_ok=True)


@contextmanager
def _renamed_when_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path that takes the name of `path` on success."""
    # A folder of its own also catches side files, and its unpredictable name
    # keeps two builds that run at once apart.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".part-") as temp:
        part = Path(temp) / path.name
        yield part
        part.replace(path)


def main(argv: list[str] | None = None) -> None:
    """Build the scenes asked for and print where they are."""
    parser = argparse.ArgumentParser(prog="benchmarks.scenes")
    parser.add_argument("--size", type=int, default=DEFAULT_SIZE)
    parser.add_argument("--cases", default=",".join(CASES))
    args = parser.parse_args(argv)
    cases = args.cases.split(",")
    if unknown := set(cases) - set(CASES):
        parser.error(f"unknown cases: {', '.join(sorted(unknown))}")
    chip = find_chip()
    folder = scene_folder(args.size, chip)
    with rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS"):
        built = {case: build_scene(CASES[case].scene, args.size, chip, folder) for case in cases}
    found = {
        case: {"source": [str(path) for path in source], "files": [str(path) for path in files_of(case, source)]}
        for case, source in built.items()
    }
    print(json.dumps({"scenes": found, "chip": chip.describe()}))


if __name__ == "__main__":
    main()
