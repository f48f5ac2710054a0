"""Several scenes as one: each pixel, with all its bands, comes from the first that holds data there."""

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
from pipeline.engine.deadline import limits_for_blocks
from pipeline.geo.overlap import bounds, bounds_in
from pipeline.raster.file_cache import FileCache
from pipeline.raster.readers import Handles
from pipeline.scenes.raster_scene import RasterScene
from pipeline.scenes.raster_source import RasterSource

logger = logging.getLogger(__name__)

_WHOLE: Final = 1e-4
"""Stored numbers by which a shift may miss a whole one through rounding."""

_REACH: Final = 8
_SPARSE: Final = 0.2
"""Share of a map that its scenes cover below which it is worth a word."""

_WIDEST: Final = 2**31
"""Pixels of a mosaic; what is larger was hardly meant to be one map."""


@dataclass(frozen=True)
class Mosaic:
    """Scenes described on one grid, the first in front."""

    info: SceneInfo
    """Of the whole, in the first scene's units."""
    scenes: tuple[RasterScene, ...]
    shifts: tuple[tuple[int, ...], ...]
    """For each scene what is added to each band's numbers to bring them into the first's units."""
    places: tuple[Block, ...]
    """For each scene the part of the grid that it covers at most."""

    def as_stored_numbers(self, like: Units | None = None) -> "Mosaic":
        """The same without scale and offset: of all bands, or of those that have none in the units of a model.

        Raises
        ------
        SceneError
            When they differ between scenes, so that their numbers mean different things.
        """
        info = self.info.as_stored_numbers(like)
        stored = [quantity == "numbers" for quantity in info.units.quantities]
        if any(any(np.array(shift)[stored]) for shift in self.shifts):
            msg = (
                f"features.scale: {self.info.sources[0]} and others have different offsets, so their stored numbers "
                "can't stand side by side; leave it at 'auto', or name scenes of one baseline"
            )
            raise SceneError(msg)
        return replace(self, info=info)


def union_grid(grids: Sequence[Grid]) -> Grid:
    """The first of some grids, made wide enough for all.

    Raises
    ------
    SceneError
        When one has no CRS.
    """
    first = grids[0]
    if any((grid.crs is None) != (first.crs is None) for grid in grids):
        msg = "scene.source: one of the scenes has no coordinate reference system, so they can't be put together"
        raise SceneError(msg)
    tops, lefts, bottoms, rights = zip(*(_window(grid, first) for grid in grids), strict=True)
    top, left = min(tops), min(lefts)
    shape = (max(bottoms) - top, max(rights) - left)
    return Grid(shape=shape, transform=first.transform @ Affine.translation(left, top), crs=first.crs)


def check_width(grid: Grid) -> None:
    """Raise SceneError when a map is so large that no one map was meant."""
    rows, columns = grid.shape
    if rows * columns > _WIDEST:
        msg = (
            f"scene.source: a map of all scenes would have {columns} x {rows} pixels; name scenes that lie "
            "together, or set a smaller scene.aoi"
        )
        raise SceneError(msg)


