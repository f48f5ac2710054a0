"""Grid of a DataArray, from its coordinates and the transforms it states."""

import logging
from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import xarray as xr
from affine import Affine

from pipeline.core.errors import ConfigError, SceneError
from pipeline.core.grid import Grid
from pipeline.dataarrays.crs import crs_of, grid_mappings, unit_of
from pipeline.dataarrays.dimensions import Axes, find_axes
from pipeline.geo.coordinates import Coordinates, read_transform
from pipeline.stores.dimensions import coordinate, has_latitudes

logger = logging.getLogger(__name__)

_CENTRE: Final = 0.5
"""Position of a pixel's centre from its upper left corner, in pixels."""

EXACT: Final = "pixel_transform"
"""Attribute of a grid mapping with the exact transform. It is not one that GDAL and rioxarray read, because they would
still use it after the array was subset."""

ANCHOR: Final = "pixel_anchor"
"""Attribute of a grid mapping: 'upper left' if coordinates are those of pixels' upper left corners."""

_NEAR: Final = 1e-3
"""Fraction of a pixel below which a difference counts as rounding."""

_STACKSTAC: Final = "stackstac-"
"""Prefix of the names of stackstac's arrays."""

_TRANSFORMS: Final = ("transform", "spatial:transform", "proj:transform")
"""Attributes of arrays with a transform, its numbers in the order of `affine.Affine`."""


class _Stated(NamedTuple):
    """A transform that an array states."""

    where: str
    """Attribute or coordinate that states it, for messages."""
    transform: Affine
    corners: bool
    """Whether coordinates may be those of upper left corners."""


def grid_of(array: xr.DataArray, axes: Axes | None = None, attrs: Mapping[Hashable, Any] | None = None) -> Grid:
    """Grid of a DataArray, from its coordinates and the transforms it states. Contradicting transforms are ignored.

    The axes are found if not given; `attrs` are those of the Dataset that contains the array. Raises ConfigError when
    the array has no rows and columns, or its coordinates are not evenly spaced.
    """
    return grid_and_corners(array, axes, attrs)[0]


def grid_and_corners(
    array: xr.DataArray, axes: Axes | None = None, attrs: Mapping[Hashable, Any] | None = None
) -> tuple[Grid, bool]:
    """Grid of a DataArray, as from `grid_of`, and whether its coordinates are those of pixels' upper left corners."""
    axes = axes or find_axes(array)
    if axes is None:
        msg = f"the array has dimensions {', '.join(map(str, array.dims))}; expected y and x among them"
        raise ConfigError(msg)
    shape = (array.sizes[axes.rows], array.sizes[axes.columns])
    if min(shape) < 1:
        msg = f"the array has {shape[0]} rows and {shape[1]} columns, so no pixels"
        raise ConfigError(msg)
    attrs = {**(attrs or {}), **array.attrs}
    crs = crs_of(array, axes, attrs)
    transform, corners = _transform(array, axes, attrs, crs)
    if crs is None:
        logger.warning(
            "the array has no coordinate reference system, and neither will the map; if you know it, set it with "
            "array.rio.write_crs('EPSG:...')"
        )
    return Grid(shape=shape, transform=transform, crs=crs), corners


def _transform(array: xr.DataArray, axes: Axes, attrs: Mapping[Hashable, Any], crs: str | None) -> tuple[Affine, bool]:
    """Transform of an array, and whether its coordinates are those of upper left corners."""
    stated = list(_stated_transforms(array, attrs))
    columns, rows = (_coordinates(array, axes, dim, crs) for dim in (axes.columns, axes.rows))
    if not (columns.values.size or rows.values.size):
        if not stated:
            logger.warning("the array has no coordinates and states no transform, so the map will have none")
        elif getattr(attrs.get("spec"), "shape", (rows.size, columns.size)) != (rows.size, columns.size):
            logger.warning(
                "the array is a subset of a larger one without coordinates, so its map will be in the wrong position"
            )
        return (stated[0].transform if stated else Affine.identity()), False
    if all(_unit(array, dim) == "pixel" for dim in axes):
        return _transform_of_indices(stated[0].transform if stated else Affine.identity(), columns, rows), False
    for where, t, may_be_corners in stated:
        for anchor in (_CENTRE, 0.0) if may_be_corners else (_CENTRE,):
            transform = _subset_transform(t, columns, rows, anchor)
            if transform:
                if not anchor:
                    logger.info("the array's coordinates are those of its pixels' upper left corners, by %s", where)
                return transform, not anchor
    return _transform_of_coordinates(array, columns, rows, stated)


def _subset_transform(t: Affine, columns: Coordinates, rows: Coordinates, anchor: float) -> Affine | None:
    """Transform of an array that is a subset of the grid of a transform; None if its coordinates contradict this."""
    if t.b or t.d:
        return None
    x, y = columns.position_on_grid(t.c, t.a, anchor), rows.position_on_grid(t.f, t.e, anchor)
    if x is None or y is None:
        return None
    transform: Affine = t @ Affine.translation(x[0], y[0])
    return transform if x[1] == y[1] == 1 else transform @ Affine.scale(x[1], y[1])


