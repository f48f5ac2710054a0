"""Raster layers of STAC assets, with the metadata that items of STAC 0.7 to 1.1 state of each band."""

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
    """One band of a STAC item's raster asset, of any kind, with the metadata that the item states of it."""

    key: str
    """Key of the asset in the item."""
    name: str
    """Name of the band; empty if the item states none."""
    common: str | None
    """Common name, such as red; None if unknown."""
    version: BandVersion
    """File and band number, with the resolution and shape that the item states."""
    scale: float | None
    """Factor from stored numbers to physical values; None if unstated."""
    offset: float | None
    """Offset added after scaling; None if unstated."""
    nodata: float | None
    """Nodata value of the stored numbers; None if unstated."""
    unit: str
    """Unit of the scaled values, in lower case; empty if unstated."""
    roles: frozenset[str]
    """Roles of the asset, such as data or cloud."""
    alone: bool
    """Whether it is the asset's only band, as far as the item states."""
    described: bool
    """Whether the item lists the bands of the asset; if not, the file may have more than this one."""
    is_spectral: bool
    """Whether the item describes it as a band of an optical sensor."""
    has_classes: bool
    """Whether the item states classes or bits for its values."""
    is_original: bool
    """Whether the file is in the product's original format (JPEG 2000), so that its numbers are not harmonised."""
    read_cost: int
    """Rank of reading cost among files with the same content: JPEG 2000 is above GeoTIFF, S3 above HTTP."""
    kind: LayerKind = "measured"
    """Kind of layer: a measured band, or one that only describes the scene, such as a quality layer."""
    quantity: Quantity | None = None
    """Physical quantity of the scaled values; None if the item does not show it."""
    opened: FileBand | None = None
    """Metadata of the file, if it was opened to list its bands; None before that."""

    @property
    def stem(self) -> str:
        """File name without folder and suffix."""
        return PurePosixPath(urlsplit(self.version.path).path).stem


def raster_or_reason(asset: Any) -> tuple[bool, str]:
    """Decide by media type, suffix and roles whether a `pystac.Asset` is a raster.

    Returns the reason why not, too, if it may hold data that the user misses.
    """
    kind = (asset.media_type or "").split(";")[0].strip().lower()
    suffix = _suffix(asset.href)
    roles = frozenset(asset.roles or ())
    described = any(asset.extra_fields.get(field) for field in ("bands", "eo:bands", "raster:bands"))
    may_hold = bool(roles & _DATA_ROLES or described) and not roles & _OTHER_ROLES
    is_document = bool(_DOCUMENT_TYPE.search(kind)) or suffix in _DOCUMENT_SUFFIXES
    stated = f"its media type is {kind}" if kind else "it has no media type"
    stated += f" and its name ends in {suffix}" if suffix else ""
    if _PICTURE_TYPE.search(kind) or (kind and suffix in _PICTURE_SUFFIXES):
        return may_hold, ""
    if _RASTER_TYPE.search(kind) or suffix in RASTER_SUFFIXES:
        if is_document and (suffix in _DOCUMENT_SUFFIXES or not may_hold):
            return False, "" if roles & _OTHER_ROLES else f"{stated}, which contradict each other"
        return True, ""
    if described and not kind and not suffix:
        return True, ""
    return False, f"{stated}, which is no raster" if may_hold and not is_document else ""


def _suffix(href: str) -> str:
    """Suffix of the file in an href, in lower case."""
    return PurePosixPath(urlsplit(href).path).suffix.lower()


def asset_layers(key: str, asset: Any, source: str, all_bands: Sequence[Any] = ()) -> Iterator[AssetLayer]:
    """List the layers of a raster asset, one per band; the first band of the file if the item does not list the bands.

    Parameters
    ----------
    key : str
        Key of the asset in the item.
    asset : pystac.Asset
        The asset.
    source : str
        Path or URL of the item, for messages.
    all_bands : sequence
        Bands that the item lists once for all assets, as items before STAC 1.0 do.

    Raises
    ------
    SceneError
        If a field of the asset is not of the type that STAC requires, or is stated twice with different values.
    """
    href = asset.get_absolute_href() or asset.href
    suffix = _suffix(href)
    fields = asset.extra_fields
    stated = _stated_bands(key, fields, all_bands, source)
    for index, band in enumerate(stated or [{}], 1):
        merged: Mapping[str, Any] = {**fields, **band}
        transform = merged.get("proj:transform") or [merged.get("gsd") or merged.get("spatial_resolution") or 0]
        common = band.get("eo:common_name") or band.get("common_name")
        yield AssetLayer(
            key=key,
            name=str(band.get("name") or band.get("description") or ""),
            common=str(common) if common else None,
            version=BandVersion(
                path=gdal_path(href),
                index=index,
                resolution=abs(_number(transform[0], key, source) or 0.0),
                shape=_shape(merged.get("proj:shape"), key, source),
            ),
            scale=_raster_number("scale", merged, key, source),
            offset=_raster_number("offset", merged, key, source),
            nodata=_nodata(merged.get("nodata"), key, source),
            unit=str(merged.get("unit") or merged.get("raster:unit") or "").strip().lower(),
            roles=frozenset(asset.roles or ()),
            alone=len(stated) <= 1,
            described=bool(stated),
            is_spectral=_is_spectral(fields, band, index),
            has_classes=bool(merged.get("classification:classes") or merged.get("classification:bitfields")),
            is_original=suffix in {".jp2", ".j2k"},
            read_cost=2 * href.startswith("s3://") + (suffix in {".jp2", ".j2k"}),
        )


