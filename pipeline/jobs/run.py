"""Run, fit and plan as a config says: each command in one straight line through all stages."""

import logging
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

from pipeline.config.schema import RunConfig
from pipeline.core.errors import ConfigError, OutputError
from pipeline.engine.leftovers import remove_leftovers
from pipeline.engine.progress import Progress
from pipeline.engine.time_limits import time_limit
from pipeline.jobs.map import write_map
from pipeline.jobs.outputs import OutputPaths, output_digests, stage_outputs
from pipeline.jobs.plan import Plan, make_plan
from pipeline.jobs.planned_reading import check_disk_space, open_planned, plan_run, read_while_loading
from pipeline.jobs.report import Clock, report_json, run_report
from pipeline.methods.fit import fit_source
from pipeline.models.cluster_model import ClusterModel
from pipeline.pixels.open import Scene
from pipeline.scenes.describe_scene import describe_scene
from pipeline.scenes.file_stamps import stamp_inputs
from pipeline.sinks.palette import class_colours
from pipeline.sinks.staging import Staging, check_writable
from pipeline.sinks.text_files import write_text

logger = logging.getLogger(__name__)


def check_outputs(config: RunConfig) -> OutputPaths:
    """Check a config's outputs and cache folder without opening its scene, and return the paths of the outputs.

    Raises
    ------
    ConfigError
        If the map is not named as a GeoTIFF or the picture not as a PNG, the palette is unknown or has too few
        colours, or the folder for the cache does not exist.
    """
    class_colours(config.fit.k, config.output.palette)
    folder = config.run.cache_dir
    if folder and not Path(folder).is_dir():
        wrong = "this is a file" if Path(folder).exists() else "this folder does not exist"
        msg = f"run.cache_dir: {folder}: {wrong}; create the folder, or name one that exists"
        raise ConfigError(msg)
    return OutputPaths.of(config.output, fits=True)


def plan_config(config: RunConfig) -> tuple[Scene, Plan]:
    """Open a config's scene and plan its run. Reads metadata only.

    Warns if an output can't be written at present, or a disk is too full.

    Raises
    ------
    SceneError, ConfigError, MemoryBudgetError
        If the scene can't be opened as the config says, or the run needs more memory than it allows.
    """
    paths = check_outputs(config)
    with time_limit(config.run.timeout):
        scene = _scene_of(config, excluded=paths.all())
    plan = plan_run(scene.info, config.run, config.fit, paths.labels.parent)
    try:
        check_writable(paths.all())
        check_disk_space(plan, config.run, paths.labels.parent)
    except OutputError as error:
        logger.warning("%s", error)
    return scene, plan


def run_config(config: RunConfig, *, overwrite: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Run a config: fit a model to its scene, then write the map, model, table, picture and report.

    Parameters
    ----------
    config : RunConfig
        From `load_config`.
    overwrite : bool
        Whether outputs that exist may be replaced.
    progress : Progress, optional
        Shows the stages; nothing is shown without it.

    Returns
    -------
    dict
        The report, as written to the run's JSON file.

    Raises
    ------
    TerrazzoError
        One of its subclasses; the message says what to fix. No output is written in part.
    """
    begin, started, progress = perf_counter(), datetime.now(UTC), progress or Progress()
    paths = check_outputs(config)
    with stage_outputs(paths, overwrite=overwrite) as staging, ExitStack() as context:
        context.enter_context(time_limit(config.run.timeout))
        stamps = context.enter_context(stamp_inputs(config.scene, config.fit.mask))
        scene = _scene_of(config, excluded=paths.all())
        stamps.add(scene.info.files)
        if config.run.cache_dir:
            remove_leftovers(Path(config.run.cache_dir))  # before free disk space is checked
        plan = plan_run(scene.info, config.run, config.fit, paths.labels.parent)
        staging.keep_apart(scene.info.files)
        read = context.enter_context(open_planned(scene, plan, config.run, paths.labels.parent, config.fit))
        read_while_loading(read.for_fit, plan.workers)
        fit = fit_source(read.for_fit, config.fit, config.features, workers=plan.workers, progress=progress)
        summary = write_map(
            read.for_map,
            fit.model,
            paths,
            staging=staging,
            palette=config.output.palette,
            workers=plan.workers,
            progress=progress,
        )
        write_text(staging.path(str(paths.model)), fit.model.to_json(), "model")
        clock = Clock(started, perf_counter() - begin, progress.seconds)
        settings = {"config": config.model_dump(mode="json")}
        report = settings | run_report(
            read.source,
            plan,
            fit=fit,
            summary=summary,
            paths=paths,
            digests=output_digests(staging, paths),
            clock=clock,
        )
        write_text(staging.path(paths.report), report_json(report), "report")
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
    with (
        Staging([output], overwrite=overwrite) as staging,
        time_limit(config.run.timeout),
        stamp_inputs(config.scene, config.fit.mask) as stamps,
    ):
        scene = _scene_of(config)
        stamps.add(scene.info.files)
        staging.keep_apart(scene.info.files)
        plan = make_plan(scene.info, config.run, config.fit, labels=False)
        with open_planned(scene, plan, config.run, output.parent, config.fit) as read:
            read_while_loading(read.for_fit, plan.workers)
            fit = fit_source(
                read.for_fit, config.fit, config.features, workers=plan.workers, progress=progress or Progress()
            )
        write_text(staging.path(output), fit.model.to_json(), "model")
    return fit.model


def _scene_of(config: RunConfig, excluded: Iterable[Path] = ()) -> Scene:
    """Open a config's scene, as reflectance or as stored numbers (`features.scale`)."""
    scene = describe_scene(config.scene, excluded, config.fit.mask)
    return scene.as_stored_numbers() if config.features.scale == "none" else scene
