"""Variables of Zarr and NetCDF stores: what they say of themselves, and their pixels. Read with xarray, as stored."""

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
from pipeline.stores.axes import Axes, latitudes_of_pixels
from pipeline.stores.grids import Variable, swath_words, variable_grid
from pipeline.stores.groups import BROKEN, attributes_around, groups_in, open_group, stored_variable
from pipeline.stores.times import choose_time, stated_time, time_values
from pipeline.stores.values import Scaling, kind_of, nodata_values, valid_limits

logger = logging.getLogger(__name__)

_STRIP: Final = 2**20
"""Pixels of a strip that is read at once of a variable that is stored in one piece."""


@dataclass(frozen=True, kw_only=True)
class StoreBand:
    """A band of a store that may be chosen."""

    name: str
    ref: ArrayRef
    attrs: Mapping[str, Any]
    """Attributes of its variable."""
    kind: LayerKind | None
    """What it is by its attributes, where it is no measurement; None where they don't tell."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a store's root offers."""

    bands: tuple[StoreBand, ...]
    times: tuple[str, ...]
    """What the times it holds are called; none where it states no time."""
    unusable: tuple[str, ...]
    """Variables with rows and columns that are no bands, in words."""


def survey(path: str, time: int | str | None = None) -> Survey:
    """List the bands of a store's root: one a variable, or one a step along a variable's band dimension.

    Parameters
    ----------
    path : str
        The store.
    time : int, str or None
        Which of several times is taken; as in the config's `scene.time`.

    Raises
    ------
    SceneError
        When there is no band, or there are several times and none is chosen.
    ConfigError
        When it has no such time.
    """
    dataset = open_group(path)
    names = sorted(map(str, dataset.data_vars), key=band_order)  # a store lists them in any order
    found = {name: axes for name in names if (axes := Axes.of(dataset, dataset[name]))}
    usable = {name: axes for name, axes in found.items() if len(axes.others) <= 1}
    if not usable:
        raise SceneError(_without_bands(path, dataset))
    bands = tuple(
        StoreBand(name=named, ref=ref, attrs=dataset[name].attrs, kind=kind_of(dataset[name].attrs))
        for name, axes in usable.items()
        for named, ref in _bands_of(path, dataset, name, axes, time, alone=len(usable) == 1)
    )
    return Survey(
        bands=bands,
        times=_times(path, dataset, usable, time),
        unusable=tuple(f"{name} ({', '.join(map(str, dataset[name].dims))})" for name in found if name not in usable),
    )


def _times(path: str, dataset: xr.Dataset, usable: Mapping[str, Axes], time: int | str | None) -> tuple[str, ...]:
    """Times that a store holds: along a time axis, else the one that it states.

    Raises
    ------
    ConfigError
        When the one that it states is not as asked for.
    """
    dims = {dim for axes in usable.values() for dim in axes.times}
    if dims:
        return tuple(time_values(dataset, max(dims, key=lambda dim: (dataset.sizes[dim], dim)))[1])
    alone = stated_time(dataset)
    if alone is None:
        return ()
    choose_time(dataset, alone, time, path)
    return tuple(time_values(dataset, alone)[1])


def _without_bands(path: str, dataset: xr.Dataset) -> str:
    latitude = latitudes_of_pixels(dataset)
    if latitude:
        return swath_words(path, latitude)
    groups = groups_in(path) if not dataset.data_vars else []
    if groups:
        way = (
            f"name one of these: {path}/{groups[0]}"
            if Path(path).is_dir()
            else f"save one as a store of its own and name that: xarray.open_dataset(path, group={groups[0]!r})"
        )
        return f"{path}: its variables lie in groups ({', '.join(groups)}); {way}"
    listed = ", ".join(f"{name} {array.dims}" for name, array in dataset.data_vars.items())
    return (
        f"{path}: no variable has rows and columns (y and x, or latitude and longitude), and at most one dimension "
        f"more than time; it has {listed or 'none'}"
    )


def _bands_of(
    path: str, dataset: xr.Dataset, name: str, axes: Axes, time: int | str | None, *, alone: bool
) -> Iterator[tuple[str, ArrayRef]]:
    """Name the bands of a variable: after it, or after the labels of its band dimension."""
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
        own = text if isinstance(text, str) else f"band{text}"
        yield own if alone else f"{name}_{own}", replace(ref, index=index)


