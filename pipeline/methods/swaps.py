"""Swaps of centroids, which lead k-means with many classes out of poor optima.

With many classes, a start of k-means often ends with two centroids in one cluster of points and one centroid in two:
Lloyd's algorithm moves none that far, and the probability that none of some ten starts errs falls with k.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points, Stretch
from pipeline.engine.time_limits import is_stopped
from pipeline.kernels.assign import assign, working_dtype
from pipeline.kernels.distances import own_distances
from pipeline.methods.lloyd import Centres, Clustering, draw_far_point

LEAST_SWAPPED: Final = 20
"""Smallest number of classes with which centroids are swapped; with fewer, ten starts find the best known optimum."""

SWAP_STEPS: Final = 5
"""Number of iterations of Lloyd's algorithm before the first swap, and after each."""

_SWAPS: Final = 10
"""Number of swaps that are tried per start."""

_NEXT: Final = 0.6
"""Probability that a centroid is passed over for the next more useful one: a swap that failed is not tried again."""


def swap_centroids(
    points: Points,
    centres: Centres,
    iterate: Callable[[Points, Centres], Clustering],
    generator: np.random.Generator,
    stretch: Stretch = None,
) -> Centres:
    """Move some of the least useful centroids to where errors are large, wherever that lowers the inertia.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        Points, C-contiguous.
    centres : ndarray of float64, shape (k, band)
        Initial centroids, such as those of `plus_plus`.
    iterate : callable
        Makes a few iterations of Lloyd's algorithm from centroids.
    generator : numpy.random.Generator
        Random generator.
    stretch : ndarray of float64, shape (band,), optional
        Factor per band by which differences are multiplied before distances are taken; None for 1.

    Returns
    -------
    ndarray of float64, shape (k, band)
        Centroids whose inertia is at most that of a few iterations from `centres`.

    References
    ----------
    P. Fränti, "Efficiency of random swap clustering", Journal of Big Data 5 (2018), draws the centroid and its new
    position evenly; here both are drawn by their effect on the inertia, the position as in greedy k-means++.
    """
    best = iterate(points, centres)
    order, closest = _survey(points, best.centres, stretch)
    for _ in range(_SWAPS):
        if not closest.any() or is_stopped():
            break
        rank = 0
        while rank < len(centres) - 1 and generator.random() < _NEXT:
            rank += 1
        point, _ = draw_far_point(points, closest, len(centres), generator, stretch)
        swapped = best.centres.copy()
        swapped[order[rank]] = points[:, point]
        found = iterate(points, swapped)
        if found.inertia < best.inertia:
            best = found
            order, closest = _survey(points, best.centres, stretch)
    return best.centres


def _survey(
    points: Points, centres: Centres, stretch: Stretch
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.floating]]:
    """Order the centroids from the least useful one, and return the squared distance of each point to its own."""
    everywhere = np.ones((1, points.shape[1]), np.bool_)
    labels = assign(points[:, np.newaxis], everywhere, centres, stretch)[0]
    distances, _ = own_distances(points, labels, centres, stretch)
    counts = np.bincount(labels, minlength=len(centres) + 1)[1:]
    costs = merging_costs(counts, centres if stretch is None else centres * stretch)
    return np.argsort(costs, kind="stable"), distances.astype(working_dtype(points.dtype))


def merging_costs(counts: npt.NDArray[np.int64], centres: Centres) -> npt.NDArray[np.float64]:
    """Least rise of the inertia when a class is merged into another one, per class, shape (k,); 0 of an empty class.

    Parameters
    ----------
    counts : ndarray of int64, shape (k,)
        Number of points per class.
    centres : ndarray of float64, shape (k, band)
        Means of the classes, scaled as distances are taken.

    References
    ----------
    J. H. Ward, "Hierarchical grouping to optimize an objective function", J. Am. Stat. Assoc. 58 (1963).
    """
    squared = np.zeros((len(centres), len(centres)))
    for band in centres.T:  # one after the other: the order of additions is the same on any machine
        squared += np.square(band[:, np.newaxis] - band)
    sizes = counts.astype(np.float64)
    costs = sizes[:, np.newaxis] * sizes / np.maximum(sizes[:, np.newaxis] + sizes, 1) * squared
    np.fill_diagonal(costs, np.inf)
    return np.asarray(costs.min(axis=1), np.float64)
