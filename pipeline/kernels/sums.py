"""Pixel counts, sums and sums of squares per class of a block."""

from functools import reduce
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Planes, Points
from pipeline.kernels.arithmetic import SQUARE_SHIFT, add_powers, fma
from pipeline.kernels.compiled import compiled
from pipeline.kernels.fixed import has_exact_sums
from pipeline.kernels.nearest import TILE_POINTS

ACCUMULATORS: Final = 4
"""Number of accumulators per sum, a power of two. Neighbouring pixels alternate between them: they are often of one
class, and additions to a single accumulator would be serialised."""

_SUM_MASK: Final = np.uint64(2**SQUARE_SHIFT - 1)
"""Mask of the bits of a word that hold the sum of numbers."""

_MAX_PIXELS: Final = ACCUMULATORS * 2**8
"""Largest number of pixels added in such words: per accumulator 256 of 16 bits take 24 bits, their squares 40."""

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
def _add_shifted(
    data: Points, labels: npt.NDArray[np.uint8], shift: npt.NDArray[np.float64], sums: npt.NDArray[np.float64]
) -> None:
    """Add the pixels of a block (band, pixel), minus the shift of their class, to sums (band, accumulator, label, 4).

    The four columns: sum, its rounding error, sum of squares, its rounding error. Tile by tile, because labels are read
    again for each band.
    """
    bands, pixels = data.shape
    for start in range(0, pixels, TILE_POINTS):
        label = labels[start : start + TILE_POINTS]
        for b in range(bands):
            row, totals = data[b, start : start + TILE_POINTS], sums[b]
            for i in range(row.size):
                total, value = totals[i & (ACCUMULATORS - 1), label[i]], np.float64(row[i]) - shift[label[i], b]
                total[0], lost = _two_sum(total[0], value)
                total[1] += lost
                square = value * value
                total[2], lost = _two_sum(total[2], square)
                total[3] += lost + fma(value, value, -square)


@compiled
def _interleave(data: Points, four: int, start: int, low: int, interleaved: npt.NDArray[np.uint16]) -> None:
    """Interleave the numbers of four bands, minus `low`: shape (pixel, band), flattened.

    If there are fewer bands the last one is repeated. One loop for all four, which is vectorised.
    """
    n, last = interleaved.size // 4, data.shape[0] - 1
    first, second = data[four, start : start + n], data[min(four + 1, last), start : start + n]
    third, fourth = data[min(four + 2, last), start : start + n], data[min(four + 3, last), start : start + n]
    for i in range(n):
        interleaved[4 * i] = first[i] - low
        interleaved[4 * i + 1] = second[i] - low
        interleaved[4 * i + 2] = third[i] - low
        interleaved[4 * i + 3] = fourth[i] - low


@compiled
def _unpack(totals: npt.NDArray[np.uint64], sums: npt.NDArray[np.int64], squares: npt.NDArray[np.int64]) -> None:
    """Add packed totals (accumulator, label, band) to sums (label, band), all flattened; reset the totals to 0."""
    width = sums.size
    for accumulator in range(ACCUMULATORS):
        total = totals[accumulator * width : (accumulator + 1) * width]
        for i in range(width):
            sums[i] += np.int64(total[i] & _SUM_MASK)
            squares[i] += np.int64(total[i] >> np.uint64(SQUARE_SHIFT))
            total[i] = 0


@compiled
def _sums_by_fours(
    data: Points, labels: npt.NDArray[np.uint8], low: int, sums: npt.NDArray[np.int64], squares: npt.NDArray[np.int64]
) -> None:
    """Add integers of up to 16 bits, minus `low`, and their squares to sums (group of four bands, label and band).

    For few pixels the sum and the sum of squares fit one word, and those of four bands need one vector addition.
    """
    fours, width = sums.shape
    totals, buffer = np.zeros(ACCUMULATORS * width, np.uint64), np.empty(4 * _MAX_PIXELS, np.uint16)
    for start in range(0, labels.size, _MAX_PIXELS):
        label = labels[start : start + _MAX_PIXELS]
        interleaved = buffer[: 4 * label.size]
        for four in range(fours):
            _interleave(data, 4 * four, start, low, interleaved)
            for i in range(label.size):
                add_powers(totals, (i & (ACCUMULATORS - 1)) * width + 4 * label[i], interleaved, 4 * i)
            _unpack(totals, sums[four], squares[four])


def _exact_sums(
    data: Points, labels: npt.NDArray[np.uint8], counts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sums of integers of up to 16 bits and of their squares, shape (1, label, band)."""
    bands, low = len(data), int(np.iinfo(data.dtype).min)
    shape = -(-bands // 4), 4 * counts.size
    sums, squares = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    _sums_by_fours(data, labels, low, sums, squares)
    sums, squares = (
        part.reshape(-1, counts.size, 4).swapaxes(0, 1).reshape(1, counts.size, -1)[..., :bands]
        for part in (sums, squares)
    )
    shift = low * counts[:, np.newaxis]
    return sums + shift, squares + 2 * low * sums + low * shift


def _shifted_sums(
    data: Points, labels: npt.NDArray[np.uint8], centroids: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Sums of pixels minus their centroid, and of the squares, shape (part, label, band)."""
    shift = np.vstack([np.zeros((1, len(data))), centroids])
    accumulated = np.zeros((len(data), ACCUMULATORS, len(shift), 4))
    _add_shifted(data, labels, shift, accumulated)
    sums, squares = (
        reduce(merge_sums, np.moveaxis(accumulated[..., columns], (1, 3, 2, 0), (0, 1, 2, 3)))
        for columns in _SUMS_AND_SQUARES
    )
    return sums, squares


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
) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any], npt.NDArray[Any]]:
    """Count the pixels of each class of a block, and sum them and their squares.

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

    References
    ----------
    T. Ogita, S. M. Rump, S. Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26 (2005).
    """
    flat, flat_labels = np.ascontiguousarray(data).reshape(len(data), -1), np.ascontiguousarray(labels).reshape(-1)
    accumulated = np.zeros((ACCUMULATORS, len(centroids) + 1), np.int64)
    _count(flat_labels, accumulated)
    counts = accumulated.sum(axis=0)
    if has_exact_sums(data.dtype):
        return counts, *_exact_sums(flat, flat_labels, counts)
    return counts, *_shifted_sums(flat, flat_labels, centroids)
