"""What a scene holds, told from metadata and a small picture of each band."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS

from pipeline.config.record import parse_record
from pipeline.config.schema import ResourceConfig, SceneConfig
from pipeline.core.errors import SceneError
from pipeline.core.time_limits import TIMEOUT
from pipeline.engine.deadline import time_limit
from pipeline.formats.catalogue import BandOffer, BandVersion, Catalogue, Product
from pipeline.formats.detect import open_catalogues
from pipeline.formats.versions import best_version, warn_of_sizes
from pipeline.geo.overlap import crs_name
from pipeline.jobs.plan import chunk_shapes
from pipeline.raster.file_bands import FileBand
from pipeline.scenes.band_checks import alpha_notes, left_out_note, preview_notes
from pipeline.scenes.choose_grid import finest_band
from pipeline.scenes.empty_bands import find_empty_bands, names_of
from pipeline.scenes.preview import Preview, pixels_match, read_previews
from pipeline.scenes.raster_scene import assemble_scene
from pipeline.scenes.value_checks import BandValues, check_values

_TIMES_SHOWN: Final = 10


@dataclass(frozen=True, kw_only=True)
class BandFacts:
    """One band."""

    number: str
    """That stands for it in `scene.bands`."""
    name: str
    common_name: str | None
    quantity: str
    """Physical quantity once scale and offset are applied: reflectance, temperature ..., or numbers."""
    reflective: bool
    """Whether it measures reflected light, as far as is known: no heat, angle or height."""
    path: str
    dtype: str
    columns: int
    rows: int
    resolution: float
    nodata: float | None
    scale: float
    offset: float
    valid_share: float
    """0 to 1, of the pixels looked at."""
    low: float | None
    """Smallest valid value seen; None when there is none."""
    high: float | None
    empty: bool = False
    """Whether no pixel holds data at all: `auto` and `all` leave it out."""


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """A scene in facts and suspicions. Of bands on different grids, size and chunk are those of the finest."""

    origin: str
    """What was named, or the first file it stands for."""
    product: Product | None
    """What a product says of itself."""
    complete: bool
    """Whether all bands that 'all' stands for are there."""
    masks: tuple[str, ...]
    """Layers of the product that `scene.mask` takes, in words."""
    sources: tuple[str, ...]
    driver: str
    columns: int
    rows: int
    resolution: tuple[float, float]
    """(width, height) of a pixel in the units of the CRS."""
    unit: str
    """Of the resolution: metre, degree, ...; pixel where there is no CRS."""
    crs: str | None
    """Such as EPSG:32648, or a name."""
    block: tuple[int, int]
    """(columns, rows) that the file stores as one."""
    chunk: tuple[int, int]
    """(columns, rows) that a run would read as one."""
    bands: tuple[BandFacts, ...]
    valid_share: float | None
    """Share of pixels with data in every band; None when the bands are on different grids."""
    warnings: tuple[str, ...]
    times: tuple[str, ...] = ()
    """What the times that a store holds are called, of which the first was looked at."""

    def record(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)


def inspect_scene(source: str | Sequence[str], timeout: float = TIMEOUT) -> Inspection:
    """Look at a scene: its metadata, and a reduced picture of each band (from an overview where there is one).

    Parameters
    ----------
    source : str or sequence of str
        Files, folders or globs, or products.
    timeout : float
        Seconds, as the config's `run.timeout`.

    Raises
    ------
    ConfigError
        When the timeout is not allowed.
    SceneError
        When a file can't be opened or read.
    """
    with time_limit(parse_record(ResourceConfig, {"timeout": timeout}, "inspect").timeout):
        return _inspect(source)


def _inspect(source: str | Sequence[str]) -> Inspection:
    catalogue, *others = open_catalogues(source, time="first")
    offers = [offer for offer in catalogue.choose("all") if best_version(offer)]
    if not offers:
        msg = f"{catalogue.origin}: none of the product's images is there; download it again"
        raise SceneError(msg)
    versions = [cast("BandVersion", best_version(offer)) for offer in offers]
    bands = [offer.open(version) for offer, version in zip(offers, versions, strict=True)]
    warn_of_sizes(versions, bands)
    numbers = {offer.name: catalogue.number(place) for place, offer in enumerate(catalogue.bands)}
    common = dict(zip(catalogue.names, catalogue.common_names, strict=True))
    first = finest_band(bands)
    chunk = chunk_shapes(assemble_scene(bands, SceneConfig(source=(catalogue.origin,))).info)[0]
    empty = find_empty_bands(bands) if catalogue.may_hold_empty else []
    without = {band.name for band in empty}
    previews = read_previews(bands, first)
    full = [preview for preview in previews if preview.band.name not in without]
    together = pixels_match(full)
    valid = np.logical_and.reduce([preview.valid for preview in full]) if together else None
    rows, columns = first.grid.shape
    return Inspection(
        origin=catalogue.origin,
        product=catalogue.product,
        complete=len(offers) == len(catalogue.choose("all")),
        masks=tuple(map(str, catalogue.masks)),
        sources=tuple(dict.fromkeys(band.path for band in bands)),
        driver=first.driver,
        columns=columns,
        rows=rows,
        resolution=first.grid.resolution,
        unit=_unit(first.grid.crs),
        crs=crs_name(first.grid.crs) if first.grid.crs else None,
        block=first.block_shape[::-1],
        chunk=chunk[::-1],
        bands=tuple(
            _facts(preview, offer, numbers[offer.name], common[offer.name], empty=offer.name in without)
            for preview, offer in zip(previews, offers, strict=True)
        ),
        valid_share=None if valid is None else float(valid.mean()),
        times=catalogue.times,
        warnings=(
            *_alpha_notes(catalogue, bands),
            *(f"this is the first of {len(others) + 1} that are named" for _ in others[:1]),
            *catalogue.notes,
            *_several_times(catalogue.times),
            *dict.fromkeys(note for band in bands for note in band.notes),
            *filter(None, [left_out_note(catalogue, "all")]),
            *([f"no pixel holds data in {names_of(empty)}: left out of auto and all"] if empty else []),
            *preview_notes(full),
            *([] if valid is None else check_values(_values(full, valid), standardized=False)),
        ),
    )


def _several_times(times: Sequence[str]) -> Iterator[str]:
    if len(times) > 1:
        shown = ", ".join(times[:_TIMES_SHOWN]) + (", ..." if len(times) > _TIMES_SHOWN else "")
        yield f"it holds {len(times)} times: {shown}; the first was looked at, scene.time chooses"


def _alpha_notes(catalogue: Catalogue, bands: Sequence[FileBand]) -> Iterator[str]:
    """Tell of alpha bands: which are masks, and which are data."""
    opened = [offer.opened for offer in catalogue.bands if offer.opened]
    for band in opened:
        if band.is_alpha:
            yield (
                f"{band.path}: band {band.index} is marked as alpha and used as a mask; "
                f"if it is data, name it in scene.bands: {band.name}"
            )
    yield from alpha_notes([*bands, *opened])


def _values(previews: Sequence[Preview], valid: npt.NDArray[np.bool_]) -> BandValues:
    """The pixels of previews that are valid in every band."""
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
    """A unit as numbers have it beside them: 60 m."""
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
