"""Where the pixels of a DataArray lie: by its coordinates, and by the transform it states where they agree."""

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
"""Where in a pixel its coordinates are: 0 is its upper left corner."""

EXACT: Final = "pixel_transform"
"""Attribute of a grid mapping: the transform to the last digit. GDAL and rioxarray don't know it: they would go on
believing it where an array was cut since."""

ANCHOR: Final = "pixel_anchor"
"""Attribute of a grid mapping: 'upper left' where coordinates are of pixels' corners."""

_NEAR: Final = 1e-3
"""Share of a pixel that is no more than rounding."""

_STACKSTAC: Final = "stackstac-"
"""How the names of its arrays begin."""

_TRANSFORMS: Final = ("transform", "spatial:transform", "proj:transform")


class _Stated(NamedTuple):
    """A transform that an array states."""

    where: str
    transform: Affine
    corners: bool
    """Whether coordinates may be of upper left corners by it."""


def grid_of(array: xr.DataArray, axes: Axes | None = None, attrs: Mapping[Hashable, Any] | None = None) -> Grid:
    """Grid of a DataArray: of its coordinates, and of the transform it states where they agree.

    Parameters
    ----------
    array : DataArray
        With rows and columns among its dimensions.
    axes : Axes, optional
        Which these are.
    attrs : mapping, optional
        Of the Dataset that the array is of.

    Raises
    ------
    ConfigError
        When pixels are on no grid.
    """
    return grid_and_corners(array, axes, attrs)[0]


def grid_and_corners(
    array: xr.DataArray, axes: Axes | None = None, attrs: Mapping[Hashable, Any] | None = None
) -> tuple[Grid, bool]:
    """Grid of a DataArray, as `grid_of` tells it, and whether its coordinates are of pixels' upper left corners."""
    axes = axes or find_axes(array)
    if axes is None:
        msg = f"the array has dimensions {', '.join(map(str, array.dims))}; expected y and x among them"
        raise ConfigError(msg)
    shape = (array.sizes[axes.rows], array.sizes[axes.columns])
    if min(shape) < 1:
        msg = f"the array has {shape[0]} rows and {shape[1]} columns: there are no pixels in it"
        raise ConfigError(msg)
    attrs = {**(attrs or {}), **array.attrs}
    crs = crs_of(array, axes, attrs)
    transform, corners = _transform(array, axes, attrs, crs)
    if crs is None:
        logger.warning(
            "the array has no coordinate reference system, and the map will have none either; if you know it, "
            "array.rio.write_crs('EPSG:...') states it"
        )
    return Grid(shape=shape, transform=transform, crs=crs), corners


def _transform(array: xr.DataArray, axes: Axes, attrs: Mapping[Hashable, Any], crs: str | None) -> tuple[Affine, bool]:
    """Transform of an array, and whether its coordinates are of corners."""
    stated = list(_stated(array, attrs))
    columns, rows = (_coordinates(array, axes, dim, crs) for dim in (axes.columns, axes.rows))
    if not (columns.values.size or rows.values.size):
        if not stated:
            logger.warning("the array has no coordinates and states no transform: its map will lie nowhere")
        elif getattr(attrs.get("spec"), "shape", (rows.size, columns.size)) != (rows.size, columns.size):
            logger.warning("the array was cut out of a larger one and has no coordinates: its map will lie elsewhere")
        return (stated[0].transform if stated else Affine.identity()), False
    if all(_unit(array, dim) == "pixel" for dim in axes):
        return _of_pixels(stated[0].transform if stated else Affine.identity(), columns, rows), False
    for where, t, may_be_corners in stated:
        for anchor in (_CENTRE, 0.0) if may_be_corners else (_CENTRE,):
            moved = _moved(t, columns, rows, anchor)
            if moved:
                if not anchor:
                    logger.info("the array's coordinates are of the upper left corners of its pixels, by %s", where)
                return moved, not anchor
    return _by_coordinates(array, columns, rows, stated)


def _moved(t: Affine, columns: Coordinates, rows: Coordinates, anchor: float) -> Affine | None:
    """A transform from the first pixel of an array that was cut out of its grid; None where coordinates contradict."""
    if t.b or t.d:
        return None
    across, down = columns.position_on_grid(t.c, t.a, anchor), rows.position_on_grid(t.f, t.e, anchor)
    if across is None or down is None:
        return None
    moved: Affine = t @ Affine.translation(across[0], down[0])
    return moved if across[1] == down[1] == 1 else moved @ Affine.scale(across[1], down[1])


