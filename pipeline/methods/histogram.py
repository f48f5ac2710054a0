"""Bins of the values of one band (`fit.method: histogram`), of equal width, of equal size, or by natural breaks."""

import logging
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, cast

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.core.errors import FitError
from pipeline.core.needs import Needs, Work
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import Units
from pipeline.methods.counts import CountLabels, CountNumbers, Counts, count_all
from pipeline.methods.method import FitInput, FitResult, Method
from pipeline.methods.settings import MAX_CLASSES, SampleSettings, sample_bytes
from pipeline.models.ranges import (
    Numbers,
    RangeLabeller,
    RangeRule,
    Ranges,
    all_numbers,
    has_table,
    quantity_of,
    range_names,
)
from pipeline.pixels.pieces import PixelPieces

logger = logging.getLogger(__name__)

_NATURAL_GROUPS: Final = 1024
"""Most groups of neighbouring values that natural breaks are found between."""

_MATRICES: Final = 7 * 8 * _NATURAL_GROUPS**2
"""Bytes of the sums of squared deviations of all runs of groups, and of their minimization."""

_NUMBER: Final = 4 * 8
"""Bytes per sampled pixel while its distinct values are counted."""


class HistogramSettings(SampleSettings):
    """Section `fit` with a histogram."""

    method: Literal["histogram"] = Field(description="'histogram'")
    pixels: Literal["all"] = Field("all", description="'all': a histogram counts every valid pixel")
    bins: int = Field(
        20,
        ge=2,
        le=MAX_CLASSES,
        title=f"number of bins, 2 to {MAX_CLASSES}",
        description=f"the number of bins, a whole number from 2 to {MAX_CLASSES}; bin i is class i",
    )
    by: Literal["equal", "quantile", "natural"] = Field(
        "equal",
        title="or quantile, natural: how bins are chosen",
        description="'equal' (bins of equal width), 'quantile' (of about as many pixels each) or 'natural' (natural "
        "breaks: the least squared deviations from the means of the bins)",
    )


def histogram_needs(info: SceneInfo, settings: HistogramSettings, work: Work) -> Needs:
    """Needs of the sample, of counts of all values or of sampled ones, and of one pass over all pixels."""
    counts = 8 * 2**16 * (3 + work.workers)
    values = 0 if has_table(info.dtype) else settings.sampled_of(info) * _NUMBER
    breaks = _MATRICES if settings.by == "natural" else 0
    return Needs(fixed=2 * sample_bytes(info, settings) + counts + values + breaks, passes=1)


