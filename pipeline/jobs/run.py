"""Run, fit and plan as a config says: each command in one straight line through all stages."""

import logging
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from pipeline.config.argument_messages import check_argument
from pipeline.core.errors import OutputError
from pipeline.engine.executor import Executor
from pipeline.engine.leftovers import remove_leftovers
from pipeline.engine.progress import Progress, progress_of
from pipeline.engine.time_limits import time_limit
from pipeline.jobs.cluster import open_executor
from pipeline.jobs.config import RunConfig
from pipeline.jobs.crew import check_spreads, open_crew
from pipeline.jobs.map import finishing_threads, open_outputs, write_descriptions, write_outputs
from pipeline.jobs.outputs import OutputPaths, stage_outputs
from pipeline.jobs.plan import Plan, check_cache_of_method, make_plan
from pipeline.jobs.planned_reading import (
    check_cache_folder,
    check_disk_space,
    open_planned,
    plan_run,
    read_while_loading,
)
from pipeline.jobs.report import Clock, run_report
from pipeline.jobs.scene import check_indices, open_features
from pipeline.methods.fit import Fit, fit_source
from pipeline.methods.registry import check_settings, method_of
from pipeline.models.base import ClusterModel
from pipeline.pixels.open import FeatureScene, Scene, ScenePixels
from pipeline.scenes.file_stamps import files_of, named_files, stamp_inputs
from pipeline.sinks.base import Job, Summary
from pipeline.sinks.palette import check_palette, model_colours, warn_of_palette, with_colours
from pipeline.sinks.picture_options import PictureOptions, check_shown
from pipeline.sinks.provenance import MapProvenance
from pipeline.sinks.staging import Staging, check_writable, keep_apart
from pipeline.sinks.text_files import MODEL, write_text

logger = logging.getLogger(__name__)


def check_outputs(config: RunConfig) -> OutputPaths:
    """Check a config's outputs and cache folder without opening its scene, and return the paths of the outputs.

    Raises
    ------
    ConfigError
        If an output can't have its name, or would replace a file that the config names; if the palette is unknown or
        has too few colours; if the method needs a cache and there is none, or its folder does not exist; if it does not
        take the features, or a library does not take the options.
    """
    check_palette(config.output.palette, *method_of(config.fit).classes(config.fit))
    check_cache_folder(config.run)
    check_cache_of_method(config.run, config.fit)
    check_indices(config)
    paths = OutputPaths.of(config.output, fits=True)
    keep_apart(paths.by_key(), named_files(config.scene, config.fit, config.output))
    check_settings(config.fit, config.features)
    return paths


def plan_config(config: RunConfig) -> tuple[Scene, Plan]:
    """Open a config's scene and plan its run. Reads metadata only.

    Warns if an output can't be written at present, or a disk is too full.

    Raises
    ------
    SceneError, ConfigError, MemoryBudgetError
        If the scene can't be opened as the config says, its map is too large for its format, or the run needs more
        memory than it allows.
    """
    paths = check_outputs(config)
    warn_of_palette(config.output.palette, method_of(config.fit).classes(config.fit)[1])
    with time_limit(config.run.timeout), open_crew(config.run, start=False) as crew:
        check_spreads(crew, config.fit)
        scene = open_features(config, excluded=paths.all())
    check_shown(scene.info, config.output)
    paths.check_size(scene.info.map_grid.shape)
    keep_apart(paths.by_key(), files_of(scene.info))
    plan = plan_run(scene, config.run, config.fit, paths, crew)
    try:
        check_writable(paths.all())
        check_disk_space(plan, config.run, paths.folder)
    except OutputError as error:
        logger.warning("%s", error)
    return scene, plan


