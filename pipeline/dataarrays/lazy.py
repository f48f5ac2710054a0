"""Scenes as lazy xarray DataArrays."""

from threading import Lock
from typing import Any, Final
from uuid import uuid4

import dask.array as da
import numpy as np
import numpy.typing as npt
import xarray as xr

from pipeline.core.pixels import BlockSource
from pipeline.core.scene_info import SceneInfo
from pipeline.dataarrays.dimensions import Axes
from pipeline.dataarrays.georeference import georeference
from pipeline.dataarrays.planes import BY_VALUES
from pipeline.geo.cf import pixel_centres
from pipeline.scenes.file_stamps import FileStamps

_MOST_OPEN: Final = 4
"""Most sources from unpickled graphs whose files a process leaves open."""


class _BlockReads:
    """Reads the blocks of a source in a dask graph. Tasks share one instance; pickles become one instance per process.

    The token is a unique name of the source, which is picklable if graphs are sent to other processes.
    """

    def __init__(self, token: str, source: BlockSource) -> None:
        self._token = token
        self._source = source
        self._stamps = FileStamps(source.info.files, deep=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return _shared_reads, (self._token, self._source)

    def __call__(self, block_id: tuple[int, ...]) -> npt.NDArray[Any]:
        """Read a block. Its `Pixels` are the single element of an array, because dask's chunks are arrays."""
        chunk = np.empty((1, 1), object)
        chunk[0, 0] = self._source.read(self._source.blocks.at(block_id[0], block_id[1]))
        self._stamps.check()
        return chunk


_opened: dict[str, _BlockReads] = {}
"""Unpickled reads by token, the least recently unpickled first."""
_opened_lock = Lock()


def _shared_reads(token: str, source: BlockSource) -> _BlockReads:
    """Unpickle reads as one instance for all tasks of a process, so that they share file handles."""
    with _opened_lock:
        reads = _opened.pop(token, None) or _BlockReads(token, source)
        _opened[token] = reads
        while len(_opened) > _MOST_OPEN:
            del _opened[next(iter(_opened))]
        return reads


def _data_of(chunk: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Pixels of a block that `_BlockReads` read."""
    data: npt.NDArray[Any] = chunk[0, 0].data
    return data


def _valid_of(chunk: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Validity of a block that `_BlockReads` read."""
    valid: npt.NDArray[np.bool_] = chunk[0, 0].valid
    return valid


def to_dataarray(source: BlockSource) -> xr.DataArray:
    """Wrap a source as a lazy DataArray (band, y, x), whose chunks are the blocks and are read when computed.

    It is in the scene's dtype, with coordinates `band`, `scale`, `offset`, `quantity`, `y`, `x`, `spatial_ref`, and
    `valid` (y, x): lazy, True where every band holds data. Data and `valid` of a block come from one read.
    """
    info = source.info
    rows, columns = source.blocks.heights, source.blocks.widths
    token = f"read-{uuid4().hex}"
    chunks = ((1,) * len(rows), (1,) * len(columns))
    reads = _BlockReads(token, source)
    blocks = da.map_blocks(reads, chunks=chunks, dtype=object, meta=np.empty((0, 0), object), name=token)
    data = da.map_blocks(
        _data_of,
        blocks,
        new_axis=0,
        chunks=((len(info.bands),), rows, columns),
        dtype=info.dtype,
        meta=np.empty((0, 0, 0), info.dtype),
    )
    valid = da.map_blocks(_valid_of, blocks, chunks=(rows, columns), dtype=bool, meta=np.empty((0, 0), bool))
    scene = xr.DataArray(
        data,
        dims=("band", "y", "x"),
        coords={
            "band": list(info.bands),
            "scale": ("band", list(info.scales)),
            "offset": ("band", list(info.offsets)),
            "quantity": ("band", list(info.units.quantities)),
            "valid": (("y", "x"), valid, {} if info.masked else BY_VALUES),
            **dict(zip("yx", pixel_centres(info.grid), strict=True)),
        },
        attrs={
            "sources": info.sources,
            "origin": info.origin,
            "nodata_rule": info.nodata_rule,
            **({"acquired": str(info.acquired)} if info.acquired else {}),
            **_nodata_attrs(info),
        },
        name="scene",
    )
    return georeference(scene, Axes("y", "x"), info.grid)


def _nodata_attrs(info: SceneInfo) -> dict[str, Any]:
    """Attribute `_FillValue`, which rioxarray reads as nodata, if all bands have the same nodata value; else none."""
    values = set(info.nodata)
    return {"_FillValue": info.dtype.type(values.pop())} if len(values) == 1 and None not in values else {}
