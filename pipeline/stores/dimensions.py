"""Which dimensions are rows, columns and time, by CF's attributes of their coordinates or by their names."""

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal

Direction = Literal["Y", "X"]
"""Rows are along Y, columns along X."""

DIRECTIONS: Final[tuple[Direction, Direction]] = ("Y", "X")

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
_LATITUDES: Final = frozenset({"lat", "lats", "latitude", "latitudes"})
_TIMES: Final = frozenset({"t", "time", "times", "date", "dates", "datetime"})
_BANDS: Final = frozenset({"band", "bands", "variable", "wavelength", "wavelengths", "channel", "channels"})

Variables = Mapping[Any, Any]
"""Variables or coordinates by name: of an xarray Dataset, or of a DataArray."""


def dimension_along(variables: Variables, dims: Iterable[Hashable], direction: Direction) -> Hashable | None:
    """The dimension of a direction: the one whose coordinates say so, else the one whose name does; None without.

    Where the attributes of several say so, names decide among them.
    """
    dims = list(dims)
    marked = [dim for dim in dims if marked_coordinate(variables, dim, direction) is not None]
    if len(marked) == 1:
        return marked[0]
    return next((dim for dim in marked or dims if _NAMES[direction].fullmatch(str(dim).lower())), None)


def coordinate(variables: Variables, dim: Hashable, direction: Direction) -> Hashable | None:
    """Name of the variable that holds the coordinates of a dimension; None where there is none."""
    if dim in variables and variables[dim].dims == (dim,):
        return dim
    return marked_coordinate(variables, dim, direction)


def marked_coordinate(variables: Variables, dim: Hashable, direction: Direction) -> Hashable | None:
    """Name of the variable along a dimension whose attributes say that it is the coordinate of a direction."""
    along = sorted(_along(variables, dim), key=lambda name: name != dim)
    return next((name for name in along if _is_marked(variables[name].attrs, direction)), None)


def _along(variables: Variables, dim: Hashable) -> Iterator[Hashable]:
    return (name for name in variables if variables[name].dims == (dim,))


def _is_marked(attrs: Mapping[Any, Any], direction: Direction) -> bool:
    return (
        str(attrs.get("axis", "")).upper() == direction
        or str(attrs.get("standard_name", "")).lower() in _STANDARD[direction]
        or str(attrs.get("units", "")).lower() in _DEGREES[direction]
    )


def is_latitude(name: Hashable, attrs: Mapping[Any, Any]) -> bool:
    """Whether coordinates are latitudes, by their name or by their attributes."""
    return (
        str(name).lower() in _LATITUDES
        or str(attrs.get("standard_name", "")).lower() == "latitude"
        or str(attrs.get("units", "")).lower() in _DEGREES["Y"]
    )


def has_latitudes(variables: Variables, dim: Hashable) -> bool:
    """Whether a dimension of rows is latitude, by its name or by the attributes of its coordinates."""
    name = coordinate(variables, dim, "Y")
    return is_latitude(dim, variables[name].attrs if name is not None else {})


def time_coordinate(variables: Variables, dim: Hashable) -> Hashable | None:
    """Name of the coordinate of a dimension of time, or of another variable along it that says it is time."""
    if dim in variables:
        return dim
    return next((name for name in _along(variables, dim) if says_time(variables[name])), None)


def is_time(variables: Variables, dim: Hashable) -> bool:
    """Whether a dimension is time: by CF's attributes, by its type, or by its name."""
    name = time_coordinate(variables, dim)
    return (name is not None and says_time(variables[name])) or str(dim).lower() in _TIMES


def says_time(variable: Any) -> bool:
    """Whether a variable is time by its type or by CF's attributes."""
    return (
        variable.dtype.kind == "M"
        or str(variable.attrs.get("axis", "")).upper() == "T"
        or str(variable.attrs.get("standard_name", "")).lower() == "time"
        or bool(re.match(r"\w+ since \S", str(variable.attrs.get("units", ""))))
    )


def is_named_as_bands(dim: Hashable) -> bool:
    """Whether a dimension has one of the usual names of a band dimension."""
    return str(dim).lower() in _BANDS