def run_config(config: RunConfig, *, overwrite: bool = False, progress: bool | Progress = False) -> dict[str, Any]:
    """Run a config: fit a model to its scene, then write the map and the other outputs.

    Parameters
    ----------
    config : RunConfig
        From `load_config`.
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
    TerrazzoError
        One of its subclasses; the message says what to fix. No output is written in part. A ConfigError if `config` is
        none.
    """
    check_argument(config, RunConfig, "run_config: config: expected a RunConfig, from load_config(path)")
    begin, started, progress = perf_counter(), datetime.now(UTC), progress_of(progress, "run_config")
    paths = check_outputs(config)
    warn_of_palette(config.output.palette, method_of(config.fit).classes(config.fit)[1])
    with stage_outputs(paths, overwrite=overwrite) as staged, ExitStack() as context:
        context.enter_context(time_limit(config.run.timeout))
        stamps = context.enter_context(stamp_inputs(config.scene, config.fit, config.output))
        asked = perf_counter()
        crew = context.enter_context(open_crew(config.run))
        if crew:
            progress.seconds["start"] = perf_counter() - asked
        check_spreads(crew, config.fit)
        scene = open_features(config, excluded=paths.all())
        shown = check_shown(scene.info, config.output)
        paths.check_size(scene.info.map_grid.shape)
        stamps.add(scene.info.files)
        if config.run.cache_dir:
            remove_leftovers(Path(config.run.cache_dir))  # before free disk space is checked
        outputs = staged.of_scene(scene.info)
        provenance = MapProvenance.of(scene.info, config.scene, config.features, config.fit)
        plan = plan_run(scene, config.run, config.fit, paths, crew)
        keep_apart(paths.by_key(), files_of(scene.info))
        read = context.enter_context(open_planned(scene, plan, config.run, paths.folder, crew))
        with progress.stage("start", 1) if crew else nullcontext():
            executor = context.enter_context(open_executor(crew, scene, plan, config.run, paths.folder))
        read_while_loading(read.for_fit, executor)
        fit = _fit(read, config, scene, executor, progress)
        colours = model_colours(fit.model, config.output.palette, shown, config.output.stretch)
        if config.output.palette != "auto":  # so that maps that the model makes later have the same
            fit = replace(fit, model=with_colours(fit.model, colours))
        job = Job(
            info=read.for_map.info,
            model=fit.model,
            colours=colours,
            workers=finishing_threads(executor),
            zarr_format=config.output.zarr_format,
            zarr_overviews=config.output.zarr_overviews,
            provenance=provenance,
            picture=PictureOptions.of(config.output),
        )
        writers = context.enter_context(open_outputs(outputs.files(), job))
        statistics = write_outputs(read.for_map, job, writers, executor, progress)
        clock = Clock(started, perf_counter() - begin, progress.seconds)
        inputs = {"config": config.model_dump(mode="json"), "inputs": provenance.file_records}
        report = inputs | run_report(
            read.source, plan, executor=executor, fit=fit, statistics=statistics, outputs=outputs.record(), clock=clock
        )
        write_descriptions(writers, Summary(statistics, report))
    return report


def fit_config(
    config: RunConfig, output: Path, *, overwrite: bool = False, progress: Progress | None = None
) -> ClusterModel:
    """Fit a model to a config's scene and write it as JSON.

    Raises
    ------
    TerrazzoError
        One of its subclasses; the message says what to fix. No output is written in part.
    """
    keep_apart({"--output": output}, named_files(config.scene, config.fit))
    check_cache_of_method(config.run, config.fit)
    check_settings(config.fit, config.features)
    with (
        Staging([output], overwrite=overwrite) as staging,
        time_limit(config.run.timeout),
        stamp_inputs(config.scene, config.fit) as stamps,
        open_crew(config.run) as crew,
    ):
        check_spreads(crew, config.fit)
        scene = open_features(config)
        stamps.add(scene.info.files)
        keep_apart({"--output": output}, files_of(scene.info))
        plan = make_plan(scene, config.run, config.fit, sinks=(), crew=crew)
        with (
            open_planned(scene, plan, config.run, output.parent, crew) as read,
            open_executor(crew, scene, plan, config.run, output.parent) as executor,
        ):
            read_while_loading(read.for_fit, executor)
            fit = _fit(read, config, scene, executor, progress or Progress())
        write_text(staging.path(output), fit.model.to_json(), MODEL)
    return fit.model


def _fit(read: ScenePixels, config: RunConfig, scene: Scene, executor: Executor, progress: Progress) -> Fit:
    """Fit a model to the opened pixels of a scene."""
    columns = scene.columns if isinstance(scene, FeatureScene) else None
    return fit_source(read.for_fit, config.fit, config.features, columns=columns, executor=executor, progress=progress)
