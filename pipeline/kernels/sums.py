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

_BITS: Final = np.uint64(24)
"""Bits of a word that sums of numbers take; those of their squares take the others."""

_NUMBERS: Final = np.uint64(2**24 - 1)
"""Those bits."""

_PACKED: Final = SETS * 2**8
"""Pixels after which sums are unpacked: 256 of 16 bits take 24, their squares 40."""


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


@compiled
def _pack(data: Block, start: int, low: int, packed: npt.NDArray[np.uint64]) -> None:
    """Pack the numbers of four bands, less `low`, each beside its square: shape (pixel, band), flattened.

    In one loop, so that many are worked on at once.
    """
    n = packed.size // 4
    first, second = data[0, start : start + n], data[1, start : start + n]
    third, fourth = data[2, start : start + n], data[3, start : start + n]
    for i in range(n):
        a, b = np.uint64(first[i] - low), np.uint64(second[i] - low)
        c, d = np.uint64(third[i] - low), np.uint64(fourth[i] - low)
        packed[4 * i] = a * a << _BITS | a
        packed[4 * i + 1] = b * b << _BITS | b
        packed[4 * i + 2] = c * c << _BITS | c
        packed[4 * i + 3] = d * d << _BITS | d


@compiled
def _add_packed(packed: npt.NDArray[np.uint64], label: npt.NDArray[np.uint8], totals: npt.NDArray[np.uint64]) -> None:
    """Add what is packed to totals of shape (set, class and band)."""
    for i in range(label.size):
        total, at, of = totals[i & (SETS - 1)], 4 * label[i], 4 * i
        total[at] += packed[of]
        total[at + 1] += packed[of + 1]
        total[at + 2] += packed[of + 2]
        total[at + 3] += packed[of + 3]


@compiled
def _unpack(totals: npt.NDArray[np.uint64], sums: npt.NDArray[np.int64], squares: npt.NDArray[np.int64]) -> None:
    """Move totals to sums of shape (class and band,)."""
    for turn in range(SETS):
        total = totals[turn]
        for i in range(total.size):
            sums[i] += np.int64(total[i] & _NUMBERS)
            squares[i] += np.int64(total[i] >> _BITS)
    totals[:] = 0


@compiled
def _sums_by_fours(
    data: Block, labels: npt.NDArray[np.uint8], low: int, sums: npt.NDArray[np.int64], squares: npt.NDArray[np.int64]
) -> None:
    """Add whole numbers of up to 16 bits, less `low`, and their squares to sums (four bands, class and band).

    As long as few are added up, the sum of numbers and that of their squares fit one word: half of the additions.
    """
    fours, pixels = sums.shape[0], data.shape[1]
    totals, room = np.zeros((SETS, sums.shape[1]), np.uint64), np.empty(4 * _PACKED, np.uint64)
    for start in range(0, pixels, _PACKED):
        label = labels[start : start + _PACKED]
        packed = room[: 4 * label.size]
        for four in range(fours):
            _pack(data[4 * four : 4 * four + 4], start, low, packed)
            _add_packed(packed, label, totals)
            _unpack(totals, sums[four], squares[four])


def _by_fours(
    data: Block, labels: npt.NDArray[np.uint8], counts: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sums of whole numbers and their squares, shape (band, class), of bands whose number is a multiple of four."""
    low, shape = int(np.iinfo(data.dtype).min), (len(data) // 4, 4 * counts.size)
    sums, squares = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    _sums_by_fours(data, labels, low, sums, squares)
    sums, squares = (
        part.reshape(-1, counts.size, 4).swapaxes(1, 2).reshape(-1, counts.size) for part in (sums, squares)
    )
    return sums + low * counts, squares + 2 * low * sums + low**2 * counts


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
    exact = exact_sums(data.dtype)
    flat, flat_labels = np.ascontiguousarray(data).reshape(bands, -1), np.ascontiguousarray(labels).reshape(-1)
    fours = bands - bands % 4 if exact else 0
    kind, shape = np.int64 if exact else np.float64, (bands - fours, SETS, k + 1)
    in_sets, sums, squares = np.zeros(shape[1:], np.int64), np.zeros(shape, kind), np.zeros(shape, kind)
    shift = None if exact else np.vstack([np.zeros(bands), centroids])
    _sums(flat[fours:], flat_labels, shift, in_sets, sums, squares)
    counts = in_sets.sum(axis=0)
    with np.errstate(invalid="ignore", over="ignore"):  # what pixels without data hold may be anything
        rest = sums.sum(axis=1), squares.sum(axis=1)
    if not fours:
        return counts, rest[0].T, rest[1].T
    some = _by_fours(flat[:fours], flat_labels, counts)
    return counts, np.concatenate([some[0], rest[0]]).T, np.concatenate([some[1], rest[1]]).T
