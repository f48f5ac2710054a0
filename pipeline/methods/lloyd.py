"""Lloyd's k-means and k-means++ on sampled points, with identical bits on any machine.

Like scikit-learn's KMeans, with two differences: sums are fixed-point, so they don't depend on the order of
additions, and no BLAS is used, whose last digits differ between processors.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points, Stretch
from pipeline.kernels.assign import working_dtype
from pipeline.kernels.distances import own_distances, update_nearest_distances
from pipeline.kernels.fixed import ClassTotals, FixedPoint, has_exact_sums
from pipeline.kernels.mover import Mover

logger = logging.getLogger(__name__)

Centres = npt.NDArray[np.float64]
"""Centroids in the points' units, shape (k, band)."""


@dataclass(frozen=True)
class Start:
    """What the log says of a start."""

    inertia: float
    """Sum of squared distances of the points on which starts are compared to their centroids."""
    iterations: int
    """Number of iterations, after swaps of centroids."""


@dataclass(frozen=True)
class Clustering:
    """Result of k-means on sampled points."""

    centres: Centres
    """Centroids, shape (k, band)."""
    inertia: float
    """Sum of squared distances of the points to their centroids."""
    iterations: int
    """Number of iterations."""
    starts: tuple[Start, ...] = ()
    """The starts of which it is the best."""

    def as_start(self) -> Start:
        """Return what the log says of this clustering as one of the starts."""
        return Start(self.inertia, self.iterations)

    def log_of_starts(self, unit: float) -> tuple[Start, ...]:
        """Return what the log says of the starts, with squared distances multiplied by a unit."""
        return tuple(Start(start.inertia * unit, start.iterations) for start in self.starts)


@dataclass(frozen=True)
class Iteration:
    """An iteration of Lloyd's algorithm: points are assigned to centroids, which then move to the means of classes."""

    assigned: Centres
    """Centroids to which points were assigned, shape (k, band)."""
    centres: Centres
    """Centroids after the iteration, shape (k, band)."""
    moves: int
    """Number of points that changed class."""
    shift: float
    """Sum of the squared moves of all centroids, relative to `Partition.variance`."""


class Partition(Protocol):
    """Points, each in the class of its nearest centroid."""

    stretch: Stretch
    """Factor per band by which differences are multiplied before distances are taken, shape (band,); None for 1."""

    @property
    def variance(self) -> float:
        """Variance relative to which the moves of centroids are measured."""

    def assign(self, centres: Centres) -> int:
        """Assign each point to its nearest centroid; return the number of points that changed class."""

    def means(self, centres: Centres) -> Centres:
        """Mean of the points of each class, shape (k, band); classes that `centres` left empty are restarted."""


def iterate(
    points: Partition, centres: Centres, max_iter: int, tol: float, stopped: Callable[[], bool] = lambda: False
) -> Iterator[Iteration]:
    """Assign points to their nearest centroids and move centroids to the means of their points, until they converge.

    Parameters
    ----------
    points : Partition
        Points of any kind.
    centres : ndarray of float64, shape (k, band)
        Initial centroids.
    max_iter : int
        Largest number of iterations.
    tol : float
        Iterations end if `Iteration.shift` is at most `tol`, or no point changes class.
    stopped : callable
        Called before each iteration; iterations end if it returns True.

    References
    ----------
    S. Lloyd, "Least squares quantization in PCM", IEEE Trans. Inf. Theory 28 (1982).
    """
    factors = 1 if points.stretch is None else points.stretch
    for _ in range(max_iter):
        if stopped():
            return
        moves = points.assign(centres)
        means = points.means(centres) if moves else centres
        squared = float(np.square((means - centres) * factors).sum())
        done = Iteration(centres, means, moves, squared / points.variance if squared else 0.0)
        yield done
        if not moves or done.shift <= tol:
            return
        centres = means


def farthest_points(
    points: Points, labels: npt.NDArray[np.uint8], centres: Centres, stretch: Stretch, count: int
) -> Iterator[tuple[int, float]]:
    """Yield the points that are farthest from their centroids, with their squared distances: new ones of empty classes.

    The two partitions use them differently. Of points in memory, one is moved to the empty class, so that the mean of
    its old class is without it. All pixels of a scene can't be looked up, so a sampled pixel becomes the centroid, and
    the next pass moves it there. One rule for both would change results.
    """
    distances, _ = own_distances(points, labels, centres, stretch)
    for point in np.argsort(-distances, kind="stable")[:count].tolist():
        yield point, float(distances[point])


