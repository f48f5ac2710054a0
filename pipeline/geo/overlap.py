"""Compare grids: coordinate systems, bounds, overlap, and pixel sizes relative to each other."""

import logging
import math
import re
from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from statistics import median
from typing import Final

import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform as warp_points
from rasterio.warp import transform_bounds

from pipeline.core.errors import SceneError
from pipeline.core.grid import Grid
from pipeline.geo.gdal import GDAL_ERRORS

logger = logging.getLogger(__name__)

_FINEST_STEP: Final = 0.01
"""Least number of file rows or columns per row or column of a grid."""

_TURN: Final = 360
"""Degrees of a full circle of longitude."""

Bounds = tuple[float, float, float, float]
"""(left, bottom, right, top)"""

_IDENTITY: Final = Affine.identity()

_LATTICE: Final = (0.1, 0.5, 0.9)
"""Sampled positions along a grid's rows and columns, as fractions of their number."""

_GREENWICH: Final = 'PRIMEM["Greenwich",0'
_AUTHORITY: Final = re.compile(r',AUTHORITY\["[^"]*","[^"]*"\]')


def same_crs(one: str | None, other: str | None) -> bool:
    """Whether two coordinate systems are equal, even if their WKT differs."""
    if one is None or other is None:
        return one == other
    return one == other or CRS.from_wkt(one) == CRS.from_wkt(other)


def crs_name(wkt: str) -> str:
    """Return the authority and code of a CRS, or else its name."""
    with rasterio.Env():
        authority = CRS.from_wkt(wkt).to_authority()
    return ":".join(authority) if authority else wkt.split('"')[1]


def same_grid(one: Grid, other: Grid) -> bool:
    """Whether two grids have the same pixels in the same CRS."""
    return one.same_pixels(other) and same_crs(one.crs, other.crs)


def grid_words(grid: Grid) -> str:
    """Describe size, resolution, upper left corner and CRS of a grid, for messages."""
    crs = f"in {crs_name(grid.crs)}" if grid.crs else "without a CRS"
    return f"{grid.describe()} from {grid.transform.c:.10g}, {grid.transform.f:.10g} {crs}"


def bounds(grid: Grid, transform: Affine = _IDENTITY) -> Bounds:
    """Return (left, bottom, right, top) of a grid in its own CRS, after an optional further transform."""
    rows, columns = grid.shape
    corners = [transform @ (grid.transform @ corner) for corner in ((0, 0), (columns, 0), (0, rows), (columns, rows))]
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def bounds_in(grid: Grid, crs: str) -> Bounds:
    """Return (left, bottom, right, top) of a grid in another CRS; right > 180 degrees across the antimeridian.

    Raises SceneError if the grid extends beyond the domain of the CRS.
    """
    if same_crs(grid.crs, crs):
        return bounds(grid)
    with rasterio.Env():
        west, south, east, north = transform_bounds(grid.crs, crs, *bounds(grid))
    if not all(map(math.isfinite, (west, south, east, north))):
        msg = f"a scene with {grid_words(grid)} extends beyond the domain of {crs_name(crs)}"
        raise SceneError(msg)
    return west, south, east + (_TURN if east < west else 0), north


def overlap(one: Grid, other: Grid) -> bool:
    """Whether two grids overlap on the ground."""
    return coverage(one, other) > 0


def coverage(one: Grid, other: Grid) -> float:
    """Return the fraction of a grid, 0 to 1, covered by the bounding box of another; 0 if it can't be computed."""
    if same_crs(one.crs, other.crs) and not needs_recentring(one, other):
        rows, columns = one.shape  # in pixel coordinates, so that rotated grids are compared exactly
        return _share((0, 0, columns, rows), [bounds(other, ~one.transform)])
    if one.crs is None or other.crs is None:
        return 0.0
    return max(_covered_in(crs, one, other) for crs in (one.crs, other.crs))


def _covered_in(crs: str, one: Grid, other: Grid) -> float:
    """Return the fraction of a grid covered by another, by their bounding boxes in a CRS; 0 if it can't show them."""
    try:
        own_bounds, other_bounds = bounds_in(one, crs), bounds_in(other, crs)
    except (SceneError, *GDAL_ERRORS) as error:
        logger.debug("bounds can't be compared: %s", error)
        return 0.0
    shifts = (-_TURN, 0, _TURN) if _in_degrees(crs) else (0,)
    return _share(own_bounds, [_shifted(other_bounds, degrees) for degrees in shifts])


