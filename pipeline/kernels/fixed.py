"""Sums whose last bit does not depend on the order: numbers are rounded to whole ones before they are added.

Whole numbers of up to 16 bits stay as they are. Others are cut into two whole numbers of 36 bits each, their squares
into three, so that sums of each over many pixels fit 64-bit integers. Of a float32 pixel that is a million times
smaller than the largest no digit is lost, nor of its square. After J. Demmel and H. D. Nguyen, "Fast reproducible
floating-point summation", ARITH 2013, who cut in the same way, but without knowing the largest number.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import frexp, ldexp
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from pipeline.kernels.arithmetic import fma
from pipeline.kernels.compiled import compiled

LIMB: Final = 2.0**36
"""What the first of the whole numbers is no larger than."""

MOST_TOGETHER: Final = 2**26
"""Pixels whose numbers may be added up in 64 bits: half of what is left beside the sign."""

_LARGEST_EXPONENT: Final = 900
"""Of factors: some less than floats can have."""

Numbers = npt.NDArray[np.float64]


def exact_sums(dtype: np.dtype[Any]) -> bool:
    """Whether pixels of a dtype are whole numbers; sums of squares of 2**31 of them fit 64 bits."""
    return dtype.kind in "iu" and dtype.itemsize <= np.dtype(np.int16).itemsize


@dataclass(frozen=True)
class FixedPoint:
    """How pixels become whole numbers: times `factor`; and their squares, times its square over `LIMB`."""

    factor: Numbers
    """Powers of 2, shape (band,)."""
    is_identity: bool
    """Whether pixels are whole numbers that are added as they are."""

    @classmethod
    def of(cls, dtype: np.dtype[Any], low: npt.NDArray[Any], high: npt.NDArray[Any]) -> Self:
        """Choose it for pixels of a type, from the least and the largest number of each band."""
        if exact_sums(dtype):
            return cls(np.ones(len(low)), is_identity=True)
        largest = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64)))
        exponents = [frexp(float(number))[1] for number in largest]
        return cls(np.array([ldexp(1.0, min(36 - e, _LARGEST_EXPONENT)) for e in exponents]), is_identity=False)

    @property
    def scaling(self) -> Numbers | None:
        """The factor, as kernels take it; None for whole numbers that are added as they are."""
        return None if self.is_identity else self.factor

    @property
    def columns(self) -> int:
        """Whole numbers that a pixel becomes: one for each band, or two."""
        return len(self.factor) * (1 if self.is_identity else 2)

    def room(self, k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Counts and sums of k classes and of label 0, shape (k + 1,) and (k + 1, column): nothing as yet."""
        return np.zeros(k + 1, np.int64), np.zeros((k + 1, self.columns), np.int64)

    def split(self, point: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Numbers of a point, shape (band,), as whole ones, shape (column,)."""
        if self.is_identity:
            return point.astype(np.int64)
        exact = point * self.factor
        return np.concatenate([np.rint(exact), np.rint((exact - np.rint(exact)) * LIMB)]).astype(np.int64)

    def join(self, sums: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Sums (..., column) as Python's whole numbers, one for each band."""
        whole = sums.astype(object)
        if self.is_identity:
            return whole
        bands = len(self.factor)
        joined: npt.NDArray[Any] = whole[..., :bands] * int(LIMB) + whole[..., bands:]
        return joined

    @property
    def step(self) -> Numbers:
        """What a difference of 1 between joined sums stands for, shape (band,)."""
        return 1 / self.factor if self.is_identity else 1 / self.factor / LIMB

    @property
    def square_steps(self) -> list[Fraction]:
        """What a difference of 1 between sums of squares stands for, of each band."""
        return [Fraction(float(step)) ** 2 * (1 if self.is_identity else int(LIMB)) for step in self.step]


@compiled
def split_number(number: Any, factor: Any) -> tuple[Any, Any]:
    """Give the two whole numbers that a number becomes."""
    exact = number * factor
    rounded = np.rint(exact)
    return np.int64(rounded), np.int64(np.rint((exact - rounded) * LIMB))


@compiled
def _squares(
    points: npt.NDArray[Any], takes_part: npt.NDArray[np.bool_], factor: Numbers, out: npt.NDArray[np.int64]
) -> None:
    """Add up squares of each band, cut into three: first what a float holds of a square, then what it lost."""
    for b in range(points.shape[0]):
        row, large, middle, small = points[b], np.int64(0), np.int64(0), np.int64(0)
        for i in range(row.size):
            if takes_part[i]:
                number = row[i] * factor[b]
                square = number * number
                lost = fma(number, number, -square)
                first = np.rint(square / LIMB)
                rest = square - first * LIMB
                second = np.rint(rest)
                third = np.rint(lost)
                large += np.int64(first)
                middle += np.int64(second) + np.int64(third)
                small += np.int64(np.rint((rest - second) * LIMB)) + np.int64(np.rint((lost - third) * LIMB))
        out[b, 0], out[b, 1], out[b, 2] = large, middle, small


@compiled
def _whole_squares(points: npt.NDArray[Any], takes_part: npt.NDArray[np.bool_], out: npt.NDArray[np.int64]) -> None:
    for b in range(points.shape[0]):
        row, total = points[b], np.int64(0)
        for i in range(row.size):
            value = np.int64(row[i])
            total += value * value * takes_part[i]
        out[b] = total


def squares(points: npt.NDArray[Any], takes_part: npt.NDArray[np.bool_], fixed: FixedPoint) -> npt.NDArray[Any]:
    """Sum of the squares of each band, as whole numbers.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        No more than 2**26 points.
    takes_part : ndarray of bool, shape (point,)
        The others are left out.
    fixed : FixedPoint
        For pixels of this type and range.

    Returns
    -------
    ndarray of int, shape (band,)
        Python's, which don't overflow; see `FixedPoint.square_steps`.
    """
    if fixed.is_identity:
        sums = np.empty(len(points), np.int64)
        _whole_squares(points, takes_part, sums)
        return sums.astype(object)
    limbs = np.empty((len(points), 3), np.int64)
    _squares(points, takes_part, fixed.factor, limbs)
    large, middle, small = limbs.astype(object).T
    joined: npt.NDArray[Any] = (large * int(LIMB) + middle) * int(LIMB) + small
    return joined


class Ledger:
    """Pixels, sums and squares of classes over any number of blocks: Python's whole numbers, which don't overflow."""

    def __init__(self, k: int, fixed: FixedPoint) -> None:
        bands = len(fixed.factor)
        self.fixed = fixed
        self.counts = np.zeros(k + 1, object)
        """Of each label; 0 is for those in no class yet."""
        self.sums = np.zeros((k + 1, bands), object)
        self.squares = np.zeros(bands, object)
        """Of all pixels together."""

    def add(self, counts: npt.NDArray[np.int64], sums: npt.NDArray[np.int64]) -> None:
        """Add what has changed in some pieces of blocks."""
        self.counts += counts.astype(object)
        self.sums += self.fixed.join(sums)

    def merge(self, changes: "Ledger") -> None:
        """Add what another one holds."""
        self.counts += changes.counts
        self.sums += changes.sums
        self.squares += changes.squares

    def means(self, centres: Numbers) -> Numbers:
        """Mean of each class, shape (k, band); `centres` stay where a class is empty."""
        members = self.counts[1:, np.newaxis]
        with np.errstate(invalid="ignore"):
            means = (self.sums[1:] / np.maximum(members, 1)).astype(np.float64) * self.fixed.step
        return np.where(members > 0, means, centres)

    def variances(self) -> Numbers:
        """Variance of each band over all classes together, shape (band,)."""
        total = sum(int(count) for count in self.counts[1:])
        whole = np.array([int(column.sum()) for column in self.sums[1:].T], object)
        middle = (whole / total).astype(np.float64) * self.fixed.step
        return np.array([float(v) for v in self._around([middle], [whole], [total])]) / total

    def inertia(self, centres: Numbers, weights: Numbers) -> float:
        """Sum of the weighted squared distances of all pixels to the centre of their class.

        Parameters
        ----------
        centres : ndarray of float64, shape (k, band)
            In the pixels' units.
        weights : ndarray of float64, shape (band,)
            What squared differences of each band are multiplied by.
        """
        bands = self._around(centres, self.sums[1:], self.counts[1:])
        return float(sum(weight * float(band) for weight, band in zip(weights, bands, strict=True)))

    def _around(self, centres: Any, sums: Any, counts: Any) -> list[Fraction]:
        """Sum of squared differences from centres, of each band: exactly."""
        found = []
        for b, (total, each) in enumerate(zip(self.squares, self.fixed.square_steps, strict=True)):
            spread = int(total) * each
            step = Fraction(float(self.fixed.step[b]))
            for centre, added, count in zip(centres, sums, counts, strict=True):
                at = Fraction(float(centre[b]))
                spread += at * (int(count) * at - 2 * int(added[b]) * step)
            found.append(max(spread, Fraction(0)))
        return found
