"""Reproducible sums: numbers are converted to fixed-point integers, so that the order of additions changes no bit.

Integers of up to 16 bits are added unchanged. Other numbers are split into two integers (limbs) of 36 bits each, their
squares into three, so that the sum of each limb over many pixels fits a 64-bit integer. A float32 pixel a million times
smaller than the largest one loses no digit, nor does its square. After J. Demmel and H. D. Nguyen, "Fast reproducible
floating-point summation", ARITH 2013, who split numbers in the same way without knowing the largest one.
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
"""Upper bound of the first limb of a number: 36 bits."""

MAX_POINTS_PER_SUM: Final = 2**26
"""Largest number of pixels whose limbs may be added in 64 bits; half of the range without the sign bit."""

_LARGEST_EXPONENT: Final = 900
"""Largest exponent of a scale factor, well below the largest of float64."""

Numbers = npt.NDArray[np.float64]


def has_exact_sums(dtype: np.dtype[Any]) -> bool:
    """Whether pixels of a dtype are integers of up to 16 bits: sums of squares of 2**31 of them fit 64 bits."""
    return dtype.kind in "iu" and dtype.itemsize <= np.dtype(np.int16).itemsize


@dataclass(frozen=True)
class FixedPoint:
    """Conversion of pixels to integers: multiplied by `factor`, their squares by `factor` squared / `LIMB`."""

    factor: Numbers
    """Scale factor per band, a power of 2, shape (band,)."""
    is_identity: bool
    """True if pixels are integers that are added unchanged."""

    @classmethod
    def of(cls, dtype: np.dtype[Any], low: npt.NDArray[Any], high: npt.NDArray[Any]) -> Self:
        """Choose the factors for pixels of a dtype from the minimum and maximum of each band."""
        if has_exact_sums(dtype):
            return cls(np.ones(len(low)), is_identity=True)
        largest = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64)))
        exponents = [frexp(float(number))[1] for number in largest]
        return cls(np.array([ldexp(1.0, min(36 - e, _LARGEST_EXPONENT)) for e in exponents]), is_identity=False)

    @property
    def scaling(self) -> Numbers | None:
        """Factor per band in the form that kernels take; None for integers that are added unchanged."""
        return None if self.is_identity else self.factor

    @property
    def columns(self) -> int:
        """Number of integers that a pixel is converted to: one or two per band."""
        return len(self.factor) * (1 if self.is_identity else 2)

    def zero_sums(self, k: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Zeroed counts, shape (k + 1,), and sums, shape (k + 1, column), of label 0 and k classes."""
        return np.zeros(k + 1, np.int64), np.zeros((k + 1, self.columns), np.int64)

    def split(self, point: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Convert a point, shape (band,), to integers, shape (column,)."""
        if self.is_identity:
            return point.astype(np.int64)
        exact = point * self.factor
        return np.concatenate([np.rint(exact), np.rint((exact - np.rint(exact)) * LIMB)]).astype(np.int64)

    def join(self, sums: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Combine the limbs of sums, shape (..., column), into one Python integer per band."""
        whole = sums.astype(object)
        if self.is_identity:
            return whole
        bands = len(self.factor)
        joined: npt.NDArray[Any] = whole[..., :bands] * int(LIMB) + whole[..., bands:]
        return joined

    @property
    def step(self) -> Numbers:
        """Value of one unit of the joined sums in the units of the pixels, shape (band,)."""
        return 1 / self.factor if self.is_identity else 1 / self.factor / LIMB

    @property
    def square_steps(self) -> list[Fraction]:
        """Value of one unit of the sums of squares in squared units of the pixels, per band."""
        return [Fraction(float(step)) ** 2 * (1 if self.is_identity else int(LIMB)) for step in self.step]


@compiled
def split_number(number: Any, factor: Any) -> tuple[Any, Any]:
    """Return the two limbs of a number."""
    exact = number * factor
    rounded = np.rint(exact)
    return np.int64(rounded), np.int64(np.rint((exact - rounded) * LIMB))


@compiled
def _squares(
    points: npt.NDArray[Any], takes_part: npt.NDArray[np.bool_], factor: Numbers, out: npt.NDArray[np.int64]
) -> None:
    """Sum the squares of each band in three limbs: the rounded square first, then its rounding error."""
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
    """Sum of the squares of each band, as integers.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        Points, at most `MAX_POINTS_PER_SUM`.
    takes_part : ndarray of bool, shape (point,)
        True for the points to add.
    fixed : FixedPoint
        Conversion chosen for the dtype and range of the points.

    Returns
    -------
    ndarray of int, shape (band,)
        Python integers, which don't overflow, in units of `FixedPoint.square_steps`.
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


class ClassTotals:
    """Pixel counts, sums and squares of classes over any number of blocks, as Python integers, which don't overflow."""

    def __init__(self, k: int, fixed: FixedPoint) -> None:
        bands = len(fixed.factor)
        self.fixed = fixed
        self.counts = np.zeros(k + 1, object)
        """Number of pixels per label, shape (k + 1,); label 0 counts pixels that have no class yet."""
        self.sums = np.zeros((k + 1, bands), object)
        """Sum of the pixels per label, shape (k + 1, band), in units of `FixedPoint.step`."""
        self.squares = np.zeros(bands, object)
        """Sum of the squares of all pixels, shape (band,), in units of `FixedPoint.square_steps`."""

    def add(self, counts: npt.NDArray[np.int64], sums: npt.NDArray[np.int64]) -> None:
        """Add the changes of counts, shape (k + 1,), and of sums, shape (k + 1, column), of some pieces of blocks."""
        self.counts += counts.astype(object)
        self.sums += self.fixed.join(sums)

    def merge(self, changes: "ClassTotals") -> None:
        """Add the counts, sums and squares of other totals."""
        self.counts += changes.counts
        self.sums += changes.sums
        self.squares += changes.squares

    def means(self, centres: Numbers) -> Numbers:
        """Mean of each class, shape (k, band); an empty class keeps its row of `centres`."""
        members = self.counts[1:, np.newaxis]
        with np.errstate(invalid="ignore"):
            means = (self.sums[1:] / np.maximum(members, 1)).astype(np.float64) * self.fixed.step
        return np.where(members > 0, means, centres)

    def variances(self) -> Numbers:
        """Variance of each band over the pixels of all classes, shape (band,)."""
        total = sum(int(count) for count in self.counts[1:])
        whole = np.array([int(column.sum()) for column in self.sums[1:].T], object)
        middle = (whole / total).astype(np.float64) * self.fixed.step
        return np.array([float(v) for v in self._squared_deviations([middle], [whole], [total])]) / total

    def inertia(self, centres: Numbers, weights: Numbers) -> float:
        """Sum of the weighted squared distances of all pixels to the centroid of their class.

        Parameters
        ----------
        centres : ndarray of float64, shape (k, band)
            Centroids in the units of the pixels.
        weights : ndarray of float64, shape (band,)
            Factor per band by which squared differences are multiplied.
        """
        bands = self._squared_deviations(centres, self.sums[1:], self.counts[1:])
        return float(sum(weight * float(band) for weight, band in zip(weights, bands, strict=True)))

    def _squared_deviations(self, centres: Any, sums: Any, counts: Any) -> list[Fraction]:
        """Exact sum of squared differences from the centroids, per band."""
        found = []
        for b, (total, square_step) in enumerate(zip(self.squares, self.fixed.square_steps, strict=True)):
            spread = int(total) * square_step
            step = Fraction(float(self.fixed.step[b]))
            for centre, added, count in zip(centres, sums, counts, strict=True):
                at = Fraction(float(centre[b]))
                spread += at * (int(count) * at - 2 * int(added[b]) * step)
            found.append(max(spread, Fraction(0)))
        return found