class PointPartition:
    """A `Partition` of points in memory: their classes, and the sums of each class, updated as points change class."""

    variance = 1.0

    def __init__(self, points: Points, k: int, stretch: Stretch = None, width: float = 1.0) -> None:
        self._points = points
        self.stretch = stretch
        self._fixed = FixedPoint.of(points.dtype, points.min(axis=1), points.max(axis=1))
        self._mover = Mover(points.dtype, stretch, self._fixed.scaling, width)
        self._bounds = np.zeros(points.shape[1], np.uint8)
        self.labels = np.zeros(points.shape[1], np.uint8)
        """Class of each point, 1 to k, shape (point,); 0 before the first assignment."""
        self.counts, self._sums = self._fixed.zero_sums(k)
        self.counts[0] = points.shape[1]

    def assign(self, centres: Centres) -> int:
        """Assign each point to its nearest centroid; return the number of points that changed class."""
        self._mover = self._mover.to(centres)
        return self._mover.move(self._points, self.labels, self._bounds, self.counts, self._sums)

    def means(self, centres: Centres) -> Centres:
        """Mean of the points of each class, shape (k, band), after a point is moved to each empty class."""
        self._fill(centres)
        totals = ClassTotals(len(centres), self._fixed)
        totals.add(self.counts, self._sums)
        return totals.means(centres)

    def _fill(self, centres: Centres) -> None:
        """Move one of the points that are farthest from their centroids to each empty class."""
        empty = np.flatnonzero(self.counts[1:] == 0) + 1
        if not empty.size:
            return
        logger.debug("%d empty classes restart at the points farthest from their centroids", empty.size)
        farthest = farthest_points(self._points, self.labels, centres, self.stretch, empty.size)
        for label, (point, _) in zip(empty, farthest, strict=True):
            old, value = self.labels[point], self._fixed.split(self._points[:, point])
            self.labels[point], self._bounds[point] = label, 0
            self.counts[[old, label]] += -1, 1
            self._sums[old] -= value
            self._sums[label] += value


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
    """Run Lloyd's algorithm on points in memory: see `iterate`.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        Points of any type and unit, C-contiguous.
    centres : ndarray of float64, shape (k, band)
        Initial centroids; k is at most 254.
    max_iter : int
        Largest number of iterations.
    tolerance : float
        Sum of the squared moves of all centroids at which iterations end; they also end if no point changes class.
    stretch : ndarray of float64, shape (band,), optional
        Factor per band by which differences are multiplied before distances are taken; None for 1.
    width : float
        Typical distance of points from their centroids: see `Mover`. Affects speed only.
    stopped : callable
        Called before each iteration; iterations end if it returns True.
    """
    partition, iterations = PointPartition(points, len(centres), stretch, width), 0
    for done in iterate(partition, centres, max_iter, tolerance, stopped):
        iterations += done.moves > 0
        centres = done.centres
    partition.assign(centres)
    return Clustering(centres, own_distances(points, partition.labels, centres, stretch)[1], iterations)


def band_means(points: Points) -> npt.NDArray[np.float64]:
    """Mean of each band of points (band, point), summed in their order, with identical bits on any machine."""
    if has_exact_sums(points.dtype):
        sums = points.sum(axis=1, dtype=np.int64)
    else:
        sums = np.array([np.cumsum(band, dtype=np.float64)[-1] for band in points])
    return np.asarray(sums / points.shape[1], np.float64)


def draw_far_point(
    points: Points,
    closest: npt.NDArray[np.floating],
    k: int,
    generator: np.random.Generator,
    stretch: Stretch = None,
) -> tuple[int, npt.NDArray[np.floating]]:
    """Draw a point that becomes one of k centroids: the best of 2 + log(k), drawn by their squared distances.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        Points, C-contiguous.
    closest : ndarray of float, shape (point,)
        Squared distance of each point to its nearest centroid so far, in the points' working type; not all 0.
    k, generator, stretch
        As in `plus_plus`.

    Returns
    -------
    int
        The index of the point that leaves the smallest sum of squared distances.
    ndarray of float, shape (point,)
        Squared distances to the nearest centroid with it.
    """
    cumulative = np.cumsum(closest, dtype=np.float64)
    draws = generator.random(2 + int(np.log(k))) * cumulative[-1]
    candidates = np.minimum(np.searchsorted(cumulative, draws, side="right"), points.shape[1] - 1)
    attempts = ((point, *update_nearest_distances(points, point, closest, stretch)) for point in candidates.tolist())
    point, distances, _ = min(attempts, key=lambda attempt: attempt[2])
    return point, distances


def plus_plus(points: Points, k: int, generator: np.random.Generator, stretch: Stretch = None) -> Centres:
    """Choose initial centroids by greedy k-means++: points far from each other, but not outliers.

    Each next point is the best of 2 + log(k) candidates, drawn with a probability proportional to their squared
    distance from those chosen before, as in scikit-learn.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        Points, C-contiguous, at least k of them distinct.
    k : int
        Number of centroids.
    generator : numpy.random.Generator
        Random generator.
    stretch : ndarray of float64, shape (band,), optional
        Factor per band by which differences are multiplied before distances are taken; None for 1.

    References
    ----------
    D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
    """
    count = points.shape[1]
    chosen = [int(generator.integers(count))]
    nothing = np.full(count, np.inf, working_dtype(points.dtype))
    closest, _ = update_nearest_distances(points, chosen[0], nothing, stretch)
    for _ in range(k - 1):
        point, closest = draw_far_point(points, closest, k, generator, stretch)
        chosen.append(point)
    return np.ascontiguousarray(points[:, chosen].T, np.float64)
