"""What a run will read, write and hold in memory: arithmetic on metadata, before anything is read."""

from dataclasses import dataclass
from math import ceil
from typing import Final, Literal

from pipeline.config.schema import MAX_CLASSES, FitConfig, ResourceConfig
from pipeline.core.errors import ConfigError, MemoryBudgetError
from pipeline.core.scene_info import SceneInfo
from pipeline.core.text import size_words
from pipeline.engine.threads import count_workers
from pipeline.kernels.assign import working_dtype
from pipeline.methods.kmeans import COMPARED
from pipeline.pixels.gdal_memory import gdal_cache_bytes, open_files_bytes
from pipeline.sinks import geotiff, quicklook

BASE_BYTES: Final = {"kmeans": 388 * 10**6, "minibatch": 585 * 10**6, "dask-ml": 655 * 10**6}
"""The interpreter and the libraries, while kernels are compiled for the first time: measured, with some room.

Measured with libraries that were written in large pieces, as some installers do: Linux keeps them in memory by these,
and counts the whole of a piece as a process touches a part (decision 18).
Mini-batches are scikit-learn's, which comes with libraries of its own, and dask-ml with more.
"""

_TARGET_BLOCK_BYTES: Final = 8 * 2**20
"""Enough for the cost of a call to vanish; few enough for the peak not to depend on which blocks meet in memory."""

_DECODER_COPIES: Final = 5
"""A JPEG 2000 block while it is decoded, in sizes of the block: OpenJPEG works in 4 bytes a pixel, twice."""

_ROOM_OF_A_POINT: Final = 8 + 8 + 1
"""A start keeps for each point a running sum, its distance to its centre, and its class, and three distances beside."""


_TEXT_BYTES: Final = 10**6
"""Table, model and report."""

_DASK_ROW: Final = 3 * 4
_DASK_LABELS: Final = 3 * 8
"""Bytes that dask-ml takes for a number of a pixel, and for the pixel beside."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run in numbers. All sizes in bytes."""

    chunk: tuple[int, int]
    """(rows, columns) of a block."""
    blocks: int
    workers: int
    passes: int
    """How often the source's pixels are read and decoded, at most; those of coarser bands at the edges of blocks are
    read for each of the blocks."""
    cache: Literal["none", "memory", "disk"]
    """Where decoded pixels are kept between passes."""
    caches_files: bool
    """Whether blocks of the files are kept, at the size they are decoded at."""
    caches_blocks: bool
    """Whether blocks of the scene are kept; for many passes over them, with a class for each pixel."""
    cache_optional: bool
    """Whether they are kept to save time alone: where there is no room, the source is read again."""
    cache_bytes: int
    """Space for decoded pixels while the run lasts; 0 where the source is read again instead."""
    map_disk: int
    """Disk space for the map, before and after it is compressed, the picture, and what stands beside them."""
    per_block: int
    """Pixels of all bands, their validity, labels and working copies."""
    base: int
    """Interpreter, libraries, GDAL's cache, and what it holds of files behind virtual ones."""
    fit: int
    """The sample and what the fit makes of it."""

    @property
    def disk(self) -> int:
        """Most disk space the run shall take."""
        return self.cache_disk + self.map_disk

    @property
    def cache_disk(self) -> int:
        """Of this, what is kept between passes."""
        return self.cache_bytes if self.cache == "disk" else 0

    @property
    def at_once(self) -> int:
        """Blocks worked on at once: there may be fewer than workers."""
        return min(self.workers, self.blocks)

    @property
    def peak(self) -> int:
        """Most memory the run shall take."""
        return self.base + self.fit + self.at_once * self.per_block + self.cache_bytes - self.cache_disk


def _per_block(info: SceneInfo, chunk: tuple[int, int], fit: FitConfig | None) -> int:
    """Bytes of one worker: a block's pixels and labels, the same of its finished ones, and what GDAL decodes."""
    wanted = min(fit.sampled, info.pixels) if fit else 0
    pixels = chunk[0] * chunk[1]
    reading = pixels * (info.bytes_per_pixel + 2 + ceil(info.extra_bytes_per_pixel))
    candidates = min(2 * wanted, pixels) * (2 * info.bytes_per_pixel + 16)
    around = max((ceil((chunk[0] + 2 * m) * (chunk[1] + 2 * m) * each) for m, each in info.mask_margins), default=0)
    decoder = info.file_block_bytes * (_DECODER_COPIES if info.expensive else 2)
    over_all = method_over_all(fit)
    chosen = pixels * (info.dtype.itemsize + 4) if over_all else 0
    dask = pixels * (len(info.bands) * _DASK_ROW + _DASK_LABELS) if over_all == "dask-ml" else 0
    return max(
        reading + max(pixels, candidates, around) + chosen + pixels + decoder + info.strip_bytes + info.warp_bytes, dask
    )


def _fit_bytes(info: SceneInfo, fit: FitConfig, workers: int) -> int:
    """Bytes of the sample while it is collected, or of the sample and what all starts at once make of it."""
    wanted = min(fit.sampled, info.pixels)
    sample = wanted * (info.bytes_per_pixel + 8)
    width = working_dtype(info.dtype).itemsize
    rows = wanted * width * len(info.bands) if fit.method == "minibatch" else 0
    start = wanted * (3 * width + _ROOM_OF_A_POINT)
    dask = wanted * (len(info.bands) * _DASK_ROW + _DASK_LABELS) if fit.method == "dask-ml" else 0
    part = min(wanted, COMPARED) * info.bytes_per_pixel
    return max(3 * sample, 2 * sample + rows + part + max(dask, min(workers, fit.starts) * start))


