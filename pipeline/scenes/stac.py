"""STAC items: their assets as bands.

Sources: STAC specification 1.0.0 and 1.1.0; the extensions eo, raster, projection; Earth Search v1, Planetary
Computer, the Copernicus Data Space and stactools' sentinel2 package, as their items are.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit

from pipeline.errors import SceneError
from pipeline.jsontext import RepeatedKeyError, parse_json
from pipeline.scenes.bands import SENTINEL2_COMMON_NAMES, band_from_file_name, band_order
from pipeline.scenes.fetch import fetch
from pipeline.scenes.files import RASTER_SUFFIXES
from pipeline.scenes.offers import BandOffer, Catalogue, MaskOffer, Product, numbers_words
from pipeline.scenes.radiometry import Radiometry
from pipeline.scenes.sentinel2 import BAND_IDS, DEFAULT_BANDS, NATIVE_RESOLUTION, reflectance_band
from pipeline.scenes.stacassets import Layer, layers_of

_NO_DATA_ROLES: Final = frozenset({"thumbnail", "overview", "visual", "metadata", "tiles"})
_PICTURE: Final = re.compile(r"(?i)(^|[_\W])(visual|preview|overview|thumbnail|tci)($|[_\W\d])")
"""Keys and names of pictures, which some items call data."""

_QUALITY_ROLES: Final = frozenset(
    {"cloud", "cloud-shadow", "snow-ice", "saturation", "data-mask", "water-mask", "land-water", "quality"}
)
_QUALITY: Final = re.compile(r"(?i)(^|[_\W])(qa|cloud_qa|st_qa|scl|aot|wvp|mask)($|[_\W])")
"""Keys of layers that describe a scene and measure nothing of the ground."""

_MASKS: Final = {"scl": "scl", "qa_pixel": "qa_pixel"}
_REDEDGE: Final = {"rededge1": "B05", "rededge2": "B06", "rededge3": "B07"}
_PYSTAC: Final = 40 * 10**6
"""Bytes that the library takes: measured, with some room."""

_LARGEST_JSON: Final = 64 * 2**20


def is_stac(source: str) -> bool:
    """Whether a source looks like a STAC item: a JSON file, or an address that is no raster's."""
    try:
        parts = urlsplit(source)
    except ValueError:  # no address at all
        return False
    if parts.scheme in {"http", "https"}:
        return PurePosixPath(parts.path).suffix.lower() not in RASTER_SUFFIXES | {".zip"}
    return source.lower().endswith((".json", ".geojson")) and Path(source).is_file()


def open_items(source: str) -> list[Catalogue]:
    """Read what STAC items offer.

    Parameters
    ----------
    source : str
        A JSON file or an address: an item, or a list or collection of features that holds some.

    Raises
    ------
    SceneError
        When it can't be read, is no item, or has no raster asset.
    """
    items = read_items(source)
    named = [(item, source if len(items) == 1 else f"{source} ({item.id})") for item in items]
    files = () if "://" in source else (source,)
    try:
        return [replace(item_catalogue(item, name), files=files) for item, name in named]
    except (TypeError, AttributeError, KeyError, ValueError, IndexError) as error:
        msg = f"{source}: an asset of this item is not as STAC has it ({error}); mend the item"
        raise SceneError(msg) from error


