"""K-means on a sample of pixels: several starts, of which the best is kept."""

import logging
from collections.abc import Callable
from functools import partial
from threading import Event
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.config.schema import FitConfig
from pipeline.core.arrays import Points, Stretch
from pipeline.core.errors import FitError
from pipeline.engine.threads import stream
from pipeline.kernels.assign import working_dtype
from pipeline.kernels.distances import own_distances
from pipeline.kernels.fixed import has_exact_sums
from pipeline.methods import registry
from pipeline.methods.lloyd import Centres, Clustering, band_means, lloyd, plus_plus

logger = logging.getLogger(__name__)

_ROOM_FOR_SQUARES: Final = 1e4
"""How many times larger than the smallest number that can be squared the range of the pixels must be."""

_FARTHEST: Final = 2.0**40
"""How many times what half of the pixels lie within a number may be, for sums that hold both to keep all digits."""

_BEYOND_MEASURE: Final = 1e9
"""Smaller numbers are let pass however far they are: half of a band may be zeros, but for rounding."""

_A_LOOK: Final = 100_000
"""Pixels from which it is judged what half of them lie within."""

_FIRST_LOOK: Final = 1000
"""Pixels among which distinct ones are counted first: nearly always enough, and quick."""

COMPARED: Final = 100_000
"""Pixels on which starts are compared, where there are more: the best of them goes on over all."""


def fit_sample(
    points: Points,
    config: FitConfig,
    workers: int,
    step: Callable[[], None] = lambda: None,
    stretch: Stretch = None,
) -> Clustering:
    """Cluster sampled pixels, from several starts, and keep the best.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        C-contiguous pixels, in input units and in random order.
    config : FitConfig
        Method, number of classes, seed, starts, and when to stop. `tol` is relative to the mean variance
        of the bands.
    workers : int
        Starts worked on at once; each runs on one thread.
    step : callable
        Called after each start, for progress.
    stretch : ndarray of float64, shape (band,), optional
        What differences of each band are multiplied by.

    Returns
    -------
    Clustering
        Its centres are in no particular order.

    Raises
    ------
    FitError
        When there are fewer distinct pixels than classes, or pixels too large to be squared.
    """
    telling = check_distinct(points, config.k)
    check_magnitude(points.min(axis=1), points.max(axis=1), points.shape[1], stretch)
    if config.method == "minibatch":
        with registry.minibatch(points, config, stretch) as start:
            best = _best_start(start, config, workers, step, Event())
    else:
        some = np.ascontiguousarray(points[:, : max(telling, COMPARED)])
        best = _kmeans(points, some, config, workers, step, stretch)
    _warn_of_equal_classes(best.centres)
    return best


def _best_start(
    start: Callable[[int], Clustering],
    config: FitConfig,
    workers: int,
    step: Callable[[], None],
    stopped: Event,
) -> Clustering:
    """Begin with several seeds and keep the best that comes of them; set `stopped` when nobody wants more."""
    seeds = [int(seed) for seed in np.random.SeedSequence(config.seed).generate_state(config.starts)]
    found: list[Clustering] = []
    for _, clustering in stream(start, seeds, workers, stopped):
        found.append(clustering)
        step()
    return min(found, key=lambda clustering: clustering.inertia)


def _kmeans(  # noqa: PLR0917
    points: Points, some: Points, config: FitConfig, workers: int, step: Callable[[], None], stretch: Stretch
) -> Clustering:
    """Compare starts on some of the points, and go on over all of them from the best.

    After P. S. Bradley and U. M. Fayyad, "Refining initial points for k-means clustering", ICML 1998.
    """
    variance, stopped = mean_variance(points, stretch), Event()
    settle = partial(
        lloyd, max_iter=config.max_iter, tolerance=config.tol * variance, stretch=stretch, width=variance**0.5
    )

    def start(seed: int) -> Clustering:
        centres = plus_plus(some, config.k, np.random.default_rng(seed), stretch)
        return settle(some, centres, stopped=stopped.is_set)

    best = _best_start(start, config, workers, step, stopped)
    if some.shape == points.shape:
        return best
    return settle(points, best.centres)