def _transform_of_coordinates(
    array: xr.DataArray, columns: Coordinates, rows: Coordinates, stated: list[_Stated]
) -> tuple[Affine, bool]:
    """Transform from coordinates alone: those of pixel centres, but of upper left corners in stackstac's arrays."""
    (x, width), (y, height) = _starts_and_steps(columns, rows, stated)
    corners = False
    if stated:
        logger.warning(
            "the array's transform (%s) contradicts its coordinates, which are used: pixels of %.9g x %.9g, the first "
            "centred on %.10g, %.10g",
            stated[0].where,
            abs(width),
            abs(height),
            x,
            y,
        )
    elif _may_be_stackstac(array) and not all(_is_half(start / step) for start, step in ((x, width), (y, height))):
        corners = str(array.name).startswith(_STACKSTAC)
        logger.warning(
            "the array seems to be from stackstac, without its attributes: its coordinates are taken as those of the "
            "%s of pixels; use xy_coords='center' in stackstac.stack and keep_attrs=True to be certain",
            "upper left corners" if corners else "centres",
        )
    anchor = 0.0 if corners else _CENTRE
    corner = Affine.translation(x - anchor * width, y - anchor * height)
    return corner @ Affine.scale(width, height), corners


def _may_be_stackstac(array: xr.DataArray) -> bool:
    """Whether an array has a name or a coordinate as stackstac's arrays do."""
    return str(array.name).startswith(_STACKSTAC) or ("epsg" in array.coords and not grid_mappings(array))


def _is_half(number: float) -> bool:
    """Whether a distance in pixels is a whole number and a half, as of centres on the grids that stackstac chooses."""
    return abs(number % 1 - _CENTRE) < _NEAR


def _starts_and_steps(
    columns: Coordinates, rows: Coordinates, stated: list[_Stated]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """First coordinate and pixel size of columns and of rows; raise ConfigError when the size is unknown."""
    found = [_start_and_step(columns), _start_and_step(rows)]
    sizes = (stated[0].transform.a, stated[0].transform.e) if stated else (0.0, 0.0)
    for i, (coordinates, size) in enumerate(zip((columns, rows), sizes, strict=True)):
        if found[i] is None and size:
            found[i] = (float(coordinates.values[0]) if coordinates.values.size else size / 2, size)
    if found[0] is None or found[1] is None:
        name = (columns, rows)[found.index(None)].name
        msg = (
            f"the array has one pixel along {name}, or no coordinates, so the pixel size is unknown; set a transform "
            "with array.rio.write_transform(Affine(...))"
        )
        raise ConfigError(msg)
    return found[0], found[1]


def _transform_of_indices(t: Affine, columns: Coordinates, rows: Coordinates) -> Affine:
    """Transform of an array whose coordinates are pixel indices in a grid, as those of rotated scenes are."""
    left, width = _start_and_step(columns) or (float(columns.values[0]), 1.0)
    top, height = _start_and_step(rows) or (float(rows.values[0]), 1.0)
    transform: Affine = t @ Affine(width, 0, left - width / 2, 0, height, top - height / 2)
    return transform


def _unit(array: xr.DataArray, dim: Hashable) -> str:
    return str(array.coords[dim].attrs.get("units", "")) if dim in array.coords else ""


def _coordinates(array: xr.DataArray, axes: Axes, dim: Hashable, crs: str | None) -> Coordinates:
    """Coordinates of a dimension, in the units of the CRS; raise ConfigError when they are not numbers."""
    name = coordinate(array.coords, dim, "X" if dim == axes.columns else "Y")
    if name is None:
        return Coordinates.none(dim, array.sizes[dim])
    stored = array.coords[name].values
    if stored.dtype.kind not in "iuf":
        msg = f"the array's coordinates {dim} are of type {stored.dtype}; expected numbers"
        raise ConfigError(msg)
    turns = dim == axes.columns and has_latitudes(array.coords, axes.rows)
    return Coordinates.of(dim, stored, unit_of(array, name, crs), kind=stored.dtype, longitudes=turns)


def _start_and_step(coordinates: Coordinates) -> tuple[float, float] | None:
    """Coordinate of the first pixel and pixel size; None for fewer than two coordinates.

    Raises ConfigError when the coordinates are not evenly spaced.
    """
    if coordinates.values.size < 2:  # noqa: PLR2004
        return None
    if not coordinates.are_even:
        msg = (
            f"the array's coordinates {coordinates.name} are not evenly spaced, so its pixels form no grid; "
            "interpolate it onto a regular grid first"
        )
        raise ConfigError(msg)
    return coordinates.start, coordinates.step


def _stated_transforms(array: xr.DataArray, attrs: Mapping[Hashable, Any]) -> Iterator[_Stated]:
    """Yield the transforms that an array states, those of its grid mapping first."""
    for name in grid_mappings(array):
        record = array.coords[name].attrs
        for key in (EXACT, "GeoTransform"):
            transform = _read_transform(record.get(key), gdal=key == "GeoTransform")
            if transform:
                yield _Stated(f"{key} of {name}", transform, ANCHOR in record)
    others = [(f"attribute {key}", attrs.get(key)) for key in _TRANSFORMS]
    for where, value in (*others, ("attribute spec", getattr(attrs.get("spec"), "transform", None))):
        transform = _read_transform(value, gdal=False)
        if transform:
            yield _Stated(where, transform, corners=True)


def _read_transform(stated: Any, *, gdal: bool) -> Affine | None:
    """Read a transform; None if there is none or it is invalid."""
    try:
        return None if stated is None else read_transform(stated, "the array", gdal=gdal)
    except SceneError as error:
        logger.debug("%s", error)
        return None
