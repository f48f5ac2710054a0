"""A user's DataArray or Dataset in the order (band, rows, columns), with its grid and nodata rules."""

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
"""Attribute of a scene's coordinate `valid` that was derived from pixel values alone, without a mask."""

Nodata = tuple[int | float | None, ...]
"""Nodata value per band."""


@dataclass(frozen=True)
class SceneArray:
    """A scene's array in the order (band, rows, columns), with the metadata of the user's object."""

    array: xr.DataArray
    """Pixels, dimensions (band, rows, columns) under their own names."""
    axes: Axes
    """Names of the dimensions of rows and columns."""
    grid: Grid
    corners: bool
    """Whether coordinates are those of upper left corners."""
    mapping: Hashable
    """Name of the grid mapping."""
    numbers: tuple[ValidNumbers, ...]
    """Nodata values and valid range per band."""
    valid: xr.DataArray | None
    """The user's coordinate `valid`, if there is one."""

    @property
    def nodata(self) -> Nodata:
        """First nodata value per band."""
        return tuple(numbers.nodata[0] if numbers.nodata else None for numbers in self.numbers)


def read_scene_array(scene: Any, bands: Sequence[str] = ()) -> SceneArray:
    """Find bands, some of which may be requested by name, rows and columns in a user's scene.

    Raises ConfigError when it is not a DataArray or Dataset, or has no bands on one grid.
    """
    check_is_array(scene)
    variables = band_variables(scene, bands) if isinstance(scene, xr.Dataset) else [scene]
    array = stack(variables) if isinstance(scene, xr.Dataset) else scene
    numbers = tuple(ValidNumbers.of(variable) for variable in variables)
    first = variables[0]
    planes, axes = to_planes(array)
    grid, corners = grid_and_corners(first, axes)
    mappings = grid_mappings(first)
    count = planes.shape[0]
    return SceneArray(
        array=planes,
        axes=axes,
        grid=grid,
        corners=corners,
        mapping=mappings[0] if mappings else "spatial_ref",
        numbers=numbers if len(numbers) == count else numbers * count,
        valid=planes.coords.get("valid"),
    )
