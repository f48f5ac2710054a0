"""A STAC item as a catalogue of bands and masks."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from pipeline.core.band_names import SENTINEL2_COMMON_NAMES, band_from_file_name, band_order, split_stem
from pipeline.core.errors import SceneError
from pipeline.formats.catalogue import BandOffer, Catalogue, Product, numbers_words
from pipeline.formats.sensors import band_number, sensor_of
from pipeline.formats.sentinel2 import BAND_IDS, DEFAULT_BANDS, NATIVE_RESOLUTION, reflectance_band
from pipeline.formats.sentinel2_radiometry import Radiometry
from pipeline.formats.stac_assets import Layer, layers_of, plain_key, raster_or_reason
from pipeline.formats.stac_layers import best_of, mask_offers, told_by_mtl, with_file_bands, with_kinds

_REDEDGE: Final = {"rededge1": "B05", "rededge2": "B06", "rededge3": "B07"}
_PYSTAC: Final = 40 * 10**6
"""Bytes that the library takes: measured, with some room."""

_SENTINEL2_LEVEL: Final = re.compile(r"(?<![A-Z0-9])(?:S2)?(?:MSI)?L?(1C|2A)(?![A-Z0-9])")
_LANDSAT_LEVEL: Final = re.compile(r"(?<![A-Z0-9])(L[12][A-Z]{2})(?![A-Z0-9])")


def item_catalogue(item: Any, source: str) -> Catalogue:
    """What an item offers.

    Parameters
    ----------
    item : pystac.Item
        The item.
    source : str
        Where it comes from, for messages.

    Raises
    ------
    SceneError
        When it has no raster asset, or states numbers that are none.
    """
    layers, passed = _raster_layers(item, source)
    offered = _sentinel2_offer(layers, item, source) if _is_sentinel2(item) else None
    bands, default, whole, notes, others, radiometry = offered or _other_offer(layers, item, source)
    if not whole:
        msg = f"{source}: the item {item.id} has no raster asset; it has {', '.join(item.assets) or 'none'}"
        raise SceneError("; ".join([msg, *passed]))
    return Catalogue(
        origin=source,
        bands=tuple(bands),
        default=default,
        whole=whole,
        masks=tuple(mask_offers(layers)),
        product=_product(item, [band for band in bands if band.name in whole], radiometry),
        library_bytes=_PYSTAC,
        notes=(*(f"{source}: {note}" for note in passed), *notes),
        others=others,
        ambiguous="" if offered else _two_versions(layers, source),
    )


_Offer = tuple[
    list[BandOffer], tuple[str, ...], tuple[str, ...], Sequence[str], tuple[tuple[str, str], ...], Radiometry | None
]
"""Bands, names of those taken by default, of those that 'all' stands for, notes, other layers, Sentinel-2's radiometry.
"""


def _raster_layers(item: Any, source: str) -> tuple[list[Layer], list[str]]:
    """Bands of all assets that are rasters, and why assets were passed over that may hold data."""
    layers: list[Layer] = []
    passed = []
    listed = item.properties.get("eo:bands")
    for key, asset in item.assets.items():
        is_raster, reason = raster_or_reason(asset)
        if is_raster:
            layers += layers_of(key, asset, source, listed if isinstance(listed, list) else ())
        elif reason:
            passed.append(f"asset {key} is passed over: {reason}")
    return with_kinds(layers), passed


def _sentinel2_offer(layers: Sequence[Layer], item: Any, source: str) -> _Offer | None:
    """Bands of Sentinel-2 by its own names; None where the item names none that way."""
    radiometry = Radiometry.of(item, source)
    measured = [layer for layer in layers if layer.kind == "measured"]
    mine = [layer for layer in measured if _sentinel2_id(layer)]
    _check_versions(mine, source)
    bands = list(_sentinel2_bands(mine, radiometry))
    if not bands:
        return None
    names = tuple(band.name for band in bands)
    others = {layer.key: layer.kind if layer.kind != "measured" else "no bands of Sentinel-2" for layer in layers}
    left = tuple((key, kind) for key, kind in others.items() if key not in {layer.key for layer in mine})
    notes = radiometry.notes(source, [(layer.scale, layer.offset) for layer in mine])
    return bands, DEFAULT_BANDS if set(names) >= set(DEFAULT_BANDS) else (), names, notes, left, radiometry


def _other_offer(layers: Sequence[Layer], item: Any, source: str) -> _Offer:
    """Bands of other sensors: measured ones by the item's names, layers that describe them by their assets' keys."""
    layers, notes = told_by_mtl(with_file_bands(layers), item, source)
    layers = sorted(layers, key=lambda layer: band_order(layer.key))
    measured = [layer for layer in layers if layer.kind == "measured"]
    others = [layer for layer in layers if layer.kind != "measured"]
    names = _unique_names(measured)
    bands = [_offer(layer, name) for layer, name in zip(measured, names, strict=True)]
    layers_by_name = dict(zip(names, measured, strict=True))
    more = [_offer(layer, name) for layer, name in zip(others, _names_by_key(others, names), strict=True)]
    default = [band.name for band in bands if not band.measures_no_light and not band.is_alpha]
    if any(layers_by_name[name].is_spectral for name in default):
        unlike = [name for name in default if not layers_by_name[name].is_spectral]
        default = [name for name in default if name not in unlike]
        if unlike:
            notes.append(f"{source}: no default bands, as the item does not call them spectral: {', '.join(unlike)}")
    whole = tuple(band.name for band in bands if not band.is_alpha)
    return [*bands, *more], tuple(default), whole, notes, (), None


def _two_versions(layers: Sequence[Layer], source: str) -> str:
    """Say which two assets hold the same band, by the item's words; empty where none do."""
    first: dict[tuple[str, str, float], Layer] = {}
    for layer in layers:
        if layer.kind == "measured" and layer.common and layer.name:
            other = first.setdefault((layer.name, layer.common, layer.version.resolution), layer)
            if other.key != layer.key and other.version.path != layer.version.path:
                one, two = (f"{plain_key(asset.key)}_{layer.name}" for asset in (other, layer))
                return (
                    f"{source}: assets {other.key} and {layer.key} both hold a band {layer.name}; say in scene.bands "
                    f"which bands to take, such as {one} or {two}"
                )
    return ""


