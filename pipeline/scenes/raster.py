"""Pixels of raster files, block by block."""

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.grid import Block
from pipeline.kernels.gather import Places, gather
from pipeline.kernels.validity import strike_invalid
from pipeline.scenes.describe import RasterScene
from pipeline.scenes.parts import FilePart
from pipeline.scenes.readers import GdalReader, Handles, WindowReader
from pipeline.scenes.scratch import Scratch
from pipeline.scenes.source import Pixels


class RasterSource:
    """Reads the blocks of a `RasterScene`; a `BlockSource`.

    Parameters
    ----------
    scene : RasterScene
        What is read.
    chunk : tuple of int
        (rows, columns) of a block.
    scratch : Scratch, optional
        Keeps what is decoded; without it files are read anew each time.
    """

    def __init__(self, scene: RasterScene, chunk: tuple[int, int], scratch: Scratch | None = None) -> None:
        self.scene = scene
        self.chunk = chunk
        self.info = scene.info
        self.blocks = tuple(scene.info.grid.blocks(chunk))
        self._decoded = _Counter()
        handles = Handles()
        self._readers = [self._reader(part, handles, scratch) for part in scene.parts]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.scene, self.chunk)

    def _reader(self, part: FilePart, handles: Handles, scratch: Scratch | None) -> WindowReader:
        reader = _CountedReader(GdalReader(part, handles), self._decoded)
        return scratch.keep(part, reader) if scratch else reader

    @property
    def passes(self) -> float:
        """How often the scene's files have been decoded so far: pixels decoded over pixels there are."""
        pixels = sum(len(part.indexes) * part.grid.shape[0] * part.grid.shape[1] for part in self.scene.parts)
        return self._decoded.pixels / pixels

    def read(self, block: Block) -> Pixels:
        """Read a block's pixels and tell which hold data.

        Raises
        ------
        SceneError
            Naming the file and the block, when the file is damaged or cut short.
        """
        data = np.empty((len(self.info.bands), *block.shape), self.info.dtype)
        valid = np.ones(block.shape, np.bool_)
        for part, reader in zip(self.scene.parts, self._readers, strict=True):
            read_part(part, reader, block, data[part.first : part.first + len(part.indexes)], valid)
        return Pixels(data, strike_invalid(data, self.info.nodata, valid))


def read_part(
    part: FilePart, reader: WindowReader, block: Block, out: npt.NDArray[Any], valid: npt.NDArray[np.bool_]
) -> None:
    """Read what a part holds of a block of the scene, brought onto the scene's grid.

    Parameters
    ----------
    part : FilePart
        Bands of one file.
    reader : WindowReader
        Reads the part.
    block : Block
        Of the scene.
    out : ndarray, shape (band, rows, columns)
        Filled.
    valid : ndarray of bool, shape (rows, columns)
        Pixels that lie outside the file, or hold no data by its masks, are struck out.
    """
    if part.placement is None:
        reader.read(block, out, valid)
        return
    (top, bottom), (left, right) = block.window
    rows, columns = part.placement.along(0, top, bottom), part.placement.along(1, left, right)
    window = _window(rows, columns)
    if window is None:
        out[...] = 0
        valid[...] = False
        return
    data = np.empty((len(part.indexes), *window.shape), part.dtype)
    holds = np.ones(window.shape, np.bool_)
    reader.read(window, data, holds)
    rows, columns = np.where(rows < 0, -1, rows - window.top), np.where(columns < 0, -1, columns - window.left)
    gather(data, rows, columns, out, valid)
    if part.tells_validity:
        valid &= holds[rows[:, np.newaxis], columns]


def _window(rows: Places, columns: Places) -> Block | None:
    """The smallest window with these rows and columns; None where there are none."""
    rows, columns = rows[rows >= 0], columns[columns >= 0]
    if not (rows.size and columns.size):
        return None
    top, left = int(rows[0]), int(columns[0])
    return Block(row=0, column=0, top=top, left=left, height=int(rows[-1]) + 1 - top, width=int(columns[-1]) + 1 - left)


class _Counter:
    """Counts on several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.pixels = 0

    def add(self, pixels: int) -> None:
        with self._lock:
            self.pixels += pixels


class _CountedReader:
    """Counts the pixels that another reader decodes."""

    def __init__(self, reader: WindowReader, counter: _Counter) -> None:
        self._reader = reader
        self._counter = counter

    def read(self, window: Block, out: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:
        self._counter.add(out.size)
        self._reader.read(window, out, valid)
