"""Sentinel-2 tile folders of the AWS open data buckets: `B01.jp2`, `B02.jp2` ... with `tileInfo.json`.

Source: the layout of the buckets `sentinel-s2-l1c` (images in the folder itself) and `sentinel-s2-l2a` (images in
`R10m`, `R20m` and `R60m`). Scale and offset are stated in the product's metadata only, which these folders lack.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pipeline.core.acquisition import Acquisition
from pipeline.core.errors import SceneError
from pipeline.core.strict_json import parse_json
from pipeline.core.strict_xml import parse_xml, text
from pipeline.formats.catalogue import BandVersion, Catalogue, MaskOffer, Product, scaling_text
from pipeline.formats.fetch import read_small_file
from pipeline.formats.sentinel2 import BAND_IDS, DEFAULT_BANDS, NATIVE_RESOLUTION, reflectance_band
from pipeline.formats.sentinel2_radiometry import Radiometry

_METADATA_FILES: Final = ("tileInfo.json", "metadata.xml")
_GROUPS: Final = {10.0: "R10m", 20.0: "R20m", 60.0: "R60m"}
_BASELINE: Final = re.compile(r"_N(\d\d)\.?(\d\d)(?=_|$)")
_NAME: Final = re.compile(r"S2[A-D]_MSI(L1C|L2A)_(\d{4})(\d\d)(\d\d)T\w*")
_LARGEST: Final = 2**20
"""Bytes read of a metadata file."""


def is_tile_folder(folder: Path) -> bool:
    """Whether a folder is a tile folder: it has a metadata file, and images named by their band only."""
    return any((folder / name).is_file() for name in _METADATA_FILES) and any(map(Path.is_file, _images(folder)))


def _images(folder: Path) -> Iterator[Path]:
    """Paths at which a tile folder may have images."""
    for band in BAND_IDS:
        for group in ("", *_GROUPS.values()):
            yield folder / group / f"{band}.jp2"


def open_tile(folder: Path) -> Catalogue:
    """Read bands and the scene classification mask of a tile folder from its metadata and file names.

    Images are not opened. Raises SceneError if a metadata file can't be read.
    """
    stated = _stated_values(folder)
    all_values = " ".join(map(str, stated.values()))
    baseline = _BASELINE.search(all_values)
    radiometry = Radiometry(baseline=f"{baseline[1]}.{baseline[2]}" if baseline else "", harmonised=False)
    scale, offset = radiometry.scale_and_offset(None, None, original=True)
    bands = tuple(
        reflectance_band(band, versions, scale, offset)
        for band in BAND_IDS
        if (versions := tuple(_versions(folder, band, NATIVE_RESOLUTION[band])))
    )
    scl = tuple(_versions(folder, "SCL", 20.0))
    names = {band.name for band in bands}
    match = _NAME.search(all_values)
    date = "-".join(match.groups()[1:]) if match else ""
    return Catalogue(
        origin=str(folder),
        bands=bands,
        default=DEFAULT_BANDS if names.issuperset(DEFAULT_BANDS) else (),
        masks=(MaskOffer(kind="scl", versions=scl),) if scl else (),
        product=Product(
            name=match[0] if match else folder.name,
            format="Sentinel-2 tile folder (AWS)",
            level=match[1] if match else "",
            date=date,
            tile="".join(str(stated.get(key, "")) for key in ("utmZone", "latitudeBand", "gridSquare")),
            baseline=radiometry.baseline,
            radiometry=scaling_text(bands),
        ),
        files=(str(folder),),
        acquired=Acquisition.parse(str(stated.get("timestamp", ""))) or Acquisition.parse(date),
        notes=(
            (
                f"{folder}: the folder lacks the product's metadata, which state scale and offset; by its baseline "
                f"({radiometry.baseline or 'unknown'}) they are assumed to be: {scaling_text(bands)}"
            ),
        ),
    )


def _stated_values(folder: Path) -> dict[str, Any]:
    """Texts and numbers in the folder's metadata files by key; those of `tileInfo.json` override `productInfo.json`."""
    stated: dict[str, Any] = {}
    if (folder / "metadata.xml").is_file():
        name = str(folder / "metadata.xml")
        stated["tile"] = text(parse_xml(read_small_file(folder / "metadata.xml"), name), "TILE_ID", "TILE_ID_2A")
    for name in ("productInfo.json", "tileInfo.json"):
        path = folder / name
        if path.is_file():
            try:
                content = parse_json(read_small_file(path)[:_LARGEST])
            except (ValueError, RecursionError) as error:
                msg = f"{path}: this file can't be read as JSON ({error}); download the tile again"
                raise SceneError(msg) from error
            strip = content.get("datastrip") if isinstance(content, dict) else None
            if isinstance(content, dict):
                stated |= {key: value for key, value in content.items() if isinstance(value, str | int | float)}
                stated |= {"datastrip": strip.get("id")} if isinstance(strip, dict) else {}
    return stated


def _versions(folder: Path, layer: str, native: float) -> Iterator[BandVersion]:
    """Files of a layer: the one in the folder itself, or those in the resolution folders, native resolution first."""
    if (folder / f"{layer}.jp2").is_file():
        yield BandVersion(path=str(folder / f"{layer}.jp2"), resolution=native)
        return
    for resolution in sorted(_GROUPS, key=lambda size: (size != native, size)):
        path = folder / _GROUPS[resolution] / f"{layer}.jp2"
        if path.is_file():
            yield BandVersion(path=str(path), resolution=resolution)
