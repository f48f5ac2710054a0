"""k-means passes over points that skip most distance computations.

A point that is nearer to its centroid than to the second nearest by some margin can't have changed class until the two
fastest centroids have moved by that margin together. The margin is stored as a lower bound per point, as in G. Hamerly,
"Making k-means even faster", SDM 2010, but in a byte instead of a float. It is rounded down, so that classes are always
those that `assign` finds.
"""

from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Final, Self

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

_NO_DRIFT: Final = Drift(0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Mover:
    """Moves points to the class of their nearest centroid; knows how far the centroids have moved before."""

    dtype: np.dtype[Any]
    """Type of the points."""
    stretch: Stretch
    """Factor per band by which differences are multiplied, shape (band,); None for 1."""
    scaling: Scaling
    """Factor per band that converts points to integers (`FixedPoint.scaling`); None if they are integers."""
    width: float
    """Typical distance of points from their centroids, in stretched units: the resolution of bounds. Affects speed
    only."""
    centroids: Centroids | None = None
    """Centroids to which points are moved; None before the first pass."""
    travelled: float = 0.0
    """Stretched distance that the two fastest centroids have moved together since bounds were last reset, plus a
    step."""
    drift: Drift = _NO_DRIFT
    """Distance that the centroids have moved (`travelled`), in steps of a bound, as the kernel takes it."""

    def to(self, centres: npt.NDArray[np.float64]) -> Self:
        """Return the mover of the next pass, to other centroids, shape (k, band)."""
        step = self.width / _STEPS_PER_WIDTH or 1.0
        centroids, travelled = working_centroids(centres, self.stretch, self.dtype), self.travelled or step
        if self.centroids:
            shift = (centroids.exact - self.centroids.exact) * (1 if self.stretch is None else self.stretch)
            moved = np.sort(np.linalg.norm(shift, axis=1))
            travelled += float(moved[-1] + moved[-2])
        due = ceil(travelled / step + _ROUNDING_STEPS) if np.isfinite(travelled) else _MAX_BOUND + 1
        if due > _MAX_BOUND:  # check all points and reset bounds
            due, travelled = _MAX_BOUND + 1, step
        steps = (travelled - _ERROR_FACTOR * centroids.distance_error) / step - _ROUNDING_STEPS
        drift = Drift(due, steps, 1 / step, _ERROR_FACTOR * centroids.relative_error)
        return replace(self, centroids=centroids, travelled=travelled, drift=drift)

    def is_at(self, other: Self) -> bool:
        """Whether both give the same labels, and bounds that can be compared."""
        return self is other or (
            self.travelled == other.travelled
            and self.centroids is not None
            and other.centroids is not None
            and np.array_equal(self.centroids.exact, other.centroids.exact)
        )

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
            Before the first pass: `to` returns the mover that has centroids.
        """
        if self.centroids is None:
            msg = "Mover.move: there are no centroids; call `to` first"
            raise RuntimeError(msg)
        added = np.zeros((1 + sums.shape[1], ACCUMULATORS, EXCLUDED + 1), np.int64)
        moves: int = move_points(points, self.centroids, self.scaling, labels, bounds, self.drift, counts, sums, added)
        if added[0].any():
            entered = added.sum(axis=1)[:, : len(counts)]
            counts += entered[0]
            counts[0] -= entered[0].sum()
            sums += entered[1:].T
        return moves
