"""A scene's model: draw a sample, cluster it, go on over all pixels if that is asked for, put the classes in order."""

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
from pipeline.core.units import relative
from pipeline.core.version import __version__
from pipeline.engine.memory import release_memory
from pipeline.engine.progress import Progress, Step
from pipeline.features.scale import Preparation, prepare
from pipeline.kernels.assign import assign
from pipeline.kernels.distances import own_distances
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
"""Bands that a message lists."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Fit:
    """A model, and how it was come by."""

    model: ClusterModel
    passes: tuple[Pass, ...] = ()
    """Over all pixels; empty unless there were exact ones."""


@dataclass(frozen=True)
class _Found:
    """Classes in the model's order."""

    centres: Centres
    """In stored numbers, not yet brought into the model's quantity."""
    counts: Counts
    """Pixels of each class, once they were."""
    inertia: float
    """In squared units of the model's quantity."""
    iterations: int
    passes: tuple[Pass, ...] = ()


def fit_source(
    source: FitSource | PixelPieces,
    config: FitConfig,
    features: FeaturesConfig = FeaturesConfig(),  # noqa: B008 (frozen)
    *,
    workers: int,
    progress: Progress,
) -> Fit:
    """Find the classes of a scene.

    Parameters
    ----------
    source : FitSource
        The scene; a `PixelPieces` where `config.pixels` is 'all'. A fit on a sample reads it once.
    config : FitConfig
        Method, number of classes, sample size, seed.
    features : FeaturesConfig
        How bands are standardized.
    workers : int
        Blocks, then starts, worked on at once.
    progress : Progress
        Shows the stages `sample`, `fit` and `refine`.

    Raises
    ------
    SceneError
        When no pixel is valid, or a block can't be read.
    FitError
        When there are fewer distinct pixels than classes, or a band has no spread to be divided by.
    """
    with progress.stage("sample", len(source.blocks)) as step:
        sample = draw_sample(source, wanted=config.sampled, seed=config.seed, workers=workers, step=step)
    _warn_of_values(sample.points, source.info, standardized=features.standardize != "none")
    release_memory()
    over_all = source if isinstance(source, CachedPieces | UncachedPieces) and config.pixels == "all" else None
    if over_all:
        _check_numbers(over_all.low, over_all.high, sample.valid, sample)
    points = sample.points
    _check_numbers(points.min(axis=1), points.max(axis=1), points.shape[1], sample)
    preparation = prepare(points, source.info, features)
    spreads = source.info.units.spreads / preparation.spreads
    stretch = relative(spreads)
    with progress.stage("fit", config.starts) as step:
        start = fit_sample(points, config, workers, step, stretch)
    finish = _Finish(over_all, source.info, points, config, spreads, workers)
    if config.pixels == "all" or config.method == "dask-ml":
        with progress.stage("refine", finish.steps) as step:
            found = finish.run(start, step)
    else:
        found = finish.on_the_sample(start.centres, start.iterations)
    if found.iterations >= config.max_iter and not found.passes:  # `refine` knows better, and says so itself
        logger.warning("fit.max_iter: centroids may not rest yet after pass %d; allow more", found.iterations)
    release_memory()
    return Fit(_model(source.info, sample, found, config, preparation), found.passes)


def _warn_of_values(points: Points, info: SceneInfo, *, standardized: bool) -> None:
    """Say what in the sampled pixels may spoil the map."""
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
    where = info.sources[0] if len(info.sources) == 1 else f"bands {', '.join(names)}"  # no one of many files is meant
    for line in check_values(values, standardized=standardized):
        logger.warning("%s (%s)", line, where)


def _check_numbers(low: npt.NDArray[Any], high: npt.NDArray[Any], count: int, sample: Sample) -> None:
    """Raise FitError where the least and largest numbers of bands can't be reckoned with, or not beside each other."""
    check_magnitude(low, high, count)
    check_outliers(low, high, sample.points)


