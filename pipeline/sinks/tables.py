"""The table of classes: how many pixels, how much land, what spectrum."""

import csv
from dataclasses import dataclass
from math import cos, isfinite, nan, radians
from pathlib import Path
from typing import Final

from rasterio.crs import CRS
from rasterio.warp import transform as warp_points

from pipeline.grid import Grid
from pipeline.labels.classify import ClassStatistics
from pipeline.runtime.workfolder import lost
from pipeline.scenes.gdal import GDAL_ERRORS
from pipeline.sinks.palette import Colour

_EARTH_RADIUS_M: Final = 6_371_007.2
"""Authalic mean radius: only used to notice coordinate systems that distort area."""

_TOLERATED_DISTORTION: Final = 0.02
_SQUARE_METRES_PER_HECTARE: Final = 10_000


@dataclass(frozen=True)
class PixelArea:
    """Area of a pixel on the ground, or why it is not known."""

    hectares: float | None
    reason: str
    """Why it is unknown; empty where it is known."""


def pixel_area(grid: Grid) -> PixelArea:
    """Area of a grid's pixels, from a projected CRS that keeps area to 2 %.

    A geographic CRS has pixels whose area changes with latitude, and some projections (Web Mercator) blow
    areas up: there the area is said to be unknown rather than given wrong.
    """
    if grid.crs is None:
        return PixelArea(None, "the scene has no coordinate reference system")
    crs = CRS.from_wkt(grid.crs)
    if crs.is_geographic:
        return PixelArea(None, "the CRS is geographic: in degrees, pixels differ in area")
    if not crs.is_projected:
        return PixelArea(None, "the CRS is local, not tied to the Earth")
    _, metres = crs.linear_units_factor
    t = grid.transform
    planar = abs(t.a * t.e - t.b * t.d) * metres**2
    ground = _area_on_sphere(grid, crs)
    if not (isfinite(ground) and ground > 0 and planar > 0):
        return PixelArea(None, "the coordinates lie outside the CRS")
    stretch = planar / ground
    if abs(stretch - 1) > _TOLERATED_DISTORTION:
        return PixelArea(None, f"the CRS stretches areas {stretch:.2f} times here")
    return PixelArea(planar / _SQUARE_METRES_PER_HECTARE, "")


def _area_on_sphere(grid: Grid, crs: CRS) -> float:
    """Area in square metres of the pixel in the middle of a grid, roughly; NaN where it has no place on Earth."""
    rows, columns = grid.shape
    corners = [grid.transform @ (columns / 2 + dx, rows / 2 + dy) for dx, dy in ((0, 0), (1, 0), (0, 1))]
    try:
        lon, lat = warp_points(crs, CRS.from_epsg(4326), *zip(*corners, strict=True))
    except GDAL_ERRORS:
        return nan  # the corners can't be brought into degrees
    east = [radians(lon[i] - lon[0]) * cos(radians(lat[0])) for i in (1, 2)]
    north = [radians(lat[i] - lat[0]) for i in (1, 2)]
    return abs(east[0] * north[1] - east[1] * north[0]) * _EARTH_RADIUS_M**2


def write_table(
    path: Path, statistics: ClassStatistics, bands: tuple[str, ...], area: PixelArea, colours: tuple[Colour, ...]
) -> None:
    """Write the table as CSV, a row for each class.

    Columns: class, colour (#rrggbb), pixels, share (of the valid pixels, 0 to 1), area_ha (empty where the
    area is unknown), then mean and standard deviation of each band in the units of the model (empty for a class that no
    pixel of this scene is in).

    Raises
    ------
    OutputError
        When the file can't be written.
    """
    header = ["class", "colour", "pixels", "share", "area_ha"]
    header += [f"{what}_{band}" for band in bands for what in ("mean", "std")]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(header)
            rows.writerows(table_rows(statistics, area, colours))
    except OSError as error:
        raise lost(path, "the table of classes", "output.table", error) from error


def table_rows(statistics: ClassStatistics, area: PixelArea, colours: tuple[Colour, ...]) -> list[list[str]]:
    """Rows of the table, as text."""
    valid = sum(statistics.counts[1:])
    rows = []
    for label, colour in enumerate(colours, start=1):
        pixels = statistics.counts[label]
        row = [str(label), "#{:02x}{:02x}{:02x}".format(*colour), str(pixels), f"{pixels / valid if valid else 0:.6f}"]
        row.append("" if area.hectares is None else f"{pixels * area.hectares:.4f}")
        for pair in zip(statistics.means(label), statistics.stds(label), strict=True):
            row += [f"{number:.7g}" if pixels else "" for number in pair]
        rows.append(row)
    return rows
