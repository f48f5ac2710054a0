"""Pixels of raster files, block by block."""

import threading
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio

from pipeline.errors import SceneError
from pipeline.grid import Block
from pipeline.kernels.validity import strike_invalid
from pipeline.scenes.describe import FilePart, RasterScene
from pipeline.scenes.gdal import GDAL_ERRORS, gdal_options
from pipeline.scenes.source import Pixels

_MOST_HANDLES: Final = 24
"""Files one thread keeps open: all bands of a Sentinel-2 scene, and far from what systems allow a process."""


class RasterSource:
    """Reads the blocks of a `RasterScene`; a `BlockSource`.

    Safe to call from several threads: each has its own file handles, as GDAL wants it, kept until the
    thread ends.
    """

    def __init__(self, scene: RasterScene, chunk: tuple[int, int]) -> None:
        self.scene = scene
        self.chunk = chunk
        self.info = scene.info
        self.blocks = tuple(scene.info.grid.blocks(chunk))
        self._local = threading.local()
        self._reads = 0
        self._counting = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.scene, self.chunk)

    @property
    def passes(self) -> float:
        """How often the scene has been read so far: blocks read over blocks there are."""
        return self._reads / len(self.blocks)

    def read(self, block: Block) -> Pixels:
        """Read a block's pixels and tell which hold data.

        Raises
        ------
        SceneError
            Naming the file and the block, when the file is damaged or cut short.
        """
        with self._counting:
            self._reads += 1
        data = np.empty((len(self.info.bands), *block.shape), self.info.dtype)
        valid = np.ones(block.shape, np.bool_)
        with rasterio.Env(**gdal_options()):
            for part in self.scene.parts:
                try:
                    self._read_part(part, block, data[part.first : part.first + len(part.indexes)], valid)
                except GDAL_ERRORS as error:
                    cause = error.__cause__ or error
                    why = "" if "open files" in str(cause) else "; the file is damaged or cut short"
                    msg = f"{part.path}: {block} can't be read ({cause}){why}"
                    raise SceneError(msg) from error
        return Pixels(data, strike_invalid(data, self.info.nodata, valid))

    def _read_part(self, part: FilePart, block: Block, data: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:
        file = self._handle(part.path)
        file.read(list(part.indexes), window=block.window, out=data)
        for index in part.masks:
            valid &= file.read_masks(index, window=block.window) != 0
        for index in part.alphas:
            valid &= file.read(index, window=block.window) != 0

    def _handle(self, path: str) -> rasterio.DatasetReader:
        """Open a file, once for each thread."""
        handles: dict[str, rasterio.DatasetReader] = self._local.__dict__.setdefault("handles", {})
        if path not in handles:
            if len(handles) >= _MOST_HANDLES:
                handles.pop(next(iter(handles))).close()
            handles[path] = rasterio.open(path, sharing=False)
        return handles[path]
