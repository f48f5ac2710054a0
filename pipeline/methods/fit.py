"""Fit a model to a scene: draw a sample, check its values, and let a method find the classes."""

import logging
from dataclasses import dataclass
from os.path import basename
from typing import Any, Final

import numpy.typing as npt

from pipeline.config.schema import FeaturesConfig
from pipeline.core.arrays import Points
from pipeline.core.needs import Work
from pipeline.core.pixels import PixelSource
from pipeline.core.scene_info import SceneInfo
from pipeline.core.version import __version__
from pipeline.engine.executor import Executor
from pipeline.engine.memory import release_memory
from pipeline.engine.progress import Progress
from pipeline.features.columns import Columns
from pipeline.features.standardize import Standardization, column_words, weights_of_bands
from pipeline.geo.gdal import public_address
from pipeline.labels.class_records import with_statistics
from pipeline.methods.method import AnyMethod, FitInput, FitResult
from pipeline.methods.pixel_checks import Computed, check_count, check_magnitude, check_outliers
from pipeline.methods.registry import check_settings, fit_function, method_of
from pipeline.methods.sample import Sample, draw_sample, draw_sample_by_cell
from pipeline.methods.settings import DistanceSettings, SampleSettings, StratifiedSettings
from pipeline.models.base import ClusterModel, Fitting, Provenance
from pipeline.models.classes import ClassInfo
from pipeline.pixels.pieces import PixelPieces
from pipeline.pixels.table import TABLE
from pipeline.scenes.value_checks import BandValues, check_values

logger = logging.getLogger(__name__)

_MOST_NAMES: Final = 8
"""Largest number of bands named in a message."""


@dataclass(frozen=True)
class Fit:
    """A model and how it was found."""

    model: ClusterModel
    log: tuple[Any, ...] = ()
    """What the method logged; see `FitResult.log`."""


def fit_source(
    source: PixelSource,
    config: SampleSettings,
    features: FeaturesConfig = FeaturesConfig(),  # noqa: B008 (frozen)
    *,
    columns: Columns | None = None,
    executor: Executor,
    progress: Progress,
) -> Fit:
    """Fit a model to the pixels of a scene.

    Parameters
    ----------
    source : PixelSource
        The scene. A fit on a sample reads it once; passes over all pixels read it again, or its store.
    config : SampleSettings
        Section `fit`: the method and its settings.
    features : FeaturesConfig
        Scaling and standardization of the bands.
    columns : Columns, optional
        What the columns of the source are computed from; None if they are the bands of the scene.
    executor : Executor
        Runs tasks over blocks; starts run on its threads of this process.
    progress : Progress
        Reports progress of the stage `sample` and those of the method, `fit` and `refine`.

    Raises
    ------
    SceneError
        If no pixel is valid, or a block can't be read.
    ConfigError
        If the method takes one band only, and the scene has more; if settings are not allowed, as `check_settings`.
    FitError
        If there are fewer distinct pixels than classes, or a band to be standardized is constant.
    """
    method = method_of(config)
    check_settings(config, features)
    method.check_scene(source.info)
    method.check_bands(source.info, config)
    features = _features_of(method, features)
    work = Work(chunk=source.blocks[0].shape, blocks=len(source.blocks), workers=executor.threads)
    remembers = method.stores_labels(source.info, config, work)
    weights = config.weights if isinstance(config, DistanceSettings) else None
    weights_of_bands(weights, source.info)  # before any pixel is read
    sample = _sample(source, config, executor, progress)
    _check_values(sample, source.info, features)
    release_memory()
    stored = sample.points
    standardization = Standardization.fit(stored, source.info, features).weighted(weights, source.info)
    standardization = standardization.with_components(features.pca, stored, source.info)
    preparation = standardization.bind(source.info.units)
    given = FitInput(
        settings=config,
        info=source.info,
        stored=stored,
        points=preparation.apply(stored),
        valid=sample.valid,
        pixels=PixelPieces(source, sample.fitted, preparation, remembers=remembers) if sample.fitted else None,
        preparation=preparation,
        executor=executor,
        progress=progress,
    )
    found = fit_function(method)(given)
    release_memory()
    model = _model(source.info, sample, found, config, standardization)
    return Fit(model.model_copy(update=columns.in_model) if columns else model, found.log)


