"""Checks of pixel values before a fit: enough are distinct, and none is too large, too small or too far away."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points, Stretch
from pipeline.core.errors import FitError
from pipeline.kernels.assign import working_dtype
from pipeline.kernels.fixed import has_exact_sums

_LEAST_RANGE: Final = 1e4
"""Smallest range of the pixel values, relative to the smallest number whose square doesn't underflow."""

_FARTHEST: Final = 2.0**40
"""Largest ratio of a value to the interquartile range, for fixed-point sums of both to keep all digits."""

_LEAST_OUTLIER: Final = 1e9
"""Smaller values are never outliers: the interquartile range of a band that is half zeros may be rounding only."""

_QUARTILE_PIXELS: Final = 100_000
"""Number of pixels used to compute quartiles."""

_FIRST_COUNTED: Final = 1000
"""Number of pixels in which distinct ones are counted first: usually enough, and fast."""

COMPARED: Final = 100_000
"""Number of pixels on which starts are compared if the sample is larger; the best one is refined on all."""


Computed = Sequence[tuple[str, str] | None]
"""What each column is, and how to leave it out, if it is computed from bands; None for a band of the scene."""


def check_sample(points: Points, k: int, stretch: Stretch, key: str = "k") -> int:
    """Raise FitError unless k classes can be found in points (band, point) scaled by `stretch`.

    `key` is the setting that says how many.

    Returns
    -------
    int
        How many of the first points have k distinct ones among them.
    """
    enough = check_distinct(points, k, key)
    check_magnitude(points.min(axis=1), points.max(axis=1), points.shape[1], stretch)
    return enough


def check_count(sampled: int, classes: int) -> None:
    """Raise FitError if fewer pixels were sampled than there must be classes."""
    if sampled < classes:
        msg = (
            f"fit.pixels: {sampled} sampled pixels are too few for {classes} classes; raise fit.pixels, or lower fit.k"
        )
        raise FitError(msg)


def check_distinct(points: Points, k: int, key: str = "k") -> int:
    """Raise FitError unless `k` of the points (band, point) are distinct; return how many first points are enough."""
    for count in (_FIRST_COUNTED, COMPARED, points.shape[1]):
        found = np.unique(points[:, :count], axis=1).shape[1]
        if found >= k:
            return count
    fix = f"set fit.{key} to {found} at most" if found > 1 else "choose a scene whose pixels differ"
    if points.shape[1] < k:
        fix = f"raise fit.pixels, or lower fit.{key}"
    msg = f"fit.{key}: {k} classes need {k} distinct pixels, but the {points.shape[1]} sampled ones have {found}; {fix}"
    raise FitError(msg)


def check_magnitude(
    low: npt.NDArray[Any], high: npt.NDArray[Any], count: int, stretch: Stretch = None, computed: Computed = ()
) -> None:
    """Raise FitError if squares of differences overflow, or all underflow.

    Parameters
    ----------
    low, high : ndarray, shape (band,)
        Smallest and largest value per band.
    count : int
        Number of pixels.
    stretch : ndarray of float, shape (band,), optional
        Factor per band by which differences are multiplied before distances are taken; None for 1.
    computed : sequence, optional
        Columns that are computed from bands, which messages name.
    """
    kind = low.dtype
    limits, bands = np.finfo(working_dtype(kind)), len(low)
    # a squared distance has to fit the type, the sum of all of them float64
    most = float(np.sqrt(min(float(limits.max), np.finfo(np.float64).max / count) / bands)) / 2
    ends = np.concatenate([low, high]).astype(np.float64)
    where = int(np.argmax(np.abs(ends)))
    largest = float(ends[where])
    if abs(largest) > most:
        msg = f"{_possible_nodata(largest)}; if all pixels are so large, divide the bands first"
        if column := _computed_at(where, computed):
            msg = f"{column[0]} reaches {largest:.3g}, whose square overflows {limits.dtype}; {column[1]}"
        raise FitError(msg)
    spreads = (high.astype(np.float64) - low.astype(np.float64)) * (1 if stretch is None else stretch)
    if spreads.max() > most:
        msg = (
            f"the bands' scales are too far apart: pixels of one differ by {spreads.max():.3g} in units of the first, "
            f"whose square overflows {limits.dtype}; see features.standardize"
        )
        raise FitError(msg)
    if kind.kind == "f" and 0 < spreads.max() < np.sqrt(limits.tiny) * _LEAST_RANGE:
        msg = f"the pixels differ by {spreads.max():g} at most: too little for {kind}; multiply the bands first"
        raise FitError(msg)


def check_outliers(low: npt.NDArray[Any], high: npt.NDArray[Any], points: Points, computed: Computed = ()) -> None:
    """Raise FitError if a value is so large that fixed-point sums of it and of most pixels would lose digits.

    Parameters
    ----------
    low, high : ndarray, shape (band,)
        Smallest and largest value per band.
    points : ndarray, shape (band, point)
        Sampled pixels, in random order.
    computed : sequence, optional
        Columns that are computed from bands, which messages name.
    """
    if has_exact_sums(points.dtype):
        return
    numbers = points[:, :_QUARTILE_PIXELS].astype(np.float64)
    first, third = np.percentile(numbers, (25, 75), axis=1)
    widths = np.tile(third - first, 2)
    ends = np.concatenate([low, high]).tolist()
    for where, (number, width) in enumerate(zip(ends, widths.tolist(), strict=True)):
        if abs(number) > _LEAST_OUTLIER and 0 < width * _FARTHEST < abs(number):
            close = f"half of the pixels are within {width:.3g}, too close together to be told apart next to it"
            msg = f"{_possible_nodata(number)}; {close}"
            if column := _computed_at(where, computed):
                msg = f"{column[0]} reaches {number:.3g}, and {close}; {column[1]}"
            raise FitError(msg)


def _computed_at(where: int, computed: Computed) -> tuple[str, str] | None:
    """The computed column that has a value, by the position among the smallest and then the largest ones."""
    return computed[where % len(computed)] if computed else None


def _possible_nodata(number: float) -> str:
    return f"the scene has the value {number:g}, which may be a nodata value; if it is, set scene.nodata: {number!r}"
