"""DataArrays and Datasets as scenes: their pixels block by block."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, Final, cast, get_args

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from pipeline.core.errors import ConfigError
from pipeline.core.grid import Block
from pipeline.core.pixels import Pixels
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import Quantity
from pipeline.dataarrays.computing import Computer
from pipeline.dataarrays.dimensions import band_names
from pipeline.dataarrays.planes import BY_VALUES, Planes, read_planes
from pipeline.dataarrays.validity import ValidNumbers
from pipeline.kernels.validity import mask_invalid
from pipeline.stores.dimensions import DIRECTIONS, coordinate

logger = logging.getLogger(__name__)

_CHUNK: Final = 1024
"""Rows and columns of blocks of arrays that are not chunked."""

_ALMOST_ONE: Final = 1 - 1e-9
"""Validity, averaged by xarray, from which a pixel is valid: 1 but for rounding."""


def blocks_of(data: da.Array) -> tuple[Block, ...]:
    """Blocks of the chunks of an array (..., rows, columns), row by row."""
    heights, widths = data.chunks[-2:]
    tops, lefts = (list(accumulate(sizes, initial=0)) for sizes in (heights, widths))
    return tuple(
        Block(row=i, column=j, top=tops[i], left=lefts[j], height=heights[i], width=widths[j])
        for i in range(len(heights))
        for j in range(len(widths))
    )


def lazy_data(array: xr.DataArray) -> da.Array:
    """An array (..., rows, columns) as dask's, chunked along rows and columns alone."""
    bare = array.reset_coords(drop=True).drop_vars(array.dims, errors="ignore")
    rows, columns = array.dims[-2:]
    chunked = bare if bare.chunks else bare.chunk({rows: _CHUNK, columns: _CHUNK})
    data: da.Array = chunked.chunk(dict.fromkeys(array.dims[:-2], -1)).data
    return data


class ArraySource:
    """Blocks of an xarray object of bands, lazy or not; a `FitSource`.

    Nodata is what its `valid` coordinate says, else rioxarray's nodata value, and NaN.

    Parameters
    ----------
    scene : DataArray or Dataset
        Its dimensions may have any order; those but rows, columns and bands have length 1.
    bands : sequence of str, optional
        Bands to keep, in this order, where it has all of them.
    scaled : bool
        Whether its scale and offset count; else its numbers are what they are.

    Raises
    ------
    ConfigError
        When it is something else, or its parts don't fit each other.
    """

    def __init__(self, scene: xr.DataArray | xr.Dataset, bands: Sequence[str] = (), *, scaled: bool = True) -> None:
        planes = read_planes(scene, bands)
        names = band_names(planes.array)
        if set(bands) <= set(names) and bands and names != tuple(bands):
            chosen = [names.index(band) for band in bands]
            array = planes.array.isel({planes.array.dims[0]: chosen})
            planes = replace(planes, array=array, numbers=tuple(planes.numbers[i] for i in chosen))
            names = tuple(bands)
        array = planes.array
        if array.dtype.kind not in "iuf":
            msg = f"the scene has {array.dtype} pixels; integers and floats can be clustered"
            raise ConfigError(msg)
        self.axes = planes.axes
        self.mapping = planes.mapping
        self.corners = planes.corners
        """Whether coordinates are of pixels' upper left corners."""
        along = (coordinate(array.coords, dim, way) for dim, way in zip(planes.axes, DIRECTIONS, strict=True))
        self.coords = {name: array.coords[name] for name in along if name is not None}
        """Coordinates of rows and columns."""
        self.data: da.Array = lazy_data(array.astype(_plain(array.dtype), copy=False))
        """Lazy pixels, shape (band, rows, columns)."""
        self.valid: da.Array = _validity(self.data, planes)
        """Lazy, shape (rows, columns): True where every band holds data."""
        self.blocks = blocks_of(self.data)
        self.info = _facts(planes, names, self.data, scaled=scaled)
        self._compute = Computer.in_force()

    def read(self, block: Block) -> Pixels:
        """Compute a block: on the calling thread, unless a scheduler was named when this source was made."""
        rows, columns = block.slices
        data, valid = self._compute(self.data[:, rows, columns], self.valid[rows, columns])
        return Pixels(data, valid)

    def read_for_fit(self, block: Block) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        """Compute a block; all its valid pixels take part in the fit."""
        pixels = self.read(block)
        return pixels, pixels.valid


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type of numbers, near a dtype, that kernels and files know: this machine's byte order, no odd floats."""
    if dtype.kind == "f" and dtype.itemsize not in {4, 8}:
        return np.dtype(np.float32 if dtype.itemsize < 4 else np.float64)  # noqa: PLR2004
    return dtype.newbyteorder("=")


