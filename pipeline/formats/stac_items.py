"""Catalogue of a STAC item: its bands and masks."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from pipeline.core.acquisition import Acquisition
from pipeline.core.band_names import SENTINEL2_COMMON_NAMES, band_from_file_name, band_order, split_stem
from pipeline.core.errors import SceneError
from pipeline.formats.catalogue import BandOffer, Catalogue, Product, scaling_text
from pipeline.formats.sensors import band_number, sensor_of
from pipeline.formats.sentinel2 import BAND_IDS, DEFAULT_BANDS, NATIVE_RESOLUTION, reflectance_band
from pipeline.formats.sentinel2_radiometry import Radiometry
from pipeline.formats.stac_assets import AssetLayer, asset_layers, plain_key, raster_or_reason
from pipeline.formats.stac_layers import best_per_resolution, mask_offers, with_file_bands, with_kinds, with_mtl_scaling

_REDEDGE: Final = {"rededge1": "B05", "rededge2": "B06", "rededge3": "B07"}
"""Sentinel-2's red edge bands by the keys of Earth Search, which are not common names."""
_PYSTAC: Final = 40 * 10**6
"""Memory of the pystac library, in bytes: measured and rounded up."""

_SENTINEL2_LEVEL: Final = re.compile(r"(?<![A-Z0-9])(?:S2)?(?:MSI)?L?(1C|2A)(?![A-Z0-9])")
_LANDSAT_LEVEL: Final = re.compile(r"(?<![A-Z0-9])(L[12][A-Z]{2})(?![A-Z0-9])")


def item_catalogue(item: Any, source: str) -> Catalogue:
    """Read bands and masks of a `pystac.Item`; `source` is its path or URL, for messages.

    Raises SceneError if it has no raster asset, or a stated scale, offset or nodata value is not a number.
    """
    layers, skipped = _raster_layers(item, source)
    sentinel2 = _sentinel2_bands_of(layers, item, source) if _is_sentinel2(item) else None
    bands, default, all_names, notes, unselectable, radiometry = sentinel2 or _other_bands(layers, item, source)
    if not all_names:
        msg = f"{source}: the item {item.id} has no raster asset; it has {', '.join(item.assets) or 'none'}"
        raise SceneError("; ".join([msg, *skipped]))
    return Catalogue(
        origin=source,
        bands=tuple(bands),
        default=default,
        all_names=all_names,
        masks=tuple(mask_offers(layers)),
        product=_product(item, [band for band in bands if band.name in all_names], radiometry),
        library_bytes=_PYSTAC,
        notes=(*(f"{source}: {note}" for note in skipped), *notes),
        unselectable=unselectable,
        ambiguous="" if sentinel2 else _ambiguity(layers, source),
        acquired=Acquisition.of_stac(item.properties),
    )


_ItemBands = tuple[
    list[BandOffer], tuple[str, ...], tuple[str, ...], Sequence[str], tuple[tuple[str, str], ...], Radiometry | None
]
"""Bands, names for 'auto', names for 'all', notes, unselectable layers (name, kind), radiometry (Sentinel-2 only)."""


def _raster_layers(item: Any, source: str) -> tuple[list[AssetLayer], list[str]]:
    """Layers of all raster assets, and notes on skipped assets that may hold data."""
    layers: list[AssetLayer] = []
    skipped = []
    listed = item.properties.get("eo:bands")
    for key, asset in item.assets.items():
        is_raster, reason = raster_or_reason(asset)
        if is_raster:
            layers += asset_layers(key, asset, source, listed if isinstance(listed, list) else ())
        elif reason:
            skipped.append(f"asset {key} is skipped: {reason}")
    return with_kinds(layers), skipped


def _sentinel2_bands_of(layers: Sequence[AssetLayer], item: Any, source: str) -> _ItemBands | None:
    """Bands of a Sentinel-2 item by Sentinel-2's names; None if no layer is a Sentinel-2 band."""
    radiometry = Radiometry.of(item, source)
    sentinel2 = [layer for layer in layers if layer.kind == "measured" and _sentinel2_id(layer)]
    _check_versions(sentinel2, source)
    bands = list(_sentinel2_bands(sentinel2, radiometry))
    if not bands:
        return None
    names = tuple(band.name for band in bands)
    kinds = {layer.key: layer.kind if layer.kind != "measured" else "no bands of Sentinel-2" for layer in layers}
    rest = tuple((key, kind) for key, kind in kinds.items() if key not in {layer.key for layer in sentinel2})
    notes = radiometry.notes(source, [(layer.scale, layer.offset) for layer in sentinel2])
    return bands, DEFAULT_BANDS if set(names) >= set(DEFAULT_BANDS) else (), names, notes, rest, radiometry


