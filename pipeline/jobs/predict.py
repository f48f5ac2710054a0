"""Label another scene with a model that exists."""

import logging
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from pipeline.config.argument_messages import check_argument
from pipeline.config.schema import OutputSection, ResourceConfig, SceneConfig
from pipeline.core.errors import ModelError
from pipeline.engine.progress import Progress, progress_of
from pipeline.engine.time_limits import time_limit
from pipeline.formats.renaming import names_for, rename_bands
from pipeline.jobs.cluster import open_executor
from pipeline.jobs.config import PredictConfig
from pipeline.jobs.crew import open_crew
from pipeline.jobs.map import finishing_threads, open_outputs, write_descriptions, write_outputs
from pipeline.jobs.outputs import OutputPaths, stage_outputs
from pipeline.jobs.plan import make_plan
from pipeline.jobs.planned_reading import check_cache_folder, open_planned
from pipeline.jobs.report import Clock, run_report
from pipeline.labels.classify import ClassStatistics
from pipeline.methods.fit import Fit
from pipeline.models.base import ClusterModel
from pipeline.models.classes import UNCLASSIFIED
from pipeline.pixels.open import FeatureScene, Scene
from pipeline.scenes.choose_bands import catalogues_of
from pipeline.scenes.file_stamps import files_of, named_files, stamp_inputs
from pipeline.scenes.open import open_scene_config
from pipeline.scenes.plan_parts import NodataError
from pipeline.sinks.base import Job, Summary
from pipeline.sinks.palette import check_palette, model_colours, warn_of_palette
from pipeline.sinks.picture_options import PictureOptions, check_shown
from pipeline.sinks.provenance import MapProvenance
from pipeline.sinks.registry import OutputConfig
from pipeline.sinks.staging import keep_apart

logger = logging.getLogger(__name__)

_NEARLY_ALL: Final = 0.95
"""Share of the valid pixels in one class above which `predict` warns."""


def predict(
    scene: SceneConfig,
    model: ClusterModel,
    output: OutputConfig,
    *,
    resources: ResourceConfig | None = None,
    overwrite: bool = False,
    progress: bool | Progress = False,
) -> dict[str, Any]:
    """Label a scene with an existing model, reading the scene once.

    Parameters
    ----------
    scene : SceneConfig
        The scene. Its bands are those of the model, and so is its nodata value unless one is set here.
    model : ClusterModel
        From `fit` or `ClusterModel.load`.
    output : OutputConfig
        Paths of the map and the other outputs.
    resources : ResourceConfig, optional
        Workers, memory, chunk.
    overwrite : bool
        Whether outputs that exist may be replaced.
    progress : bool or Progress, default False
        True shows the stages: as bars in a notebook or a terminal, else as lines on standard error.

    Returns
    -------
    dict
        The report, as written to the run's JSON file.

    Raises
    ------
    ConfigError
        If an output can't have its name, or would replace an input; if the folder for the cache does not exist.
    ModelError
        If the scene's bands or units don't fit the model.
    TerrazzoError
        Any other error; no output is written in part.
    """
    _check_arguments(scene, model, output)
    begin, started, progress = perf_counter(), datetime.now(UTC), progress_of(progress, "predict")
    paths, resources = OutputPaths.of(output, fits=False), resources or ResourceConfig()
    check_palette(output.palette, model.k, model.k)
    warn_of_palette(output.palette, model.k)
    check_cache_folder(resources)
    keep_apart(paths.by_key(), named_files(scene, output))
    with (
        stage_outputs(paths, overwrite=overwrite) as staged,
        time_limit(resources.timeout),
        stamp_inputs(scene, output) as stamps,
        ExitStack() as opened,
        open_crew(resources) as crew,
    ):
        described = _scene_for(model, scene, excluded=paths.all())
        stamps.add(described.info.files)
        paths.check_size(described.info.map_grid.shape)
        colours = model_colours(model, output.palette, check_shown(described.info, output), output.stretch)
        keep_apart(paths.by_key(), files_of(described.info))
        outputs, provenance = staged.of_scene(described.info), MapProvenance.of(described.info, scene)
        plan = make_plan(described, resources, None, sinks=paths.sinks, crew=crew)
        with (
            open_planned(described, plan, resources, paths.folder, crew) as read,
            open_executor(crew, described, plan, resources, paths.folder) as executor,
        ):
            job = Job(
                info=read.for_map.info,
                model=model,
                colours=colours,
                workers=finishing_threads(executor),
                zarr_format=output.zarr_format,
                zarr_overviews=output.zarr_overviews,
                provenance=provenance,
                picture=PictureOptions.of(output),
            )
            writers = opened.enter_context(open_outputs(outputs.files(), job))
            statistics = write_outputs(read.for_map, job, writers, executor, progress)
        _warn_of_one_class(statistics, described.info.sources[0])
        clock = Clock(started, perf_counter() - begin, progress.seconds)
        config = PredictConfig(scene=scene, output=output, run=resources)
        inputs = {"config": config.model_dump(mode="json"), "inputs": provenance.file_records}
        report = inputs | run_report(
            read.source,
            plan,
            executor=executor,
            fit=Fit(model),
            statistics=statistics,
            outputs=outputs.record(),
            clock=clock,
        )
        write_descriptions(writers, Summary(statistics, report))
    return report