def _by_coordinates(
    array: xr.DataArray, columns: Coordinates, rows: Coordinates, stated: list[_Stated]
) -> tuple[Affine, bool]:
    """Transform by coordinates alone, which are of centres; those of stackstac are of corners."""
    (left, across), (top, down) = _steps(columns, rows, stated)
    corners = False
    if stated:
        logger.warning(
            "the array's coordinates say pixels of %.9g x %.9g, the first centred on %.10g, %.10g, which its transform "
            "(%s) contradicts: the coordinates count",
            abs(across),
            abs(down),
            left,
            top,
            stated[0].where,
        )
    elif _looks_like_stackstac(array) and not all(
        _is_half(start / step) for start, step in ((left, across), (top, down))
    ):
        corners = str(array.name).startswith(_STACKSTAC)
        logger.warning(
            "the array seems to be stackstac's without its attributes: its coordinates are taken for those of the %s "
            "of pixels; xy_coords='center' and keep_attrs=True leave no doubt",
            "upper left corners" if corners else "centres",
        )
    anchor = 0.0 if corners else _CENTRE
    edge = Affine.translation(left - anchor * across, top - anchor * down)
    return edge @ Affine.scale(across, down), corners


def _looks_like_stackstac(array: xr.DataArray) -> bool:
    return str(array.name).startswith(_STACKSTAC) or ("epsg" in array.coords and not grid_mappings(array))


def _is_half(number: float) -> bool:
    """Whether a number of pixels from 0 ends in the middle of one: so do centres on the grid stackstac takes."""
    return abs(number % 1 - _CENTRE) < _NEAR


def _steps(
    columns: Coordinates, rows: Coordinates, stated: list[_Stated]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """First coordinate and size of a pixel along columns and along rows.

    Raises
    ------
    ConfigError
        When nothing tells the size of a pixel.
    """
    found = [_start_and_step(columns), _start_and_step(rows)]
    sizes = (stated[0].transform.a, stated[0].transform.e) if stated else (0.0, 0.0)
    for place, own in enumerate((columns, rows)):
        if found[place] is None and sizes[place]:
            found[place] = (float(own.values[0]) if own.values.size else sizes[place] / 2, sizes[place])
    if found[0] is None or found[1] is None:
        name = (columns, rows)[found.index(None)].name
        msg = (
            f"the array has one pixel along {name}, or no coordinates there, which tells no size; state a transform: "
            "array.rio.write_transform(Affine(...))"
        )
        raise ConfigError(msg)
    return found[0], found[1]


def _of_pixels(t: Affine, columns: Coordinates, rows: Coordinates) -> Affine:
    """Transform of an array whose coordinates count the pixels of another one's, as those of rotated ones do."""
    left, across = _start_and_step(columns) or (float(columns.values[0]), 1.0)
    top, down = _start_and_step(rows) or (float(rows.values[0]), 1.0)
    moved: Affine = t @ Affine(across, 0, left - across / 2, 0, down, top - down / 2)
    return moved


def _unit(array: xr.DataArray, dim: Hashable) -> str:
    return str(array.coords[dim].attrs.get("units", "")) if dim in array.coords else ""


def _coordinates(array: xr.DataArray, axes: Axes, dim: Hashable, crs: str | None) -> Coordinates:
    """Coordinates along a dimension, in the units of the CRS.

    Raises
    ------
    ConfigError
        When they are no numbers.
    """
    name = coordinate(array.coords, dim, "X" if dim == axes.columns else "Y")
    if name is None:
        return Coordinates.none(dim, array.sizes[dim])
    stored = array.coords[name].values
    if stored.dtype.kind not in "iuf":
        msg = f"the array's coordinates {dim} are {stored.dtype}, no numbers"
        raise ConfigError(msg)
    turns = dim == axes.columns and has_latitudes(array.coords, axes.rows)
    return Coordinates.of(dim, stored, unit_of(array, name, crs), kind=stored.dtype, longitudes=turns)


def _start_and_step(own: Coordinates) -> tuple[float, float] | None:
    """The first coordinate and the size of a pixel; None of a single pixel.

    Raises
    ------
    ConfigError
        When the coordinates are not evenly spaced.
    """
    if own.values.size < 2:  # noqa: PLR2004
        return None
    if not own.are_even:
        msg = f"the array's coordinates {own.name} are not evenly spaced, so its pixels are on no grid"
        raise ConfigError(msg)
    return own.start, own.step


def _stated(array: xr.DataArray, attrs: Mapping[Hashable, Any]) -> Iterator[_Stated]:
    """Transforms that an array states, those of its grid mapping first."""
    for name in grid_mappings(array):
        record = array.coords[name].attrs
        for key in (EXACT, "GeoTransform"):
            transform = _transform_in(record.get(key), gdal=key == "GeoTransform")
            if transform:
                yield _Stated(f"{key} of {name}", transform, ANCHOR in record)
    others = [(f"attribute {key}", attrs.get(key)) for key in _TRANSFORMS]
    for where, numbers in (*others, ("attribute spec", getattr(attrs.get("spec"), "transform", None))):
        transform = _transform_in(numbers, gdal=False)
        if transform:
            yield _Stated(where, transform, corners=True)


def _transform_in(stated: Any, *, gdal: bool) -> Affine | None:
    """Read a transform; None where there is none, or it gives pixels no size."""
    try:
        return None if stated is None else read_transform(stated, "the array", gdal=gdal)
    except SceneError as error:
        logger.debug("%s", error)
        return None
