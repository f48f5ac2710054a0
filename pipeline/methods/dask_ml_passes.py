"""Passes of dask-ml over all pixels, or over the sample.

Workarounds for dask-ml 2025.1:

- It refuses NaN and has no masks, so it gets valid pixels only.
- It truncates centroids of integers, so pixels are converted to float32, centred and scaled.
- Its own initialization reads all pixels about fifty times, so it gets initial centroids.
- Its `tol` is absolute, and that of the config relative to the variance: pixels are scaled to a mean variance of 1.
- It reads pixels in each pass, so they come from the cache.
- Its labels are not used: labels are those of the map.

Its sums are floats, added chunk by chunk, so other block sizes may change the last digits.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
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
from pipeline.kernels.move_points import EXCLUDED
from pipeline.methods.lloyd import Centres
from pipeline.methods.method import FitInput, FitResult
from pipeline.methods.passes import Passes
from pipeline.methods.settings import CentroidSettings
from pipeline.methods.starts import fit_sample, warn_of_max_iter
from pipeline.pixels.pieces import PixelPieces

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

    No other processes are used.
    """
    settings, sample, workers = given.settings, given.points, given.executor.threads
    scaling = _Scaling(sample, given.stretch)
    if given.pixels is None:
        features = da.from_array(scaling.rows(sample), chunks=(_ROWS, -1))
    else:
        features = _all_rows(given.pixels, scaling)
    clusterer = KMeans(
        n_clusters=len(start),
        init=scaling.rows(np.ascontiguousarray(start.T)),
        max_iter=settings.max_iter,
        tol=max(settings.tol, nextafter(0.0, 1.0)),  # with a tol of 0 it would not stop at a shift of 0
    )
    controller = ThreadpoolController()
    # OpenMP has a setting per thread, so each worker thread sets its own
    with (
        ThreadPoolExecutor(workers, initializer=partial(controller.limit, limits=1)) as pool,
        controller.limit(limits=1, user_api="blas"),
        dask.config.set(scheduler="threads", pool=pool, num_workers=workers),
    ):
        clusterer.fit(features)
    logger.info("dask-ml: passes: %d", clusterer.n_iter_)
    return scaling.centres(clusterer.cluster_centers_), int(clusterer.n_iter_)


def _all_rows(pixels: PixelPieces, scaling: _Scaling) -> da.Array:
    """All pixels of the fit as a dask array, shape (pixel, band), one chunk per block that has any."""

    def rows(number: int) -> Rows:
        pieces: Sequence[Rows] = [
            scaling.rows(piece.points[:, piece.labels != EXCLUDED]) for piece in pixels.pieces([pixels.blocks[number]])
        ]
        return np.concatenate(pieces)

    bands, counts = len(pixels.fitted.low), pixels.fitted.counts
    shapes = [(number, (counts[block], bands)) for number, block in enumerate(pixels.blocks)]
    chunks = [da.from_delayed(dask.delayed(rows)(n), shape, np.float32) for n, shape in shapes if shape[0]]
    features: da.Array = da.concatenate(chunks, axis=0)
    return features
