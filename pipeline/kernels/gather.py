"""Pixels of one grid taken over to another, row by row and column by column."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiled import compiled

Indices = npt.NDArray[np.int64]
"""For each row (or column) the one it is taken from; -1 where there is none."""


@compiled
def gather(
    data: npt.NDArray[Any], rows: Indices, columns: Indices, out: npt.NDArray[Any], valid: npt.NDArray[np.bool_]
) -> None:
    """Fill `out` with the pixels of `data` at the places given; strike out of `valid` those that lie outside.

    Parameters
    ----------
    data : ndarray, shape (band, r, c)
        Pixels of any type that `out` can hold.
    rows : ndarray of int64, shape (rows,)
        For each row of `out`, the row of `data`; -1 where there is none.
    columns : ndarray of int64, shape (columns,)
        The same of columns.
    out : ndarray, shape (band, rows, columns)
        Filled; 0 outside.
    valid : ndarray of bool, shape (rows, columns)
        Set to False outside.
    """
    for b in range(data.shape[0]):
        for i in range(rows.size):
            line = out[b, i]
            if rows[i] < 0:
                line[:] = 0
                continue
            source = data[b, rows[i]]
            for j in range(columns.size):
                line[j] = source[columns[j]] if columns[j] >= 0 else 0
    for i in range(rows.size):
        for j in range(columns.size):
            valid[i, j] &= rows[i] >= 0 and columns[j] >= 0
