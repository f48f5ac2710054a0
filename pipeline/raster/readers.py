"""Read windows of raster files with GDAL: file handles per thread, warped views, retries of remote reads."""

import math
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Protocol

import rasterio
from rasterio.enums import ColorInterp, Resampling
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from rasterio.vrt import WarpedVRT

from pipeline.core.arrays import Planes, Validity
from pipeline.core.errors import SceneError
from pipeline.core.grid import Block
from pipeline.geo.gdal import (
    GDAL_ERRORS,
    display_path,
    gdal_options,
    is_remote,
    open_raster,
    read_error,
    run_within_limit,
)
from pipeline.geo.overlap import recentre_longitudes
from pipeline.raster.file_parts import FilePart, Warp

_MOST_HANDLES: Final = 24
"""Open files per thread: all bands of a Sentinel-2 scene, and far below the limits of operating systems."""

_TRIES: Final = 3
"""Number of attempts to read a window of a remote file, in addition to GDAL's own retries."""

_PAUSE: Final = 1.0
"""Seconds between two attempts."""

_PIECE_BYTES: Final = 2**20
"""Least number of bytes read at once if a window is divided along the blocks of source files."""

_EXACT: Final = 1e-12
"""Error in pixels allowed to GDAL's approximate transformer: below rounding, so that windows give the same pixels."""

_PLANAR_CRS: Final = "EPSG:3857"
"""CRS assumed for grids without one, because the warper requires it."""


class WindowReader(Protocol):
    """Reads windows of a part, from several threads at once."""

    def read(self, window: Block, out: Planes, valid: Validity) -> None:
        """Fill `out`, shape (band, rows, columns), and clear in `valid` the pixels that masks mark as nodata."""


class Handles:
    """Open file handles, separate per thread as GDAL requires, until the thread ends or they are dropped."""

    def __init__(self) -> None:
        self._local = threading.local()

    def drop(self, path: str, warp: Warp | None) -> None:
        """Close this thread's handle of a file, so that the file is opened again."""
        file = self._local.__dict__.get("handles", {}).pop((path, warp), None)
        if file:
            file.close()

    def get(self, path: str, warp: Warp | None) -> rasterio.DatasetReader:
        """Return this thread's handle of a file, or of its warped view; open it at first use."""
        handles: dict[tuple[str, Warp | None], rasterio.DatasetReader]
        handles = self._local.__dict__.setdefault("handles", {})
        if (path, warp) not in handles:
            if len(handles) >= _MOST_HANDLES:
                handles.pop(next(iter(handles))).close()
            handles[path, warp] = _open(path, warp)
        return handles[path, warp]


def check_opens(part: FilePart) -> None:
    """Raise SceneError if the file of a part can't be opened in this process; stores are only looked up."""
    if part.array and not is_remote(part.path):
        if not Path(part.path).exists():
            raise _unseen(part.path, "no such file or folder")
    elif not part.array:
        try:
            with rasterio.Env(**gdal_options(part.path)):
                open_raster(part.path, sharing=False).close()
        except GDAL_ERRORS as error:
            raise _unseen(part.path, str(error.__cause__ or error)) from error


def _unseen(path: str, reason: str) -> SceneError:
    fix = "all workers need the file at this path, for example on a shared disk"
    return SceneError(f"{display_path(path)}: can't be opened ({reason}); {fix}")


def _open(path: str, warp: Warp | None) -> rasterio.DatasetReader:
    """Open a file, or a warped view of it, whose last band marks valid pixels unless the file has an alpha band."""
    file = open_raster(path, sharing=False)
    if warp is None:
        return file
    if any(i != warp.alpha for i, colour in enumerate(file.colorinterp, start=1) if colour == ColorInterp.alpha):
        file = _without_alpha_tags(file, warp.alpha)
    source = recentre_longitudes(warp.source) if warp.recentred else warp.source
    down, across = (f"{min(1.0, 1 / step)!r}" for step in warp.steps)
    return WarpedVRT(
        file,
        src_crs=source.crs or _PLANAR_CRS,
        src_transform=source.transform,
        crs=warp.grid.crs or _PLANAR_CRS,
        transform=warp.grid.transform,
        height=warp.grid.shape[0],
        width=warp.grid.shape[1],
        resampling=Resampling[warp.resampling],
        src_nodata=warp.nodata,
        add_alpha=warp.alpha is None,
        tolerance=_EXACT,
        XSCALE=across,  # otherwise GDAL would estimate the kernel's width for each block it warps
        YSCALE=down,
        **_bands_apart(warp.nodata),
    )


