"""Sentinel-2 products in ESA's EOPF Zarr format: bands in the groups r10m, r20m and r60m."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.core.acquisition import Acquisition
from pipeline.formats.catalogue import BandOffer, BandVersion, Catalogue, MaskOffer, Product, scaling_text
from pipeline.formats.sentinel2 import BAND_IDS, DEFAULT_BANDS, NATIVE_RESOLUTION, reflectance_band
from pipeline.raster.file_bands import ArrayRef
from pipeline.stores.groups import XARRAY_BYTES, has_node, open_group
from pipeline.stores.values import Packing

_REFLECTANCE: Final = "measurements/reflectance"
_CLASSES: Final = "conditions/mask/l2a_classification"

_GROUPS: Final = {10.0: "r10m", 20.0: "r20m", 60.0: "r60m"}


def is_eopf(path: str) -> bool:
    """Whether a store is a Sentinel-2 product in EOPF format."""
    return has_node(path, _REFLECTANCE)


def open_eopf(path: str) -> Catalogue:
    """Read bands and the scene classification mask of an EOPF product.

    Raises SceneError if the store can't be opened, or a scale or offset is not a number.
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
        acquired=Acquisition.of_stac(_discovery(path).get("properties", {})),
    )


def _bands(path: str) -> Iterator[BandOffer]:
    """Bands of the product, scaled as the arrays' attributes state."""
    for band in BAND_IDS:
        versions = tuple(_versions(path, _REFLECTANCE, band.lower(), NATIVE_RESOLUTION[band]))
        if versions:
            packing = Packing.of(_attrs(path, versions[0]), f"{path}: {band}")
            yield reflectance_band(band, versions, packing.scale, packing.offset)


def _versions(path: str, parent: str, name: str, native: float) -> Iterator[BandVersion]:
    """Arrays of a name in the resolution groups below a group, the native resolution first."""
    for resolution in sorted(_GROUPS, key=lambda size: (size != native, size)):
        group = f"{parent}/{_GROUPS[resolution]}"
        if has_node(path, f"{group}/{name}"):
            ref = ArrayRef(path=path, group=group, variable=name)
            yield BandVersion(path=path, resolution=resolution, array=ref)


def _attrs(path: str, version: BandVersion) -> Mapping[str, Any]:
    """Attributes of an array, including those that EOPF stores in `_eopf_attrs`."""
    ref = version.array
    attrs = open_group(path, ref.group)[ref.variable].attrs if ref else {}
    return {**attrs.get("_eopf_attrs", {}), **attrs}


def _discovery(path: str) -> dict[str, Any]:
    """The STAC item in the root group's attributes."""
    stated: dict[str, Any] = open_group(path).attrs.get("stac_discovery", {})
    return stated


def _product(path: str, bands: tuple[BandOffer, ...]) -> Product:
    """Metadata of the product, from the STAC item in the root group's attributes."""
    stac = _discovery(path)
    properties = stac.get("properties", {})
    name = str(stac.get("id") or Path(path).stem).removesuffix(".SAFE").removesuffix(".zarr")
    tile = next((part[1:] for part in name.split("_") if len(part) == 6 and part.startswith("T")), "")  # noqa: PLR2004
    return Product(
        name=name,
        format="EOPF Zarr",
        level=str(properties.get("processing:level", "")),
        date=str(properties.get("datetime") or properties.get("start_datetime") or "")[:10],
        tile=tile,
        baseline=str(properties.get("eopf:baseline") or properties.get("processing:version") or ""),
        radiometry=scaling_text(bands),
    )
