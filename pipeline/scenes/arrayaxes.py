"""Dimensions of variables of Zarr and NetCDF stores: which are rows, columns, bands and time, and their coordinates."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import xarray as xr

from pipeline.scenes.arraytimes import is_time

_NAMES: Final = {
    "Y": re.compile(r"(y|yc|lat|latitude|northing|row|line|ydim|rlat|ny|nj|south_north)s?([-_]?\d+m?)?"),
    "X": re.compile(
        r"(x|xc|lon|long|longitude|easting|col|column|sample|pixel|xdim|rlon|nx|ni|west_east)s?([-_]?\d+m?)?"
    ),
}
"""Names of dimensions where no attribute tells what they are."""

_STANDARD: Final = {
    "Y": frozenset({"projection_y_coordinate", "projection_y_angular_coordinate", "latitude", "grid_latitude"}),
    "X": frozenset({"projection_x_coordinate", "projection_x_angular_coordinate", "longitude", "grid_longitude"}),
}
_DEGREES: Final = {
    "Y": frozenset({"degrees_north", "degree_north", "degrees_n", "degree_n"}),
    "X": frozenset({"degrees_east", "degree_east", "degrees_e", "degree_e"}),
}

_DIMENSIONS: Final = "spatial:dimensions"
"""GeoZarr's attribute: names of the dimensions of rows and columns."""

Direction = Literal["Y", "X"]


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
        rows, columns = _stated(dims, variable.attrs) or _stated(dims, dataset.attrs) or (None, None)
        rows = rows or _along(dataset, dims, "Y")
        columns = columns or _along(dataset, [dim for dim in dims if dim != rows], "X")
        if rows is None or columns is None or variable.dtype.kind not in "iuf":
            return None
        left = [dim for dim in dims if dim not in {rows, columns}]
        times = tuple(dim for dim in left if is_time(dataset, dim))
        rest = [dim for dim in left if dim not in times]
        return cls(
            rows=rows,
            columns=columns,
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


def _along(dataset: xr.Dataset, dims: list[str], direction: Direction) -> str | None:
    """The dimension of a direction: the one whose coordinates say so, else the one whose name does."""
    for dim in dims:
        if marked_coordinate(dataset, dim, direction):
            return dim
    return next((dim for dim in dims if _NAMES[direction].fullmatch(dim.lower())), None)


def marked_coordinate(dataset: xr.Dataset, dim: str, direction: Direction) -> str | None:
    """Name of the variable along a dimension whose attributes say that it is the coordinate of a direction."""
    along = [str(name) for name, variable in dataset.variables.items() if variable.dims == (dim,)]
    along.sort(key=lambda name: name != dim)
    return next((name for name in along if _is_marked(dataset.variables[name].attrs, direction)), None)


def _is_marked(attrs: Mapping[str, Any], direction: Direction) -> bool:
    return (
        str(attrs.get("axis", "")).upper() == direction
        or str(attrs.get("standard_name", "")).lower() in _STANDARD[direction]
        or str(attrs.get("units", "")).lower() in _DEGREES[direction]
    )


def coordinate(dataset: xr.Dataset, dim: str, direction: Direction) -> str | None:
    """Name of the variable that holds the coordinates of a dimension; None where there is none."""
    return (
        dim
        if dim in dataset.variables and dataset.variables[dim].dims == (dim,)
        else marked_coordinate(dataset, dim, direction)
    )


def in_degrees(dataset: xr.Dataset, dim: str) -> bool:
    """Whether a dimension of rows is latitude, by its name or by the attributes of its coordinates."""
    name = coordinate(dataset, dim, "Y")
    attrs = dataset.variables[name].attrs if name else {}
    return (
        dim.lower() in {"lat", "latitude"}
        or str(attrs.get("standard_name", "")).lower() == "latitude"
        or str(attrs.get("units", "")).lower() in _DEGREES["Y"]
    )


def latitudes_of_pixels(dataset: xr.Dataset) -> str | None:
    """Name of a variable that holds the latitude of every single pixel of a swath; None where there is none."""
    return next(
        (
            str(name)
            for name, variable in dataset.variables.items()
            if variable.ndim == 2  # noqa: PLR2004
            and (_is_latitude(str(name), variable.attrs))
        ),
        None,
    )


def _is_latitude(name: str, attrs: Mapping[str, Any]) -> bool:
    return (
        str(attrs.get("standard_name", "")).lower() == "latitude"
        or str(attrs.get("units", "")).lower() in _DEGREES["Y"]
        or name.lower() in {"lat", "latitude", "xlat", "nav_lat"}
    )
