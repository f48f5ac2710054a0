"""The grid of a scene: that of its finest band, or one of another resolution."""

import math
from collections.abc import Sequence
from typing import Final, Literal

from affine import Affine

from pipeline.core.errors import ConfigError, SceneError
from pipeline.core.grid import Grid
from pipeline.geo.overlap import coverage, grid_words, overlap, same_crs, same_grid
from pipeline.geo.pixel_areas import middle_pixel_area
from pipeline.raster.file_bands import FileBand

_ON_AN_EDGE: Final = 1e-6
"""Share of a pixel by which a side may exceed whole pixels through rounding."""

_SAME_SIZE: Final = 1e-6


_AS_SMALL: Final = 1.01
"""Times the least area that a pixel may have to be as fine: degrees are not the same in two places."""


_ALL: Final = 0.99
"""Share of the finest band's grid that one of the resolution asked for covers: products' differ at their edges."""


_MOST_PIXELS: Final = 2**40


def finest_band(bands: Sequence[FileBand]) -> FileBand:
    """The band of the smallest pixels on the ground; the first of those that are about as small."""
    if all(band.grid == bands[0].grid for band in bands):
        return bands[0]
    areas = [middle_pixel_area(band.grid) for band in bands]
    return next((b for b, area in zip(bands, areas, strict=True) if area <= _AS_SMALL * min(areas)), bands[0])


def one_grid(bands: Sequence[FileBand], resolution: Literal["auto"] | float) -> Grid:
    """The grid of a scene: that of its finest band, or one of another resolution with the same upper left corner.

    Parameters
    ----------
    bands : sequence of FileBand
        All bands of the scene.
    resolution : float or 'auto'
        Side of a pixel in the units of the CRS; 'auto' for that of the finest band.

    Raises
    ------
    ConfigError
        When the resolution is coarser than the whole scene, or absurdly fine.
    SceneError
        When a band can't be brought onto the grid.
    """
    grid = finest_band(bands).grid if resolution == "auto" else _grid_of(bands, resolution)
    first = next((band for band in bands if same_grid(grid, band.grid)), bands[0])
    for band in bands:
        _check_placeable(grid, band, first)
    return grid


def _grid_of(bands: Sequence[FileBand], resolution: float) -> Grid:
    """The grid of a band that has this resolution, or one that begins where that of the finest does.

    A band that shows a part of the finest's ground gives none, unless it counts in other units.
    """
    finest = finest_band(bands).grid
    for grid in (finest, *(band.grid for band in bands)):
        suits = all(math.isclose(size, resolution, rel_tol=_SAME_SIZE) for size in grid.resolution)
        if suits and (coverage(finest, grid) > _ALL or not same_crs(grid.crs, finest.crs)):
            return grid
    width, height = finest.resolution
    wide, high = finest.shape[1] * width, finest.shape[0] * height
    if resolution > max(wide, high) or wide * high > _MOST_PIXELS * resolution**2:
        msg = (
            f"scene.resolution: pixels of {resolution:g} make no grid of a scene with {finest.describe()}; "
            "give the side of a pixel in the units of its CRS"
        )
        raise ConfigError(msg)
    rows, columns = (math.ceil(side / resolution - _ON_AN_EDGE) for side in (high, wide))
    transform = finest.transform @ Affine.scale(resolution / width, resolution / height)
    return Grid(shape=(rows, columns), transform=transform, crs=finest.crs)


def _check_placeable(grid: Grid, band: FileBand, first: FileBand) -> None:
    """Raise SceneError unless a band can be brought onto a grid: it has a place, and the two overlap."""
    if same_grid(grid, band.grid):
        return
    nowhere = (
        (grid.crs is None) != (band.grid.crs is None)
        or grid.transform == Affine.identity()
        or band.grid.transform == Affine.identity()
    )
    if nowhere:
        what = "pixels" if same_crs(grid.crs, band.grid.crs) else "coordinate systems"
        msg = (
            f"scene.source: bands {first.name} and {band.name} are on different {what}: {first.path} has "
            f"{grid_words(grid)} and {band.path} has {grid_words(band.grid)}; at least one of them says not "
            "where it lies, "
            "so they can't be brought onto one grid; choose bands of one of them with scene.bands"
        )
        raise SceneError(msg)
    if not overlap(grid, band.grid):
        msg = (
            f"scene.source: bands {first.name} and {band.name} show different places: {first.path} has "
            f"{grid_words(grid)} and {band.path} has {grid_words(band.grid)}; name files of one place"
        )
        raise SceneError(msg)
