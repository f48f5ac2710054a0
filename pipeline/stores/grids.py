"""Grids of variables of Zarr and NetCDF stores, from their coordinates and stated transforms."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr
from affine import Affine
from rasterio.crs import CRS

from pipeline.core.errors import SceneError
from pipeline.core.grid import Grid
from pipeline.geo.coordinates import Coordinates, read_transform
from pipeline.geo.crs import unit_factor
from pipeline.stores.axes import VariableAxes, latitudes_of_pixels
from pipeline.stores.crs import GridMapping, find_crs
from pipeline.stores.dimensions import Direction, coordinate, has_latitudes
from pipeline.stores.groups import STORE_ERRORS, decoded_coordinate

logger = logging.getLogger(__name__)

_TRANSFORMS: Final = ("proj:transform", "spatial:transform")
"""Attributes of STAC and GeoZarr with a transform, its numbers in the order of `affine.Affine`."""

_LAST_RESORT: Final = "transform"
"""Attribute written by xarray's old `open_rasterio`, used only without coordinates: subsets keep it unchanged."""


@dataclass(frozen=True)
class Variable:
    """A variable with everything that may state its grid."""

    where: str
    """Store and variable name, for messages."""
    array: xr.DataArray
    group: xr.Dataset
    """The undecoded group that contains the variable."""
    around: Sequence[Mapping[str, Any]]
    """Attributes of its group and of the parent groups, up to the root."""
    axes: VariableAxes


def variable_grid(variable: Variable) -> tuple[Grid, bool]:
    """Grid of a variable, north up, and whether its rows are stored from south to north.

    The transform is the stated one unless coordinates contradict it, else the one of the coordinates. Without either
    the grid has the identity transform and no CRS. Raises SceneError when a stated transform or CRS is invalid, the
    coordinates are not evenly spaced, or the variable is a swath.
    """
    array, axes = variable.array, variable.axes
    mapping = GridMapping.of(array, variable.group, _grid_names(variable))
    shape = (array.sizes[axes.rows], array.sizes[axes.columns])
    crs = find_crs(array, variable.group, mapping, variable.around, variable.where)
    if crs is None and has_latitudes(variable.group.variables, axes.rows):
        crs = str(CRS.from_epsg(4326).to_wkt())
    y = _coordinates(variable, "Y", crs, mapping)
    x = _coordinates(variable, "X", crs, mapping)
    stated = _stated_transform(variable, mapping, alone=y is None or x is None)
    transform = _stored_transform(variable, stated, y, x)
    if transform is None:
        if latitudes := latitudes_of_pixels(variable.group):
            raise SceneError(swath_message(variable.where, latitudes))
        return Grid(shape=shape, transform=Affine.identity(), crs=None), False
    flipped = bool(transform.e > 0)
    if flipped:
        transform = _with_rows_reversed(transform, shape[0])
    return Grid(shape=shape, transform=transform, crs=crs), flipped


def _with_rows_reversed(transform: Affine, rows: int) -> Affine:
    """Transform of the same pixels with rows in reversed order."""
    return transform @ Affine.translation(0, rows) @ Affine.scale(1, -1)


def _grid_names(variable: Variable) -> tuple[str, ...]:
    """Names of the dimensions of rows and columns and of their coordinates."""
    axes = variable.axes
    names = (
        coordinate(variable.group.variables, axes.rows, "Y"),
        coordinate(variable.group.variables, axes.columns, "X"),
    )
    return (axes.rows, axes.columns, *(str(name) for name in names if name is not None))


def _stored_transform(
    variable: Variable, stated: Affine | None, y: Coordinates | None, x: Coordinates | None
) -> Affine | None:
    """Transform of a variable's pixels in their stored order; None without a stated transform or coordinates.

    The stated transform is also tried with rows reversed: GDAL states it north up also for rows stored from the south.
    Raises SceneError when coordinates contradict the stated transform and are not evenly spaced.
    """
    rows = variable.array.sizes[variable.axes.rows]
    if y is None or x is None:
        known = y or x
        if stated is None or known is None:
            return stated
        orders = (stated, _with_rows_reversed(stated, rows))
        return next((order for order in orders if _matches(order, y, x)), stated)
    for order in (stated, _with_rows_reversed(stated, rows)) if stated else ():
        if _matches(order, y, x):
            return order
    transform = _transform_of_coordinates(variable, y, x)
    if stated:
        logger.warning(
            "%s: the stated transform contradicts the coordinates, which are used: it has pixels of %.10g x %.10g from "
            "%.10g, %.10g, the coordinates %.10g x %.10g from %.10g, %.10g",
            variable.where,
            *(stated.a, stated.e, stated.c, stated.f),
            *(transform.a, transform.e, transform.c, transform.f),
        )
    return transform


