"""Fit a model to a scene: draw a sample, cluster it, refine the centroids over all pixels, and sort the classes."""

import logging
from dataclasses import dataclass
from os.path import basename
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.config.schema import FeaturesConfig, FitConfig
from pipeline.core.arrays import Points, Stretch
from pipeline.core.pixels import FitSource
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import relative_to_first
from pipeline.core.version import __version__
from pipeline.engine.executor import Executor, ThreadExecutor
from pipeline.engine.memory import release_memory
from pipeline.engine.progress import Progress, Step
from pipeline.features.standardize import Preparation, prepare
from pipeline.kernels.assign import assign
from pipeline.kernels.distances import own_distances
from pipeline.methods import registry
from pipeline.methods.batches import count_batches, stream_batches
from pipeline.methods.exact import Pass, refine
from pipeline.methods.kmeans import check_magnitude, check_outliers, fit_sample
from pipeline.methods.lloyd import Centres, Clustering
from pipeline.methods.passes import Passes
from pipeline.methods.sample import Sample, draw_sample
from pipeline.models.cluster_model import ClusterModel, Fitting, Provenance
from pipeline.pixels.pieces import CachedPieces, PixelPieces, UncachedPieces
from pipeline.scenes.value_checks import BandValues, check_values

logger = logging.getLogger(__name__)

_MOST_NAMES: Final = 8
"""Largest number of bands named in a message."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Fit:
    """A model and the passes that led to it."""

    model: ClusterModel
    passes: tuple[Pass, ...] = ()
    """Statistics of each exact pass over all pixels; empty for other methods."""


@dataclass(frozen=True)
class _Found:
    """Result of a method, with classes in the model's order."""

    centres: Centres
    """Centroids in stored numbers, not yet converted to the model's quantity, shape (k, band)."""
    counts: Counts
    """Number of pixels per class after the conversion, shape (k,)."""
    inertia: float
    """Sum of squared distances of the counted pixels to their centroids, in squared units of the model's quantity."""
    iterations: int
    """Number of passes or iterations of the method."""
    passes: tuple[Pass, ...] = ()


def fit_source(
    source: FitSource | PixelPieces,
    config: FitConfig,
    features: FeaturesConfig = FeaturesConfig(),  # noqa: B008 (frozen)
    *,
    workers: int,
    progress: Progress,
) -> Fit:
    """Fit a model to the pixels of a scene.

    Parameters
    ----------
    source : FitSource
        The scene; a `PixelPieces` if `config.pixels` is 'all'. A fit on a sample reads it once.
    config : FitConfig
        Method, number of classes, sample size, seed and stopping rules.
    features : FeaturesConfig
        Scaling and standardization of the bands.
    workers : int
        Number of threads: first over blocks, then over starts.
    progress : Progress
        Reports progress of the stages `sample`, `fit` and `refine`.

    Raises
    ------
    SceneError
        If no pixel is valid, or a block can't be read.
    FitError
        If there are fewer distinct pixels than classes, or a band to be standardized is constant.
    """
    executor = ThreadExecutor(workers)
    with progress.stage("sample", len(source.blocks)) as step:
        sample = draw_sample(source, wanted=config.sampled, seed=config.seed, executor=executor, step=step)
    _warn_of_values(sample.points, source.info, standardized=features.standardize != "none")
    release_memory()
    over_all = source if isinstance(source, CachedPieces | UncachedPieces) and config.pixels == "all" else None
    if over_all:
        _check_numbers(over_all.low, over_all.high, sample.valid, sample)
    points = sample.points
    _check_numbers(points.min(axis=1), points.max(axis=1), points.shape[1], sample)
    preparation = prepare(points, source.info, features)
    spreads = source.info.units.difference_factors / preparation.spreads
    stretch = relative_to_first(spreads)
    with progress.stage("fit", config.starts) as step:
        start = fit_sample(points, config, workers, step, stretch)
    refinement = _Refinement(over_all, source.info, points, config, spreads, executor)
    if config.pixels == "all" or config.method == "dask-ml":
        with progress.stage("refine", refinement.steps) as step:
            found = refinement.run(start, step)
    else:
        found = refinement.on_the_sample(start.centres, start.iterations)
    if found.iterations >= config.max_iter and not found.passes:  # `refine` warns itself
        logger.warning("fit.max_iter: centroids may still move after pass %d; allow more passes", found.iterations)
    release_memory()
    return Fit(_model(source.info, sample, found, config, preparation), found.passes)


def _warn_of_values(points: Points, info: SceneInfo, *, standardized: bool) -> None:
    """Log warnings about the values of the sampled pixels."""
    values = BandValues(
        names=info.bands,
        stored=tuple(points),
        scales=info.scales,
        offsets=info.offsets,
        quantities=info.units.quantities,
        nodata=info.nodata,
        masked=info.masked,
    )
    names = info.bands if len(info.bands) <= _MOST_NAMES else (*info.bands[:_MOST_NAMES], "...")
    # a value found in all bands is not that of one file
    where = info.sources[0] if len(info.sources) == 1 else f"bands {', '.join(names)}"
    for line in check_values(values, standardized=standardized):
        logger.warning("%s (%s)", line, where)


def _check_numbers(low: npt.NDArray[Any], high: npt.NDArray[Any], count: int, sample: Sample) -> None:
    """Raise FitError if pixel values are too large, too small or too far apart for exact sums and distances."""
    check_magnitude(low, high, count)
    check_outliers(low, high, sample.points)


