"""What a user gave for a scene, brought into one order: bands, rows, columns, and what it says of itself."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import xarray as xr

from pipeline.core.grid import Grid
from pipeline.dataarrays.crs import grid_mappings
from pipeline.dataarrays.datasets import band_variables, stack
from pipeline.dataarrays.dimensions import Axes, check_is_array, to_planes
from pipeline.dataarrays.grids import grid_and_corners
from pipeline.dataarrays.validity import ValidNumbers

BY_VALUES: Final = {"valid_by": "values"}
"""Attribute of a scene's coordinate `valid` where values alone have told, no mask."""

Nodata = tuple[int | float | None, ...]


@dataclass(frozen=True)
class Planes:
    """A scene's array in one order, and what the user's object says of it."""

    array: xr.DataArray
    """Dimensions (band, rows, columns), each under its own name, with small coordinates alone."""
    axes: Axes
    grid: Grid
    corners: bool
    """Whether coordinates are of upper left corners."""
    mapping: Hashable
    """Name of the grid mapping."""
    numbers: tuple[ValidNumbers, ...]
    """Rule by which each band's numbers count as data, shape (band,)."""
    valid: xr.DataArray | None
    """The coordinate `valid`, as it was given."""

    @property
    def nodata(self) -> Nodata:
        """First nodata value of each band."""
        return tuple(numbers.nodata[0] if numbers.nodata else None for numbers in self.numbers)


def read_planes(given: Any, bands: Sequence[str] = ()) -> Planes:
    """Find bands, rows and columns in what a user gave for a scene.

    Parameters
    ----------
    given : DataArray or Dataset
        The scene.
    bands : sequence of str
        Bands that are asked for by name.

    Raises
    ------
    ConfigError
        When it is no DataArray or Dataset, or not one of bands.
    """
    check_is_array(given)
    variables = band_variables(given, bands) if isinstance(given, xr.Dataset) else [given]
    array = stack(variables) if isinstance(given, xr.Dataset) else given
    numbers = tuple(ValidNumbers.of(variable) for variable in variables)
    first = variables[0]
    planes, axes = to_planes(array)
    grid, corners = grid_and_corners(first, axes)
    mappings = grid_mappings(first)
    count = planes.shape[0]
    return Planes(
        array=planes,
        axes=axes,
        grid=grid,
        corners=corners,
        mapping=mappings[0] if mappings else "spatial_ref",
        numbers=numbers if len(numbers) == count else numbers * count,
        valid=planes.coords.get("valid"),
    )
