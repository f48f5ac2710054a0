"""Areas of interest: polygons of vector files and bounds, in a scene's pixel coordinates, tested block by block."""

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
from pipeline.engine.time_limits import within_limit
from pipeline.geo.gdal import GDAL_ERRORS, is_remote
from pipeline.geo.overlap import bounds, bounds_in, same_crs

_DEGREES: Final = "EPSG:4326"
_EDGE_TOLERANCE: Final = 1e-6
"""Tolerance for rounding at the edge between two pixels, in pixels."""

_VERTICES_PER_SIDE: Final = 256
"""Vertices added along the side of a scene to an edge in another CRS, which becomes curved."""

PYOGRIO: Final = 155 * 10**6
"""Memory of pyogrio and its own GDAL in bytes: measured, plus a margin."""

VECTOR_SUFFIXES: Final = frozenset({".gpkg", ".geojson", ".json", ".shp", ".fgb", ".kml", ".gml", ".parquet", ".zip"})


@dataclass(frozen=True)
class Area:
    """An area of interest in pixel coordinates of a grid."""

    shape: Any
    """Shapely polygon or multipolygon, with x = column and y = row."""

    def inside(self, block: Block) -> npt.NDArray[np.bool_]:
        """Return which pixels of a block have their centre in the area, shape (rows, columns)."""
        left, top, right, bottom = self.shape.bounds
        (first, last), (west, east) = block.window
        if left >= east or right <= west or top >= last or bottom <= first:
            return np.zeros(block.shape, np.bool_)
        # shifted by whole pixels, so that the result for a pixel does not depend on its block
        return np.asarray(
            geometry_mask([self.shape], block.shape, Affine.translation(west, first), invert=True), np.bool_
        )

    def apply(self, block: Block, valid: npt.NDArray[np.bool_]) -> None:
        """Clear a block's pixels outside the area in `valid`, in place."""
        valid &= self.inside(block)

    def moved(self, rows: int, columns: int) -> "Area":
        """Return the area in coordinates of a grid whose origin is `rows` and `columns` further down and right."""
        return Area(libraries.shapely.transform(self.shape, partial(np.add, [-columns, -rows])))

    def window(self, grid: Grid, block: tuple[int, int] = (1, 1)) -> Block | None:
        """Return the window of whole blocks of size (rows, columns) around the area; None if outside the grid."""
        left, top, right, bottom = self.shape.bounds
        spans = []
        for start, stop, count, size in zip((top, left), (bottom, right), grid.shape, block, strict=True):
            first = max(0, floor((start + _EDGE_TOLERANCE) / size) * size)
            last = min(count, ceil((stop - _EDGE_TOLERANCE) / size) * size)
            if first >= last:
                return None
            spans.append((first, last))
        (top, bottom), (left, right) = spans
        return Block(row=0, column=0, top=top, left=left, height=bottom - top, width=right - left)


def area_of(wanted: AreaRecord, grid: Grid) -> Area:
    """Read an area of interest of the config and transform it to a grid.

    Raises ConfigError if its CRS is unknown, else SceneError as `read_area` does.
    """
    shapely = libraries.shapely
    if wanted.path:
        return read_area(wanted.path, grid, "scene.aoi")
    crs = wanted.crs or _DEGREES
    try:
        with rasterio.Env():
            CRS.from_user_input(crs)
    except CRSError as error:
        msg = f"scene.aoi.crs: {crs!r} is not a coordinate reference system; use one such as EPSG:32633"
        raise ConfigError(msg) from error
    box = shapely.box(*(wanted.bounds or ()))
    return _to_pixels(box, crs, grid, f"scene.aoi: {', '.join(f'{number:g}' for number in box.bounds)} ({crs})")


