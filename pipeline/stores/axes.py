"""Dimensions of variables of Zarr and NetCDF stores: which are rows, columns, bands and time, and their coordinates."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import xarray as xr

from pipeline.stores.dimensions import dimension_along, is_latitude, is_time

_DIMENSIONS: Final = "spatial:dimensions"
"""GeoZarr's attribute: names of the dimensions of rows and columns."""


_OF_SWATHS: Final = frozenset({"xlat", "nav_lat"})
"""Further names of latitudes of every single pixel."""


@dataclass(frozen=True)
class Axes:
    """Names of a variable's dimensions."""

    rows: str
    columns: str
    times: tuple[str, ...]
    """Dimensions that are time."""
    others: tuple[str, ...]
    """Further dimensions with more than one position: that of bands, if there is one."""
    single: tuple[str, ...]
    """Further dimensions of one position."""

    @classmethod
    def of(cls, dataset: xr.Dataset, variable: xr.DataArray) -> "Axes | None":
        """Tell what dimensions are, by CF's attributes or by their names; None unless rows and columns are there."""
        dims = [str(dim) for dim in variable.dims]
        stated = _stated(dims, variable.attrs) or _stated(dims, dataset.attrs)
        rows: Hashable | None
        columns: Hashable | None
        rows, columns = stated or (None, None)
        rows = rows or dimension_along(dataset.variables, dims, "Y")
        columns = columns or dimension_along(dataset.variables, [dim for dim in dims if dim != rows], "X")
        if rows is None or columns is None or variable.dtype.kind not in "iuf":
            return None
        left = [dim for dim in dims if dim not in {rows, columns}]
        times = tuple(dim for dim in left if is_time(dataset.variables, dim))
        rest = [dim for dim in left if dim not in times]
        return cls(
            rows=str(rows),
            columns=str(columns),
            times=times,
            others=tuple(dim for dim in rest if dataset.sizes[dim] > 1),
            single=tuple(dim for dim in rest if dataset.sizes[dim] == 1),
        )


def _stated(dims: list[str], attrs: Mapping[str, Any]) -> tuple[str, str] | None:
    """Dimensions of rows and columns that attributes name."""
    named = attrs.get(_DIMENSIONS)
    if isinstance(named, list | tuple) and len(named) == 2 and set(named) <= set(dims):  # noqa: PLR2004
        return str(named[0]), str(named[1])
    return None


def latitudes_of_pixels(dataset: xr.Dataset) -> str | None:
    """Name of a variable that holds the latitude of every single pixel of a swath; None where there is none."""
    return next(
        (
            str(name)
            for name, variable in dataset.variables.items()
            if variable.ndim == 2  # noqa: PLR2004
            and (str(name).lower() in _OF_SWATHS or is_latitude(name, variable.attrs))
        ),
        None,
    )
