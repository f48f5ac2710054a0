"""What a STAC item says of each band of its assets, in the words of STAC 0.7 to 1.1."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from pipeline.core.errors import SceneError
from pipeline.core.layer_kinds import LayerKind
from pipeline.core.numbers import as_number
from pipeline.core.units import Quantity
from pipeline.formats.catalogue import BandVersion
from pipeline.formats.paths import RASTER_SUFFIXES
from pipeline.raster.file_bands import FileBand

_RASTER_TYPE: Final = re.compile(r"^(image|application)/.*(tif|jp2|jpx|j2k|jpeg2000|cog|vrt)")
_PICTURE_TYPE: Final = re.compile(r"^image/(png|jpe?g|gif|webp)")
_DOCUMENT_TYPE: Final = re.compile(r"^text/|json|xml|html|pdf")
_PICTURE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".gif", ".webp"})
_DOCUMENT_SUFFIXES: Final = frozenset({".xml", ".json", ".geojson", ".txt", ".html", ".htm", ".pdf", ".csv", ".md"})
_DATA_ROLES: Final = frozenset({"data", "reflectance", "temperature", "radiance", "backscatter", "elevation"})
_OTHER_ROLES: Final = frozenset({"thumbnail", "overview", "metadata", "tiles", "archive"})


@dataclass(frozen=True, kw_only=True)
class AssetLayer:
    """One band of one asset, and what the item says of it."""

    key: str
    """Of the asset."""
    name: str
    """Of the band; empty where the item names none."""
    common: str | None
    """Common name, as the item has it."""
    version: BandVersion
    scale: float | None
    offset: float | None
    nodata: float | None
    unit: str
    """Of the scaled numbers, in lower case; empty where none is stated."""
    roles: frozenset[str]
    alone: bool
    """Whether it is its asset's only band."""
    described: bool
    """Whether the item says which bands the asset has; else it may have more than this one."""
    is_spectral: bool
    """Whether the item calls it a band of an optical sensor."""
    has_classes: bool
    """Whether its values are classes or bits, by the item's words."""
    is_original: bool
    """Whether the file is in the format in which the product was made, its numbers untouched: JPEG 2000."""
    read_cost: int
    """How dear the file is to read, among those that hold the same: JPEG 2000 more than GeoTIFF, S3 more than HTTP."""
    kind: LayerKind = "measured"
    quantity: Quantity | None = None
    """Of the scaled numbers, as far as the item tells."""
    opened: FileBand | None = None
    """Where the file had to be opened to know which bands it has."""

    @property
    def stem(self) -> str:
        """Name of the file without suffix."""
        return PurePosixPath(urlsplit(self.version.path).path).stem


def raster_or_reason(asset: Any) -> tuple[bool, str]:
    """Whether an asset is a raster, told by media type, suffix and roles; if not, why, where it may still hold data."""
    kind = (asset.media_type or "").split(";")[0].strip().lower()
    suffix = _suffix(asset.href)
    roles = frozenset(asset.roles or ())
    described = any(asset.extra_fields.get(field) for field in ("bands", "eo:bands", "raster:bands"))
    may_hold = bool(roles & _DATA_ROLES or described) and not roles & _OTHER_ROLES
    is_document = bool(_DOCUMENT_TYPE.search(kind)) or suffix in _DOCUMENT_SUFFIXES
    told = f"its media type is {kind}" if kind else "it has no media type"
    told += f" and its name ends in {suffix}" if suffix else ""
    if _PICTURE_TYPE.search(kind) or (kind and suffix in _PICTURE_SUFFIXES):
        return may_hold, ""
    if _RASTER_TYPE.search(kind) or suffix in RASTER_SUFFIXES:
        if is_document and (suffix in _DOCUMENT_SUFFIXES or not may_hold):
            return False, "" if roles & _OTHER_ROLES else f"{told}, which contradict each other"
        return True, ""
    if described and not kind and not suffix:
        return True, ""
    return False, f"{told}, which is no raster" if may_hold and not is_document else ""


def _suffix(href: str) -> str:
    return PurePosixPath(urlsplit(href).path).suffix.lower()


def asset_layers(key: str, asset: Any, source: str, all_bands: Sequence[Any] = ()) -> Iterator[AssetLayer]:
    """Bands of an asset that is a raster.

    Parameters
    ----------
    key : str
        Of the asset.
    asset : pystac.Asset
        The asset.
    source : str
        The item, for messages.
    all_bands : sequence
        Bands that the item lists once for all assets, as items before STAC 1.0 do.
    """
    href = asset.get_absolute_href() or asset.href
    suffix = _suffix(href)
    fields = asset.extra_fields
    stated = _stated_bands(key, fields, all_bands, source)
    for index, band in enumerate(stated or [{}], 1):
        said: Mapping[str, Any] = {**fields, **band}
        transform = said.get("proj:transform") or [said.get("gsd") or said.get("spatial_resolution") or 0]
        common = band.get("eo:common_name") or band.get("common_name")
        yield AssetLayer(
            key=key,
            name=str(band.get("name") or band.get("description") or ""),
            common=str(common) if common else None,
            version=BandVersion(
                path=gdal_path(href),
                index=index,
                resolution=abs(_number(transform[0], key, source) or 0.0),
                shape=_shape(said.get("proj:shape"), key, source),
            ),
            scale=_stated_once("scale", said, key, source),
            offset=_stated_once("offset", said, key, source),
            nodata=_nodata(said.get("nodata"), key, source),
            unit=str(said.get("unit") or said.get("raster:unit") or "").strip().lower(),
            roles=frozenset(asset.roles or ()),
            alone=len(stated) <= 1,
            described=bool(stated),
            is_spectral=_is_spectral(fields, band, index),
            has_classes=bool(said.get("classification:classes") or said.get("classification:bitfields")),
            is_original=suffix in {".jp2", ".j2k"},
            read_cost=2 * href.startswith("s3://") + (suffix in {".jp2", ".j2k"}),
        )