def read_items(source: str) -> list[Any]:
    """Read STAC items, with pystac.

    Raises
    ------
    SceneError
        When the text can't be read or holds no item.
    """
    import pystac  # noqa: PLC0415 (not for every scene)

    try:
        content = parse_json(fetch(source, _LARGEST_JSON))
    except RepeatedKeyError as error:
        msg = f"{source}: {error}, so this STAC item says two things; mend it"
        raise SceneError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{source}: this is no JSON ({f'{error}'.splitlines()[0]}), so no STAC item; name an item or raster files"
        raise SceneError(msg) from error
    found = content if isinstance(content, list) else [content]
    if isinstance(content, dict) and content.get("type") == "FeatureCollection":
        found = content.get("features") or []
        if not isinstance(found, list):
            msg = f"{source}: 'features' is no list; expected a collection of STAC items"
            raise SceneError(msg)
    items = []
    for entry in found:
        if not (isinstance(entry, dict) and entry.get("type") == "Feature" and "stac_version" in entry):
            what = entry.get("type") if isinstance(entry, dict) else type(entry).__name__
            msg = f"{source}: this is JSON, but no STAC item (found {what!r})"
            raise SceneError(msg)
        _check_assets(entry, source)
        try:
            items.append(pystac.Item.from_dict(entry, href=source, preserve_dict=False))
        except (pystac.STACError, KeyError, TypeError, ValueError, AttributeError) as error:
            msg = f"{source}: this STAC item can't be read ({type(error).__name__}: {error})"
            raise SceneError(msg) from error
    if not items:
        msg = f"{source}: this holds no STAC item"
        raise SceneError(msg)
    return items


def _check_assets(entry: dict[str, Any], source: str) -> None:
    """Raise SceneError unless an item's assets are a mapping of mappings with addresses."""
    assets = entry.get("assets", {})
    if not isinstance(assets, dict) or not isinstance(entry["stac_version"], str):
        msg = f"{source}: the item {str(entry.get('id'))[:60]!r} has no assets, or no STAC version, as STAC has them"
        raise SceneError(msg)
    for key, asset in assets.items():
        if not (isinstance(asset, dict) and isinstance(asset.get("href"), str) and asset["href"]):
            msg = f"{source}: asset {key} has no href, so there is nothing to open"
            raise SceneError(msg)


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
    layers = [layer for key, asset in item.assets.items() for layer in layers_of(key, asset, source)]
    is_s2 = _is_sentinel2(item)
    masks = [layer for layer in layers if _mask_kind(layer)]
    measured = [layer for layer in layers if not _mask_kind(layer) and not _is_picture(layer)]
    radiometry = Radiometry.of(item) if is_s2 else None
    bands = list(_sentinel2_bands(measured, radiometry) if radiometry else _other_bands(measured))
    if not bands:
        msg = f"{source}: the item {item.id} has no raster asset; it has {', '.join(item.assets) or 'none'}"
        raise SceneError(msg)
    default, whole = _choices(bands, measured, is_s2=is_s2)
    stated = any(layer.scale is not None or layer.offset is not None for layer in measured)
    return Catalogue(
        origin=source,
        bands=tuple(bands),
        default=default,
        whole=whole,
        masks=tuple(_masks(masks)),
        product=_product(item, bands, radiometry),
        libraries=_PYSTAC,
        notes=radiometry.notes(source, stated=stated) if radiometry else (),
    )