def _other_bands(layers: Sequence[AssetLayer], item: Any, source: str) -> _ItemBands:
    """Bands of other sensors: measured ones by the item's names, all other layers by the keys of their assets."""
    layers, notes = with_mtl_scaling(with_file_bands(layers), item, source)
    layers = sorted(layers, key=lambda layer: band_order(layer.key))
    measured = [layer for layer in layers if layer.kind == "measured"]
    others = [layer for layer in layers if layer.kind != "measured"]
    names = _unique_names(measured)
    bands = [_offer(layer, name) for layer, name in zip(measured, names, strict=True)]
    layers_by_name = dict(zip(names, measured, strict=True))
    other_bands = [_offer(layer, name) for layer, name in zip(others, _names_by_key(others, names), strict=True)]
    default = [band.name for band in bands if not band.measures_no_light and not band.is_alpha]
    if any(layers_by_name[name].is_spectral for name in default):
        not_spectral = [name for name in default if not layers_by_name[name].is_spectral]
        default = [name for name in default if name not in not_spectral]
        if not_spectral:
            notes.append(
                f"{source}: these are no default bands, as the item does not describe them as spectral: "
                f"{', '.join(not_spectral)}; name them in scene.bands to use them"
            )
    all_names = tuple(band.name for band in bands if not band.is_alpha)
    return [*bands, *other_bands], tuple(default), all_names, notes, (), None


def _ambiguity(layers: Sequence[AssetLayer], source: str) -> str:
    """Message saying which two assets hold the same band by name, common name and resolution; empty if none do."""
    first: dict[tuple[str, str, float], AssetLayer] = {}
    for layer in layers:
        if layer.kind == "measured" and layer.common and layer.name:
            other = first.setdefault((layer.name, layer.common, layer.version.resolution), layer)
            if other.key != layer.key and other.version.path != layer.version.path:
                one, two = (f"{plain_key(asset.key)}_{layer.name}" for asset in (other, layer))
                return (
                    f"{source}: assets {other.key} and {layer.key} both hold a band {layer.name}; name the bands to "
                    f"use in scene.bands, such as {one} or {two}"
                )
    return ""


def _check_versions(layers: Sequence[AssetLayer], source: str) -> None:
    """Raise SceneError if two assets are versions of one band by a word in their names, such as MAJA's SRE and FRE."""
    first: dict[tuple[str | None, float, int], AssetLayer] = {}
    for layer in layers:
        other = first.setdefault((_sentinel2_id(layer), layer.version.resolution, layer.read_cost), layer)
        differing = set(split_stem(layer.stem)) ^ set(split_stem(other.stem))
        if differing and all(word.isalpha() for word in differing):
            msg = (
                f"{source}: assets {other.key} and {layer.key} are two versions of band {_sentinel2_id(layer)} "
                f"({other.stem}, {layer.stem}); name the files of one version instead of the item"
            )
            raise SceneError(msg)


def _is_sentinel2(item: Any) -> bool:
    """Whether an item states Sentinel-2 as its constellation or platform."""
    named = f"{item.properties.get('constellation', '')} {item.properties.get('platform', '')}".lower()
    return "sentinel-2" in named or "sentinel 2" in named


def _sentinel2_id(layer: AssetLayer) -> str | None:
    """Sentinel-2 band of a layer, by its name, its file's name or its common name; None if it is none."""
    candidates = (layer.name.upper(), band_from_file_name(f"{layer.stem}.tif") if layer.alone else None)
    band_id = next((name for name in candidates if name in BAND_IDS), None)
    if band_id:
        return band_id
    words = (layer.key.lower() if layer.alone else "", layer.name.lower(), (layer.common or "").lower())
    ids = {common: band for band, common in SENTINEL2_COMMON_NAMES.items()} | _REDEDGE
    return next((ids[word] for word in words if word in ids), None)


