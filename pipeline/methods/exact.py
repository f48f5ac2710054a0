"""Exact k-means: Lloyd passes over all pixels, with identical bits for any block size, workers and order."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points, Stretch
from pipeline.kernels.assign import assign
from pipeline.kernels.distances import own_distances
from pipeline.methods.lloyd import Centres
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
    workers: int,
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
    workers : int
        Number of threads.
    unit : float
        Factor by which squared distances are multiplied to give the inertia.
    in_order : callable
        Sorts the converged centroids into their final order.
    round_trip : callable
        Converts the sorted centroids to the model's quantity and back, as a map of the model reads them; pixels are
        counted with the result.
    step : callable
        Called after each pass, for progress.

    References
    ----------
    S. Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf. Theory 28 (1982).
    """
    passes = Passes(pixels, len(start), stretch, workers, mean_variance(sample, stretch) ** 0.5)
    centres, history, moves = start, list[Pass](), 1
    while moves and len(history) < config.max_iter:
        assigned = centres
        moves = passes.run(assigned)
        step()
        centres = _refill(passes.ledger.means(assigned), passes.counts, sample, stretch)
        squared = float(np.square((centres - assigned) * (1 if stretch is None else stretch)).sum())
        shift = squared / passes.variance if squared else 0.0
        changed = moves / int(passes.counts.sum()) if history and pixels.remembers else None
        history.append(Pass(shift=shift, inertia=unit * passes.inertia(assigned), changed=changed))
        _log(len(history), history[-1])
        if shift <= config.tol:
            logger.info("converged: centroids moved by %.3g, at most fit.tol = %g", shift, config.tol)
            break
    else:
        if moves:
            logger.warning("fit.max_iter: centroids still move after pass %d; allow more passes", len(history))
    centres = in_order(centres)
    restored = round_trip(centres)
    if not np.array_equal(restored, assigned):
        passes.run(restored)
    return Refined(centres, passes.counts, unit * passes.inertia(restored), tuple(history))


def _log(number: int, done: Pass) -> None:
    """Log the statistics of a pass."""
    changed = "" if done.changed is None else f", {done.changed:.3%} changed class"
    logger.info("pass %d: inertia %.9g, shift %.3g%s", number, done.inertia, done.shift, changed)


def _refill(means: Centres, counts: npt.NDArray[np.int64], sample: Points, stretch: Stretch) -> Centres:
    """Move the centroid of each empty class to one of the sampled pixels that are farthest from their centroids."""
    empty = np.flatnonzero(counts == 0)
    if not empty.size:
        return means
    everywhere = np.ones((1, sample.shape[1]), np.bool_)
    labels = assign(sample[:, np.newaxis], everywhere, means, stretch)[0]
    distances, _ = own_distances(sample, labels, means, stretch)
    farthest = np.argsort(-distances, kind="stable")[: empty.size]
    refilled = means.copy()
    for row, point in zip(empty, farthest, strict=True):
        if distances[point] > 0:
            refilled[row] = sample[:, point]
    logger.info("%d empty classes restart at the sampled pixels farthest from their centroids", empty.size)
    return refilled