def _validity(data: da.Array, planes: Planes) -> da.Array:
    """Lazy validity of pixels chunked in whole bands: what is given, nodata values, and NaN, together."""
    given, axes = planes.valid, planes.axes
    if given is None:
        mask = da.ones(data.shape[1:], dtype=bool, chunks=data.chunks[1:])
    elif set(given.dims) != set(axes) or given.dtype.kind not in "biufO":
        msg = (
            f"the scene's coordinate 'valid' is {given.dtype} {given.dims}; expected bool, or numbers of which 1 is "
            f"valid, ({', '.join(map(str, axes))})"
        )
        raise ConfigError(msg)
    else:
        mask = lazy_data(given.transpose(*axes)).rechunk(data.chunks[1:])
    lazy: da.Array = da.map_blocks(
        _valid_pixels, data, mask, numbers=planes.numbers, drop_axis=0, dtype=bool, meta=np.empty((0, 0), bool)
    )
    return lazy


def _valid_pixels(
    pixels: npt.NDArray[Any], given: npt.NDArray[Any], numbers: tuple[ValidNumbers, ...]
) -> npt.NDArray[np.bool_]:
    """Tell which pixels hold data in every band, by what is given and by values."""
    first = tuple(band.nodata[0] if band.nodata else None for band in numbers)
    valid = mask_invalid(pixels, first, _as_validity(given))
    for plane, band in zip(pixels, numbers, strict=True):
        band.apply(plane, valid)
    return valid


def _as_validity(given: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """A new array of what xarray made of validity by padding, averaging or interpolation: 1 is valid, less is not.

    Raises
    ------
    ConfigError
        When a number is not one of 0 to 1.
    """
    if given.dtype.kind == "b":
        return given.copy()
    numbers = given.astype(np.float64)  # None is NaN
    odd = numbers[(numbers < 0) | (numbers > 1 + 1e-9)]
    if odd.size:
        msg = (
            f"the scene's coordinate 'valid' holds {odd[0]:g}; expected bool, or numbers from 0 to 1, of which 1 is "
            "valid: bring it there by scene.assign_coords(valid=...)"
        )
        raise ConfigError(msg)
    return numbers >= _ALMOST_ONE


def _facts(planes: Planes, names: tuple[str, ...], data: da.Array, *, scaled: bool) -> SceneInfo:
    """What an array tells of itself."""
    scene = planes.array
    scales, offsets = _each_band(scene, "scale", 1.0), _each_band(scene, "offset", 0.0)
    stated = scene.attrs.get("sources", str(scene.name or "array"))
    return SceneInfo(
        grid=planes.grid,
        bands=names,
        dtype=data.dtype,
        nodata=planes.nodata,
        nodata_rule=scene.attrs.get("nodata_rule", "auto"),
        scales=scales,
        offsets=offsets,
        quantities=_quantities(scene, scales) if scaled else (),
        origin=_origin(scene.attrs.get("origin")),
        block_shape=(data.chunks[1][0], data.chunks[2][0]),
        masked=planes.valid is not None and not BY_VALUES.items() <= planes.valid.attrs.items(),
        drivers=("xarray",),
        file_block_bytes=0,
        files=(),
        sources=(stated,) if isinstance(stated, str) else tuple(map(str, stated)),
    )


def _origin(stated: Any) -> tuple[int, int]:
    """Row and column that `to_dataarray` wrote; (0, 0) where there are none: others use the word for other things."""
    numbers = np.asarray(stated)
    if numbers.shape != (2,) or numbers.dtype.kind not in "iu" or numbers.min() < 0:
        return 0, 0
    row, column = numbers.tolist()
    return row, column


def _quantities(scene: xr.DataArray, scales: tuple[float, ...]) -> tuple[Quantity, ...]:
    """Each band's quantity: an attribute for all bands, else the coordinate that `to_dataarray` wrote."""
    count, stated = scene.shape[0], scene.coords.get("quantity")
    quantities = (str(scene.attrs.get("quantity", "numbers")),) * count
    if "quantity" not in scene.attrs and stated is not None and stated.dims in {(), scene.dims[:1]}:
        quantities = tuple(map(str, np.broadcast_to(stated.values, count)))
    odd = next((quantity for quantity in quantities if quantity not in get_args(Quantity)), None)
    if odd:
        msg = f"the scene's 'quantity' is {odd!r}; expected one of {', '.join(get_args(Quantity))}"
        raise ConfigError(msg)
    scaled = next((quantity for quantity in quantities if quantity != "numbers"), None)
    if scaled and not {"scale", "offset"} & set(scene.coords):
        logger.warning(
            "the scene's 'quantity' says %s, but its coordinates 'scale' and 'offset' are gone: its numbers are taken "
            "as they are",
            scaled,
        )
        quantities = ("numbers",) * count
    if any(quantity != "numbers" and scale == 0 for quantity, scale in zip(quantities, scales, strict=True)):
        msg = "the scene's coordinate 'scale' is 0 for a band; drop it, or set the attribute 'quantity' to 'numbers'"
        raise ConfigError(msg)
    return cast("tuple[Quantity, ...]", quantities)


def _each_band(scene: xr.DataArray, coordinate: str, default: float) -> tuple[float, ...]:
    """Coordinate with a number for each band, or one for all."""
    count = scene.shape[0]
    if coordinate not in scene.coords or scene.coords[coordinate].dims not in {(), scene.dims[:1]}:
        return (default,) * count
    (values,) = Computer.in_force()(scene.coords[coordinate].data)
    numbers = [float(value) for value in np.ravel(values)]
    return tuple(numbers if len(numbers) == count else numbers * count)
