"""Where grids lie on the ground: their coordinate systems, bounds, pixels, and what of them lies on one another."""

import logging
import math
from collections.abc import Iterable
from typing import Final

import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform as warp_points
from rasterio.warp import transform_bounds

from pipeline.errors import SceneError
from pipeline.grid import Grid
from pipeline.scenes.gdal import GDAL_ERRORS

logger = logging.getLogger(__name__)

_FINEST_STEP: Final = 0.01
_AROUND: Final = 360
"""Degrees."""

Bounds = tuple[float, float, float, float]
"""(left, bottom, right, top)"""

_AS_THEY_ARE: Final = Affine.identity()

_EARTH: Final = 6_371_008.8
"""Mean radius in metres (IUGG)."""


def same_crs(one: str | None, other: str | None) -> bool:
    """Whether two coordinate systems are the same, however they are spelled."""
    if one is None or other is None:
        return one == other
    return one == other or CRS.from_wkt(one) == CRS.from_wkt(other)


def crs_name(wkt: str) -> str:
    """Authority and code of a CRS, or the name it gives itself."""
    with rasterio.Env():
        authority = CRS.from_wkt(wkt).to_authority()
    return ":".join(authority) if authority else wkt.split('"')[1]


def same_grid(one: Grid, other: Grid) -> bool:
    """Whether two grids have the same pixels in the same CRS."""
    return one.same_pixels(other) and same_crs(one.crs, other.crs)


def place(grid: Grid) -> str:
    """Size, resolution, upper left corner and CRS in words."""
    crs = f"in {crs_name(grid.crs)}" if grid.crs else "without a CRS"
    return f"{grid.describe()} from {grid.transform.c:.10g}, {grid.transform.f:.10g} {crs}"


def pixel_area(grid: Grid) -> float:
    """Area of a pixel in square metres, as its coordinate system tells lengths; in square pixels where there is none.

    That of degrees is told by a sphere, in the middle of the grid.
    """
    width, height = grid.resolution
    area = width * height
    if grid.crs is None:
        return area
    crs = CRS.from_wkt(grid.crs)
    with rasterio.Env():
        try:
            unit = float(crs.units_factor[1])
        except CRSError as error:
            logger.debug("units are taken for metres: %s", error)
            unit = 1.0
    if not crs.is_geographic:
        return area * unit**2
    rows, columns = grid.shape
    _, middle = grid.transform @ (columns / 2, rows / 2)
    return area * (unit * _EARTH) ** 2 * abs(math.cos(middle * unit))


def bounds(grid: Grid, onto: Affine = _AS_THEY_ARE) -> Bounds:
    """(left, bottom, right, top) of a grid, in its own CRS, or in what that is transformed into."""
    rows, columns = grid.shape
    corners = [onto @ (grid.transform @ corner) for corner in ((0, 0), (columns, 0), (0, rows), (columns, rows))]
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def bounds_in(grid: Grid, crs: str) -> Bounds:
    """(left, bottom, right, top) of a grid in another CRS; right of 180 degrees where it crosses the antimeridian.

    Raises
    ------
    SceneError
        When the grid reaches beyond what the CRS can show.
    """
    if same_crs(grid.crs, crs):
        return bounds(grid)
    with rasterio.Env():
        west, south, east, north = transform_bounds(grid.crs, crs, *bounds(grid))
    if not all(map(math.isfinite, (west, south, east, north))):
        msg = f"a scene with {place(grid)} reaches beyond what {crs_name(crs)} can show"
        raise SceneError(msg)
    return west, south, east + (_AROUND if east < west else 0), north


def overlap(one: Grid, other: Grid) -> bool:
    """Whether two grids share any ground."""
    return covered(one, other) > 0


def covered(one: Grid, other: Grid) -> float:
    """Share of a grid, 0 to 1, that the rectangle around another one covers; 0 where it can't be told."""
    if same_crs(one.crs, other.crs):  # counted in pixels, so that turned grids are compared as they lie
        rows, columns = one.shape
        onto = [~one.transform @ Affine.translation(turn, 0) for turn in _turns(one.crs)]
        return _share((0, 0, columns, rows), [bounds(other, pixels) for pixels in onto])
    if one.crs is None or other.crs is None:
        return 0.0
    return max(_covered_in(crs, one, other) for crs in (one.crs, other.crs))


def _covered_in(crs: str, one: Grid, other: Grid) -> float:
    """The same, of the rectangles around both in some CRS, which may not be able to show all of them."""
    try:
        ours, (west, south, east, north) = bounds_in(one, crs), bounds_in(other, crs)
    except (SceneError, *GDAL_ERRORS) as error:
        logger.debug("bounds can't be compared: %s", error)
        return 0.0
    return _share(ours, [(west + turn, south, east + turn, north) for turn in _turns(crs)])


def _turns(crs: str | None) -> tuple[int, ...]:
    """By how much places may differ in x that are the same."""
    return (-_AROUND, 0, _AROUND) if crs and CRS.from_wkt(crs).is_geographic else (0,)


def _share(ours: Bounds, theirs: Iterable[Bounds]) -> float:
    """Share of a rectangle that others, which don't overlap, cover; 0 of one without an area."""
    left, bottom, right, top = ours
    whole = (right - left) * (top - bottom)
    covers = sum(
        max(min(right, east) - max(left, west), 0) * max(min(top, north) - max(bottom, south), 0)
        for west, south, east, north in theirs
    )
    return min(covers / whole, 1.0) if whole else 0.0


def steps_between(grid: Grid, file: Grid) -> tuple[float, float]:
    """Rows and columns of a file under one row or column of a grid, in the middle of the file; at least 0.01."""
    rows, columns = file.shape
    middle = (columns / 2, rows / 2)
    points = [file.transform @ (middle[0] + dx, middle[1] + dy) for dx, dy in ((0, 0), (1, 0), (0, 1))]
    xs, ys = zip(*points, strict=True)
    if not same_crs(grid.crs, file.crs):
        with rasterio.Env():
            xs, ys = warp_points(file.crs, grid.crs, xs, ys)
    sizes = [math.hypot(xs[i] - xs[0], ys[i] - ys[0]) for i in (1, 2)]  # along columns, along rows
    (width, height), (across, down) = grid.resolution, sizes
    known = all(math.isfinite(size) and size > 0 for size in sizes)
    return (max(height / down, _FINEST_STEP), max(width / across, _FINEST_STEP)) if known else (1.0, 1.0)