def _is_spectral(fields: Mapping[str, Any], band: Mapping[str, Any], index: int) -> bool:
    """Whether the item uses the electro-optical extension for a band."""
    eo_bands = fields.get("eo:bands") or ()
    names = ("common_name", "eo:common_name", "center_wavelength", "eo:center_wavelength")
    return len(eo_bands) >= index or any(band.get(name) for name in names)


def _stated_bands(key: str, fields: Mapping[str, Any], all_bands: Sequence[Any], source: str) -> list[dict[str, Any]]:
    """Metadata that the item states of an asset's bands, one mapping per band; empty if it lists no bands."""
    for field in ("bands", "eo:bands", "raster:bands"):
        if not isinstance(fields.get(field) or [], list | tuple):
            msg = f"{source}: asset {key}: {field} is {str(fields[field])[:40]!r}; expected a list; fix the item"
            raise SceneError(msg)
    if fields.get("bands"):
        return list(fields["bands"])
    named = [_resolved(band, all_bands) for band in fields.get("eo:bands") or []]
    if not named:
        named = [dict(band) for band in all_bands if isinstance(band, dict) and band.get("name") == plain_key(key)]
    return _merged(named, fields.get("raster:bands") or [])


def plain_key(key: str) -> str:
    """Key of an asset without the suffix of a file, such as SR_B4 for SR_B4.TIF."""
    return key[: -len(_suffix(key))] if _suffix(key) in RASTER_SUFFIXES else key


def _resolved(band: Any, all_bands: Sequence[Any]) -> Any:
    """Metadata of a band that old items state by its index or name in the list of all bands."""
    if isinstance(band, int) and not isinstance(band, bool) and 0 <= band < len(all_bands):
        return all_bands[band]
    if isinstance(band, str):
        return next((one for one in all_bands if isinstance(one, dict) and one.get("name") == band), {"name": band})
    return band


def _merged(eo_bands: Sequence[Any], raster_bands: Sequence[Any]) -> list[dict[str, Any]]:
    """Merge the metadata in `eo:bands` and `raster:bands` of STAC 1.0, which describe the same bands."""
    count = max(len(eo_bands), len(raster_bands))
    pad: list[dict[str, Any]] = [{}] * count
    return [{**one, **other} for one, other in zip([*eo_bands, *pad], [*raster_bands, *pad], strict=False)][:count]


def _number(value: Any, key: str, source: str) -> float | None:
    """A number in an asset's metadata; None if it is not stated."""
    return None if value is None else as_number(value, f"{source}: asset {key}")


def _raster_number(name: str, merged: Mapping[str, Any], key: str, source: str) -> float | None:
    """Scale or offset of a band, named `raster:scale` in STAC 1.1 and `scale` in 1.0; both must agree."""
    new, old = (_number(merged.get(field), key, source) for field in (f"raster:{name}", name))
    if None not in {new, old} and new != old:
        msg = f"{source}: asset {key}: {name} is given twice, as {old:g} and as {new:g}; fix the item"
        raise SceneError(msg)
    return old if new is None else new


def _shape(stated: Any, key: str, source: str) -> tuple[int, ...]:
    """(rows, columns) of an asset; empty if they are not stated."""
    if not stated:
        return ()
    numbers = stated if isinstance(stated, list | tuple) else [stated]
    if len(numbers) != 2 or not all(isinstance(number, int | float) for number in numbers):  # noqa: PLR2004
        msg = f"{source}: asset {key}: proj:shape is {str(stated)[:40]!r}; expected two numbers; fix the item"
        raise SceneError(msg)
    return tuple(numbers)


def _nodata(value: Any, key: str, source: str) -> float | None:
    """Nodata value of a band, which may be text for NaN and infinities; None if it is not stated."""
    if isinstance(value, str) and value.lower() in {"nan", "inf", "-inf"}:
        return float(value)
    return _number(value, key, source)


def gdal_path(href: str) -> str:
    """Path by which GDAL opens an asset's href: `/vsicurl/`, `/vsis3/` and the like for URLs."""
    parts = urlsplit(href)
    handlers = {"s3": "/vsis3", "gs": "/vsigs", "az": "/vsiaz", "abfs": "/vsiadls"}
    if parts.scheme in {"http", "https"}:
        return f"/vsicurl/{href}"
    if parts.scheme in handlers:
        return f"{handlers[parts.scheme]}/{parts.netloc}{parts.path}"
    return local_path(href)


def local_path(href: str) -> str:
    """Local path of a `file:` URL; other hrefs unchanged."""
    parts = urlsplit(href)
    return unquote(parts.path) if parts.scheme == "file" else href
