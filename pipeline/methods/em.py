"""Expectation maximization: fits a mixture of Gaussians to sampled points, with the same bits for any workers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points
from pipeline.core.errors import FitError
from pipeline.engine.executor import ThreadExecutor
from pipeline.kernels.gaussians import Mixture, Moments, References, add_moments
from pipeline.kernels.mixture import Gaussians, Numbers, standard_mixture
from pipeline.kernels.nearest import BANDS_AT_ONCE, TILE_POINTS
from pipeline.methods.lloyd import Centres, band_means

BLOCK_POINTS: Final = 16 * TILE_POINTS
"""Number of points of a block, summed on one thread. Blocks are added in order: with other blocks, bits differ."""

_LEAST_PIVOT: Final = 1e-10
"""Share of the variance of a band, up to which what other bands leave of it is 0: larger than what a model allows."""

Labels = npt.NDArray[np.uint8]


class ExpectationMaximization:
    """Steps of expectation maximization on points in memory.

    Points are centred and scaled by their mean and deviation, band by band, so that the ridge is a share of the
    variance of each.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        Points of any type and unit, C-contiguous.
    ridge : float
        Share of the variance of each band that is added to that of each class.
    diagonal : bool
        Whether covariances between bands are left out.
    workers : int
        Number of threads.

    References
    ----------
    A. P. Dempster, N. M. Laird, D. B. Rubin, "Maximum likelihood from incomplete data via the EM algorithm", J. R.
    Stat. Soc. B 39 (1977).
    """

    def __init__(self, points: Points, *, ridge: float, diagonal: bool, workers: int) -> None:
        self._points, self._ridge, self._diagonal, self._workers = points, ridge, diagonal, workers
        bands, count = points.shape
        self._centre, self._scale = band_means(points), np.ones(bands)
        everything = np.ones(count, np.uint8)
        variances = self._maximized(everything, Gaussians(np.zeros((1, bands)), _unit(1, bands), np.ones(1)), ridge=0)
        deviation = np.sqrt(np.diagonal(variances.covariances[0]))
        self._scale = 1 / np.where(deviation > 0, deviation, 1)

    def start(self, labels: Labels, centres: Centres) -> Gaussians:
        """Return the Gaussians of points of given classes, 1 to k; `centres` are near their means, shape (k, band)."""
        k, bands = centres.shape
        around = Gaussians((centres - self._centre) * self._scale, _unit(k, bands), np.full(k, 1 / k))
        return self._maximized(labels, around, self._ridge)

    def step(self, gaussians: Gaussians) -> Gaussians:
        """Return the Gaussians of points, each of which is in all classes by its posteriors of the last ones.

        Raises
        ------
        FitError
            If a covariance is singular.
        """
        return self._maximized(None, gaussians, self._ridge)

    def in_units_of_points(self, gaussians: Gaussians) -> Gaussians:
        """Convert Gaussians of centred and scaled points to those of the points; raise FitError if one is singular."""
        self._prepared(gaussians)
        return gaussians.moved(-self._centre * self._scale, 1 / self._scale)

    def _maximized(self, labels: Labels | None, last: Gaussians, ridge: float) -> Gaussians:
        """Return the Gaussians of largest likelihood of points with labels, or with the posteriors of the last ones.

        A class without points stays as it is, with weight 0.
        """
        weights, sums, products = self._moments(labels, last)
        shares, alive = weights / self._points.shape[1], weights > 0
        counts = np.where(alive, weights, 1)
        moves = sums / counts[:, np.newaxis]
        covariances = products / counts[:, np.newaxis, np.newaxis] - moves[:, :, np.newaxis] * moves[:, np.newaxis]
        covariances += ridge * np.eye(len(self._points))
        if self._diagonal:
            covariances *= np.eye(len(self._points))
        return Gaussians(
            np.where(alive[:, np.newaxis], last.means + moves, last.means),
            np.where(alive[:, np.newaxis, np.newaxis], covariances, last.covariances),
            shares / shares.sum(),
        )

    def _moments(self, labels: Labels | None, last: Gaussians) -> Moments:
        """Sums over all points of differences from the last means, with full matrices."""
        starts = range(0, self._points.shape[1], BLOCK_POINTS)
        task = _MomentsOfBlock(self._points, labels, self._prepared(last), References(last.means, self._diagonal))
        total = _no_moments(last.means)
        for _, part in ThreadExecutor(self._workers).map(task, starts):
            total = Moments(*(one + other for one, other in zip(total, part, strict=True)))
        lower = np.tril(total.products[:, :, : len(self._points)])
        return total._replace(products=lower + np.tril(lower, -1).transpose(0, 2, 1))

    def _prepared(self, gaussians: Gaussians) -> Mixture:
        """Prepare Gaussians for the kernels; raise FitError if a covariance is singular."""
        try:
            return standard_mixture(gaussians, self._centre, self._scale, np.float64, _LEAST_PIVOT)
        except np.linalg.LinAlgError as error:
            msg = (
                f"fit.ridge: {self._ridge:g}: the covariance of a class is singular, as some of its bands determine "
                "another, or it has too few distinct pixels; raise fit.ridge to 0.01, or lower fit.k"
            )
            raise FitError(msg) from error


def _unit(k: int, bands: int) -> Numbers:
    """Return k unit matrices, shape (k, band, band)."""
    return np.tile(np.eye(bands), (k, 1, 1))


def _no_moments(references: Numbers) -> Moments:
    """Moments of no points, for references of shape (class, band)."""
    k, bands = references.shape
    padded = -(-bands // BANDS_AT_ONCE) * BANDS_AT_ONCE
    return Moments(np.zeros(k), np.zeros((k, bands)), np.zeros((k, bands, padded)))


@dataclass(frozen=True)
class _MomentsOfBlock:
    """Task: sum over the points of a block."""

    points: Points
    """All points, shape (band, point)."""
    labels: Labels | None
    """Class of each point, shape (point,); None to take posteriors."""
    mixture: Mixture
    """Gaussians of which posteriors are taken, and by which points are centred and scaled."""
    references: References
    """Points from which differences are taken."""

    def __call__(self, start: int) -> Moments:
        """Sum over the block that begins at a point."""
        moments, limits = _no_moments(self.references.points), (start, min(start + BLOCK_POINTS, self.points.shape[1]))
        add_moments(self.points, limits, self.labels, self.mixture, self.references, moments)
        return moments


@dataclass(frozen=True)
class Step:
    """What the log says of a step."""

    shift: float
    """Sum of the squared moves of all means, in squared deviations of the bands."""
    smallest: float
    """Smallest weight of a class, 0 to 1."""


def fit_gaussians(
    em: ExpectationMaximization, labels: Labels, centres: Centres, steps: int, step: Callable[[], None] = lambda: None
) -> tuple[Gaussians, tuple[Step, ...]]:
    """Fit Gaussians to points, by a fixed number of steps from given classes; return them, and what the steps did.

    There is no tolerance: the ridge makes the likelihood fall now and then, which would end the steps by chance.

    Parameters
    ----------
    em : ExpectationMaximization
        The points.
    labels, centres
        Class of each point to start from, and a point near the mean of each class; see `ExpectationMaximization.start`.
    steps : int
        Number of steps.
    step : callable
        Called after each step, for progress.

    Raises
    ------
    FitError
        If a covariance is singular.
    """
    gaussians, log = em.start(labels, centres), list[Step]()
    for _ in range(steps):
        before, gaussians = gaussians, em.step(gaussians)
        shift = float(np.square(gaussians.means - before.means).sum())
        log.append(Step(shift, float(gaussians.weights.min())))
        step()
    return em.in_units_of_points(gaussians), tuple(log)
