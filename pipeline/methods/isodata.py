"""ISODATA (`fit.method: isodata`): k-means on the sample whose classes are split, merged and dropped as they turn out.

A round moves centroids to the means of their pixels until they rest, as k-means does. Then classes of few pixels are
dropped, wide ones are split along their widest band, and near ones are merged. It ends with the first round after which
there is nothing to change. Nothing is random: the first centroids are evenly spread from mean - deviation to mean +
deviation of the bands, as in ERDAS and GRASS.

The pixels of a dropped class take no part in further rounds, as with Ball and Hall: in another class they would make it
wide, it would be split, and the same class would be dropped again. The model puts them into the nearest class.

References
----------
G. H. Ball and D. J. Hall, "ISODATA, a novel method of data analysis and pattern classification", Stanford Research
Institute 1965; its steps as in J. T. Tou and R. C. Gonzalez, "Pattern recognition principles", Addison-Wesley 1974.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import ceil
from typing import Annotated, Final, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipeline.core.arrays import Points, Stretch
from pipeline.core.needs import Needs, Work
from pipeline.core.scene_info import SceneInfo
from pipeline.methods.lloyd import Centres, PointPartition, iterate
from pipeline.methods.method import FitInput, FitResult, Method
from pipeline.methods.pixel_checks import check_sample
from pipeline.methods.settings import MAX_CLASSES, SampleOnlySettings, SmallestSize, sample_bytes
from pipeline.methods.small_classes import least_count
from pipeline.methods.starts import mean_variance, warn_of_equal_classes

logger = logging.getLogger(__name__)

AUTO_STD: Final = 0.4
"""Default of `max_std`, as a share of the deviation of all pixels (the root of the mean variance of the bands)."""

_STEP: Final = 0.5
"""Distance of the halves of a class from its centroid, in standard deviations of its widest band."""

_MOVES: Final = 100
"""Largest number of times that centroids move in a round."""

_REST: Final = 1e-4
"""Centroids rest if the sum of their squared moves is less, relative to the variance of the data."""

_BYTES_PER_POINT: Final = 2 + 5 * 8
"""Bytes per point for its class, bound, distance, and the numbers that are summed per class."""


class IsodataSettings(SampleOnlySettings):
    """Section `fit` with ISODATA."""

    method: Literal["isodata"] = Field(description="'isodata'")
    k_min: int = Field(
        5,
        ge=2,
        le=MAX_CLASSES,
        title="least number of classes, and that of the first round",
        description=f"the least number of classes, a whole number from 2 to {MAX_CLASSES}, with which it starts",
    )
    k_max: int = Field(
        12,
        ge=2,
        le=MAX_CLASSES,
        title="largest number of classes",
        description=f"the largest number of classes, a whole number from 2 to {MAX_CLASSES}",
    )
    min_size: Annotated[int, Field(ge=1)] | SmallestSize = Field(
        "0.1%",
        title="smaller classes are dropped: pixels, 1%, 5 ha",
        description="the smallest size of a class, below which it is dropped: a number of pixels, their share, such as "
        "0.1%, or an area, such as '5 ha'",
    )
    max_std: Literal["auto"] | Annotated[float, Field(gt=0)] = Field(
        "auto",
        title="wider classes are split: deviation of one band",
        description="'auto', or a number above 0: classes are split if the standard deviation of one of their bands is "
        f"larger, in units of distances (see features.standardize); 'auto' is {AUTO_STD:g} times that of all pixels",
    )
    min_distance: Literal["auto"] | Annotated[float, Field(ge=0)] = Field(
        "auto",
        title="nearer classes are merged: distance of centroids",
        description="'auto', or a number from 0: classes are merged if their centroids are nearer, in units of "
        "distances (see features.standardize); 'auto' is fit.max_std",
    )
    max_iter: int = Field(
        20,
        ge=1,
        title="largest number of rounds",
        description="the largest number of rounds, at least 1",
    )

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.k_min > self.k_max:
            msg = f"k_min is {self.k_min} and k_max is {self.k_max}; k_min must not be larger"
            raise ValueError(msg)
        if isinstance(self.pixels, int) and self.pixels < self.k_min:
            msg = f"{self.pixels} sampled pixels are too few for {self.k_min} classes; raise fit.pixels"
            raise ValueError(msg)
        return self


class Limits(NamedTuple):
    """What classes are dropped, split and merged by, in units of the points after `stretch`."""

    k_min: int
    """Least number of classes."""
    k_max: int
    """Largest number of classes."""
    least: int
    """Least number of points of a class."""
    max_std: float
    """Largest standard deviation of a band in a class."""
    min_distance: float
    """Least distance of two centroids."""


@dataclass(frozen=True)
class Classes:
    """Classes of a round, and how far the points of each are apart."""

    centres: Centres
    """Centroids, shape (k, band)."""
    labels: npt.NDArray[np.uint8]
    """Class of each point, 1 to k, shape (point,)."""
    counts: npt.NDArray[np.int64]
    """Number of points, shape (k,)."""
    stds: npt.NDArray[np.float64]
    """Standard deviations after `stretch`, shape (k, band)."""


@dataclass(frozen=True)
class Change:
    """What a round changes."""

    dropped: tuple[int, ...]
    """Rows of the dropped classes."""
    split: tuple[int, ...]
    """Rows of the classes that are split."""
    merged: tuple[tuple[int, int], ...]
    """Rows of the pairs of classes that are merged."""

    def __bool__(self) -> bool:
        """Whether there is any change."""
        return bool(self.dropped or self.split or self.merged)


@dataclass(frozen=True)
class Round:
    """What the log says of a round."""

    classes: int
    """Number of classes."""
    split: int
    """Number of classes that it splits."""
    merged: int
    """Number of pairs of classes that it merges."""
    dropped: int
    """Number of classes that it drops."""


def fit_isodata(given: FitInput[IsodataSettings]) -> FitResult:
    """Find the classes of the sample, and log what each round changes."""
    settings, points, stretch = given.settings, given.points, given.stretch
    check_sample(points, settings.k_min, stretch, "k_min")
    limits = limits_of(given)
    centres = first_centres(points, settings.k_min)
    rounds = list[Round]()
    with given.progress.stage("fit", settings.max_iter) as step:
        for number in range(1, settings.max_iter + 1):
            found = settle(points, centres, stretch)
            change = choose(found, limits, stretch, may_split=number < settings.max_iter)
            _log_round(number, found, change, limits, given.preparation.unit**0.5)
            rounds.append(Round(len(found.counts), len(change.split), len(change.merged), len(change.dropped)))
            points, centres = without(points, found, change.dropped), changed(found, change, stretch)
            step()
            if not change:
                break
        else:
            logger.warning(
                "fit.max_iter: classes still changed in round %d, the last; allow more rounds, or raise fit.max_std",
                number,
            )
            centres = settle(points, centres, stretch).centres
    warn_of_equal_classes(centres)
    # what is left below the least size is left because of k_min
    merging_none = replace(given, settings=settings.model_copy(update={"min_size": None}))
    return merging_none.result_of_sample(centres, number, tuple(rounds))


def limits_of(given: FitInput[IsodataSettings]) -> Limits:
    """Convert the limits of the settings to the units of the points after `stretch`; log those that are automatic."""
    settings, unit = given.settings, given.preparation.unit**0.5
    std, distance = settings.max_std, settings.min_distance
    if std == "auto":
        std = AUTO_STD * unit * mean_variance(given.points, given.stretch) ** 0.5
    if distance == "auto":
        distance = std
    logger.info(
        "isodata: classes are split above a standard deviation of %.3g, merged below a distance of %.3g", std, distance
    )
    least = ceil(least_count(settings.min_size, given.points.shape[1], given.valid, given.info.grid))
    return Limits(settings.k_min, settings.k_max, least, std / unit, distance / unit)


def first_centres(points: Points, k: int) -> Centres:
    """Spread k centroids evenly from mean - deviation to mean + deviation of points (band, point), shape (k, band)."""
    counts = np.array([points.shape[1]])
    mean = _sums(points, np.zeros(points.shape[1], np.uint8), 1) / counts
    std = _stds(points, np.zeros(points.shape[1], np.uint8), mean, counts, None)
    centres: Centres = mean + np.linspace(-1, 1, k)[:, np.newaxis] * std
    return centres


def settle(points: Points, centres: Centres, stretch: Stretch) -> Classes:
    """Move centroids until they rest, and describe their classes."""
    variance = mean_variance(points, stretch)
    partition = PointPartition(points, len(centres), stretch, variance**0.5)
    for done in iterate(partition, centres, _MOVES, _REST * variance):
        centres = done.centres
    partition.assign(centres)
    rows, counts = partition.labels - 1, partition.counts[1:].copy()
    return Classes(centres, partition.labels, counts, _stds(points, rows, centres, np.maximum(counts, 1), stretch))


def choose(found: Classes, limits: Limits, stretch: Stretch, *, may_split: bool) -> Change:
    """Choose the classes to drop, the smallest first; to split, the widest first; to merge, the nearest first."""
    counts, widths = found.counts, found.stds.max(axis=1)
    small = [row for row in np.argsort(counts, kind="stable").tolist() if counts[row] < limits.least]
    dropped = small[: len(counts) - limits.k_min]
    k = len(counts) - len(dropped)
    wide = [
        row
        for row in np.argsort(-widths, kind="stable").tolist()
        if row not in dropped and widths[row] > limits.max_std and counts[row] >= max(2 * limits.least, 2)
    ]
    split = wide[: max(limits.k_max - k, 0)] if may_split else []
    others = [row for row in range(len(counts)) if row not in {*dropped, *split}]
    merged = _near_pairs(found.centres if stretch is None else found.centres * stretch, others, limits.min_distance)
    return Change(tuple(dropped), tuple(split), tuple(merged[: k + len(split) - limits.k_min]))


def _near_pairs(places: Centres, rows: list[int], least: float) -> list[tuple[int, int]]:
    """Pairs of rows of centroids that are nearer than the least distance, nearest first; each row at most once."""
    near = [
        (distance, one, other)
        for one, other in combinations(rows, 2)
        if (distance := float(np.square(places[one] - places[other]).sum()) ** 0.5) < least
    ]
    pairs: list[tuple[int, int]] = []
    for _, one, other in sorted(near):
        if not {one, other} & {row for pair in pairs for row in pair}:
            pairs.append((one, other))
    return pairs


def without(points: Points, found: Classes, dropped: Sequence[int]) -> Points:
    """Return the points (band, point) that are in none of the dropped classes."""
    if not dropped:
        return points
    return np.ascontiguousarray(points[:, ~np.isin(found.labels, np.array(dropped) + 1)])


def changed(found: Classes, change: Change, stretch: Stretch) -> Centres:
    """Return the centroids after a change, shape (k, band)."""
    gone = {*change.dropped, *change.split, *(row for pair in change.merged for row in pair)}
    rows = [centre for row, centre in enumerate(found.centres) if row not in gone]
    for row in change.split:
        band = int(found.stds[row].argmax())
        step = np.zeros(found.centres.shape[1])
        step[band] = _STEP * found.stds[row, band] / (1 if stretch is None else stretch[band])
        rows += [found.centres[row] - step, found.centres[row] + step]
    for pair in change.merged:
        one, other = pair
        weights = found.counts[list(pair)] / max(found.counts[list(pair)].sum(), 1)
        rows.append(found.centres[one] * weights[0] + found.centres[other] * weights[1])
    return np.array(rows)


def _sums(points: Points, rows: npt.NDArray[np.uint8], k: int) -> npt.NDArray[np.float64]:
    """Sums of points (band, point) per class, shape (k, band), added in their order: the same bits on any machine."""
    return np.stack([np.bincount(rows, band, k) for band in points], axis=1)


def _stds(
    points: Points, rows: npt.NDArray[np.uint8], centres: Centres, counts: npt.NDArray[np.int64], stretch: Stretch
) -> npt.NDArray[np.float64]:
    """Population standard deviations of points (band, point) per class after `stretch`, shape (k, band)."""
    found = np.empty(centres.shape)
    for band, numbers in enumerate(points):
        differences = numbers - centres[rows, band]
        means = np.bincount(rows, differences, len(centres)) / counts
        squares = np.bincount(rows, differences * differences, len(centres)) / counts
        found[:, band] = np.sqrt(np.maximum(squares - means * means, 0)) * (1 if stretch is None else stretch[band])
    return found


def _log_round(number: int, found: Classes, change: Change, limits: Limits, unit: float) -> None:
    """Log the number of classes of a round, and which of them it changes, and why; `unit` is that of the limits."""
    why = {"split": "", "merged": "", "dropped": ""}
    if change.split:
        why["split"] = f" (std {found.stds[list(change.split)].max() * unit:.3g} > {limits.max_std * unit:.3g})"
    if change.merged:
        why["merged"] = f" (nearer than {limits.min_distance * unit:.3g})"
    if change.dropped:
        sizes = ", ".join(str(found.counts[row]) for row in change.dropped)
        why["dropped"] = f" ({sizes} pixels < {limits.least})"
    done = ", ".join(f"{len(getattr(change, what))} {what}{reason}" for what, reason in why.items())
    wide = int((found.stds.max(axis=1) > limits.max_std).sum())
    rest = "" if change or not wide else f"; {wide} stay wider: {_why_not_split(len(found.counts), limits)}"
    logger.info("isodata: round %d: %d classes, %s%s", number, len(found.counts), done, rest)


def _why_not_split(k: int, limits: Limits) -> str:
    """Reason why wide classes are not split."""
    return f"k_max is {limits.k_max}" if k >= limits.k_max else f"they have fewer than {2 * limits.least} pixels"


def isodata_needs(info: SceneInfo, settings: IsodataSettings, work: Work) -> Needs:
    """Needs of the sample, a copy of it, a part of that, and of the rounds, which run on one thread."""
    del work
    return Needs(fixed=3 * sample_bytes(info, settings) + settings.sampled_of(info) * _BYTES_PER_POINT)


ISODATA: Final = Method(
    name="isodata",
    description="k-means that splits, merges and drops classes",
    settings=IsodataSettings,
    same_bits=True,
    classes=lambda settings: (settings.k_min, settings.k_max),
    needs=isodata_needs,
    function="pipeline.methods.isodata:fit_isodata",
)
