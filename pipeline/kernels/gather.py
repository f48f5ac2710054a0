"""Nearest-neighbour resampling: pixels of one grid copied to another by row and column indices."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiled import compiled

Indices = npt.NDArray[np.int64]
"""Source row (or column) of each row (or column) of the target grid; -1 outside the source."""


@compiled
def gather(
    data: npt.NDArray[Any], rows: Indices, columns: Indices, out: npt.NDArray[Any], valid: npt.NDArray[np.bool_]
) -> None:
    """Copy the pixels of `data` at the given rows and columns to `out`; clear `valid` where they are outside `data`.

    Parameters
    ----------
    data : ndarray, shape (band, r, c)
        Pixels of a type that `out` can hold.
    rows : ndarray of int64, shape (rows,)
        Row of `data` for each row of `out`; -1 outside `data`.
    columns : ndarray of int64, shape (columns,)
        Column of `data` for each column of `out`; -1 outside `data`.
    out : ndarray, shape (band, rows, columns)
        Filled in place; 0 outside `data`.
    valid : ndarray of bool, shape (rows, columns)
        Changed in place: False outside `data`.
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
