"""Scenes as lazy xarray DataArrays, and DataArrays as scenes."""

from itertools import accumulate
from math import floor
from typing import Any, Final, cast, get_args
from uuid import uuid4

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import rioxarray  # noqa: F401 (the .rio accessor)
import xarray as xr
from affine import Affine

from pipeline.errors import ConfigError
from pipeline.grid import Block, Grid
from pipeline.kernels.validity import strike_invalid
from pipeline.scenes.filestamps import FileStamps
from pipeline.scenes.source import BlockSource, Pixels, SceneInfo
from pipeline.units import Quantity

_OFF_CENTRE: Final = 1e-3
"""Share of a pixel by which coordinates may miss the centres that a transform gives."""


def to_dataarray(source: BlockSource) -> xr.DataArray:
    """Wrap a source as a DataArray (band, y, x) that reads its blocks when computed.

    Parameters
    ----------
    source : BlockSource
        The scene; its blocks become the chunks.

    Returns
    -------
    DataArray
        In the scene's dtype, with coordinates `band`, `y`, `x`, `spatial_ref`, and `valid` (y, x): lazy, True
        where every band holds data. Data and `valid` of a block come from one read.
    """
    info = source.info
    rows = tuple(block.height for block in source.blocks if block.column == 0)
    columns = tuple(block.width for block in source.blocks if block.row == 0)
    stamps = FileStamps(info.files, deep=False)
    by_place = {(block.row, block.column): block for block in source.blocks}

    def read(block_id: tuple[int, ...]) -> npt.NDArray[Any]:
        held = np.empty((1, 1), object)
        held[0, 0] = source.read(by_place[block_id[0], block_id[1]])
        stamps.check()
        return held

    ones = ((1,) * len(rows), (1,) * len(columns))
    blocks = da.map_blocks(read, chunks=ones, dtype=object, meta=np.empty((0, 0), object), name=f"read-{uuid4().hex}")
    data = da.map_blocks(
        lambda held: held[0, 0].data,
        blocks,
        new_axis=0,
        chunks=((len(info.bands),), rows, columns),
        dtype=info.dtype,
        meta=np.empty((0, 0, 0), info.dtype),
    )
    valid = da.map_blocks(
        lambda held: held[0, 0].valid, blocks, chunks=(rows, columns), dtype=bool, meta=np.empty((0, 0), bool)
    )
    scene = xr.DataArray(
        data,
        dims=("band", "y", "x"),
        coords={
            "band": list(info.bands),
            "scale": ("band", list(info.scales)),
            "offset": ("band", list(info.offsets)),
            "quantity": ("band", list(info.units.quantities)),
            "valid": (("y", "x"), valid),
            **_pixel_centres(info.grid),
        },
        attrs={
            "sources": info.sources,
            "nodata_rule": info.nodata_rule,
            **_nodata_attrs(info),
            **({"origin": info.origin} if any(info.origin) else {}),
        },
        name="scene",
    )
    return georeference(scene, info.grid)


def _nodata_attrs(info: SceneInfo) -> dict[str, Any]:
    """What rioxarray knows as nodata, where all bands agree on it."""
    values = set(info.nodata)
    return {"_FillValue": info.dtype.type(values.pop())} if len(values) == 1 and None not in values else {}


def _pixel_centres(grid: Grid) -> dict[str, Any]:
    """Coordinates y and x, where rows and columns of the grid run along them."""
    t = grid.transform
    if t.b or t.d:
        return {}
    rows, columns = grid.shape
    return {"y": t.f + t.e * (np.arange(rows) + 0.5), "x": t.c + t.a * (np.arange(columns) + 0.5)}


def georeference(array: xr.DataArray, grid: Grid) -> xr.DataArray:
    """Write a grid's CRS and transform into an array's `spatial_ref`, exactly."""
    placed: xr.DataArray = array.rio.write_transform(grid.transform)
    if grid.crs:
        placed = placed.rio.write_crs(grid.crs)
    return placed