def _check_arguments(scene: object, model: object, output: object) -> None:
    """Raise ConfigError for arguments of another type, such as paths."""
    paths = "; for paths there are open_scene, label and write"
    check_argument(scene, SceneConfig, f"predict: scene: expected a SceneConfig{paths}")
    check_argument(
        model, ClusterModel, "predict: model: expected a ClusterModel, from fit() or ClusterModel.load(path)"
    )
    check_argument(output, OutputSection, f"predict: output: expected an OutputConfig{paths}")


def _scene_for(model: ClusterModel, config: SceneConfig, excluded: Iterable[Path]) -> Scene:
    """Open a scene with the bands of a model; raise ModelError unless it fits the model."""
    excluded = list(excluded)
    catalogue = catalogues_of(config, excluded)[0]
    if not config.names:
        config = config.model_copy(update={"names": names_for(catalogue, model.scene_bands) or None})
        catalogue = rename_bands(catalogue, config.names)
    origin, available = config.source[0], catalogue.names
    missing = [band for band in model.scene_bands if band not in available]
    if missing:
        needed, has = ", ".join(model.scene_bands), ", ".join(available)
        msg = f"{origin}: the model needs bands {needed}; the scene has {has}, but not {', '.join(missing)}"
        raise ModelError(msg)
    nodata = model.nodata if config.nodata == "auto" else config.nodata
    wanted = config.model_copy(update={"bands": model.scene_bands, "nodata": nodata})
    try:
        bands = open_scene_config(wanted, excluded)
    except NodataError as error:
        if config.nodata != "auto":
            raise
        msg = f"{origin}: the model's nodata value {error.reason}; set scene.nodata to that of this scene"
        raise ModelError(msg) from error
    if "numbers" in model.units.quantities:
        bands = bands.as_stored_numbers(model.units_of_bands(bands.info.units))
    model.check_scene(bands.info)
    scene: Scene = FeatureScene(bands, model.columns) if model.columns else bands
    if (scene.info.scales, scene.info.offsets) != (model.units.scales, model.units.offsets):
        logger.info(
            "%s: the scale or offset to %s differs from that of the model's scene; the centroids are converted exactly",
            origin,
            model.units.quantity_text,
        )
    return scene


def _warn_of_one_class(statistics: ClassStatistics, origin: str) -> None:
    """Warn if nearly all pixels are in one class or in none: often the units differ without a tag that says so."""
    names = {label: f"fall into class {label}" for label in range(1, len(statistics.counts))}
    names[UNCLASSIFIED] = "are unclassified"
    most = max(names, key=statistics.share)
    if statistics.share(most) > _NEARLY_ALL:
        logger.warning(
            "%s: %.1f%% of the pixels %s; does the model's scene have the same units and season?",
            origin,
            100 * statistics.share(most),
            names[most],
        )