def needs_recentring(grid: Grid, file: Grid) -> bool:
    """Whether part of a grid overlaps a file only after the file's longitudes are shifted by 360 degrees."""
    if file.crs is None or grid.crs is None or not _in_degrees(file.crs):
        return False
    file_bounds = bounds(file)
    if not same_crs(grid.crs, file.crs) and max(-file_bounds[0], file_bounds[2]) > _TURN / 2:
        return True
    try:
        grid_bounds = bounds_in(grid, file.crs)
    except (SceneError, *GDAL_ERRORS) as error:
        logger.debug("longitudes can't be compared: %s", error)
        return False
    return _share(grid_bounds, [_shifted(file_bounds, degrees) for degrees in (-_TURN, _TURN)]) > 0


def recentre_longitudes(file: Grid) -> Grid:
    """Return a file's grid with its prime meridian moved to its middle, so that PROJ wraps longitudes around it."""
    west, _, east, _ = bounds(file)
    middle = (west + east) / 2
    head, tail = str(file.crs).split(_GREENWICH)
    # without the code of the whole CRS, which would override the new meridian; that of the datum stays
    tail = _AUTHORITY.sub("", tail)
    crs = f'{head}PRIMEM["the middle of the file",{middle!r}]{tail[tail.index("]") + 1 :]}'
    return replace(file, transform=Affine.translation(-middle, 0) @ file.transform, crs=crs)


def _in_degrees(crs: str) -> bool:
    """Whether coordinates are degrees, counted from Greenwich."""
    parsed = CRS.from_wkt(crs)
    return bool(parsed.is_geographic and parsed.units_factor[0] == "degree" and crs.count(_GREENWICH) == 1)


def _shifted(box: Bounds, by: int) -> Bounds:
    west, south, east, north = box
    return west + by, south, east + by, north


def _share(box: Bounds, others: Iterable[Bounds]) -> float:
    """Return the fraction of a box covered by other, disjoint boxes; 0 if it has no area."""
    left, bottom, right, top = box
    whole = (right - left) * (top - bottom)
    covered = sum(
        max(min(right, east) - max(left, west), 0) * max(min(top, north) - max(bottom, south), 0)
        for west, south, east, north in others
    )
    return min(covered / whole, 1.0) if whole else 0.0


def steps_between(grid: Grid, file: Grid) -> tuple[float, float]:
    """Return the file rows per row of a grid, and file columns per column, where both overlap; at least 0.01.

    This is the median over a few positions, because values at a pole or beyond the domain of a CRS are meaningless.
    """
    rows, columns = grid.shape
    positions = [(across * columns, down * rows) for down, across in product(_LATTICE, repeat=2)]
    known = [found for position in positions if (found := _steps_at(position, grid, file))]
    inner = [steps for inside, steps in known if inside] or [steps for _, steps in known] or [(1.0, 1.0)]
    down, across = (max(median(numbers), _FINEST_STEP) for numbers in zip(*inner, strict=True))
    return down, across


def _steps_at(position: tuple[float, float], grid: Grid, file: Grid) -> tuple[bool, tuple[float, float]] | None:
    """Return whether the file covers a (column, row) of the grid, and the steps there; None outside the CRS."""
    column, row = position
    points = [grid.transform @ at for at in ((column, row), (column + 1, row), (column, row + 1))]
    xs, ys = (list(numbers) for numbers in zip(*points, strict=True))
    if not same_crs(grid.crs, file.crs):
        try:
            with rasterio.Env():
                xs, ys = warp_points(grid.crs, file.crs, xs, ys)
        except GDAL_ERRORS as error:
            logger.debug("a position can't be transformed: %s", error)
            return None
    if not all(map(math.isfinite, (*xs, *ys))):
        return None
    if file.crs and _in_degrees(file.crs):
        west, _, east, _ = bounds(file)
        xs[0] = _around(xs[0], (west + east) / 2)
        xs[1:] = [_around(x, xs[0]) for x in xs[1:]]  # the step across the antimeridian is as small as elsewhere
    (c, r), *moved = [~file.transform @ point for point in zip(xs, ys, strict=True)]
    across, down = (math.hypot(*(to[i] - at for to in moved)) for i, at in enumerate((c, r)))
    rows, columns = file.shape
    return 0 <= c <= columns and 0 <= r <= rows, (down, across)


def _around(longitude: float, middle: float) -> float:
    """Return a longitude shifted by full circles to at most 180 degrees from another."""
    return middle + math.remainder(longitude - middle, _TURN)
