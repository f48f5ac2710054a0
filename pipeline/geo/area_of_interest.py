"""Areas: vector files and bounds, brought onto a scene's grid and asked block by block."""

import warnings
from dataclasses import dataclass
from functools import partial
from math import ceil, floor
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.features import geometry_mask
from rasterio.warp import transform as warp_points

from pipeline.config.masks import AreaRecord
from pipeline.core import libraries
from pipeline.core.errors import ConfigError, SceneError
from pipeline.core.grid import Block, Grid
from pipeline.core.regular_files import special_kind
from pipeline.engine.deadline import within_limit
from pipeline.geo.gdal import GDAL_ERRORS, is_remote
from pipeline.geo.overlap import bounds, bounds_in, same_crs

_DEGREES: Final = "EPSG:4326"
_ON_AN_EDGE: Final = 1e-6
"""Pixels by which an area may reach over an edge between two pixels through rounding."""

_STEPS: Final = 256
"""Corners along the side of a scene that an edge in another CRS gets."""

PYOGRIO: Final = 155 * 10**6
"""Bytes that the library and its own GDAL take: measured, with some room."""

VECTOR_SUFFIXES: Final = frozenset({".gpkg", ".geojson", ".json", ".shp", ".fgb", ".kml", ".gml", ".parquet", ".zip"})


@dataclass(frozen=True)
class Area:
    """A polygon in columns and rows of a grid."""

    shape: Any
    """A shapely polygon or multipolygon."""

    def inside(self, block: Block) -> npt.NDArray[np.bool_]:
        """Which pixels of a block have their centre in the area, shape (rows, columns)."""
        left, top, right, bottom = self.shape.bounds
        (first, last), (west, east) = block.window
        if left >= east or right <= west or top >= last or bottom <= first:
            return np.zeros(block.shape, np.bool_)
        # moved by whole pixels, so that a pixel's answer doesn't depend on its block
        return np.asarray(
            geometry_mask([self.shape], block.shape, Affine.translation(west, first), invert=True), np.bool_
        )

    def apply(self, block: Block, valid: npt.NDArray[np.bool_]) -> None:
        """Strike out of a block's validity, in place, what lies outside of the area."""
        valid &= self.inside(block)

    def moved(self, rows: int, columns: int) -> "Area":
        """The same area on a grid that begins so many rows and columns later."""
        return Area(libraries.shapely.transform(self.shape, partial(np.add, [-columns, -rows])))

    def window(self, grid: Grid, block: tuple[int, int] = (1, 1)) -> Block | None:
        """The box around the area, in whole blocks of a grid, (rows, columns) large; None where it lies outside."""
        left, top, right, bottom = self.shape.bounds
        spans = []
        for start, stop, count, size in zip((top, left), (bottom, right), grid.shape, block, strict=True):
            first = max(0, floor((start + _ON_AN_EDGE) / size) * size)
            last = min(count, ceil((stop - _ON_AN_EDGE) / size) * size)
            if first >= last:
                return None
            spans.append((first, last))
        (top, bottom), (left, right) = spans
        return Block(row=0, column=0, top=top, left=left, height=bottom - top, width=right - left)


def area_of(wanted: AreaRecord, grid: Grid) -> Area:
    """Bring an area of interest onto a grid.

    Raises
    ------
    ConfigError
        When its CRS is unknown.
    SceneError
        When the file can't be read, holds no polygon, or the area lies outside of the scene.
    """
    if wanted.path:
        return read_area(wanted.path, grid, "scene.aoi")
    crs = wanted.crs or _DEGREES
    try:
        with rasterio.Env():
            CRS.from_user_input(crs)
    except CRSError as error:
        msg = f"scene.aoi.crs: {crs!r} is no coordinate reference system; give one such as EPSG:32633"
        raise ConfigError(msg) from error
    box = libraries.shapely.box(*(wanted.bounds or ()))
    return _onto(box, crs, grid, f"scene.aoi: {', '.join(f'{number:g}' for number in box.bounds)} ({crs})")


