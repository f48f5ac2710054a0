"""Nearest centroid of every pixel of a block, and sums over the pixels of each class."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

_TILE: Final = 1024
"""Pixels worked on at once: a few bands of them stay in the first-level cache."""


def working_dtype(dtype: npt.DTypeLike) -> np.dtype[np.floating]:
    """Float type in which distances between pixels of `dtype` are computed.

    float32 holds every 8- and 16-bit integer exactly; wider numbers are worked on in float64.
    """
    return np.result_type(dtype, np.float32)


@njit(nogil=True, cache=True)
def _assign(  # noqa: C901 (loops, not decisions)
    data: npt.NDArray[np.generic],
    valid: npt.NDArray[np.bool_],
    centroids: npt.NDArray[np.floating],
    labels: npt.NDArray[np.uint8],
) -> None:
    """Label the pixels of a (band, pixel) block tile by tile: 0 where not valid, else 1 + nearest centroid."""
    bands, pixels = data.shape
    tile = np.empty((bands, _TILE), centroids.dtype)
    distance = np.empty(_TILE, centroids.dtype)
    nearest = np.empty(_TILE, centroids.dtype)
    label = np.empty(_TILE, np.int32)
    for start in range(0, pixels, _TILE):
        n = min(_TILE, pixels - start)
        for b in range(bands):
            for i in range(n):
                tile[b, i] = data[b, start + i]
        for i in range(n):
            nearest[i] = np.inf
            label[i] = 1  # kept where every distance overflows: a valid pixel has a class
        for c in range(centroids.shape[0]):
            for i in range(n):
                distance[i] = 0
            for b in range(bands):
                centre = centroids[c, b]
                for i in range(n):
                    step = tile[b, i] - centre
                    distance[i] += step * step
            for i in range(n):
                closer = distance[i] < nearest[i]
                nearest[i] = distance[i] if closer else nearest[i]
                label[i] = c + 1 if closer else label[i]
        for i in range(n):
            labels[start + i] = label[i] if valid[start + i] else 0


def assign(
    data: npt.NDArray[np.generic], valid: npt.NDArray[np.bool_], centroids: npt.NDArray[np.floating]
) -> npt.NDArray[np.uint8]:
    """Label every pixel of a block with its nearest centroid.

    Parameters
    ----------
    data : ndarray, shape (band, rows, columns)
        Pixels in the file's own dtype and units.
    valid : ndarray of bool, shape (rows, columns)
        True where a pixel holds data.
    centroids : ndarray of float, shape (k, band)
        Class centres in the same units; k is at most 254.

    Returns
    -------
    ndarray of uint8, shape (rows, columns)
        0 where `valid` is False, else 1 + the index of the nearest centroid (the first of equally near ones).
        Distances are Euclidean, summed band by band in `working_dtype`.
    """
    centres = np.ascontiguousarray(centroids, working_dtype(data.dtype))
    labels = np.empty(data.shape[1:], np.uint8)
    flat = np.ascontiguousarray(data).reshape(data.shape[0], -1)
    _assign(flat, np.ascontiguousarray(valid).reshape(-1), centres, labels.reshape(-1))
    return labels


@njit(nogil=True, cache=True)
def _sums(data: npt.NDArray[np.generic], labels: npt.NDArray[np.uint8], counts: npt.NDArray[np.int64],
          sums: npt.NDArray[np.generic], squares: npt.NDArray[np.generic]) -> None:  # fmt: skip
    """Add the pixels of a (band, pixel) block to their classes' counts, sums and sums of squares."""
    bands, pixels = data.shape
    for i in range(pixels):
        counts[labels[i]] += 1
    for b in range(bands):
        for i in range(pixels):
            value: Any = sums.dtype.type(data[b, i])
            sums[labels[i], b] += value
            squares[labels[i], b] += value * value


def class_sums(
    data: npt.NDArray[np.generic], labels: npt.NDArray[np.uint8], k: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.generic], npt.NDArray[np.generic]]:
    """Count, sum and sum of squares of the pixels of each class of a block."""
    exact = data.dtype.kind in "iu" and data.dtype.itemsize <= np.dtype(np.int16).itemsize
    kind = np.int64 if exact else np.float64
    counts = np.zeros(k + 1, np.int64)
    sums = np.zeros((k + 1, data.shape[0]), kind)
    squares = np.zeros_like(sums)
    flat = np.ascontiguousarray(data).reshape(data.shape[0], -1)
    _sums(flat, labels.reshape(-1), counts, sums, squares)
    return counts, sums, squares
