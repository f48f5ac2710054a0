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
from collections.abc import Hashable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import nextafter
from typing import Any, Final
from uuid import uuid4

import dask
import dask.array as da
import dask.threaded
import numpy as np
import numpy.typing as npt
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
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
        # without fusion, which forgets where chunks are, and gives them other names in each pass
        with dask.config.set({"scheduler": _OnWorkers(given.executor), "optimization.fuse.active": False}):
            clusterer.fit(features)
    else:
        features = _all_rows(given.pixels, scaling) if given.pixels else _sampled_rows(sample, scaling)
        with _threads(workers):
            clusterer.fit(features)
    logger.info("dask-ml: passes: %d", clusterer.n_iter_)
    return scaling.centres(clusterer.cluster_centers_), int(clusterer.n_iter_)


class _OnWorkers:
    """A scheduler of dask that computes on the workers of an executor.

    It is pickled as the name of dask's own: processes that start workers send dask's config to them.
    """

    def __init__(self, executor: ClusterExecutor) -> None:
        self._executor = executor

    def __call__(self, graph: Any, keys: Any, **how: Any) -> Any:
        """Compute a graph."""
        return self._executor.compute_graph(graph, keys, **how)

    def __reduce__(self) -> tuple[Any, ...]:
        return str, ("dask.distributed",)


class _Pool(ThreadPoolExecutor):
    """Threads that are pickled as none, for the same reason."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()


@contextmanager
def _threads(workers: int) -> Iterator[None]:
    """Let dask and dask-ml use a number of threads."""
    controller = ThreadpoolController()
    # OpenMP has a setting per thread, so each worker thread sets its own
    with (
        _Pool(workers, initializer=partial(controller.limit, limits=1)) as pool,
        controller.limit(limits=1, user_api="blas"),
        dask.config.set(scheduler=dask.threaded.get, pool=pool, num_workers=workers),
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
    rows, counts = dask.delayed(_RowsOfBlock(pixels, scaling), traverse=False), pixels.fitted.counts
    bands = len(pixels.fitted.low)
    chunks = [
        da.from_delayed(rows(block), (counts[block], bands), np.float32) for block in pixels.blocks if counts[block]
    ]
    features: da.Array = da.concatenate(chunks, axis=0)
    return features


@dataclass(frozen=True)
class _Owners:
    """The workers that may make each chunk best, as dask wants to be told."""

    addresses: Mapping[Any, str | None]
    """Address of the worker whose cache has the pixels, by the key of the chunk."""

    def __call__(self, key: Any) -> list[str] | None:
        """Return the workers of a task."""
        owner = self.addresses.get(key)
        return [owner] if owner else None


def _rows_on_workers(pixels: PixelPieces, scaling: _Scaling, executor: ClusterExecutor) -> da.Array:
    """All pixels of the fit as `_all_rows`, whose chunks are made on workers, each by the one that has the block.

    Blocks that workers are given would have to be computed again where they are not in the cache: then the chunks are
    computed once, and dask stores them.
    """
    task, counts = _RowsOfBlock(pixels, scaling), pixels.fitted.counts
    lazy, inputs = executor.lazy(task)
    blocks = [block for block in pixels.blocks if counts[block]]
    name = f"rows-{uuid4().hex}"
    graph: dict[Any, Any] = {name: lazy}  # under a key of its own, not a copy in each task
    addresses: dict[Any, str | None] = {}
    for number, block in enumerate(blocks):
        given = {each: make() for each, make in inputs.of([block]).items()}
        graph[name, number, 0] = run_lazily, name, block, list(given), *(each.key for each in given.values())
        for each in given.values():
            graph.update(each.dask)
        addresses[name, number, 0] = executor.owner(task.place(block))
    layer = MaterializedLayer(graph, annotations={"workers": _Owners(addresses), "allow_other_workers": True})
    chunks = tuple(counts[block] for block in blocks), (len(pixels.fitted.low),)
    features = da.Array(HighLevelGraph({name: layer}, {name: set()}), name, chunks, dtype=np.float32)
    return features.persist(scheduler=executor.client) if inputs else features
