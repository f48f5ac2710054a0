"""Read the pixels of a scene within the memory and disk space of a plan."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import takewhile
from pathlib import Path

import rasterio

from pipeline.config.schema import ResourceConfig
from pipeline.core.errors import ConfigError, OutputError
from pipeline.core.pixels import PixelSource
from pipeline.core.regular_files import lookup_fault
from pipeline.core.text import size_words
from pipeline.engine.cache import Cache, open_cache
from pipeline.engine.executor import Executor, ThreadExecutor
from pipeline.jobs.crew import Crew
from pipeline.jobs.outputs import OutputPaths
from pipeline.jobs.plan import Plan, make_plan
from pipeline.kernels.hashing import load_kernel
from pipeline.methods.settings import SampleSettings
from pipeline.pixels.gdal_memory import gdal_limits
from pipeline.pixels.open import Scene, ScenePixels, open_pixels
from pipeline.sinks.staging import check_free_space

logger = logging.getLogger(__name__)


@contextmanager
def open_planned(
    scene: Scene, plan: Plan, resources: ResourceConfig, folder: Path, crew: Crew | None = None
) -> Iterator[ScenePixels]:
    """Open the pixels of a scene as planned, and limit GDAL's cache and open files to what the plan counts.

    The limits hold for the whole process. On a cluster each worker has a cache of its own.
    """
    cache_folder = Path(resources.cache_dir or folder)
    with ExitStack() as context:
        context.enter_context(rasterio.Env(**gdal_limits(scene.reading, plan.workers)))
        cache: Cache | None = None
        if plan.cache != "none":
            cache = crew.cache if crew else context.enter_context(open_cache(plan.cache, cache_folder))
        if resources.cache_dir and plan.cache != "disk":
            logger.info("run.cache_dir: %s is not used, because this run caches nothing on disk", resources.cache_dir)
        if crew is None or crew.is_local:
            check_disk_space(plan, resources, folder)
        yield open_pixels(
            scene,
            plan.chunk,
            cache,
            caches_files=plan.caches_files,
            caches_blocks=plan.caches_blocks,
            cache_required=not plan.cache_optional,
        )


def read_while_loading(source: PixelSource, executor: Executor) -> None:
    """Read the first blocks into a source's cache while machine code is loaded, which keeps one thread busy.

    Nothing is read unless blocks of the scene are cached here, because they would be read again.
    """
    if not (source.cheap_again and isinstance(executor, ThreadExecutor)):
        return
    with ThreadPoolExecutor(1) as thread:
        loading = thread.submit(load_kernel)
        blocks = takewhile(lambda _: source.cheap_again and not loading.done(), source.blocks)
        for _ in executor.map(lambda block: source.read_for_fit(block) and None, blocks):
            pass
        loading.result()


def check_cache_folder(resources: ResourceConfig) -> None:
    """Raise ConfigError if the folder for the cache does not exist."""
    folder = resources.cache_dir
    if not folder:
        return
    if fault := lookup_fault(folder):
        msg = f"run.cache_dir: {folder}: this path can't be looked up ({fault}); name another folder"
        raise ConfigError(msg)
    if not Path(folder).is_dir():
        wrong = "this is a file" if Path(folder).exists() else "this folder does not exist"
        msg = f"run.cache_dir: {folder}: {wrong}; create the folder, or name one that exists"
        raise ConfigError(msg)


def plan_run(
    scene: Scene, resources: ResourceConfig, fit: SampleSettings, outputs: OutputPaths, crew: Crew | None = None
) -> Plan:
    """Plan a run that writes outputs.

    An optional cache is left out, with a warning, if the disk has no room for it: the source is then read twice.

    Raises
    ------
    ConfigError, MemoryBudgetError
        As for `make_plan`.
    """
    plan, folder = make_plan(scene, resources, fit, sinks=outputs.sinks, crew=crew), outputs.folder
    cache_folder = Path(resources.cache_dir or folder)
    if (crew and not crew.is_local) or not (plan.cache_optional and folder.is_dir()):
        return plan
    try:
        check_disk_space(plan, resources, folder)
    except OutputError:
        fix = "to read them once, set run.cache_dir to a folder on another disk"
        size = size_words(plan.cache_bytes)
        logger.warning(
            "%s: %s for the cache of decoded pixels are not free, so the files are read twice; %s",
            cache_folder,
            size,
            fix,
        )
        return make_plan(scene, resources.model_copy(update={"cache": "none"}), fit, sinks=outputs.sinks, crew=crew)
    return plan


def check_disk_space(plan: Plan, resources: ResourceConfig, folder: Path) -> None:
    """Raise OutputError unless the disks have room for the map and the cache of a run."""
    cache_folder = Path(resources.cache_dir or folder)
    check_free_space(folder, plan.map_disk, "make room, or write the map to another disk")
    if plan.cache_disk:
        own_disk = cache_folder.stat().st_dev != folder.stat().st_dev
        needed = plan.cache_disk + (0 if own_disk else plan.map_disk)
        check_free_space(cache_folder, needed, "make room, or set run.cache_dir to a folder on another disk")
