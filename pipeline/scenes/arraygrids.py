"""Where the pixels of variables of Zarr and NetCDF stores lie, told by whatever says it in the wild."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from pipeline.errors import SceneError
from pipeline.grid import Grid

_ROWS: Final = ("y", "lat", "latitude", "northing", "row")

_COLUMNS: Final = ("x", "lon", "longitude", "easting", "col", "column")

_UNEVEN: Final = 1e-3
"""Share of a pixel by which steps between coordinates may differ."""

_ROOT_RECORDS: Final = ("stac_discovery", "other_metadata")
"""Where EOPF products keep what holds for all groups."""


@dataclass(frozen=True)
class Axes:
    """Names of a variable's dimensions."""

    rows: str
    columns: str
    other: str | None
    """The dimension along which bands lie, if there is one."""

    @classmethod
    def of(cls, variable: xr.DataArray) -> "Axes | None":
        """Tell rows and columns by their names; None where there are none, or more than one other dimension."""
        dims = {str(dim).lower(): str(dim) for dim in variable.dims}
        rows = next((dims[name] for name in _ROWS if name in dims), None)
        columns = next((dims[name] for name in _COLUMNS if name in dims), None)
        others = [dim for dim in dims.values() if dim not in {rows, columns}]
        if rows is None or columns is None or len(others) > 1 or variable.dtype.kind not in "iuf":
            return None
        return cls(rows, columns, others[0] if others else None)


@dataclass(frozen=True)
class Variable:
    """A variable, and all that may say where its pixels lie."""

    where: str
    """Its store and name, for messages."""
    array: xr.DataArray
    group: xr.Dataset
    root: Mapping[str, Any]
    """Attributes of the store's root."""
    axes: Axes


def variable_grid(variable: Variable) -> Grid:
    """Where a variable's pixels lie: by a transform that is stated, else by its coordinates. North is up.

    Raises
    ------
    SceneError
        When the coordinates are not evenly spaced, or the CRS is none.
    """
    array, axes = variable.array, variable.axes
    mapping = _grid_mapping(variable)
    stated = array.attrs.get("proj:transform") or array.attrs.get("spatial:transform")
    if stated is None and "GeoTransform" in mapping:
        numbers = [float(number) for number in str(mapping["GeoTransform"]).split()]
        stated = Affine.from_gdal(*numbers)[:6]
    shape = (array.sizes[axes.rows], array.sizes[axes.columns])
    if stated is not None:
        transform = Affine(*(float(number) for number in list(stated)[:6]))
    else:
        left, across = _start_and_step(variable, axes.columns)
        top, down = _start_and_step(variable, axes.rows)
        transform = Affine(across, 0, left, 0, down, top)
    if transform.e > 0:  # rows from south to north: they are read the other way round
        transform = transform @ Affine.translation(0, shape[0]) @ Affine.scale(1, -1)
    return Grid(shape=shape, transform=transform, crs=_crs(variable, mapping))


def _start_and_step(variable: Variable, dim: str) -> tuple[float, float]:
    """Edge of the first pixel, and size of a pixel, from coordinates of centres."""
    if dim not in variable.group.coords:
        return 0.0, 1.0
    where, centres = variable.where, np.asarray(variable.group[dim].values, np.float64)
    if centres.size < 2:  # noqa: PLR2004
        msg = f"{where}: one pixel along {dim} has no size; give the store a transform"
        raise SceneError(msg)
    steps = np.diff(centres)
    step = float((centres[-1] - centres[0]) / (centres.size - 1))
    if not step or np.abs(steps - step).max() > _UNEVEN * abs(step):
        msg = f"{where}: the coordinates {dim} are not evenly spaced, so its pixels are on no grid"
        raise SceneError(msg)
    return float(centres[0]) - step / 2, step


def _grid_mapping(variable: Variable) -> Mapping[str, Any]:
    """Attributes of the variable that says what the coordinates mean (CF conventions)."""
    array, dataset = variable.array, variable.group
    named = array.attrs.get("grid_mapping") or array.encoding.get("grid_mapping")
    for name in (named, "spatial_ref", "crs"):
        if name and name in dataset.variables:
            return dict(dataset[name].attrs)
    return {}


def _crs(variable: Variable, mapping: Mapping[str, Any]) -> str | None:
    """Coordinate reference system, in whichever place it is stated."""
    array, dataset, root = variable.array, variable.group, variable.root
    records: list[Mapping[str, Any]] = [
        record if isinstance(record := root.get(key), Mapping) else {} for key in _ROOT_RECORDS
    ]
    properties, other = records[0].get("properties", {}), records[1]
    places: list[Any] = [
        *(array.attrs.get(key) for key in ("proj:wkt2", "proj:code", "proj:epsg")),
        *(mapping.get(key) for key in ("crs_wkt", "spatial_ref", "epsg_code", "epsg")),
        *(dataset.attrs.get(key) for key in ("proj:wkt2", "proj:code", "proj:epsg", "crs_wkt", "crs", "epsg")),
        *(properties.get(key) for key in ("proj:wkt2", "proj:code", "proj:epsg")),
        other.get("horizontal_CRS_code"),
    ]
    for stated in places:
        if stated:
            try:
                return str(CRS.from_user_input(int(stated) if str(stated).isdigit() else str(stated)).to_wkt())
            except (CRSError, ValueError) as error:
                msg = f"{variable.where}: {str(stated)[:60]!r} is no coordinate reference system"
                raise SceneError(msg) from error
    if variable.axes.rows.lower() in {"lat", "latitude"}:
        return str(CRS.from_epsg(4326).to_wkt())
    return None