def _window(grid: Grid, other: Grid) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of a grid in rows and columns of another."""
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
    """Put scenes of the same bands on the same grid together; `grids` are those of their files.

    Raises
    ------
    SceneError
        When their numbers can't be brought into one unit exactly, or none is left.
    """
    if not scenes:
        msg = "scene.aoi: none of the scenes overlaps the area of interest"
        raise SceneError(msg)
    first, infos = scenes[0].info, [scene.info for scene in scenes]
    shifts = tuple(_shifts(first, info) for info in infos)
    kinds = {info.dtype for info in infos} | ({np.dtype(np.int32)} if any(map(any, shifts)) else set())
    dtype = np.result_type(*kinds)
    info = replace(
        first,
        dtype=dtype,
        nodata=(None,) * len(first.bands),  # told by each scene; once shifted, its value may mean something
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
    places = tuple(_place(first.grid, grid) for grid in grids)
    covered = sum(place.height * place.width for place in places) / info.pixels
    if covered < _SPARSE:
        rows, columns = first.grid.shape
        logger.warning("the map of all scenes has %d x %d pixels, most of them between the scenes", columns, rows)
    return Mosaic(info, tuple(scenes), shifts, places)


def _place(grid: Grid, own: Grid) -> Block:
    """The part of a grid that another lies on, with a margin for what a kernel may reach."""
    top, left, bottom, right = _window(own, grid)
    rows, columns = grid.shape
    top, left = (min(max(0, start - _REACH), count - 1) for start, count in ((top, rows), (left, columns)))
    height, width = max(1, min(rows, bottom + _REACH) - top), max(1, min(columns, right + _REACH) - left)
    return Block(row=0, column=0, top=top, left=left, height=height, width=width)


def _touch(one: Block, other: Block) -> bool:
    """Whether two rectangles share pixels."""
    pairs = zip(one.window, other.window, strict=True)
    return all(start < their_stop and their_start < stop for (start, stop), (their_start, their_stop) in pairs)


def _shifts(first: SceneInfo, info: SceneInfo) -> tuple[int, ...]:
    """What is added to stored numbers of a scene, so that they mean what the first's do.

    Raises
    ------
    SceneError
        When adding a whole number is not enough.
    """
    one = f"{first.sources[0]} and {info.sources[0]}"
    if info.bands != first.bands:
        msg = f"scene.source: {one} have different bands: {', '.join(first.bands)}, and {', '.join(info.bands)}"
        raise SceneError(msg)
    shifts = []
    for band, scale, offset, our_scale, our_offset in zip(
        first.bands, info.scales, info.offsets, first.scales, first.offsets, strict=True
    ):
        shift = (offset - our_offset) / our_scale
        if not math.isclose(scale, our_scale) or abs(shift - round(shift)) > _WHOLE:
            msg = (
                f"scene.source: {one} have band {band} in units that don't fit: scale {our_scale:g} and offset "
                f"{our_offset:g}, and scale {scale:g} and offset {offset:g}; name scenes of one scale"
            )
            raise SceneError(msg)
        shifts.append(round(shift))
    return tuple(shifts)


class MosaicSource:
    """Reads the blocks of a `Mosaic`; a `FitSource`."""

    def __init__(self, mosaic: Mosaic, chunk: tuple[int, int], kept: FileCache | None = None) -> None:
        self._mosaic = mosaic
        self._chunk = chunk
        self.info = mosaic.info
        self.blocks = tuple(mosaic.info.grid.blocks(chunk))
        handles = Handles()
        self._sources = [RasterSource(scene, chunk, kept, handles) for scene in mosaic.scenes]
        self._in_time = limits_for_blocks(remote=any(source.is_remote for source in self._sources))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._mosaic, self._chunk), {"_in_time": self._in_time}

    @property
    def passes(self) -> float:
        """How often the scenes' files have been decoded so far: pixels decoded over pixels there are."""
        return sum(source.decoded for source in self._sources) / sum(source.decodable for source in self._sources)

    def read(self, block: Block) -> Pixels:
        """Read a block: a scene only where those before it leave pixels without data."""
        with self._in_time():
            data, valid, _ = self._read(block)
        return Pixels(data, valid)

    def read_for_fit(self, block: Block) -> tuple[Pixels, Validity]:
        """Read a block as `read` does, and tell which pixels the scenes they come from let take part in the fit."""
        with self._in_time():
            data, valid, fitting = self._read(block, for_fit=True)
        return Pixels(data, valid), fitting

    def _read(self, block: Block, *, for_fit: bool = False) -> tuple[Planes, Validity, Validity]:
        data = np.zeros((len(self.info.bands), *block.shape), self.info.dtype)
        valid, fitting = np.zeros(block.shape, np.bool_), np.zeros(block.shape, np.bool_)
        for source, shifts, place in zip(self._sources, self._mosaic.shifts, self._mosaic.places, strict=True):
            if not _touch(block, place):
                continue
            pixels = source.read(block)
            new = pixels.valid & ~valid
            _fill(data, new, pixels.data, shifts)
            del pixels  # before the next scene's are read
            valid |= new
            if for_fit:
                source.mask_for_fit(block, new)
                fitting |= new
            if valid.all():
                break
        return data, valid, fitting


def open_source(
    scene: RasterScene | Mosaic, chunk: tuple[int, int], kept: FileCache | None = None
) -> RasterSource | MosaicSource:
    """Read a scene that was described, whichever it is."""
    if isinstance(scene, Mosaic):
        return MosaicSource(scene, chunk, kept)
    return RasterSource(scene, chunk, kept)


def _fill(data: Planes, new: Validity, own: Planes, shifts: Sequence[int]) -> None:
    """Fill in a scene's numbers where they are new, in the first scene's units."""
    for plane, numbers, shift in zip(data, own, shifts, strict=True):
        np.copyto(plane, numbers, where=new)
        if shift:
            np.add(plane, shift, out=plane, where=new)