def grid_of(array: xr.DataArray) -> Grid:
    """Grid of a DataArray (..., y, x) with rioxarray's georeferencing."""
    crs = array.rio.crs
    return Grid(
        shape=(array.sizes["y"], array.sizes["x"]), transform=_transform_of(array), crs=crs.to_wkt() if crs else None
    )


def _transform_of(array: xr.DataArray) -> Affine:
    """Transform that was written into an array, moved along where the array was sliced since.

    rioxarray computes it from the coordinates, which costs the last digits.
    """
    computed: Affine = array.rio.transform(recalc=True)
    written = array.coords["spatial_ref"].attrs.get("GeoTransform") if "spatial_ref" in array.coords else None
    if written is None or not {"y", "x"} <= set(array.coords):
        return computed
    t = Affine.from_gdal(*map(float, written.split()))
    column, row = ~t @ (float(array.coords["x"][0]), float(array.coords["y"][0]))
    if (
        t.b
        or t.d
        or abs(column % 1 - 0.5) > _OFF_CENTRE
        or abs(row % 1 - 0.5) > _OFF_CENTRE
        or not _steps_fit(array, t)
    ):
        return computed
    moved: Affine = t @ Affine.translation(floor(column), floor(row))
    return moved


def _steps_fit(array: xr.DataArray, t: Affine) -> bool:
    """Whether an array's pixels still have the size its transform says: slices with a step do not.

    Raises
    ------
    ConfigError
        When pixels are not evenly spaced, and so on no grid.
    """
    fits = True
    for axis, size in (("x", t.a), ("y", t.e)):
        steps = np.diff(array.coords[axis].values)
        if steps.size:
            if np.ptp(steps) > _OFF_CENTRE * abs(steps[0]):
                msg = f"the scene's coordinates {axis} are not evenly spaced, so its pixels are on no grid"
                raise ConfigError(msg)
            fits &= abs(steps[0] / size - 1) < _OFF_CENTRE
    return bool(fits)


def blocks_of(array: xr.DataArray) -> tuple[Block, ...]:
    """Blocks of a DataArray's chunks along y and x, row by row."""
    heights, widths = (array.chunksizes[dim] for dim in ("y", "x"))
    tops, lefts = (list(accumulate(sizes, initial=0)) for sizes in (heights, widths))
    return tuple(
        Block(row=i, column=j, top=tops[i], left=lefts[j], height=heights[i], width=widths[j])
        for i in range(len(heights))
        for j in range(len(widths))
    )


class ArraySource:
    """Blocks of a DataArray (band, y, x), lazy or not; a `FitSource`.

    Nodata is what the array's `valid` coordinate says, else rioxarray's nodata value, and NaN.
    """

    def __init__(self, scene: xr.DataArray) -> None:
        scene = scene.expand_dims("band") if scene.dims == ("y", "x") else scene
        if scene.dims != ("band", "y", "x"):
            msg = f"the scene has dimensions {', '.join(map(str, scene.dims))}; expected band, y, x"
            raise ConfigError(msg)
        if scene.dtype.kind not in "iuf":
            msg = f"the scene has {scene.dtype} pixels; integers and floats can be clustered"
            raise ConfigError(msg)
        given = scene.coords.get("valid")
        scene = scene.drop_vars("valid", errors="ignore").astype(_plain(scene.dtype), copy=False)
        chunked = (scene if scene.chunks else scene.chunk({"y": 1024, "x": 1024})).chunk({"band": -1})
        self.blocks = blocks_of(chunked)
        self.info = _facts(chunked, masked=given is not None)
        self.data: da.Array = chunked.data
        """Lazy pixels, shape (band, y, x)."""
        self.valid: da.Array = _validity(self.data, given, self.info.nodata)
        """Lazy, shape (y, x): True where every band holds data."""

    def read(self, block: Block) -> Pixels:
        """Compute a block on the calling thread."""
        rows, columns = block.slices
        data, valid = dask.compute(self.data[:, rows, columns], self.valid[rows, columns], scheduler="synchronous")
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


