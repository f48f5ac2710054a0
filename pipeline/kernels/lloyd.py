"""Steps of k-means on points held in memory, band by band: distances to one centre, and moves between classes."""

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.kernels.assign import TILE, nearest_class, working_dtype
from pipeline.kernels.compiled import compiled

Points = npt.NDArray[Any]
"""Shape (band, point), C-contiguous, of any type."""


@compiled
def _closer(
    points: Points,
    centre: npt.NDArray[np.floating],
    closest: npt.NDArray[np.floating],
    out: npt.NDArray[np.floating],
) -> float:
    """Fill `out` with the lesser of `closest` and the squared distance to a centre; give its sum."""
    bands, count = points.shape
    total = 0.0
    for start in range(0, count, TILE):
        stop = min(start + TILE, count)
        n = stop - start
        distance, known = out[start:stop], closest[start:stop]
        for i in range(n):
            distance[i] = 0
        for b in range(bands):
            row, at = points[b, start:stop], centre[b]
            for i in range(n):
                step = row[i] - at
                distance[i] += step * step
        for i in range(n):
            distance[i] = min(distance[i], known[i])
        for i in range(n):
            total += distance[i]
    return total


def closer(points: Points, centre: int, closest: npt.NDArray[np.floating]) -> tuple[npt.NDArray[np.floating], float]:
    """Squared distance of each point to the nearest centre, once one more point has become a centre.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        Any units.
    centre : int
        The point that becomes a centre.
    closest : ndarray of float, shape (point,)
        Squared distances to the nearest centre so far; infinite where there is none.

    Returns
    -------
    distances : ndarray of float, shape (point,)
    total : float
        Their sum, added up in the order of the points.
    """
    kind = working_dtype(points.dtype)
    out = np.empty(points.shape[1], kind)
    return out, _closer(points, np.ascontiguousarray(points[:, centre], kind), closest, out)


@compiled
def _own_distances(
    points: Points, labels: npt.NDArray[np.uint8], centres: npt.NDArray[np.float64], out: npt.NDArray[np.float64]
) -> float:
    total = 0.0
    bands, count = points.shape
    for i in range(count):
        centre = centres[labels[i] - 1]
        distance = 0.0
        for b in range(bands):
            step = points[b, i] - centre[b]
            distance += step * step
        out[i] = distance
        total += distance
    return total


def own_distances(
    points: Points, labels: npt.NDArray[np.uint8], centres: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], float]:
    """Squared distance of each point to the centre of its own class, and their sum (the inertia).

    Parameters
    ----------
    points : ndarray, shape (band, point)
        Any units.
    labels : ndarray of uint8, shape (point,)
        1 to k.
    centres : ndarray of float64, shape (k, band)
        In the points' units.
    """
    out = np.empty(points.shape[1])
    return out, _own_distances(points, labels, centres, out)


@compiled
def _move(
    points: Points,
    centroids: npt.NDArray[np.floating],
    labels: npt.NDArray[np.uint8],
    counts: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64] | None,
) -> int:
    """Move each point to its nearest class, its numbers from one class's sum to another's; count the moves."""
    bands, count = points.shape
    tile = np.empty((bands, TILE), centroids.dtype)
    distance, nearest = np.empty(TILE, centroids.dtype), np.empty(TILE, centroids.dtype)
    label = np.empty(TILE, np.int32)
    moves = 0
    for start in range(0, count, TILE):
        stop = min(start + TILE, count)
        nearest_class(points, start, stop, centroids, tile, distance, nearest, label)
        for i in range(stop - start):
            old, new = labels[start + i], label[i]
            if new != old:
                moves += 1
                labels[start + i] = new
                counts[old] -= 1
                counts[new] += 1
                if sums is not None:  # decided when the kernel is compiled
                    for b in range(bands):
                        value = np.int64(points[b, start + i])
                        sums[old, b] -= value
                        sums[new, b] += value
    return moves


def move(
    points: Points,
    centres: npt.NDArray[np.float64],
    labels: npt.NDArray[np.uint8],
    counts: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64] | None,
) -> int:
    """Move each point to the class of its nearest centre, as `assign` finds it, and count the moves.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        Any units.
    centres : ndarray of float64, shape (k, band)
        In the points' units.
    labels : ndarray of uint8, shape (point,)
        1 to k, or 0 for a point that is in no class yet; changed in place.
    counts : ndarray of int64, shape (k + 1,)
        Points with each label; changed in place.
    sums : ndarray of int64, shape (k + 1, band), or None
        Sums of the points with each label, but for label 0; changed in place. Only the points that move
        are added and subtracted, which is exact for whole numbers and only for them.
    """
    return _move(points, centres.astype(working_dtype(points.dtype)), labels, counts, sums)
