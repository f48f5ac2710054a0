"""Mini-batch k-means of scikit-learn on sampled points, on one thread per start."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import ThreadpoolController

from pipeline.config.schema import FitConfig
from pipeline.core.arrays import Points, Stretch
from pipeline.kernels.assign import working_dtype
from pipeline.methods.lloyd import Clustering, band_means, lloyd


@contextmanager
def minibatch(points: Points, config: FitConfig, stretch: Stretch = None) -> Iterator[Callable[[int], Clustering]]:
    """Return a context manager that yields a function from a seed to the clustering of that start.

    Centroids are those of scikit-learn's MiniBatchKMeans, moved to the exact means of their points. Each call uses
    one thread: on several threads scikit-learn adds sums in the order in which threads end, so the last digits of
    its centroids would depend on the load of the machine.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        Points in input units.
    config : FitConfig
        Number of classes and stopping rules.
    stretch : ndarray of float64, shape (band,), optional
        Factor per band by which differences are multiplied before distances are taken; None for 1.
    """
    # scikit-learn computes distances as x.x - 2 x.c + c.c, which loses digits far from zero
    origin, factor = band_means(points), np.ones(len(points)) if stretch is None else stretch
    rows = np.empty(points.shape[::-1], working_dtype(points.dtype))
    for band, numbers in enumerate(points):
        rows[:, band] = (numbers - origin[band]) * factor[band]
    threads = ThreadpoolController()
    settings = {"n_clusters": config.k, "n_init": 1, "max_iter": config.max_iter, "tol": config.tol}

    def start(seed: int) -> Clustering:
        with threads.limit(limits=1, user_api="openmp"):  # OpenMP has this setting per thread
            clusterer = MiniBatchKMeans(**settings, random_state=seed).fit(rows)
        centres = clusterer.cluster_centers_.astype(np.float64) / factor + origin
        refined = lloyd(points, centres, max_iter=1, tolerance=0, stretch=stretch)
        return Clustering(refined.centres, refined.inertia, int(clusterer.n_iter_))

    with threads.limit(limits=1, user_api="blas"):  # BLAS has one setting for the process
        yield start
