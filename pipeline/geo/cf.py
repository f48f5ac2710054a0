"""A grid as the CF conventions describe it: coordinates of pixel centres, and the attributes of their variables."""

from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.crs import CRS

from pipeline.core import libraries
from pipeline.core.grid import Grid


def is_rotated(grid: Grid) -> bool:
    """Whether rows or columns of a grid are not parallel to the axes, so that no pixel row has one coordinate."""
    return bool(grid.transform.b or grid.transform.d)


def pixel_centres(grid: Grid) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Coordinates of rows and of columns at pixel centres, each 1-D; in pixels if the grid is rotated."""
    t = grid.transform
    rows, columns = (np.arange(count, dtype=np.float64) + 0.5 for count in grid.shape)
    return (rows, columns) if is_rotated(grid) else (t.f + t.e * rows, t.c + t.a * columns)


def coordinate_attributes(grid: Grid) -> tuple[dict[str, str], dict[str, str]]:
    """CF attributes for the coordinates of rows and of columns."""
    if is_rotated(grid):
        return {"units": "pixel"}, {"units": "pixel"}
    rows, columns = {"axis": "Y"}, {"axis": "X"}
    if grid.crs is None:
        return rows, columns
    with rasterio.Env():
        crs = CRS.from_wkt(grid.crs)
        if crs.is_geographic:
            return (
                {**rows, "standard_name": "latitude", "units": "degrees_north"},
                {**columns, "standard_name": "longitude", "units": "degrees_east"},
            )
        if not crs.is_projected:
            return rows, columns
        unit = {"units": "m"} if crs.linear_units_factor[1] == 1 else {}
    return (
        {**rows, "standard_name": "projection_y_coordinate", **unit},
        {**columns, "standard_name": "projection_x_coordinate", **unit},
    )


def grid_mapping_attributes(grid: Grid) -> dict[str, Any]:
    """Attributes of a grid mapping variable: CRS as WKT and as CF parameters, and the transform as GDAL writes it."""
    transform = {"GeoTransform": " ".join(map(str, grid.transform.to_gdal()))}
    if grid.crs is None:
        return transform
    parameters = libraries.pyproj.CRS.from_wkt(grid.crs).to_cf()
    return {**parameters, "spatial_ref": grid.crs, **transform}
