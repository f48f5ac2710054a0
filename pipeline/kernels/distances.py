"""Squared distances from points in memory to one centroid, or to the centroid of their own class."""

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points, Stretch
from pipeline.kernels.assign import working_dtype, working_stretch
from pipeline.kernels.compiled import compiled
from pipeline.kernels.nearest import TILE_POINTS


@compiled
def _update_nearest_distances(
    points: Points,
    centre: npt.NDArray[np.floating],
    closest: npt.NDArray[np.floating],
    stretch: Stretch,
    out: npt.NDArray[np.floating],
) -> float:
    """Fill `out` with the smaller of `closest` and the squared distance to a centroid; return its sum."""
    bands, count = points.shape
    total = 0.0
    for start in range(0, count, TILE_POINTS):
        stop = min(start + TILE_POINTS, count)
        n = stop - start
        distance, so_far = out[start:stop], closest[start:stop]
        for i in range(n):
            distance[i] = 0
        for b in range(bands):
            row, position = points[b, start:stop], centre[b]
            if stretch is None:  # decided when the kernel is compiled
                for i in range(n):
                    difference = row[i] - position
                    distance[i] += difference * difference
            else:
                factor = stretch[b]
                for i in range(n):
                    difference = (row[i] - position) * factor
                    distance[i] += difference * difference
        for i in range(n):
            distance[i] = min(distance[i], so_far[i])
        for i in range(n):
            total += distance[i]
    return total


def update_nearest_distances(
    points: Points, centre: int, closest: npt.NDArray[np.floating], stretch: Stretch = None
) -> tuple[npt.NDArray[np.floating], float]:
    """Squared distance of each point to its nearest centroid after one more point has become a centroid.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        Points in any units.
    centre : int
        Index of the point that becomes a centroid.
    closest : ndarray of float, shape (point,)
        Squared distances to the nearest centroid so far; infinite if there is no centroid yet.
    stretch : ndarray of float, shape (band,), optional
        Factor per band by which differences are multiplied.

    Returns
    -------
    distances : ndarray of float, shape (point,)
        Squared distances to the nearest centroid.
    total : float
        Sum of the distances, added in the order of the points.
    """
    dtype = working_dtype(points.dtype)
    out = np.empty(points.shape[1], dtype)
    position = np.ascontiguousarray(points[:, centre], dtype)
    return out, _update_nearest_distances(points, position, closest, working_stretch(stretch, dtype), out)


@compiled
def _own_distances(
    points: Points,
    labels: npt.NDArray[np.uint8],
    centres: npt.NDArray[np.float64],
    stretch: Stretch,
    out: npt.NDArray[np.float64],
) -> float:
    total = 0.0
    bands, count = points.shape
    for i in range(count):
        centre = centres[labels[i] - 1]
        distance = 0.0
        for b in range(bands):
            difference = points[b, i] - centre[b]
            if stretch is not None:  # decided when the kernel is compiled
                difference *= stretch[b]
            distance += difference * difference
        out[i] = distance
        total += distance
    return total


def own_distances(
    points: Points, labels: npt.NDArray[np.uint8], centres: npt.NDArray[np.float64], stretch: Stretch = None
) -> tuple[npt.NDArray[np.float64], float]:
    """Squared distance of each point to the centroid of its own class, and the sum of them (the inertia).

    Parameters
    ----------
    points : ndarray, shape (band, point)
        Points in any units.
    labels : ndarray of uint8, shape (point,)
        Class of each point, 1 to k.
    centres : ndarray of float64, shape (k, band)
        Centroids in the units of the points.
    stretch : ndarray of float, shape (band,), optional
        Factor per band by which differences are multiplied.
    """
    out = np.empty(points.shape[1])
    return out, _own_distances(points, labels, centres, stretch, out)
