"""Pixel areas on the ground: from an equal-area projection's units, else on the ellipsoid row by row."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS
from rasterio.warp import transform as warp_points

from pipeline.core import libraries
from pipeline.core.grid import Block, Grid
from pipeline.geo.gdal import GDAL_ERRORS

PYPROJ: Final = 30 * 10**6
"""Memory of pyproj and its own PROJ in bytes: measured, plus a margin."""

_AUTHALIC: Final = 6_371_007.2
"""Radius in metres of a sphere with the Earth's surface area, used to detect projections that distort area."""

_TOLERATED_DISTORTION: Final = 0.02
"""Relative error of area within which a projection counts as equal-area."""

_HECTARE: Final = 10_000
"""Square metres."""

_LATTICE: Final = (0.02, 0.26, 0.5, 0.74, 0.98)
"""Positions along a grid's rows and columns where distortion is measured, as fractions of their number."""

_STEP: Final = 0.1
"""Distance over which distortion is measured, in pixels."""

_STRAIGHT: Final = 1e-6
"""Largest deviation of a row from its parallel and of a column from its meridian, as a fraction of a pixel."""

_PIECES: Final = 16
"""Number of parts of a grid's width whose longitudes are differenced: each spans less than half of the Earth."""

_BITS: Final = 52
"""Bits of the integer that represents the area of the largest pixel."""

Areas = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PixelAreas:
    """Areas of a grid's pixels on the ground, or why they are unknown."""

    hectares: float | None = None
    """Area of each pixel in hectares if all are equal; None otherwise."""
    rows: Areas | None = field(default=None, compare=False)
    """Area of one pixel per row in hectares, shape (rows,), if rows differ; None otherwise."""
    reason: str = ""
    """Why areas are unknown; empty if they are known."""

    @property
    def unit(self) -> float:
        """Hectares per unit of `whole_numbers`."""
        return 0.0 if self.rows is None else max(float(self.rows.max()), np.finfo(float).tiny) * 2.0**-_BITS

    def whole_numbers(self, block: Block) -> npt.NDArray[np.int64] | None:
        """Return the pixel area per row of a block as integers in `unit`, shape (rows,), whose sums are exact.

        None if all pixels have the same area, or areas are unknown.
        """
        if self.rows is None:
            return None
        return np.rint(self.rows[block.slices[0]] / self.unit).astype(np.int64)


def pixel_areas(grid: Grid) -> PixelAreas:
    """Compute the areas of a grid's pixels.

    A projected CRS that preserves area within 2 % gives it in its own units. In a geographic CRS, or a cylindrical
    one such as Web Mercator, all pixels of a row have the same area: that on the ellipsoid, between two parallels and
    two meridians. If another projection distorts area, it is reported as unknown rather than wrong.
    """
    if grid.crs is None:
        return PixelAreas(reason="the scene has no coordinate reference system")
    crs = CRS.from_wkt(grid.crs)
    if crs.is_geographic:
        return areas_on_ellipsoid(grid)
    return _of_projection(grid, crs) if crs.is_projected else PixelAreas(reason="the CRS is not tied to the Earth")


def needs_ellipsoid(grid: Grid) -> bool:
    """Whether areas of a grid's pixels are computed on the ellipsoid, which loads pyproj."""
    if grid.crs is None:
        return False
    crs = CRS.from_wkt(grid.crs)
    return bool(crs.is_geographic or (crs.is_projected and not _keeps_area(_stretches(grid, crs))))


