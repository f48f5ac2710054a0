"""Bands of Zarr and NetCDF stores: lists and describes them, and reads their stored pixels with xarray."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr

from pipeline.core.band_names import band_order
from pipeline.core.errors import SceneError
from pipeline.core.grid import Block
from pipeline.core.layer_kinds import LayerKind
from pipeline.core.units import PIXEL_TYPES
from pipeline.raster.file_bands import ArrayRef, FileBand
from pipeline.stores.axes import VariableAxes, latitudes_of_pixels
from pipeline.stores.grids import Variable, swath_message, variable_grid
from pipeline.stores.groups import STORE_ERRORS, attributes_around, groups_in, open_group, stored_variable
from pipeline.stores.times import choose_time, stated_time, store_acquisition, time_values
from pipeline.stores.values import Packing, kind_of, nodata_values, valid_limits

logger = logging.getLogger(__name__)

_STRIP: Final = 2**20
"""Pixels per block of a variable that is stored without chunks."""


@dataclass(frozen=True, kw_only=True)
class StoreBand:
    """A band of a store."""

    name: str
    ref: ArrayRef
    """Variable, time and position along the band dimension."""
    attrs: Mapping[str, Any]
    """Attributes of the variable."""
    kind: LayerKind | None
    """Kind of layer by CF attributes, if it is not a measurement; else None."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Contents of a store's root group."""

    bands: tuple[StoreBand, ...]
    times: tuple[str, ...]
    """Labels of the times; empty if the store states none."""
    unusable: tuple[str, ...]
    """Names and dimensions of variables with rows and columns and too many other dimensions for bands."""


def survey(path: str, time: int | str | None = None) -> Survey:
    """List the bands of a store's root group: one per variable, or one per step along a variable's band dimension.

    `time` is the one to choose among several, as in the config's `scene.time`.

    Raises
    ------
    SceneError
        When there is no band, or there are several times and none is requested.
    ConfigError
        When the requested time does not exist.
    """
    dataset = open_group(path)
    names = sorted(map(str, dataset.data_vars), key=band_order)  # stores list variables in any order
    found = {name: axes for name in names if (axes := VariableAxes.of(dataset, dataset[name]))}
    usable = {name: axes for name, axes in found.items() if len(axes.others) <= 1}
    if not usable:
        raise SceneError(_no_bands_message(path, dataset))
    bands = tuple(
        StoreBand(name=band, ref=ref, attrs=dataset[name].attrs, kind=kind_of(dataset[name].attrs))
        for name, axes in usable.items()
        for band, ref in _bands_of(path, dataset, name, axes, time, alone=len(usable) == 1)
    )
    return Survey(
        bands=bands,
        times=_times(path, dataset, usable, time),
        unusable=tuple(f"{name} ({', '.join(map(str, dataset[name].dims))})" for name in found if name not in usable),
    )


def _times(
    path: str, dataset: xr.Dataset, usable: Mapping[str, VariableAxes], time: int | str | None
) -> tuple[str, ...]:
    """Labels of the times of a store: along a time dimension, else of the single time that it states.

    Raises ConfigError when the single stated time is not the requested one.
    """
    dims = {dim for axes in usable.values() for dim in axes.times}
    if dims:
        return tuple(time_values(dataset, max(dims, key=lambda dim: (dataset.sizes[dim], dim)))[1])
    scalar = stated_time(dataset)
    if scalar is None:
        return ()
    choose_time(dataset, scalar, time, path)
    return tuple(time_values(dataset, scalar)[1])


