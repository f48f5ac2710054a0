"""Draw a sample of valid pixels by the hash of their position: the same sample for any blocks and executor."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from math import ceil, isqrt
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points, Validity
from pipeline.core.band_names import listed_names
from pipeline.core.errors import SceneError
from pipeline.core.grid import Block
from pipeline.core.pixels import Pixels, PixelSource
from pipeline.core.scene_info import SceneInfo
from pipeline.engine.cluster import ClusterExecutor
from pipeline.engine.executor import Executor
from pipeline.kernels.hashing import LARGEST_KEY, smallest_keys
from pipeline.kernels.validity import mask_invalid
from pipeline.methods.strata import Candidates, CellLimits, Cells, Limits, Numbers, draw_by_cell
from pipeline.pixels.pieces import FittedPixels
from pipeline.scenes.crop import place_of

_MARGIN: Final = 8
"""Standard deviations by which the expected number of keys under a first threshold exceeds the wanted number."""

_EXCESS: Final = 1.5
"""Number of pixels that are collected before the largest keys are dropped, relative to the number wanted."""


_LEAST_SHARE: Final = 8
"""Divisor of the scene's pixels that gives those expected to take part, if what is drawn comes from other processes."""


def expected_pixels(info: SceneInfo, *, cheap_again: bool, remote: bool) -> int:
    """Return how many pixels are expected to take part; if there are fewer, blocks may be sampled again.

    Parameters
    ----------
    info : SceneInfo
        The scene.
    cheap_again : bool
        Whether blocks are cheap to read again.
    remote : bool
        Whether what is drawn from a block is sent from another process, so that it should not be much.

    Returns
    -------
    int
        0 if no number can be relied on: then the first blocks give all their pixels.
    """
    if cheap_again:
        return info.pixels // 2
    return info.pixels // _LEAST_SHARE if remote else 0


