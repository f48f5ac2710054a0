"""Where the pixels of variables of Zarr and NetCDF stores lie, told by coordinates and by stated transforms."""

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
from pipeline.stores.axes import Axes, latitudes_of_pixels
from pipeline.stores.crs import GridMapping, find_crs
from pipeline.stores.dimensions import Direction, coordinate, has_latitudes
from pipeline.stores.groups import BROKEN, decoded_coordinate

logger = logging.getLogger(__name__)

_TRANSFORMS: Final = ("proj:transform", "spatial:transform")
"""Attributes of STAC and of GeoZarr, in the order of `affine.Affine`."""

_LAST_RESORT: Final = "transform"
"""Attribute of xarray's old `open_rasterio`, often out of date once a cube was cut: taken without coordinates alone."""


@dataclass(frozen=True)
class Variable:
    """A variable, and all that may say where its pixels lie."""

    where: str
    """Its store and name, for messages."""
    array: xr.DataArray
    group: xr.Dataset
    around: Sequence[Mapping[str, Any]]
    """Attributes of its group and of those around it, up to the root."""
    axes: Axes


def variable_grid(variable: Variable) -> tuple[Grid, bool]:
    """Where a variable's pixels lie, north up, and whether its rows are stored the other way round.

    By a transform that is stated, where coordinates don't contradict it; else by its coordinates.

    Raises
    ------
    SceneError
        When neither says where it lies, or the CRS is none.
    """
    array, axes = variable.array, variable.axes
    mapping = GridMapping.of(array, variable.group, _names_of_coordinates(variable))
    shape = (array.sizes[axes.rows], array.sizes[axes.columns])
    crs = find_crs(array, variable.group, mapping, variable.around, variable.where)
    if crs is None and has_latitudes(variable.group.variables, axes.rows):
        crs = str(CRS.from_epsg(4326).to_wkt())
    down = _centres(variable, "Y", crs, mapping)
    across = _centres(variable, "X", crs, mapping)
    stated = _stated_transform(variable, mapping, alone=down is None or across is None)
    transform = _agreed(variable, stated, down, across)
    if transform is None:
        _check_no_swath(variable)
        return Grid(shape=shape, transform=Affine.identity(), crs=None), False  # nothing says where it lies
    flipped = bool(transform.e > 0)
    if flipped:
        transform = _turned(transform, shape[0])
    return Grid(shape=shape, transform=transform, crs=crs), flipped


def _turned(transform: Affine, rows: int) -> Affine:
    """The transform of the same pixels, whose rows are counted from the other end."""
    return transform @ Affine.translation(0, rows) @ Affine.scale(1, -1)


def _names_of_coordinates(variable: Variable) -> tuple[str, ...]:
    axes = variable.axes
    names = (
        coordinate(variable.group.variables, axes.rows, "Y"),
        coordinate(variable.group.variables, axes.columns, "X"),
    )
    return (axes.rows, axes.columns, *(str(name) for name in names if name is not None))


def _agreed(
    variable: Variable, stated: Affine | None, down: Coordinates | None, across: Coordinates | None
) -> Affine | None:
    """The transform of a variable's pixels as stored; None where nothing tells it.

    GDAL states the transform of the picture north up, whichever way rows are stored.

    Raises
    ------
    SceneError
        When coordinates contradict the transform, and are not evenly spaced.
    """
    rows = variable.array.sizes[variable.axes.rows]
    if down is None or across is None:
        known = down or across
        if stated is None or known is None:
            return stated
        return next((way for way in (stated, _turned(stated, rows)) if _fits(way, down, across)), stated)
    for way in (stated, _turned(stated, rows)) if stated else ():
        if _fits(way, down, across):
            return way
    transform = _by_coordinates(variable, down, across)
    if stated:
        logger.warning(
            "%s: the transform that is stated contradicts the coordinates, which count: pixels of %.10g x %.10g from "
            "%.10g, %.10g are stated, and %.10g x %.10g from %.10g, %.10g lie there",
            variable.where,
            *(stated.a, stated.e, stated.c, stated.f),
            *(transform.a, transform.e, transform.c, transform.f),
        )
    return transform


