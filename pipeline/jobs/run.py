"""The straight line from a config to a map: the one place that knows every stage."""

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
from pipeline.sinks.output_set import digests_of, mixed_words
from pipeline.sinks.palette import class_colours
from pipeline.sinks.staging import Staging, check_writable
from pipeline.sinks.text_files import write_text

logger = logging.getLogger(__name__)

_NEARLY_ALL: Final = 0.95
"""Share of a class from which a map says nothing."""


def check_outputs(config: RunConfig) -> OutputPaths:
    """Find what is wrong with a config's outputs without opening its scene.

    Raises
    ------
    ConfigError
        When the map would be no GeoTIFF, the palette is unknown or has too few colours, or there is no folder for
        the cache.
    """
    class_colours(config.fit.k, config.output.palette)
    place = config.run.cache_dir
    if place and not Path(place).is_dir():
        wrong = "this is a file" if Path(place).exists() else "this folder does not exist"
        msg = f"run.cache_dir: {place}: {wrong}; create a folder, or name one that exists"
        raise ConfigError(msg)
    return OutputPaths.of(config.output, fits=True)


def plan_config(config: RunConfig) -> tuple[Scene, Plan]:
    """Open a config's scene and plan its run. Reads metadata only.

    Says so where an output can't be written, or a disk is too full, as things are.

    Raises
    ------
    SceneError, ConfigError, MemoryBudgetError
        When the scene can't be opened as the config says, or the run needs more memory than it allows.
    """
    paths = check_outputs(config)
    with time_limit(config.run.timeout):
        scene = _scene_of(config, excluded=paths.all())
    plan = plan_run(scene.info, config.run, config.fit, paths.labels.parent)
    try:
        check_writable(paths.all())
        check_disk_space(plan, config.run, paths.labels.parent)
    except OutputError as lacking:
        logger.warning("%s", lacking)
    return scene, plan


def run_config(config: RunConfig, *, overwrite: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Do what a config says: fit a model to its scene and write the map with all that belongs to it.

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
        The report, as it stands in the run's JSON file.

    Raises
    ------
    TerrazzoError
        One of its children, with a sentence that says what to mend. No output is half-written then.
    """
    begin, started, progress = perf_counter(), datetime.now(UTC), progress or Progress()
    paths = check_outputs(config)
    with _outputs_at(paths, overwrite=overwrite) as staging, ExitStack() as context:
        context.enter_context(time_limit(config.run.timeout))
        stamps = context.enter_context(_stamps_of(config.scene, config.fit.mask))
        scene = _scene_of(config, excluded=paths.all())
        stamps.add(scene.info.files)
        if config.run.cache_dir:
            remove_leftovers(Path(config.run.cache_dir))  # before room is looked for
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
        asked = {"config": config.model_dump(mode="json")}
        report = asked | run_report(
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
        One of its children, with a sentence that says what to mend. No output is half-written then.
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
    """Label another scene with a model that is there already, reading the scene once.

    Parameters
    ----------
    scene : SceneConfig
        The other scene. Its bands are the model's; so is what marks nodata, unless it is said here.
    model : ClusterModel
        From `fit` or `ClusterModel.load`.
    output : OutputConfig
        Where the map and what belongs to it go.
    resources : ResourceConfig, optional
        Workers, memory, chunk.
    overwrite : bool
        Whether outputs that exist may be replaced.
    progress : Progress, optional
        Shows the stages; nothing is shown without it.

    Returns
    -------
    dict
        The report, as it stands in the run's JSON file.

    Raises
    ------
    ModelError
        When the scene's bands or units don't fit the model.
    TerrazzoError
        When anything else is wrong. No output is half-written then.
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
    """Temporary names for the files of a map; says so where those that are replaced don't belong together."""
    with Staging(paths.all(), overwrite=overwrite) as staging:
        if mixed := mixed_words(paths.told, paths.report):
            logger.warning("%s", mixed)
        yield staging


def _digests(staging: Staging, paths: OutputPaths) -> dict[str, str]:
    """SHA-256 of the finished files that the report tells of."""
    return digests_of({name: staging.path(path) for name, path in paths.told.items()})


def _stamps_of(scene: SceneConfig, fit_mask: MaskRecord | None = None) -> FileStamps:
    """Stamps of the files that a config names, before anything is read of them; what they refer to is added later."""
    sides = (record.path for record in (scene.mask, scene.aoi, fit_mask) if record and record.path)
    return FileStamps([*scene.source, *sides])


def _scene_of(config: RunConfig, excluded: Iterable[Path] = ()) -> Scene:
    """Open a config's scene, in the quantity that it asks for."""
    scene = describe_scene(config.scene, excluded, config.fit.mask)
    return scene.as_stored_numbers() if config.features.scale == "none" else scene


def _scene_for(model: ClusterModel, config: SceneConfig, excluded: Iterable[Path]) -> Scene:
    """Open a scene with the bands of a model, or say why it does not fit."""
    excluded = list(excluded)
    catalogue = catalogues_of(config, excluded)[0]
    if not config.names:
        config = config.model_copy(update={"names": names_for(catalogue, model.bands) or None})
        catalogue = rename_bands(catalogue, config.names)
    origin, there = config.source[0], catalogue.names
    missing = [band for band in model.bands if band not in there]
    if missing:
        wants, has = ", ".join(model.bands), ", ".join(there)
        msg = f"{origin}: the model wants bands {wants}; the scene has {has}, not {', '.join(missing)}"
        raise ModelError(msg)
    nodata = model.nodata if config.nodata == "auto" else config.nodata
    scene = describe_scene(config.model_copy(update={"bands": model.bands, "nodata": nodata}), excluded)
    if "numbers" in model.units.quantities:
        scene = scene.as_stored_numbers(model.units)
    model.check_fits(scene.info.bands, scene.info.units, origin)
    if (scene.info.scales, scene.info.offsets) != (model.units.scales, model.units.offsets):
        logger.info(
            "%s: its numbers become %s by another scale or offset than the model's scene had; the centroids are "
            "converted, exactly",
            origin,
            model.units.quantity_text,
        )
    return scene


def _warn_of_one_class(summary: MapSummary, origin: str) -> None:
    """Say when a model tells nothing apart: often a sign of other units, which no tag spoke of."""
    taken = shares(summary.counts)
    most = max(range(len(taken)), key=taken.__getitem__)
    if taken[most] > _NEARLY_ALL:
        logger.warning(
            "%s: %.1f%% of the pixels fall into class %d; does the model's scene have the same units and season?",
            origin,
            100 * taken[most],
            most + 1,
        )
