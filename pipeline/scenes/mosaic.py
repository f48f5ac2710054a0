"""Mosaics of several scenes: each pixel, with all its bands, comes from the first scene that is valid there."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.core.acquisition import Acquisition
from pipeline.core.errors import SceneError
from pipeline.core.grid import Block, Grid
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import Units
from pipeline.formats.catalogue import Catalogue
from pipeline.scenes.choose_grid import union_grid, window_on
from pipeline.scenes.cut import Cut
from pipeline.scenes.raster_scene import RasterScene
from pipeline.scenes.reading import Reading

logger = logging.getLogger(__name__)

_WHOLE: Final = 1e-4
"""Distance from a whole number that counts as rounding error, in stored numbers."""

_MARGIN: Final = 8
"""Pixels around a scene's extent that resampling may reach."""

_SPARSE: Final = 0.2
"""Share of a map covered by its scenes below which there is a warning."""


@dataclass(frozen=True)
class Extents:
    """Rectangles of a grid, one per scene, found by location."""

    blocks: tuple[Block, ...]

    @cached_property
    def _sides(self) -> npt.NDArray[np.int64]:
        """Top, left, bottom and right of each rectangle, shape (4, rectangle)."""
        starts = [(block.top, block.left) for block in self.blocks]
        stops = [(block.top + block.height, block.left + block.width) for block in self.blocks]
        return np.hstack([starts, stops]).T

    def touching(self, block: Block) -> list[int]:
        """Numbers of the rectangles that share pixels with a block, in ascending order.

        All are compared at once: some ten microseconds for thousands, and any window of the grid may be read.
        """
        (first, last), (west, east) = block.window
        top, left, bottom, right = self._sides
        found: list[int] = np.flatnonzero((top < last) & (bottom > first) & (left < east) & (right > west)).tolist()
        return found

    @property
    def pixels(self) -> int:
        """Number of pixels of all rectangles; where they overlap, pixels count for each."""
        return sum(block.height * block.width for block in self.blocks)


@dataclass(frozen=True)
class Mosaic:
    """Scenes described on one grid; where they overlap, the first valid one is used."""

    info: SceneInfo
    """Metadata of the mosaic, in the first scene's units."""
    reading: Reading
    scenes: tuple[RasterScene, ...]
    shifts: tuple[tuple[int, ...], ...]
    """Per scene, the number added to each band to convert it to the first scene's units."""
    extents: Extents
    """Per scene, the rectangle of the grid outside of which it has no pixels."""

    @property
    def is_remote(self) -> bool:
        """Whether any file of the scenes is remote."""
        return any(scene.is_remote for scene in self.scenes)

    @property
    def file_pixels(self) -> int:
        """Number of pixels in the files of the scenes and of their masks, over all bands."""
        return sum(scene.file_pixels for scene in self.scenes)

    def as_stored_numbers(self, like: Units | None = None) -> "Mosaic":
        """Return the mosaic without scales and offsets: of all bands, or of those that have none in the units `like`.

        Raises
        ------
        SceneError
            If offsets differ between scenes, so that equal stored numbers mean different things.
        """
        info = self.info.as_stored_numbers(like)
        stored = [quantity == "numbers" for quantity in info.units.quantities]
        if any(any(np.array(shift)[stored]) for shift in self.shifts):
            msg = (
                f"features.scale: {self.info.sources[0]} and others have different offsets, so their stored numbers "
                "can't be compared; leave features.scale at 'auto', or use scenes with the same offsets"
            )
            raise SceneError(msg)
        return replace(self, info=info)


