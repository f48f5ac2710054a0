"""Where the pixels of variables of Zarr and NetCDF stores lie, told by coordinates and by stated transforms."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr
from affine import Affine
from rasterio.crs import CRS

from pipeline.errors import SceneError
from pipeline.grid import Grid
from pipeline.scenes.arrayaxes import Axes, Direction, coordinate, in_degrees, latitudes_of_pixels
from pipeline.scenes.arraycrs import GridMapping, find_crs, unit_factor
from pipeline.scenes.numbers import as_number
from pipeline.scenes.stores import decoded_coordinate

logger = logging.getLogger(__name__)

_TRANSFORMS: Final = ("proj:transform", "spatial:transform")
"""Attributes of STAC and of GeoZarr, in the order of `affine.Affine`."""

_LAST_RESORT: Final = "transform"
"""Attribute of xarray's old `open_rasterio`, often out of date once a cube was cut: taken without coordinates alone."""

_NUMBERS_OF_A_TRANSFORM: Final = 6
_TURN: Final = 360

_TOLERANCE: Final = 0.1
"""Pixels by which a coordinate may miss its place on the grid."""


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


@dataclass(frozen=True)
class Centres:
    """Coordinates of pixel centres along a dimension, in the units of the CRS."""

    dim: str
    values: npt.NDArray[np.float64]
    """Shape (pixels,)."""
    precision: float
    """Of the type they are stored in."""

    @property
    def step(self) -> float:
        """Size of a pixel, by the first and the last centre."""
        return float((self.values[-1] - self.values[0]) / max(1, self.values.size - 1))

    def fit(self, start: float, step: float) -> bool:
        """Whether they are, but for a part of a pixel, those of pixels that begin at an edge."""
        ideal = start + step * (np.arange(self.values.size) + 0.5)
        return bool(np.abs(self.values - ideal).max() <= _TOLERANCE * abs(step) + self.precision)  # NaN is not

    @property
    def are_even(self) -> bool:
        """Whether they are evenly spaced."""
        step = self.step
        moves = bool((np.diff(self.values) * np.sign(step) > 0).all())
        return bool(step) and moves and self.fit(float(self.values[0]) - step / 2, step)


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
    if crs is None and in_degrees(variable.group, axes.rows):
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
    names = (coordinate(variable.group, axes.rows, "Y"), coordinate(variable.group, axes.columns, "X"))
    return (axes.rows, axes.columns, *(name for name in names if name))


def _agreed(variable: Variable, stated: Affine | None, down: Centres | None, across: Centres | None) -> Affine | None:
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


def _fits(transform: Affine, down: Centres | None, across: Centres | None) -> bool:
    """Whether coordinates are those that a transform gives."""
    if transform.b or transform.d:
        return down is None and across is None
    return (down is None or down.fit(transform.f, transform.e)) and (
        across is None or across.fit(transform.c, transform.a)
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
            return _as_transform(stated, variable.where, is_gdal=is_gdal)
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
        if list(group.get("spatial:shape") or group.get("proj:shape") or shape)[-2:] == shape:
            found += [(_at_edges(group, key), False) for key in _TRANSFORMS if key in group]
    found += [(attrs[_LAST_RESORT], False)] if alone and _LAST_RESORT in attrs else []
    return found[:1]


def _at_edges(attrs: Mapping[str, Any], key: str) -> Any:
    """A transform that counts from pixels' edges, not from their centres as GeoZarr may have it."""
    stated = attrs[key]
    if str(attrs.get("spatial:registration", "")).lower() != "node":
        return stated
    return tuple(_as_transform(stated, key, is_gdal=False) @ Affine.translation(-0.5, -0.5))[:6]


def _as_transform(stated: Any, where: str, *, is_gdal: bool) -> Affine:
    """Six numbers, or a text of them, as a transform.

    Raises
    ------
    SceneError
        When they are none.
    """
    numbers = str(stated).split() if is_gdal and not isinstance(stated, list | tuple | np.ndarray) else stated
    if not isinstance(numbers, list | tuple | np.ndarray) or len(numbers) < _NUMBERS_OF_A_TRANSFORM:
        msg = f"{where}: {str(stated)[:80]!r} is no transform; expected six numbers"
        raise SceneError(msg)
    known = [as_number(number, f"{where}: transform") for number in numbers[:_NUMBERS_OF_A_TRANSFORM]]
    transform = Affine.from_gdal(*known) if is_gdal else Affine(*known)
    if not transform.determinant:
        msg = f"{where}: the transform {known} gives pixels no size"
        raise SceneError(msg)
    return transform


def _centres(variable: Variable, direction: Direction, crs: str | None, mapping: GridMapping) -> Centres | None:
    """Decoded coordinates of a dimension, in the units of the CRS; None where it has none.

    Raises
    ------
    SceneError
        When they are no numbers.
    """
    dim = variable.axes.rows if direction == "Y" else variable.axes.columns
    name = coordinate(variable.group, dim, direction)
    if name is None:
        return None
    stored = variable.group.variables[name]
    try:
        decoded = decoded_coordinate(name, stored)
        values = np.asarray(decoded.values, np.float64)
    except (TypeError, ValueError) as error:
        msg = f"{variable.where}: the coordinates {name} are no numbers"
        raise SceneError(msg) from error
    factor = unit_factor(str(stored.attrs.get("units", "")), crs, mapping)
    largest = float(np.abs(values).max()) if values.size else 0.0
    kind = stored.dtype if stored.dtype.kind == "f" else np.dtype(np.float64)
    precision = float(np.spacing(kind.type(largest))) * factor
    values = values if factor == 1 else values * factor
    if direction == "X" and in_degrees(variable.group, variable.axes.rows):
        jumps = np.abs(np.diff(values)) > _TURN / 2
        values = np.unwrap(values, period=_TURN) if jumps.any() else values  # from 179 on to -179
    return Centres(dim, values, precision)


def _by_coordinates(variable: Variable, down: Centres, across: Centres) -> Affine:
    for centres in (across, down):
        if centres.values.size < 2:  # noqa: PLR2004
            msg = f"{variable.where}: one pixel along {centres.dim} has no size; give the store a transform"
            raise SceneError(msg)
        if not centres.are_even:
            msg = (
                f"{variable.where}: the coordinates {centres.dim} are not evenly spaced, so its pixels are on no grid; "
                "interpolate the store onto an even one first"
            )
            raise SceneError(msg)
    (left, width), (top, height) = (
        (float(centres.values[0]) - centres.step / 2, centres.step) for centres in (across, down)
    )
    return Affine(width, 0, left, 0, height, top)


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
