"""DataArrays and Datasets as sources of pixels, block by block."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, Final, cast, get_args

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from pipeline.core.acquisition import Acquisition
from pipeline.core.errors import ConfigError
from pipeline.core.grid import Block, Blocks
from pipeline.core.pixels import Pixels
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import Quantity
from pipeline.dataarrays.computing import Computer
from pipeline.dataarrays.dimensions import band_names
from pipeline.dataarrays.planes import BY_VALUES, SceneArray, read_scene_array
from pipeline.dataarrays.validity import ValidNumbers
from pipeline.kernels.validity import mask_invalid
from pipeline.stores.dimensions import DIRECTIONS, coordinate

logger = logging.getLogger(__name__)

_CHUNK: Final = 1024
"""Rows and columns per block of arrays without chunks."""

_ALMOST_ONE: Final = 1 - 1e-9
"""Smallest fraction of validity of a valid pixel after averaging by xarray: 1 except for rounding."""


def blocks_of(data: da.Array) -> Blocks:
    """Blocks of the chunks of an array (..., rows, columns)."""
    rows, columns = (tuple(accumulate(sizes, initial=0)) for sizes in data.chunks[-2:])
    return Blocks(rows, columns)


def lazy_data(array: xr.DataArray) -> da.Array:
    """Convert an array (..., rows, columns) to a dask array, chunked along rows and columns only."""
    plain = array.reset_coords(drop=True).drop_vars(array.dims, errors="ignore")
    rows, columns = array.dims[-2:]
    chunked = plain if plain.chunks else plain.chunk({rows: _CHUNK, columns: _CHUNK})
    data: da.Array = chunked.chunk(dict.fromkeys(array.dims[:-2], -1)).data
    return data


class ArraySource:
    """`PixelSource` of the bands of an xarray object, lazy or in memory.

    A pixel is valid where the coordinate `valid`, if there is one, is True and no band holds a nodata value, NaN, or a
    number outside its valid range.

    Parameters
    ----------
    scene : DataArray or Dataset
        Dimensions may be in any order; those except rows, columns and bands have length 1.
    bands : sequence of str, optional
        Bands to select, in this order; ignored unless the scene has all of them.
    scaled : bool
        Whether to apply the scene's scale and offset; else its quantity is `numbers`.

    Raises
    ------
    ConfigError
        When the scene is of another type, or its coordinates or attributes are inconsistent.
    """

    cheap_again = False
    store = None

    def __init__(self, scene: xr.DataArray | xr.Dataset, bands: Sequence[str] = (), *, scaled: bool = True) -> None:
        prepared = read_scene_array(scene, bands)
        names = band_names(prepared.array)
        if set(bands) <= set(names) and bands and names != tuple(bands):
            chosen = [names.index(band) for band in bands]
            array = prepared.array.isel({prepared.array.dims[0]: chosen})
            prepared = replace(prepared, array=array, numbers=tuple(prepared.numbers[i] for i in chosen))
            names = tuple(bands)
        array = prepared.array
        if array.dtype.kind not in "iuf":
            msg = f"the scene has {array.dtype} pixels; integers and floats can be clustered"
            raise ConfigError(msg)
        self.axes = prepared.axes
        self.mapping = prepared.mapping
        self.corners = prepared.corners
        """Whether coordinates are those of pixels' upper left corners."""
        named = (coordinate(array.coords, dim, axis) for dim, axis in zip(prepared.axes, DIRECTIONS, strict=True))
        self.coords = {name: array.coords[name] for name in named if name is not None}
        """Coordinates of rows and columns, by name."""
        self.data: da.Array = lazy_data(array.astype(_supported(array.dtype), copy=False))
        """Lazy pixels, shape (band, rows, columns)."""
        self.valid: da.Array = _validity(self.data, prepared)
        """Lazy validity, shape (rows, columns): True where every band holds data."""
        self.blocks = blocks_of(self.data)
        self.info = _scene_info(prepared, names, self.data, scaled=scaled)
        is_lazy = any(part is not None and part.chunks is not None for part in (array, prepared.valid))
        self.computer = Computer.in_force() if is_lazy else Computer("synchronous")
        """Computes blocks: with the scheduler in force, unless the pixels are in memory here."""

    def read(self, block: Block) -> Pixels:
        """Compute a block: on the calling thread, unless a scheduler was in force when this source was created."""
        rows, columns = block.slices
        data, valid = self.computer(self.data[:, rows, columns], self.valid[rows, columns])
        return Pixels(data, valid)

    def read_for_fit(self, block: Block) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        """Compute a block; all its valid pixels are used for the fit."""
        pixels = self.read(block)
        return pixels, pixels.valid