def read_area(path: str, grid: Grid, key: str) -> Area:
    """Bring the polygons of a vector file onto a grid.

    Parameters
    ----------
    path : str
        Any vector file GDAL opens; of several layers the first counts.
    grid : Grid
        Of the scene.
    key : str
        Of the config, for messages.

    Raises
    ------
    SceneError
        When it can't be read, holds no polygon, or lies outside of the scene.
    """
    if kind := special_kind(path):
        msg = f"{key}: {path}: this is {kind}, not a file"
        raise SceneError(msg)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of GDAL, about geometries that are judged below
            read = partial(libraries.pyogrio.raw.read, path, columns=[])
            meta, _, geometry, _ = within_limit(read, f"{key}: {path} can't be read") if is_remote(path) else read()
    except (
        libraries.pyogrio.errors.DataSourceError,
        libraries.pyogrio.errors.DataLayerError,
        OSError,
        ValueError,
    ) as error:
        msg = f"{key}: {path} can't be read as a vector file ({f'{error}'.splitlines()[0]})"
        raise SceneError(msg) from error
    try:
        with np.errstate(all="ignore"):
            shapes = (
                libraries.shapely.make_valid(libraries.shapely.from_wkb(geometry))
                if geometry is not None
                else np.empty(0, object)
            )
            polygons = [part for shape in shapes if shape is not None for part in _polygons(shape)]
            area = libraries.shapely.union_all(polygons)
    except libraries.shapely.errors.ShapelyError as error:
        msg = (
            f"{key}: {path} holds a polygon that is none ({error}); mend it, for instance with QGIS's 'Fix geometries'"
        )
        raise SceneError(msg) from error
    if area.is_empty:
        msg = f"{key}: {path} holds no polygon"
        raise SceneError(msg)
    return _onto(area, meta["crs"] or _DEGREES, grid, f"{key}: {path}")


def _polygons(shape: Any) -> list[Any]:
    """Polygons that a geometry is made of."""
    parts = libraries.shapely.get_parts(shape, return_index=False)
    return [part for part in parts if part.geom_type.endswith("Polygon") and np.isfinite(part.bounds).all()]


def _onto(shape: Any, crs: str, grid: Grid, what: str) -> Area:
    """Bring a polygon into columns and rows of a grid.

    Raises
    ------
    SceneError
        When it lies outside of the grid, or the scene has no CRS.
    """
    if grid.crs is None:
        msg = f"{what}: the scene has no coordinate reference system, so no area can be found in it"
        raise SceneError(msg)

    def pixels(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        with rasterio.Env():
            xs, ys = warp_points(crs, grid.crs, points[:, 0], points[:, 1])
        columns, rows = ~grid.transform @ (np.asarray(xs), np.asarray(ys))
        return np.column_stack([columns, rows])

    try:
        with np.errstate(all="ignore"):
            moved = libraries.shapely.make_valid(libraries.shapely.transform(_bendable(shape, crs, grid), pixels))
            placed = libraries.shapely.union_all(_polygons(moved))  # no lines, which would be burnt, too
    except (*GDAL_ERRORS, libraries.shapely.errors.ShapelyError) as error:
        msg = f"{what} can't be brought into the scene's coordinate system ({error})"
        raise SceneError(msg) from error
    rows, columns = grid.shape
    if not placed.intersects(libraries.shapely.box(0, 0, columns, rows)):
        msg = f"{what}: the scene does not overlap this area; it covers {_degrees(grid)}"
        raise SceneError(msg)
    return Area(placed)


def _bendable(shape: Any, crs: str, grid: Grid) -> Any:
    """A polygon with many corners near a grid: edges that are straight in one CRS are bent in another."""
    if same_crs(CRS.from_user_input(crs).to_wkt(), grid.crs):
        return shape
    try:
        west, south, east, north = bounds_in(grid, CRS.from_user_input(crs).to_wkt())
    except (SceneError, *GDAL_ERRORS):  # the scene reaches beyond what the area's CRS can show
        left, bottom, right, top = shape.bounds
        return libraries.shapely.segmentize(shape, max(right - left, top - bottom) / _STEPS)
    side = max(east - west, north - south)
    turns = (-360, 0, 360) if CRS.from_user_input(crs).is_geographic else (0,)
    near = [libraries.shapely.box(west - side + turn, south - side, east + side + turn, north + side) for turn in turns]
    return libraries.shapely.segmentize(
        libraries.shapely.intersection(shape, libraries.shapely.union_all(near)), side / _STEPS
    )


def _degrees(grid: Grid) -> str:
    """The bounds of a grid in words: in its own CRS, and in degrees."""
    west, south, east, north = bounds(grid)
    with rasterio.Env():
        lon, lat = warp_points(grid.crs, _DEGREES, [west, west, east, east], [south, north, south, north])
    own = f"{west:.10g}, {south:.10g}, {east:.10g}, {north:.10g}"
    return f"{own} in its own CRS, {min(lon):.4f}, {min(lat):.4f}, {max(lon):.4f}, {max(lat):.4f} in degrees"
