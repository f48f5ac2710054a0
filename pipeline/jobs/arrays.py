"""Fits and labels of scenes that are given as DataArrays: on threads of this process, or on a dask cluster."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline.config.schema import FeaturesConfig, ResourceConfig
from pipeline.core.grid import Block, Blocks
from pipeline.core.needs import Work
from pipeline.core.pixels import PixelSource
from pipeline.dataarrays.computing import Computer
from pipeline.dataarrays.given_source import GivenPlane, GivenSource
from pipeline.dataarrays.source import ArraySource, blocks_of
from pipeline.engine.cache import Cache, open_cache
from pipeline.engine.executor import Executor, ThreadExecutor, count_workers
from pipeline.engine.progress import Progress
from pipeline.features.columns import Columns
from pipeline.jobs.cluster import open_array_executor
from pipeline.jobs.crew import crew_of
from pipeline.labels.classify import Labels
from pipeline.methods.fit import fit_source
from pipeline.methods.registry import method_of
from pipeline.methods.settings import SampleSettings
from pipeline.models.base import ClusterModel
from pipeline.pixels.block_cache import CachedSource
from pipeline.pixels.cached_windows import CachedWindows
from pipeline.pixels.feature_source import FeatureSource

CacheKind = Literal["none", "memory", "disk"]


@dataclass(frozen=True)
class _Place:
    """Where blocks are worked on."""

    executor: Executor
    """Threads of this process, or the workers of a cluster."""
    new_cache: Callable[[], AbstractContextManager[Cache]]
    """Opens a cache there."""


@contextmanager
def _open_place(client: Any, blocks: Blocks, resources: ResourceConfig, cache: CacheKind) -> Iterator[_Place]:
    """Open threads of this process or, with a client, the workers of its cluster."""
    if client:
        crew = crew_of(client, resources, start=True)
        with open_array_executor(crew, blocks, cache, resources.cache_dir) as executor:
            yield _Place(executor, lambda: nullcontext(crew.cache))
    else:
        kind: Literal["memory", "disk"] = "disk" if cache == "disk" else "memory"
        new_cache = partial(open_cache, kind, Path(resources.cache_dir or "."))
        yield _Place(ThreadExecutor(count_workers(resources.workers)), new_cache)


def _columns_of(features: FeaturesConfig, source: PixelSource, fit: SampleSettings) -> Columns | None:
    """Columns of a scene; None if they are its bands. A method of one band takes an index instead of several bands."""
    bands = len(source.info.bands)
    indices_only = bool(features.indices) and method_of(fit).one_band and bands > 1
    return Columns.of(features, source.info, 0 if indices_only else bands)


def _client_of(source: PixelSource) -> Any:
    """Client of the cluster that computes the blocks of a scene; None if there is none, or they are in memory here."""
    return source.computer.client if isinstance(source, ArraySource) else None


def fit_arrays(
    source: PixelSource, fit: SampleSettings, features: FeaturesConfig, resources: ResourceConfig, progress: Progress
) -> ClusterModel:
    """Fit a model to a scene in arrays; caches are in memory, unless `resources` name a folder."""
    columns = _columns_of(features, source, fit)
    work = Work(chunk=source.blocks[0].shape, blocks=len(source.blocks), workers=count_workers(resources.workers))
    halo = columns.halo if columns else 0
    stores_labels = method_of(fit).stores_labels(columns.info(source.info) if columns else source.info, fit, work)
    kind: CacheKind = "memory" if resources.cache_dir is None else "disk"
    client = None if method_of(fit).streams(fit) else _client_of(source)
    with ExitStack() as context:
        place = context.enter_context(
            _open_place(client, source.blocks, resources, kind if halo or stores_labels else "none")
        )
        fitted = source
        if client and isinstance(source, ArraySource):
            fitted = GivenSource(source, margin=halo, has_inputs="once" if halo or stores_labels else "always")
        if halo:
            fitted = CachedWindows(fitted, context.enter_context(place.new_cache()))
        if columns:
            fitted = FeatureSource(fitted, columns)
        if stores_labels:
            fitted = CachedSource(fitted, context.enter_context(place.new_cache()))
        return fit_source(fitted, fit, features, columns=columns, executor=place.executor, progress=progress).model


def compute_labels(
    data: Any, compute: Computer, resources: ResourceConfig, progress: Progress
) -> Iterator[tuple[Block, Labels]]:
    """Compute labels (rows, columns), given as a lazy or numpy array, block by block; yield each and its labels."""

    def labels_of(block: Block) -> Labels:
        (part,) = compute(data[block.slices])
        return np.asarray(part, np.uint8)

    blocks = blocks_of(data)
    task = GivenPlane(data, blocks) if compute.client else labels_of
    with (
        _open_place(compute.client, blocks, resources, "none") as place,
        progress.stage("label", len(blocks)) as step,
    ):
        for block, labels in place.executor.map(task, blocks, ordered=False, window=len(blocks)):
            yield block, labels
            step()
