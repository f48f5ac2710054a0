"""Passes of dask-ml over all pixels, or over the sample.

Workarounds for dask-ml 2025.1:

- It refuses NaN and has no masks, so it gets valid pixels only.
- It truncates centroids of integers, so pixels are converted to float32, centred and scaled.
- Its own initialization reads all pixels about fifty times, so it gets initial centroids.
- Its `tol` is absolute, and that of the config relative to the variance: pixels are scaled to a mean variance of 1.
- It reads pixels in each pass, so they come from the cache.
- Its labels are not used: labels are those of the map.

Its sums are floats, added chunk by chunk, so other block sizes may change the last digits.

On a cluster its scheduler computes the passes over all pixels: a chunk is read by the worker that has it in its cache.
"""

import logging
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import nextafter
from typing import Any, Final

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
from dask_ml.cluster import KMeans
from threadpoolctl import ThreadpoolController

from pipeline.core.arrays import Points, Stretch
from pipeline.core.grid import Block
from pipeline.engine.cluster import ClusterExecutor
from pipeline.engine.worker import run_lazily
from pipeline.kernels.move_points import EXCLUDED
from pipeline.methods.lloyd import Centres
from pipeline.methods.method import FitInput, FitResult
from pipeline.methods.passes import Passes
from pipeline.methods.settings import CentroidSettings
from pipeline.methods.starts import fit_sample, warn_of_max_iter
from pipeline.pixels.pieces import PixelPieces
from pipeline.scenes.crop import place_of

logger = logging.getLogger(__name__)

Rows = npt.NDArray[np.float32]
"""Centred and scaled pixels, shape (pixel, band)."""

_ROWS: Final = 2**16
"""Number of sampled pixels per chunk."""


class _Scaling:
    """Converts stored numbers to float32 features with mean 0 and a mean variance of 1, and back."""

    def __init__(self, sample: Points, stretch: Stretch) -> None:
        factor = np.ones(len(sample)) if stretch is None else stretch
        self._origin = np.array([band.mean(dtype=np.float64) for band in sample])
        variances = np.array([band.var(dtype=np.float64) for band in sample])
        self._factor = factor / float((variances * factor**2).mean()) ** 0.5

    def rows(self, points: Points) -> Rows:
        """Convert points, shape (band, point), to features."""
        rows = np.empty(points.shape[::-1], np.float32)
        for band, numbers in enumerate(points):
            rows[:, band] = (numbers - self._origin[band]) * self._factor[band]
        return rows

    def centres(self, rows: npt.NDArray[Any]) -> Centres:
        """Convert features back to stored numbers, shape (row, band)."""
        centres: Centres = rows.astype(np.float64) / self._factor + self._origin
        return centres


def fit_dask_ml(given: FitInput[CentroidSettings]) -> FitResult:
    """Cluster the sample by our own k-means, and refine its centroids by passes of dask-ml."""
    settings, pixels = given.settings, given.pixels
    with given.progress.stage("fit", settings.starts) as step:
        start = fit_sample(given.points, settings, given.executor.threads, step, given.stretch)
    with given.progress.stage("refine", None):
        centres, iterations = _refine(given, start.centres)
        warn_of_max_iter(iterations, settings)
        if pixels is None:
            return given.result_of_sample(centres, iterations)
        centres = given.in_order(centres)
        restored = given.round_trip(centres)
        passes = Passes(pixels, len(centres), given.stretch, given.executor, width=1.0)
        passes.assign(restored)
        return given.result_of_centres(centres, passes.counts, passes.inertia(restored), iterations)