@dataclass(frozen=True)
class _Finish:
    """What follows once the sampled pixels are clustered."""

    pixels: PixelPieces | None
    """All of them, if they are to be gone over."""
    info: SceneInfo
    points: Points
    """Sampled, shape (band, point)."""
    config: FitConfig
    spreads: npt.NDArray[np.float64]
    """Of a stored number of each band, in units of the model's quantity, shape (band,)."""
    workers: int

    @property
    def stretch(self) -> Stretch:
        """What differences of each band are multiplied by."""
        return relative(self.spreads)

    @property
    def unit(self) -> float:
        """What makes of squared stretched distances such of the model's quantity."""
        return float(self.spreads[0]) ** 2

    @property
    def steps(self) -> int | None:
        """How many steps there will be; None where that shows only as they are done."""
        by_batches = self.config.method == "minibatch" and self.config.pixels == "all"
        return count_batches(self.info.grid.shape) if by_batches else None

    def run(self, start: Clustering, step: Step) -> _Found:
        """Go on by dask-ml, or over all pixels."""
        if self.pixels is None and self.config.pixels == "all":
            msg = "a fit over all pixels wants KeptBlocks or ReadBlocks"
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
            self.workers,
            unit=self.unit,
            in_order=self._in_order,
            settle=self._settle,
            step=step,
        )
        return _Found(refined.centres, refined.counts, refined.inertia, len(refined.passes), refined.passes)

    def _by_dask(self, centres: Centres) -> _Found:
        from pipeline.methods.dask_ml import refine_by_dask  # noqa: PLC0415 (takes seconds to import)

        found, passes = refine_by_dask(self.pixels, self.points, centres, self.config, self.stretch, self.workers)
        if self.pixels is None:
            return self.on_the_sample(found, passes)
        found = self._in_order(found)
        engine, settled = Passes(self.pixels, len(found), self.stretch, self.workers, width=1.0), self._settle(found)
        engine.run(settled)
        return _Found(found, engine.counts, self.unit * engine.inertia(settled), passes)

    def _by_batches(self, pixels: PixelPieces, start: Clustering, step: Step) -> _Found:
        begin = self.on_the_sample(start.centres, start.iterations)
        centres = stream_batches(
            pixels,
            begin.centres,
            begin.counts,
            seed=self.config.seed,
            stretch=self.stretch,
            workers=self.workers,
            step=step,
        )
        return self.on_the_sample(centres, start.iterations)

    def on_the_sample(self, centres: Centres, iterations: int) -> _Found:
        """Count the sampled pixels of each class."""
        centres = self._in_order(centres)
        settled, everywhere = self._settle(centres), np.ones((1, self.points.shape[1]), np.bool_)
        labels = assign(self.points[:, np.newaxis], everywhere, settled, self.stretch)[0]
        counts = np.bincount(labels, minlength=len(centres) + 1)[1:]
        inertia = self.unit * own_distances(self.points, labels, settled, self.stretch)[1]
        return _Found(centres, counts, inertia, iterations)

    def _in_order(self, centres: Centres) -> Centres:
        """Centres in the model's order: a pixel midway between two is in the first of them, here and in every map."""
        return centres[brightness_order(self.info.units.to_physical(centres))]

    def _settle(self, centres: Centres) -> Centres:
        """Centres as every scene, this one among them, will have them of the model: by way of its quantity."""
        units = self.info.units
        return units.to_stored(units.to_physical(centres))


def _model(info: SceneInfo, sample: Sample, found: _Found, config: FitConfig, preparation: Preparation) -> ClusterModel:
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
    """Order of classes from the darkest to the brightest.

    Parameters
    ----------
    centres : ndarray, shape (k, band)
        Class centres in any order.

    Returns
    -------
    ndarray of int, shape (k,)
        Rows sorted by their mean; rows of equal mean by their numbers, first band first.
    """
    return np.lexsort((*centres.T[::-1], centres.mean(axis=1)))
