"""Points that move to their nearest centres, pass after pass, most of them unseen.

A point whose nearest centre was nearer by some distance than the next one can't have changed class while the two
fastest centres together have come less far. That distance is kept for each point, in a byte, as in G. Hamerly, "Making
k-means even faster", SDM 2010, who keeps it in floats; rounded down, so that no class is ever other than `assign` would
find it.
"""

from math import ceil
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points, Stretch
from pipeline.kernels.assign import working_centroids
from pipeline.kernels.move_points import OUTSIDE, Drift, Scaling, move_points
from pipeline.kernels.nearest import Centroids
from pipeline.kernels.sums import SETS

_STEPS: Final = 255
"""Largest bound: a byte."""

_STEPS_OF_A_CLASS: Final = 64
"""Steps that the distance from a class's centre is cut into."""

_DOUBT: Final = 16
"""How many times the type's `eps` a distance may be wrong, for each band and a few; 2 or 3 would do."""

_ROUNDING: Final = 0.01
"""Steps that are lost to rounding, by far: the way that centres have come is added up in floats."""


class Mover:
    """Moves points to their nearest centres; knows how far those have come since each point was looked at.

    Parameters
    ----------
    dtype : numpy.dtype
        Of the points.
    stretch : ndarray of float64, shape (band,), optional
        What differences of each band are multiplied by.
    scaling : ndarray of float64, shape (band,), optional
        How points become whole numbers (`FixedPoint.scaling`); None where they are.
    width : float
        Some distance of points from their centres, in stretched units: how fine bounds are. It changes no result.
    """

    def __init__(self, dtype: np.dtype[Any], stretch: Stretch, scaling: Scaling, width: float) -> None:
        self._dtype = dtype
        self._stretch = stretch
        self._scaling = scaling
        self._step = width / _STEPS_OF_A_CLASS or 1.0
        self._come = self._step
        """How far the two fastest centres have come, together, since bounds began."""
        self._centroids: Centroids | None = None
        self._drift = Drift(0, 0.0, 0.0, 0.0)

    def aim(self, centres: npt.NDArray[np.float64]) -> None:
        """Take the centres, shape (k, band), to which points are moved from now on."""
        centroids = working_centroids(centres, self._stretch, self._dtype)
        if self._centroids:
            way = (centroids.exact - self._centroids.exact) * (1 if self._stretch is None else self._stretch)
            moved = np.sort(np.linalg.norm(way, axis=1))
            self._come += float(moved[-1] + moved[-2])
        due = ceil(self._come / self._step + _ROUNDING) if np.isfinite(self._come) else _STEPS + 1
        if due > _STEPS:  # all points are looked at, and bounds begin anew
            due, self._come = _STEPS + 1, self._step
        self._centroids = centroids
        come = (self._come - _DOUBT * centroids.slope) / self._step - _ROUNDING
        self._drift = Drift(due, come, 1 / self._step, _DOUBT * centroids.share)

    def move(
        self,
        points: Points,
        labels: npt.NDArray[np.uint8],
        bounds: npt.NDArray[np.uint8],
        counts: npt.NDArray[np.int64],
        sums: npt.NDArray[np.int64],
    ) -> int:
        """Move each point to the class of its nearest centre, as `assign` finds it, and count the moves.

        May be called from several threads at once.

        Parameters
        ----------
        points : ndarray, shape (band, point)
            Any units.
        labels : ndarray of uint8, shape (point,)
            1 to k, 0 for a point that is in no class yet, `OUTSIDE` for one that takes no part; changed in place.
        bounds : ndarray of uint8, shape (point,)
            0 at first, any for `OUTSIDE`; changed in place.
        counts : ndarray of int64, shape (k + 1,)
            Points with each label; changed in place.
        sums : ndarray of int64, shape (k + 1, column)
            Sums of the points with each label, as whole numbers (`FixedPoint.join`); row 0 means nothing. Only
            the points that move are added and subtracted, which is exact for whole numbers.
        """
        if self._centroids is None:
            msg = "aim at centres before points are moved"
            raise RuntimeError(msg)
        added = np.zeros((1 + sums.shape[1], SETS, OUTSIDE + 1), np.int64)
        moves: int = move_points(
            points, self._centroids, self._scaling, labels, bounds, self._drift, counts, sums, added
        )
        if added[0].any():
            entered = added.sum(axis=1)[:, : len(counts)]
            counts += entered[0]
            counts[0] -= entered[0].sum()
            sums += entered[1:].T
        return moves
