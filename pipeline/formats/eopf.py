"""Sentinel-2 products in ESA's EOPF Zarr format: bands in groups r10m, r20m and r60m."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.core.numbers import as_number
from pipeline.formats.catalogue import BandOffer, BandVersion, Catalogue, MaskOffer, Product, numbers_words
from pipeline.formats.sentinel2 import BAND_IDS, DEFAULT_BANDS, NATIVE_RESOLUTION, reflectance_band
from pipeline.raster.file_bands import ArrayRef
from pipeline.stores.groups import has_node, open_group

_REFLECTANCE: Final = "measurements/reflectance"
_CLASSES: Final = "conditions/mask/l2a_classification"
XARRAY_BYTES: Final = 175 * 10**6
"""Bytes that xarray and the library of the format take: measured, with some room."""

_GROUPS: Final = {10.0: "r10m", 20.0: "r20m", 60.0: "r60m"}


def is_eopf(path: str) -> bool:
    """Whether a store is a Sentinel-2 product in this format."""
    return has_node(path, _REFLECTANCE)


def open_eopf(path: str) -> Catalogue:
    """Read what a product offers.

    Raises
    ------
    SceneError
        When it can't be opened.
    """
    bands = tuple(_bands(path))
    scl = tuple(_versions(path, _CLASSES, "scl", NATIVE_RESOLUTION["B05"]))
    names = {band.name for band in bands}
    return Catalogue(
        origin=path,
        bands=bands,
        default=DEFAULT_BANDS if names.issuperset(DEFAULT_BANDS) else (),
        masks=(MaskOffer(kind="scl", versions=scl),) if scl else (),
        product=_product(path, bands),
        files=(path,),
        library_bytes=XARRAY_BYTES,
    )


def _bands(path: str) -> Iterator[BandOffer]:
    for band in BAND_IDS:
        versions = tuple(_versions(path, _REFLECTANCE, band.lower(), NATIVE_RESOLUTION[band]))
        if versions:
            attrs = _attrs(path, versions[0])
            scale, offset = (
                as_number(attrs.get(name, default), f"{path}: {band}: {name}")
                for name, default in (("scale_factor", 1), ("add_offset", 0))
            )
            yield reflectance_band(band, versions, scale, offset)


def _versions(path: str, where: str, name: str, native: float) -> Iterator[BandVersion]:
    """Arrays of a name, the one of the native resolution first."""
    for resolution in sorted(_GROUPS, key=lambda size: (size != native, size)):
        group = f"{where}/{_GROUPS[resolution]}"
        if has_node(path, f"{group}/{name}"):
            ref = ArrayRef(path=path, group=group, variable=name)
            yield BandVersion(path=path, resolution=resolution, array=ref)


def _attrs(path: str, version: BandVersion) -> Mapping[str, Any]:
    """Attributes of an array, those that EOPF keeps apart among them."""
    ref = version.array
    attrs = open_group(path, ref.group)[ref.variable].attrs if ref else {}
    return {**attrs.get("_eopf_attrs", {}), **attrs}


def _product(path: str, bands: tuple[BandOffer, ...]) -> Product:
    stac = open_group(path).attrs.get("stac_discovery", {})
    said = stac.get("properties", {})
    name = str(stac.get("id") or Path(path).stem).removesuffix(".SAFE").removesuffix(".zarr")
    tile = next((part[1:] for part in name.split("_") if len(part) == 6 and part.startswith("T")), "")  # noqa: PLR2004
    return Product(
        name=name,
        format="EOPF Zarr",
        level=str(said.get("processing:level", "")),
        date=str(said.get("datetime") or said.get("start_datetime") or "")[:10],
        tile=tile,
        baseline=str(said.get("eopf:baseline") or said.get("processing:version") or ""),
        radiometry=numbers_words(bands),
    )
