"""Exact k-means: Lloyd's passes over every pixel, the same to the last bit for any blocks, workers and order."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.config.schema import FitConfig
from pipeline.core.arrays import Points, Stretch
from pipeline.kernels.assign import assign
from pipeline.kernels.distances import own_distances
from pipeline.methods.kmeans import mean_variance
from pipeline.methods.lloyd import Centres
from pipeline.methods.passes import Passes
from pipeline.pixels.pieces import PixelPieces

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What a pass over all pixels brought."""

    shift: float
    """Sum of the squared moves of all centres that followed, relative to the mean variance of the bands."""
    inertia: float
    """Sum of squared distances of all pixels to the centres they were assigned to, in the units of `refine`."""
    changed: float | None
    """Share of the pixels that changed class; None in the first pass, before which they had none, and where their
    classes are not kept."""


@dataclass(frozen=True)
class Refined:
    """Classes of all pixels."""

    centres: Centres
    """In order, but not settled."""
    counts: npt.NDArray[np.int64]
    """Pixels of each class, shape (k,), of the settled centres."""
    inertia: float
    passes: tuple[Pass, ...]


def refine(  # noqa: PLR0917
    pixels: PixelPieces,
    start: Centres,
    sample: Points,
    config: FitConfig,
    stretch: Stretch,
    workers: int,
    *,
    unit: float = 1.0,
    in_order: Callable[[Centres], Centres] = lambda centres: centres,
    settle: Callable[[Centres], Centres] = lambda centres: centres,
    step: Callable[[], None] = lambda: None,
) -> Refined:
    """Move centres to the means of all pixels nearest to them, until they rest.

    Parameters
    ----------
    pixels : FitPixels
        The scene, each block of which was read for the fit already.
    start : ndarray of float64, shape (k, band)
        Centres to start from, in stored numbers.
    sample : ndarray, shape (band, point)
        Some of the pixels, among which new centres are found for classes that become empty.
    config : FitConfig
        `max_iter`: the most passes; `tol`: enough is when the squared moves of all centres together are no more,
        relative to the mean variance of the bands; or when no pixel changes class.
    stretch : ndarray of float64, shape (band,), optional
        What differences of each band are multiplied by.
    workers : int
        Blocks worked on at once.
    unit : float
        What squared stretched distances are multiplied by, wherever inertia is told.
    in_order : callable
        Puts the centres, once they rest, into the order that they shall have.
    settle : callable
        What becomes of them before pixels are counted: they are written in another quantity and read back.
    step : callable
        Called after each pass, for progress.

    References
    ----------
    S. Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf. Theory 28 (1982).
    """
    engine = Passes(pixels, len(start), stretch, workers, mean_variance(sample, stretch) ** 0.5)
    centres, passes, moves = start, list[Pass](), 1
    while moves and len(passes) < config.max_iter:
        assigned = centres
        moves = engine.run(assigned)
        step()
        centres = _refill(engine.ledger.means(assigned), engine.counts, sample, stretch)
        squared = float(np.square((centres - assigned) * (1 if stretch is None else stretch)).sum())
        shift = squared / engine.variance if squared else 0.0
        changed = moves / int(engine.counts.sum()) if passes and pixels.caches_labels else None
        passes.append(Pass(shift=shift, inertia=unit * engine.inertia(assigned), changed=changed))
        _log(len(passes), passes[-1])
        if shift <= config.tol:
            logger.info("enough: centroids moved by %.3g, fit.tol is %g", shift, config.tol)
            break
    else:
        if moves:
            logger.warning("fit.max_iter: centroids still move after pass %d; allow more", len(passes))
    centres = in_order(centres)
    settled = settle(centres)
    if not np.array_equal(settled, assigned):
        engine.run(settled)
    return Refined(centres, engine.counts, unit * engine.inertia(settled), tuple(passes))


def _log(number: int, done: Pass) -> None:
    changed = "" if done.changed is None else f", {done.changed:.3%} changed class"
    logger.info("pass %d: inertia %.9g, shift %.3g%s", number, done.inertia, done.shift, changed)


def _refill(means: Centres, counts: npt.NDArray[np.int64], sample: Points, stretch: Stretch) -> Centres:
    """Put the centre of each empty class onto one of the sampled pixels that are farthest from their centres."""
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
    logger.info("%d empty classes begin anew at the sampled pixels farthest from their centres", empty.size)
    return refilled