@dataclass(frozen=True)
class Distribution:
    """The distinct values of pixels, and how many pixels have each."""

    values: Numbers
    """Distinct values in the quantity, ascending, shape (value,)."""
    counts: Counts
    """Number of pixels with each value, shape (value,)."""

    @classmethod
    def of(cls, stored: npt.NDArray[Any], counts: Counts, units: Units) -> Self:
        """Convert stored numbers, shape (number,), and the number of pixels with each."""
        found = counts > 0
        values, which = np.unique(quantity_of(stored[found], units), return_inverse=True)
        # sums of whole numbers below 2^53 are exact
        return cls(values, np.bincount(which, counts[found]).astype(np.int64))

    @property
    def below(self) -> Counts:
        """Number of pixels with smaller values, shape (value,)."""
        below: Counts = np.cumsum(self.counts) - self.counts
        return below

    def quantiles(self, shares: Numbers) -> Numbers:
        """Quantiles of the pixels, interpolated as `numpy.quantile` does, bit for bit."""
        positions = shares * (int(self.counts.sum()) - 1)
        lower = np.floor(positions)
        share, below = positions - lower, self.below
        one, other = (
            self.values[np.searchsorted(below, rank.astype(np.int64), side="right") - 1]
            for rank in (lower, np.ceil(positions))
        )
        return np.where(share < 0.5, one + (other - one) * share, other - (other - one) * (1 - share))  # noqa: PLR2004

    def groups(self, least: int) -> npt.NDArray[np.intp]:
        """Index of the first value of each group, of at most 1024 and at least `least` groups of neighbouring values.

        A group has a value each, or else at most a 512th of the pixels and of the range: by quantiles alone, the long
        tail of a distribution would be in a few groups, and 50 classes of a scene have twice the deviations.
        """
        size, range_ = self.values.size, self.values[-1] - self.values[0]
        if size <= _NATURAL_GROUPS:
            return np.arange(size)
        half = _NATURAL_GROUPS // 2
        position = half * (self.below / self.counts.sum() + (self.values - self.values[0]) / range_)
        first: npt.NDArray[np.intp] = np.unique(np.floor(position), return_index=True)[1]
        if first.size >= least:
            return first
        # nearly all pixels, and nearly all values, are close together
        return np.unique(np.arange(size) * _NATURAL_GROUPS // size, return_index=True)[1]

    def natural_edges(self, classes: int) -> Numbers:
        """Natural breaks: the least value of each class, and the largest one of all, shape (classes + 1,)."""
        first = self.groups(classes)
        weights = np.add.reduceat(self.counts, first)
        centred = self.values - self.values.mean()
        means = np.add.reduceat(self.counts * centred, first) / weights
        return np.append(self.values[first[natural_breaks(means, weights, classes)]], self.values[-1])


def natural_breaks(values: Numbers, weights: Counts, classes: int) -> npt.NDArray[np.intp]:
    """Divide ascending values into classes with the least sum of squared deviations from their means.

    Parameters
    ----------
    values : ndarray of float64, shape (value,)
        Ascending numbers, near 0: their squares are added up.
    weights : ndarray, shape (value,)
        Number of pixels with each.
    classes : int
        Number of classes, at most that of the values.

    Returns
    -------
    ndarray of int, shape (classes,)
        Index of the first value of each class.

    References
    ----------
    W. D. Fisher, "On grouping for maximum homogeneity", JASA 53 (1958); G. F. Jenks's natural breaks.
    """
    count, moments = values.size, [np.append(0.0, np.cumsum(weights * values**power)) for power in (0, 1, 2)]
    # [j, i]: squared deviations of the values i to j
    size, total, square = (moment[1:, np.newaxis] - moment[:-1] for moment in moments)
    with np.errstate(divide="ignore", invalid="ignore"):
        deviations = np.where(np.tri(count, dtype=np.bool_), np.maximum(square - total**2 / size, 0), np.inf)
    least, ends = deviations[:, 0], []
    for _ in range(1, classes):
        sums = deviations[:, 1:] + least[:-1]  # [j, i]: the classes before end with value i, this one with value j
        ends.append(sums.argmin(axis=1))
        least = sums[np.arange(count), ends[-1]]
    first = [count]
    for end in reversed(ends):
        first.append(int(end[first[-1] - 1]) + 1)
    return np.array([0, *reversed(first[1:])])


def fit_histogram(given: FitInput[HistogramSettings]) -> FitResult:
    """Count all pixels, and make bins of their values."""
    pixels, units, settings = cast("PixelPieces", given.pixels), given.info.units, given.settings
    low, high = pixels.fitted.low, pixels.fitted.high
    ends = np.sort(quantity_of(np.concatenate([low, high]), units))
    if ends[0] == ends[1]:
        msg = f"{given.first_column}: all valid pixels have the value {ends[0]:g}; choose one that varies"
        raise FitError(msg)
    with given.progress.stage("fit", None):
        found = distribution_of(given, pixels)
        if settings.by == "equal":
            plain = np.concatenate([low, high]) if units.quantity == "numbers" else ends
            edges = _equal_edges(plain, settings.bins)
        else:
            _check_distinct(found, given)
            edges = found.quantiles(np.linspace(0, 1, settings.bins + 1))
            edges = edges if settings.by == "quantile" else found.natural_edges(settings.bins)
            edges[[0, -1]] = ends
        rule = RangeRule(edges, "extend")
        if has_table(given.info.dtype):
            counts = np.bincount(rule.classes(found.values), found.counts, 256).astype(np.int64)
        else:
            counts = count_all(CountLabels(pixels, RangeLabeller.of(rule, units)), given.executor)
    content = {"edges": tuple(edges.tolist()), "outside": "extend"}
    names = range_names(content["edges"])
    return FitResult(kind=Ranges, content=content, counts=counts[1 : settings.bins + 1], names=names)


def distribution_of(given: FitInput[HistogramSettings], pixels: PixelPieces) -> Distribution:
    """Return the values of all pixels if these are integers of up to 16 bits, else those of the sample."""
    kind, units = given.info.dtype, given.info.units
    if has_table(kind):
        return Distribution.of(all_numbers(kind), count_all(CountNumbers(pixels), given.executor), units)
    if given.settings.by != "equal":
        logger.info(
            "fit.by: %s: the values are %s, so the edges between bins are those of the %d sampled pixels",
            given.settings.by,
            kind,
            given.stored.shape[1],
        )
    return Distribution.of(*np.unique(given.stored[0], return_counts=True), units)


def _equal_edges(ends: npt.NDArray[Any], bins: int) -> npt.NDArray[np.float64]:
    """Edges of bins of equal width between two values, in their type, as numpy's."""
    try:
        edges: npt.NDArray[np.float64] = np.histogram_bin_edges(ends, bins).astype(np.float64)
    except ValueError as error:
        msg = f"fit.bins: {bins} bins are too many for values from {ends.min():g} to {ends.max():g}; lower fit.bins"
        raise FitError(msg) from error
    return edges


def _check_distinct(found: Distribution, given: FitInput[HistogramSettings]) -> None:
    """Raise FitError if there are more bins than distinct values."""
    bins, distinct = given.settings.bins, found.values.size
    if bins > distinct:
        fix = f"set fit.bins to {distinct} at most, or fit.by: equal" if distinct > 1 else "set fit.by: equal"
        msg = (
            f"fit.bins: {bins} bins by {given.settings.by} need {bins} distinct values, but the "
            f"{found.counts.sum()} counted pixels of {given.first_column} have {distinct}; {fix}"
        )
        raise FitError(msg)


HISTOGRAM: Final = Method(
    name="histogram",
    description="bins of the values of one band",
    settings=HistogramSettings,
    same_bits=True,
    classes=lambda settings: (settings.bins, settings.bins),
    needs=histogram_needs,
    function="pipeline.methods.histogram:fit_histogram",
    one_band=True,
    standardizes=False,
)
