"""Mosaics of several scenes: each pixel, with all its bands, comes from the first scene that is valid there."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
from affine import Affine

from pipeline.core.errors import SceneError
from pipeline.core.grid import Block, Grid
from pipeline.core.scene_info import SceneInfo, combine_open_files
from pipeline.core.units import Units
from pipeline.geo.overlap import bounds, bounds_in
from pipeline.scenes.raster_scene import RasterScene

logger = logging.getLogger(__name__)

_WHOLE: Final = 1e-4
"""Distance from a whole number that counts as rounding error, in stored numbers or in pixels."""

_MARGIN: Final = 8
"""Pixels around a scene's extent that resampling may reach."""

_SPARSE: Final = 0.2
"""Share of a map covered by its scenes below which there is a warning."""

_MOST_PIXELS: Final = 2**40
"""Largest number of pixels of a mosaic: with more, one scene is far from the others by mistake."""

_LONGEST_SIDE: Final = 2**31 - 1
"""Largest number of rows or columns of a raster that GDAL writes."""


@dataclass(frozen=True)
class Extents:
    """Rectangles of a grid, one per scene, found by place."""

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


def union_grid(grids: Sequence[Grid]) -> Grid:
    """Extend the first of some grids until it covers all of them.

    Raises
    ------
    SceneError
        If some grids have a CRS and others have none.
    """
    first = grids[0]
    if any((grid.crs is None) != (first.crs is None) for grid in grids):
        msg = (
            "scene.source: one of the scenes has no coordinate reference system, so no mosaic can be made; leave it out"
        )
        raise SceneError(msg)
    tops, lefts, bottoms, rights = zip(*(_window(grid, first) for grid in grids), strict=True)
    top, left = min(tops), min(lefts)
    shape = (max(bottoms) - top, max(rights) - left)
    return Grid(shape=shape, transform=first.transform @ Affine.translation(left, top), crs=first.crs)


def check_size(grid: Grid) -> None:
    """Raise SceneError if a mosaic is too large to be the one that is wanted, or for GDAL to write its map."""
    rows, columns = grid.shape
    if rows * columns > _MOST_PIXELS or max(rows, columns) > _LONGEST_SIDE:
        msg = (
            f"scene.source: a map of all scenes would have {columns} x {rows} pixels; choose scenes closer to "
            "each other, or set a smaller scene.aoi"
        )
        raise SceneError(msg)


def _window(grid: Grid, other: Grid) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of a grid in rows and columns of another grid."""
    west, south, east, north = bounds(grid) if other.crs is None else bounds_in(grid, other.crs)
    corners = [~other.transform @ corner for corner in ((west, north), (east, south), (west, south), (east, north))]
    columns, rows = zip(*corners, strict=True)
    return (
        math.floor(min(rows) + _WHOLE),
        math.floor(min(columns) + _WHOLE),
        math.ceil(max(rows) - _WHOLE),
        math.ceil(max(columns) - _WHOLE),
    )


def make_mosaic(scenes: Sequence[RasterScene], grids: Sequence[Grid]) -> Mosaic:
    """Make a mosaic of scenes with the same bands on the same grid; `grids` are those of their files.

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
    dtype = np.result_type(*kinds)
    info = replace(
        first,
        dtype=dtype,
        nodata=(None,) * len(first.bands),  # applied per scene; a shifted number may equal the value
        masked=True,
        expensive=any(info.expensive for info in infos),
        compressed=any(info.compressed for info in infos),
        read_by_file_block=True,
        mask_margins=max((info.mask_margins for info in infos), key=lambda margins: sum(m * b for m, b in margins)),
        warp_bytes=max(info.warp_bytes for info in infos),
        library_bytes=max(info.library_bytes for info in infos),
        decoded_bytes=sum(info.decoded_bytes for info in infos),
        extra_bytes_per_pixel=max(info.extra_bytes_per_pixel + info.bytes_per_pixel + 1 for info in infos),
        file_block_bytes=max(info.file_block_bytes for info in infos),
        blocks_at_once=max(info.blocks_at_once for info in infos),
        open_files=combine_open_files(info.open_files for info in infos),
        strip_bytes=sum(info.strip_bytes for info in infos),
        drivers=tuple(dict.fromkeys(driver for info in infos for driver in info.drivers)),
        sources=tuple(dict.fromkeys(source for info in infos for source in info.sources)),
        files=tuple(dict.fromkeys(file for info in infos for file in info.files)),
    )
    extents = Extents(tuple(_extent(first.grid, grid) for grid in grids))
    if extents.pixels / info.pixels < _SPARSE:
        rows, columns = first.grid.shape
        logger.warning(
            "scene.source: the map of all scenes has %d x %d pixels, most of them between the scenes", columns, rows
        )
    return Mosaic(info, tuple(scenes), shifts, extents)


def _extent(grid: Grid, own: Grid) -> Block:
    """The rectangle of a grid that another grid overlaps, with a margin for resampling."""
    top, left, bottom, right = _window(own, grid)
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
