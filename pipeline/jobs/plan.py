"""Plan a run: block size, workers, passes, memory and disk space, computed from metadata before any pixel is read."""

from dataclasses import dataclass
from math import ceil
from typing import Final, Literal

from pipeline.config.schema import MAX_CLASSES, FitConfig, ResourceConfig
from pipeline.core.errors import ConfigError, MemoryBudgetError
from pipeline.core.scene_info import SceneInfo
from pipeline.core.text import size_words
from pipeline.engine.executor import count_workers
from pipeline.kernels.assign import working_dtype
from pipeline.methods.kmeans import COMPARED
from pipeline.pixels.gdal_memory import gdal_cache_bytes, open_files_bytes
from pipeline.sinks import geotiff, quicklook

BASE_BYTES: Final = {"kmeans": 388 * 10**6, "minibatch": 585 * 10**6, "dask-ml": 655 * 10**6}
"""Bytes of the interpreter and the libraries per `fit.method`, while kernels are compiled: measured, with a margin.

They were measured with libraries that the installer wrote in large pieces: Linux keeps these pieces in memory, and
counts a whole piece for a process that touches part of it (decision 18). scikit-learn (minibatch) loads libraries of
its own, and dask-ml loads more.
"""

_TARGET_BLOCK_BYTES: Final = 8 * 2**20
"""Bytes of pixels per block: enough to make the cost of a call negligible, few enough for a steady peak of memory."""

_DECODER_COPIES: Final = 5
"""Memory to decode a JPEG 2000 block, as a multiple of its size: OpenJPEG holds 4 bytes per pixel, twice."""

_START_BYTES_PER_POINT: Final = 8 + 8 + 1
"""Bytes per point and start for its running sum, distance to its centroid, and class; three distances come on top."""

_TEXT_BYTES: Final = 10**6
"""Disk space for the table, the model and the report."""

_DASK_ROW: Final = 3 * 4
_DASK_LABELS: Final = 3 * 8
"""Bytes that dask-ml needs per pixel and band (row), and per pixel in addition (labels)."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Block size, workers, passes, memory and disk space of a run. All sizes are in bytes."""

    chunk: tuple[int, int]
    """Shape of a block, (rows, columns)."""
    blocks: int
    """Number of blocks of the scene."""
    workers: int
    """Number of threads."""
    passes: int
    """Largest number of times that each pixel of the source is read and decoded. Not counted: pixels of coarser bands
    at the edges of blocks, which are read for each of these blocks."""
    cache: Literal["none", "memory", "disk"]
    """Kind of cache for decoded pixels between passes."""
    caches_files: bool
    """True if blocks of the files are cached, at the resolution they are decoded at."""
    caches_blocks: bool
    """True if blocks of the scene are cached; for fits over all pixels with a class per pixel."""
    cache_optional: bool
    """True if the cache only saves time: without room for it, the source is read again."""
    cache_bytes: int
    """Size of the cache of decoded pixels; 0 without a cache."""
    map_disk: int
    """Disk space for the map, before and after it is compressed, the picture and the small outputs."""
    per_block: int
    """Memory per block: pixels of all bands, valid mask, labels and working copies."""
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


def _per_block(info: SceneInfo, chunk: tuple[int, int], fit: FitConfig | None) -> int:
    """Bytes per worker: pixels and labels of its block, labels of finished blocks, and GDAL's decoding."""
    sampled = min(fit.sampled, info.pixels) if fit else 0
    pixels = chunk[0] * chunk[1]
    reading = pixels * (info.bytes_per_pixel + 2 + ceil(info.extra_bytes_per_pixel))
    candidates = min(2 * sampled, pixels) * (2 * info.bytes_per_pixel + 16)
    with_margin = max(
        (ceil((chunk[0] + 2 * m) * (chunk[1] + 2 * m) * each) for m, each in info.mask_margins), default=0
    )
    decoder = info.file_block_bytes * (_DECODER_COPIES if info.expensive else 2)
    over_all = method_over_all(fit)
    taking_part = pixels * (info.dtype.itemsize + 4) if over_all else 0
    dask = pixels * (len(info.bands) * _DASK_ROW + _DASK_LABELS) if over_all == "dask-ml" else 0
    return max(
        reading
        + max(pixels, candidates, with_margin)
        + taking_part
        + pixels
        + decoder
        + info.strip_bytes
        + info.warp_bytes,
        dask,
    )


