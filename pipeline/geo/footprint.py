"""The area on the ground that a grid covers, as GeoJSON (RFC 7946) in longitudes and latitudes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.warp import transform as warp_points

from pipeline.core.grid import Grid
from pipeline.geo.gdal import GDAL_ERRORS

_DEGREES: Final = "EPSG:4326"
_PIECES: Final = 8
"""Pieces that each side of a grid is divided into, as sides are curved in longitudes and latitudes."""

_LATTICE: Final = 64
"""Pieces that rows and columns are divided into to find parts of a grid that are not on the earth."""

_DIGITS: Final = 6
"""Decimals of degrees: about a tenth of a metre."""

Ring = list[tuple[float, float]]
"""Corners (longitude, latitude) of a polygon, counterclockwise, the first one again at the end."""


@dataclass(frozen=True)
class Footprint:
    """Area that a grid covers."""

    rings: tuple[Ring, ...]
    """Outlines of one polygon, or of two if it is cut by the antimeridian."""
    bbox: tuple[float, float, float, float]
    """(west, south, east, north); west is larger than east across the antimeridian."""

    @property
    def geometry(self) -> dict[str, Any]:
        """GeoJSON geometry."""
        if len(self.rings) == 1:
            return {"type": "Polygon", "coordinates": [self.rings[0]]}
        return {"type": "MultiPolygon", "coordinates": [[ring] for ring in self.rings]}


def footprint(grid: Grid) -> Footprint | None:
    """Area that a grid covers; None without a CRS, or where none of it can be located.

    It is the bounding box if a part of the grid is not on the earth (as in images of a full disk), or a pole is in it.
    """
    if grid.crs is None:
        return None
    rows, columns = grid.shape
    steps, ends = np.linspace(0, 1, _LATTICE + 1), np.linspace(0, 1, _PIECES, endpoint=False)
    across, down = (np.ravel(each) for each in np.meshgrid(steps * columns, steps * rows))
    longitudes, latitudes = _degrees(grid, across, down)
    located = np.isfinite(longitudes) & np.isfinite(latitudes)
    if not located.any():
        return None
    zeros, ones = np.zeros(_PIECES), np.ones(_PIECES)
    outline = _degrees(
        grid,
        np.concatenate([zeros, ends, ones, 1 - ends]) * columns,
        np.concatenate([ends, ones, 1 - ends, zeros]) * rows,
    )
    turning = np.unwrap(np.append(outline[0], outline[0][0]), period=360)
    if not located.all() or not np.isfinite(outline).all():
        return _box(longitudes[located], latitudes[located])
    if abs(turning[-1] - turning[0]) > 180:  # noqa: PLR2004 (degrees: once around a pole)
        pole = math.copysign(90, latitudes.mean())
        return _of_outline([(-180, pole), (180, float(min(latitudes, key=abs)))])
    return _of_outline(list(zip(turning[:-1].tolist(), outline[1].tolist(), strict=True)))


def _degrees(
    grid: Grid, across: npt.NDArray[np.float64], down: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Longitudes and latitudes of positions (column, row) on a grid; NaN where they are not on the earth."""
    t = grid.transform
    xs, ys = (t.a * across + t.b * down + t.c).tolist(), (t.d * across + t.e * down + t.f).tolist()
    try:
        with rasterio.Env():
            longitudes, latitudes = map(np.array, warp_points(grid.crs, _DEGREES, xs, ys))
    except GDAL_ERRORS:  # rasterio gives no point if one is not on the earth
        longitudes, latitudes = np.array([_point(grid.crs, x, y) for x, y in zip(xs, ys, strict=True)]).T
    outside = ~(np.isfinite(longitudes) & np.isfinite(latitudes)) | (np.abs(latitudes) > 90)  # noqa: PLR2004 (degrees)
    return np.where(outside, np.nan, longitudes), np.where(outside, np.nan, latitudes)


def _point(crs: str | None, x: float, y: float) -> tuple[float, float]:
    """Longitude and latitude of a point; NaN if it is not on the earth."""
    try:
        with rasterio.Env():
            (longitude,), (latitude,) = warp_points(crs, _DEGREES, [x], [y])
    except GDAL_ERRORS:
        return math.nan, math.nan
    return longitude, latitude


def _box(longitudes: npt.NDArray[np.float64], latitudes: npt.NDArray[np.float64]) -> Footprint:
    """Footprint that is the bounding box of points, across the antimeridian if it is smaller there."""
    longitudes = min(longitudes, longitudes % 360, key=np.ptp)
    west, east, south, north = (float(end) for each in (longitudes, latitudes) for end in (each.min(), each.max()))
    return _of_outline([(west, north), (west, south), (east, south), (east, north)])


def _of_outline(corners: Sequence[tuple[float, float]]) -> Footprint:
    """Footprint of an outline whose longitudes are continuous and may pass the antimeridian, which cuts it in two."""
    westernmost, easternmost = (end(x for x, _ in corners) for end in (min, max))
    if easternmost - westernmost >= 360:  # noqa: PLR2004 (degrees)
        corners = [(x, end(y for _, y in corners)) for x, end in ((-180, max), (-180, min), (180, min), (180, max))]
        westernmost, easternmost = -180, 180
    turns = math.floor((westernmost + 180) / 360)
    corners = [(x - 360 * turns, y) for x, y in corners]
    easternmost -= 360 * turns
    parts = [corners]
    if easternmost > 180:  # noqa: PLR2004 (degrees)
        parts = [_clipped(corners, 180, side=-1), [(x - 360, y) for x, y in _clipped(corners, 180, side=1)]]
    rings = tuple(_ring(part) for part in parts)
    south, north = (end(y for ring in rings for _, y in ring) for end in (min, max))
    return Footprint(rings, (min(x for x, _ in rings[0]), south, max(x for x, _ in rings[-1]), north))


def _clipped(corners: Sequence[tuple[float, float]], limit: float, side: int) -> list[tuple[float, float]]:
    """Part of a polygon west (side -1) or east (side 1) of a meridian (Sutherland and Hodgman)."""
    part: list[tuple[float, float]] = []
    for (x, y), (to_x, to_y) in zip(corners, [*corners[1:], corners[0]], strict=True):
        inside, next_inside = side * (x - limit) >= 0, side * (to_x - limit) >= 0
        if inside:
            part.append((x, y))
        if inside != next_inside:
            part.append((float(limit), y + (to_y - y) * (limit - x) / (to_x - x)))
    return part


def _ring(corners: Sequence[tuple[float, float]]) -> Ring:
    """Closed ring of corners, counterclockwise, rounded."""
    following = [*corners[1:], corners[0]]
    area = sum(x * to_y - to_x * y for (x, y), (to_x, to_y) in zip(corners, following, strict=True))
    closed = [*corners, corners[0]] if area > 0 else [*corners[::-1], corners[-1]]
    return [(round(x, _DIGITS), round(y, _DIGITS)) for x, y in closed]
