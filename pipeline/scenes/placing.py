"""Bands of several grids on one: the grid of a scene, and where on a file's grid each of its pixels lies."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform as warp_points
from rasterio.warp import transform_bounds

from pipeline.errors import ConfigError, SceneError
from pipeline.grid import Grid
from pipeline.kernels.gather import Places
from pipeline.scenes.filebands import FileBand
from pipeline.scenes.gdal import GDAL_ERRORS

logger = logging.getLogger(__name__)

_ON_AN_EDGE: Final = 1e-6
"""Share of a pixel by which a centre may miss the edge between two pixels through rounding."""

_SAME_SIZE: Final = 1e-6
_MOST_PIXELS: Final = 2**40
_FINEST_STEP: Final = 0.01
_AROUND: Final = 360
"""Degrees."""


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


def scene_grid(bands: Sequence[FileBand], resolution: float | None) -> Grid:
    """The grid of a scene: that of its finest band, or one of another resolution with the same upper left corner.

    Parameters
    ----------
    bands : sequence of FileBand
        All bands of the scene.
    resolution : float or None
        Side of a pixel in the units of the CRS; None for that of the finest band.

    Raises
    ------
    ConfigError
        When the resolution is coarser than the whole scene, or absurdly fine.
    """
    first = bands[0].grid
    finest = min((band.grid for band in bands), key=lambda grid: _pixel_area(grid, first))
    if resolution is None:
        return finest
    for band in bands:
        if all(math.isclose(size, resolution, rel_tol=_SAME_SIZE) for size in band.grid.resolution):
            return band.grid
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


def _pixel_area(grid: Grid, other: Grid) -> float:
    """Area of a pixel in square units of another grid's CRS, or of its own where one of them has none."""
    if grid.crs is None or other.crs is None or same_crs(grid.crs, other.crs):
        return math.prod(grid.resolution)
    return math.prod(other.resolution) / math.prod(steps_between(other, grid))


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Nearest neighbours between two grids whose rows and columns are parallel.

    The pixel in row i of the scene's grid takes the one in row floor((i + 0.5) * step + start) of the file's: so it
    does not matter which rows are read together.
    """

    steps: tuple[float, float]
    """(rows, columns) of the file for one of the scene."""
    starts: tuple[float, float]
    """(row, column) of the file at the scene's upper left corner."""
    shape: tuple[int, int]
    """(rows, columns) of the file."""

    @classmethod
    def of(cls, grid: Grid, file: Grid) -> "Placement | None":
        """Place a scene's grid on a file's; None where they aren't parallel, or not in one CRS."""
        if not same_crs(grid.crs, file.crs):
            return None
        t = ~file.transform @ grid.transform
        if abs(t.b) > _SAME_SIZE * abs(t.a) or abs(t.d) > _SAME_SIZE * abs(t.e) or t.a <= 0 or t.e <= 0:
            return None
        return cls(steps=(t.e, t.a), starts=(t.f, t.c), shape=file.shape)

    def along(self, axis: int, start: int, stop: int) -> Places:
        """For the scene's rows (axis 0) or columns (axis 1) from start to stop: those of the file, -1 outside it."""
        centres = (np.arange(start, stop) + 0.5) * self.steps[axis] + self.starts[axis]
        places = np.floor(centres + _ON_AN_EDGE).astype(np.int64)
        return np.where((places >= 0) & (places < self.shape[axis]), places, -1)

    @property
    def aligned(self) -> bool:
        """Whether edges of the coarser pixels are edges of the finer ones everywhere."""
        finer = [min(step, 1.0) for step in self.steps]
        ratios = [step if step >= 1 else 1 / step for step in self.steps]
        offsets = [start / size for start, size in zip(self.starts, finer, strict=True)]
        return all(abs(number - round(number)) < _ON_AN_EDGE**0.5 for number in (*ratios, *offsets))

    @property
    def is_identity(self) -> bool:
        """Whether pixels of both grids are the same, but for the extent."""
        return self.aligned and all(math.isclose(step, 1, rel_tol=_SAME_SIZE) for step in self.steps)


def check_placeable(grid: Grid, band: FileBand, first: FileBand) -> None:
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
            f"{place(grid)} and {band.path} has {place(band.grid)}; at least one of them says not where it lies, "
            "so they can't be brought onto one grid; choose bands of one of them with scene.bands"
        )
        raise SceneError(msg)
    if not overlap(grid, band.grid):
        msg = (
            f"scene.source: bands {first.name} and {band.name} show different places: {first.path} has "
            f"{place(grid)} and {band.path} has {place(band.grid)}; name files of one place"
        )
        raise SceneError(msg)


def place(grid: Grid) -> str:
    """Size, resolution, upper left corner and CRS in words."""
    crs = f"in {crs_name(grid.crs)}" if grid.crs else "without a CRS"
    return f"{grid.describe()} from {grid.transform.c:.10g}, {grid.transform.f:.10g} {crs}"


def bounds(grid: Grid) -> tuple[float, float, float, float]:
    """(left, bottom, right, top) of a grid, in its own CRS."""
    rows, columns = grid.shape
    corners = [grid.transform @ corner for corner in ((0, 0), (columns, 0), (0, rows), (columns, rows))]
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


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


def bounds_in(grid: Grid, crs: str) -> tuple[float, float, float, float]:
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
    """Share of a grid's ground, 0 to 1, that the rectangle around another one covers; 0 where it can't be told."""
    if one.crs is None or other.crs is None:
        return _shared(bounds(one), bounds(other)) if one.crs == other.crs else 0
    try:
        theirs = bounds_in(other, one.crs)
    except (SceneError, *GDAL_ERRORS) as error:
        logger.debug("bounds can't be compared: %s", error)
        return 0
    west, south, east, north = theirs
    turns = (-_AROUND, 0, _AROUND) if CRS.from_wkt(one.crs).is_geographic else (0,)
    return sum(_shared(bounds(one), (west + turn, south, east + turn, north)) for turn in turns)


def _shared(ours: tuple[float, ...], theirs: tuple[float, ...]) -> float:
    """Share of a rectangle (left, bottom, right, top) that another one covers."""
    wide, high = (min(ours[i + 2], theirs[i + 2]) - max(ours[i], theirs[i]) for i in (0, 1))
    return max(wide, 0) / (ours[2] - ours[0]) * max(high, 0) / (ours[3] - ours[1])