def describe_variable(ref: ArrayRef) -> FileBand:
    """What a store says of a band.

    Raises
    ------
    SceneError
        When its pixels lie on no grid.
    """
    dataset = open_group(ref.path, ref.group)
    array = dataset[ref.variable]
    ref, axes = _placed(ref, dataset, array)
    where = f"{ref.path}: {ref.variable}"
    scaling = Scaling.of(array.attrs, where)
    around = list(attributes_around(ref.path, ref.group))
    grid, flipped = variable_grid(Variable(where, array, dataset, around, axes))
    stored, decoded = array.variable, stored_variable(ref)
    nodata = nodata_values(ref, stored, decoded, where)
    low, high = valid_limits(array.attrs, stored.dtype, decoded.dtype, scaling, where)
    whole = stored.encoding.get("chunks") or stored.encoding.get("chunksizes")
    chunks = dict(zip(map(str, stored.dims), whole, strict=True)) if whole else _strips(stored, axes)
    kind = decoded.dtype.newbyteorder("=")
    return FileBand(
        path=ref.path,
        files=(ref.path,),
        index=ref.index + 1,
        name=ref.variable,
        grid=grid,
        dtype=kind.name if kind.name in PIXEL_TYPES else "float32",
        nodata=nodata[0] if nodata else None,
        scale=scaling.scale,
        offset=scaling.offset,
        quantity="scaled" if scaling.is_stated else "numbers",
        block_shape=(int(chunks[axes.rows]), int(chunks[axes.columns])),
        alpha=None,
        is_alpha=False,
        mask=None,
        own_mask=False,
        driver="xarray",
        block_bytes=int(np.prod(list(chunks.values()))) * kind.itemsize,
        array=replace(
            ref,
            flipped=flipped,
            bands_per_chunk=int(chunks[ref.bands]) if whole and ref.bands else 1,
            nodata=tuple(kind.type(value).item() for value in nodata[1:]),
            lowest=low,
            highest=high,
        ),
    )


def _strips(stored: xr.Variable, axes: Axes) -> dict[str, int]:
    """Shape of what is read at once of a variable that is stored in one piece, of which any window can be read."""
    rows, columns = (stored.sizes[dim] for dim in (axes.rows, axes.columns))
    shape = dict.fromkeys(map(str, stored.dims), 1)
    return shape | {axes.rows: min(rows, max(1, _STRIP // columns)), axes.columns: columns}


def _placed(ref: ArrayRef, dataset: xr.Dataset, array: xr.DataArray) -> tuple[ArrayRef, Axes]:
    """A reference that names its dimensions.

    Raises
    ------
    SceneError
        When the variable has no rows and columns, or too many other dimensions.
    """
    axes = Axes.of(dataset, array)
    if axes is None or len(axes.others) > 1:
        msg = f"{ref.path}: {ref.variable} has dimensions {array.dims}; expected rows and columns"
        raise SceneError(msg)
    fixed = dict.fromkeys([*axes.times, *axes.single], 0) | dict(ref.at)
    bands = axes.others[0] if axes.others else None
    return replace(ref, at=tuple(fixed.items()), rows=axes.rows, columns=axes.columns, bands=bands), axes


class ArrayReader:
    """Reads windows of bands of one variable; a `WindowReader`.

    Parameters
    ----------
    ref : ArrayRef
        The variable, as `describe_variable` completed it.
    bands : sequence of int
        Positions of the bands along its band dimension.
    """

    def __init__(self, ref: ArrayRef, bands: tuple[int, ...] = (0,)) -> None:
        self._ref = ref
        self._bands = bands

    def read(self, window: Block, out: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:
        """Read a window: of all bands that the store decodes as one in one call.

        Raises
        ------
        SceneError
            Naming the store, the variable and the window, when the store is damaged.
        """
        ref = self._ref
        try:
            variable = stored_variable(ref)
            for first, places in self._chunks():
                planes = self._planes(variable, window, first, max(places) + 1)
                for place, row in places.items():
                    out[row] = planes[place - first]
        except BROKEN as error:
            why = f"{type(error).__name__}: {error}"
            msg = f"{ref.path}: {ref.variable}: {window} can't be read ({why}); is it all there?"
            raise SceneError(msg) from error
        for plane in out if ref.has_validity_mask else ():
            mask_invalid_numbers(ref, plane, valid)

    def _chunks(self) -> Iterator[tuple[int, dict[int, int]]]:
        """The first band asked for of each chunk of bands, and, for all of the chunk, where they are wanted."""
        size = self._ref.bands_per_chunk
        for chunk in dict.fromkeys(band // size for band in self._bands):
            places = {band: row for row, band in enumerate(self._bands) if band // size == chunk}
            yield min(places), places

    def _planes(self, variable: xr.Variable, window: Block, first: int, stop: int) -> npt.NDArray[Any]:
        """Pixels of some bands that follow each other, shape (band, rows, columns)."""
        ref = self._ref
        rows, columns = window.slices
        if ref.flipped:
            count = variable.shape[variable.dims.index(ref.rows)]
            rows = slice(count - rows.stop, count - rows.start)
        place: dict[Any, Any] = {ref.rows: rows, ref.columns: columns, **dict(ref.at)}
        if ref.bands:
            place[ref.bands] = slice(first, stop)
        dims = (*([ref.bands] if ref.bands else []), ref.rows, ref.columns)
        planes = variable.isel(place).transpose(*dims).values
        planes = planes if ref.bands else planes[np.newaxis]
        return planes[:, ::-1] if ref.flipped else planes


def mask_invalid_numbers(ref: ArrayRef, plane: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Strike out of `valid`, in place, what further nodata values and the valid range of a variable say is no data.

    Parameters
    ----------
    ref : ArrayRef
        The variable.
    plane : ndarray, shape (rows, columns)
        Stored numbers of a band.
    valid : ndarray of bool, shape (rows, columns)
        Changed, and given back.
    """
    kind = plane.dtype.type
    for value in ref.nodata:
        valid &= plane != kind(value)
    if ref.lowest is not None:
        valid &= ~(plane < kind(ref.lowest))
    if ref.highest is not None:
        valid &= ~(plane > kind(ref.highest))
    return valid
