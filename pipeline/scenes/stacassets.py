"""What a STAC item says of each band of its assets, in the words of STAC 1.0 and 1.1."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from pipeline.scenes.files import RASTER_SUFFIXES
from pipeline.scenes.numbers import as_number
from pipeline.scenes.offers import BandVersion

_RASTER_TYPES: Final = ("image/tiff", "image/vnd.stac.geotiff", "image/jp2", "application/x-geotiff")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One band of one asset, and what the item says of it."""

    key: str
    """Of the asset."""
    name: str
    common: str | None
    version: BandVersion
    scale: float | None
    offset: float | None
    nodata: float | None
    roles: frozenset[str]
    alone: bool
    """Whether it is its asset's only band."""
    is_original: bool
    """Whether the file is in the format in which the product was made, its numbers untouched: JPEG 2000."""
    dear: int
    """How dear the file is to read, among those that hold the same: JPEG 2000 more than GeoTIFF, S3 more than HTTP."""


def layers_of(key: str, asset: Any, source: str) -> Iterator[Layer]:
    """Bands of an asset, if it is a raster."""
    kind = (asset.media_type or "").split(";")[0].strip().lower()
    href = asset.get_absolute_href() or asset.href
    suffix = PurePosixPath(urlsplit(href).path).suffix.lower()
    if kind not in _RASTER_TYPES and not (not kind and suffix in RASTER_SUFFIXES):
        return
    fields = asset.extra_fields
    stated = fields.get("bands") or _joined(fields.get("eo:bands"), fields.get("raster:bands")) or [{}]
    for index, band in enumerate(stated, 1):
        said: Mapping[str, Any] = {**fields, **band}
        transform = said.get("proj:transform") or [said.get("gsd") or said.get("spatial_resolution") or 0]
        yield Layer(
            key=key,
            name=str(band.get("name") or band.get("description") or ""),
            common=band.get("eo:common_name") or band.get("common_name"),
            version=BandVersion(
                path=gdal_path(href),
                index=index,
                resolution=abs(_number(transform[0], key, source) or 0.0),
                shape=tuple(said.get("proj:shape") or ()),
            ),
            scale=_number(said.get("raster:scale", said.get("scale")), key, source),
            offset=_number(said.get("raster:offset", said.get("offset")), key, source),
            nodata=_nodata(said.get("nodata"), key, source),
            roles=frozenset(asset.roles or ()),
            alone=len(stated) == 1,
            is_original=suffix in {".jp2", ".j2k"},
            dear=2 * href.startswith("s3://") + (suffix in {".jp2", ".j2k"}),
        )


def _joined(named: Any, stored: Any) -> list[dict[str, Any]]:
    """One list of what two lists say of the same bands, as STAC 1.0 has them."""
    named, stored = named or [], stored or []
    count = max(len(named), len(stored))
    pad: list[dict[str, Any]] = [{}] * count
    return [{**one, **other} for one, other in zip([*named, *pad], [*stored, *pad], strict=False)][:count]


def _number(value: Any, key: str, source: str) -> float | None:
    """A number that an item states."""
    return None if value is None else as_number(value, f"{source}: asset {key}")


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
    return unquote(parts.path) if parts.scheme == "file" else href
