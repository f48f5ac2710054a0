"""Plan a run: block size, workers, passes, memory and disk space, computed from metadata before any pixel is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from math import ceil, lcm
from typing import Final, Literal

import numpy as np
from affine import Affine

from pipeline.config.schema import ResourceConfig
from pipeline.core.errors import ConfigError, MemoryBudgetError
from pipeline.core.grid import Grid
from pipeline.core.needs import Library, Needs, Work
from pipeline.core.scene_info import SceneInfo
from pipeline.core.text import size_words
from pipeline.engine.cluster import shards_per_task
from pipeline.engine.executor import count_workers
from pipeline.jobs.crew import Crew
from pipeline.labels.classify import labelling_needs
from pipeline.methods.registry import method_of
from pipeline.methods.sample import most_drawn
from pipeline.methods.settings import MAX_CLASSES, SampleSettings, sampling_needs
from pipeline.pixels.needs import CacheChoice, choose_cache, masking_needs, open_files_needs, reading_needs
from pipeline.pixels.open import FeatureScene, Scene
from pipeline.sinks.base import Sink
from pipeline.sinks.registry import SINKS

PROGRAM: Final = Needs(fixed=388 * 10**6)
"""Needs of the interpreter and the libraries that all runs load, while kernels are compiled: measured, with a margin.

They were measured with libraries that the installer wrote in large pieces: Linux keeps these pieces in memory, and
counts a whole piece for a process that touches part of it (decision 18).
"""

_DISTRIBUTED: Final = Library("distributed", 90 * 10**6)
"""Measured in fresh processes on a GeoTIFF of 5490 x 5490 pixels, with a margin: 68 MB in a worker, 38 in a client."""

_TARGET_BLOCK_BYTES: Final = 8 * 2**20
"""Bytes of pixels per block: enough to make the cost of a call negligible, few enough for a steady peak of memory."""

SHARD_PIXELS: Final = 2**22
"""Pixels of a shard: some seconds of decoding, and enough shards in a tile for the threads of a few machines."""

SENT_PIXELS: Final = 2**24
"""Pixels of a task whose labels are sent to the client."""

WRITTEN_PIXELS: Final = 2**26
"""Pixels of a task whose labels are written by its worker, unless it does not see the folder of the map: fewer tasks,
as the maps of thousands of tiles are written in this way."""

_ANSWER_COPIES: Final = 3
"""Copies of the labels of a task that are held at once, at most: as arrays or packed, and of the task before."""

_ANY_SCENE: Final = SceneInfo(
    grid=Grid(crs=None, transform=Affine.identity(), shape=(1, 1)),
    bands=("band",),
    dtype=np.dtype("uint8"),
    nodata=(None,),
    nodata_rule="auto",
    scales=(1.0,),
    offsets=(0.0,),
    block_shape=(1, 1),
    masked=False,
    drivers=(),
    sources=(),
    files=(),
)
"""A scene of one pixel, for needs that are the same for all scenes."""


@dataclass(frozen=True, kw_only=True)
class ClusterPlan:
    """How a run is spread over the processes of a cluster, and what passes through the client. Sizes are in bytes."""

    processes: int
    """Number of processes that work on blocks, besides the client."""
    is_local: bool
    """True if the processes are started on this machine and end with the run."""
    shards: int
    """Number of shards of a pass: neighbouring blocks that one process works on, and owns."""
    shard_blocks: int
    """Number of blocks of a shard."""
    tasks: int
    """Number of tasks of a pass over all pixels: some shards each."""
    label_blocks: int
    """Most blocks of a task that labels them: few enough for the memory that their labels take on the way."""
    label_tasks: int
    """Number of tasks that label all blocks; 0 if there is no map."""
    worker_cache: int
    """Share of each process in the cache of decoded pixels, if all are as fast as each other."""
    sample_bytes: int
    """Most bytes that are sent to the client for the sample."""
    pass_bytes: int
    """Bytes that are sent to the client in each pass over all pixels; 0 if there is none."""
    label_bytes: int
    """Most bytes of labels that are sent to the client: they are compressed, usually to a quarter or less. 0 if workers
    write them to the map, which they do if they see its folder."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Block size, workers, passes, memory and disk space of a run. All sizes are in bytes."""

    chunk: tuple[int, int]
    """Shape of a block, (rows, columns)."""
    blocks: int
    """Number of blocks of the scene."""
    workers: int
    """Number of threads, of each process."""
    cluster: ClusterPlan | None
    """How the run is spread over the processes of a cluster; None if threads of this process work on blocks."""
    passes: int
    """Largest number of times that each pixel of the source is read and decoded. Not counted: pixels of coarser bands
    at the edges of blocks, and those around a block for smoothing, which are read for each of these blocks."""
    cache: Literal["none", "memory", "disk"]
    """Kind of cache for decoded pixels between passes."""
    caches_files: bool
    """True if blocks of the files are cached, at the resolution they are decoded at."""
    caches_blocks: bool
    """True if blocks of the scene are cached; for fits over all pixels with a class per pixel."""
    all_pixels: bool
    """True if the fit passes over all pixels, after those of the sample."""
    cache_optional: bool
    """True if the cache only saves time: without room for it, the source is read again."""
    cache_bytes: int
    """Size of the cache of decoded pixels; 0 without a cache."""
    map_disk: int
    """Disk space for the map, before and after it is compressed, the picture and the small outputs."""
    per_block: int
    """Memory per block: pixels of all bands, valid mask, labels and working copies; on a cluster, also the labels of a
    shard on their way to the client."""
    base: int
    """Memory of the interpreter, the libraries, GDAL's cache, and the open files behind virtual ones."""
    fit: int
    """Memory of the sample and of the fit's working copies."""

    @property
    def disk(self) -> int:
        """Most disk space that the run takes."""
        return self.cache_disk + self.map_disk

    @property
    def cache_disk(self) -> int:
        """Disk space of the cache; 0 unless it is on disk."""
        return self.cache_bytes if self.cache == "disk" else 0

    @property
    def at_once(self) -> int:
        """Number of blocks processed at the same time, at most the number of workers."""
        return min(self.workers, self.blocks)

    @property
    def peak(self) -> int:
        """Most memory that the run takes."""
        return self.base + self.fit + self.at_once * self.per_block + self.cache_bytes - self.cache_disk