def halvings(number: int) -> list[int]:
    """A number, its half, the half of that, down to 1."""
    return [number, *halvings(number // 2)] if number > 1 else [1]


def whole_blocks(info: SceneInfo, side: int) -> tuple[int, int]:
    """Side of a chunk, rounded up to whole blocks of the file: what straddles them is decoded more than once."""
    (rows, columns), (high, wide) = info.grid.shape, info.block_shape
    return min(ceil(side / high) * high, rows), min(ceil(side / wide) * wide, columns)


def chunk_shapes(info: SceneInfo) -> list[tuple[int, int]]:
    """Block shapes to choose from, the largest first: whole file blocks, square or over the full width."""
    rows, columns = info.grid.shape
    high, wide = min(info.block_shape[0], rows), min(info.block_shape[1], columns)
    target = _TARGET_BLOCK_BYTES / info.bytes_per_pixel
    if wide == columns:
        stack = max(1, int(target / (high * wide)))
        return [(min(n * high, rows), columns) for n in halvings(stack)]
    side = max(1, int(target**0.5 / max(high, wide)))
    return [(min(n * high, rows), min(n * wide, columns)) for n in halvings(side)]


def method_over_all(fit: FitConfig | None) -> str | None:
    """The method by which all pixels are gone over; None where a sample is enough."""
    return fit.method if fit and fit.pixels == "all" else None


def _passes(fit: FitConfig | None, *, labels: bool) -> int:
    """How often a scene is read when nothing is kept: for the sample, for what follows it, and for the map."""
    if fit is None:
        return 1
    over_all = method_over_all(fit)
    between = 0 if over_all is None else 1 if over_all == "minibatch" else fit.max_iter + 1
    return 1 + between + labels


def _keeping(
    info: SceneInfo, run: ResourceConfig, fit: FitConfig | None, *, labels: bool
) -> tuple[Literal["none", "memory", "disk"], bool, bool]:
    """Where decoded pixels are kept, whether files' blocks are, and whether the scene's blocks are.

    Raises
    ------
    ConfigError
        When the method can't do without.
    """
    over_all = method_over_all(fit)
    if run.cache == "none":
        if over_all not in {None, "kmeans"}:
            msg = f"run.cache: none: {over_all} reads all pixels again, in an order of its own; take disk or memory"
            raise ConfigError(msg)
        return "none", False, False
    again = _passes(fit, labels=labels) > 1
    worth_it = info.expensive or run.cache != "auto"
    for_the_map = over_all is None and again and not info.read_by_file_block and (worth_it or info.compressed)
    blocks = for_the_map or over_all in {"kmeans", "dask-ml"}
    # where nothing is split, and blocks are kept, each block of a file is read for one block of the scene alone
    files = (worth_it or over_all == "minibatch") and (info.read_by_file_block or (again and not blocks))
    if not (files or blocks):
        return "none", False, False
    return "memory" if run.cache == "memory" else "disk", files, blocks


def _map_disk(info: SceneInfo, fit: FitConfig | None) -> int:
    """Bytes of the files of a map, at most, while they are made."""
    classes = fit.k if fit else MAX_CLASSES
    return geotiff.most_disk(info.map_grid.shape) + quicklook.most_disk(info.map_grid, classes + 1) + _TEXT_BYTES


def make_plan(info: SceneInfo, run: ResourceConfig, fit: FitConfig | None, *, labels: bool = True) -> Plan:
    """Choose blocks and workers for a scene, so that the work stays within the memory allowed.

    Parameters
    ----------
    info : SceneInfo
        The scene.
    run : ResourceConfig
        Workers, memory, chunk.
    fit : FitConfig or None
        The fit; None when a model is at hand.
    labels : bool
        Whether a map is made.

    Raises
    ------
    ConfigError
        When the method can't do without a cache.
    MemoryBudgetError
        When one block at a time is still too much, with the numbers and the memory that would do.
    """
    workers = count_workers(run.workers)
    shapes = chunk_shapes(info)
    if isinstance(run.chunk, int):
        shapes = [whole_blocks(info, run.chunk)]
    where, files, blocks = _keeping(info, run, fit, labels=labels)
    cache_optional = blocks and run.cache == "auto" and not info.expensive and method_over_all(fit) is None
    each = 1 if method_over_all(fit) is None else 3  # whether it takes part, its class, and how sure that is
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
            cache_bytes=info.decoded_bytes * files + info.pixels * (info.bytes_per_pixel + each) * blocks,
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
    """Say that even the smallest plan is too large, what it takes, and what can be done."""
    held = least.cache_bytes - least.cache_disk
    in_memory = f", and {size_words(held)} for the cache in memory (run.cache: disk spares it)" if held else ""
    ways = ["allow more"]
    if least.base < run.memory:
        ways.append("take fewer bands")
        if isinstance(run.chunk, int) and whole_blocks(info, 1) != least.chunk:
            ways.append(f"a smaller run.chunk than {run.chunk}")
        if fit:
            ways.append(f"a sample (fit.pixels) of fewer than {min(fit.sampled, info.pixels)} pixels")
    digit = 10**6 if least.peak < 10**9 else 10**7  # rounded up: what is named must do
    fitting = f"{size_words(least.fit)} for the fit and " if fit else "and "
    return (
        f"{'run.' if fit else ''}memory allows {size_words(run.memory)}, but the least that would do is "
        f"{size_words(ceil(least.peak / digit) * digit)}: {size_words(least.base)} for the program, {fitting}"
        f"{size_words(least.per_block)} for one block of {least.chunk[1]} x {least.chunk[0]} pixels and "
        f"{len(info.bands)} bands{in_memory}; {', or '.join(ways)}"
    )
