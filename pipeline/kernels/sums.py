"""Pixel counts, sums, sums of squares, least and largest values per class of a block."""

from functools import reduce
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Planes, Points
from pipeline.kernels.arithmetic import fma
from pipeline.kernels.compiled import compiled
from pipeline.kernels.fixed import has_exact_sums
from pipeline.kernels.nearest import TILE_POINTS

ACCUMULATORS: Final = 4
"""Number of accumulators per sum, a power of two. Neighbouring pixels alternate between them: they are often of one
class, and additions to a single accumulator would be serialised."""

_SUMS_AND_SQUARES: Final = (slice(0, 2), slice(2, 4))
"""Columns of the output of `_add_shifted` that hold sums, and those that hold sums of squares."""


@compiled
def _count(labels: npt.NDArray[np.uint8], counts: npt.NDArray[np.int64]) -> None:
    """Count the pixels per label: shape (accumulator, label)."""
    for i in range(labels.size):
        counts[i & (ACCUMULATORS - 1), labels[i]] += 1


@compiled
def _two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """Return the sum of two floats, or arrays, and its rounding error (TwoSum; Knuth, TAOCP vol. 2, 4.2.2)."""
    total = a + b
    added = total - a
    return total, (a - (total - added)) + (b - added)


@compiled
def _extend(extremes: Any, value: Any) -> None:
    """Lower the first of two extremes to a value, or raise the second to it."""
    # branches, which are hardly ever taken: `min` and `max` would write each time, and the next pixel wait for it
    if value < extremes[0]:  # noqa: PLR1730
        extremes[0] = value
    if value > extremes[1]:  # noqa: PLR1730
        extremes[1] = value


@compiled
def _add_shifted(
    data: Points,
    labels: npt.NDArray[np.uint8],
    shift: npt.NDArray[np.float64],
    sums: npt.NDArray[np.float64],
    extremes: npt.NDArray[np.float64],
) -> None:
    """Add the pixels of a block (band, pixel), minus the shift of their class, to sums (band, accumulator, label, 4).

    The four columns: sum, its rounding error, sum of squares, its rounding error. Extremes have shape (band, label, 2).
    Tile by tile, because labels are read again for each band.
    """
    bands, pixels = data.shape
    for start in range(0, pixels, TILE_POINTS):
        label = labels[start : start + TILE_POINTS]
        for b in range(bands):
            row, totals = data[b, start : start + TILE_POINTS], sums[b]
            for i in range(row.size):
                _extend(extremes[b, label[i]], np.float64(row[i]))
                total, value = totals[i & (ACCUMULATORS - 1), label[i]], np.float64(row[i]) - shift[label[i], b]
                total[0], lost = _two_sum(total[0], value)
                total[1] += lost
                square = value * value
                total[2], lost = _two_sum(total[2], square)
                total[3] += lost + fma(value, value, -square)


@compiled
def _add_integers(
    data: Points, labels: npt.NDArray[np.uint8], sums: npt.NDArray[np.int64], extremes: npt.NDArray[np.int64]
) -> None:
    """Add the integers of a block (band, pixel) and their squares to sums (band, accumulator, label, 2), by tiles.

    Extremes have shape (band, label, 2).
    """
    bands, pixels = data.shape
    for start in range(0, pixels, TILE_POINTS):
        label = labels[start : start + TILE_POINTS]
        for b in range(bands):
            row, totals = data[b, start : start + TILE_POINTS], sums[b]
            for i in range(row.size):
                total, value = totals[i & (ACCUMULATORS - 1), label[i]], np.int64(row[i])
                _extend(extremes[b, label[i]], value)
                total[0] += value
                total[1] += value * value


def no_extremes(bands: int, rows: int, *, exact: bool) -> npt.NDArray[Any]:
    """Least and largest value of no pixels, shape (band, row, 2): the largest and the least number that there is."""
    whole = np.iinfo(np.int64)
    ends = np.array([whole.max, whole.min]) if exact else np.array([np.inf, -np.inf])
    return np.tile(ends, (bands, rows, 1))


def _exact_sums(data: Points, labels: npt.NDArray[np.uint8], k: int) -> tuple[npt.NDArray[np.int64], ...]:
    """Sums of integers of up to 16 bits (`has_exact_sums`) and of their squares, shape (1, label, band); extremes."""
    accumulated = np.zeros((len(data), ACCUMULATORS, k + 1, 2), np.int64)
    extremes = no_extremes(len(data), k + 1, exact=True)
    _add_integers(data, labels, accumulated, extremes)
    sums, squares = accumulated.sum(axis=1).transpose(2, 1, 0)[:, np.newaxis]
    return sums, squares, extremes


def _shifted_sums(
    data: Points, labels: npt.NDArray[np.uint8], centroids: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], ...]:
    """Sums of pixels minus their centroid, and of the squares, shape (part, label, band), and extremes."""
    shift = np.vstack([np.zeros((1, len(data))), centroids])
    accumulated = np.zeros((len(data), ACCUMULATORS, len(shift), 4))
    extremes = no_extremes(len(data), len(shift), exact=False)
    _add_shifted(data, labels, shift, accumulated, extremes)
    sums, squares = (
        reduce(merge_sums, np.moveaxis(accumulated[..., columns], (1, 3, 2, 0), (0, 1, 2, 3)))
        for columns in _SUMS_AND_SQUARES
    )
    return sums, squares, extremes


def merge_sums(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Merge the sums of two blocks as returned by `class_sums`, shape (part, label, band)."""
    if len(one) == 1:
        exact: npt.NDArray[Any] = one + other
        return exact
    with np.errstate(invalid="ignore", over="ignore"):  # label 0: invalid pixels may hold any values
        total, lost = _two_sum.function(one[0], other[0])
        return np.stack([total, one[1] + other[1] + lost])


def class_sums(
    data: Planes, labels: npt.NDArray[np.uint8], centroids: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Count the pixels of each class of a block, sum them and their squares, and find the least and largest.

    Parameters
    ----------
    data : ndarray, shape (band, rows, columns)
        Pixels in any units.
    labels : ndarray of uint8, shape (rows, columns)
        Labels, 0 to k.
    centroids : ndarray of float64, shape (k, band)
        Centroids, near the means of the classes. Unless sums are exact (`has_exact_sums`) the centroid is subtracted
        from each pixel, so that large numbers that differ little keep their digits.

    Returns
    -------
    counts : ndarray of int64, shape (k + 1,)
        Number of pixels per label.
    sums, squares : ndarray of int64 (where exact) or float64, shape (part, k + 1, band)
        Sums of the pixels, or of the pixels minus their centroid; row 0, of label 0, is to be ignored. Floats have two
        parts, which are to be added: the second is the rounding error of the first, so that the block size hardly
        ever affects 30 digits.
    extremes : ndarray of int64 (where exact) or float64, shape (band, k + 1, 2)
        Least and largest value; those of no pixels as `no_extremes`, row 0 is to be ignored.

    References
    ----------
    T. Ogita, S. M. Rump, S. Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26 (2005).
    """
    flat, flat_labels = np.ascontiguousarray(data).reshape(len(data), -1), np.ascontiguousarray(labels).reshape(-1)
    accumulated = np.zeros((ACCUMULATORS, len(centroids) + 1), np.int64)
    _count(flat_labels, accumulated)
    counts = accumulated.sum(axis=0)
    if has_exact_sums(data.dtype):
        return counts, *_exact_sums(flat, flat_labels, len(centroids))
    return counts, *_shifted_sums(flat, flat_labels, centroids)
