"""K-means on a sample of pixels: the best of several starts."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from pipeline.core.arrays import Points, Stretch
from pipeline.core.needs import Needs, Work
from pipeline.core.scene_info import SceneInfo
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.time_limits import is_stopped
from pipeline.kernels.assign import working_dtype
from pipeline.kernels.distances import own_distances
from pipeline.methods.lloyd import Centres, Clustering, band_means, lloyd, plus_plus
from pipeline.methods.pixel_checks import COMPARED, check_sample
from pipeline.methods.settings import StartSettings, sample_bytes
from pipeline.methods.swaps import LEAST_SWAPPED, SWAP_STEPS, swap_centroids

logger = logging.getLogger(__name__)

_BYTES_PER_POINT: Final = 8 + 8 + 1
"""Bytes per point and start for its running sum, distance to its centroid, and class; three distances come on top."""


def points_bytes(info: SceneInfo, settings: StartSettings) -> int:
    """Bytes of the sample during a fit, with a copy, and of the part of it on which starts are compared."""
    return 2 * sample_bytes(info, settings) + min(settings.sampled_of(info), COMPARED) * info.bytes_per_pixel


def starts_needs(info: SceneInfo, settings: StartSettings, work: Work) -> Needs:
    """Needs of starts on the sample, as many at once as there are workers."""
    start = settings.sampled_of(info) * (3 * working_dtype(info.dtype).itemsize + _BYTES_PER_POINT)
    return Needs(fixed=points_bytes(info, settings) + min(work.workers, settings.runs) * start)


def fit_sample(
    points: Points,
    settings: StartSettings,
    workers: int,
    step: Callable[[], None] = lambda: None,
    stretch: Stretch = None,
    *,
    initial: Centres | None = None,
) -> Clustering:
    """Cluster sampled pixels from several starts, and return the best clustering.

    Starts are compared on some of the points, and the best one is refined on all of them. With many classes, some
    centroids of each start are swapped before it converges: see `swap_centroids`.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        C-contiguous pixels, in input units and in random order.
    settings : StartSettings
        Number of classes, seed, starts and stopping rules. `tol` is relative to the mean variance of
        the bands.
    workers : int
        Number of starts that run at once, each on one thread.
    step : callable
        Called after each start, for progress.
    stretch : ndarray of float64, shape (band,), optional
        Factor per band by which differences are multiplied before distances are taken; None for 1.
    initial : ndarray of float64, shape (k, band), optional
        Initial centroids of a single start, on all points; None for starts that draw their own.

    Returns
    -------
    Clustering
        The clustering with the smallest inertia; its centroids are not sorted.

    Raises
    ------
    FitError
        If there are fewer distinct pixels than classes, or pixel values too large to be squared.
    """
    enough = check_sample(points, settings.k, stretch)
    # after P. S. Bradley and U. M. Fayyad, "Refining initial points for k-means clustering", ICML 1998
    compared = np.ascontiguousarray(points[:, : max(enough, COMPARED)])
    variance = mean_variance(points, stretch)
    iterate = partial(
        lloyd, max_iter=settings.max_iter, tolerance=settings.tol * variance, stretch=stretch, width=variance**0.5
    )

    def start(seed: int) -> Clustering:
        generator = np.random.default_rng(seed)
        centres = plus_plus(compared, settings.k, generator, stretch)
        if settings.k >= LEAST_SWAPPED:
            few = partial(iterate, max_iter=min(SWAP_STEPS, settings.max_iter), tolerance=0, stopped=is_stopped)
            centres = swap_centroids(compared, centres, few, generator, stretch)
        return iterate(compared, centres, stopped=is_stopped)

    if initial is not None:
        best = iterate(points, initial, stopped=is_stopped)
        best = replace(best, starts=(best.as_start(),))
        step()
    else:
        best = best_start(start, settings, workers, step)
        if compared.shape != points.shape:
            best = replace(iterate(points, best.centres), starts=best.starts)
    warn_of_equal_classes(best.centres)
    return best


def best_start(
    start: Callable[[int], Clustering], settings: StartSettings, workers: int, step: Callable[[], None]
) -> Clustering:
    """Run starts with different seeds and return the best one."""
    seeds = [int(seed) for seed in np.random.SeedSequence(settings.seed).generate_state(settings.starts)]
    found: list[Clustering] = []
    for _, clustering in ThreadExecutor(workers).map(start, seeds):
        found.append(clustering)
        step()
    best = min(found, key=lambda clustering: clustering.inertia)
    return replace(best, starts=tuple(each.as_start() for each in found))


def warn_of_equal_classes(centres: Centres) -> None:
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


def warn_of_max_iter(iterations: int, settings: StartSettings) -> None:
    """Warn if a fit made as many iterations as are allowed."""
    if iterations >= settings.max_iter:
        logger.warning("fit.max_iter: centroids may still move after pass %d; allow more passes", iterations)
