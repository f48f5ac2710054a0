"""Windows of files, decoded."""

import math
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any, Final, Protocol

import rasterio
from rasterio.enums import ColorInterp, Resampling
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from rasterio.vrt import WarpedVRT

from pipeline.core.arrays import Planes, Validity
from pipeline.core.errors import SceneError
from pipeline.core.grid import Block
from pipeline.geo.gdal import GDAL_ERRORS, archive_or_file, display_path, gdal_options, open_raster, run_within_limit
from pipeline.geo.overlap import turned
from pipeline.raster.file_parts import FilePart, Warp

_MOST_HANDLES: Final = 24
"""Files one thread keeps open: all bands of a Sentinel-2 scene, and far from what systems allow a process."""

_TRIES: Final = 3
"""How often a window of a file on another machine is asked for, beside GDAL's own retries."""

_PAUSE: Final = 1.0

_PIECE: Final = 2**20
"""Bytes that are read at once, at least, where windows are cut by the blocks of files."""

_EXACT: Final = 1e-12
"""Pixels by which GDAL may miss a place: less than rounding, so that no place depends on the window it is read in."""

_SOME_PLANE: Final = "EPSG:3857"
"""Stands for the plane of two grids without CRS, as the warper wants one."""


class WindowReader(Protocol):
    """Reads windows of a part, from several threads at once."""

    def read(self, window: Block, out: Planes, valid: Validity) -> None:
        """Fill `out`, shape (band, rows, columns), and strike out of `valid` what masks say is no data."""


class Handles:
    """Open files: each thread has its own, as GDAL wants it, kept until the thread ends or they are let go."""

    def __init__(self) -> None:
        self._local = threading.local()

    def drop(self, path: str, warp: Warp | None) -> None:
        """Close a file, so that it is opened anew."""
        file = self._local.__dict__.get("handles", {}).pop((path, warp), None)
        if file:
            file.close()

    def get(self, path: str, warp: Warp | None) -> rasterio.DatasetReader:
        """Open a file, or a view of it on another grid, once for each thread."""
        handles: dict[tuple[str, Warp | None], rasterio.DatasetReader]
        handles = self._local.__dict__.setdefault("handles", {})
        if (path, warp) not in handles:
            if len(handles) >= _MOST_HANDLES:
                handles.pop(next(iter(handles))).close()
            handles[path, warp] = _open(path, warp)
        return handles[path, warp]


def _open(path: str, warp: Warp | None) -> rasterio.DatasetReader:
    """Open a file, or a view of it on another grid whose last band tells which pixels hold data."""
    file = open_raster(path, sharing=False)
    if warp is None:
        return file
    if any(i != warp.alpha for i, colour in enumerate(file.colorinterp, start=1) if colour == ColorInterp.alpha):
        file = _without_alpha_tags(file, warp.alpha)
    source = turned(warp.source) if warp.turned else warp.source
    down, across = (f"{min(1.0, 1 / step)!r}" for step in warp.steps)
    return WarpedVRT(
        file,
        src_crs=source.crs or _SOME_PLANE,
        src_transform=source.transform,
        crs=warp.grid.crs or _SOME_PLANE,
        transform=warp.grid.transform,
        height=warp.grid.shape[0],
        width=warp.grid.shape[1],
        resampling=Resampling[warp.resampling],
        src_nodata=warp.nodata,
        add_alpha=warp.alpha is None,
        tolerance=_EXACT,
        XSCALE=across,  # GDAL would guess the kernel's width anew for each block it warps
        YSCALE=down,
        **_bands_apart(warp.nodata),
    )


def _without_alpha_tags(file: rasterio.DatasetReader, alpha: int | None) -> rasterio.DatasetReader:
    """A view of a file in which no band but one is alpha: the warper takes any that is tagged so for a mask."""
    with MemoryFile(ext=".vrt") as held:
        copy(file, held.name, driver="VRT")
        view = ET.fromstring(held.read())  # noqa: S314 (GDAL has just written it)
    for band in view.iter("VRTRasterBand"):
        colour = band.find("ColorInterp")
        if colour is not None and colour.text == "Alpha" and band.get("band") != str(alpha):
            band.remove(colour)
    file.close()
    return rasterio.open(ET.tostring(view, encoding="unicode"), sharing=False)


def _bands_apart(nodata: float | None) -> dict[str, Any]:
    """Options that keep a file's bands apart: GDAL takes nodata of one for a number where another one holds data.

    A band begins as nodata, which stays where it has nothing else; infinity, which is no data either, stands for NaN,
    as GDAL can't begin with that.
    """
    if nodata is None:
        return {}
    empty = math.inf if math.isnan(nodata) else nodata
    return {"UNIFIED_SRC_NODATA": "NO", "nodata": empty, "init_dest_nodata": False, "INIT_DEST": repr(empty)}


def _cuts(start: int, length: int, side: int) -> list[slice]:
    """Cut a stretch where multiples of a side lie; counted from its start."""
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
            Naming the file and the window, when the file is damaged or cut short, or its server stalls.
        """
        work = partial(self._read_with_retries, window, out, valid)
        if self._part.remote:
            run_within_limit(work, f"{display_path(self._part.path)}: {window} can't be read")
        else:
            work()

    def _read_with_retries(self, window: Block, out: Planes, valid: Validity) -> None:
        for turn in range(_TRIES if self._part.remote else 1, 0, -1):
            try:
                return self._read(window, out, valid)
            except GDAL_ERRORS as error:
                if turn > 1:  # a connection that broke; the handle may remember half a file
                    self._handles.drop(self._part.path, self._part.warp)
                    time.sleep(_PAUSE)
                    continue
                cause = error.__cause__ or error
                msg = f"{display_path(self._part.path)}: {window} can't be read ({cause}){self._why(str(cause))}"
                raise SceneError(msg) from error
        return None

    def _why(self, cause: str) -> str:
        if self._part.remote:
            return f"; tried {_TRIES} times"
        if "open files" in cause:
            return ""
        return f"; the {archive_or_file(self._part.path)} is damaged or cut short"

    def _pieces(self, window: Block) -> Iterator[tuple[slice, slice]]:
        """Cut a window into what GDAL keeps decoded while it goes over bands, where it may go over them one by one."""
        if not self._part.interleaved or len(self._part.indexes) == 1:
            yield slice(0, window.height), slice(0, window.width)
            return
        high, wide = self._part.block_shape
        high *= max(1, _PIECE // (high * wide * self._part.bytes_per_pixel))
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
