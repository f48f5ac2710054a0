"""Sums over the pixels of each class of a block."""

from functools import reduce
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Planes, Points
from pipeline.kernels.arithmetic import SQUARES_AT, add_powers, fma
from pipeline.kernels.compiled import compiled
from pipeline.kernels.fixed import exact_sums
from pipeline.kernels.nearest import TILE_POINTS

SETS: Final = 4
"""Sets of sums that pixels side by side take turns with: neighbours are often of one class, and an addition into one
sum would wait for the last one. A power of two."""

_NUMBERS: Final = np.uint64(2**SQUARES_AT - 1)
"""Bits of a word that sums of numbers take."""

_TOGETHER: Final = SETS * 2**8
"""Pixels that are added up in such words at most: 256 of 16 bits for each set take 24 bits, their squares 40."""

_PARTS: Final = (slice(0, 2), slice(2, 4))
"""Of what `_add_shifted` adds up: those of sums, those of sums of squares."""


@compiled
def _count(labels: npt.NDArray[np.uint8], counts: npt.NDArray[np.int64]) -> None:
    """Count the pixels with each label: shape (set, class)."""
    for i in range(labels.size):
        counts[i & (SETS - 1), labels[i]] += 1


@compiled
def _two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """Give the sum of two floats, or arrays of them, and what rounding took from it (Knuth, TAOCP vol. 2, 4.2.2)."""
    total = a + b
    added = total - a
    return total, (a - (total - added)) + (b - added)


@compiled
def _add_shifted(
    data: Points, labels: npt.NDArray[np.uint8], shift: npt.NDArray[np.float64], sums: npt.NDArray[np.float64]
) -> None:
    """Add the pixels of a (band, pixel) block, less their class's shift, to sums (band, set, class, 4).

    The four: their sum and what rounding took from it, the sum of their squares and what rounding took from that. Tile
    by tile, as labels are read for each band.
    """
    bands, pixels = data.shape
    for start in range(0, pixels, TILE_POINTS):
        label = labels[start : start + TILE_POINTS]
        for b in range(bands):
            row, totals = data[b, start : start + TILE_POINTS], sums[b]
            for i in range(row.size):
                total, value = totals[i & (SETS - 1), label[i]], np.float64(row[i]) - shift[label[i], b]
                total[0], lost = _two_sum(total[0], value)
                total[1] += lost
                square = value * value
                total[2], lost = _two_sum(total[2], square)
                total[3] += lost + fma(value, value, -square)


@compiled
def _weave(data: Points, four: int, start: int, low: int, woven: npt.NDArray[np.uint16]) -> None:
    """Lay the numbers of four bands, less `low`, side by side: shape (pixel, band), flattened.

    Where there are fewer bands the last one comes again. In one loop, so that many are worked on at once.
    """
    n, last = woven.size // 4, data.shape[0] - 1
    first, second = data[four, start : start + n], data[min(four + 1, last), start : start + n]
    third, fourth = data[min(four + 2, last), start : start + n], data[min(four + 3, last), start : start + n]
    for i in range(n):
        woven[4 * i] = first[i] - low
        woven[4 * i + 1] = second[i] - low
        woven[4 * i + 2] = third[i] - low
        woven[4 * i + 3] = fourth[i] - low


@compiled
def _unpack(totals: npt.NDArray[np.uint64], sums: npt.NDArray[np.int64], squares: npt.NDArray[np.int64]) -> None:
    """Move totals (set, class and band), flattened, to sums (class and band,)."""
    width = sums.size
    for turn in range(SETS):
        total = totals[turn * width : (turn + 1) * width]
        for i in range(width):
            sums[i] += np.int64(total[i] & _NUMBERS)
            squares[i] += np.int64(total[i] >> np.uint64(SQUARES_AT))
            total[i] = 0


@compiled
def _sums_by_fours(
    data: Points, labels: npt.NDArray[np.uint8], low: int, sums: npt.NDArray[np.int64], squares: npt.NDArray[np.int64]
) -> None:
    """Add whole numbers of up to 16 bits, less `low`, and their squares to sums (four bands, class and band).

    As long as few are added up, the sum of numbers and that of their squares fit one word, and those of four bands
    one addition.
    """
    fours, width = sums.shape
    totals, room = np.zeros(SETS * width, np.uint64), np.empty(4 * _TOGETHER, np.uint16)
    for start in range(0, labels.size, _TOGETHER):
        label = labels[start : start + _TOGETHER]
        woven = room[: 4 * label.size]
        for four in range(fours):
            _weave(data, 4 * four, start, low, woven)
            for i in range(label.size):
                add_powers(totals, (i & (SETS - 1)) * width + 4 * label[i], woven, 4 * i)
            _unpack(totals, sums[four], squares[four])


def _exact_sums(
    data: Points, labels: npt.NDArray[np.uint8], counts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sums of whole numbers of up to 16 bits and of their squares, shape (1, class, band)."""
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
    """Sums of numbers less their centroid, and of their squares, shape (part, class, band)."""
    shift = np.vstack([np.zeros((1, len(data))), centroids])
    in_sets = np.zeros((len(data), SETS, len(shift), 4))
    _add_shifted(data, labels, shift, in_sets)
    sums, squares = (reduce(merged, np.moveaxis(in_sets[..., two], (1, 3, 2, 0), (0, 1, 2, 3))) for two in _PARTS)
    return sums, squares


def merged(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Add sums that `class_sums` gave of one block to those of another: shape (part, class, band)."""
    if len(one) == 1:
        exact: npt.NDArray[Any] = one + other
        return exact
    with np.errstate(invalid="ignore", over="ignore"):  # what pixels without data hold may be anything
        total, lost = _two_sum.function(one[0], other[0])
        return np.stack([total, one[1] + other[1] + lost])


def class_sums(
    data: Planes, labels: npt.NDArray[np.uint8], centroids: npt.NDArray[np.float64]
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
    sums, squares : ndarray of int64 (where exact) or float64, shape (part, k + 1, band)
        Of the pixels, or of the pixels less their centroid. Floats come in two parts, to be added up: the second is
        what rounding took from the first, so that how a scene is cut into blocks hardly ever shows in 30 digits.

    References
    ----------
    T. Ogita, S. M. Rump, S. Oishi, "Accurate sum and dot product", SIAM J. Sci. Comput. 26 (2005).
    """
    flat, flat_labels = np.ascontiguousarray(data).reshape(len(data), -1), np.ascontiguousarray(labels).reshape(-1)
    in_sets = np.zeros((SETS, len(centroids) + 1), np.int64)
    _count(flat_labels, in_sets)
    counts = in_sets.sum(axis=0)
    if exact_sums(data.dtype):
        return counts, *_exact_sums(flat, flat_labels, counts)
    return counts, *_shifted_sums(flat, flat_labels, centroids)
