"""Pixels of a part brought onto the scene's grid, block by block."""

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
    if part.alignment is None:
        reader.read(block, out, valid)
        return
    (top, bottom), (left, right) = block.window
    rows, columns = part.alignment.along(0, top, bottom), part.alignment.along(1, left, right)
    window = _window(rows, columns)
    if window and window.shape == block.shape and part.alignment.is_identity:
        reader.read(window, out, valid)
        return
    if window is None:
        out[...] = 0
        valid[...] = False
        return
    data = np.empty((len(part.indexes), *window.shape), part.dtype)
    holds = np.ones(window.shape, np.bool_)
    reader.read(window, data, holds)
    rows, columns = np.where(rows < 0, -1, rows - window.top), np.where(columns < 0, -1, columns - window.left)
    gather(data, rows, columns, out, valid)
    if not holds.all():
        valid &= holds[rows[:, np.newaxis], columns]


def _window(rows: Indices, columns: Indices) -> Block | None:
    """The smallest window with these rows and columns; None where there are none."""
    rows, columns = rows[rows >= 0], columns[columns >= 0]
    if not (rows.size and columns.size):
        return None
    top, left = int(rows[0]), int(columns[0])
    return Block(row=0, column=0, top=top, left=left, height=int(rows[-1]) + 1 - top, width=int(columns[-1]) + 1 - left)
