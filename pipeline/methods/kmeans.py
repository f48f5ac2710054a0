"""K-means on a sample of pixels: the best of several starts; checks of the pixel values."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.config.schema import FitConfig
from pipeline.core.arrays import Points, Stretch
from pipeline.core.errors import FitError
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.time_limits import is_stopped
from pipeline.kernels.assign import working_dtype
from pipeline.kernels.distances import own_distances
from pipeline.kernels.fixed import has_exact_sums
from pipeline.methods import registry
from pipeline.methods.lloyd import Centres, Clustering, band_means, lloyd, plus_plus

logger = logging.getLogger(__name__)

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


def fit_sample(
    points: Points,
    config: FitConfig,
    workers: int,
    step: Callable[[], None] = lambda: None,
    stretch: Stretch = None,
) -> Clustering:
    """Cluster sampled pixels from several starts, and return the best clustering.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        C-contiguous pixels, in input units and in random order.
    config : FitConfig
        Method, number of classes, seed, starts and stopping rules. `tol` is relative to the mean variance of
        the bands.
    workers : int
        Number of starts that run at once, each on one thread.
    step : callable
        Called after each start, for progress.
    stretch : ndarray of float64, shape (band,), optional
        Factor per band by which differences are multiplied before distances are taken; None for 1.

    Returns
    -------
    Clustering
        The clustering with the smallest inertia; its centroids are not sorted.

    Raises
    ------
    FitError
        If there are fewer distinct pixels than classes, or pixel values too large to be squared.
    """
    enough = check_distinct(points, config.k)
    check_magnitude(points.min(axis=1), points.max(axis=1), points.shape[1], stretch)
    if config.method == "minibatch":
        with registry.minibatch(points, config, stretch) as start:
            best = _best_start(start, config, workers, step)
    else:
        compared = np.ascontiguousarray(points[:, : max(enough, COMPARED)])
        best = _kmeans(points, compared, config, workers, step, stretch)
    _warn_of_equal_classes(best.centres)
    return best


def _best_start(
    start: Callable[[int], Clustering], config: FitConfig, workers: int, step: Callable[[], None]
) -> Clustering:
    """Run starts with different seeds and return the best one."""
    seeds = [int(seed) for seed in np.random.SeedSequence(config.seed).generate_state(config.starts)]
    found: list[Clustering] = []
    for _, clustering in ThreadExecutor(workers).map(start, seeds):
        found.append(clustering)
        step()
    return min(found, key=lambda clustering: clustering.inertia)


def _kmeans(  # noqa: PLR0917
    points: Points, compared: Points, config: FitConfig, workers: int, step: Callable[[], None], stretch: Stretch
) -> Clustering:
    """Compare starts on some of the points, and refine the best one on all points.

    After P. S. Bradley and U. M. Fayyad, "Refining initial points for k-means clustering", ICML 1998.
    """
    variance = mean_variance(points, stretch)
    iterate = partial(
        lloyd, max_iter=config.max_iter, tolerance=config.tol * variance, stretch=stretch, width=variance**0.5
    )

    def start(seed: int) -> Clustering:
        centres = plus_plus(compared, config.k, np.random.default_rng(seed), stretch)
        return iterate(compared, centres, stopped=is_stopped)

    best = _best_start(start, config, workers, step)
    if compared.shape == points.shape:
        return best
    return iterate(points, best.centres)


def _warn_of_equal_classes(centres: Centres) -> None:
    """Warn if some of the centroids are equal."""
    k, different = len(centres), len(np.unique(centres, axis=0))
    if different < k:
        logger.warning(
            "fit.k: only %d of the %d classes are distinct, and the others stay empty; lower fit.k", different, k
        )


def mean_variance(points: Points, stretch: Stretch = None) -> float:
    """Mean over the bands of the variance of points (band, point) scaled by `stretch`, summed in their order."""
    count = points.shape[1]
    centre = band_means(points)[np.newaxis]
    return own_distances(points, np.ones(count, np.uint8), centre, stretch)[1] / points.size


def check_distinct(points: Points, k: int) -> int:
    """Raise FitError unless `k` of the points (band, point) are distinct; return how many first points are enough."""
    for count in (_FIRST_COUNTED, COMPARED, points.shape[1]):
        found = np.unique(points[:, :count], axis=1).shape[1]
        if found >= k:
            return count
    fix = f"set fit.k to {found} at most" if found > 1 else "choose a scene whose pixels differ"
    msg = f"fit.k: {k} classes need {k} distinct pixels, but the {points.shape[1]} sampled ones have {found}; {fix}"
    raise FitError(msg)


def check_magnitude(low: npt.NDArray[Any], high: npt.NDArray[Any], count: int, stretch: Stretch = None) -> None:
    """Raise FitError if squares of differences overflow, or all underflow.

    Parameters
    ----------
    low, high : ndarray, shape (band,)
        Smallest and largest value per band.
    count : int
        Number of pixels.
    stretch : ndarray of float, shape (band,), optional
        Factor per band by which differences are multiplied before distances are taken; None for 1.
    """
    kind = low.dtype
    limits, bands = np.finfo(working_dtype(kind)), len(low)
    # a squared distance has to fit the type, the sum of all of them float64
    most = float(np.sqrt(min(float(limits.max), np.finfo(np.float64).max / count) / bands)) / 2
    ends = np.concatenate([low, high]).astype(np.float64)
    largest = float(ends[np.argmax(np.abs(ends))])
    if abs(largest) > most:
        msg = f"{_possible_nodata(largest)}; if all pixels are so large, divide the bands first"
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


def check_outliers(low: npt.NDArray[Any], high: npt.NDArray[Any], points: Points) -> None:
    """Raise FitError if a value is so large that fixed-point sums of it and of most pixels would lose digits.

    Parameters
    ----------
    low, high : ndarray, shape (band,)
        Smallest and largest value per band.
    points : ndarray, shape (band, point)
        Sampled pixels, in random order.
    """
    if has_exact_sums(points.dtype):
        return
    numbers = points[:, :_QUARTILE_PIXELS].astype(np.float64)
    first, third = np.percentile(numbers, (25, 75), axis=1)
    widths = np.tile(third - first, 2)
    for number, width in zip(np.concatenate([low, high]).tolist(), widths.tolist(), strict=True):
        if abs(number) > _LEAST_OUTLIER and 0 < width * _FARTHEST < abs(number):
            msg = (
                f"{_possible_nodata(number)}; half of the pixels are within {width:.3g}, too close together to be told "
                "apart next to it"
            )
            raise FitError(msg)


def _possible_nodata(number: float) -> str:
    return f"the scene has the value {number:g}, which may be a nodata value; if it is, set scene.nodata: {number!r}"
