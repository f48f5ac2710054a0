"""scikit-learn's k-means on a sample of pixels, made to give the same answer on any machine."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans, MiniBatchKMeans
from threadpoolctl import ThreadpoolController

from pipeline.config import FitConfig
from pipeline.errors import FitError
from pipeline.kernels.assign import working_dtype
from pipeline.runtime.schedule import stream

Clusterer: TypeAlias = KMeans | MiniBatchKMeans

_FIRST_LOOK = 10_000
"""Pixels among which distinct ones are counted first: nearly always enough, and quick."""


def fit_sample(
    values: npt.NDArray[Any], config: FitConfig, workers: int, step: Callable[[], None] = lambda: None
) -> Clusterer:
    """Cluster sampled pixels, from several starts, and keep the best.

    Each start runs on one thread with a seed of its own: scikit-learn sums on several threads in the order
    in which they end, which makes the last digits of its centroids depend on the load of the machine.

    Parameters
    ----------
    values : ndarray, shape (n, band)
        Pixels, in input units.
    config : FitConfig
        Method, number of classes, seed, starts, and when to stop. `tol` is relative to the mean variance
        of the bands.
    workers : int
        Starts worked on at once.
    step : callable
        Called after each start, for progress.

    Returns
    -------
    KMeans or MiniBatchKMeans
        Fitted; its centroids are in no particular order.

    Raises
    ------
    FitError
        When there are fewer distinct pixels than classes, or pixels too large to be squared.
    """
    check_distinct(values, config.k)
    check_magnitude(values)
    points = np.ascontiguousarray(values, working_dtype(values.dtype))
    threads = ThreadpoolController()
    seeds = [int(seed) for seed in np.random.SeedSequence(config.seed).generate_state(config.starts)]

    def start(seed: int) -> Clusterer:
        with threads.limit(limits=1, user_api="openmp"):  # OpenMP keeps this setting for each thread
            return _clusterer(config, seed).fit(points)

    best: Clusterer | None = None
    with threads.limit(limits=1, user_api="blas"):  # and BLAS one for the whole process
        for _, fitted in stream(start, seeds, workers):
            if best is None or fitted.inertia_ < best.inertia_:
                best = fitted
            step()
    if best is None:
        msg = "fit.starts: at least one start is needed"
        raise FitError(msg)
    return best


def _clusterer(config: FitConfig, seed: int) -> Clusterer:
    common = {"n_clusters": config.k, "max_iter": config.max_iter, "tol": config.tol, "random_state": seed}
    if config.method == "minibatch":
        return MiniBatchKMeans(n_init=1, **common)
    return KMeans(n_init=1, copy_x=True, algorithm="lloyd", **common)


def check_distinct(values: npt.NDArray[Any], k: int) -> None:
    """Raise FitError unless at least `k` of the pixels, shape (n, band), differ."""
    for rows in (values[:_FIRST_LOOK], values):
        found = len(np.unique(rows, axis=0))
        if found >= k:
            return
    most = f"ask for {found} classes at most" if found > 1 else "there is nothing to tell apart"
    msg = (
        f"fit.k: {k} classes were asked for, but the {len(values)} sampled pixels have {found} distinct values; {most}"
    )
    raise FitError(msg)


def check_magnitude(values: npt.NDArray[Any]) -> None:
    """Raise FitError where squares of the pixels, shape (n, band), would overflow: they hardly are measurements."""
    largest = values.flat[np.argmax(np.abs(values))] if values.dtype.kind == "f" else 0
    if abs(largest) > np.sqrt(np.finfo(working_dtype(values.dtype)).max) / len(values):
        value = float(largest)
        msg = f"the scene holds the value {value:g}, which looks like 'no data'; if it is, set scene.nodata: {value!r}"
        raise FitError(msg)
