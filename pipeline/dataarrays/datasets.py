"""Datasets of bands: variables of one grid as one array."""

import logging
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, Final

import numpy as np
import xarray as xr

from pipeline.core.errors import ConfigError
from pipeline.core.layer_kinds import layer_kinds
from pipeline.dataarrays.dimensions import Axes, find_axes
from pipeline.formats.catalogue import NO_REFLECTED_LIGHT
from pipeline.stores.values import kind_of, quantity_of

logger = logging.getLogger(__name__)

_ALONG_BANDS: Final = ("scale", "offset", "quantity")
"""Coordinates of a scene that have a value for each band."""


def _with_mappings(dataset: xr.Dataset) -> xr.Dataset:
    """Make coordinates of the variables that only describe others: grid mappings and other scalars, and `valid`."""
    variables = dataset.data_vars.values()
    named = {array.encoding.get("grid_mapping", array.attrs.get("grid_mapping")) for array in variables}
    mappings = {word.rstrip(":") for name in named if name for word in str(name).split()}
    return dataset.set_coords(
        [name for name, array in dataset.data_vars.items() if array.ndim == 0 or name in mappings or name == "valid"]
    )


def band_variables(dataset: xr.Dataset, named: Sequence[str] = ()) -> list[xr.DataArray]:
    """Variables of a Dataset that are bands: measurements in numbers, on one grid, of one type.

    They have the Dataset's attributes, too. What is left out for another reason than having no rows and columns is
    said.

    Parameters
    ----------
    dataset : Dataset
        The scene.
    named : sequence of str
        Bands that are asked for by name, measurements or not.

    Raises
    ------
    ConfigError
        When there is none, or several grids or types that come as often.
    """
    dataset = _with_mappings(dataset)
    found = {name: (array, axes) for name, array in dataset.data_vars.items() if (axes := find_axes(array))}
    bands = {name: (array, axes) for name, (array, axes) in found.items() if array.dtype.kind in "iuf"}
    if not bands:
        listed = ", ".join(f"{name} {array.dtype} {array.dims}" for name, array in dataset.data_vars.items())
        msg = (
            "the scene is a Dataset without bands: no variable of numbers has rows and columns (y and x, or latitude "
            f"and longitude); it has {listed or 'no variables'}"
        )
        raise ConfigError(msg)
    measured = _measured({name: array for name, (array, _) in bands.items()}, named)
    _check_one_grid(dataset, {name: bands[name][1] for name in measured})
    chosen = _of_one_type(measured)
    _tell_left_out({name: array for name, (array, _) in found.items()}, measured, chosen)
    common = _common_to_bands(dataset)
    return [
        array.assign_attrs({**dataset.attrs, **array.attrs}).assign_coords(
            {name: value for name, value in common.items() if name not in array.coords}
        )
        for array in chosen.values()
    ]


def _measured(arrays: dict[Hashable, xr.DataArray], named: Sequence[str]) -> dict[Hashable, xr.DataArray]:
    """Keep the variables that are named, or that measure reflected light, by CF's attributes and by their names.

    All that are measured, or all, where none is such.
    """
    kinds = layer_kinds([str(name) for name in arrays])
    measured = {
        name: array
        for (name, array), kind in zip(arrays.items(), kinds, strict=True)
        if name in named or (kind_of(array.attrs) or kind) == "measured"
    }
    reflective = {
        name: array
        for name, array in measured.items()
        if name in named or quantity_of(array.attrs) not in NO_REFLECTED_LIGHT
    }
    return reflective or measured or arrays


def _tell_left_out(
    found: dict[Hashable, xr.DataArray],
    measured: dict[Hashable, xr.DataArray],
    chosen: dict[Hashable, xr.DataArray],
) -> None:
    """Say which variables are no bands, and why."""
    layers = [f"{name}" for name in found if name not in measured]
    others = [f"{name} ({array.dtype})" for name, array in measured.items() if name not in chosen]
    reasons = []
    if layers:
        reasons.append(f"as they are no measurements of reflected light: {', '.join(layers)}")
    if others:
        reasons.append(f"as they are of another type (bring all to one by astype): {', '.join(others)}")
    if reasons:
        logger.warning(
            "the scene is a Dataset: bands are %s; left out %s; dataset[['name', ...]].to_dataarray('band') takes any",
            ", ".join(map(str, chosen)),
            "; ".join(reasons),
        )


