"""Identifies rows, columns and bands among the dimensions of xarray objects, by any usual name and in any order."""

import logging
from collections.abc import Hashable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr

from pipeline.core.errors import ConfigError
from pipeline.stores.dimensions import dimension_along, has_band_name, is_time_dimension

logger = logging.getLogger(__name__)

_WRAPPED: Final = "xr.DataArray(array, dims=('band', 'y', 'x'), coords={'y': ..., 'x': ...})"


class Axes(NamedTuple):
    """Names of the dimensions of rows and columns of a DataArray."""

    rows: Hashable
    columns: Hashable


def find_axes(array: xr.DataArray) -> Axes | None:
    """Identify rows and columns by CF attributes of their coordinates, else by name; None unless both are found."""
    rows = dimension_along(array.coords, array.dims, "Y")
    columns = dimension_along(array.coords, [dim for dim in array.dims if dim != rows], "X")
    return None if rows is None or columns is None else Axes(rows, columns)


def to_planes(array: xr.DataArray, what: str = "the scene") -> tuple[xr.DataArray, Axes]:
    """Transpose an array to (band, rows, columns); dimensions keep their names.

    Further dimensions of length 1 are dropped; a missing band dimension is added. `what` is the name of the array in
    messages. Raises ConfigError when there are no rows and columns, several times, or more than one other dimension.
    """
    axes = find_axes(array)
    if axes is None:
        msg = (
            f"{what} has dimensions {_listed(array.dims)}; expected band, y, x (or latitude, longitude); name them "
            "with rename({'old name': 'y'}), or wrap a plain array as " + _WRAPPED
        )
        raise ConfigError(msg)
    others = [dim for dim in array.dims if dim not in axes]
    bands = _band_dim(array, others, what)
    array = array.isel({dim: 0 for dim in others if dim != bands})
    if bands is None:
        bands = "band"
        array = array.expand_dims(bands)
    return array.transpose(bands, *axes), axes


def _band_dim(array: xr.DataArray, others: Sequence[Hashable], what: str) -> Hashable | None:
    """Name of the band dimension among those that are neither rows nor columns; None if there are no others."""
    times = [dim for dim in others if not has_band_name(dim) and is_time_dimension(array.coords, dim)]
    long = [dim for dim in others if array.sizes[dim] != 1]
    for dim in times:
        if dim in long:
            msg = (
                f"{what} has {array.sizes[dim]} steps of {dim}; choose one, such as isel({dim}=0), reduce them, such "
                f"as median('{dim}', keep_attrs=True), or use each as a band with rename({dim}='band')"
            )
            raise ConfigError(msg)
    if len(long) > 1:
        first = long[0]
        msg = (
            f"{what} has dimensions {_listed(array.dims)}; expected band, y, x only; select one step of each "
            f"other dimension, such as isel({first}=0)"
        )
        raise ConfigError(msg)
    if long:
        return long[0]
    named = [dim for dim in others if has_band_name(dim)]
    rest = [dim for dim in others if dim not in times]
    return next(iter([*named, *rest]), None)


def band_names(array: xr.DataArray) -> tuple[str, ...]:
    """Names of the bands of an array (band, rows, columns), from its coordinate; band1, band2, ... without one.

    Raises ConfigError when two bands have the same name.
    """
    dim = array.dims[0]
    named = next((key for key in (dim, "band") if key in array.coords and array.coords[key].dims == (dim,)), None)
    values = np.arange(1, array.shape[0] + 1) if named is None else array.coords[named].values
    shown = values.astype(str) if values.dtype.kind == "M" else values
    names = tuple(str(name) if isinstance(name, str) else f"band{name}" for name in shown.tolist())
    duplicate = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if duplicate is not None:
        msg = f"two bands of the scene are called {duplicate}; set its coordinate {named} to names that differ"
        raise ConfigError(msg)
    return names


def check_is_array(value: Any, what: str = "the scene") -> None:
    """Raise ConfigError, with the way to convert the value, unless it is a DataArray or Dataset."""
    if isinstance(value, xr.DataArray | xr.Dataset):
        return
    kind = type(value)
    package = "" if kind.__module__ == "builtins" else f"{kind.__module__.split('.')[0]}."
    if value is None:
        fix = "open one with open_scene()"
    elif isinstance(value, str) or hasattr(value, "__fspath__"):
        fix = f"open the file first: open_scene({str(value)!r})"
    elif hasattr(value, "dtype") and hasattr(value, "shape"):
        fix = f"wrap the array as {_WRAPPED}"
    elif isinstance(value, list | tuple) and any(isinstance(item, xr.DataArray) for item in value):
        fix = "combine arrays on one grid with xr.concat(arrays, dim='band')"
    else:
        fix = f"wrap an array as {_WRAPPED}"
    msg = f"{what} is of type {package}{kind.__qualname__}; expected an xarray DataArray (band, y, x) or Dataset; {fix}"
    raise ConfigError(msg)


def _listed(names: Sequence[Hashable]) -> str:
    return ", ".join(map(str, names)) or "none"
