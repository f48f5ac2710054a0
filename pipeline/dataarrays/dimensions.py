"""Dimensions of xarray objects: which are rows, columns and bands, however they are called and ordered."""

import logging
from collections.abc import Hashable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr

from pipeline.core.errors import ConfigError
from pipeline.stores.dimensions import dimension_along, is_named_as_bands, is_time

logger = logging.getLogger(__name__)

_WRAP: Final = "xr.DataArray(array, dims=('band', 'y', 'x'), coords={'y': ..., 'x': ...})"


class Axes(NamedTuple):
    """Names of the two dimensions that make the grid."""

    rows: Hashable
    columns: Hashable


def find_axes(array: xr.DataArray) -> Axes | None:
    """Tell rows and columns by CF attributes of their coordinates, else by their names; None where there are none."""
    rows = dimension_along(array.coords, array.dims, "Y")
    columns = dimension_along(array.coords, [dim for dim in array.dims if dim != rows], "X")
    return None if rows is None or columns is None else Axes(rows, columns)


def to_planes(array: xr.DataArray, what: str = "the scene") -> tuple[xr.DataArray, Axes]:
    """Bring an array into the order (band, rows, columns), each dimension under its own name.

    Dimensions of length 1 are dropped; the band dimension is added where there is none.

    Raises
    ------
    ConfigError
        When there are no rows and columns, several times, or more than one other dimension.
    """
    axes = find_axes(array)
    if axes is None:
        msg = (
            f"{what} has dimensions {_listed(array.dims)}; expected band, y, x (or latitude, longitude): name them by "
            "rename({'old name': 'y'}), or wrap a bare array as " + _WRAP
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
    """The dimension along which bands lie, among those that are neither rows nor columns; None where there is none."""
    times = [dim for dim in others if not is_named_as_bands(dim) and is_time(array.coords, dim)]
    long = [dim for dim in others if array.sizes[dim] != 1]
    for dim in times:
        if dim in long:
            msg = (
                f"{what} holds {array.sizes[dim]} steps of {dim}; choose one, as by isel({dim}=0), reduce them, as by "
                f"median('{dim}', keep_attrs=True), or take each for a band, by rename({dim}='band')"
            )
            raise ConfigError(msg)
    if len(long) > 1:
        first = long[0]
        msg = (
            f"{what} has dimensions {_listed(array.dims)}; expected band, y, x alone: choose of the others, "
            f"as by isel({first}=0)"
        )
        raise ConfigError(msg)
    if long:
        return long[0]
    named = [dim for dim in others if is_named_as_bands(dim)]
    rest = [dim for dim in others if dim not in times]
    return next(iter([*named, *rest]), None)


def band_names(array: xr.DataArray) -> tuple[str, ...]:
    """Names of the bands of an array (band, rows, columns), by its coordinate; band1, band2, ... where there is none.

    Raises
    ------
    ConfigError
        When two are alike.
    """
    dim = array.dims[0]
    named = next((key for key in (dim, "band") if key in array.coords and array.coords[key].dims == (dim,)), None)
    values = np.arange(1, array.shape[0] + 1) if named is None else array.coords[named].values
    shown = values.astype(str) if values.dtype.kind == "M" else values
    names = tuple(str(name) if isinstance(name, str) else f"band{name}" for name in shown.tolist())
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        msg = f"two bands of the scene are called {twice}; give its coordinate {named} names that differ"
        raise ConfigError(msg)
    return names


def check_is_array(given: Any, what: str = "the scene") -> None:
    """Raise ConfigError, saying what is expected, unless something is a DataArray or a Dataset."""
    if isinstance(given, xr.DataArray | xr.Dataset):
        return
    kind = type(given)
    package = "" if kind.__module__ == "builtins" else f"{kind.__module__.split('.')[0]}."
    if given is None:
        how = "such as open_scene() gives"
    elif isinstance(given, str) or hasattr(given, "__fspath__"):
        how = f"open the file first: open_scene({str(given)!r})"
    elif hasattr(given, "dtype") and hasattr(given, "shape"):
        how = f"wrap the array as {_WRAP}"
    elif isinstance(given, list | tuple) and any(isinstance(one, xr.DataArray) for one in given):
        how = "put arrays of one grid together by xr.concat(arrays, dim='band')"
    else:
        how = f"wrap an array as {_WRAP}"
    msg = f"{what} is of type {package}{kind.__qualname__}; expected an xarray DataArray (band, y, x) or Dataset: {how}"
    raise ConfigError(msg)


def _listed(names: Sequence[Hashable]) -> str:
    return ", ".join(map(str, names)) or "none"