def _no_bands_message(path: str, dataset: xr.Dataset) -> str:
    """Error message for a store without bands, with the way to get them."""
    latitude = latitudes_of_pixels(dataset)
    if latitude:
        return swath_message(path, latitude)
    groups = groups_in(path) if not dataset.data_vars else []
    if groups:
        fix = (
            f"open one of these, such as {path}/{groups[0]}"
            if Path(path).is_dir()
            else f"save one as a separate store and open that: xarray.open_dataset(path, group={groups[0]!r})"
        )
        return f"{path}: its variables are in groups ({', '.join(groups)}); {fix}"
    listed = ", ".join(f"{name} {array.dims}" for name, array in dataset.data_vars.items())
    return (
        f"{path}: no variable has rows and columns (y and x, or latitude and longitude) and at most one further "
        f"dimension except time; its variables are {listed or 'none'}"
    )


def _bands_of(
    path: str, dataset: xr.Dataset, name: str, axes: VariableAxes, time: int | str | None, *, alone: bool
) -> Iterator[tuple[str, ArrayRef]]:
    """Yield name and reference of each band of a variable, named after it or the labels of its band dimension."""
    at = [(dim, choose_time(dataset, dim, time, f"{path}: {name}")) for dim in axes.times]
    ref = ArrayRef(path=path, group="", variable=name, at=(*at, *((dim, 0) for dim in axes.single)))
    if not axes.others:
        yield name, ref
        return
    (dim,) = axes.others
    count = dataset.sizes[dim]
    labels = dataset[dim].values if dim in dataset.variables else np.arange(1, count + 1)
    for index, label in enumerate(labels.tolist()):
        text = label.decode() if isinstance(label, bytes) else label
        band = text if isinstance(text, str) else f"band{text}"
        yield band if alone else f"{name}_{band}", replace(ref, index=index)


def describe_variable(ref: ArrayRef) -> FileBand:
    """Read the metadata of a band of a store.

    Raises SceneError when the variable has no rows and columns or no regular grid, or its metadata are invalid.
    """
    dataset = open_group(ref.path, ref.group)
    array = dataset[ref.variable]
    ref, axes = _with_dimensions(ref, dataset, array)
    where = f"{ref.path}: {ref.variable}"
    packing = Packing.of(array.attrs, where)
    around = list(attributes_around(ref.path, ref.group))
    grid, flipped = variable_grid(Variable(where, array, dataset, around, axes))
    stored, decoded = array.variable, stored_variable(ref)
    nodata = nodata_values(ref, stored, decoded, where)
    low, high = valid_limits(array.attrs, stored.dtype, decoded.dtype, packing, where)
    chunk_shape = stored.encoding.get("chunks") or stored.encoding.get("chunksizes")
    chunks = dict(zip(map(str, stored.dims), chunk_shape, strict=True)) if chunk_shape else _strips(stored, axes)
    dtype = decoded.dtype.newbyteorder("=")
    return FileBand(
        path=ref.path,
        files=(ref.path,),
        index=ref.index + 1,
        name=ref.variable,
        grid=grid,
        dtype=dtype.name if dtype.name in PIXEL_TYPES else "float32",
        nodata=nodata[0] if nodata else None,
        scale=packing.scale,
        offset=packing.offset,
        quantity="scaled" if packing.is_stated else "numbers",
        block_shape=(int(chunks[axes.rows]), int(chunks[axes.columns])),
        alpha=None,
        is_alpha=False,
        mask=None,
        own_mask=False,
        driver="xarray",
        acquired=store_acquisition(ref.path, dataset, ref.at),
        block_bytes=int(np.prod(list(chunks.values()))) * dtype.itemsize,
        array=replace(
            ref,
            flipped=flipped,
            bands_per_chunk=int(chunks[ref.bands]) if chunk_shape and ref.bands else 1,
            nodata=tuple(dtype.type(value).item() for value in nodata[1:]),
            lowest=low,
            highest=high,
        ),
    )


