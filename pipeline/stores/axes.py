"""Dimensions of variables of Zarr and NetCDF stores: rows, columns, bands and time."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import xarray as xr

from pipeline.stores.dimensions import dimension_along, is_latitude, is_time_dimension

_DIMENSIONS: Final = "spatial:dimensions"
"""GeoZarr's attribute that names the dimensions of rows and columns."""

_SWATH_LATITUDES: Final = frozenset({"xlat", "nav_lat"})
"""Further lower-case names of two-dimensional latitude variables in swath products."""


@dataclass(frozen=True)
class VariableAxes:
    """Names of a variable's dimensions, by role."""

    rows: str
    columns: str
    times: tuple[str, ...]
    """Time dimensions."""
    others: tuple[str, ...]
    """Further dimensions longer than 1: the band dimension, if there is one."""
    single: tuple[str, ...]
    """Further dimensions of length 1."""

    @classmethod
    def of(cls, dataset: xr.Dataset, variable: xr.DataArray) -> "VariableAxes | None":
        """Identify dimensions by CF attributes or by name; None for variables without rows and columns of numbers."""
        dims = [str(dim) for dim in variable.dims]
        stated = _stated(dims, variable.attrs) or _stated(dims, dataset.attrs)
        rows: Hashable | None
        columns: Hashable | None
        rows, columns = stated or (None, None)
        rows = rows or dimension_along(dataset.variables, dims, "Y")
        columns = columns or dimension_along(dataset.variables, [dim for dim in dims if dim != rows], "X")
        if rows is None or columns is None or variable.dtype.kind not in "iuf":
            return None
        others = [dim for dim in dims if dim not in {rows, columns}]
        times = tuple(dim for dim in others if is_time_dimension(dataset.variables, dim))
        rest = [dim for dim in others if dim not in times]
        return cls(
            rows=str(rows),
            columns=str(columns),
            times=times,
            others=tuple(dim for dim in rest if dataset.sizes[dim] > 1),
            single=tuple(dim for dim in rest if dataset.sizes[dim] == 1),
        )


def _stated(dims: list[str], attrs: Mapping[str, Any]) -> tuple[str, str] | None:
    """Names of the dimensions of rows and columns that GeoZarr's attribute states; None without a usable one."""
    named = attrs.get(_DIMENSIONS)
    if isinstance(named, list | tuple) and len(named) == 2 and set(named) <= set(dims):  # noqa: PLR2004
        return str(named[0]), str(named[1])
    return None


def latitudes_of_pixels(dataset: xr.Dataset) -> str | None:
    """Name of the two-dimensional variable with a latitude per pixel, as swaths have; None if there is none."""
    return next(
        (
            str(name)
            for name, variable in dataset.variables.items()
            if variable.ndim == 2  # noqa: PLR2004
            and (str(name).lower() in _SWATH_LATITUDES or is_latitude(name, variable.attrs))
        ),
        None,
    )
