"""Cut the grid of a scene to its area of interest, along blocks of the files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipeline.config.schema import SceneConfig
from pipeline.core.grid import Block, Grid
from pipeline.geo.align import Alignment
from pipeline.geo.area_of_interest import Area, area_of
from pipeline.raster.file_bands import FileBand
from pipeline.raster.file_parts import LARGEST_BLOCK
from pipeline.scenes.choose_grid import finest_band

_LARGEST_SIDE: Final = 1024
"""Longest side of a scene block, in pixels, if no file has the scene's pixels or chunks of a store are larger."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The part of a scene's own grid that is read, and the part of it that a map shows."""

    whole: Grid
    """The scene's own grid, without an area of interest."""
    grid: Grid
    """Grid that is read: the whole blocks that the area of interest touches, or the scene's own grid."""
    area: Area | None = None
    """Area of interest on `grid`."""
    origin: tuple[int, int] = (0, 0)
    """Row and column of the first pixel of `grid` on the scene's own grid."""
    map_window: Block | None = None
    """Rectangle of `grid` that a map shows; None for all of it."""


def cut_to_area(grid: Grid, bands: Sequence[FileBand], config: SceneConfig) -> Cut:
    """Cut a grid to the whole blocks that the area of interest touches, so that no other block is decoded.

    `scene.crop` sets the part of them that the map shows, and affects nothing else.

    Raises
    ------
    SceneError
        If the area doesn't overlap the grid.
    """
    area = area_of(config.aoi, grid) if config.aoi else None
    read = area.window(grid, scene_block_shape(bands, grid)) if area else None
    if area is None or read is None:
        return Cut(whole=grid, grid=grid, area=area)
    rows, columns = grid.shape
    uncut = Block(row=0, column=0, top=0, left=0, height=rows, width=columns)
    shown = {"area": area.window(grid) or read, "blocks": read, "none": uncut}[config.crop]
    return Cut(
        whole=grid,
        grid=grid.crop(read),
        area=area.moved(read.top, read.left),
        origin=(read.top, read.left),
        map_window=None if shown == read else replace(shown, top=shown.top - read.top, left=shown.left - read.left),
    )


def scene_block_shape(bands: Sequence[FileBand], grid: Grid) -> tuple[int, int]:
    """(rows, columns) of a scene block: the largest block of the files whose pixels are those of the scene."""
    shapes = [band.block_shape for band in bands if _same_lattice(grid, band.grid)]
    if not shapes:
        finest = finest_band(bands)
        ratios = zip(finest.block_shape, finest.grid.resolution[::-1], grid.resolution[::-1], strict=True)
        high, wide = (max(1, round(size * band_side / scene_side)) for size, band_side, scene_side in ratios)
        shapes = [(min(high, _LARGEST_SIDE), min(wide, _LARGEST_SIDE))]
    largest = max(shapes, key=lambda shape: shape[0] * shape[1])
    if all(band.array for band in bands) and largest[0] * largest[1] > LARGEST_BLOCK:
        return _LARGEST_SIDE, _LARGEST_SIDE
    return largest


def _same_lattice(grid: Grid, other: Grid) -> bool:
    """Return True if the pixels of two grids coincide where the grids overlap."""
    alignment = Alignment.of(grid, other)
    return alignment is not None and alignment.is_identity
