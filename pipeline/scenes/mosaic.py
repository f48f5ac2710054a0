"""Mosaics of several scenes: each pixel, with all its bands, comes from the first scene that is valid there."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from affine import Affine

from pipeline.core.arrays import Planes, Validity
from pipeline.core.errors import SceneError
from pipeline.core.grid import Block, Grid
from pipeline.core.pixels import Pixels
from pipeline.core.scene_info import SceneInfo, combine_open_files
from pipeline.core.units import Units
from pipeline.engine.time_limits import limits_for_blocks
from pipeline.geo.overlap import bounds, bounds_in
from pipeline.raster.file_cache import FileCache
from pipeline.raster.readers import Handles
from pipeline.scenes.raster_scene import RasterScene
from pipeline.scenes.raster_source import RasterSource

logger = logging.getLogger(__name__)

_WHOLE: Final = 1e-4
"""Distance from a whole number that counts as rounding error, in stored numbers or in pixels."""

_MARGIN: Final = 8
"""Pixels around a scene's extent that resampling may reach."""

_SPARSE: Final = 0.2
"""Share of a map covered by its scenes below which there is a warning."""

_MOST_PIXELS: Final = 2**31
"""Largest number of pixels of a mosaic."""


@dataclass(frozen=True)
class Mosaic:
    """Scenes described on one grid; where they overlap, the first valid one is used."""

    info: SceneInfo
    """Metadata of the mosaic, in the first scene's units."""
    scenes: tuple[RasterScene, ...]
    shifts: tuple[tuple[int, ...], ...]
    """Per scene, the number added to each band to convert it to the first scene's units."""
    extents: tuple[Block, ...]
    """Per scene, the rectangle of the grid outside of which it has no pixels."""

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
    """Raise SceneError if a mosaic has more than `_MOST_PIXELS` pixels."""
    rows, columns = grid.shape
    if rows * columns > _MOST_PIXELS:
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
    extents = tuple(_extent(first.grid, grid) for grid in grids)
    covered = sum(extent.height * extent.width for extent in extents) / info.pixels
    if covered < _SPARSE:
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


def _touch(one: Block, other: Block) -> bool:
    """Return True if two rectangles share pixels."""
    pairs = zip(one.window, other.window, strict=True)
    return all(start < other_stop and other_start < stop for (start, stop), (other_start, other_stop) in pairs)


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


class MosaicSource:
    """Read the blocks of a `Mosaic`; a `FitSource`."""

    cheap_again = False

    def __init__(self, mosaic: Mosaic, chunk: tuple[int, int], cache: FileCache | None = None) -> None:
        self._mosaic = mosaic
        self._chunk = chunk
        self.info = mosaic.info
        self.blocks = tuple(mosaic.info.grid.blocks(chunk))
        handles = Handles()
        self._sources = [RasterSource(scene, chunk, cache, handles) for scene in mosaic.scenes]
        self._time_limit = limits_for_blocks(remote=any(source.is_remote for source in self._sources))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._mosaic, self._chunk), {"_time_limit": self._time_limit}

    @property
    def passes(self) -> float:
        """Number of pixels decoded so far, relative to the number of pixels in the scenes' files."""
        return sum(source.decoded for source in self._sources) / sum(source.decodable for source in self._sources)

    def read(self, block: Block) -> Pixels:
        """Read a block; a scene is read only if the scenes before it leave invalid pixels."""
        with self._time_limit():
            data, valid, _ = self._read(block)
        return Pixels(data, valid)

    def read_for_fit(self, block: Block) -> tuple[Pixels, Validity]:
        """Read a block, and mark the pixels that take part in the fit, by the masks of the scene each comes from."""
        with self._time_limit():
            data, valid, fitting = self._read(block, for_fit=True)
        return Pixels(data, valid), fitting

    def _read(self, block: Block, *, for_fit: bool = False) -> tuple[Planes, Validity, Validity]:
        data = np.zeros((len(self.info.bands), *block.shape), self.info.dtype)
        valid, fitting = np.zeros(block.shape, np.bool_), np.zeros(block.shape, np.bool_)
        for source, shifts, extent in zip(self._sources, self._mosaic.shifts, self._mosaic.extents, strict=True):
            if not _touch(block, extent):
                continue
            pixels = source.read(block)
            new = pixels.valid & ~valid
            _fill(data, new, pixels.data, shifts)
            del pixels  # free memory before the next scene is read
            valid |= new
            if for_fit:
                source.mask_for_fit(block, new)
                fitting |= new
            if valid.all():
                break
        return data, valid, fitting


def open_source(
    scene: RasterScene | Mosaic, chunk: tuple[int, int], cache: FileCache | None = None
) -> RasterSource | MosaicSource:
    """Open the pixels of a described scene or mosaic."""
    if isinstance(scene, Mosaic):
        return MosaicSource(scene, chunk, cache)
    return RasterSource(scene, chunk, cache)


def _fill(data: Planes, new: Validity, own: Planes, shifts: Sequence[int]) -> None:
    """Copy a scene's pixels into `data` where `new` is True, converted to the first scene's units."""
    for plane, numbers, shift in zip(data, own, shifts, strict=True):
        np.copyto(plane, numbers, where=new)
        if shift:
            np.add(plane, shift, out=plane, where=new)
