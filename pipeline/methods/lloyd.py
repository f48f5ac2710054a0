"""Lloyd's k-means on sampled points, to the same bit on any machine.

What scikit-learn's KMeans does, with two differences: sums are those of whole numbers, so nothing depends
on the order in which they are added, and no step is left to a BLAS, whose last digits differ between processors.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points, Stretch
from pipeline.kernels.assign import working_dtype
from pipeline.kernels.distances import own_distances, update_nearest_distances
from pipeline.kernels.fixed import ClassTotals, FixedPoint, has_exact_sums
from pipeline.kernels.mover import Mover

logger = logging.getLogger(__name__)

Centres = npt.NDArray[np.float64]
"""Shape (k, band), in the points' units."""


@dataclass(frozen=True)
class Clustering:
    """Points in classes, and the classes' centres."""

    centres: Centres
    inertia: float
    """Sum of squared distances of the points to the centres of their classes."""
    iterations: int


class Partition:
    """Which class each point is in, and the classes' means, kept up to date as points move."""

    def __init__(self, points: Points, k: int, stretch: Stretch = None, width: float = 1.0) -> None:
        self._points = points
        self._stretch = stretch
        self._fixed = FixedPoint.of(points.dtype, points.min(axis=1), points.max(axis=1))
        self._mover = Mover(points.dtype, stretch, self._fixed.scaling, width)
        self._bounds = np.zeros(points.shape[1], np.uint8)
        self.labels = np.zeros(points.shape[1], np.uint8)
        """1 to k; 0 before the first move."""
        self.counts, self._sums = self._fixed.zero_sums(k)
        self.counts[0] = points.shape[1]

    def assign(self, centres: Centres) -> int:
        """Move each point to the class of its nearest centre; give the number of points that moved."""
        self._mover.set_centres(centres)
        return self._mover.move(self._points, self.labels, self._bounds, self.counts, self._sums)

    def fill(self, centres: Centres) -> None:
        """Give each empty class one of the points that are farthest from their centres."""
        empty = np.flatnonzero(self.counts[1:] == 0) + 1
        if not empty.size:
            return
        distances, _ = own_distances(self._points, self.labels, centres, self._stretch)
        farthest = np.argsort(-distances, kind="stable")[: empty.size]
        logger.debug("%d empty classes begin anew at the points farthest from their centres", empty.size)
        for label, point in zip(empty, farthest, strict=True):
            old, value = self.labels[point], self._fixed.split(self._points[:, point])
            self.labels[point], self._bounds[point] = label, 0
            self.counts[[old, label]] += -1, 1
            self._sums[old] -= value
            self._sums[label] += value

    def means(self, centres: Centres) -> Centres:
        """Mean of each class's points; `centres` stay where a class is empty."""
        ledger = ClassTotals(len(centres), self._fixed)
        ledger.add(self.counts, self._sums)
        return ledger.means(centres)


def lloyd(
    points: Points,
    centres: Centres,
    *,
    max_iter: int,
    tolerance: float,
    stretch: Stretch = None,
    width: float = 1.0,
    stopped: Callable[[], bool] = lambda: False,
) -> Clustering:
    """Move points to their nearest centres and centres to the means of their points, again and again.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        C-contiguous, of any type and units.
    centres : ndarray of float64, shape (k, band)
        To start from; k is at most 254.
    max_iter : int
        Most moves of the centres.
    tolerance : float
        Enough is when the squared moves of all centres together are no more; or when no point changes class.
    stretch : ndarray of float64, shape (band,), optional
        What differences of each band are multiplied by.
    width : float
        Some distance of points from their centres: see `Mover`. It changes no result.
    stopped : callable
        Asked before each move whether nobody wants the result any more.

    References
    ----------
    S. Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf. Theory 28 (1982).
    """
    partition = Partition(points, len(centres), stretch, width)
    iterations = 0
    while iterations < max_iter and not stopped() and partition.assign(centres):
        iterations += 1
        partition.fill(centres)
        means = partition.means(centres)
        shift = float(np.square((means - centres) * (1 if stretch is None else stretch)).sum())
        centres = means
        if shift <= tolerance:
            break
    partition.assign(centres)
    return Clustering(centres, own_distances(points, partition.labels, centres, stretch)[1], iterations)


def band_means(points: Points) -> npt.NDArray[np.float64]:
    """Mean of each band of points (band, point), summed in their order: the same bits on any machine."""
    if has_exact_sums(points.dtype):
        sums = points.sum(axis=1, dtype=np.int64)
    else:
        sums = np.array([np.cumsum(band, dtype=np.float64)[-1] for band in points])
    return np.asarray(sums / points.shape[1], np.float64)


def plus_plus(points: Points, k: int, generator: np.random.Generator, stretch: Stretch = None) -> Centres:
    """Choose points to start from, by "greedy k-means++": far from each other, but no outliers.

    Each next one is the best of 2 + log(k) points drawn with a chance proportional to their squared distance from
    those chosen, as in scikit-learn.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        C-contiguous, with at least k that differ.
    k : int
        How many to choose.
    generator : numpy.random.Generator
        Draws.
    stretch : ndarray of float64, shape (band,), optional
        What differences of each band are multiplied by.

    References
    ----------
    D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
    """
    count = points.shape[1]
    chosen = [int(generator.integers(count))]
    nothing = np.full(count, np.inf, working_dtype(points.dtype))
    closest, _ = update_nearest_distances(points, chosen[0], nothing, stretch)
    for _ in range(k - 1):
        cumulative = np.cumsum(closest, dtype=np.float64)
        draws = generator.random(2 + int(np.log(k))) * cumulative[-1]
        tries = np.minimum(np.searchsorted(cumulative, draws, side="right"), count - 1)
        attempts = ((point, *update_nearest_distances(points, point, closest, stretch)) for point in tries.tolist())
        point, closest, _ = min(attempts, key=lambda attempt: attempt[2])
        chosen.append(point)
    return np.ascontiguousarray(points[:, chosen].T, np.float64)