def _warn_of_equal_classes(centres: Centres) -> None:
    """Say when no pixel can tell classes apart."""
    k, different = len(centres), len(np.unique(centres, axis=0))
    if different < k:
        logger.warning("fit.k: only %d of the %d classes found differ; the others stay empty", different, k)


def mean_variance(points: Points, stretch: Stretch = None) -> float:
    """Mean over the bands of the (stretched) variance of points (band, point), summed in the order of the points."""
    count = points.shape[1]
    centre = band_means(points)[np.newaxis]
    return own_distances(points, np.ones(count, np.uint8), centre, stretch)[1] / points.size


def check_distinct(points: Points, k: int) -> int:
    """Raise FitError unless `k` of the points (band, point) differ; give how many it takes to find them."""
    for count in (_FIRST_LOOK, COMPARED, points.shape[1]):
        found = np.unique(points[:, :count], axis=1).shape[1]
        if found >= k:
            return count
    most = f"ask for {found} classes at most" if found > 1 else "there is nothing to tell apart"
    msg = f"fit.k: {k} classes were asked for; distinct among the sampled pixels: {found} of {points.shape[1]}; {most}"
    raise FitError(msg)


def check_magnitude(low: npt.NDArray[Any], high: npt.NDArray[Any], count: int, stretch: Stretch = None) -> None:
    """Raise FitError where squares of differences overflow, or all vanish.

    Parameters
    ----------
    low, high : ndarray, shape (band,)
        Least and largest numbers of the pixels.
    count : int
        How many pixels there are.
    stretch : ndarray of float, shape (band,), optional
        What differences of each band are multiplied by.
    """
    kind = low.dtype
    limits, bands = np.finfo(working_dtype(kind)), len(low)
    # a squared distance has to fit the type, the sum of all of them float64
    most = float(np.sqrt(min(float(limits.max), np.finfo(np.float64).max / count) / bands)) / 2
    ends = np.concatenate([low, high]).astype(np.float64)
    largest = float(ends[np.argmax(np.abs(ends))])
    if abs(largest) > most:
        msg = f"{_no_data(largest)}; if all pixels are so large, divide the bands first"
        raise FitError(msg)
    spreads = (high.astype(np.float64) - low.astype(np.float64)) * (1 if stretch is None else stretch)
    if spreads.max() > most:
        msg = (
            f"the bands' scales are too far apart: pixels of one differ by {spreads.max():.3g} in units of the first, "
            f"more than {limits.dtype} can square; see features.standardize"
        )
        raise FitError(msg)
    if kind.kind == "f" and 0 < spreads.max() < np.sqrt(limits.tiny) * _ROOM_FOR_SQUARES:
        msg = f"the pixels differ by {spreads.max():g} at most: too little for {kind}; multiply the bands first"
        raise FitError(msg)


def check_outliers(low: npt.NDArray[Any], high: npt.NDArray[Any], points: Points) -> None:
    """Raise FitError where a number is so far from most pixels that `FixedPoint`'s sums would lose their digits.

    Parameters
    ----------
    low, high : ndarray, shape (band,)
        Least and largest numbers of the pixels.
    points : ndarray, shape (band, point)
        Some of the pixels, in random order.
    """
    if has_exact_sums(points.dtype):
        return
    some = points[:, :_A_LOOK].astype(np.float64)
    first, third = np.percentile(some, (25, 75), axis=1)
    widths = np.tile(third - first, 2)
    for number, width in zip(np.concatenate([low, high]).tolist(), widths.tolist(), strict=True):
        if abs(number) > _BEYOND_MEASURE and 0 < width * _FARTHEST < abs(number):
            msg = f"{_no_data(number)}; beside it half of the pixels, within {width:.3g}, could not be told apart"
            raise FitError(msg)


def _no_data(number: float) -> str:
    return f"the scene holds the value {number:g}, which looks like 'no data'; if it is, set scene.nodata: {number!r}"