def first_threshold(wanted: int, expected: int) -> int:
    """Return the largest key that may be in a sample if the expected number of pixels take part."""
    return min(LARGEST_KEY, LARGEST_KEY * (wanted + _MARGIN * isqrt(wanted)) // max(expected, 1))


def most_drawn(wanted: int, info: SceneInfo, *, cheap_again: bool, remote: bool) -> int:
    """Return about how many pixels are drawn from all blocks for a sample, if all pixels are valid."""
    expected = expected_pixels(info, cheap_again=cheap_again, remote=remote)
    return ceil(info.pixels * (first_threshold(wanted, expected) / LARGEST_KEY))


@dataclass(frozen=True)
class Sample:
    """Pixels drawn from a scene."""

    points: Points
    """Sampled pixels in the scene's dtype and units, C-contiguous, shape (band, point). Ordered by their keys, so that
    the first are a sample, too; if they are drawn by cell, by their rank in it first."""
    valid: int
    """Number of valid pixels of the scene that take part in the fit."""
    total: int
    """Number of pixels of the scene."""
    fitted: FittedPixels | None
    """Pixels that take part in the fit, if all of them are read again."""

    def shuffled(self, seed: int) -> "Sample":
        """Put the pixels into random order, so that those that follow each other are of the whole scene."""
        order = np.random.default_rng(seed).permutation(self.points.shape[1])
        return replace(self, points=self.points.take(order, axis=1))

    def first(self, count: int) -> "Sample":
        """Return the sample that would have been drawn if so few pixels had been wanted."""
        if count >= self.points.shape[1]:
            return self
        return replace(self, points=np.ascontiguousarray(self.points[:, :count]))


@dataclass(frozen=True)
class Drawn:
    """Pixels drawn from a block."""

    keys: npt.NDArray[np.uint64]
    """Hashes of the pixels' positions, unordered, shape (point,)."""
    points: Points
    """The pixels, shape (band, point)."""
    valid: int
    """Number of pixels of the block that take part in the fit."""
    has_valid: npt.NDArray[np.bool_]
    """True per band with a valid pixel, shape (band,)."""
    limits: npt.NDArray[Any] | None
    """Smallest and largest value per band of the pixels that take part, shape (2, band); None if not asked for."""
    cells: Numbers | None = None
    """Number of the cell of each pixel, shape (point,); None if pixels are not drawn by cell."""


@dataclass(frozen=True)
class DrawFromBlock:
    """Task: read a block and draw the pixels that may be among those with the smallest keys of the scene."""

    source: PixelSource
    wanted: int
    """Number of pixels to draw from the scene."""
    seed: int
    """Seed of the keys."""
    limits: bool = False
    """Whether to find the limits of the pixels that take part."""

    def __call__(self, item: tuple[Block, Any]) -> Drawn:
        """Draw from a block, given the largest key that may be in the sample, or the limits of its cells."""
        block, limit = item
        pixels, fitting = self.source.read_for_fit(block)
        bands, valid = len(pixels.data), int(np.count_nonzero(fitting))
        if not valid:
            nothing = np.empty((bands, 0), pixels.data.dtype)
            return Drawn(np.empty(0, np.uint64), nothing, 0, self._valid_bands(pixels), None)
        keys, index, cells = self._choose(fitting, block, limit)
        points = pixels.data.reshape(bands, -1).take(index, axis=1)
        limits = _limits(pixels.data, fitting, valid) if self.limits else None
        return Drawn(keys, points, valid, np.ones(bands, np.bool_), limits, cells)

    def place(self, item: tuple[Block, Any]) -> Hashable:
        """Key of the pixels of an item."""
        return place_of(self.source, item[0])

    def _choose(
        self, fitting: Validity, block: Block, limit: Any
    ) -> tuple[npt.NDArray[np.uint64], Numbers, Numbers | None]:
        """Return keys, positions in the block, and cells of the pixels that may be in the sample."""
        top, left = self.source.info.origin
        return *smallest_keys(fitting, (top + block.top, left + block.left), self.seed, self.wanted, limit), None

    def _valid_bands(self, pixels: Pixels) -> npt.NDArray[np.bool_]:
        """Return which bands have valid pixels, shape (band,), in a block in which no pixel takes part."""
        bands, shape = zip(pixels.data[:, np.newaxis], self.source.info.nodata, strict=True), pixels.valid.shape
        return np.array([mask_invalid(plane, (nodata,), np.ones(shape, np.bool_)).any() for plane, nodata in bands])


@dataclass(frozen=True)
class DrawByCell(DrawFromBlock):
    """Task: read a block and draw the pixels that may be in a sample of as many pixels of each cell as of any other."""

    def _choose(
        self, fitting: Validity, block: Block, limit: CellLimits
    ) -> tuple[npt.NDArray[np.uint64], Numbers, Numbers | None]:
        candidates, index = draw_by_cell(fitting, block, Cells.of(self.source.info), self.seed, limit)
        chosen, _ = candidates.first(self.wanted)
        return candidates.keys[chosen], index[chosen], candidates.cells[chosen]


def _limits(data: npt.NDArray[Any], fitting: Validity, count: int) -> npt.NDArray[Any]:
    """Smallest and largest value per band of `count` pixels of a block, shape (2, band)."""
    limits = np.empty((2, len(data)), data.dtype)
    for band, plane in enumerate(data):
        chosen = plane if count == fitting.size else plane[fitting]
        limits[:, band] = chosen.min(), chosen.max()
    return limits


class _Smallest:
    """Collects the pixels with the smallest keys of all blocks, in bounded memory.

    Parameters
    ----------
    wanted : int
        Number of pixels to draw.
    info : SceneInfo
        The scene.
    expected : int
        Expected number of pixels that take part: if there are fewer, too few may be collected (`is_short`). 0 if no
        number can be relied on.
    """

    def __init__(self, wanted: int, info: SceneInfo, expected: int) -> None:
        self._wanted = wanted
        self.threshold = first_threshold(wanted, expected)
        """Largest key that may be in the sample."""
        self.counts: dict[Block, int] = {}
        """Number of pixels that take part, by block."""
        self._limits: list[npt.NDArray[Any]] = []
        self.has_valid = np.zeros(len(info.bands), np.bool_)
        """True per band with a valid pixel in a block, shape (band,)."""
        self._keys = [np.empty(0, np.uint64)]
        self._points = [np.empty((len(info.bands), 0), info.dtype)]

    def _is_limited(self) -> bool:
        """Whether a first threshold was made."""
        return self.threshold < LARGEST_KEY

    def limit_of(self, block: Block) -> Any:  # noqa: ARG002 (that of each block)
        """Return what `DrawFromBlock` is given with a block."""
        return self.threshold

    def add(self, block: Block, drawn: Drawn) -> None:
        """Add the pixels drawn from a block."""
        self.counts[block] = drawn.valid
        if drawn.limits is not None:
            limits = np.stack([*self._limits, drawn.limits])
            self._limits = [np.stack([limits[:, 0].min(axis=0), limits[:, 1].max(axis=0)])]
        self.has_valid |= drawn.has_valid
        self._keys.append(drawn.keys)
        self._points.append(drawn.points)
        # a first threshold is made as early as possible, because fewer pixels are drawn from then on
        excess = _EXCESS if self._is_limited() else 1
        if sum(keys.size for keys in self._keys) > excess * self._wanted:
            self._shrink()

    @property
    def valid(self) -> int:
        """Number of pixels that take part."""
        return sum(self.counts.values())

    def fitted(self) -> FittedPixels | None:
        """Return the pixels that take part; None if their limits were not asked for."""
        return FittedPixels(self.counts, *self._limits[0]) if self._limits else None

    def is_short(self) -> bool:
        """Whether, after all blocks, too few pixels were collected, because fewer than expected take part."""
        return sum(keys.size for keys in self._keys) < min(self._wanted, self.valid)

    def _shrink(self) -> None:
        """Drop all but the wanted number of pixels, and lower the threshold."""
        keys, points = np.concatenate(self._keys), np.concatenate(self._points, axis=1)
        self._keys, self._points = [], []  # free the parts before the best are copied
        if keys.size > self._wanted:
            best = np.argpartition(keys, self._wanted - 1)[: self._wanted]
            keys, points = keys.take(best), points.take(best, axis=1)
            self.threshold = int(keys.max())
        self._keys, self._points = [keys], [points]

    def in_order(self) -> Points:
        """Return the pixels with the smallest keys, ordered by key, shape (band, point)."""
        self._shrink()
        return self._points[0].take(np.argsort(self._keys[0]), axis=1)


class _SmallestByCell(_Smallest):
    """Collects the pixels with the smallest ranks in their cells, in bounded memory."""

    def __init__(self, wanted: int, info: SceneInfo) -> None:
        super().__init__(wanted, info, expected=0)
        self._cells = [np.empty(0, np.int64)]
        self._limits_of_cells = Limits(Cells.of(info), wanted)

    def _is_limited(self) -> bool:
        """Whether limits of cells were found."""
        return self._limits_of_cells.most < self._wanted

    def limit_of(self, block: Block) -> CellLimits:
        """Return what `DrawByCell` is given with a block."""
        return self._limits_of_cells.of(block)

    def add(self, block: Block, drawn: Drawn) -> None:
        """Add the pixels drawn from a block."""
        if drawn.cells is not None:
            self._cells.append(drawn.cells)
        super().add(block, drawn)

    def _shrink(self) -> None:
        """Drop all but the wanted number of pixels, put them into order, and lower the limits."""
        candidates = Candidates(np.concatenate(self._keys), np.concatenate(self._cells))
        chosen, others = candidates.first(self._wanted)
        if others.size:
            self._limits_of_cells.lower(candidates, chosen, others)
        points = np.concatenate(self._points, axis=1)
        self._points = []  # free the parts before the best are copied
        self._points = [points.take(chosen, axis=1)]
        self._keys, self._cells = [candidates.keys[chosen]], [candidates.cells[chosen]]

    def in_order(self) -> Points:
        """Return the pixels with the smallest ranks, ordered by rank and then by key, shape (band, point)."""
        self._shrink()
        return self._points[0]


def draw_sample(
    source: PixelSource,
    *,
    wanted: int,
    seed: int,
    executor: Executor,
    limits: bool = False,
    step: Callable[[], None] = lambda: None,
) -> Sample:
    """Read a scene and draw a random sample of the pixels that are valid in every band.

    The pixels drawn are those whose positions have the smallest hashes ("bottom-k" sampling: Cohen & Kaplan, 2007),
    so the sample depends only on the seed and on which pixels are valid.

    Parameters
    ----------
    source : PixelSource
        The scene. If blocks are cheap to read again, fewer pixels are collected, which suffices if half of the pixels
        take part; otherwise the blocks are sampled again.
    wanted : int
        Number of pixels to draw; all valid ones if there are fewer.
    seed : int
        Seed of the sample.
    executor : Executor
        Reads the blocks.
    limits : bool
        Whether to find the limits of all pixels that take part, too.
    step : callable
        Called after each block, for progress.

    Raises
    ------
    SceneError
        If no pixel is valid.
    """
    info, task = source.info, DrawFromBlock(source, wanted, seed, limits)
    remote = isinstance(executor, ClusterExecutor)
    expected = expected_pixels(info, cheap_again=source.cheap_again, remote=remote)
    smallest = first = _sweep(task, source.blocks, _Smallest(wanted, info, expected), executor, step)
    task = replace(task, limits=False)
    while smallest.is_short():
        expected = min(smallest.valid, expected // 2)  # lower it each time: by chance few pixels may have small keys
        valid_blocks = [block for block, valid in smallest.counts.items() if valid]
        blocks = source.blocks if remote else valid_blocks  # workers own parts of the list of all blocks
        smallest = _sweep(task, blocks, _Smallest(wanted, info, expected), executor, lambda: None)
    return _sample(smallest, info, first.fitted())


def draw_sample_by_cell(
    source: PixelSource,
    *,
    wanted: int,
    seed: int,
    executor: Executor,
    limits: bool = False,
    step: Callable[[], None] = lambda: None,
) -> Sample:
    """Read a scene and draw as many valid pixels from each of its `Cells` as from any other, as far as it has them.

    The pixels of a cell are drawn by their hashes, as those of `draw_sample`, whose parameters these are: the sample
    depends on the seed and on which pixels are valid.
    """
    task, smallest = DrawByCell(source, wanted, seed, limits), _SmallestByCell(wanted, source.info)
    _sweep(task, source.blocks, smallest, executor, step)
    return _sample(smallest, source.info, smallest.fitted())


def _sample(smallest: _Smallest, info: SceneInfo, fitted: FittedPixels | None) -> Sample:
    """Make the sample of the pixels that were collected."""
    if smallest.valid == 0:
        raise _nothing_valid(info, smallest.has_valid)
    return Sample(smallest.in_order(), smallest.valid, info.pixels, fitted)


def _sweep(
    task: DrawFromBlock, blocks: Sequence[Block], smallest: _Smallest, executor: Executor, step: Callable[[], None]
) -> _Smallest:
    """Collect pixels of some blocks."""
    items = ((block, smallest.limit_of(block)) for block in blocks)  # taken one by one, while the limits fall
    for (block, _), drawn in executor.map(task, items, ordered=False):
        smallest.add(block, drawn)
        step()
    return smallest


def _nothing_valid(info: SceneInfo, has_valid: npt.NDArray[np.bool_]) -> SceneError:
    """Make the error for a scene without valid pixels, which names the empty bands."""
    invalid = {"NaN, infinity"} if info.dtype.kind == "f" else set[str]()
    values = ", ".join(sorted({f"{value:g}" for value in info.nodata if value is not None} | invalid))
    rule = f" ({values})" if values else ""
    masked = ", masked out or outside of the area of interest" if info.masked else ""
    fix = "scene.nodata, scene.mask, fit.mask and scene.aoi" if info.masked else "scene.nodata"
    empty = [name for name, valid in zip(info.bands, has_valid.tolist(), strict=True) if not valid]
    if not empty:
        where = f"in at least one band{masked}, though each band has valid pixels"
    elif len(empty) == len(info.bands):
        where = f"in every band{masked}"
    else:
        where = f"in band {listed_names(empty)}{masked}; leave empty bands out of scene.bands"
    return SceneError(f"{info.sources[0]}: all {info.pixels} pixels are nodata{rule} {where}; check {fix}")
