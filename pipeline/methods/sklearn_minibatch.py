"""Mini-batches: k-means of scikit-learn on sampled points, one thread per start, then batches of all pixels."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import ThreadpoolController

from pipeline.core.arrays import Points, Stretch
from pipeline.kernels.assign import working_dtype
from pipeline.methods.batches import count_batches, stream_batches
from pipeline.methods.lloyd import Clustering, band_means, lloyd
from pipeline.methods.method import FitInput, FitResult
from pipeline.methods.pixel_checks import check_sample
from pipeline.methods.settings import CentroidSettings
from pipeline.methods.starts import best_start, warn_of_equal_classes, warn_of_max_iter


def fit_minibatch(given: FitInput[CentroidSettings]) -> FitResult:
    """Cluster the sample, and move the centroids by one batch of all pixels after the other if they are used."""
    settings, points = given.settings, given.points
    with given.progress.stage("fit", settings.starts) as step:
        check_sample(points, settings.k, given.stretch)
        with one_thread_starts(points, settings, given.stretch) as new_start:
            best = best_start(new_start, settings, given.executor.workers, step)
        warn_of_equal_classes(best.centres)
    warn_of_max_iter(best.iterations, settings)
    if given.pixels is None:
        return given.result_of_sample(best.centres, best.iterations)
    start = given.in_order(best.centres)
    with given.progress.stage("refine", count_batches(given.info.grid.shape)) as step:
        centres = stream_batches(given, given.pixels, start, given.count(start), step)
    return given.result_of_sample(centres, best.iterations)


@contextmanager
def one_thread_starts(
    points: Points, settings: CentroidSettings, stretch: Stretch = None
) -> Iterator[Callable[[int], Clustering]]:
    """Return a context manager that yields a function from a seed to the clustering of that start.

    Centroids are those of scikit-learn's MiniBatchKMeans, moved to the exact means of their points. Each call uses
    one thread: on several threads scikit-learn adds sums in the order in which threads end, so the last digits of
    its centroids would depend on the load of the machine.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        Points in input units.
    settings : CentroidSettings
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
    rules = {"n_clusters": settings.k, "n_init": 1, "max_iter": settings.max_iter, "tol": settings.tol}

    def start(seed: int) -> Clustering:
        with threads.limit(limits=1, user_api="openmp"):  # OpenMP has this setting per thread
            clusterer = MiniBatchKMeans(**rules, random_state=seed).fit(rows)
        centres = clusterer.cluster_centers_.astype(np.float64) / factor + origin
        refined = lloyd(points, centres, max_iter=1, tolerance=0, stretch=stretch)
        return Clustering(refined.centres, refined.inertia, int(clusterer.n_iter_))

    with threads.limit(limits=1, user_api="blas"):  # BLAS has one setting for the process
        yield start
