"""Exact k-means: Lloyd passes over all pixels, with identical bits for any block size, workers and order."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points, Stretch
from pipeline.engine.executor import Executor
from pipeline.kernels.assign import assign
from pipeline.methods.lloyd import Centres, farthest_points, iterate
from pipeline.methods.passes import Passes
from pipeline.methods.settings import CentroidSettings
from pipeline.methods.starts import mean_variance
from pipeline.pixels.pieces import PixelPieces

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Statistics of a pass over all pixels."""

    shift: float
    """Sum of the squared moves of all centroids after the pass, relative to the mean variance of the bands."""
    inertia: float
    """Sum of squared distances of all pixels to their centroids, times `unit` of `refine`."""
    changed: float | None
    """Share of the pixels that changed class, 0 to 1; None in the first pass, or if labels are not cached."""


@dataclass(frozen=True)
class Refined:
    """Result of the passes over all pixels."""

    centres: Centres
    """Centroids in final order, in stored numbers, before `round_trip`; shape (k, band)."""
    counts: npt.NDArray[np.int64]
    """Number of pixels per class after `round_trip`, shape (k,)."""
    inertia: float
    """Sum of squared distances of all pixels to their centroids after `round_trip`, times `unit` of `refine`."""
    passes: tuple[Pass, ...]
    """Statistics of each pass."""


def refine(  # noqa: PLR0917
    pixels: PixelPieces,
    start: Centres,
    sample: Points,
    config: CentroidSettings,
    stretch: Stretch,
    executor: Executor,
    *,
    unit: float = 1.0,
    in_order: Callable[[Centres], Centres] = lambda centres: centres,
    round_trip: Callable[[Centres], Centres] = lambda centres: centres,
    step: Callable[[], None] = lambda: None,
) -> Refined:
    """Move centroids to the means of all pixels nearest to them, until they converge.

    Parameters
    ----------
    pixels : PixelPieces
        The scene; each of its blocks must have been read for the fit before.
    start : ndarray of float64, shape (k, band)
        Initial centroids, in stored numbers.
    sample : ndarray, shape (band, point)
        Sampled pixels, from which new centroids are chosen for classes that become empty.
    config : CentroidSettings
        `max_iter`, the largest number of passes, and `tol`: passes end if the sum of the squared moves of all
        centroids is at most `tol`, relative to the mean variance of the bands, or if no pixel changes class.
    stretch : ndarray of float64, shape (band,), optional
        Factor per band by which differences are multiplied before distances are taken; None for 1.
    executor : Executor
        Runs the passes.
    unit : float
        Factor by which squared distances are multiplied to give the inertia.
    in_order : callable
        Sorts the converged centroids into their final order.
    round_trip : callable
        Converts the sorted centroids to the model's quantity and back, as a map of the model reads them; pixels are
        counted with the result.
    step : callable
        Called after each pass, for progress.
    """
    partition = _AllPixels(pixels, sample, len(start), stretch, executor)
    history = list[Pass]()
    for done in iterate(partition, start, config.max_iter, config.tol):
        step()
        changed = done.moves / int(partition.counts.sum()) if history and pixels.remembers else None
        inertia = unit * partition.inertia(done.assigned)
        history.append(Pass(shift=done.shift, inertia=inertia, changed=changed))
        _log(len(history), history[-1])
    if done.shift <= config.tol:
        logger.info("converged: centroids moved by %.3g, at most fit.tol = %g", done.shift, config.tol)
    else:
        logger.warning("fit.max_iter: centroids still move after pass %d; allow more passes", len(history))
    centres = in_order(done.centres)
    restored = round_trip(centres)
    if not np.array_equal(restored, done.assigned):
        partition.assign(restored)
    return Refined(centres, partition.counts, unit * partition.inertia(restored), tuple(history))


def _log(number: int, done: Pass) -> None:
    """Log the statistics of a pass."""
    changed = "" if done.changed is None else f", {done.changed:.3%} changed class"
    logger.info("pass %d: inertia %.9g, shift %.3g%s", number, done.inertia, done.shift, changed)


class _AllPixels(Passes):
    """A `Partition` of all pixels of a scene; empty classes restart at sampled pixels."""

    def __init__(self, pixels: PixelPieces, sample: Points, k: int, stretch: Stretch, executor: Executor) -> None:
        super().__init__(pixels, k, stretch, executor, mean_variance(sample, stretch) ** 0.5)
        self._sample = sample

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