def _fits(transform: Affine, down: Coordinates | None, across: Coordinates | None) -> bool:
    """Whether coordinates are those that a transform gives."""
    if transform.b or transform.d:
        return down is None and across is None
    return (down is None or down.position_on_grid(transform.f, transform.e) == (0, 1)) and (
        across is None or across.position_on_grid(transform.c, transform.a) == (0, 1)
    )


def _stated_transform(variable: Variable, mapping: GridMapping, *, alone: bool) -> Affine | None:
    """The transform that a variable, its grid mapping or its group states.

    Raises
    ------
    SceneError
        When it is not six numbers, and no coordinates tell more.
    """
    for stated, is_gdal in _transforms(variable, mapping, alone=alone):
        try:
            return read_transform(stated, variable.where, gdal=is_gdal)
        except SceneError as error:
            if alone:
                raise
            logger.warning("%s; the coordinates count", error)
    return None


def _transforms(variable: Variable, mapping: GridMapping, *, alone: bool) -> list[tuple[Any, bool]]:
    """What is stated, and whether it is in GDAL's order: the nearest."""
    attrs = variable.array.attrs
    shape = [variable.array.sizes[dim] for dim in (variable.axes.rows, variable.axes.columns)]
    found = [(_at_edges(attrs, key), False) for key in _TRANSFORMS if key in attrs]
    found += [(mapping.attrs["GeoTransform"], True)] if "GeoTransform" in mapping.attrs else []
    for group in variable.around:
        told = group.get("spatial:shape") or group.get("proj:shape") or shape
        if isinstance(told, list | tuple) and list(told)[-2:] == shape:
            found += [(_at_edges(group, key), False) for key in _TRANSFORMS if key in group]
    found += [(attrs[_LAST_RESORT], False)] if alone and _LAST_RESORT in attrs else []
    return found[:1]


def _at_edges(attrs: Mapping[str, Any], key: str) -> Any:
    """A transform that counts from pixels' edges, not from their centres as GeoZarr may have it."""
    stated = attrs[key]
    if str(attrs.get("spatial:registration", "")).lower() != "node":
        return stated
    return tuple(read_transform(stated, key, gdal=False) @ Affine.translation(-0.5, -0.5))[:6]


def _centres(variable: Variable, direction: Direction, crs: str | None, mapping: GridMapping) -> Coordinates | None:
    """Decoded coordinates of a dimension, in the units of the CRS; None where it has none.

    Raises
    ------
    SceneError
        When they are no numbers.
    """
    dim = variable.axes.rows if direction == "Y" else variable.axes.columns
    name = coordinate(variable.group.variables, dim, direction)
    if name is None:
        return None
    stored = variable.group.variables[name]
    try:
        decoded = decoded_coordinate(str(name), stored)
        values = np.asarray(decoded.values, np.float64)
    except BROKEN as error:
        msg = f"{variable.where}: the coordinates {name} are no numbers"
        raise SceneError(msg) from error
    factor = unit_factor(str(stored.attrs.get("units", "")), crs, mapping.attrs)
    turns = direction == "X" and has_latitudes(variable.group.variables, variable.axes.rows)
    return Coordinates.of(dim, values, factor, kind=stored.dtype, longitudes=turns)


def _by_coordinates(variable: Variable, down: Coordinates, across: Coordinates) -> Affine:
    for centres in (across, down):
        if centres.values.size < 2:  # noqa: PLR2004
            msg = f"{variable.where}: one pixel along {centres.name} has no size; give the store a transform"
            raise SceneError(msg)
        if not centres.are_even:
            msg = (
                f"{variable.where}: the coordinates {centres.name} are not evenly spaced, so its pixels are on no "
                "grid; interpolate the store onto an even one first"
            )
            raise SceneError(msg)
    width, height = across.step, down.step
    return Affine(width, 0, across.start - width / 2, 0, height, down.start - height / 2)


def _check_no_swath(variable: Variable) -> None:
    """Raise SceneError where each pixel has a latitude of its own."""
    name = latitudes_of_pixels(variable.group)
    if name:
        raise SceneError(swath_words(variable.where, name))


def swath_words(where: str, name: str) -> str:
    """Say that a store holds a swath, and what to do."""
    return (
        f"{where}: this is a swath, without regular coordinates: {name} gives each pixel a latitude of its own; "
        "bring it onto a regular grid first (satpy, pyresample, SNAP's reprojection, or gdalwarp -geoloc) and name that"
    )
