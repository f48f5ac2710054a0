"""k-means passes over points that skip most distance computations.

A point that is nearer to its centroid than to the second nearest by some margin can't have changed class until the two
fastest centroids have moved by that margin together. The margin is stored as a lower bound per point, as in G. Hamerly,
"Making k-means even faster", SDM 2010, but in a byte instead of a float. It is rounded down, so that classes are always
those that `assign` finds.
"""

from math import ceil
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points, Stretch
from pipeline.kernels.assign import working_centroids
from pipeline.kernels.move_points import EXCLUDED, Drift, Scaling, move_points
from pipeline.kernels.nearest import Centroids
from pipeline.kernels.sums import ACCUMULATORS

_MAX_BOUND: Final = 255
"""Largest bound that a byte holds, in steps."""

_STEPS_PER_WIDTH: Final = 64
"""Number of steps per `width`, the typical distance of points from their centroids."""

_ERROR_FACTOR: Final = 16
"""Safety factor for the error bounds of distances; 2 or 3 would be enough."""

_ROUNDING_STEPS: Final = 0.01
"""Generous bound, in steps, of the rounding error of the sum of centroid movements."""


class Mover:
    """Moves points to the class of their nearest centroid, and tracks how far centroids have moved.

    Parameters
    ----------
    dtype : numpy.dtype
        Type of the points.
    stretch : ndarray of float64, shape (band,), optional
        Factor per band by which differences are multiplied.
    scaling : ndarray of float64, shape (band,), optional
        Factor per band that converts points to integers (`FixedPoint.scaling`); None if they are integers.
    width : float
        Typical distance of points from their centroids, in stretched units. It sets the resolution of bounds and
        affects only speed.
    """

    def __init__(self, dtype: np.dtype[Any], stretch: Stretch, scaling: Scaling, width: float) -> None:
        self._dtype = dtype
        self._stretch = stretch
        self._scaling = scaling
        self._step = width / _STEPS_PER_WIDTH or 1.0
        self._travelled = self._step
        """Stretched distance that the two fastest centroids have moved together since bounds were last reset."""
        self._centroids: Centroids | None = None
        self._drift = Drift(0, 0.0, 0.0, 0.0)

    def set_centres(self, centres: npt.NDArray[np.float64]) -> None:
        """Set the centroids, shape (k, band), to which `move` moves points."""
        centroids = working_centroids(centres, self._stretch, self._dtype)
        if self._centroids:
            shift = (centroids.exact - self._centroids.exact) * (1 if self._stretch is None else self._stretch)
            moved = np.sort(np.linalg.norm(shift, axis=1))
            self._travelled += float(moved[-1] + moved[-2])
        due = ceil(self._travelled / self._step + _ROUNDING_STEPS) if np.isfinite(self._travelled) else _MAX_BOUND + 1
        if due > _MAX_BOUND:  # check all points and reset bounds
            due, self._travelled = _MAX_BOUND + 1, self._step
        self._centroids = centroids
        travelled = (self._travelled - _ERROR_FACTOR * centroids.distance_error) / self._step - _ROUNDING_STEPS
        self._drift = Drift(due, travelled, 1 / self._step, _ERROR_FACTOR * centroids.relative_error)

    def move(
        self,
        points: Points,
        labels: npt.NDArray[np.uint8],
        bounds: npt.NDArray[np.uint8],
        counts: npt.NDArray[np.int64],
        sums: npt.NDArray[np.int64],
    ) -> int:
        """Move each point to the class of its nearest centroid, as found by `assign`, and return the number of moves.

        Several threads may call this at the same time.

        Parameters
        ----------
        points : ndarray, shape (band, point)
            Points in any units.
        labels : ndarray of uint8, shape (point,)
            1 to k, 0 for a point without a class yet, `EXCLUDED` for one that takes no part; changed in place.
        bounds : ndarray of uint8, shape (point,)
            Bound per point, in steps; 0 at first, any value for `EXCLUDED`; changed in place.
        counts : ndarray of int64, shape (k + 1,)
            Number of points per label; changed in place.
        sums : ndarray of int64, shape (k + 1, column)
            Sum of the points per label, as integers (`FixedPoint.join`); row 0 is not used. Changed in place: only
            points that move are added and subtracted, which is exact for integers.

        Raises
        ------
        RuntimeError
            If `set_centres` was not called before.
        """
        if self._centroids is None:
            msg = "Mover.move: there are no centroids; call set_centres first"
            raise RuntimeError(msg)
        added = np.zeros((1 + sums.shape[1], ACCUMULATORS, EXCLUDED + 1), np.int64)
        moves: int = move_points(
            points, self._centroids, self._scaling, labels, bounds, self._drift, counts, sums, added
        )
        if added[0].any():
            entered = added.sum(axis=1)[:, : len(counts)]
            counts += entered[0]
            counts[0] -= entered[0].sum()
            sums += entered[1:].T
        return moves
