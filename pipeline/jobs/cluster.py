"""The executor of a run on a cluster: what workers are told, and what they must have."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from uuid import uuid4

import numpy as np
import rasterio
from threadpoolctl import threadpool_limits

from pipeline.config.schema import ResourceConfig
from pipeline.core.errors import ClusterError
from pipeline.core.grid import Blocks
from pipeline.core.version import __version__
from pipeline.engine.cluster import ClusterExecutor
from pipeline.engine.executor import Executor, ThreadExecutor, count_workers
from pipeline.engine.killed_runs import removed_if_killed
from pipeline.engine.leftovers import remove_leftovers
from pipeline.engine.worker import Opening
from pipeline.geo.gdal import GdalSettings, settings_to_send
from pipeline.jobs.crew import Crew
from pipeline.jobs.plan import Plan, shard_blocks
from pipeline.kernels.hashing import load_kernel
from pipeline.pixels.gdal_memory import gdal_limits
from pipeline.pixels.open import Scene, first_scene
from pipeline.raster.readers import check_opens
from pipeline.scenes.raster_scene import RasterScene

logger = logging.getLogger(__name__)


_PROCESS: Final = uuid4().hex
"""Name of this process."""


@dataclass(frozen=True)
class Facts:
    """What a process says of itself before it takes part in a run."""

    versions: Mapping[str, str]
    """Versions that decide pixels, by name."""
    unset: tuple[str, ...]
    """Names of the settings asked for that are not set there."""


@dataclass(frozen=True)
class WorkerCheck:
    """Called once on each worker: opens a file of the scene, and gets ready for tasks."""

    scene: RasterScene | None = None
    """A scene, one of whose files is opened; None if there are no files."""
    settings: tuple[str, ...] = ()
    """Names of settings that are not sent, because they may be secret."""
    client: str = _PROCESS
    """Name of the process of the client."""

    def __call__(self) -> Facts:
        """Return facts of this process; raise SceneError if the file can't be opened here."""
        if self.scene:
            check_opens(self.scene.parts[0])
        if self.client != _PROCESS:  # workers may be threads of the client's process, which is the user's
            threadpool_limits(1)
        load_kernel()
        return Facts(_versions(), tuple(name for name in self.settings if name not in os.environ))


def _versions() -> dict[str, str]:
    """Versions in this process that decide pixels, by name."""
    return {"terrazzo": __version__, "numpy": np.__version__, "gdal": rasterio.__gdal_version__}


class _FactsCheck:
    """Compares the facts of workers with those of this process; warns once of each settings that they lack."""

    def __init__(self) -> None:
        self._own = _versions()
        self._warned: set[tuple[str, ...]] = set()

    def __call__(self, address: str, facts: Facts) -> None:
        """Raise ClusterError if a worker has other versions; warn of settings that are set here only."""
        own, its = self._own, facts.versions
        if differing := [
            f"{name} {its.get(name)} there, {own[name]} here" for name in own if own[name] != its.get(name)
        ]:
            msg = (
                f"the worker {address} has other versions: {', '.join(differing)}; install the same versions on all "
                "machines"
            )
            raise ClusterError(msg)
        if facts.unset and facts.unset not in self._warned:
            self._warned.add(facts.unset)
            logger.warning(
                "workers such as %s lack settings that are set here and are not sent, as they may be secret: %s; if "
                "the scene's files need them, set them there, too",
                address,
                ", ".join(facts.unset),
            )


@contextmanager
def open_executor(
    crew: Crew | None, scene: Scene, plan: Plan, resources: ResourceConfig, folder: Path
) -> Iterator[Executor]:
    """Open what runs the tasks of a planned run: threads of this process, or the workers of a crew.

    Parameters
    ----------
    crew : Crew or None
        From `open_crew`.
    scene, plan : Scene, Plan
        The scene, and how its blocks are read.
    resources : ResourceConfig
        `cache_dir` is used.
    folder : Path
        Folder for the caches of processes on this machine, unless `cache_dir` names another.

    Raises
    ------
    ClusterError, SceneError
        If a worker has other versions, or can't open the scene's first file.
    """
    if crew is None or plan.cluster is None:
        yield ThreadExecutor(plan.workers)
        return
    sent, kept = settings_to_send(os.environ)
    opening = Opening(
        run=crew.run,
        context=GdalSettings({**sent, **gdal_limits(scene.reading, plan.workers)}),
        begin=WorkerCheck(first_scene(scene), kept),
        cache=plan.cache,
        cache_dir=resources.cache_dir or (str(folder.resolve()) if crew.is_local else None),
        threads=plan.workers,
    )
    load_kernel()
    places = [folder, Path(opening.cache_dir or folder)]
    try:
        with (
            removed_if_killed(places) if crew.is_local else nullcontext(),
            ClusterExecutor(
                crew.client,
                opening,
                check=_FactsCheck(),
                shard_items=plan.cluster.shard_blocks,
                answer_items=plan.cluster.label_blocks,
                items=plan.blocks,
                threads=count_workers(),
                most_workers=crew.most_processes,
            ) as executor,
        ):
            yield executor
    finally:
        if crew.is_local and plan.cache == "disk":
            remove_leftovers(Path(opening.cache_dir or folder))  # of workers that were killed


@contextmanager
def open_array_executor(
    crew: Crew, blocks: Blocks, cache: Literal["none", "memory", "disk"], cache_dir: str | None
) -> Iterator[Executor]:
    """Open the workers of a crew for tasks on blocks that are not read from files, but are inputs.

    Parameters
    ----------
    crew : Crew
        From `crew_of`.
    blocks : Blocks
        All blocks.
    cache, cache_dir : str
        Kind of the cache on each worker, and its folder there.

    Raises
    ------
    ClusterError
        If a worker has other versions.
    """
    shard = shard_blocks(blocks[0].shape)
    opening = Opening(run=crew.run, context=nullcontext, begin=WorkerCheck(), cache=cache, cache_dir=cache_dir)
    with ClusterExecutor(
        crew.client,
        opening,
        check=_FactsCheck(),
        shard_items=shard,
        answer_items=shard,
        items=len(blocks),
        threads=count_workers(),
        most_workers=crew.most_processes,
    ) as executor:
        yield executor
