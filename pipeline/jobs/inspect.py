"""Inspect a scene: bands, grid, values and warnings, from metadata and a reduced preview of each band."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS

from pipeline.config.record import parse_record
from pipeline.config.schema import ResourceConfig, SceneConfig
from pipeline.core.errors import SceneError
from pipeline.core.timeouts import DEFAULT_TIMEOUT
from pipeline.engine.time_limits import time_limit
from pipeline.formats.catalogue import BandOffer, Catalogue, Product
from pipeline.formats.detect import open_catalogues
from pipeline.formats.versions import best_version, warn_of_sizes
from pipeline.geo.overlap import crs_name
from pipeline.jobs.plan import chunk_shapes
from pipeline.raster.file_bands import FileBand
from pipeline.scenes.band_checks import alpha_notes, left_out_note, preview_notes
from pipeline.scenes.choose_grid import finest_band
from pipeline.scenes.empty_bands import find_empty_bands, names_of
from pipeline.scenes.facts import acquisition_of
from pipeline.scenes.open import open_bands
from pipeline.scenes.preview import Preview, pixels_match, read_previews
from pipeline.scenes.value_checks import BandValues, check_values

_TIMES_SHOWN: Final = 10


@dataclass(frozen=True, kw_only=True)
class BandFacts:
    """Facts about one band."""

    number: str
    """Number of the band in `scene.bands`."""
    name: str
    common_name: str | None
    quantity: str
    """Physical quantity after scale and offset: reflectance, temperature ..., or numbers."""
    reflective: bool
    """False if the band is known not to measure reflected light: temperature, angle, height."""
    path: str
    dtype: str
    columns: int
    rows: int
    resolution: float
    nodata: float | None
    scale: float
    offset: float
    valid_share: float
    """Share of the preview's pixels that are valid, 0 to 1."""
    low: float | None
    """Smallest valid value of the preview; None without valid pixels."""
    high: float | None
    """Largest valid value of the preview; None without valid pixels."""
    empty: bool = False
    """True if the band has no valid pixel at all: `auto` and `all` leave it out."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Facts and warnings about a scene. If bands are on different grids, size and chunk are those of the finest."""

    origin: str
    """The source as given, or its first file."""
    product: Product | None
    """Metadata of a product; None for other sources."""
    complete: bool
    """True if no file is missing for the bands of `all`."""
    masks: tuple[str, ...]
    """Descriptions of the product's layers that `scene.mask` accepts."""
    sources: tuple[str, ...]
    driver: str
    columns: int
    rows: int
    resolution: tuple[float, float]
    """Size of a pixel in the units of the CRS, (width, height)."""
    unit: str
    """Unit of the resolution: metre, degree, ...; pixel without a CRS."""
    crs: str | None
    """CRS as a code (EPSG:32648) or name; None without one."""
    block: tuple[int, int]
    """Shape of a block of the file, (columns, rows)."""
    chunk: tuple[int, int]
    """Shape of a chunk that a run would read at once, (columns, rows)."""
    bands: tuple[BandFacts, ...]
    valid_share: float | None
    """Share of pixels that are valid in every band, 0 to 1; None if the bands are on different grids."""
    warnings: tuple[str, ...]
    times: tuple[str, ...] = ()
    """Names of the times that a store holds; the first one is previewed."""
    acquired: str | None = None
    """When the scene was acquired, a date, time or period in ISO 8601; None if unknown."""

    def record(self) -> dict[str, Any]:
        """Return all attributes as plain values, for JSON."""
        return asdict(self)


def inspect_scene(source: str | Sequence[str], timeout: float = DEFAULT_TIMEOUT) -> Inspection:
    """Inspect a scene: read its metadata and a reduced preview of each band (from an overview if there is one).

    The timeout in seconds is that of a config, `run.timeout`. Raises ConfigError if it is not allowed, SceneError if a
    file can't be opened or read.
    """
    with time_limit(parse_record(ResourceConfig, {"timeout": timeout}, "--timeout").timeout):
        return _inspect(source)


