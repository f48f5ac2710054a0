"""Sums over the pixels of each class of a block."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiled import compiled
from pipeline.kernels.fixed import exact_sums
from pipeline.kernels.nearest import Block


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

    Pixel by pixel, so that the sums of its bands, which don't wait for each other, are added side by side.
    """
    bands, pixels = data.shape
    for i in range(pixels):
        label = labels[i]
        counts[label] += 1
        for b in range(bands):
            value: Any = sums.dtype.type(data[b, i])
            if shift is not None:  # decided when the kernel is compiled
                value -= shift[label, b]
            sums[label, b] += value
            squares[label, b] += value * value


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
    sums, squares = np.zeros((k + 1, bands), kind), np.zeros((k + 1, bands), kind)
    shift = None if exact_sums(data.dtype) else np.vstack([np.zeros(bands), centroids])
    flat = np.ascontiguousarray(data).reshape(bands, -1)
    counts = np.zeros(k + 1, np.int64)
    _sums(flat, np.ascontiguousarray(labels).reshape(-1), shift, counts, sums, squares)
    return counts, sums, squares
