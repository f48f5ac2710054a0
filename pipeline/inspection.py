"""What a scene holds, told from metadata and a small picture of each band."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np
from rasterio.crs import CRS

from pipeline.config import SceneConfig
from pipeline.errors import SceneError
from pipeline.plan import chunk_shapes
from pipeline.scenes.bands import common_name
from pipeline.scenes.catalogue import open_catalogues
from pipeline.scenes.describe import summarize
from pipeline.scenes.ground import crs_name
from pipeline.scenes.looks import Look, look_at, show_one_place, suspicions
from pipeline.scenes.offers import BandVersion, Product, best_version, warn_of_sizes
from pipeline.scenes.placing import finest_band


@dataclass(frozen=True, kw_only=True)
class BandFacts:
    """One band."""

    number: str
    """That stands for it in `scene.bands`."""
    name: str
    common_name: str | None
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

    def record(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)


def inspect_scene(source: str | Sequence[str]) -> Inspection:
    """Look at a scene: its metadata, and a reduced picture of each band (from an overview where there is one).

    Raises
    ------
    SceneError
        When a file can't be opened or read.
    """
    catalogue, *others = open_catalogues(source)
    offers = [offer for offer in catalogue.choose("all") if best_version(offer)]
    if not offers:
        msg = f"{catalogue.origin}: none of the product's images is there; download it again"
        raise SceneError(msg)
    versions = [cast("BandVersion", best_version(offer)) for offer in offers]
    bands = [offer.open(version) for offer, version in zip(offers, versions, strict=True)]
    warn_of_sizes(versions, bands)
    numbers = {offer.name: catalogue.number(place) for place, offer in enumerate(catalogue.bands)}
    first = finest_band(bands)
    looks = [look_at(band, first) for band in bands]
    together = show_one_place(looks)
    chunk = chunk_shapes(summarize(bands, SceneConfig(source=(catalogue.origin,))).info)[0]
    rows, columns = first.grid.shape
    return Inspection(
        origin=catalogue.origin,
        product=catalogue.product,
        complete=len(offers) == len(catalogue.choose("all")),
        masks=tuple(map(str, catalogue.masks)),
        sources=tuple(dict.fromkeys(look.band.path for look in looks)),
        driver=first.driver,
        columns=columns,
        rows=rows,
        resolution=first.grid.resolution,
        unit=_unit(first.grid.crs),
        crs=crs_name(first.grid.crs) if first.grid.crs else None,
        block=first.block_shape[::-1],
        chunk=chunk[::-1],
        bands=tuple(_facts(look, numbers[look.band.name]) for look in looks),
        valid_share=float(np.logical_and.reduce([look.valid for look in looks]).mean()) if together else None,
        warnings=(
            *(
                f"{band.path}: band {band.index} is marked as alpha and used as a mask; "
                f"if it is data, name it in scene.bands: {band.name}"
                for offer in catalogue.bands
                if (band := offer.opened) and band.is_alpha
            ),
            *(f"this is the first of {len(others) + 1} that are named" for _ in others[:1]),
            *catalogue.notes,
            *suspicions(looks),
        ),
    )


def short_unit(unit: str) -> str:
    """A unit as numbers have it beside them: 60 m."""
    return {"metre": "m", "meter": "m", "kilometre": "km", "foot": "ft"}.get(unit.lower(), unit)


def _unit(wkt: str | None) -> str:
    if wkt is None:
        return "pixel"
    crs = CRS.from_wkt(wkt)
    return "degree" if crs.is_geographic else crs.linear_units


def _facts(look: Look, number: str) -> BandFacts:
    band, seen = look.band, look.picture[look.valid]
    return BandFacts(
        number=number,
        name=band.name,
        common_name=common_name(band.name),
        path=band.path,
        dtype=band.dtype,
        columns=band.grid.shape[1],
        rows=band.grid.shape[0],
        resolution=band.grid.resolution[0],
        nodata=None if band.nodata is None or np.isnan(band.nodata) else band.nodata,
        scale=band.scale,
        offset=band.offset,
        valid_share=float(look.valid.mean()),
        low=float(seen.min()) if seen.size else None,
        high=float(seen.max()) if seen.size else None,
    )