def _validity(data: da.Array, given: xr.DataArray | None, nodata: tuple[int | float | None, ...]) -> da.Array:
    """Lazy validity of pixels chunked in whole bands: what is given, nodata values, and NaN, together."""
    if given is None:
        mask = da.ones(data.shape[1:], dtype=bool, chunks=data.chunks[1:])
    elif set(given.dims) != {"y", "x"} or given.dtype != bool:
        msg = f"the scene's coordinate 'valid' is {given.dtype} {given.dims}; expected bool (y, x)"
        raise ConfigError(msg)
    else:
        mask = da.asarray(given.transpose("y", "x").data).rechunk(data.chunks[1:])

    def valid(pixels: npt.NDArray[Any], ok: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        return strike_invalid(pixels, nodata, ok.copy())

    told: da.Array = da.map_blocks(valid, data, mask, drop_axis=0, dtype=bool, meta=np.empty((0, 0), bool))
    return told


def _facts(scene: xr.DataArray, *, masked: bool) -> SceneInfo:
    """What a DataArray tells of itself."""
    count = scene.sizes["band"]
    names = scene.coords["band"].values if "band" in scene.coords else np.arange(1, count + 1)
    try:
        nodata = scene.rio.nodata
    except (OverflowError, ValueError) as error:
        msg = f"the scene's nodata value can't occur in {scene.dtype} pixels ({error})"
        raise ConfigError(msg) from error
    return SceneInfo(
        grid=grid_of(scene),
        origin=scene.attrs.get("origin", (0, 0)),
        bands=tuple(str(name) if isinstance(name, str) else f"band{name}" for name in names.tolist()),
        dtype=scene.dtype,
        nodata=(None if nodata is None else nodata.item() if hasattr(nodata, "item") else nodata,) * count,
        nodata_rule=scene.attrs.get("nodata_rule", "auto"),
        scales=_each_band(scene, "scale", 1.0),
        offsets=_each_band(scene, "offset", 0.0),
        quantities=_quantities(scene),
        block_shape=(scene.chunksizes["y"][0], scene.chunksizes["x"][0]),
        masked=masked,
        drivers=("xarray",),
        file_block_bytes=0,
        files=(),
        sources=tuple(scene.attrs.get("sources", (str(scene.name or "array"),))),
    )


def _quantities(scene: xr.DataArray) -> tuple[Quantity, ...]:
    """Each band's quantity: the coordinate that `to_dataarray` wrote, or an attribute for all bands."""
    stated = scene.coords.get("quantity")
    quantities = (str(scene.attrs.get("quantity", "numbers")),) * scene.sizes["band"]
    if "quantity" not in scene.attrs and stated is not None and stated.dims in {("band",), ()}:
        quantities = tuple(map(str, np.broadcast_to(stated.values, scene.sizes["band"])))
    odd = next((quantity for quantity in quantities if quantity not in get_args(Quantity)), None)
    if odd:
        msg = f"the scene's 'quantity' is {odd!r}; expected one of {', '.join(get_args(Quantity))}"
        raise ConfigError(msg)
    pairs = zip(quantities, _each_band(scene, "scale", 1.0), strict=True)
    if any(quantity != "numbers" and scale == 0 for quantity, scale in pairs):
        msg = "the scene's coordinate 'scale' is 0 for a band; drop it, or set the attribute 'quantity' to 'numbers'"
        raise ConfigError(msg)
    return cast("tuple[Quantity, ...]", quantities)


def _each_band(scene: xr.DataArray, coordinate: str, default: float) -> tuple[float, ...]:
    """Coordinate with a number for each band."""
    if coordinate in scene.coords and scene.coords[coordinate].dims == ("band",):
        return tuple(float(value) for value in scene.coords[coordinate].values)
    return (default,) * scene.sizes["band"]