def _sample(source: PixelSource, config: SampleSettings, executor: Executor, progress: Progress) -> Sample:
    """Draw the sample that a config asks for, in random order; raise FitError if it has fewer pixels than classes."""
    with progress.stage("sample", len(source.blocks)) as step:
        sample = (draw_sample_by_cell if config.by_cell else draw_sample)(
            source,
            wanted=config.sampled_of(source.info),
            seed=config.seed,
            executor=executor,
            limits=config.pixels == "all",
            step=step,
        )
    sample = sample.first(config.sampled_among(sample.valid))
    if isinstance(config, StratifiedSettings):  # whose classes are found in the sample
        check_count(sample.points.shape[1], method_of(config).classes(config)[0])
    return sample.shuffled(config.seed) if config.by_cell else sample


def _check_values(sample: Sample, info: SceneInfo, features: FeaturesConfig) -> None:
    """Warn of suspicious values among sampled pixels; raise FitError for values too large, too small or too far apart.

    Pixels are as they are stored: a fill value without a tag would be hidden by clamping.
    """
    stored = sample.points
    if TABLE not in info.drivers:
        _warn_of_values(stored, info, standardized=features.way != "none")
    computed = [
        column_words(info, number, features) if quantity == "index" else None
        for number, quantity in enumerate(info.units.quantities)
    ]
    if sample.fitted:
        _check_numbers(sample.fitted.low, sample.fitted.high, sample.valid, stored, computed)
    _check_numbers(stored.min(axis=1), stored.max(axis=1), stored.shape[1], stored, computed)


def _features_of(method: AnyMethod, features: FeaturesConfig) -> FeaturesConfig:
    """Leave bands as they are if a method does not standardize them; say so if the config asks for another way."""
    if method.standardizes:
        return features
    if features.way not in {"none", FeaturesConfig().way}:
        logger.info("features.standardize: %s has no effect with fit.method: %s", features.way, method.name)
    return features.model_copy(update={"standardize": "none"})


def _warn_of_values(points: Points, info: SceneInfo, *, standardized: bool) -> None:
    """Log warnings about the values of the sampled pixels."""
    bands = [band for band, quantity in enumerate(info.units.quantities) if quantity != "index"]
    values = BandValues(
        names=tuple(info.bands[band] for band in bands),
        stored=tuple(points[band] for band in bands),
        scales=tuple(info.scales[band] for band in bands),
        offsets=tuple(info.offsets[band] for band in bands),
        quantities=tuple(info.units.quantities[band] for band in bands),
        nodata=tuple(info.nodata[band] for band in bands),
        masked=info.masked,
    )
    names = info.bands if len(info.bands) <= _MOST_NAMES else (*info.bands[:_MOST_NAMES], "...")
    # a value found in all bands is not that of one file
    where = info.sources[0] if len(info.sources) == 1 else f"bands {', '.join(names)}"
    for line in check_values(values, standardized=standardized):
        logger.warning("%s (%s)", line, where)


def _check_numbers(
    low: npt.NDArray[Any], high: npt.NDArray[Any], count: int, points: Points, computed: Computed
) -> None:
    """Raise FitError if pixel values are too large, too small or too far apart for exact sums and distances."""
    check_magnitude(low, high, count, computed=computed)
    check_outliers(low, high, points, computed)


def _model(
    info: SceneInfo, sample: Sample, found: FitResult, config: SampleSettings, standardization: Standardization
) -> ClusterModel:
    """Make the model of a fit."""
    model = found.kind(
        bands=info.bands,
        units=info.units,
        preparation=standardization,
        nodata=info.nodata_rule,
        classes=tuple(
            ClassInfo(id=label, name=found.names[label - 1] if found.names else f"class {label}", pixels=pixels)
            for label, pixels in enumerate(found.counts.tolist(), 1)
        ),
        inertia=found.inertia,
        **found.content,
        fitting=Fitting(
            **config.in_model,
            iterations=found.iterations,
            sampled_pixels=sample.points.shape[1],
            valid_pixels=sample.valid,
            scene_pixels=sample.total,
        ),
        provenance=Provenance(
            software="terrazzo",
            version=__version__,
            sources=tuple(basename(public_address(path)) for path in info.sources),  # noqa: PTH119 (may be /vsi...)
            crs=info.grid.crs,
        ),
    )
    return with_statistics(model, info, sample.points)