def read_area(path: str, grid: Grid, key: str) -> Area:
    """Read the polygons of a vector file and transform them to a scene's grid.

    GDAL opens the file, and the first of several layers is used; `key` is the config key that names the file, for
    messages. Raises SceneError if the file can't be read, contains no polygon, or does not overlap the scene.
    """
    pyogrio, shapely = libraries.pyogrio, libraries.shapely
    if kind := special_kind(path):
        msg = f"{key}: {path}: this is {kind}, not a file"
        raise SceneError(msg)
    try:
        with warnings.catch_warnings(action="ignore"):  # GDAL warns of geometries that are checked below
            read = partial(pyogrio.raw.read, path, columns=[])
            meta, _, geometry, _ = within_limit(read, f"{key}: {path} can't be read") if is_remote(path) else read()
    except (
        pyogrio.errors.DataSourceError,
        pyogrio.errors.DataLayerError,
        OSError,
        ValueError,
    ) as error:
        msg = f"{key}: {path} can't be read as a vector file ({f'{error}'.splitlines()[0]})"
        raise SceneError(msg) from error
    try:
        with np.errstate(all="ignore"):
            shapes = shapely.make_valid(shapely.from_wkb(geometry)) if geometry is not None else np.empty(0, object)
            polygons = [part for shape in shapes if shape is not None for part in _polygons(shape)]
            area = shapely.union_all(polygons)
    except shapely.errors.ShapelyError as error:
        msg = (
            f"{key}: {path} contains an invalid polygon ({error}); repair it, for instance with QGIS's 'Fix geometries'"
        )
        raise SceneError(msg) from error
    if area.is_empty:
        msg = f"{key}: {path} contains no polygon; an area needs polygons, not points or lines"
        raise SceneError(msg)
    return _to_pixels(area, meta["crs"] or _DEGREES, grid, f"{key}: {path}")


def _polygons(shape: Any) -> list[Any]:
    """Return the polygons of a geometry, without its points and lines."""
    parts = libraries.shapely.get_parts(shape, return_index=False)
    return [part for part in parts if part.geom_type.endswith("Polygon") and np.isfinite(part.bounds).all()]


def _to_pixels(shape: Any, crs: str, grid: Grid, what: str) -> Area:
    """Transform a polygon to pixel coordinates of a grid; raise SceneError without an overlap, or a CRS of the grid."""
    shapely = libraries.shapely
    if grid.crs is None:
        msg = f"{what}: the scene has no coordinate reference system, so areas can't be located in it"
        raise SceneError(msg)

    def pixels(points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        with rasterio.Env():
            xs, ys = warp_points(crs, grid.crs, points[:, 0], points[:, 1])
        columns, rows = ~grid.transform @ (np.asarray(xs), np.asarray(ys))
        return np.column_stack([columns, rows])

    try:
        with np.errstate(all="ignore"):
            moved = shapely.make_valid(shapely.transform(_densify(shape, crs, grid), pixels))
            area = shapely.union_all(_polygons(moved))  # without lines, which would be rasterized as well
    except (*GDAL_ERRORS, shapely.errors.ShapelyError) as error:
        msg = f"{what} can't be transformed to the scene's coordinate system ({error})"
        raise SceneError(msg) from error
    rows, columns = grid.shape
    if not area.intersects(shapely.box(0, 0, columns, rows)):
        msg = f"{what}: the scene does not overlap this area; it covers {_bounds_text(grid)}"
        raise SceneError(msg)
    return Area(area)


def _densify(shape: Any, crs: str, grid: Grid) -> Any:
    """Add vertices to a polygon near a grid, because edges that are straight in one CRS are curved in another."""
    shapely = libraries.shapely
    if same_crs(CRS.from_user_input(crs).to_wkt(), grid.crs):
        return shape
    try:
        west, south, east, north = bounds_in(grid, CRS.from_user_input(crs).to_wkt())
    except (SceneError, *GDAL_ERRORS):  # the scene extends beyond the domain of the area's CRS
        left, bottom, right, top = shape.bounds
        return shapely.segmentize(shape, max(right - left, top - bottom) / _VERTICES_PER_SIDE)
    side = max(east - west, north - south)
    shifts = (-360, 0, 360) if CRS.from_user_input(crs).is_geographic else (0,)
    near = [shapely.box(west - side + shift, south - side, east + side + shift, north + side) for shift in shifts]
    return shapely.segmentize(shapely.intersection(shape, shapely.union_all(near)), side / _VERTICES_PER_SIDE)


def _bounds_text(grid: Grid) -> str:
    """Describe the bounds of a grid, in its own CRS and in degrees, for messages."""
    west, south, east, north = bounds(grid)
    with rasterio.Env():
        lon, lat = warp_points(grid.crs, _DEGREES, [west, west, east, east], [south, north, south, north])
    own = f"{west:.10g}, {south:.10g}, {east:.10g}, {north:.10g}"
    return f"{own} in its own CRS, {min(lon):.4f}, {min(lat):.4f}, {max(lon):.4f}, {max(lat):.4f} in degrees"