def _fit_bytes(info: SceneInfo, fit: FitConfig, workers: int) -> int:
    """Bytes of the fit: the sample while it is collected, or the sample and the working copies of parallel starts."""
    sampled = min(fit.sampled, info.pixels)
    sample = sampled * (info.bytes_per_pixel + 8)
    width = working_dtype(info.dtype).itemsize
    rows = sampled * width * len(info.bands) if fit.method == "minibatch" else 0
    start = sampled * (3 * width + _START_BYTES_PER_POINT)
    dask = sampled * (len(info.bands) * _DASK_ROW + _DASK_LABELS) if fit.method == "dask-ml" else 0
    part = min(sampled, COMPARED) * info.bytes_per_pixel
    return max(3 * sample, 2 * sample + rows + part + max(dask, min(workers, fit.starts) * start))


def halvings(number: int) -> list[int]:
    """Return a number, its half, the half of that, ..., down to 1."""
    return [number, *halvings(number // 2)] if number > 1 else [1]


def whole_blocks(info: SceneInfo, side: int) -> tuple[int, int]:
    """Return a chunk of a side, rounded up to whole blocks of the file: blocks that it cuts are decoded repeatedly."""
    (rows, columns), (high, wide) = info.grid.shape, info.block_shape
    return min(ceil(side / high) * high, rows), min(ceil(side / wide) * wide, columns)


def chunk_shapes(info: SceneInfo) -> list[tuple[int, int]]:
    """Return possible block shapes, the largest first: whole blocks of the file, square or over the full width."""
    rows, columns = info.grid.shape
    high, wide = min(info.block_shape[0], rows), min(info.block_shape[1], columns)
    target = _TARGET_BLOCK_BYTES / info.bytes_per_pixel
    if wide == columns:
        stack = max(1, int(target / (high * wide)))
        return [(min(n * high, rows), columns) for n in halvings(stack)]
    side = max(1, int(target**0.5 / max(high, wide)))
    return [(min(n * high, rows), min(n * wide, columns)) for n in halvings(side)]


def method_over_all(fit: FitConfig | None) -> str | None:
    """Return the method of a fit over all pixels; None for a fit of a sample, or no fit."""
    return fit.method if fit and fit.pixels == "all" else None


def _passes(fit: FitConfig | None, *, labels: bool) -> int:
    """Return how often a scene is read without a cache: for the sample, passes over all pixels, and the map."""
    if fit is None:
        return 1
    over_all = method_over_all(fit)
    between = 0 if over_all is None else 1 if over_all == "minibatch" else fit.max_iter + 1
    return 1 + between + labels


def _choose_cache(
    info: SceneInfo, run: ResourceConfig, fit: FitConfig | None, *, labels: bool
) -> tuple[Literal["none", "memory", "disk"], bool, bool]:
    """Choose where decoded pixels are cached, and whether blocks of the files and blocks of the scene are.

    Raises
    ------
    ConfigError
        If the method needs a cache and the config forbids it.
    """
    over_all = method_over_all(fit)
    if run.cache == "none":
        if over_all not in {None, "kmeans"}:
            msg = f"run.cache: none: {over_all} reads all pixels several times and needs a cache; use disk or memory"
            raise ConfigError(msg)
        return "none", False, False
    repeated = _passes(fit, labels=labels) > 1
    worth_it = info.expensive or run.cache != "auto"
    for_the_map = over_all is None and repeated and not info.read_by_file_block and (worth_it or info.compressed)
    blocks = for_the_map or over_all in {"kmeans", "dask-ml"}
    # if no block of a file is split and blocks of the scene are cached, each block of a file is read just once
    files = (worth_it or over_all == "minibatch") and (info.read_by_file_block or (repeated and not blocks))
    if not (files or blocks):
        return "none", False, False
    return "memory" if run.cache == "memory" else "disk", files, blocks


def _map_disk(info: SceneInfo, fit: FitConfig | None) -> int:
    """Most bytes of disk for the outputs of a run while they are written."""
    classes = fit.k if fit else MAX_CLASSES
    return (
        geotiff.max_disk_bytes(info.map_grid.shape) + quicklook.max_disk_bytes(info.map_grid, classes + 1) + _TEXT_BYTES
    )


def make_plan(info: SceneInfo, run: ResourceConfig, fit: FitConfig | None, *, labels: bool = True) -> Plan:
    """Choose block size and number of workers for a scene so that the run stays within the memory allowed.

    Parameters
    ----------
    info : SceneInfo
        The scene.
    run : ResourceConfig
        Workers, memory, chunk.
    fit : FitConfig or None
        The fit; None when an existing model is used.
    labels : bool
        Whether a map is written.

    Raises
    ------
    ConfigError
        If the method needs a cache and `run.cache` is none.
    MemoryBudgetError
        If even the smallest block on one worker needs more memory than allowed; the message says how much it needs.
    """
    workers = count_workers(run.workers)
    shapes = chunk_shapes(info)
    if isinstance(run.chunk, int):
        shapes = [whole_blocks(info, run.chunk)]
    where, files, blocks = _choose_cache(info, run, fit, labels=labels)
    cache_optional = blocks and run.cache == "auto" and not info.expensive and method_over_all(fit) is None
    extra = 1 if method_over_all(fit) is None else 3  # bytes per pixel: validity; class and bound for all pixels
    plans = [
        Plan(
            chunk=shape,
            blocks=info.grid.count_blocks(shape),
            workers=n,
            passes=1 if files or blocks else _passes(fit, labels=labels),
            cache=where,
            caches_files=files,
            caches_blocks=blocks,
            cache_optional=cache_optional,
            cache_bytes=info.decoded_bytes * files + info.pixels * (info.bytes_per_pixel + extra) * blocks,
            map_disk=_map_disk(info, fit) if labels else 0,
            per_block=_per_block(info, shape, fit),
            base=BASE_BYTES[fit.method if fit else "kmeans"]
            + info.library_bytes
            + gdal_cache_bytes(info, n)
            + open_files_bytes(info, n),
            fit=_fit_bytes(info, fit, n) if fit else 0,
        )
        for n in halvings(workers)
        for shape in shapes
    ]
    for plan in plans:
        if plan.peak <= run.memory:
            return plan
    raise MemoryBudgetError(_refusal(plans[-1], info, run, fit))


def _refusal(least: Plan, info: SceneInfo, run: ResourceConfig, fit: FitConfig | None) -> str:
    """Message for a plan that is too large: the memory it needs, by purpose, and possible fixes."""
    cached = least.cache_bytes - least.cache_disk
    in_memory = f", and {size_words(cached)} for the cache in memory (run.cache: disk avoids it)" if cached else ""
    fixes = ["allow more"]
    if least.base < run.memory:
        fixes.append("use fewer bands")
        if isinstance(run.chunk, int) and whole_blocks(info, 1) != least.chunk:
            fixes.append(f"a smaller run.chunk than {run.chunk}")
        if fit:
            fixes.append(f"a sample (fit.pixels) of fewer than {min(fit.sampled, info.pixels)} pixels")
    digit = 10**6 if least.peak < 10**9 else 10**7  # rounded up, so that the stated memory is enough
    fitting = f"{size_words(least.fit)} for the fit and " if fit else "and "
    return (
        f"{'run.' if fit else ''}memory allows {size_words(run.memory)}, but the run needs at least "
        f"{size_words(ceil(least.peak / digit) * digit)}: {size_words(least.base)} for the program, {fitting}"
        f"{size_words(least.per_block)} for one block of {least.chunk[1]} x {least.chunk[0]} pixels and "
        f"{len(info.bands)} bands{in_memory}; {', or '.join(fixes)}"
    )