def make_mosaic(scenes: Sequence[RasterScene], grids: Sequence[Grid], cut: Cut) -> Mosaic:
    """Make a mosaic of scenes with the same bands on the grid of a cut; `grids` are those of their files.

    Raises
    ------
    SceneError
        If stored numbers can't be converted exactly to the first scene's units, or there is no scene.
    """
    if not scenes:
        msg = "scene.aoi: none of the scenes overlaps the area of interest; choose an area within a scene"
        raise SceneError(msg)
    first, infos = scenes[0].info, [scene.info for scene in scenes]
    shifts = tuple(_shifts(first, info) for info in infos)
    kinds = {info.dtype for info in infos} | ({np.dtype(np.int32)} if any(map(any, shifts)) else set())
    info = replace(
        first,
        origin=cut.origin,
        map_window=cut.map_window,
        dtype=np.result_type(*kinds),
        nodata=(None,) * len(first.bands),  # applied per scene; a shifted number may equal the value
        masked=True,
        acquired=Acquisition.spanning(info.acquired for info in infos),
        drivers=tuple(dict.fromkeys(driver for info in infos for driver in info.drivers)),
        sources=tuple(dict.fromkeys(source for info in infos for source in info.sources)),
        files=tuple(dict.fromkeys(file for info in infos for file in info.files)),
    )
    extents = Extents(tuple(_extent(cut.grid, grid) for grid in grids))
    if extents.pixels / info.pixels < _SPARSE:
        rows, columns = cut.grid.shape
        logger.warning(
            "scene.source: the map of all scenes has %d x %d pixels, most of them between the scenes", columns, rows
        )
    reading = Reading.combined([(scene.info, scene.reading) for scene in scenes])
    return Mosaic(info, reading, tuple(scenes), shifts, extents)


def warn_of_hidden_dates(catalogues: Sequence[Catalogue], grids: Sequence[Grid], grid: Grid) -> None:
    """Warn of scenes within the extent of an earlier one of another date: they only fill its nodata pixels."""
    dates = [catalogue.product.date if catalogue.product else "" for catalogue in catalogues]
    extents = Extents(tuple(_extent(grid, own) for own in grids))
    hidden: dict[str, list[str]] = {}
    for i, (date, own) in enumerate(zip(dates, grids, strict=True)):
        earlier = [j for j in extents.touching(extents.blocks[i]) if j < i and date and dates[j] not in {"", date}]
        covering = next((dates[j] for j in earlier if union_grid([grids[j], own]).shape == grids[j].shape), None)
        if covering:
            hidden.setdefault(covering, []).append(f"{catalogues[i].origin} ({date})")
    for date, origins in hidden.items():
        logger.warning(
            "scene.source: these scenes are within the extent of the scene of %s before them, and are used only where "
            "it has no data: %s; for a map of each date, run them separately",
            date,
            ", ".join(origins),
        )


def _extent(grid: Grid, own: Grid) -> Block:
    """The rectangle of a grid that another grid overlaps, with a margin for resampling."""
    top, left, bottom, right = window_on(own, grid)
    rows, columns = grid.shape
    top, left = (min(max(0, start - _MARGIN), count - 1) for start, count in ((top, rows), (left, columns)))
    height, width = max(1, min(rows, bottom + _MARGIN) - top), max(1, min(columns, right + _MARGIN) - left)
    return Block(row=0, column=0, top=top, left=left, height=height, width=width)


def _shifts(first: SceneInfo, info: SceneInfo) -> tuple[int, ...]:
    """The number per band that converts a scene's stored numbers to the first scene's units.

    Raises
    ------
    SceneError
        If bands differ, or adding a whole number is not enough.
    """
    both = f"{first.sources[0]} and {info.sources[0]}"
    if info.bands != first.bands:
        msg = f"scene.source: {both} have different bands: {', '.join(first.bands)}, and {', '.join(info.bands)}"
        raise SceneError(msg)
    shifts = []
    for band, scale, offset, our_scale, our_offset in zip(
        first.bands, info.scales, info.offsets, first.scales, first.offsets, strict=True
    ):
        shift = (offset - our_offset) / our_scale
        if not math.isclose(scale, our_scale) or abs(shift - round(shift)) > _WHOLE:
            msg = (
                f"scene.source: {both} have band {band} in units that don't fit: scale {our_scale:g} and offset "
                f"{our_offset:g}, and scale {scale:g} and offset {offset:g}; use scenes with the same scale"
            )
            raise SceneError(msg)
        shifts.append(round(shift))
    return tuple(shifts)
