"""Writes a grid into a DataArray, so that xarray, rioxarray and GDAL find it, also in files saved from the array."""

from collections.abc import Hashable
from typing import Any

import numpy.typing as npt
import rioxarray  # noqa: F401 (the .rio accessor)
import xarray as xr
from affine import Affine

from pipeline.core.grid import Grid
from pipeline.dataarrays.dimensions import Axes
from pipeline.dataarrays.grids import ANCHOR, EXACT
from pipeline.geo.cf import coordinate_attributes, is_rotated


def georeference(
    array: xr.DataArray, axes: Axes, grid: Grid, mapping: Hashable = "spatial_ref", *, corners: bool = False
) -> xr.DataArray:
    """Copy an array, sharing its data, and write a grid into the copy, following the CF conventions.

    The CRS goes into a grid mapping, a scalar coordinate that `encoding` names; the coordinates of rows and columns get
    CF attributes. GDAL's `GeoTransform` is written only if coordinates do not define the transform: GDAL would still
    use it after the array was subset.

    The array may lack coordinates of rows and columns. `corners` says that they are those of pixels' upper left
    corners, not centres.
    """
    result: xr.DataArray = array.drop_vars([mapping], errors="ignore")
    record: dict[str, Any] = {}
    if grid.crs:
        result = result.rio.write_crs(grid.crs, grid_mapping_name=mapping)
        record = dict(result.coords[mapping].attrs)
    record[EXACT] = [float(number) for number in tuple(_coordinate_transform(result, axes, grid))[:6]]
    if corners:
        record[ANCHOR] = "upper left"
    if corners or not _coordinates_suffice(result, axes, grid):
        record["GeoTransform"] = " ".join(map(str, grid.transform.to_gdal()))
    described = {
        dim: result.coords[dim].assign_attrs({**cf, **result.coords[dim].attrs})
        for dim, cf in zip(axes, coordinate_attributes(grid), strict=True)
        if dim in result.coords and not corners  # else GDAL would read them as centres
    }
    result = result.assign_coords({mapping: ((), 0, record), **described})
    result.attrs.pop("grid_mapping", None)
    result.encoding = {**result.encoding, "grid_mapping": mapping, "coordinates": mapping}
    return result


def _coordinate_transform(array: xr.DataArray, axes: Axes, grid: Grid) -> Affine:
    """Transform that coordinates refer to: for a rotated grid, of the grid whose pixel indices they are."""
    if not is_rotated(grid) or any(dim not in array.coords for dim in axes):
        return grid.transform
    (top, down), (left, across) = (_first_and_step(array.coords[dim].values) for dim in axes)
    index_transform: Affine = grid.transform @ ~Affine(across, 0, left - across / 2, 0, down, top - down / 2)
    return index_transform


def _first_and_step(values: npt.NDArray[Any]) -> tuple[float, float]:
    """First coordinate and spacing; 1 for a single coordinate."""
    return float(values[0]), float(values[1] - values[0]) if values.size > 1 else 1.0


def _coordinates_suffice(array: xr.DataArray, axes: Axes, grid: Grid) -> bool:
    """Whether coordinates alone define the transform of an array."""
    return not is_rotated(grid) and all(dim in array.coords and array.sizes[dim] > 1 for dim in axes)