def _common_to_bands(dataset: xr.Dataset) -> dict[str, Any]:
    """What `to_dataset("band")` leaves of coordinates along bands: it no longer says whose each value is.

    Raises
    ------
    ConfigError
        When values of one differ.
    """
    common = {}
    for name in _ALONG_BANDS:
        if name not in dataset.coords or dataset.coords[name].ndim != 1:
            continue
        values = dataset.coords[name].values.tolist()
        if any(value != values[0] for value in values):
            msg = (
                f"the scene is a Dataset with a coordinate {name} that differs by band, and no longer says whose each "
                "value is; give the DataArray that it was made of, or drop the coordinate"
            )
            raise ConfigError(msg)
        common[name] = values[0]
    return common


def _check_one_grid(dataset: xr.Dataset, axes: dict[Hashable, Axes]) -> None:
    """Raise ConfigError, naming an example of each grid, when variables are on several."""
    grids = {pair: name for name, pair in reversed(list(axes.items()))}
    if len(grids) > 1:
        listed = "; ".join(
            f"{name}: {dataset.sizes[pair.columns]} x {dataset.sizes[pair.rows]} pixels ({pair.rows}, {pair.columns})"
            for pair, name in reversed(grids.items())
        )
        msg = f"the scene is a Dataset of several grids ({listed}); choose variables of one by dataset[['name', ...]]"
        raise ConfigError(msg)


def _of_one_type(arrays: dict[Hashable, xr.DataArray]) -> dict[Hashable, xr.DataArray]:
    """Keep the variables that can be brought to one type: bytes, which often are classes, do not go with others.

    xarray's decoder makes floats of integers that have a nodata value, and leaves others as they are.
    """
    groups = Counter(_is_bytes(array) for array in arrays.values()).most_common()
    if len(groups) > 1 and groups[0][1] == groups[1][1]:
        listed = ", ".join(f"{name} {array.dtype}" for name, array in arrays.items())
        msg = (
            f"the scene is a Dataset of several types ({listed}); choose its bands by dataset[['name', ...]], or bring "
            "them to one type by astype"
        )
        raise ConfigError(msg)
    return {name: array for name, array in arrays.items() if _is_bytes(array) == groups[0][0]}


def _is_bytes(array: xr.DataArray) -> bool:
    """Whether numbers are of 8 bits, as they are stored."""
    return bool(np.dtype(array.encoding.get("dtype", array.dtype)).itemsize == 1)


def stack(arrays: Sequence[xr.DataArray]) -> xr.DataArray:
    """Put variables of one grid together along a dimension `band`, each under its own name.

    A lone variable may have bands of its own.

    Raises
    ------
    ConfigError
        When one of several has bands of its own.
    """
    axes = find_axes(arrays[0])
    if axes is None:
        msg = "variables to stack have rows and columns"
        raise TypeError(msg)
    inner = sorted({str(dim) for array in arrays for dim in array.dims if dim not in axes and array.sizes[dim] != 1})
    if len(arrays) == 1 and inner:
        return arrays[0]
    own = [f"{array.name} {array.dims}" for array in arrays if any(array.sizes.get(dim, 1) != 1 for dim in inner)]
    if inner and len(own) < len(arrays):
        msg = (
            f"the scene is a Dataset whose variables differ in their dimensions ({', '.join(own)}); choose one, "
            "as by dataset['name']"
        )
        raise ConfigError(msg)
    planes = [_without_short_dims(array, axes) for array in arrays]
    dim = "variable" if "band" in planes[0].dims else "band"
    stacked = xr.concat(
        [plane.transpose(*planes[0].dims) for plane in planes],
        dim=dim,
        coords="minimal",
        compat="override",
        join="exact",
        combine_attrs="drop_conflicts",
    )
    return stacked.assign_coords({dim: [str(array.name) for array in arrays]})


def _without_short_dims(array: xr.DataArray, axes: Axes) -> xr.DataArray:
    """An array without dimensions of length 1 but rows and columns, nor what they are called."""
    short = [dim for dim in array.dims if dim not in axes and array.sizes[dim] == 1]
    return array.isel(dict.fromkeys(short, 0)).drop_vars(
        "band" if "band" not in array.dims or "band" in short else [], errors="ignore"
    )
