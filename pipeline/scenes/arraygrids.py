"""Where the pixels of variables of Zarr and NetCDF stores lie, told by whatever says it in the wild."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import rasterio
import xarray as xr
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from pipeline.errors import SceneError
from pipeline.grid import Grid
from pipeline.scenes.numbers import as_number

_ROWS: Final = ("y", "lat", "latitude", "northing", "row")

_COLUMNS: Final = ("x", "lon", "longitude", "easting", "col", "column")

_TRANSFORMS: Final = ("proj:transform", "spatial:transform")
_NUMBERS_OF_A_TRANSFORM: Final = 6

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


def variable_grid(variable: Variable) -> tuple[Grid, bool]:
    """Where a variable's pixels lie, north up, and whether its rows are stored the other way round.

    By a transform that is stated, else by its coordinates.

    Raises
    ------
    SceneError
        When the coordinates are not evenly spaced, contradict the transform, or the CRS is none.
    """
    array, axes = variable.array, variable.axes
    mapping = _grid_mapping(variable)
    shape = (array.sizes[axes.rows], array.sizes[axes.columns])
    stated = _stated_transform(variable, mapping)
    if stated is None and not {axes.rows, axes.columns} <= set(variable.group.coords):
        return Grid(shape=shape, transform=Affine.identity(), crs=None), False  # nothing says where it lies
    transform = stated or _by_coordinates(variable)
    flipped = bool(transform.e > 0)
    rows = variable.group[axes.rows].values if axes.rows in variable.group.coords else np.zeros(1)
    if stated and rows[-1] != rows[0] and (rows[-1] > rows[0]) != flipped:
        msg = (
            f"{variable.where}: the transform says that rows go {'north' if flipped else 'south'}, the coordinates "
            f"{axes.rows} say the opposite; mend the store"
        )
        raise SceneError(msg)
    if flipped:
        transform = transform @ Affine.translation(0, shape[0]) @ Affine.scale(1, -1)
    return Grid(shape=shape, transform=transform, crs=_crs(variable, mapping)), flipped


def _stated_transform(variable: Variable, mapping: Mapping[str, Any]) -> Affine | None:
    """The transform that a variable or its grid mapping states.

    Raises
    ------
    SceneError
        When it is not six numbers.
    """
    stated = next((variable.array.attrs[key] for key in _TRANSFORMS if key in variable.array.attrs), None)
    gdal = mapping.get("GeoTransform") if stated is None else None
    listed = str(gdal).split() if gdal is not None else stated
    if listed is None:
        return None
    if not isinstance(listed, list | tuple | np.ndarray) or len(listed) < _NUMBERS_OF_A_TRANSFORM:
        msg = f"{variable.where}: {str(listed)[:60]!r} is no transform; expected six numbers"
        raise SceneError(msg)
    numbers = [as_number(number, f"{variable.where}: transform") for number in listed[:_NUMBERS_OF_A_TRANSFORM]]
    transform = Affine(*numbers) if gdal is None else Affine.from_gdal(*numbers)
    if not transform.determinant:
        msg = f"{variable.where}: the transform {numbers} gives pixels no size"
        raise SceneError(msg)
    return transform


def _by_coordinates(variable: Variable) -> Affine:
    left, across = _start_and_step(variable, variable.axes.columns)
    top, down = _start_and_step(variable, variable.axes.rows)
    return Affine(across, 0, left, 0, down, top)


def _start_and_step(variable: Variable, dim: str) -> tuple[float, float]:
    """Edge of the first pixel, and size of a pixel, from coordinates of centres."""
    where = variable.where
    try:
        centres = np.asarray(variable.group[dim].values, np.float64)
    except (TypeError, ValueError) as error:
        msg = f"{where}: the coordinates {dim} are no numbers"
        raise SceneError(msg) from error
    if centres.size < 2:  # noqa: PLR2004
        msg = f"{where}: one pixel along {dim} has no size; give the store a transform"
        raise SceneError(msg)
    steps = np.diff(centres)
    step = float((centres[-1] - centres[0]) / (centres.size - 1))
    if not step or not np.abs(steps - step).max() <= _UNEVEN * abs(step):  # NaN is not
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
                with rasterio.Env():
                    return str(CRS.from_user_input(int(stated) if str(stated).isdigit() else str(stated)).to_wkt())
            except (CRSError, ValueError) as error:
                msg = f"{variable.where}: {str(stated)[:60]!r} is no coordinate reference system"
                raise SceneError(msg) from error
    if variable.axes.rows.lower() in {"lat", "latitude"}:
        return str(CRS.from_epsg(4326).to_wkt())
    return None