@dataclass(frozen=True)
class _Refinement:
    """The steps after the sampled pixels are clustered: refine the centroids, sort them, count pixels."""

    pixels: PixelPieces | None
    """All pixels of the scene; None to use the sample only."""
    info: SceneInfo
    points: Points
    """Sampled pixels in stored numbers, shape (band, point)."""
    config: FitConfig
    spreads: npt.NDArray[np.float64]
    """Size of one stored number per band, in units of the model's quantity, shape (band,)."""
    executor: Executor

    @property
    def stretch(self) -> Stretch:
        """Factor per band by which differences are multiplied before distances are taken, shape (band,)."""
        return relative_to_first(self.spreads)

    @property
    def unit(self) -> float:
        """Factor from squared scaled distances to squared units of the model's quantity."""
        return float(self.spreads[0]) ** 2

    @property
    def steps(self) -> int | None:
        """Number of progress steps; None if it is not known in advance."""
        by_batches = self.config.method == "minibatch" and self.config.pixels == "all"
        return count_batches(self.info.grid.shape) if by_batches else None

    def run(self, start: Clustering, step: Step) -> _Found:
        """Refine the centroids, by dask-ml or over all pixels."""
        if self.pixels is None and self.config.pixels == "all":
            msg = "fit.pixels 'all' needs a source of pixel pieces: CachedPieces or UncachedPieces"
            raise TypeError(msg)
        if self.config.method == "dask-ml" or self.pixels is None:
            return self._by_dask(start.centres)
        if self.config.method == "minibatch":
            return self._by_batches(self.pixels, start, step)
        refined = refine(
            self.pixels,
            self._in_order(start.centres),
            self.points,
            self.config,
            self.stretch,
            self.executor,
            unit=self.unit,
            in_order=self._in_order,
            round_trip=self._round_trip,
            step=step,
        )
        return _Found(refined.centres, refined.counts, refined.inertia, len(refined.passes), refined.passes)

    def _by_dask(self, centres: Centres) -> _Found:
        found, iterations = registry.refine_by_dask(
            self.pixels, self.points, centres, self.config, self.stretch, self.executor.workers
        )
        if self.pixels is None:
            return self.on_the_sample(found, iterations)
        found = self._in_order(found)
        restored = self._round_trip(found)
        passes = Passes(self.pixels, len(found), self.stretch, self.executor, width=1.0)
        passes.assign(restored)
        return _Found(found, passes.counts, self.unit * passes.inertia(restored), iterations)

    def _by_batches(self, pixels: PixelPieces, start: Clustering, step: Step) -> _Found:
        initial = self.on_the_sample(start.centres, start.iterations)
        centres = stream_batches(
            pixels,
            initial.centres,
            initial.counts,
            seed=self.config.seed,
            stretch=self.stretch,
            executor=self.executor,
            step=step,
        )
        return self.on_the_sample(centres, start.iterations)

    def on_the_sample(self, centres: Centres, iterations: int) -> _Found:
        """Sort centroids, and count the sampled pixels per class."""
        centres = self._in_order(centres)
        restored, everywhere = self._round_trip(centres), np.ones((1, self.points.shape[1]), np.bool_)
        labels = assign(self.points[:, np.newaxis], everywhere, restored, self.stretch)[0]
        counts = np.bincount(labels, minlength=len(centres) + 1)[1:]
        inertia = self.unit * own_distances(self.points, labels, restored, self.stretch)[1]
        return _Found(centres, counts, inertia, iterations)

    def _in_order(self, centres: Centres) -> Centres:
        """Sort centroids into the model's order, on which the class of a pixel midway between two of them depends."""
        return centres[brightness_order(self.info.units.to_physical(centres))]

    def _round_trip(self, centres: Centres) -> Centres:
        """Convert centroids to the model's quantity and back, so that their bits are those of any map of the model."""
        units = self.info.units
        return units.to_stored(units.to_physical(centres))


def _model(info: SceneInfo, sample: Sample, found: _Found, config: FitConfig, preparation: Preparation) -> ClusterModel:
    """Make the model of a fit."""
    return ClusterModel(
        bands=info.bands,
        units=info.units,
        preparation=preparation,
        nodata=info.nodata_rule,
        centroids=tuple(tuple(row) for row in info.units.to_physical(found.centres).tolist()),
        counts=tuple(found.counts.tolist()),
        inertia=found.inertia,
        fitting=Fitting(
            **config.model_dump(include={"method", "seed", "starts", "max_iter", "tol"}),
            pixels="all" if config.pixels == "all" else "sampled",
            iterations=found.iterations,
            sampled_pixels=sample.points.shape[1],
            valid_pixels=sample.valid,
            scene_pixels=sample.total,
        ),
        provenance=Provenance(
            software="terrazzo",
            version=__version__,
            sources=tuple(basename(path) for path in info.sources),  # noqa: PTH119 (may be /vsi...)
            crs=info.grid.crs,
        ),
    )


def brightness_order(centres: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return the order of classes from the darkest to the brightest.

    Parameters
    ----------
    centres : ndarray, shape (k, band)
        Centroids in any order.

    Returns
    -------
    ndarray of int, shape (k,)
        Row indices, sorted by the mean of each row; rows of equal mean are sorted by their numbers, first band first.
    """
    return np.lexsort((*centres.T[::-1], centres.mean(axis=1)))
