"""What a scene holds, told from metadata and a small picture of each band; and what looks suspicious."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.crs import CRS
from rasterio.enums import Resampling

from pipeline.config import SceneConfig
from pipeline.errors import SceneError
from pipeline.kernels.validity import strike_invalid
from pipeline.plan import chunk_shapes
from pipeline.scenes.bands import common_name
from pipeline.scenes.catalogue import open_catalogues
from pipeline.scenes.describe import summarize
from pipeline.scenes.filebands import ArrayRef, FileBand
from pipeline.scenes.gdal import GDAL_ERRORS, gdal_options, shown
from pipeline.scenes.ground import bounds, crs_name, same_crs
from pipeline.scenes.offers import BandVersion, Product, best_version, warn_of_sizes
from pipeline.scenes.placing import finest_band

_LOOK: Final = 512
"""Longest side of the small picture, in pixels."""

_ZEROS_OF_NOTE: Final = 0.001
"""Share of untagged zeros from which they are worth a word."""


@dataclass(frozen=True)
class _Look:
    """A band and its small picture."""

    band: FileBand
    picture: npt.NDArray[Any]
    """Shape (rows, columns), every n-th pixel."""
    valid: npt.NDArray[np.bool_]


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
    looks = [_look(band, first) for band in bands]
    together = all(look.picture.shape == looks[0].picture.shape for look in looks)
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
            *_suspicions(looks),
        ),
    )


def _unit(wkt: str | None) -> str:
    if wkt is None:
        return "pixel"
    crs = CRS.from_wkt(wkt)
    return "degree" if crs.is_geographic else crs.linear_units


def _look(band: FileBand, first: FileBand) -> _Look:
    """Read a reduced picture of a band, by nearest neighbour, and which of its pixels hold data.

    It has the size of the first band's where both cover the same ground.
    """
    same_ground = same_crs(band.grid.crs, first.grid.crs) and np.allclose(
        bounds(band.grid), bounds(first.grid), rtol=0, atol=first.grid.resolution[0] / 2
    )
    rows, columns = first.grid.shape if same_ground else band.grid.shape
    step = max(1, -(-max(rows, columns) // _LOOK))
    nearest = {"out_shape": (-(-rows // step), -(-columns // step)), "resampling": Resampling.nearest}
    if band.array:
        return _look_at_array(band, (-(-rows // step), -(-columns // step)))
    try:
        with rasterio.Env(**gdal_options(band.path)), rasterio.open(band.path) as file:
            picture = file.read(band.index, **nearest)
            valid = np.ones(picture.shape, np.bool_)
            if band.mask is not None:
                valid &= file.read_masks(band.mask, **nearest) != 0
            if band.alpha is not None:
                valid &= file.read(band.alpha, **nearest) != 0
    except GDAL_ERRORS as error:
        cause = error.__cause__ or error
        msg = f"{shown(band.path)}: band {band.index} can't be read ({cause}); the file is damaged or cut short"
        raise SceneError(msg) from error
    return _Look(band, picture, strike_invalid(picture[np.newaxis], (band.nodata,), valid))


def _look_at_array(band: FileBand, shape: tuple[int, int]) -> _Look:
    """The same of a store, which has no overviews: each of its chunks is read once."""
    from pipeline.scenes.arrays import ArrayReader  # noqa: PLC0415 (xarray takes half a second to import)

    reader = ArrayReader(cast("ArrayRef", band.array))
    picked = [
        ((np.arange(wanted) + 0.5) * count / wanted).astype(int)
        for wanted, count in zip(shape, band.grid.shape, strict=True)
    ]
    picture = np.empty(shape, band.dtype)
    for block in band.grid.blocks(band.block_shape):
        data = np.empty((1, *block.shape), band.dtype)
        reader.read(block, data, np.ones(block.shape, np.bool_))
        inside = [
            np.flatnonzero((places >= part.start) & (places < part.stop))
            for places, part in zip(picked, block.slices, strict=True)
        ]
        rows, columns = (picked[axis][inside[axis]] - block.slices[axis].start for axis in (0, 1))
        picture[np.ix_(*inside)] = data[0][np.ix_(rows, columns)]
    return _Look(band, picture, strike_invalid(picture[np.newaxis], (band.nodata,), np.ones(shape, np.bool_)))


def _facts(look: _Look, number: str) -> BandFacts:
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


def _suspicions(looks: Sequence[_Look]) -> Iterator[str]:
    """Say what may spoil a map."""
    first = looks[0].band
    if first.grid.crs is None:
        yield "no coordinate reference system: the map will have none, and areas are unknown"
    for i, look in enumerate(looks):
        yield from _band_suspicions(look)
        twin = next((other for other in looks[:i] if _same(look, other)), None)
        if twin and look.picture[look.valid].size and look.picture.min() != look.picture.max():
            yield f"band {look.band.name} looks the same as {twin.band.name}: it adds weight, not information"
    sizes = {look.band.grid.describe(): look.band.name for look in reversed(looks)}
    if len(sizes) > 1:
        listed = "; ".join(f"{size} (such as {name})" for size, name in reversed(sizes.items()))
        yield f"the bands have different grids; together they are brought onto the finest: {listed}"
    if len({look.picture.shape for look in looks}) == 1 and not any(
        look.band.mask or look.band.alpha or look.band.nodata is not None for look in looks
    ):
        zeros = float(np.logical_and.reduce([look.picture == 0 for look in looks]).mean())
        if zeros > _ZEROS_OF_NOTE:
            yield (
                f"{zeros:.1%} of the pixels are 0 in every band, and no nodata is set: "
                "if 0 means no data, set scene.nodata: 0"
            )


def _band_suspicions(look: _Look) -> Iterator[str]:
    seen = look.picture[look.valid]
    if not seen.size:
        yield f"band {look.band.name} has no valid pixel among those looked at"
    elif seen.min() == seen.max():
        yield f"band {look.band.name} is {seen.flat[0]:g} everywhere among the pixels looked at: leave it out"
    if look.picture.dtype.kind == "f" and np.isinf(look.picture).any():
        yield f"band {look.band.name} holds infinite values: they count as nodata"


def _same(look: _Look, other: _Look) -> bool:
    floats = look.picture.dtype.kind == "f"
    return bool(np.array_equal(look.picture, other.picture, equal_nan=floats))