def _matches(transform: Affine, y: Coordinates | None, x: Coordinates | None) -> bool:
    """Whether coordinates are the pixel centres of a transform."""
    if transform.b or transform.d:
        return y is None and x is None
    return (y is None or y.position_on_grid(transform.f, transform.e) == (0, 1)) and (
        x is None or x.position_on_grid(transform.c, transform.a) == (0, 1)
    )


def _stated_transform(variable: Variable, mapping: GridMapping, *, alone: bool) -> Affine | None:
    """Transform stated by a variable, its grid mapping or its groups; None without a valid one.

    Raises SceneError when it is invalid and the variable lacks coordinates (`alone`).
    """
    for stated, is_gdal in _transforms(variable, mapping, alone=alone):
        try:
            return read_transform(stated, variable.where, gdal=is_gdal)
        except SceneError as error:
            if alone:
                raise
            logger.warning("%s; the coordinates are used", error)
    return None


def _transforms(variable: Variable, mapping: GridMapping, *, alone: bool) -> list[tuple[Any, bool]]:
    """The statement of a transform nearest to the variable, at most one, and whether it is in GDAL's order."""
    attrs = variable.array.attrs
    shape = [variable.array.sizes[dim] for dim in (variable.axes.rows, variable.axes.columns)]
    found = [(_from_edges(attrs, key), False) for key in _TRANSFORMS if key in attrs]
    found += [(mapping.attrs["GeoTransform"], True)] if "GeoTransform" in mapping.attrs else []
    for group in variable.around:
        stated_shape = group.get("spatial:shape") or group.get("proj:shape") or shape
        if isinstance(stated_shape, list | tuple) and list(stated_shape)[-2:] == shape:
            found += [(_from_edges(group, key), False) for key in _TRANSFORMS if key in group]
    found += [(attrs[_LAST_RESORT], False)] if alone and _LAST_RESORT in attrs else []
    return found[:1]


def _from_edges(attrs: Mapping[str, Any], key: str) -> Any:
    """Stated transform with its origin at a pixel's corner: GeoZarr's registration `node` has it at a centre."""
    stated = attrs[key]
    if str(attrs.get("spatial:registration", "")).lower() != "node":
        return stated
    return tuple(read_transform(stated, key, gdal=False) @ Affine.translation(-0.5, -0.5))[:6]


def _coordinates(variable: Variable, direction: Direction, crs: str | None, mapping: GridMapping) -> Coordinates | None:
    """Decoded coordinates of rows or columns, in the units of the CRS; None if the dimension has none.

    Raises SceneError when they can't be decoded to numbers.
    """
    dim = variable.axes.rows if direction == "Y" else variable.axes.columns
    name = coordinate(variable.group.variables, dim, direction)
    if name is None:
        return None
    stored = variable.group.variables[name]
    try:
        decoded = decoded_coordinate(str(name), stored)
        values = np.asarray(decoded.values, np.float64)
    except STORE_ERRORS as error:
        msg = f"{variable.where}: the coordinates {name} can't be decoded to numbers; fix the variable"
        raise SceneError(msg) from error
    factor = unit_factor(str(stored.attrs.get("units", "")), crs, mapping.attrs)
    turns = direction == "X" and has_latitudes(variable.group.variables, variable.axes.rows)
    return Coordinates.of(dim, values, factor, kind=stored.dtype, longitudes=turns)


def _transform_of_coordinates(variable: Variable, y: Coordinates, x: Coordinates) -> Affine:
    """Transform whose pixel centres are the coordinates.

    Raises SceneError when there is one pixel along a dimension, or the coordinates are not evenly spaced.
    """
    for centres in (x, y):
        if centres.values.size < 2:  # noqa: PLR2004
            msg = f"{variable.where}: the size of a single pixel along {centres.name} is unknown; state a transform"
            raise SceneError(msg)
        if not centres.are_even:
            msg = (
                f"{variable.where}: the coordinates {centres.name} are not evenly spaced, so its pixels form no "
                "grid; interpolate the store onto a regular grid first"
            )
            raise SceneError(msg)
    width, height = x.step, y.step
    return Affine(width, 0, x.start - width / 2, 0, height, y.start - height / 2)


def swath_message(where: str, name: str) -> str:
    """Error message for a swath, whose latitudes are the variable `name`."""
    return (
        f"{where}: this is a swath, without regular coordinates: {name} has a latitude per pixel; resample it onto a "
        "regular grid first (satpy, pyresample, SNAP's reprojection, or gdalwarp -geoloc) and use the result"
    )
