"""What a run will read, write and hold in memory: arithmetic on metadata, before anything is read."""

from dataclasses import dataclass
from math import ceil
from typing import Final

from pipeline.config import FitConfig, ResourceConfig
from pipeline.errors import MemoryBudgetError
from pipeline.kernels.assign import working_dtype
from pipeline.runtime.schedule import count_workers
from pipeline.scenes.gdal import cache_bytes
from pipeline.scenes.source import SceneInfo

BASE_BYTES: Final = {"kmeans": 300 * 10**6, "minibatch": 400 * 10**6}
"""The interpreter and the libraries, while kernels are compiled for the first time: measured, with some room.

Mini-batches are scikit-learn's, which comes with libraries of its own.
"""

_TARGET_BLOCK_BYTES: Final = 32 * 2**20
"""Enough for the cost of a call to vanish; few enough for many blocks to share the work evenly."""

_DECODER_COPIES: Final = 5
"""A JPEG 2000 block while it is decoded, in sizes of the block: OpenJPEG works in 4 bytes a pixel, twice."""

_ROOM_OF_A_POINT: Final = 8 + 8 + 1
"""A start keeps for each point a running sum, its distance to its centre, and its class, and three distances beside."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run in numbers. All sizes in bytes."""

    chunk: tuple[int, int]
    """(rows, columns) of a block."""
    blocks: int
    workers: int
    passes: int
    """How often the source's pixels are read and decoded."""
    scratch: int
    """Disk space for decoded pixels while the run lasts; 0 where the source is read again instead."""
    map_disk: int
    """Disk space for the map: before it is compressed, while the run lasts, and after."""
    per_block: int
    """Pixels of all bands, their validity, labels and working copies."""
    base: int
    """Interpreter, libraries, GDAL's cache."""
    fit: int
    """The sample and what the fit makes of it."""

    @property
    def disk(self) -> int:
        """Most disk space the run shall take beside its map."""
        return self.scratch + self.map_disk

    @property
    def peak(self) -> int:
        """Most memory the run shall take."""
        return self.base + self.fit + self.workers * self.per_block


def _per_block(info: SceneInfo, chunk: tuple[int, int], wanted: int) -> int:
    """Bytes of one worker: a block's pixels and labels, the same of its finished ones, and what GDAL decodes."""
    pixels = chunk[0] * chunk[1]
    reading = pixels * (info.bytes_per_pixel + 2 + ceil(info.bytes_beside))
    candidates = min(2 * wanted, pixels) * (2 * info.bytes_per_pixel + 16)
    waiting = max(pixels, candidates)
    around = max((ceil((chunk[0] + 2 * m) * (chunk[1] + 2 * m) * each) for m, each in info.margins), default=0)
    decoder = info.file_block_bytes * (_DECODER_COPIES if info.dear else 2)
    return reading + max(pixels, candidates, around) + waiting + decoder + info.warp_bytes


def _fit_bytes(info: SceneInfo, fit: FitConfig, workers: int) -> int:
    """Bytes of the sample while it is collected, or of the sample and what all starts at once make of it."""
    wanted = min(fit.pixels, info.pixels)
    sample = wanted * (info.bytes_per_pixel + 8)
    width = working_dtype(info.dtype).itemsize
    rows = wanted * width * len(info.bands) if fit.method == "minibatch" else 0
    start = wanted * (3 * width + _ROOM_OF_A_POINT)
    return max(3 * sample, 2 * sample + rows + min(workers, fit.starts) * start)


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
    MemoryBudgetError
        When one block at a time is still too much, with the numbers and the memory that would do.
    """
    workers = count_workers(run.workers)
    shapes = chunk_shapes(info)
    if isinstance(run.chunk, int):
        shapes = [whole_blocks(info, run.chunk)]
    twice = fit is not None and labels
    keep = info.dear and (twice or info.split)
    wanted = min(fit.pixels, info.pixels) if fit else 0
    plans = [
        Plan(
            chunk=shape,
            blocks=info.grid.count_blocks(shape),
            workers=n,
            passes=2 if twice and not keep else 1,
            scratch=info.decoded_bytes if keep else 0,
            map_disk=2 * info.pixels if labels else 0,
            per_block=_per_block(info, shape, wanted),
            base=BASE_BYTES[fit.method if fit else "kmeans"] + info.libraries + cache_bytes(info, n),
            fit=_fit_bytes(info, fit, n) if fit else 0,
        )
        for n in halvings(workers)
        for shape in shapes
    ]
    for plan in plans:
        if plan.peak <= run.memory:
            return plan
    least = plans[-1]
    needed = ceil(least.peak / 1e7) / 100  # rounded up: what is named must do
    msg = (
        f"run.memory: {run.memory / 1e9:.2f} GB are allowed, but the least that would do is {needed:.2f} GB: "
        f"{least.base / 1e9:.2f} GB for the program, {least.fit / 1e9:.2f} GB for the fit and "
        f"{least.per_block / 1e9:.2f} GB for one block of {least.chunk[1]} x {least.chunk[0]} pixels and "
        f"{len(info.bands)} bands; allow more, or take fewer bands or fit.pixels"
    )
    raise MemoryBudgetError(msg)