def _inspect(source: str | Sequence[str]) -> Inspection:
    catalogue, *others = open_catalogues(source, time="first")
    present = [(offer, version) for offer in catalogue.choose("all") if (version := best_version(offer))]
    if not present:
        msg = f"{catalogue.origin}: all images of the product are missing; download it again"
        raise SceneError(msg)
    offers, versions = zip(*present, strict=True)
    bands = [offer.open(version) for offer, version in present]
    warn_of_sizes(versions, bands)
    numbers = {offer.name: catalogue.number(index) for index, offer in enumerate(catalogue.bands)}
    common = dict(zip(catalogue.names, catalogue.common_names, strict=True))
    finest, config = finest_band(bands), SceneConfig(source=(catalogue.origin,))
    chunk = chunk_shapes(open_bands(bands, config).info)[0]
    acquired = acquisition_of(bands, catalogue, config)
    empty = find_empty_bands(bands) if catalogue.may_hold_empty_bands else []
    empty_names = {band.name for band in empty}
    previews = read_previews(bands, finest)
    with_data = [preview for preview in previews if preview.band.name not in empty_names]
    same_grid = pixels_match(with_data)
    valid = np.logical_and.reduce([preview.valid for preview in with_data]) if same_grid else None
    rows, columns = finest.grid.shape
    return Inspection(
        origin=catalogue.origin,
        product=catalogue.product,
        complete=len(offers) == len(catalogue.choose("all")),
        masks=tuple(map(str, catalogue.masks)),
        sources=tuple(dict.fromkeys(band.path for band in bands)),
        driver=finest.driver,
        columns=columns,
        rows=rows,
        resolution=finest.grid.resolution,
        unit=_unit(finest.grid.crs),
        crs=crs_name(finest.grid.crs) if finest.grid.crs else None,
        block=finest.block_shape[::-1],
        chunk=chunk[::-1],
        bands=tuple(
            _facts(preview, offer, numbers[offer.name], common[offer.name], empty=offer.name in empty_names)
            for preview, offer in zip(previews, offers, strict=True)
        ),
        valid_share=None if valid is None else float(valid.mean()),
        times=catalogue.times,
        acquired=str(acquired) if acquired else None,
        warnings=(
            *_alpha_notes(catalogue, bands),
            *(f"{len(others) + 1} scenes are given; this is the first" for _ in others[:1]),
            *catalogue.notes,
            *_several_times(catalogue.times),
            *dict.fromkeys(note for band in bands for note in band.notes),
            *filter(None, [left_out_note(catalogue, "all")]),
            *([f"no pixel holds data in {names_of(empty)}: left out of auto and all"] if empty else []),
            *preview_notes(with_data),
            *([] if valid is None else check_values(_values(with_data, valid), standardized=False)),
        ),
    )


def _several_times(times: Sequence[str]) -> Iterator[str]:
    if len(times) > 1:
        shown = ", ".join(times[:_TIMES_SHOWN]) + (", ..." if len(times) > _TIMES_SHOWN else "")
        yield f"it holds {len(times)} times: {shown}; the first one is shown here, choose one with scene.time"


def _alpha_notes(catalogue: Catalogue, bands: Sequence[FileBand]) -> Iterator[str]:
    """Notes on alpha bands: which are masks, and which are data."""
    opened = [offer.opened for offer in catalogue.bands if offer.opened]
    for band in opened:
        if band.is_alpha:
            yield (
                f"{band.path}: band {band.index} is marked as alpha and used as a mask; "
                f"if it is data, name it in scene.bands: {band.name}"
            )
    yield from alpha_notes([*bands, *opened])


def _values(previews: Sequence[Preview], valid: npt.NDArray[np.bool_]) -> BandValues:
    """Values of the pixels that are valid in all previews."""
    bands = [preview.band for preview in previews]
    return BandValues(
        names=tuple(band.name for band in bands),
        stored=[preview.pixels[valid] for preview in previews],
        scales=tuple(band.scale for band in bands),
        offsets=tuple(band.offset for band in bands),
        quantities=tuple(band.quantity for band in bands),
        nodata=tuple(band.nodata for band in bands),
        masked=any(band.mask or band.alpha for band in bands),
    )


def short_unit(unit: str) -> str:
    """Symbol of a unit, as written after a number: m for metre."""
    return {"metre": "m", "meter": "m", "kilometre": "km", "foot": "ft"}.get(unit.lower(), unit)


def _unit(wkt: str | None) -> str:
    if wkt is None:
        return "pixel"
    crs = CRS.from_wkt(wkt)
    return "degree" if crs.is_geographic else crs.linear_units


def _facts(preview: Preview, offer: BandOffer, number: str, common: str | None, *, empty: bool) -> BandFacts:
    band, seen = preview.band, preview.pixels[preview.valid]
    return BandFacts(
        number=number,
        name=band.name,
        common_name=common,
        quantity=band.quantity,
        reflective=not offer.measures_no_light,
        path=band.path,
        dtype=band.dtype,
        columns=band.grid.shape[1],
        rows=band.grid.shape[0],
        resolution=band.grid.resolution[0],
        nodata=None if band.nodata is None or np.isnan(band.nodata) else band.nodata,
        scale=band.scale,
        offset=band.offset,
        valid_share=float(preview.valid.mean()),
        low=float(seen.min()) if seen.size else None,
        high=float(seen.max()) if seen.size else None,
        empty=empty,
    )
