"""Exact k-means: Lloyd passes over all pixels, with identical bits for any block size, workers and order."""

import logging
from collections.abc import Callable

import numpy as np

from pipeline.kernels.assign import assign
from pipeline.methods.lloyd import Centres, farthest_points, iterate
from pipeline.methods.method import FitInput, FitResult, Pass
from pipeline.methods.passes import Passes
from pipeline.methods.settings import CentroidSettings
from pipeline.methods.starts import mean_variance
from pipeline.pixels.pieces import PixelPieces

logger = logging.getLogger(__name__)


def refine(
    given: FitInput[CentroidSettings], pixels: PixelPieces, start: Centres, step: Callable[[], None] = lambda: None
) -> FitResult:
    """Move centroids to the means of all pixels nearest to them, until they converge.

    Passes end if the sum of the squared moves of all centroids is at most `tol`, relative to the mean variance of the
    bands, if no pixel changes class, or after `max_iter` passes.

    Parameters
    ----------
    given : FitInput
        Settings; sampled pixels, from which new centroids are chosen for classes that become empty; and the executor
        that runs the passes.
    pixels : PixelPieces
        The scene.
    start : ndarray of float64, shape (k, band)
        Initial centroids, in stored numbers.
    step : callable
        Called after each pass, for progress.
    """
    settings = given.settings
    partition = _AllPixels(given, pixels, len(start))
    history = list[Pass]()
    for done in iterate(partition, start, settings.max_iter, settings.tol):
        step()
        changed = done.moves / int(partition.counts.sum()) if history and pixels.remembers else None
        inertia = given.preparation.unit * partition.inertia(done.assigned)
        history.append(Pass(shift=done.shift, inertia=inertia, changed=changed))
        _log(len(history), history[-1])
    if done.shift <= settings.tol:
        logger.info("converged: centroids moved by %.3g, at most fit.tol = %g", done.shift, settings.tol)
    else:
        logger.warning("fit.max_iter: centroids still move after pass %d; allow more passes", len(history))
    centres = given.in_order(done.centres)
    restored = given.round_trip(centres)
    if not np.array_equal(restored, done.assigned):
        partition.assign(restored)
    inertia = partition.inertia(restored)
    return given.result_of_centres(centres, partition.counts, inertia, len(history), tuple(history))


def _log(number: int, done: Pass) -> None:
    """Log the statistics of a pass."""
    changed = "" if done.changed is None else f", {done.changed:.3%} changed class"
    logger.info("pass %d: inertia %.9g, shift %.3g%s", number, done.inertia, done.shift, changed)


class _AllPixels(Passes):
    """A `Partition` of all pixels of a scene; empty classes restart at sampled pixels."""

    def __init__(self, given: FitInput[CentroidSettings], pixels: PixelPieces, k: int) -> None:
        width = mean_variance(given.points, given.stretch) ** 0.5
        super().__init__(pixels, k, given.stretch, given.executor, width)
        self._sample = given.points

    def means(self, centres: Centres) -> Centres:
        """Mean of the pixels of each class, shape (k, band); one of the farthest sampled pixels for an empty class."""
        means = self.totals.means(centres)
        empty = np.flatnonzero(self.counts == 0)
        if not empty.size:
            return means
        everywhere = np.ones((1, self._sample.shape[1]), np.bool_)
        labels = assign(self._sample[:, np.newaxis], everywhere, means, self.stretch)[0]
        refilled, farthest = means.copy(), farthest_points(self._sample, labels, means, self.stretch, empty.size)
        for row, (point, distance) in zip(empty, farthest, strict=True):
            if distance > 0:
                refilled[row] = self._sample[:, point]
        logger.info("%d empty classes restart at the sampled pixels farthest from their centroids", empty.size)
        return refilled