def _supported(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Closest dtype that kernels and files support: native byte order, floats of 32 or 64 bits."""
    if dtype.kind == "f" and dtype.itemsize not in {4, 8}:
        return np.dtype(np.float32 if dtype.itemsize < 4 else np.float64)  # noqa: PLR2004
    return dtype.newbyteorder("=")


def _validity(data: da.Array, prepared: SceneArray) -> da.Array:
    """Lazy validity by the coordinate `valid`, nodata values, valid ranges and NaN; shape (rows, columns)."""
    stated, axes = prepared.valid, prepared.axes
    if stated is None:
        mask = da.ones(data.shape[1:], dtype=bool, chunks=data.chunks[1:])
    elif set(stated.dims) != set(axes) or stated.dtype.kind not in "biufO":
        msg = (
            f"the scene's coordinate 'valid' is {stated.dtype} {stated.dims}; expected bool, or numbers where 1 means "
            f"valid, ({', '.join(map(str, axes))})"
        )
        raise ConfigError(msg)
    else:
        mask = lazy_data(stated.transpose(*axes)).rechunk(data.chunks[1:])
    lazy: da.Array = da.map_blocks(
        _valid_pixels, data, mask, numbers=prepared.numbers, drop_axis=0, dtype=bool, meta=np.empty((0, 0), bool)
    )
    return lazy


def _valid_pixels(
    pixels: npt.NDArray[Any], stated: npt.NDArray[Any], numbers: tuple[ValidNumbers, ...]
) -> npt.NDArray[np.bool_]:
    """Validity of a chunk of pixels by the coordinate `valid` and by values; shape (rows, columns)."""
    first = tuple(band.nodata[0] if band.nodata else None for band in numbers)
    valid = mask_invalid(pixels, first, _as_validity(stated))
    for plane, band in zip(pixels, numbers, strict=True):
        band.apply(plane, valid)
    return valid


def _as_validity(stated: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Convert a coordinate `valid` to a new boolean array: 1 is valid, less is not.

    Padding, averaging and interpolation by xarray turn it into numbers or objects. Raises ConfigError when a number is
    outside 0 to 1.
    """
    if stated.dtype.kind == "b":
        return stated.copy()
    numbers = stated.astype(np.float64)  # None becomes NaN, which is not valid
    outside = numbers[(numbers < 0) | (numbers > 1 + 1e-9)]
    if outside.size:
        msg = (
            f"the scene's coordinate 'valid' holds {outside[0]:g}; expected bool, or numbers from 0 to 1 where 1 "
            "means valid; replace it with scene.assign_coords(valid=...)"
        )
        raise ConfigError(msg)
    return numbers >= _ALMOST_ONE


def _scene_info(prepared: SceneArray, names: tuple[str, ...], data: da.Array, *, scaled: bool) -> SceneInfo:
    """Metadata of a scene from its array."""
    scene = prepared.array
    scales, offsets = _per_band(scene, "scale", 1.0), _per_band(scene, "offset", 0.0)
    stated = scene.attrs.get("sources", str(scene.name or "array"))
    return SceneInfo(
        grid=prepared.grid,
        bands=names,
        dtype=data.dtype,
        nodata=prepared.nodata,
        nodata_rule=scene.attrs.get("nodata_rule", "auto"),
        scales=scales,
        offsets=offsets,
        quantities=_quantities(scene, scales) if scaled else (),
        origin=_origin(scene.attrs.get("origin")),
        acquired=Acquisition.parse(str(scene.attrs.get("acquired", ""))),
        block_shape=(data.chunks[1][0], data.chunks[2][0]),
        masked=prepared.valid is not None and not BY_VALUES.items() <= prepared.valid.attrs.items(),
        drivers=("xarray",),
        files=(),
        sources=(stated,) if isinstance(stated, str) else tuple(map(str, stated)),
    )


def _origin(stated: Any) -> tuple[int, int]:
    """Row and column in the attribute `origin` from `to_dataarray`; (0, 0) if it is missing or of another meaning."""
    numbers = np.asarray(stated)
    if numbers.shape != (2,) or numbers.dtype.kind not in "iu" or numbers.min() < 0:
        return 0, 0
    row, column = numbers.tolist()
    return row, column


def _quantities(scene: xr.DataArray, scales: tuple[float, ...]) -> tuple[Quantity, ...]:
    """Quantity per band: the attribute `quantity`, for all bands, else the coordinate from `to_dataarray`."""
    count, stated = scene.shape[0], scene.coords.get("quantity")
    quantities = (str(scene.attrs.get("quantity", "numbers")),) * count
    if "quantity" not in scene.attrs and stated is not None and stated.dims in {(), scene.dims[:1]}:
        quantities = tuple(map(str, np.broadcast_to(stated.values, count)))
    unknown = next((quantity for quantity in quantities if quantity not in get_args(Quantity)), None)
    if unknown:
        msg = f"the scene's 'quantity' is {unknown!r}; expected one of {', '.join(get_args(Quantity))}"
        raise ConfigError(msg)
    scaled = next((quantity for quantity in quantities if quantity != "numbers"), None)
    if scaled and not {"scale", "offset"} & set(scene.coords):
        logger.warning(
            "the scene's 'quantity' is %s, but its coordinates 'scale' and 'offset' are missing; its numbers are used "
            "unscaled",
            scaled,
        )
        quantities = ("numbers",) * count
    if any(quantity != "numbers" and scale == 0 for quantity, scale in zip(quantities, scales, strict=True)):
        msg = "the scene's coordinate 'scale' is 0 for a band; drop it, or set the attribute 'quantity' to 'numbers'"
        raise ConfigError(msg)
    return cast("tuple[Quantity, ...]", quantities)


def _per_band(scene: xr.DataArray, coordinate: str, default: float) -> tuple[float, ...]:
    """Values of a coordinate with a number per band, or one for all; the default if there is none."""
    count = scene.shape[0]
    if coordinate not in scene.coords or scene.coords[coordinate].dims not in {(), scene.dims[:1]}:
        return (default,) * count
    (values,) = Computer.in_force()(scene.coords[coordinate].data)
    numbers = [float(value) for value in np.ravel(values)]
    return tuple(numbers if len(numbers) == count else numbers * count)