def _is_spectral(fields: Mapping[str, Any], band: Mapping[str, Any], index: int) -> bool:
    """Whether the electro-optical extension speaks of a band, or its roles do."""
    eo = fields.get("eo:bands") or ()
    words = ("common_name", "eo:common_name", "center_wavelength", "eo:center_wavelength")
    return len(eo) >= index or any(band.get(word) for word in words)


def _stated_bands(key: str, fields: Mapping[str, Any], all_bands: Sequence[Any], source: str) -> list[dict[str, Any]]:
    """What the item says of an asset's bands, one mapping for each; none where it says nothing."""
    for field in ("bands", "eo:bands", "raster:bands"):
        if not isinstance(fields.get(field) or [], list | tuple):
            msg = f"{source}: asset {key}: {field} is {str(fields[field])[:40]!r}; expected a list; mend the item"
            raise SceneError(msg)
    if fields.get("bands"):
        return list(fields["bands"])
    named = [_looked_up(band, all_bands) for band in fields.get("eo:bands") or []]
    if not named:
        named = [dict(band) for band in all_bands if isinstance(band, dict) and band.get("name") == plain_key(key)]
    return _joined(named, fields.get("raster:bands") or [])


def plain_key(key: str) -> str:
    """Key of an asset without the suffix of a file: SR_B4 of SR_B4.TIF."""
    return key[: -len(_suffix(key))] if _suffix(key) in RASTER_SUFFIXES else key


def _looked_up(band: Any, all_bands: Sequence[Any]) -> Any:
    """A band that old items give by its place or name in the list of all."""
    if isinstance(band, int) and not isinstance(band, bool) and 0 <= band < len(all_bands):
        return all_bands[band]
    if isinstance(band, str):
        return next((one for one in all_bands if isinstance(one, dict) and one.get("name") == band), {"name": band})
    return band


def _joined(named: Sequence[Any], stored: Sequence[Any]) -> list[dict[str, Any]]:
    """One list of what two lists say of the same bands, as STAC 1.0 has them."""
    count = max(len(named), len(stored))
    pad: list[dict[str, Any]] = [{}] * count
    return [{**one, **other} for one, other in zip([*named, *pad], [*stored, *pad], strict=False)][:count]


def _number(value: Any, key: str, source: str) -> float | None:
    """A number that an item states."""
    return None if value is None else as_number(value, f"{source}: asset {key}")


def _stated_once(name: str, said: Mapping[str, Any], key: str, source: str) -> float | None:
    """A number that STAC 1.1 and 1.0 call differently, which must be one where both do."""
    new, old = (_number(said.get(word), key, source) for word in (f"raster:{name}", name))
    if None not in {new, old} and new != old:
        msg = f"{source}: asset {key}: {name} is given twice, as {old:g} and as {new:g}; mend the item"
        raise SceneError(msg)
    return old if new is None else new


def _shape(stated: Any, key: str, source: str) -> tuple[int, ...]:
    """(rows, columns) that an item states; empty where it states none."""
    if not stated:
        return ()
    numbers = stated if isinstance(stated, list | tuple) else [stated]
    if len(numbers) != 2 or not all(isinstance(number, int | float) for number in numbers):  # noqa: PLR2004
        msg = f"{source}: asset {key}: proj:shape is {str(stated)[:40]!r}; expected two numbers; mend the item"
        raise SceneError(msg)
    return tuple(numbers)


def _nodata(value: Any, key: str, source: str) -> float | None:
    """A nodata value that an item states; NaN and infinities may be spelled out."""
    if isinstance(value, str) and value.lower() in {"nan", "inf", "-inf"}:
        return float(value)
    return _number(value, key, source)


def gdal_path(href: str) -> str:
    """The path by which GDAL opens what an asset refers to."""
    parts = urlsplit(href)
    handlers = {"s3": "/vsis3", "gs": "/vsigs", "az": "/vsiaz", "abfs": "/vsiadls"}
    if parts.scheme in {"http", "https"}:
        return f"/vsicurl/{href}"
    if parts.scheme in handlers:
        return f"{handlers[parts.scheme]}/{parts.netloc}{parts.path}"
    return local_path(href)


def local_path(href: str) -> str:
    """The path of a file on this machine, which may be an address; others stay as they are."""
    parts = urlsplit(href)
    return unquote(parts.path) if parts.scheme == "file" else href
