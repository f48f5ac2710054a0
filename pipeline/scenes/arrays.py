"""Variables of Zarr and NetCDF stores: what they say of themselves, and their pixels. Read with xarray, undecoded."""

import logging
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr

from pipeline.errors import SceneError
from pipeline.grid import Block
from pipeline.scenes.arraygrids import Axes, Variable, variable_grid
from pipeline.scenes.bands import band_order
from pipeline.scenes.filebands import ArrayRef, FileBand
from pipeline.scenes.numbers import as_number
from pipeline.units import PIXEL_TYPES

logger = logging.getLogger(__name__)


_BROKEN: Final = (OSError, ValueError, RuntimeError, KeyError, TypeError, IndexError)
"""What zarr, h5py and the codecs raise when a store is damaged."""


@lru_cache(maxsize=64)
def open_group(path: str, group: str = "") -> xr.Dataset:
    """Open a group of a store; nothing is read but metadata and coordinates.

    Raises
    ------
    SceneError
        When xarray can't open it.
    """
    how: dict[str, Any] = {"chunks": None, "mask_and_scale": False, "decode_times": False}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about metadata that aren't consolidated, and formats to come
            if Path(path).is_dir():
                return xr.open_dataset(path, engine="zarr", group=group or None, **how)
            return xr.open_dataset(path, group=group or None, **how)
    except _BROKEN as error:
        what = f"{path}/{group}" if group else path
        why = (f"{error}".splitlines() or [""])[0]
        msg = f"{what}: xarray can't open this ({type(error).__name__}: {why})"
        raise SceneError(msg) from error


def list_variables(path: str) -> Iterator[tuple[str, ArrayRef]]:
    """Bands of a store's root: one a variable, or one a step along a variable's band dimension.

    Raises
    ------
    SceneError
        When there is none, or several times.
    """
    dataset = open_group(path)
    names = sorted(map(str, dataset.data_vars), key=band_order)  # a store lists them in any order
    found = {name: axes for name in names if (axes := Axes.of(dataset[name]))}
    if not found:
        listed = ", ".join(f"{name} {array.dims}" for name, array in dataset.data_vars.items())
        msg = (
            f"{path}: no variable has rows and columns (y and x, or latitude and longitude); it has {listed or 'none'}"
        )
        raise SceneError(msg)
    for name, axes in found.items():
        if axes.other is None:
            yield name, ArrayRef(path=path, group="", variable=name)
            continue
        count = dataset.sizes[axes.other]
        if axes.other.lower() == "time" and count > 1:
            msg = f"{path}: {name} holds {count} times; save one of them to a store of its own, and name that"
            raise SceneError(msg)
        labels = dataset[axes.other].values if axes.other in dataset.coords else np.arange(1, count + 1)
        for index, label in enumerate(labels):
            own = str(label) if isinstance(label, str) else f"band{label}"
            named = name if count == 1 else own if len(found) == 1 else f"{name}_{own}"
            yield named, ArrayRef(path=path, group="", variable=name, index=index)


def describe_variable(ref: ArrayRef) -> FileBand:
    """What a store says of a band.

    Raises
    ------
    SceneError
        When its pixels lie on no grid.
    """
    dataset = open_group(ref.path, ref.group)
    array = dataset[ref.variable]
    axes = _axes(ref, array)
    attrs = array.attrs
    where = f"{ref.path}: {ref.variable}"
    scale, offset = (
        as_number(attrs.get(name, default), f"{where}: {name}")
        for name, default in (("scale_factor", 1), ("add_offset", 0))
    )
    grid, flipped = variable_grid(Variable(where, array, dataset, open_group(ref.path).attrs, axes))
    nodata = next((attrs[key] for key in ("_FillValue", "fill_value", "missing_value") if key in attrs), None)
    chunks = dict(
        zip(array.dims, array.encoding.get("chunks") or array.encoding.get("chunksizes") or array.shape, strict=True)
    )
    block = (int(chunks[axes.rows]), int(chunks[axes.columns]))
    kind = array.dtype.newbyteorder("=")
    return FileBand(
        path=ref.path,
        files=(ref.path,),
        index=1,
        name=ref.variable,
        grid=grid,
        dtype=kind.name if kind.name in PIXEL_TYPES else "float32",
        nodata=_absent_value(ref, where) if nodata is None else _nodata(nodata, where),
        scale=scale,
        offset=offset,
        quantity="numbers" if (scale, offset) == (1, 0) else "scaled",
        block_shape=block,
        alpha=None,
        is_alpha=False,
        mask=None,
        own_mask=False,
        driver="xarray",
        block_bytes=int(np.prod(list(chunks.values()))) * kind.itemsize,
        array=replace(ref, flipped=flipped),
    )


def _absent_value(ref: ArrayRef, where: str) -> float | None:
    """What a Zarr array gives for chunks that are not stored, if there are such: it is no data."""
    if not Path(ref.path).is_dir():
        return None
    array = zarr.open_array(Path(ref.path) / ref.group / ref.variable, mode="r")
    if array.shards is not None:  # of which zarr counts chunks that lie outside of the array, too
        return None
    missing = array.nchunks - array.nchunks_initialized
    if missing <= 0:
        return None
    logger.warning(
        "%s: %d of %d chunks are not stored: their value, %s, is taken for nodata",
        where,
        missing,
        array.nchunks,
        array.fill_value,
    )
    return _nodata(array.fill_value, where)


def _nodata(value: Any, where: str) -> float | None:
    """A nodata value; NaN is one, too."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return None if value is None else float("nan")
    return as_number(value, f"{where}: nodata")


def _axes(ref: ArrayRef, array: xr.DataArray) -> Axes:
    axes = Axes.of(array)
    if axes is None:
        msg = f"{ref.path}: {ref.variable} has dimensions {array.dims}; expected rows and columns"
        raise SceneError(msg)
    return axes


class ArrayReader:
    """Reads windows of a variable; a `WindowReader`."""

    def __init__(self, ref: ArrayRef) -> None:
        self._ref = ref

    def read(self, window: Block, out: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:  # noqa: ARG002 (values tell)
        """Read a window.

        Raises
        ------
        SceneError
            Naming the store, the variable and the window, when the store is damaged.
        """
        ref = self._ref
        try:
            array = open_group(ref.path, ref.group)[ref.variable]
            axes = _axes(ref, array)
            rows, columns = window.slices
            if ref.flipped:
                count = array.sizes[axes.rows]
                rows = slice(count - rows.stop, count - rows.start)
            place: dict[str, Any] = {axes.rows: rows, axes.columns: columns}
            if axes.other:
                place[axes.other] = ref.index
            plane = array.variable.isel(place).transpose(axes.rows, axes.columns).values
            out[0] = plane[::-1] if ref.flipped else plane
        except _BROKEN as error:
            why = f"{type(error).__name__}: {error}"
            msg = f"{ref.path}: {ref.variable}: {window} can't be read ({why}); is it all there?"
            raise SceneError(msg) from error
