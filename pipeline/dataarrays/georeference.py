"""Writes a grid into a DataArray, so that xarray, rioxarray and GDAL find it, in files made of the array, too."""

from collections.abc import Hashable
from typing import Any

import numpy.typing as npt
import rasterio
import rioxarray  # noqa: F401 (the .rio accessor)
import xarray as xr
from affine import Affine
from rasterio.crs import CRS

from pipeline.core.grid import Grid
from pipeline.dataarrays.dimensions import Axes
from pipeline.dataarrays.grids import ANCHOR, EXACT


def georeference(
    array: xr.DataArray, axes: Axes, grid: Grid, mapping: Hashable = "spatial_ref", *, corners: bool = False
) -> xr.DataArray:
    """Write a grid into an array.

    The CRS goes into a grid mapping, a coordinate that `encoding` names; the coordinates of rows and columns are
    described as CF wants it. GDAL is told of a transform only where coordinates can't tell: it would believe it where
    the array was cut since.

    Parameters
    ----------
    array : DataArray
        With the coordinates of its rows and columns, if it has any.
    axes : Axes
        Its rows and columns.
    grid : Grid
        Where its pixels lie.
    mapping : str
        Name of the grid mapping.
    corners : bool
        Whether coordinates are of pixels' upper left corners, not of their centres.
    """
    placed: xr.DataArray = array.drop_vars([mapping], errors="ignore")
    record: dict[str, Any] = {}
    if grid.crs:
        placed = placed.rio.write_crs(grid.crs, grid_mapping_name=mapping)
        record = dict(placed.coords[mapping].attrs)
    record[EXACT] = [float(number) for number in tuple(_of_coordinates(placed, axes, grid))[:6]]
    if corners:
        record[ANCHOR] = "upper left"
    if corners or not _told_by_coordinates(placed, axes, grid):
        record["GeoTransform"] = " ".join(map(str, grid.transform.to_gdal()))
    described = {
        dim: placed.coords[dim].assign_attrs({**words, **placed.coords[dim].attrs})
        for dim, words in zip(axes, _cf_words(grid), strict=True)
        if dim in placed.coords and not corners  # or GDAL would take them for centres
    }
    placed = placed.assign_coords({mapping: ((), 0, record), **described})
    placed.attrs.pop("grid_mapping", None)
    placed.encoding = {**placed.encoding, "grid_mapping": mapping, "coordinates": mapping}
    return placed


def _of_coordinates(array: xr.DataArray, axes: Axes, grid: Grid) -> Affine:
    """The transform that coordinates go with: of a rotated grid that of the one whose pixels they count."""
    if not _is_rotated(grid) or any(dim not in array.coords for dim in axes):
        return grid.transform
    (top, down), (left, across) = (_first_and_step(array.coords[dim].values) for dim in axes)
    counted: Affine = grid.transform @ ~Affine(across, 0, left - across / 2, 0, down, top - down / 2)
    return counted


def _first_and_step(values: npt.NDArray[Any]) -> tuple[float, float]:
    return float(values[0]), float(values[1] - values[0]) if values.size > 1 else 1.0


def _is_rotated(grid: Grid) -> bool:
    return bool(grid.transform.b or grid.transform.d)


def _told_by_coordinates(array: xr.DataArray, axes: Axes, grid: Grid) -> bool:
    """Whether coordinates alone tell where an array's pixels lie, and how large they are."""
    return not _is_rotated(grid) and all(dim in array.coords and array.sizes[dim] > 1 for dim in axes)


def _cf_words(grid: Grid) -> tuple[dict[str, str], dict[str, str]]:
    """CF attributes of the coordinates of rows and of columns."""
    if _is_rotated(grid):
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