def _sentinel2_bands(layers: Sequence[AssetLayer], radiometry: Radiometry) -> Iterator[BandOffer]:
    """Reflectance bands by Sentinel-2's names, so that a model fits all formats of a product.

    Files with another scale or offset than the best one, such as ESA's originals next to harmonised copies, are left
    out, because they can't replace it.
    """
    for band in BAND_IDS:
        best = best_per_resolution((one for one in layers if _sentinel2_id(one) == band), NATIVE_RESOLUTION[band])
        scalings = [radiometry.scale_and_offset(one.scale, one.offset, original=one.is_original) for one in best]
        same = [layer for layer, scaling in zip(best, scalings, strict=True) if scaling == scalings[0]]
        if same:
            versions = [layer.version for layer in same]
            keys = tuple(layer.key for layer in same if layer.alone)
            sensor = sensor_of([best[0].version.path])
            nodata = sensor.fill if sensor and best[0].nodata is None else best[0].nodata
            yield reflectance_band(band, versions, *scalings[0], keys=keys, nodata=nodata)


def _offer(layer: AssetLayer, name: str) -> BandOffer:
    """Catalogue entry of a layer that is no Sentinel-2 band."""
    scaled = layer.scale is not None or layer.offset is not None
    sensor = sensor_of([layer.version.path]) if layer.kind == "measured" else None
    return BandOffer(
        name=name,
        versions=(layer.version,),
        common=layer.common,
        number=(band_number(layer.stem) or "").upper() if sensor and sensor.bands and layer.alone else "",
        keys=(layer.key,) if layer.alone else (),
        scale=1.0 if scaled and layer.scale is None else layer.scale,
        offset=0.0 if scaled and layer.offset is None else layer.offset,
        nodata=sensor.fill if layer.nodata is None and sensor else layer.nodata,
        quantity=layer.quantity,
        opened=layer.opened,
        kind=layer.kind,
    )


def _unique_names(layers: Sequence[AssetLayer]) -> list[str]:
    """Band names by the item or file, else by the asset's key; prefixed with the key where two are the same."""
    names = [layer.name or layer.common or plain_key(layer.key) for layer in layers]
    count = Counter(names)
    return [
        name if count[name] == 1 else f"{plain_key(layer.key)}_{name}"
        for layer, name in zip(layers, names, strict=True)
    ]


def _names_by_key(layers: Sequence[AssetLayer], taken: Iterable[str]) -> list[str]:
    """Names of layers by their assets' keys, made different from each other and from the names taken."""
    used = set(taken)
    names = []
    for layer in layers:
        name = plain_key(layer.key) if layer.alone else f"{plain_key(layer.key)}_{layer.name or layer.version.index}"
        while name in used:
            name += f"_{layer.version.index}"
        used.add(name)
        names.append(name)
    return names


def _product(item: Any, bands: Sequence[BandOffer], radiometry: Radiometry | None) -> Product:
    """Metadata of the item's product, for reports."""
    properties = item.properties
    return Product(
        name=str(properties.get("s2:product_uri") or item.id).removesuffix(".SAFE"),
        format=f"STAC item ({item.collection_id or properties.get('constellation') or 'no collection'})",
        level=_level(properties, item),
        date=str(properties.get("datetime") or properties.get("start_datetime") or "")[:10],
        tile=str(properties.get("s2:mgrs_tile") or properties.get("grid:code", "")).removeprefix("MGRS-"),
        baseline=radiometry.baseline if radiometry else "",
        radiometry=scaling_text(bands),
        sensor_known=bool(radiometry or sensor_of([band.native.path for band in bands if band.kind == "measured"])),
    )


def _level(properties: Mapping[str, Any], item: Any) -> str:
    """Processing level, such as L2A or L2SP, by the item's properties or names; empty if unknown."""
    stated = (
        properties.get(key, "") for key in ("s2:product_type", "product:type", "landsat:correction", "processing:level")
    )
    for word in (*stated, properties.get("s2:product_uri", ""), item.id, item.collection_id or ""):
        text = str(word).upper()
        sentinel2, landsat = _SENTINEL2_LEVEL.search(text), _LANDSAT_LEVEL.search(text)
        if sentinel2 or landsat:
            return f"L{sentinel2[1]}" if sentinel2 else landsat[1] if landsat else ""
    return ""
