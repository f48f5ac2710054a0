"""Kinds and quantities of a STAC item's layers: measured bands, or quality layers, angles, pictures."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from pipeline.core.errors import SceneError, StalledError
from pipeline.core.layer_kinds import LayerKind, layer_kind, layer_kinds
from pipeline.core.mask_layers import MASK_LAYERS, MaskKind, mask_kind
from pipeline.core.units import Quantity
from pipeline.formats.catalogue import MaskOffer
from pipeline.formats.fetch import fetch
from pipeline.formats.landsat_mtl import LandsatMetadata, parse_metadata
from pipeline.formats.sensors import is_thermal, sensor_of
from pipeline.formats.stac_assets import AssetLayer, local_path, plain_key
from pipeline.raster.file_bands import list_bands

_KIND_ROLES: Final[dict[LayerKind, frozenset[str]]] = {
    "picture": frozenset({"thumbnail", "overview", "visual", "tiles"}),
    "quality layer": frozenset({
        "cloud", "cloud-shadow", "snow-ice", "saturation", "data-mask", "water-mask", "land-water", "quality",
        "metadata", "mask", "udm", "udm2", "terrain-shadow", "terrain-occlusion",
    }),
}  # fmt: skip
"""Asset roles of layers that are not measured."""
_ANGLE_ROLE: Final = re.compile(r"azimuth|zenith|(sun|view)-elevation|angle|off-nadir")

_UNITS: Final[tuple[tuple[Quantity, re.Pattern[str]], ...]] = (
    ("temperature", re.compile(r"k|kelvins?|(°|deg|degrees?|degree)?[ _]?(c|celsius)")),
    ("angle", re.compile(r"°|deg|degrees?|rad|radians?|arcdegrees?")),
    ("radiance", re.compile(r"(milli|micro|[mu\u00b5\u03bc])?w(atts?)?\b.*")),
    ("elevation", re.compile(r"m|met(er|re)s?|ft|feet|foot")),
)
"""Patterns of units, in lower case, by the quantity that has them."""
_COMMON_NAMES: Final = {"tir11": "lwir11", "tir12": "lwir12", "tir": "lwir", "thermal": "lwir"}
"""Common names of the electro-optical extension by the names in older items."""

_LARGEST_MTL: Final = 2**20
"""Largest size of a Landsat metadata file, in bytes."""

_ONE_BAND: Final = re.compile(r"(?i)^(L[COTEM]\d\d_|HLS\.)|(^|[_.\-])B\d{1,2}A?(_\d+m)?$")
"""File names of Landsat, HLS and Sentinel-2 products that hold one band per file."""


def with_kinds(layers: Sequence[AssetLayer]) -> list[AssetLayer]:
    """Set kind, common name and quantity of all layers of an item by their roles, units and names."""
    keys, stems = (
        dict(zip(names, layer_kinds(names), strict=True))
        for names in (list(dict.fromkeys(plain_key(one.key) for one in layers)), list({one.stem: 0 for one in layers}))
    )
    classified = []
    for layer in layers:
        kind = _kind(layer, keys[plain_key(layer.key)], stems[layer.stem])
        common = layer.common or _common_by_file(layer)
        common = _COMMON_NAMES.get((common or "").lower(), common) if kind == "measured" else None
        classified.append(replace(layer, kind=kind, common=common))
    return [replace(layer, quantity=_quantity(layer)) for layer in classified]


def _kind(layer: AssetLayer, *by_name: LayerKind) -> LayerKind:
    """Kind of a layer. Spectral bands are measured even if their name contains another kind's word: coastal aerosol."""
    by_role = next((kind for kind, roles in _KIND_ROLES.items() if layer.roles & roles), None)
    if by_role:
        return by_role
    if any(map(_ANGLE_ROLE.search, layer.roles)):
        return "angles"
    if layer.has_classes or _mask_kind(layer):
        return "quality layer"
    if layer.is_spectral and layer.common:
        return "picture" if "picture" in by_name else "measured"
    own = "measured" if layer.alone else layer_kind(layer.name)
    return next((kind for kind in (*by_name, own) if kind != "measured"), "measured")


def _common_by_file(layer: AssetLayer) -> str | None:
    """Common name of a band by the sensor of its file's name; None if the sensor is unknown."""
    sensor = sensor_of([layer.version.path])
    if sensor is None:
        return None
    if sensor.multi_band and layer.version.index <= len(sensor.multi_band):
        return sensor.multi_band[layer.version.index - 1]
    return sensor.common_name(layer.stem) if layer.alone else None


def _quantity(layer: AssetLayer) -> Quantity | None:
    """Quantity of a band's scaled values, by its unit, roles or common name; None if these do not show it."""
    by_unit = next((quantity for quantity, unit in _UNITS if unit.fullmatch(layer.unit)), None)
    if by_unit and not (by_unit in {"angle", "elevation"} and layer.is_spectral):
        return by_unit
    if layer.kind == "angles":
        return "angle"
    if "temperature" in layer.roles or is_thermal(layer.common):
        return "temperature"
    scaled = (layer.scale, layer.offset) not in {(None, None), (1, 0), (1, None), (None, 0)}
    if not scaled:
        return None
    return "reflectance" if "reflectance" in layer.roles else "scaled"