def _of_projection(grid: Grid, crs: CRS) -> PixelAreas:
    planar, stretches = _planar_area(grid, crs), _stretches(grid, crs)
    if not planar or not math.isfinite(stretches[len(stretches) // 2]):
        return PixelAreas(reason="the coordinates lie outside the CRS")
    if _keeps_area(stretches):
        return PixelAreas(hectares=planar / _HECTARE)
    known = [stretch for stretch in stretches if math.isfinite(stretch)]
    on_ellipsoid = areas_on_ellipsoid(grid)
    if on_ellipsoid.rows is not None:
        return on_ellipsoid
    least, most = f"{min(known):.2f}", f"{max(known):.2f}"
    return PixelAreas(reason=f"the CRS stretches areas {least if least == most else f'{least} to {most}'} times here")


def middle_pixel_area(grid: Grid) -> float:
    """Return the area of a grid's middle pixel, to find the finest of several grids.

    In square metres, for a projected CRS those of its plane; in squared coordinates if there is no CRS.
    """
    if grid.crs is None:
        return _determinant(grid)
    crs = CRS.from_wkt(grid.crs)
    if not crs.is_geographic:
        return _planar_area(grid, crs)
    rows = areas_on_ellipsoid(grid).rows
    return _determinant(grid) if rows is None else float(rows[len(rows) // 2]) * _HECTARE


def _determinant(grid: Grid) -> float:
    t = grid.transform
    return abs(t.a * t.e - t.b * t.d)


def _planar_area(grid: Grid, crs: CRS) -> float:
    """Area of a pixel in square metres on the plane of the projection."""
    metres = crs.linear_units_factor[1] if crs.is_projected else 1.0
    return _determinant(grid) * metres**2


def _keeps_area(stretches: Sequence[float]) -> bool:
    """Whether areas are preserved within 2 % wherever they are known."""
    return all(abs(stretch - 1) <= _TOLERATED_DISTORTION for stretch in stretches if math.isfinite(stretch))


def _stretches(grid: Grid, crs: CRS) -> list[float]:
    """Ratio of planar to true pixel area at positions all over a grid; NaN outside the domain of the CRS."""
    planar, (rows, columns) = _planar_area(grid, crs), grid.shape
    ground = [_area_on_sphere(grid, crs, (x * columns, y * rows)) for y, x in product(_LATTICE, repeat=2)]
    return [planar / area if area else math.nan for area in ground]


def _area_on_sphere(grid: Grid, crs: CRS, position: tuple[float, float]) -> float:
    """Approximate area in square metres of the pixel at a (column, row), from a small part of it."""
    corners = [grid.transform @ (position[0] + dx, position[1] + dy) for dx, dy in ((0, 0), (_STEP, 0), (0, _STEP))]
    try:
        lon, lat = warp_points(crs, CRS.from_epsg(4326), *zip(*corners, strict=True))
    except GDAL_ERRORS:
        return math.nan  # the corners can't be transformed to degrees
    if not all(map(math.isfinite, (*lon, *lat))):
        return math.nan
    east = [math.radians(math.remainder(lon[i] - lon[0], 360)) * math.cos(math.radians(lat[0])) for i in (1, 2)]
    north = [math.radians(lat[i] - lat[0]) for i in (1, 2)]
    return abs(east[0] * north[1] - east[1] * north[0]) * (_AUTHALIC / _STEP) ** 2


def areas_on_ellipsoid(grid: Grid) -> PixelAreas:
    """Compute pixel areas on the ellipsoid, of a grid whose rows are parallels and whose columns are meridians.

    Pixels are bounded by parallels and meridians, not by geodesics. Areas beyond a pole are unknown.
    """
    pyproj = libraries.pyproj
    try:
        crs = pyproj.CRS.from_wkt(str(grid.crs)).to_2d()
        while crs.is_bound and crs.source_crs:
            crs = crs.source_crs
        geodetic, geod = crs.geodetic_crs, crs.get_geod()
        if geodetic is None or geod is None:
            return PixelAreas(reason="the CRS names no ellipsoid")
        to_degrees = pyproj.Transformer.from_crs(crs, geodetic, always_xy=True)
        lines = _parallels(grid, to_degrees.transform, geodetic.axis_info[0].unit_conversion_factor)
    except pyproj.exceptions.ProjError as error:
        return PixelAreas(reason=f"PROJ does not know the CRS ({error})")
    if lines is None:
        return PixelAreas(reason="rows of the grid are not parallels, so pixels of one row differ in area")
    width, latitudes = lines
    # latitudes of a rotated pole are those of a sphere
    sphere = crs.is_geographic and crs.is_derived
    if not sphere and np.abs(latitudes).max() > np.pi / 2 + np.abs(np.diff(latitudes)).max():
        return PixelAreas(reason="the coordinates lie beyond a pole")
    a, b = (_AUTHALIC, _AUTHALIC) if sphere else (geod.a, geod.b)
    equal_area = pyproj.Proj(proj="cea", a=a, b=b)  # on the cylinder a pixel is a rectangle of its area
    _, down = equal_area(0 * latitudes, np.clip(latitudes, -np.pi / 2, np.pi / 2), radians=True)
    return PixelAreas(rows=width * a * np.abs(np.diff(down)) / _HECTARE)


def _parallels(grid: Grid, geographic: Any, unit: float) -> tuple[float, Areas] | None:
    """Return the width of a pixel in longitude and the latitudes of row edges, shape (rows + 1,), in radians.

    None unless rows are parallels and columns are evenly spaced meridians.
    """
    t, (rows, columns) = grid.transform, grid.shape
    down, across = np.arange(rows + 1.0), np.linspace(0, columns, _PIECES + 1)
    sampled = down[np.unique(np.linspace(0, rows, _PIECES + 1).astype(int)), np.newaxis]
    _, latitudes = geographic(t.c + t.b * down, t.f + t.e * down)
    lon, lat = geographic(t.c + t.a * across + t.b * sampled, t.f + t.d * across + t.e * sampled)
    latitudes, lon, lat = (np.asarray(numbers) * unit for numbers in (latitudes, lon, lat))
    if not (np.isfinite(latitudes).all() and np.isfinite(lon).all()):
        return None
    steps = np.remainder(np.diff(lon, axis=1) + np.pi, 2 * np.pi) - np.pi
    width, height = float(steps[0].sum() / columns), float(np.abs(np.diff(latitudes)).max())
    leaves = np.abs(lat - lat[:, :1]).max() > _STRAIGHT * height
    uneven = np.abs(steps - width * columns / _PIECES).max() > _STRAIGHT * abs(width)
    return (abs(width), latitudes) if width and height and not (leaves or uneven) else None