def _refine(given: FitInput[CentroidSettings], start: Centres) -> tuple[Centres, int]:
    """Refine centroids in stored numbers, shape (k, band), and count the passes.

    The sample is in this process, and no others are used for it.
    """
    settings, sample, workers = given.settings, given.points, given.executor.threads
    scaling = _Scaling(sample, given.stretch)
    clusterer = KMeans(
        n_clusters=len(start),
        init=scaling.rows(np.ascontiguousarray(start.T)),
        max_iter=settings.max_iter,
        tol=max(settings.tol, nextafter(0.0, 1.0)),  # with a tol of 0 it would not stop at a shift of 0
    )
    if given.pixels and isinstance(given.executor, ClusterExecutor):
        logger.warning("fit.method: dask-ml: on a cluster the last digits of its centroids vary from run to run")
        features = _rows_on_workers(given.pixels, scaling, given.executor)
        with dask.config.set(scheduler=given.executor.compute_graph):
            clusterer.fit(features)
    else:
        features = _all_rows(given.pixels, scaling) if given.pixels else _sampled_rows(sample, scaling)
        with _threads(workers):
            clusterer.fit(features)
    logger.info("dask-ml: passes: %d", clusterer.n_iter_)
    return scaling.centres(clusterer.cluster_centers_), int(clusterer.n_iter_)


@contextmanager
def _threads(workers: int) -> Iterator[None]:
    """Let dask and dask-ml use a number of threads."""
    controller = ThreadpoolController()
    # OpenMP has a setting per thread, so each worker thread sets its own
    with (
        ThreadPoolExecutor(workers, initializer=partial(controller.limit, limits=1)) as pool,
        controller.limit(limits=1, user_api="blas"),
        dask.config.set(scheduler="threads", pool=pool, num_workers=workers),
    ):
        yield


@dataclass(frozen=True)
class _RowsOfBlock:
    """Task: read the pixels of a block that take part in the fit, as features."""

    pixels: PixelPieces
    scaling: _Scaling

    def place(self, block: Block) -> Hashable:
        """Key of the pixels of a block."""
        return place_of(self.pixels, block)

    def __call__(self, block: Block) -> Rows:
        """Return the features, shape (pixel, band)."""
        pieces = self.pixels.pieces([block])
        return np.concatenate([self.scaling.rows(each.points[:, each.labels != EXCLUDED]) for each in pieces])


def _sampled_rows(sample: Points, scaling: _Scaling) -> da.Array:
    """Sampled pixels as a dask array, shape (pixel, band)."""
    features: da.Array = da.from_array(scaling.rows(sample), chunks=(_ROWS, -1))
    return features


def _all_rows(pixels: PixelPieces, scaling: _Scaling) -> da.Array:
    """All pixels of the fit as a dask array, shape (pixel, band), one chunk per block that has any."""
    rows = dask.delayed(_RowsOfBlock(pixels, scaling), traverse=False)
    return _concatenated(pixels, lambda number: rows(pixels.blocks[number]))


def _rows_on_workers(pixels: PixelPieces, scaling: _Scaling, executor: ClusterExecutor) -> da.Array:
    """All pixels of the fit as `_all_rows`, whose chunks are made on workers, each by the one that has the block.

    Blocks that workers are given can't be had again from a cache that another worker has, so their chunks are computed
    once, and dask stores them.
    """
    task = _RowsOfBlock(pixels, scaling)
    lazy, inputs = executor.lazy(task)
    shared = dask.delayed(lazy, traverse=False)  # one key, not a copy in each task

    def chunk(number: int) -> Any:
        block = pixels.blocks[number]
        owner = executor.owner(task.place(block))
        needed = inputs.of([block])
        given = [make() for make in needed.values()]
        with dask.annotate(**({"workers": [owner], "allow_other_workers": True} if owner else {})):
            return dask.delayed(run_lazily, traverse=False)(shared, block, tuple(needed), *given)

    features = _concatenated(pixels, chunk)
    return features.persist(scheduler=executor.client) if inputs else features


def _concatenated(pixels: PixelPieces, chunk_of: Callable[[int], Any]) -> da.Array:
    """Dask array of the chunks of all blocks that have pixels of the fit, by number."""
    bands, counts = len(pixels.fitted.low), pixels.fitted.counts
    shapes = [(number, (counts[block], bands)) for number, block in enumerate(pixels.blocks)]
    chunks = [da.from_delayed(chunk_of(number), shape, np.float32) for number, shape in shapes if shape[0]]
    features: da.Array = da.concatenate(chunks, axis=0)
    return features