def _without_alpha_tags(file: rasterio.DatasetReader, alpha: int | None) -> rasterio.DatasetReader:
    """Return a view of a file with no alpha tag except one, because the warper uses any alpha band as a mask."""
    with MemoryFile(ext=".vrt") as memory:
        copy(file, memory.name, driver="VRT")
        view = ET.fromstring(memory.read())  # noqa: S314 (GDAL has just written it)
    for band in view.iter("VRTRasterBand"):
        colour = band.find("ColorInterp")
        if colour is not None and colour.text == "Alpha" and band.get("band") != str(alpha):
            band.remove(colour)
    file.close()
    return rasterio.open(ET.tostring(view, encoding="unicode"), sharing=False)


def _bands_apart(nodata: float | None) -> dict[str, Any]:
    """Return warp options that treat nodata per band: by default GDAL mixes in nodata of one band if another is valid.

    Bands are initialised with nodata, which stays where no valid pixel is. GDAL can't initialise with NaN; infinity,
    which is nodata too, is used instead.
    """
    if nodata is None:
        return {}
    empty = math.inf if math.isnan(nodata) else nodata
    return {"UNIFIED_SRC_NODATA": "NO", "nodata": empty, "init_dest_nodata": False, "INIT_DEST": repr(empty)}


def _cuts(start: int, length: int, side: int) -> list[slice]:
    """Divide the range from start to start + length at multiples of side; slices are relative to start."""
    edges = [0, *range(side - start % side, length, side), length]
    return [slice(*pair) for pair in pairwise(edges)]


class GdalReader:
    """Reads a part of a raster file; a `WindowReader`."""

    def __init__(self, part: FilePart, handles: Handles) -> None:
        self._part = part
        self._handles = handles

    def read(self, window: Block, out: Planes, valid: Validity) -> None:
        """Read a window.

        Raises
        ------
        SceneError
            If the file is damaged or cut short, or its server stalls; names the file and the window.
        """
        work = partial(self._read_with_retries, window, out, valid)
        if self._part.remote:
            run_within_limit(work, f"{display_path(self._part.path)}: {window} can't be read")
        else:
            work()

    def _read_with_retries(self, window: Block, out: Planes, valid: Validity) -> None:
        for attempts_left in range(_TRIES if self._part.remote else 1, 0, -1):
            try:
                return self._read(window, out, valid)
            except GDAL_ERRORS as error:
                if attempts_left > 1:  # after a broken connection the handle may hold half a file
                    self._handles.drop(self._part.path, self._part.warp)
                    time.sleep(_PAUSE)
                    continue
                cause = f"{error.__cause__ or error}"
                if not self._part.remote and "open files" not in cause:
                    raise read_error(self._part.path, f"{window}", error) from error
                tried = f"; tried {_TRIES} times" if self._part.remote else ""
                msg = f"{display_path(self._part.path)}: {window} can't be read ({cause}){tried}"
                raise SceneError(msg) from error
        return None

    def _pieces(self, window: Block) -> Iterator[tuple[slice, slice]]:
        """Divide a window so that interleaved source blocks stay in GDAL's cache while it reads band after band."""
        if not self._part.interleaved or len(self._part.indexes) == 1:
            yield slice(0, window.height), slice(0, window.width)
            return
        high, wide = self._part.block_shape
        high *= max(1, _PIECE_BYTES // (high * wide * self._part.bytes_per_pixel))
        for rows in _cuts(window.top, window.height, high):
            for columns in _cuts(window.left, window.width, wide):
                yield rows, columns

    def _read(self, window: Block, out: Planes, valid: Validity) -> None:
        part = self._part
        with rasterio.Env(**gdal_options(part.path)):
            file = self._handles.get(part.path, part.warp)
            for rows, columns in self._pieces(window):
                piece = (
                    (rows.start + window.top, rows.stop + window.top),
                    (columns.start + window.left, columns.stop + window.left),
                )
                file.read(list(part.indexes), window=piece, out=out[:, rows, columns])
            for index in part.masks:
                valid &= file.read_masks(index, window=window.window) != 0
            for index in (part.warp.alpha or file.count,) if part.warp else part.alphas:
                valid &= file.read(index, window=window.window) != 0
