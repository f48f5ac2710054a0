"""Distances of points held in memory, band by band, to one centre or to that of their class."""

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points, Stretch
from pipeline.kernels.assign import working_dtype, working_stretch
from pipeline.kernels.compiled import compiled
from pipeline.kernels.nearest import TILE_POINTS


@compiled
def _closer(
    points: Points,
    centre: npt.NDArray[np.floating],
    closest: npt.NDArray[np.floating],
    stretch: Stretch,
    out: npt.NDArray[np.floating],
) -> float:
    """Fill `out` with the lesser of `closest` and the squared distance to a centre; give its sum."""
    bands, count = points.shape
    total = 0.0
    for start in range(0, count, TILE_POINTS):
        stop = min(start + TILE_POINTS, count)
        n = stop - start
        distance, known = out[start:stop], closest[start:stop]
        for i in range(n):
            distance[i] = 0
        for b in range(bands):
            row, at = points[b, start:stop], centre[b]
            if stretch is None:  # decided when the kernel is compiled
                for i in range(n):
                    step = row[i] - at
                    distance[i] += step * step
            else:
                factor = stretch[b]
                for i in range(n):
                    step = (row[i] - at) * factor
                    distance[i] += step * step
        for i in range(n):
            distance[i] = min(distance[i], known[i])
        for i in range(n):
            total += distance[i]
    return total


def closer(
    points: Points, centre: int, closest: npt.NDArray[np.floating], stretch: Stretch = None
) -> tuple[npt.NDArray[np.floating], float]:
    """Squared distance of each point to the nearest centre, once one more point has become a centre.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        Any units.
    centre : int
        The point that becomes a centre.
    closest : ndarray of float, shape (point,)
        Squared distances to the nearest centre so far; infinite where there is none.
    stretch : ndarray of float, shape (band,), optional
        What differences of each band are multiplied by.

    Returns
    -------
    distances : ndarray of float, shape (point,)
    total : float
        Their sum, added up in the order of the points.
    """
    kind = working_dtype(points.dtype)
    out = np.empty(points.shape[1], kind)
    at = np.ascontiguousarray(points[:, centre], kind)
    return out, _closer(points, at, closest, working_stretch(stretch, kind), out)


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
            step = points[b, i] - centre[b]
            if stretch is not None:  # decided when the kernel is compiled
                step *= stretch[b]
            distance += step * step
        out[i] = distance
        total += distance
    return total


def own_distances(
    points: Points, labels: npt.NDArray[np.uint8], centres: npt.NDArray[np.float64], stretch: Stretch = None
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
    stretch : ndarray of float, shape (band,), optional
        What differences of each band are multiplied by.
    """
    out = np.empty(points.shape[1])
    return out, _own_distances(points, labels, centres, stretch, out)
