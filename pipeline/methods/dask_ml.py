"""dask-ml's k-means, behind guards.

What is done for it, as its own ways lose pixels, digits or hours (dask-ml 2025.1): it gets valid pixels alone, as
it refuses NaN and knows no mask; float32, centred and scaled, as it truncates centres of integers; an array to start
from, as its own start reads everything some fifty times; `tol` turned from relative to absolute; pixels from the
cache, as it reads them again for each pass. Its labels are not used: ours are those of every map. What is not mended:
it adds up floats chunk by chunk, so that other blocks may change the last digits.
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

from pipeline.config.schema import FitConfig
from pipeline.core.arrays import Points, Stretch
from pipeline.kernels.move_points import EXCLUDED
from pipeline.methods.lloyd import Centres
from pipeline.pixels.pieces import PixelPieces

logger = logging.getLogger(__name__)

Rows = npt.NDArray[np.float32]
"""Shape (pixel, band), centred and scaled."""

_ROWS: Final = 2**16
"""Sampled pixels of a chunk."""


class _Scaling:
    """Turns stored numbers into float32 features around 0 with a mean variance of 1, and back."""

    def __init__(self, sample: Points, stretch: Stretch) -> None:
        factor = np.ones(len(sample)) if stretch is None else stretch
        self._origin = np.array([band.mean(dtype=np.float64) for band in sample])
        variances = np.array([band.var(dtype=np.float64) for band in sample])
        self._factor = factor / float((variances * factor**2).mean()) ** 0.5

    def rows(self, points: Points) -> Rows:
        rows = np.empty(points.shape[::-1], np.float32)
        for band, numbers in enumerate(points):
            rows[:, band] = (numbers - self._origin[band]) * self._factor[band]
        return rows

    def centres(self, rows: npt.NDArray[Any]) -> Centres:
        centres: Centres = rows.astype(np.float64) / self._factor + self._origin
        return centres


def refine_by_dask(  # noqa: PLR0917
    pixels: PixelPieces | None, sample: Points, start: Centres, config: FitConfig, stretch: Stretch, workers: int
) -> tuple[Centres, int]:
    """Move centres by dask-ml's Lloyd passes.

    Parameters
    ----------
    pixels : FitPixels or None
        The scene, each block of which was read for the fit already; None for the sample alone.
    sample : ndarray, shape (band, point)
        Sampled pixels, in stored numbers.
    start : ndarray of float64, shape (k, band)
        Centres to start from, in stored numbers.
    config : FitConfig
        `max_iter` and `tol`, relative to the mean variance of the bands.
    stretch : ndarray of float64, shape (band,), optional
        What differences of each band are multiplied by.
    workers : int
        Blocks worked on at once, on threads of this process: what is kept for the passes is here.

    Returns
    -------
    centres : ndarray of float64, shape (k, band)
    iterations : int
    """
    scaling = _Scaling(sample, stretch)
    features = _all_rows(pixels, scaling) if pixels else da.from_array(scaling.rows(sample), chunks=(_ROWS, -1))
    clusterer = KMeans(
        n_clusters=len(start),
        init=scaling.rows(np.ascontiguousarray(start.T)),
        max_iter=config.max_iter,
        tol=max(config.tol, nextafter(0.0, 1.0)),  # it goes on at a shift of 0 where tol is 0
    )
    controller = ThreadpoolController()
    # OpenMP keeps its setting for each thread: those that work on blocks must set it themselves
    with (
        ThreadPoolExecutor(workers, initializer=partial(controller.limit, limits=1)) as pool,
        controller.limit(limits=1, user_api="blas"),
        dask.config.set(scheduler="threads", pool=pool, num_workers=workers),
    ):
        clusterer.fit(features)
    logger.info("dask-ml: passes: %d", clusterer.n_iter_)
    return scaling.centres(clusterer.cluster_centers_), int(clusterer.n_iter_)


def _all_rows(pixels: PixelPieces, scaling: _Scaling) -> da.Array:
    """All pixels of the fit as a dask array (pixel, band), a chunk for each block that has any."""

    def rows(number: int) -> Rows:
        found: Sequence[Rows] = [
            scaling.rows(piece.points[:, piece.labels != EXCLUDED]) for piece in pixels.pieces([pixels.blocks[number]])
        ]
        return np.concatenate(found)

    shapes = [(number, (pixels.fitting[block], len(pixels.info.bands))) for number, block in enumerate(pixels.blocks)]
    chunks = [da.from_delayed(dask.delayed(rows)(n), shape, np.float32) for n, shape in shapes if shape[0]]
    together: da.Array = da.concatenate(chunks, axis=0)
    return together