def _check_versions(layers: Sequence[Layer], source: str) -> None:
    """Raise SceneError where two assets are versions of one band, told apart by a word, such as MAJA's SRE and FRE."""
    first: dict[tuple[str | None, float, int], Layer] = {}
    for layer in layers:
        other = first.setdefault((_sentinel2_id(layer), layer.version.resolution, layer.expensive), layer)
        differing = set(split_stem(layer.stem)) ^ set(split_stem(other.stem))
        if differing and all(word.isalpha() for word in differing):
            msg = (
                f"{source}: assets {other.key} and {layer.key} are two versions of band {_sentinel2_id(layer)} "
                f"({other.stem}, {layer.stem}); name the files of one version instead of the item"
            )
            raise SceneError(msg)


def _is_sentinel2(item: Any) -> bool:
    named = f"{item.properties.get('constellation', '')} {item.properties.get('platform', '')}".lower()
    return "sentinel-2" in named or "sentinel 2" in named


def _sentinel2_id(layer: Layer) -> str | None:
    """Which of Sentinel-2's bands a layer is, told by its name, its file's name or its common name."""
    told = (layer.name.upper(), band_from_file_name(f"{layer.stem}.tif") if layer.alone else None)
    known = next((name for name in told if name in BAND_IDS), None)
    if known:
        return known
    words = (layer.key.lower() if layer.alone else "", layer.name.lower(), (layer.common or "").lower())
    ids = {common: band for band, common in SENTINEL2_COMMON_NAMES.items()} | _REDEDGE
    return next((ids[word] for word in words if word in ids), None)


def _sentinel2_bands(layers: Sequence[Layer], radiometry: Radiometry) -> Iterator[BandOffer]:
    """Reflectance bands, by Sentinel-2's own names, so that models fit whatever form a product comes in.

    Files whose numbers mean something else than those of the best one, such as ESA's beside harmonised copies, can't
    stand in for it.
    """
    for band in BAND_IDS:
        mine = best_of((one for one in layers if _sentinel2_id(one) == band), NATIVE_RESOLUTION[band])
        told = [radiometry.scale_and_offset(one.scale, one.offset, original=one.is_original) for one in mine]
        same = [layer for layer, own in zip(mine, told, strict=True) if own == told[0]]
        if same:
            versions = [layer.version for layer in same]
            keys = tuple(layer.key for layer in same if layer.alone)
            sensor = sensor_of([mine[0].version.path])
            nodata = sensor.fill if sensor and mine[0].nodata is None else mine[0].nodata
            yield reflectance_band(band, versions, *told[0], keys=keys, nodata=nodata)


def _offer(layer: Layer, name: str) -> BandOffer:
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


def _unique_names(layers: Sequence[Layer]) -> list[str]:
    """Names of bands as the item or the file has them, else their assets' keys; with the key where two are alike."""
    names = [layer.name or layer.common or plain_key(layer.key) for layer in layers]
    count = Counter(names)
    return [
        name if count[name] == 1 else f"{plain_key(layer.key)}_{name}"
        for layer, name in zip(layers, names, strict=True)
    ]


def _names_by_key(layers: Sequence[Layer], taken: Iterable[str]) -> list[str]:
    """Names of layers that are no default bands, such that none is taken."""
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
    said = item.properties
    return Product(
        name=str(said.get("s2:product_uri") or item.id).removesuffix(".SAFE"),
        format=f"STAC item ({item.collection_id or said.get('constellation') or 'no collection'})",
        level=_level(said, item),
        date=str(said.get("datetime") or said.get("start_datetime") or "")[:10],
        tile=str(said.get("s2:mgrs_tile") or said.get("grid:code", "")).removeprefix("MGRS-"),
        baseline=radiometry.baseline if radiometry else "",
        radiometry=numbers_words(bands),
        sensor_known=bool(radiometry or sensor_of([band.native.path for band in bands if band.kind == "measured"])),
    )


def _level(said: Mapping[str, Any], item: Any) -> str:
    """Processing level, such as L2A or L2SP, where the item tells it; else empty."""
    stated = (
        said.get(key, "") for key in ("s2:product_type", "product:type", "landsat:correction", "processing:level")
    )
    for word in (*stated, said.get("s2:product_uri", ""), item.id, item.collection_id or ""):
        text = str(word).upper()
        sentinel2, landsat = _SENTINEL2_LEVEL.search(text), _LANDSAT_LEVEL.search(text)
        if sentinel2 or landsat:
            return f"L{sentinel2[1]}" if sentinel2 else landsat[1] if landsat else ""
    return ""
