"""Selects the bands of a Dataset and stacks them into one array."""

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
"""Coordinates of a scene with a value per band."""


def _with_coordinates(dataset: xr.Dataset) -> xr.Dataset:
    """Turn variables that describe others into coordinates: grid mappings, other scalars, and `valid`."""
    variables = dataset.data_vars.values()
    named = {array.encoding.get("grid_mapping", array.attrs.get("grid_mapping")) for array in variables}
    mappings = {word.rstrip(":") for name in named if name for word in str(name).split()}
    return dataset.set_coords(
        [name for name, array in dataset.data_vars.items() if array.ndim == 0 or name in mappings or name == "valid"]
    )


def band_variables(dataset: xr.Dataset, named: Sequence[str] = ()) -> list[xr.DataArray]:
    """Variables of a Dataset that are bands: numeric measurements on one grid, of one type.

    The Dataset's attributes are added to theirs. Variables with rows and columns that are left out are named in a
    warning. Bands that are requested by name (`named`) need not be measurements.

    Raises
    ------
    ConfigError
        When there is no band, bands are on several grids, or as many have 8-bit types as others.
    """
    dataset = _with_coordinates(dataset)
    found = {name: (array, axes) for name, array in dataset.data_vars.items() if (axes := find_axes(array))}
    bands = {name: (array, axes) for name, (array, axes) in found.items() if array.dtype.kind in "iuf"}
    if not bands:
        listed = ", ".join(f"{name} {array.dtype} {array.dims}" for name, array in dataset.data_vars.items())
        msg = (
            "the scene is a Dataset without bands: no numeric variable has rows and columns (y and x, or latitude "
            f"and longitude); it has {listed or 'no variables'}"
        )
        raise ConfigError(msg)
    measured = _measurements({name: array for name, (array, _) in bands.items()}, named)
    _check_one_grid(dataset, {name: bands[name][1] for name in measured})
    chosen = _of_one_type(measured)
    _warn_of_left_out({name: array for name, (array, _) in found.items()}, measured, chosen)
    common = _common_to_bands(dataset)
    return [
        array.assign_attrs({**dataset.attrs, **array.attrs}).assign_coords(
            {name: value for name, value in common.items() if name not in array.coords}
        )
        for array in chosen.values()
    ]


def _measurements(arrays: dict[Hashable, xr.DataArray], named: Sequence[str]) -> dict[Hashable, xr.DataArray]:
    """Select the requested variables and those that measure reflected light, by CF attributes and by name.

    Without any, all measurements are selected; without these, all variables.
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


def _warn_of_left_out(
    found: dict[Hashable, xr.DataArray],
    measured: dict[Hashable, xr.DataArray],
    chosen: dict[Hashable, xr.DataArray],
) -> None:
    """Warn of variables that are not used as bands, with reasons."""
    layers = [str(name) for name in found if name not in measured]
    others = [f"{name} ({array.dtype})" for name, array in measured.items() if name not in chosen]
    reasons = []
    if layers:
        reasons.append(f"because they do not measure reflected light: {', '.join(layers)}")
    if others:
        reasons.append(f"because they are of another type (convert all to one with astype): {', '.join(others)}")
    if reasons:
        logger.warning(
            "the scene is a Dataset: its bands are %s; left out %s; to choose others, pass "
            "dataset[['name', ...]].to_dataarray('band')",
            ", ".join(map(str, chosen)),
            "; ".join(reasons),
        )


def _common_to_bands(dataset: xr.Dataset) -> dict[str, Any]:
    """Values of coordinates along bands that are the same for all bands, by name.

    `to_dataset("band")` leaves these coordinates without their assignment to bands. Raises ConfigError when the values
    of a coordinate differ.
    """
    common = {}
    for name in _ALONG_BANDS:
        if name not in dataset.coords or dataset.coords[name].ndim != 1:
            continue
        values = dataset.coords[name].values.tolist()
        if any(value != values[0] for value in values):
            msg = (
                f"the scene is a Dataset with a coordinate {name} that differs by band, without saying which value is "
                "which band's; pass the DataArray that it was made from, or drop the coordinate"
            )
            raise ConfigError(msg)
        common[name] = values[0]
    return common


def _check_one_grid(dataset: xr.Dataset, axes: dict[Hashable, Axes]) -> None:
    """Raise ConfigError, naming a variable of each grid, unless all variables are on one grid."""
    grids = {pair: name for name, pair in reversed(list(axes.items()))}
    if len(grids) > 1:
        listed = "; ".join(
            f"{name}: {dataset.sizes[pair.columns]} x {dataset.sizes[pair.rows]} pixels ({pair.rows}, {pair.columns})"
            for pair, name in reversed(grids.items())
        )
        msg = (
            f"the scene is a Dataset of several grids ({listed}); choose variables on one grid with "
            "dataset[['name', ...]]"
        )
        raise ConfigError(msg)


def _of_one_type(arrays: dict[Hashable, xr.DataArray]) -> dict[Hashable, xr.DataArray]:
    """Select the variables of 8-bit types or all others, whichever are more: 8-bit layers are often classes.

    The others may differ in type: xarray's decoder turns integers with a nodata value into floats. Raises ConfigError
    when there are as many of one kind as of the other.
    """
    groups = Counter(_is_bytes(array) for array in arrays.values()).most_common()
    if len(groups) > 1 and groups[0][1] == groups[1][1]:
        listed = ", ".join(f"{name} {array.dtype}" for name, array in arrays.items())
        msg = (
            f"the scene is a Dataset of several types ({listed}); choose its bands with dataset[['name', ...]], or "
            "convert them to one type with astype"
        )
        raise ConfigError(msg)
    return {name: array for name, array in arrays.items() if _is_bytes(array) == groups[0][0]}


def _is_bytes(array: xr.DataArray) -> bool:
    """Whether the stored numbers have 8 bits."""
    return bool(np.dtype(array.encoding.get("dtype", array.dtype)).itemsize == 1)


def stack(arrays: Sequence[xr.DataArray]) -> xr.DataArray:
    """Stack variables on one grid along a new dimension `band`, labelled with their names.

    A single variable may have a band dimension; then it is returned unchanged. Raises ConfigError when one of several
    variables has a further dimension longer than 1.
    """
    axes = find_axes(arrays[0])
    if axes is None:
        msg = "variables to stack need rows and columns"
        raise TypeError(msg)
    inner = sorted({str(dim) for array in arrays for dim in array.dims if dim not in axes and array.sizes[dim] != 1})
    if len(arrays) == 1 and inner:
        return arrays[0]
    longer = [f"{array.name} {array.dims}" for array in arrays if any(array.sizes.get(dim, 1) != 1 for dim in inner)]
    if inner and len(longer) < len(arrays):
        msg = (
            f"the scene is a Dataset whose variables differ in their dimensions ({', '.join(longer)}); choose one, "
            "such as dataset['name']"
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
    """Drop dimensions of length 1 except rows and columns, and the coordinate of the band dimension."""
    short = [dim for dim in array.dims if dim not in axes and array.sizes[dim] == 1]
    return array.isel(dict.fromkeys(short, 0)).drop_vars(
        "band" if "band" not in array.dims or "band" in short else [], errors="ignore"
    )
