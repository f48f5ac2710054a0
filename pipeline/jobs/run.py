"""Run, fit, predict and plan: from a config to its outputs. The one module that knows every stage."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from pipeline.config.masks import MaskRecord
from pipeline.config.schema import OutputConfig, ResourceConfig, RunConfig, SceneConfig
from pipeline.core.errors import ConfigError, ModelError, OutputError
from pipeline.engine.deadline import time_limit
from pipeline.engine.leftovers import remove_leftovers
from pipeline.engine.progress import Progress
from pipeline.formats.renaming import names_for, rename_bands
from pipeline.jobs.map import MapSummary, OutputPaths, shares, write_map
from pipeline.jobs.plan import Plan, make_plan
from pipeline.jobs.planned_reading import check_disk_space, open_planned, plan_run
from pipeline.jobs.report import Clock, report_json, run_report
from pipeline.methods.fit import Fit, fit_source
from pipeline.models.cluster_model import ClusterModel
from pipeline.pixels.open import Scene
from pipeline.scenes.describe_scene import catalogues_of, describe_scene
from pipeline.scenes.file_stamps import FileStamps
from pipeline.sinks.output_set import describe_mixed_set, digests_of
from pipeline.sinks.palette import class_colours
from pipeline.sinks.staging import Staging, check_writable
from pipeline.sinks.text_files import write_text

logger = logging.getLogger(__name__)

_NEARLY_ALL: Final = 0.95
"""Share of the valid pixels in one class above which `predict` warns."""


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
    with _outputs_at(paths, overwrite=overwrite) as staging, ExitStack() as context:
        context.enter_context(time_limit(config.run.timeout))
        stamps = context.enter_context(_stamps_of(config.scene, config.fit.mask))
        scene = _scene_of(config, excluded=paths.all())
        stamps.add(scene.info.files)
        if config.run.cache_dir:
            remove_leftovers(Path(config.run.cache_dir))  # before free disk space is checked
        plan = plan_run(scene.info, config.run, config.fit, paths.labels.parent)
        staging.keep_apart(scene.info.files)
        read = context.enter_context(open_planned(scene, plan, config.run, paths.labels.parent, config.fit))
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
            read.source, plan, fit=fit, summary=summary, paths=paths, digests=_digests(staging, paths), clock=clock
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
        _stamps_of(config.scene, config.fit.mask) as stamps,
    ):
        scene = _scene_of(config)
        stamps.add(scene.info.files)
        staging.keep_apart(scene.info.files)
        plan = make_plan(scene.info, config.run, config.fit, labels=False)
        with open_planned(scene, plan, config.run, output.parent, config.fit) as read:
            fit = fit_source(
                read.for_fit, config.fit, config.features, workers=plan.workers, progress=progress or Progress()
            )
        write_text(staging.path(output), fit.model.to_json(), "model")
    return fit.model


def predict(
    scene: SceneConfig,
    model: ClusterModel,
    output: OutputConfig,
    *,
    resources: ResourceConfig | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
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
    progress : Progress, optional
        Shows the stages; nothing is shown without it.

    Returns
    -------
    dict
        The report, as written to the run's JSON file.

    Raises
    ------
    ModelError
        If the scene's bands or units don't fit the model.
    TerrazzoError
        Any other error; no output is written in part.
    """
    begin, started, progress = perf_counter(), datetime.now(UTC), progress or Progress()
    paths, resources = OutputPaths.of(output, fits=False), resources or ResourceConfig()
    class_colours(model.k, output.palette)
    with (
        _outputs_at(paths, overwrite=overwrite) as staging,
        time_limit(resources.timeout),
        _stamps_of(scene) as stamps,
    ):
        described = _scene_for(model, scene, excluded=paths.all())
        stamps.add(described.info.files)
        staging.keep_apart(described.info.files)
        plan = make_plan(described.info, resources, None)
        with open_planned(described, plan, resources, paths.labels.parent) as read:
            summary = write_map(
                read.for_map,
                model,
                paths,
                staging=staging,
                palette=output.palette,
                workers=plan.workers,
                progress=progress,
            )
        _warn_of_one_class(summary, described.info.sources[0])
        clock = Clock(started, perf_counter() - begin, progress.seconds)
        report = run_report(
            read.source,
            plan,
            fit=Fit(model),
            summary=summary,
            paths=paths,
            digests=_digests(staging, paths),
            clock=clock,
        )
        write_text(staging.path(paths.report), report_json(report), "report")
    return report


@contextmanager
def _outputs_at(paths: OutputPaths, *, overwrite: bool) -> Iterator[Staging]:
    """Stage the files of a map; warn if the existing files that are replaced are not from one run."""
    with Staging(paths.all(), overwrite=overwrite) as staging:
        if mixed := describe_mixed_set(paths.reported, paths.report):
            logger.warning("%s", mixed)
        yield staging


def _digests(staging: Staging, paths: OutputPaths) -> dict[str, str]:
    """SHA-256 digests of the finished files that are listed in the report."""
    return digests_of({name: staging.path(path) for name, path in paths.reported.items()})


def _stamps_of(scene: SceneConfig, fit_mask: MaskRecord | None = None) -> FileStamps:
    """Record the stamps of the files that a config names, before any is read; files they refer to are added later."""
    masks = (record.path for record in (scene.mask, scene.aoi, fit_mask) if record and record.path)
    return FileStamps([*scene.source, *masks])


def _scene_of(config: RunConfig, excluded: Iterable[Path] = ()) -> Scene:
    """Open a config's scene, as reflectance or as stored numbers (`features.scale`)."""
    scene = describe_scene(config.scene, excluded, config.fit.mask)
    return scene.as_stored_numbers() if config.features.scale == "none" else scene


def _scene_for(model: ClusterModel, config: SceneConfig, excluded: Iterable[Path]) -> Scene:
    """Open a scene with the bands of a model; raise ModelError unless it fits the model."""
    excluded = list(excluded)
    catalogue = catalogues_of(config, excluded)[0]
    if not config.names:
        config = config.model_copy(update={"names": names_for(catalogue, model.bands) or None})
        catalogue = rename_bands(catalogue, config.names)
    origin, available = config.source[0], catalogue.names
    missing = [band for band in model.bands if band not in available]
    if missing:
        needed, has = ", ".join(model.bands), ", ".join(available)
        msg = f"{origin}: the model needs bands {needed}; the scene has {has}, but not {', '.join(missing)}"
        raise ModelError(msg)
    nodata = model.nodata if config.nodata == "auto" else config.nodata
    scene = describe_scene(config.model_copy(update={"bands": model.bands, "nodata": nodata}), excluded)
    if "numbers" in model.units.quantities:
        scene = scene.as_stored_numbers(model.units)
    model.check_fits(scene.info.bands, scene.info.units, origin)
    if (scene.info.scales, scene.info.offsets) != (model.units.scales, model.units.offsets):
        logger.info(
            "%s: the scale or offset to %s differs from that of the model's scene; the centroids are converted exactly",
            origin,
            model.units.quantity_text,
        )
    return scene


def _warn_of_one_class(summary: MapSummary, origin: str) -> None:
    """Warn if nearly all pixels are in one class: often the units differ without a tag that says so."""
    taken = shares(summary.counts)
    most = max(range(len(taken)), key=taken.__getitem__)
    if taken[most] > _NEARLY_ALL:
        logger.warning(
            "%s: %.1f%% of the pixels fall into class %d; does the model's scene have the same units and season?",
            origin,
            100 * taken[most],
            most + 1,
        )