def halvings(number: int) -> list[int]:
    """Return a number, its half, the half of that, ..., down to 1."""
    return [number, *halvings(number // 2)] if number > 1 else [1]


def whole_blocks(info: SceneInfo, side: int) -> tuple[int, int]:
    """Return a chunk of a side, rounded up to whole blocks of the file: blocks that it cuts are decoded repeatedly."""
    (rows, columns), (high, wide) = info.grid.shape, info.block_shape
    return min(ceil(side / high) * high, rows), min(ceil(side / wide) * wide, columns)


def chunk_shapes(info: SceneInfo, side: int = 1) -> list[tuple[int, int]]:
    """Return possible block shapes, the largest first: whole blocks of the file, square or over the full width.

    Their sides are multiples of `side`, or those of the scene.
    """
    rows, columns = info.grid.shape
    high, wide = (min(lcm(block, side), count) for block, count in zip(info.block_shape, info.grid.shape, strict=True))
    target = _TARGET_BLOCK_BYTES / info.bytes_per_pixel
    if wide == columns:
        stack = max(1, int(target / (high * wide)))
        return [(min(n * high, rows), columns) for n in halvings(stack)]
    side = max(1, int(target**0.5 / max(high, wide)))
    return [(min(n * high, rows), min(n * wide, columns)) for n in halvings(side)]


def _block_side(sinks: Sequence[Sink]) -> int:
    """Return the number of which sides of blocks are best multiples; 1 unless workers write the map."""
    return max((sink.block_side for sink in sinks), default=1)


def _shapes(info: SceneInfo, run: ResourceConfig, sinks: Sequence[Sink], crew: Crew | None) -> list[tuple[int, int]]:
    """Return the block shapes that are tried: for a crew first those that are whole chunks of a map that it writes."""
    if isinstance(run.chunk, int):
        return [whole_blocks(info, run.chunk)]
    side = _block_side(sinks)
    if crew is None or side == 1 or info.map_window:
        return chunk_shapes(info)
    whole = [shape for shape in chunk_shapes(info, side) if shape[0] * shape[1] <= SENT_PIXELS]
    return [*whole, *chunk_shapes(info)]


def shard_blocks(chunk: tuple[int, int]) -> int:
    """Return the number of blocks of a shard, which depends on the shape of a block only."""
    return max(1, SHARD_PIXELS // (chunk[0] * chunk[1]))


def _cluster_plan(
    info: SceneInfo,
    fit: SampleSettings | None,
    work: Work,
    crew: Crew,
    *,
    cache: CacheChoice,
    sinks: Sequence[Sink],
) -> ClusterPlan:
    """State how a run is spread over the processes of a crew."""
    blocks = shard_blocks(work.chunk)
    shards = ceil(work.blocks / blocks)
    tasks = ceil(shards / shards_per_task(shards, crew.processes * work.workers))
    return ClusterPlan(
        processes=crew.processes,
        is_local=crew.is_local,
        shards=shards,
        shard_blocks=blocks,
        tasks=tasks,
        label_blocks=_label_blocks(work, crew, sinks),
        label_tasks=ceil(work.blocks / _label_blocks(work, crew, sinks)) if sinks else 0,
        worker_cache=ceil(cache.size / min(crew.processes, tasks)),  # a process without a task has none
        sample_bytes=_drawn_bytes(info, fit, cached=cache.where != "none") if fit else 0,
        pass_bytes=tasks * _answer_bytes(info, fit) if fit and _uses_all_pixels(fit) else 0,
        label_bytes=info.pixels if sinks and _block_side(sinks) == 1 else 0,
    )


def _label_blocks(work: Work, crew: Crew, sinks: Sequence[Sink]) -> int:
    """Return the most blocks of a task that labels them: whole shards."""
    blocks = shard_blocks(work.chunk)
    most = SENT_PIXELS if _block_side(sinks) == 1 else WRITTEN_PIXELS
    together = shards_per_task(ceil(work.blocks / blocks), crew.processes * work.workers)
    return blocks * min(together, max(1, most // (blocks * work.pixels)))


def _held_labels(info: SceneInfo, work: Work, crew: Crew, sinks: Sequence[Sink]) -> int:
    """Return the most bytes of finished labels that a worker's thread holds until the client has taken them.

    They are those of all blocks of a task, packed; also of a map that workers write, where one does not see its folder.
    The client holds those of one task at a time, however many workers there are; it works on no block.
    """
    return _ANSWER_COPIES * min(_label_blocks(work, crew, sinks) * work.pixels, info.pixels)


def _drawn_bytes(info: SceneInfo, fit: SampleSettings, *, cached: bool) -> int:
    """Return the most bytes that blocks give for the sample: pixels and their keys."""
    drawn = info.pixels if fit.by_cell else most_drawn(fit.sampled_of(info), info, cheap_again=cached, remote=True)
    return drawn * (info.bytes_per_pixel + 8)


def _answer_bytes(info: SceneInfo, fit: SampleSettings) -> int:
    """Return the most bytes that a task answers in a pass over all pixels: whole numbers per class and band.

    They were measured, with a margin. A method of one band may count each of the numbers that 16 bits hold.
    """
    sums = 1500 + 12 * (method_of(fit).classes(fit)[1] + 2) * (len(info.bands) + 1)
    return sums + 8 * 2**16 * method_of(fit).one_band


def _needs(scene: Scene, fit: SampleSettings | None, work: Work, sinks: Sequence[Sink]) -> Needs:
    """Needs of all stages of a run, without those of the program and of open files."""
    info = scene.info
    columns = scene.columns.needs(scene.bands.info, work) if isinstance(scene, FeatureScene) else Needs()
    read = work.widened(columns.halo)
    fitting, on_blocks = Needs(), masking_needs(scene.reading, read)
    if fit:
        fitting = method_of(fit).needs(info, fit, work)
        on_blocks = on_blocks.then(sampling_needs(info, fit, work))
    if sinks:
        classes = method_of(fit).classes(fit)[1] if fit else MAX_CLASSES
        outputs = reduce(Needs.beside, (sink.needs(info, classes) for sink in sinks))
        labelling = labelling_needs(info, classes, work)
        on_blocks = on_blocks.then(labelling.beside(outputs))  # when the fit has released its memory
    reading = reading_needs(info, scene.reading, read, all_pixels=_uses_all_pixels(fit)).beside(columns)
    return reading.beside(on_blocks).then(fitting)


def _uses_all_pixels(fit: SampleSettings | None) -> bool:
    return fit is not None and fit.pixels == "all"


def make_plan(
    scene: Scene,
    run: ResourceConfig,
    fit: SampleSettings | None,
    *,
    sinks: Sequence[Sink] = SINKS,
    crew: Crew | None = None,
) -> Plan:
    """Choose block size and number of workers for a scene so that the run stays within the memory allowed.

    Parameters
    ----------
    scene : RasterScene or Mosaic
        The scene.
    run : ResourceConfig
        Workers, memory, chunk.
    fit : SampleSettings or None
        The fit; None when an existing model is used.
    sinks : sequence of Sink
        Outputs that are made of labels; none if only a model is written.
    crew : Crew, optional
        Processes that work on blocks: the plan is that of each of them, and of this one.

    Raises
    ------
    ConfigError
        If the method needs a cache and `run.cache` is none, or takes one band and the scene has more, or its initial
        centroids are not those of the bands.
    MemoryBudgetError
        If even the smallest block on one worker needs more memory than allowed; the message says how much it needs.
    """
    if fit:
        check_cache_of_method(run, fit)
    info = scene.info
    if fit:
        method_of(fit).check_scene(info)
        method_of(fit).check_bands(info, fit)
    shapes = _shapes(info, run, sinks, crew)
    plans = [
        _plan(
            scene, run, fit, Work(chunk=shape, blocks=len(info.grid.blocks(shape)), workers=workers), sinks, crew=crew
        )
        for workers in halvings(crew.threads if crew else count_workers(run.workers))
        for shape in shapes
    ]
    for plan in plans:
        if plan.peak <= run.memory:
            return plan
    raise MemoryBudgetError(_refusal(plans[-1], info, run, fit))


def check_cache_of_method(run: ResourceConfig, fit: SampleSettings) -> None:
    """Raise ConfigError if the method needs a cache and `run.cache` is none: the needs of any scene tell."""
    work = Work(chunk=(1, 1), blocks=1, workers=1)
    if run.cache == "none" and method_of(fit).needs(_ANY_SCENE, fit, work).cache == "must":
        msg = f"run.cache: none: {fit.method} reads all pixels several times and needs a cache; use disk or memory"
        raise ConfigError(msg)


def _plan(
    scene: Scene,
    run: ResourceConfig,
    fit: SampleSettings | None,
    work: Work,
    sinks: Sequence[Sink],
    *,
    crew: Crew | None,
) -> Plan:
    """Plan a run for given blocks and workers, whatever memory that takes."""
    needs = _needs(scene, fit, work, sinks)
    cache = choose_cache(scene.info, scene.reading, run.cache, needs)
    libraries = needs.libraries | ({_DISTRIBUTED} if crew else set())
    program = PROGRAM.beside(open_files_needs(scene.reading, work)).beside(Needs(libraries=libraries))
    return Plan(
        chunk=work.chunk,
        blocks=work.blocks,
        workers=work.workers,
        cluster=_cluster_plan(scene.info, fit, work, crew, cache=cache, sinks=sinks) if crew else None,
        passes=needs.passes if cache.where == "none" else 1,
        cache=cache.where,
        caches_files=cache.files,
        caches_blocks=cache.blocks,
        all_pixels=_uses_all_pixels(fit),
        cache_optional=cache.optional,
        cache_bytes=cache.size,
        map_disk=needs.disk,
        per_block=needs.per_block + (_held_labels(scene.info, work, crew, sinks) if crew and sinks else 0),
        base=program.memory,
        fit=needs.fixed,
    )


def _refusal(least: Plan, info: SceneInfo, run: ResourceConfig, fit: SampleSettings | None) -> str:
    """Message for a plan that is too large: the memory it needs, by purpose, and possible fixes."""
    cached = least.cache_bytes - least.cache_disk
    in_memory = f", and {size_words(cached)} for the cache in memory (run.cache: disk avoids it)" if cached else ""
    fixes = ["allow more"]
    if least.base < run.memory:
        fixes.append("use fewer bands")
        if isinstance(run.chunk, int) and whole_blocks(info, 1) != least.chunk:
            fixes.append(f"a smaller run.chunk than {run.chunk}")
        if fit:
            fixes.append(f"a sample (fit.pixels) of fewer than {fit.sampled_of(info)} pixels")
    digit = 10**6 if least.peak < 10**9 else 10**7  # rounded up, so that the stated memory is enough
    fitting = f"{size_words(least.fit)} for the fit and " if fit else "and "
    return (
        f"{'run.' if fit else ''}memory allows {size_words(run.memory)}, but the run needs at least "
        f"{size_words(ceil(least.peak / digit) * digit)}: {size_words(least.base)} for the program, {fitting}"
        f"{size_words(least.per_block)} for one block of {least.chunk[1]} x {least.chunk[0]} pixels and "
        f"{len(info.bands)} bands{in_memory}; {', or '.join(fixes)}"
    )
