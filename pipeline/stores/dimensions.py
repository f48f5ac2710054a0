"""Identifies dimensions of rows, columns and time by CF attributes of their coordinates or by their names."""

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, Final, Literal

Direction = Literal["Y", "X"]
"""CF axis of a dimension: Y for rows, X for columns."""

DIRECTIONS: Final[tuple[Direction, Direction]] = ("Y", "X")

_NAMES: Final = {
    "Y": re.compile(r"(y|yc|lat|latitude|northing|row|line|ydim|rlat|ny|nj|south_north)s?([-_]?\d+m?)?"),
    "X": re.compile(
        r"(x|xc|lon|long|longitude|easting|col|column|sample|pixel|xdim|rlon|nx|ni|west_east)s?([-_]?\d+m?)?"
    ),
}
"""Usual lower-case names of dimensions, used when no attribute identifies them."""

_STANDARD_NAMES: Final = {
    "Y": frozenset({"projection_y_coordinate", "projection_y_angular_coordinate", "latitude", "grid_latitude"}),
    "X": frozenset({"projection_x_coordinate", "projection_x_angular_coordinate", "longitude", "grid_longitude"}),
}
_DEGREE_UNITS: Final = {
    "Y": frozenset({"degrees_north", "degree_north", "degrees_n", "degree_n"}),
    "X": frozenset({"degrees_east", "degree_east", "degrees_e", "degree_e"}),
}
_LATITUDES: Final = frozenset({"lat", "lats", "latitude", "latitudes"})
_TIMES: Final = frozenset({"t", "time", "times", "date", "dates", "datetime"})
_BANDS: Final = frozenset({"band", "bands", "variable", "wavelength", "wavelengths", "channel", "channels"})

Variables = Mapping[Any, Any]
"""Variables of a Dataset or coordinates of a DataArray, by name."""


def dimension_along(variables: Variables, dims: Iterable[Hashable], direction: Direction) -> Hashable | None:
    """Find the dimension along Y or X: by CF attributes of its coordinates, else by its name; None if there is none.

    When attributes mark several dimensions, names decide among these.
    """
    dims = list(dims)
    marked = [dim for dim in dims if marked_coordinate(variables, dim, direction) is not None]
    if len(marked) == 1:
        return marked[0]
    return next((dim for dim in marked or dims if _NAMES[direction].fullmatch(str(dim).lower())), None)


def coordinate(variables: Variables, dim: Hashable, direction: Direction) -> Hashable | None:
    """Name of the variable with the coordinates of a dimension; None if there is none."""
    if dim in variables and variables[dim].dims == (dim,):
        return dim
    return marked_coordinate(variables, dim, direction)


def marked_coordinate(variables: Variables, dim: Hashable, direction: Direction) -> Hashable | None:
    """Name of the variable that CF attributes mark as the Y or X coordinate of a dimension; None if there is none."""
    along = sorted(_along(variables, dim), key=lambda name: name != dim)
    return next((name for name in along if _is_marked(variables[name].attrs, direction)), None)


def _along(variables: Variables, dim: Hashable) -> Iterator[Hashable]:
    return (name for name in variables if variables[name].dims == (dim,))


def _is_marked(attrs: Mapping[Any, Any], direction: Direction) -> bool:
    return (
        str(attrs.get("axis", "")).upper() == direction
        or str(attrs.get("standard_name", "")).lower() in _STANDARD_NAMES[direction]
        or str(attrs.get("units", "")).lower() in _DEGREE_UNITS[direction]
    )


def is_latitude(name: Hashable, attrs: Mapping[Any, Any]) -> bool:
    """Whether a coordinate variable holds latitudes, by its name or its CF attributes."""
    return (
        str(name).lower() in _LATITUDES
        or str(attrs.get("standard_name", "")).lower() == "latitude"
        or str(attrs.get("units", "")).lower() in _DEGREE_UNITS["Y"]
    )


def has_latitudes(variables: Variables, dim: Hashable) -> bool:
    """Whether the dimension of rows is latitude, by its name or the attributes of its coordinates."""
    name = coordinate(variables, dim, "Y")
    return is_latitude(dim, variables[name].attrs if name is not None else {})


def time_coordinate(variables: Variables, dim: Hashable) -> Hashable | None:
    """Name of the coordinate of a time dimension, else of another variable of times along it; None if there is none."""
    if dim in variables:
        return dim
    return next((name for name in _along(variables, dim) if is_time_variable(variables[name])), None)


def is_time_dimension(variables: Variables, dim: Hashable) -> bool:
    """Whether a dimension is time, by its coordinate's type or CF attributes, or by its own name."""
    name = time_coordinate(variables, dim)
    return (name is not None and is_time_variable(variables[name])) or str(dim).lower() in _TIMES


def is_time_variable(variable: Any) -> bool:
    """Whether a variable holds times, by its type or its CF attributes."""
    return (
        variable.dtype.kind == "M"
        or str(variable.attrs.get("axis", "")).upper() == "T"
        or str(variable.attrs.get("standard_name", "")).lower() == "time"
        or bool(re.match(r"\w+ since \S", str(variable.attrs.get("units", ""))))
    )


def has_band_name(dim: Hashable) -> bool:
    """Whether a dimension has one of the usual names of a band dimension."""
    return str(dim).lower() in _BANDS
