"""Mini-batch k-means on sampled points: passes in batches, then one exact step; identical bits on any machine.

As D. Sculley, "Web-scale k-means clustering", WWW 2010: each centroid moves towards the mean of its points in a batch
by their share of the points that it has got so far. That count begins again with each pass over the points: centroids
that are drawn to where they came from end at an inertia that is some 2 % larger (decision 3).
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from pipeline.core.arrays import Points, Stretch
from pipeline.engine.time_limits import is_stopped
from pipeline.kernels.distances import own_distances
from pipeline.kernels.fixed import ClassTotals, FixedPoint
from pipeline.kernels.mover import Mover
from pipeline.methods.batches import moved_by_batch
from pipeline.methods.lloyd import Centres, Clustering, lloyd, plus_plus
from pipeline.methods.pixel_checks import COMPARED, check_sample
from pipeline.methods.settings import StartSettings
from pipeline.methods.starts import best_start, mean_variance, warn_of_equal_classes

logger = logging.getLogger(__name__)

BATCH: Final = 8192
"""Number of points per batch."""

_SEEDED: Final = 4 * BATCH
"""Number of points among which initial centroids are chosen: choosing is slower than a pass over as many."""

_LEAST_GAIN: Final = 1e-3
"""Passes end if the inertia of one is not smaller than that of the pass before by this share of it."""


def fit_sample_by_batches(
    points: Points,
    settings: StartSettings,
    workers: int,
    step: Callable[[], None] = lambda: None,
    stretch: Stretch = None,
    *,
    initial: Centres | None = None,
) -> Clustering:
    """Cluster sampled pixels by mini-batches from several starts; parameters and result as those of `fit_sample`."""
    enough = check_sample(points, settings.k, stretch)
    compared = np.ascontiguousarray(points[:, : max(enough, COMPARED)])
    tolerance = settings.tol * mean_variance(points, stretch)
    improve = partial(mini_batches, max_iter=settings.max_iter, tolerance=tolerance, stretch=stretch)

    seeded = np.ascontiguousarray(points[:, : max(enough, _SEEDED)])

    def start(seed: int) -> Clustering:
        return improve(compared, plus_plus(seeded, settings.k, np.random.default_rng(seed), stretch))

    if initial is not None:
        best = improve(points, initial)
        best = replace(best, starts=(best.as_start(),))
        step()
    else:
        best = best_start(start, settings, workers, step)
        if compared.shape != points.shape:
            best = replace(improve(points, best.centres), starts=best.starts)
    warn_of_equal_classes(best.centres)
    return best


def mini_batches(
    points: Points, centres: Centres, *, max_iter: int, tolerance: float, stretch: Stretch = None
) -> Clustering:
    """Move centroids by one batch of points after the other, pass by pass, and then to the means of all their points.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        Points of any type and unit, C-contiguous and in random order: batches are those that follow each other.
    centres : ndarray of float64, shape (k, band)
        Initial centroids; k is at most 254.
    max_iter : int
        Largest number of passes over the points.
    tolerance : float
        Sum of the squared moves of all centroids in a pass at which passes end; they also end if the inertia, summed up
        over the batches of a pass, hardly falls any more.
    stretch : ndarray of float64, shape (band,), optional
        Factor per band by which differences are multiplied before distances are taken; None for 1.

    Returns
    -------
    Clustering
        Centroids, their inertia, and the number of passes.
    """
    batches, factors = _Batches(points, stretch), 1 if stretch is None else stretch
    passes, least, converged = 0, np.inf, False
    while passes < max_iter and not converged and not is_stopped():
        before, (centres, inertia) = centres, batches.pass_over(centres)
        shift = float(np.square((centres - before) * factors).sum())
        converged = shift <= tolerance or inertia > least * (1 - _LEAST_GAIN)
        passes, least = passes + 1, inertia
    exact = lloyd(points, centres, max_iter=1, tolerance=0, stretch=stretch)
    return Clustering(exact.centres, exact.inertia, passes)


class _Batches:
    """Points in batches, which are assigned to centroids one after the other."""

    def __init__(self, points: Points, stretch: Stretch) -> None:
        self._points = points
        self._stretch = stretch
        self._fixed = FixedPoint.of(points.dtype, points.min(axis=1), points.max(axis=1))
        self._mover = Mover(points.dtype, stretch, self._fixed.scaling, width=1.0)

    def pass_over(self, centres: Centres) -> tuple[Centres, float]:
        """Return the centroids after a pass, and the inertia: that of each batch before it moved them.

        Classes that got no point are restarted by a step of Lloyd's algorithm.
        """
        seen, inertia = np.zeros(len(centres), np.int64), 0.0
        for first in range(0, self._points.shape[1], BATCH):
            batch = np.ascontiguousarray(self._points[:, first : first + BATCH])
            totals, distances = self._assign(batch, centres)
            inertia += distances
            centres = moved_by_batch(centres, totals, seen)
        if not seen.all():
            centres = lloyd(self._points, centres, max_iter=1, tolerance=0, stretch=self._stretch).centres
        return centres, inertia

    def _assign(self, batch: Points, centres: Centres) -> tuple[ClassTotals, float]:
        """Return counts and sums of a batch per nearest centroid, and the sum of squared distances to them."""
        labels, bounds = np.zeros((2, batch.shape[1]), np.uint8)
        sums = self._fixed.zero_sums(len(centres))
        self._mover.to(centres).move(batch, labels, bounds, *sums)
        totals = ClassTotals(len(centres), self._fixed)
        totals.add(*sums)
        return totals, own_distances(batch, labels, centres, self._stretch)[1]
