"""Nearest centroid of every pixel of a block, and sums over the pixels of each class."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiled import compiled

Block = npt.NDArray[Any]
"""Pixels of a block, of any type."""

_TILE: Final = 1024
"""Pixels worked on at once: a few bands of them stay in the first-level cache."""


def working_dtype(dtype: npt.DTypeLike) -> np.dtype[np.floating]:
    """Float type in which distances between pixels of `dtype` are computed.

    float32 holds every 8- and 16-bit integer exactly; wider numbers are worked on in float64.
    """
    return np.result_type(dtype, np.float32)


@compiled
def _assign(  # noqa: C901 (loops, not decisions)
    data: Block,
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


def assign(data: Block, valid: npt.NDArray[np.bool_], centroids: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
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


def exact_sums(dtype: np.dtype[Any]) -> bool:
    """Whether sums of pixels of a dtype, and of their squares, fit 64-bit integers for any scene."""
    return dtype.kind in "iu" and dtype.itemsize <= np.dtype(np.int16).itemsize


@compiled
def _sums(
    data: Block,
    labels: npt.NDArray[np.uint8],
    shift: npt.NDArray[Any],
    sums: npt.NDArray[Any],
    squares: npt.NDArray[Any],
) -> None:
    """Add the pixels of a (band, pixel) block, less their class's shift, to their classes' sums."""
    bands, pixels = data.shape
    for b in range(bands):
        for i in range(pixels):
            value: Any = sums.dtype.type(data[b, i]) - shift[labels[i], b]
            sums[labels[i], b] += value
            squares[labels[i], b] += value * value


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
    sums, squares, shift = (np.zeros((k + 1, bands), kind) for _ in range(3))
    if not exact_sums(data.dtype):
        shift[1:] = centroids
    flat = np.ascontiguousarray(data).reshape(bands, -1)
    _sums(flat, np.ascontiguousarray(labels).reshape(-1), shift, sums, squares)
    return np.bincount(labels.reshape(-1), minlength=k + 1), sums, squares
