"""Choose the grid of a scene, that of its finest band or one of a configured resolution, and that of a mosaic."""

import math
from collections.abc import Sequence
from typing import Final, Literal

from affine import Affine

from pipeline.core.errors import ConfigError, SceneError
from pipeline.core.grid import Grid
from pipeline.geo.overlap import bounds, bounds_in, coverage, grid_words, overlap, same_crs, same_grid
from pipeline.geo.pixel_areas import middle_pixel_area
from pipeline.raster.file_bands import FileBand

_EDGE_ROUNDING: Final = 1e-6
"""Share of a pixel by which a side may exceed whole pixels because of rounding."""

_SAME_SIZE: Final = 1e-6
"""Relative difference below which pixel sizes are equal."""

_AS_FINE: Final = 1.01
"""Ratio to the smallest pixel area up to which a band is as fine: areas of equal degrees depend on the latitude."""

_FULL_OVERLAP: Final = 0.99
"""Share of the finest band's extent from which another grid counts as covering it: product edges differ by pixels."""

_MOST_PIXELS: Final = 2**40
"""Largest number of pixels of a grid: with more, scenes are far from each other, or pixels small, by mistake."""

_LONGEST_SIDE: Final = 2**31 - 1
"""Largest number of rows or columns of a raster that GDAL writes."""

_WHOLE: Final = 1e-4
"""Distance from a whole number of pixels that counts as rounding error."""


def finest_band(bands: Sequence[FileBand]) -> FileBand:
    """Return the band with the smallest pixels on the ground; the first one if several are about as fine."""
    if all(band.grid == bands[0].grid for band in bands):
        return bands[0]
    areas = [middle_pixel_area(band.grid) for band in bands]
    return next((b for b, area in zip(bands, areas, strict=True) if area <= _AS_FINE * min(areas)), bands[0])


def choose_grid(bands: Sequence[FileBand], resolution: Literal["auto"] | float) -> Grid:
    """Choose the grid of a scene: that of its finest band, or one with another resolution and the same corner.

    Parameters
    ----------
    bands : sequence of FileBand
        All bands of the scene.
    resolution : float or 'auto'
        Side of a pixel in the units of the CRS; 'auto' for that of the finest band.

    Raises
    ------
    ConfigError
        If a pixel would be larger than the scene, or the grid would have more than 2**40 pixels.
    SceneError
        If a band can't be aligned to the grid.
    """
    grid = finest_band(bands).grid if resolution == "auto" else _grid_of(bands, resolution)
    first = next((band for band in bands if same_grid(grid, band.grid)), bands[0])
    for band in bands:
        _check_alignable(grid, band, first)
    return grid


def _grid_of(bands: Sequence[FileBand], resolution: float) -> Grid:
    """Return the grid of a band with this resolution, or a new one from the upper left corner of the finest band's.

    The grid of a band is used only if it covers the finest band's extent, or has another CRS.
    """
    finest = finest_band(bands).grid
    for grid in (finest, *(band.grid for band in bands)):
        suits = all(math.isclose(size, resolution, rel_tol=_SAME_SIZE) for size in grid.resolution)
        if suits and (coverage(finest, grid) > _FULL_OVERLAP or not same_crs(grid.crs, finest.crs)):
            return grid
    width, height = finest.resolution
    wide, high = finest.shape[1] * width, finest.shape[0] * height
    if resolution > max(wide, high) or wide * high > _MOST_PIXELS * resolution**2:
        msg = (
            f"scene.resolution: pixels of {resolution:g} are too large or too small for a scene with "
            f"{finest.describe()}; give the side of a pixel in the units of its CRS"
        )
        raise ConfigError(msg)
    rows, columns = (math.ceil(side / resolution - _EDGE_ROUNDING) for side in (high, wide))
    transform = finest.transform @ Affine.scale(resolution / width, resolution / height)
    return Grid(shape=(rows, columns), transform=transform, crs=finest.crs)


def _check_alignable(grid: Grid, band: FileBand, first: FileBand) -> None:
    """Raise SceneError unless a band can be aligned to a grid: both are georeferenced, and they overlap."""
    if same_grid(grid, band.grid):
        return
    unlocated = (
        (grid.crs is None) != (band.grid.crs is None)
        or grid.transform == Affine.identity()
        or band.grid.transform == Affine.identity()
    )
    if unlocated:
        what = "pixel grids" if same_crs(grid.crs, band.grid.crs) else "coordinate systems"
        msg = (
            f"scene.source: bands {first.name} and {band.name} have different {what}: {first.path} has "
            f"{grid_words(grid)} and {band.path} has {grid_words(band.grid)}; at least one has no georeference, "
            "so they can't be aligned; choose bands with one grid by scene.bands"
        )
        raise SceneError(msg)
    if not overlap(grid, band.grid):
        msg = (
            f"scene.source: bands {first.name} and {band.name} show different places: {first.path} has "
            f"{grid_words(grid)} and {band.path} has {grid_words(band.grid)}; run them separately"
        )
        raise SceneError(msg)


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
    tops, lefts, bottoms, rights = zip(*(window_on(grid, first) for grid in grids), strict=True)
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


def window_on(grid: Grid, other: Grid) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right) of a grid in rows and columns of another grid."""
    west, south, east, north = bounds(grid) if other.crs is None else bounds_in(grid, other.crs)
    corners = [~other.transform @ corner for corner in ((west, north), (east, south), (west, south), (east, north))]
    columns, rows = zip(*corners, strict=True)
    return (
        math.floor(min(rows) + _WHOLE),
        math.floor(min(columns) + _WHOLE),
        math.ceil(max(rows) - _WHOLE),
        math.ceil(max(columns) - _WHOLE),
    )