def _choices(
    bands: Sequence[BandOffer], layers: Sequence[Layer], *, is_s2: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the bands that are taken by default, and that 'all' stands for: no layers of quality."""
    names = tuple(band.name for band in bands)
    if is_s2:
        return (DEFAULT_BANDS if set(names) >= set(DEFAULT_BANDS) else ()), names
    quality = {layer.key for layer in layers if layer.roles & _QUALITY_ROLES or _QUALITY.search(layer.key)}
    whole = tuple(band.name for band in bands if not quality.intersection(band.keys))
    known = tuple(band.name for band in bands if band.common and band.name in whole)
    return known, whole


def _is_picture(layer: Layer) -> bool:
    stem = PurePosixPath(urlsplit(layer.version.path).path).stem
    return bool(layer.roles & _NO_DATA_ROLES or _PICTURE.search(layer.key) or _PICTURE.search(stem))


def _is_sentinel2(item: Any) -> bool:
    named = f"{item.properties.get('constellation', '')} {item.properties.get('platform', '')}".lower()
    return "sentinel-2" in named or "sentinel 2" in named


def _mask_kind(layer: Layer) -> str | None:
    """Which mask a layer is, told by its asset's key or its file's name."""
    stem = PurePosixPath(urlsplit(layer.version.path).path).stem.lower()
    words = {*layer.key.lower().replace("-", "_").split("_"), *stem.split("_"), layer.key.lower()}
    return next((kind for word, kind in _MASKS.items() if word in words or stem.endswith(word)), None)


def _masks(layers: Sequence[Layer]) -> Iterator[MaskOffer]:
    for kind in _MASKS.values():
        mine = _best([layer for layer in layers if _mask_kind(layer) == kind], 20.0)
        if mine:
            yield MaskOffer(kind=kind, versions=tuple(layer.version for layer in mine))  # type: ignore[arg-type]


def _best(layers: Iterable[Layer], native: float | None) -> list[Layer]:
    """Of each resolution the layer that is cheapest to read; the native resolution first, then the finest."""
    by_size: dict[float, Layer] = {}
    for layer in sorted(layers, key=lambda layer: layer.dear):
        by_size.setdefault(layer.version.resolution, layer)
    return sorted(by_size.values(), key=lambda layer: (layer.version.resolution != native, layer.version.resolution))


def _sentinel2_id(layer: Layer) -> str | None:
    """Which of Sentinel-2's bands a layer is, told by its name, its file's name or its common name."""
    told = (layer.name.upper(), band_from_file_name(urlsplit(layer.version.path).path))
    known = next((name for name in told if name in BAND_IDS), None)
    if known:
        return known
    words = (layer.key.lower(), (layer.common or "").lower())
    ids = {common: band for band, common in SENTINEL2_COMMON_NAMES.items()} | _REDEDGE
    return next((ids[word] for word in words if word in ids), None)


def _sentinel2_bands(layers: Sequence[Layer], radiometry: Radiometry) -> Iterator[BandOffer]:
    """Reflectance bands, by Sentinel-2's own names, so that models fit whatever form a product comes in."""
    for band in BAND_IDS:
        mine = _best((one for one in layers if one.alone and _sentinel2_id(one) == band), NATIVE_RESOLUTION[band])
        if mine:
            scale, offset = radiometry.scale_and_offset(mine[0].scale, mine[0].offset, original=mine[0].is_original)
            versions = [layer.version for layer in mine]
            keys = tuple(layer.key for layer in mine)
            yield reflectance_band(band, versions, scale, offset, keys=keys, nodata=mine[0].nodata)


def _other_bands(layers: Sequence[Layer]) -> Iterator[BandOffer]:
    """Bands of other sensors, named as the item names them, or as the asset is called."""
    names = [layer.name or layer.common or layer.key for layer in layers]
    for layer, name in sorted(zip(layers, names, strict=True), key=lambda pair: band_order(pair[0].key)):
        unique = name if names.count(name) == 1 else layer.key if len({*names}) == len(names) else f"{layer.key}_{name}"
        scaled = layer.scale is not None or layer.offset is not None
        yield BandOffer(
            name=unique,
            versions=(layer.version,),
            common=layer.common,
            keys=(layer.key,),
            scale=1.0 if scaled and layer.scale is None else layer.scale,
            offset=0.0 if scaled and layer.offset is None else layer.offset,
            nodata=layer.nodata,
            quantity="scaled" if scaled and (layer.scale, layer.offset) != (1, 0) else None,
        )


def _product(item: Any, bands: Sequence[BandOffer], radiometry: Radiometry | None) -> Product:
    said = item.properties
    return Product(
        name=str(said.get("s2:product_uri") or item.id).removesuffix(".SAFE"),
        format=f"STAC item ({item.collection_id or said.get('constellation') or 'no collection'})",
        level=_level(said, item.id),
        date=str(said.get("datetime") or said.get("start_datetime") or "")[:10],
        tile=str(said.get("s2:mgrs_tile") or said.get("grid:code", "")).removeprefix("MGRS-"),
        baseline=radiometry.baseline if radiometry else "",
        radiometry=numbers_words(bands),
    )


def _level(said: Mapping[str, Any], name: str) -> str:
    words = f"{said.get('s2:product_type', '')} {said.get('product:type', '')} {name}".upper()
    return next((level for level, mark in (("L2A", "2A"), ("L1C", "1C")) if mark in words), "")
