"""A small picture of each band, and what in them looks suspicious."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling

from pipeline.errors import SceneError
from pipeline.grid import Grid
from pipeline.kernels.validity import strike_invalid
from pipeline.scenes.filebands import ArrayRef, FileBand
from pipeline.scenes.gdal import GDAL_ERRORS, archive_or_file, gdal_options, shown
from pipeline.scenes.ground import bounds, covered, place, same_crs

_LOOK: Final = 512
"""Longest side of the small picture, in pixels."""

_ZEROS_OF_NOTE: Final = 0.001
"""Share of untagged zeros from which they are worth a word."""

_ALL: Final = 0.99
"""Share of the first band's ground that others cover, at least: edges of products differ by some pixels."""


@dataclass(frozen=True)
class Look:
    """A band and its small picture."""

    band: FileBand
    picture: npt.NDArray[Any]
    """Shape (rows, columns), every n-th pixel."""
    valid: npt.NDArray[np.bool_]


def look_at(band: FileBand, first: FileBand) -> Look:
    """Read a reduced picture of a band, by nearest neighbour, and which of its pixels hold data.

    It has the size of the first band's where both cover the same ground.
    """
    rows, columns = first.grid.shape if _same_place(band.grid, first.grid) else band.grid.shape
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
        damaged = f"the {archive_or_file(band.path)} is damaged or cut short"
        msg = f"{shown(band.path)}: band {band.index} can't be read ({cause}); {damaged}"
        raise SceneError(msg) from error
    return Look(band, picture, strike_invalid(picture[np.newaxis], (band.nodata,), valid))


def _same_place(one: Grid, other: Grid) -> bool:
    """Whether two grids show the same ground, but for half a pixel."""
    return same_crs(one.crs, other.crs) and np.allclose(
        bounds(one), bounds(other), rtol=0, atol=other.resolution[0] / 2
    )


def show_one_place(looks: Sequence[Look]) -> bool:
    """Whether pixels of all pictures can be held beside each other."""
    first = looks[0]
    return all(
        look.picture.shape == first.picture.shape and _same_place(look.band.grid, first.band.grid) for look in looks
    )


def _look_at_array(band: FileBand, shape: tuple[int, int]) -> Look:
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
    return Look(band, picture, strike_invalid(picture[np.newaxis], (band.nodata,), np.ones(shape, np.bool_)))


def suspicions(looks: Sequence[Look]) -> Iterator[str]:
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
    elsewhere = next((look.band for look in looks if covered(first.grid, look.band.grid) < _ALL), None)
    if elsewhere:
        yield (
            f"bands {first.name} and {elsewhere.name} don't show the same ground: {place(first.grid)}, and "
            f"{place(elsewhere.grid)}; the map is that of the finest band, with data where all bands have some"
        )
    if show_one_place(looks) and not any(
        look.band.mask or look.band.alpha or look.band.nodata is not None for look in looks
    ):
        zeros = float(np.logical_and.reduce([look.picture == 0 for look in looks]).mean())
        if zeros > _ZEROS_OF_NOTE:
            yield (
                f"{zeros:.1%} of the pixels are 0 in every band, and no nodata is set: "
                "if 0 means no data, set scene.nodata: 0"
            )


def _band_suspicions(look: Look) -> Iterator[str]:
    seen = look.picture[look.valid]
    if not seen.size:
        yield f"band {look.band.name} has no valid pixel among those looked at"
    elif seen.min() == seen.max():
        yield f"band {look.band.name} is {seen.flat[0]:g} everywhere among the pixels looked at: leave it out"
    if look.picture.dtype.kind == "f" and np.isinf(look.picture).any():
        yield f"band {look.band.name} holds infinite values: they count as nodata"


def _same(look: Look, other: Look) -> bool:
    if not show_one_place((look, other)):
        return False
    floats = look.picture.dtype.kind == "f"
    return bool(np.array_equal(look.picture, other.picture, equal_nan=floats))
