"""Sums over the pixels of each class of a block."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiled import compiled
from pipeline.kernels.fixed import exact_sums
from pipeline.kernels.nearest import TILE, Block

SETS: Final = 4
"""Sets of sums that pixels side by side take turns with: neighbours are often of one class, and an addition into one
sum would wait for the last one. A power of two."""


@compiled
def _sums(  # noqa: PLR0917 (numba takes arguments by position)
    data: Block,
    labels: npt.NDArray[np.uint8],
    shift: npt.NDArray[Any] | None,
    counts: npt.NDArray[np.int64],
    sums: npt.NDArray[Any],
    squares: npt.NDArray[Any],
) -> None:
    """Add the pixels of a (band, pixel) block, less their class's shift, to their classes' sums.

    Counts have shape (set, class), sums and squares (band, set, class). Tile by tile, as labels are read for each band.
    """
    bands, pixels = data.shape
    for start in range(0, pixels, TILE):
        label = labels[start : start + TILE]
        for i in range(label.size):
            counts[i & (SETS - 1), label[i]] += 1
        for b in range(bands):
            row, total, square = data[b, start : start + TILE], sums[b], squares[b]
            for i in range(row.size):
                turn, value = i & (SETS - 1), sums.dtype.type(row[i])
                if shift is not None:  # decided when the kernel is compiled
                    value -= shift[label[i], b]
                total[turn, label[i]] += value
                square[turn, label[i]] += value * value


def class_sums(
    data: Block, labels: npt.NDArray[np.uint8], centroids: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[Any]]:
    """Count the pixels of each class of a block, and add up them and their squares.

    Parameters
    ----------
    data : ndarray, shape (band, rows, columns)
        Pixels in any units.
    labels : ndarray of uint8, shape (rows, columns)
        0 to k.
    centroids : ndarray of float64, shape (k, band)
        Near the means of the classes. Where sums can't be exact (`exact_sums`) pixels are taken less their
        centroid, so that large numbers that differ little keep their digits.

    Returns
    -------
    counts : ndarray of int64, shape (k + 1,)
        Row 0 is for label 0, whatever its pixels hold.
    sums, squares : ndarray of int64 (where exact) or float64, shape (k + 1, band)
        Of the pixels, or of the pixels less their centroid.
    """
    k, bands = centroids.shape
    kind = np.int64 if exact_sums(data.dtype) else np.float64
    shape = bands, SETS, k + 1
    counts, sums, squares = np.zeros(shape[1:], np.int64), np.zeros(shape, kind), np.zeros(shape, kind)
    shift = None if exact_sums(data.dtype) else np.vstack([np.zeros(bands), centroids])
    flat = np.ascontiguousarray(data).reshape(bands, -1)
    _sums(flat, np.ascontiguousarray(labels).reshape(-1), shift, counts, sums, squares)
    with np.errstate(invalid="ignore", over="ignore"):  # what pixels without data hold may be anything
        return counts.sum(axis=0), sums.sum(axis=1).T, squares.sum(axis=1).T