def _mask_kind(layer: AssetLayer) -> MaskKind | None:
    """Known quality layer by the name of the asset or file; None for other layers."""
    return mask_kind(plain_key(layer.key)) or mask_kind(layer.stem)


def mask_offers(layers: Sequence[AssetLayer]) -> Iterator[MaskOffer]:
    """List quality layers from which pixels can be masked, 20 m first; of a multi-band one, the band to use."""
    for kind in MASK_LAYERS:
        of_kind = [layer for layer in layers if _mask_kind(layer) == kind]
        clear = [layer for layer in of_kind if layer.name.lower() == "clear"]  # UDM2 has a band per condition
        best = best_per_resolution(clear or [layer for layer in of_kind if layer.version.index == 1], 20.0)
        if best:
            yield MaskOffer(kind=kind, versions=tuple(layer.version for layer in best))


def best_per_resolution(layers: Iterable[AssetLayer], native: float | None) -> list[AssetLayer]:
    """Choose the layer that is cheapest to read for each resolution.

    Parameters
    ----------
    layers : iterable of AssetLayer
        Layers that hold the same band.
    native : float or None
        Native resolution of the band.

    Returns
    -------
    list of AssetLayer
        One layer per resolution: the native one first, then the finest.
    """
    by_size: dict[float, AssetLayer] = {}
    for layer in sorted(layers, key=lambda layer: layer.read_cost):
        by_size.setdefault(layer.version.resolution, layer)
    return sorted(by_size.values(), key=lambda layer: (layer.version.resolution != native, layer.version.resolution))


def with_file_bands(layers: Sequence[AssetLayer]) -> list[AssetLayer]:
    """Replace measured layers whose bands the item does not list by all bands of their files, which are opened.

    Raises StalledError if a server does not answer within the time limit.
    """
    return [band for layer in layers for band in (_file_bands(layer) if _is_unknown(layer) else [layer])]


def _is_unknown(layer: AssetLayer) -> bool:
    """Whether a measured layer's file may have several bands, because neither the item nor its name shows them."""
    return layer.kind == "measured" and not layer.described and not _ONE_BAND.search(layer.stem)


def _file_bands(layer: AssetLayer) -> list[AssetLayer]:
    """A layer per band of a file; the layer itself if the file has one band or can't be read."""
    try:
        bands = list_bands([layer.version.path])
    except StalledError:  # every other file of this server would take as long
        raise
    except SceneError:  # raised again if the band is read
        return [layer]
    if len(bands) == 1:
        return [replace(layer, opened=bands[0])]
    found = []
    for band in bands:
        own = replace(
            layer,
            name=band.name,
            version=replace(layer.version, index=band.index),
            alone=False,
            described=True,
            opened=band,
        )
        common = _common_by_file(own) or band.common
        kind: LayerKind = "measured" if band.is_alpha else layer_kind(band.name)
        found.append(replace(own, common=common, kind=kind))
    return found


def with_mtl_scaling(layers: Sequence[AssetLayer], item: Any, source: str) -> tuple[list[AssetLayer], list[str]]:
    """Set scale and offset of an item's Landsat bands from the MTL metadata file if the item states none.

    Layers are unchanged if the metadata file is missing or states no scale. Returns a warning, too, if bands remain
    without scale and offset.
    """
    unscaled = [layer for layer in layers if layer.kind == "measured" and (layer.scale, layer.offset) == (None, None)]
    sensor = sensor_of([layer.version.path for layer in unscaled])
    if sensor is None or not sensor.name.startswith("Landsat"):
        return list(layers), []
    metadata, reason = _metadata(item)
    scalings = {
        layer.key: scaling for layer in unscaled if metadata and (scaling := metadata.scaling(_href_path(layer)))
    }
    scaled = [
        replace(layer, scale=scaling[0], offset=scaling[1], quantity=scaling[2])
        if (scaling := scalings.get(layer.key))
        else layer
        for layer in layers
    ]
    missing = [plain_key(layer.key) for layer in unscaled if layer.key not in scalings]
    cause = f"{source}: the item states no scale or offset for {', '.join(missing)}, and {reason}"
    return scaled, [f"{cause}; numbers are used as stored, unless the files' tags state a scale"] if missing else []


def _metadata(item: Any) -> tuple[LandsatMetadata | None, str]:
    """Content of an item's MTL file, if it can be read; and the reason to report for bands that get no scale."""
    hrefs = [asset.get_absolute_href() or asset.href for asset in item.assets.values()]
    ends = ("mtl.json", "mtl.txt")
    href = next((href for end in ends for href in hrefs if urlsplit(href).path.lower().endswith(end)), None)
    if href is None:
        return None, "no asset is its MTL.json or MTL.txt"
    try:
        return parse_metadata(fetch(local_path(href), _LARGEST_MTL), urlsplit(href).path), f"{href} states none"
    except SceneError as error:
        return None, f"its metadata file can't be used ({error})"


def _href_path(layer: AssetLayer) -> str:
    """Path of a layer's file without the query of its URL."""
    return urlsplit(layer.version.path).path
