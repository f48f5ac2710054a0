"""The pixels of a scene, read as a run was planned: memory and disk are held to what the plan counts."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import rasterio

from pipeline.config.schema import FitConfig, ResourceConfig
from pipeline.core.errors import OutputError
from pipeline.core.scene_info import SceneInfo
from pipeline.core.text import size_words
from pipeline.engine.cache import open_scratch
from pipeline.geo.gdal import gdal_options
from pipeline.jobs.plan import Plan, make_plan
from pipeline.pixels.gdal_memory import cache_bytes, most_open_files
from pipeline.pixels.open import Reading, Scene, open_pixels
from pipeline.sinks.staging import check_room

logger = logging.getLogger(__name__)


@contextmanager
def reading(
    scene: Scene, plan: Plan, resources: ResourceConfig, folder: Path, fit: FitConfig | None = None
) -> Iterator[Reading]:
    """Read a scene as planned, with GDAL's cache and open files, the whole process's, held to what the plan counts."""
    place = Path(resources.scratch_dir or folder)
    with ExitStack() as context:
        limits = gdal_options(
            GDAL_CACHEMAX=cache_bytes(scene.info, plan.workers),
            GDAL_MAX_DATASET_POOL_SIZE=most_open_files(plan.workers),
        )
        context.enter_context(rasterio.Env(**limits))
        scratch = None if plan.kept == "none" else context.enter_context(open_scratch(plan.kept, place))
        check_disks(plan, resources, folder)
        yield open_pixels(
            scene,
            plan.chunk,
            scratch,
            keeps_files=plan.keeps_files,
            keeps_blocks=plan.keeps_blocks,
            needed=not plan.for_speed,
            over_all=fit is not None and fit.pixels == "all",
        )


def plan_reading(info: SceneInfo, resources: ResourceConfig, fit: FitConfig, folder: Path) -> Plan:
    """Plan a run whose map goes into a folder.

    What would be kept for speed alone is read again where the disk, as it is, has no room; a warning says so.

    Raises
    ------
    ConfigError, MemoryBudgetError
        As `make_plan` does.
    """
    plan, place = make_plan(info, resources, fit), Path(resources.scratch_dir or folder)
    if not (plan.for_speed and folder.is_dir()):
        return plan
    try:
        check_disks(plan, resources, folder)
    except OutputError:
        fix = "run.scratch_dir names another disk"
        size = size_words(plan.scratch)
        logger.warning("%s: %s for decoded pixels are not free, so the files are read twice; %s", place, size, fix)
        return make_plan(info, resources.model_copy(update={"scratch": "none"}), fit)
    return plan


def check_disks(plan: Plan, resources: ResourceConfig, folder: Path) -> None:
    """Raise OutputError unless there is room for what a run writes: the map into a folder, and the scratch."""
    place = Path(resources.scratch_dir or folder)
    check_room(folder, plan.map_disk, "make room, or write the map to another disk")
    if plan.scratch_disk:
        own_disk = place.stat().st_dev != folder.stat().st_dev
        needed = plan.scratch_disk + (0 if own_disk else plan.map_disk)
        check_room(place, needed, "make room, or set run.scratch_dir to a folder of another disk")