def _strips(stored: xr.Variable, axes: VariableAxes) -> dict[str, int]:
    """Block size per dimension of a variable stored without chunks, of which any window can be read."""
    rows, columns = (stored.sizes[dim] for dim in (axes.rows, axes.columns))
    shape = dict.fromkeys(map(str, stored.dims), 1)
    return shape | {axes.rows: min(rows, max(1, _STRIP // columns)), axes.columns: columns}


def _with_dimensions(ref: ArrayRef, dataset: xr.Dataset, array: xr.DataArray) -> tuple[ArrayRef, VariableAxes]:
    """Return a reference completed with the names of its dimensions, and these by role.

    Raises SceneError when the variable has no rows and columns, or too many other dimensions.
    """
    axes = VariableAxes.of(dataset, array)
    if axes is None or len(axes.others) > 1:
        msg = (
            f"{ref.path}: {ref.variable} has dimensions {array.dims}; expected rows and columns, and at most one "
            "further dimension except time"
        )
        raise SceneError(msg)
    fixed = dict.fromkeys([*axes.times, *axes.single], 0) | dict(ref.at)
    bands = axes.others[0] if axes.others else None
    return replace(ref, at=tuple(fixed.items()), rows=axes.rows, columns=axes.columns, bands=bands), axes


class ArrayReader:
    """`WindowReader` of bands of one variable of a store, completed by `describe_variable`.

    `bands` are positions along its band dimension.
    """

    def __init__(self, ref: ArrayRef, bands: tuple[int, ...] = (0,)) -> None:
        self._ref = ref
        self._bands = bands

    def read(self, window: Block, out: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:
        """Read a window into `out`, shape (band, rows, columns).

        Further nodata values and numbers outside the valid range are masked out in `valid`, shape (rows, columns).
        Bands in the same chunks are read in one call, so that each chunk is decoded once. Raises SceneError, naming the
        store, the variable and the window, when it can't be read.
        """
        ref = self._ref
        try:
            variable = stored_variable(ref)
            for first, targets in self._chunks():
                planes = self._planes(variable, window, first, max(targets) + 1)
                for band, target in targets.items():
                    out[target] = planes[band - first]
        except STORE_ERRORS as error:
            reason = f"{type(error).__name__}: {error}"
            msg = f"{ref.path}: {ref.variable}: {window} can't be read ({reason}); check that the store is complete"
            raise SceneError(msg) from error
        for plane in out if ref.has_validity_mask else ():
            mask_invalid_numbers(ref, plane, valid)

    def _chunks(self) -> Iterator[tuple[int, dict[int, int]]]:
        """Yield, per chunk of bands, its first requested band and the index in `out` of each requested band."""
        size = self._ref.bands_per_chunk
        for chunk in dict.fromkeys(band // size for band in self._bands):
            targets = {band: target for target, band in enumerate(self._bands) if band // size == chunk}
            yield min(targets), targets

    def _planes(self, variable: xr.Variable, window: Block, first: int, stop: int) -> npt.NDArray[Any]:
        """Pixels of the consecutive bands from `first` to before `stop`, north up, shape (band, rows, columns)."""
        ref = self._ref
        rows, columns = window.slices
        if ref.flipped:
            count = variable.shape[variable.dims.index(ref.rows)]
            rows = slice(count - rows.stop, count - rows.start)
        selection: dict[Any, Any] = {ref.rows: rows, ref.columns: columns, **dict(ref.at)}
        if ref.bands:
            selection[ref.bands] = slice(first, stop)
        dims = (*([ref.bands] if ref.bands else []), ref.rows, ref.columns)
        planes = variable.isel(selection).transpose(*dims).values
        planes = planes if ref.bands else planes[np.newaxis]
        return planes[:, ::-1] if ref.flipped else planes


def mask_invalid_numbers(ref: ArrayRef, plane: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Mask out in `valid`, in place, pixels with further nodata values or outside the valid range of a variable.

    `plane` are stored numbers of a band; both have the shape (rows, columns). Returns `valid`.
    """
    number = plane.dtype.type
    for value in ref.nodata:
        valid &= plane != number(value)
    if ref.lowest is not None:
        valid &= ~(plane < number(ref.lowest))
    if ref.highest is not None:
        valid &= ~(plane > number(ref.highest))
    return valid
