"""Read a block of the scene from a file part, resampled by nearest neighbour where grids differ."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.grid import Block
from pipeline.kernels.gather import Indices, gather
from pipeline.raster.file_parts import FilePart
from pipeline.raster.readers import WindowReader


def read_part(
    part: FilePart, reader: WindowReader, block: Block, out: npt.NDArray[Any], valid: npt.NDArray[np.bool_]
) -> None:
    """Read a block of the scene from one file part, aligned with the scene's grid.

    Parameters
    ----------
    part : FilePart
        Bands of one file, read together.
    reader : WindowReader
        Reads the part.
    block : Block
        Block of the scene.
    out : ndarray, shape (band, rows, columns)
        Filled with the part's bands; 0 outside the file.
    valid : ndarray of bool, shape (rows, columns)
        Set to False outside the file, and where its masks say nodata.
    """
    if part.alignment is None:
        reader.read(block, out, valid)
        return
    (top, bottom), (left, right) = block.window
    rows, columns = part.alignment.indices_along(0, top, bottom), part.alignment.indices_along(1, left, right)
    window = _window(rows, columns)
    if window and window.shape == block.shape and part.alignment.is_identity:
        reader.read(window, out, valid)
        return
    if window is None:
        out[...] = 0
        valid[...] = False
        return
    data = np.empty((len(part.indexes), *window.shape), part.dtype)
    window_valid = np.ones(window.shape, np.bool_)
    reader.read(window, data, window_valid)
    rows, columns = np.where(rows < 0, -1, rows - window.top), np.where(columns < 0, -1, columns - window.left)
    gather(data, rows, columns, out, valid)
    if not window_valid.all():
        valid &= window_valid[rows[:, np.newaxis], columns]


def _window(rows: Indices, columns: Indices) -> Block | None:
    """Return the smallest window of a file with given rows and columns; None if all are outside."""
    rows, columns = rows[rows >= 0], columns[columns >= 0]
    if not (rows.size and columns.size):
        return None
    top, left = int(rows[0]), int(columns[0])
    return Block(row=0, column=0, top=top, left=left, height=int(rows[-1]) + 1 - top, width=int(columns[-1]) + 1 - left)
