"""The task that labels a block of a scene, and statistics per class that are accumulated block by block."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import isfinite, sqrt
from typing import Any, Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from pipeline.core.grid import Block, Blocks
from pipeline.core.needs import Needs, Work
from pipeline.core.pixels import BlockSource, Pixels
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import Units
from pipeline.geo.pixel_areas import PixelAreas
from pipeline.kernels.areas import class_areas
from pipeline.kernels.fixed import has_exact_sums
from pipeline.kernels.sums import class_sums, merge_sums, no_extremes
from pipeline.models.base import ClusterModel, Labeller
from pipeline.models.classes import UNCLASSIFIED
from pipeline.scenes.crop import place_of

STATISTICS: Final = ("mean", "std", "min", "max")
"""Statistics of the pixels of a class in each band."""

_MOST_WAITING: Final = 2**24
"""Bytes of the sums of blocks that wait for those of earlier blocks, at most."""

Labels = npt.NDArray[np.uint8]
"""Labels, shape (rows, columns): 0 is nodata, 1 to k are classes, `UNCLASSIFIED` is none of them."""


class BlockPart(Protocol):
    """What an output takes from a labelled block: picklable, and so are its results, because it may run elsewhere."""

    def __call__(self, block: Block, pixels: Pixels, labels: Labels, /) -> Any:
        """Return what the output needs of a block."""


@dataclass(frozen=True)
class LabelledBlock:
    """Sums per class of a block, and what the outputs take from it; row 0 is nodata, row k + 1 is unclassified."""

    counts: npt.NDArray[np.int64]
    """Number of pixels per row, shape (k + 2,)."""
    sums: npt.NDArray[Any]
    """Sums of the pixels per row and band, shape (part, k + 2, band), from `class_sums`."""
    squares: npt.NDArray[Any]
    """Sums of the squared pixels per row and band, shape (part, k + 2, band)."""
    extremes: npt.NDArray[Any]
    """Least and largest pixel value per band and row, in stored numbers, shape (band, k + 2, 2)."""
    areas: tuple[int, ...]
    """Area per row in units of `PixelAreas.unit`, length k + 2; empty unless pixel areas differ by row."""
    parts: tuple[Any, ...]
    """Result of each of the task's `parts`."""


def rows_of(labels: Labels, k: int) -> npt.NDArray[np.uint8]:
    """Row of each pixel in sums per class: its label, and k + 1 where it is unclassified."""
    unclassified = labels == UNCLASSIFIED
    return np.where(unclassified, np.uint8(k + 1), labels) if unclassified.any() else labels


def areas_of_rows(rows: npt.NDArray[np.uint8], areas: PixelAreas, block: Block, size: int) -> tuple[int, ...]:
    """Area of the pixels of a block per row, of `size` rows, in units of `PixelAreas.unit`; none if all are equal."""
    weights = areas.whole_numbers(block)
    return () if weights is None else class_areas(rows, weights, size)


def centres_of_rows(model: ClusterModel, units: Units) -> npt.NDArray[np.float64]:
    """Centres of classes 1 to k, and 0 for unclassified pixels, in stored numbers, shape (k + 1, band)."""
    return np.vstack([model.centres_in(units), np.zeros(len(model.bands))])


@dataclass(frozen=True)
class LabelTask:
    """Reads a block of a scene and labels it. Picklable if its source is."""

    source: BlockSource
    """A scene with the model's bands, in the model's order."""
    labeller: Labeller
    """Finds the class of each pixel."""
    centres: npt.NDArray[np.float64]
    """Stored numbers near those of each row but the first, from `centres_of_rows`, shape (k + 1, band); float pixels
    are summed as differences from them."""
    areas: PixelAreas
    """Areas of the scene's pixels; not summed if they are unknown or all equal."""
    parts: tuple[BlockPart, ...]
    """What is taken from each block."""

    @classmethod
    def of(cls, source: BlockSource, model: ClusterModel, areas: PixelAreas, parts: tuple[BlockPart, ...] = ()) -> Self:
        """Build the task that labels a scene with a model."""
        return cls(source, model.labeller(source.info), centres_of_rows(model, source.info.units), areas, parts)

    def __call__(self, block: Block) -> LabelledBlock:
        """Read and label a block."""
        pixels = self.source.read(block)
        labels = self.labeller(*pixels).classes
        parts = tuple(part(block, pixels, labels) for part in self.parts)
        rows = rows_of(labels, len(self.centres) - 1)
        by_row = areas_of_rows(rows, self.areas, block, len(self.centres) + 1)
        return LabelledBlock(*class_sums(pixels.data, rows, self.centres), by_row, parts)

    def place(self, block: Block) -> Hashable:
        """Key of the pixels of a block."""
        return place_of(self.source, block)


class ClassCounts:
    """Numbers of pixels and areas of the classes of a map, accumulated block by block."""

    def __init__(self, k: int, areas: PixelAreas) -> None:
        self.pixel_areas = areas
        """Areas of the scene's pixels, or why they are unknown."""
        self._k = k
        self._areas = [0] * (k + 2)
        self.counts = [0] * (k + 1)
        """Number of pixels per class, length k + 1; the first is nodata."""
        self.unclassified = 0
        """Number of valid pixels that no class takes."""

    def add_counts(self, counts: npt.NDArray[np.int64], areas: tuple[int, ...]) -> None:
        """Add the pixels per row of a block, shape (k + 2,), and their areas in units of `PixelAreas.unit`, if any."""
        *of_classes, unclassified = counts.tolist()
        self.counts = [total + count for total, count in zip(self.counts, of_classes, strict=True)]
        self.unclassified += unclassified
        if areas:
            self._areas = [total + area for total, area in zip(self._areas, areas, strict=True)]

    def add_labels(self, block: Block, labels: Labels) -> None:
        """Add the labels of a block."""
        rows, size = rows_of(labels, self._k), self._k + 2
        self.add_counts(np.bincount(rows.ravel(), minlength=size), areas_of_rows(rows, self.pixel_areas, block, size))

    @property
    def valid(self) -> int:
        """Number of valid pixels: those of the classes, and unclassified ones."""
        return sum(self.counts[1:]) + self.unclassified

    @property
    def shares(self) -> list[float]:
        """Share of the valid pixels per class, 0 to 1, length k."""
        return [self.share(label) for label in range(1, self._k + 1)]

    def pixels(self, label: int) -> int:
        """Number of pixels with a label, which may be `UNCLASSIFIED`."""
        return self.unclassified if label == UNCLASSIFIED else self.counts[label]

    def share(self, label: int) -> float:
        """Share of the valid pixels with a label, 0 to 1."""
        return self.pixels(label) / (self.valid or 1)

    def hectares(self, label: int) -> float | None:
        """Area of the pixels with a label in hectares; None if pixel areas are unknown."""
        if self.pixel_areas.rows is not None:
            return self._areas[self._row(label)] * self.pixel_areas.unit
        per_pixel = self.pixel_areas.hectares
        return None if per_pixel is None else self.pixels(label) * per_pixel

    def _row(self, label: int) -> int:
        """Row of a label in sums."""
        return self._k + 1 if label == UNCLASSIFIED else label


class ClassStatistics(ClassCounts):
    """Counts, areas and, per band, means, deviations and extremes of the classes of a scene, block by block."""

    def __init__(self, model: ClusterModel, units: Units, areas: PixelAreas) -> None:
        super().__init__(model.k, areas)
        self._units = units
        self._shift = np.zeros((model.k + 2, len(model.bands)))
        self.are_exact = has_exact_sums(np.dtype(units.dtype))
        """Whether sums are exact, so that blocks may be added in any order."""
        self.block_bytes = _sum_bytes(model.k + 2, len(model.bands), exact=self.are_exact)
        """Most bytes of the sums of a block."""
        if not self.are_exact:
            self._shift[1:] = centres_of_rows(model, units)
        shape = (1 if self.are_exact else 2, *self._shift.shape)
        self._sums = np.zeros(shape, object if self.are_exact else np.float64)
        self._squares = np.zeros_like(self._sums)
        self._extremes = no_extremes(len(model.bands), model.k + 2, exact=self.are_exact)

    def add(self, block: LabelledBlock) -> None:
        """Add the sums of a block: exactly for integer pixels, because Python's integers do not overflow.

        Sums of other pixels depend on the order of the blocks, in digits far beyond those that are written:
        `SumsInOrder` sees to it that it is always the same.
        """
        self.add_counts(block.counts, block.areas)
        kind = self._sums.dtype
        self._sums = merge_sums(self._sums, block.sums.astype(kind))
        self._squares = merge_sums(self._squares, block.squares.astype(kind))
        np.minimum(self._extremes[..., 0], block.extremes[..., 0], out=self._extremes[..., 0])
        np.maximum(self._extremes[..., 1], block.extremes[..., 1], out=self._extremes[..., 1])

    def means(self, label: int) -> npt.NDArray[np.float64]:
        """Means of the pixels with a label, shape (band,), in physical units; NaN if there are none."""
        count, row, bands = self.pixels(label), self._row(label), range(self._shift.shape[1])
        if not count:
            return np.full(len(bands), np.nan)
        return self._units.to_physical(
            self._shift[row] + [float(_exact_sum(self._sums[:, row, band]) / count) for band in bands]
        )

    def stds(self, label: int) -> npt.NDArray[np.float64]:
        """Population standard deviations of the pixels with a label, as `means`."""
        return self._units.difference_factors * [self._std(label, band) for band in range(self._shift.shape[1])]

    def minima(self, label: int) -> npt.NDArray[np.float64]:
        """Least values of the pixels with a label, as `means`."""
        return np.minimum(*self._ends(label))

    def maxima(self, label: int) -> npt.NDArray[np.float64]:
        """Largest values of the pixels with a label, as `means`."""
        return np.maximum(*self._ends(label))

    def of_bands(self, label: int) -> list[tuple[float, ...]]:
        """Return `STATISTICS` of the pixels with a label for each band, in physical units; NaN if there are none."""
        columns = self.means(label), self.stds(label), self.minima(label), self.maxima(label)
        return [tuple(numbers) for numbers in np.stack(columns, axis=1).tolist()]

    def _ends(self, label: int) -> list[npt.NDArray[np.float64]]:
        """Both ends of the values of the pixels with a label in physical units; which is first, the scale decides."""
        ends = self._extremes[:, self._row(label)].T.astype(np.float64)
        return [self._units.to_physical(end if self.pixels(label) else np.full_like(end, np.nan)) for end in ends]

    def _std(self, label: int, band: int) -> float:
        """Population standard deviation of stored numbers; NaN without pixels or if squares overflowed."""
        count, row = self.pixels(label), self._row(label)
        total, square = _exact_sum(self._sums[:, row, band]), _exact_sum(self._squares[:, row, band])
        if not (count and isfinite(square)):
            return float("nan")
        return sqrt(max(0.0, (square * count - total * total) / count**2))


def _exact_sum(parts: npt.NDArray[Any]) -> Any:
    """Sum of parts without rounding; NaN if a part overflowed."""
    return sum(map(Fraction, parts.tolist())) if all(map(isfinite, parts)) else float("nan")


class SumsInOrder:
    """Adds the sums of blocks to statistics in the order of the blocks, whatever the order they come in.

    Exact sums are added at once. Others wait for those of earlier blocks, so that no digit depends on the order.
    """

    def __init__(self, statistics: ClassStatistics, blocks: Blocks) -> None:
        self._statistics = statistics
        self._columns = blocks.shape[1]
        self._following = 0
        self._waiting: dict[int, LabelledBlock] = {}
        self.window = len(blocks)
        """Number of blocks, from the first whose sums are missing on, of which there may be sums."""
        if not statistics.are_exact:
            self.window = min(self.window, _window(statistics.block_bytes))

    def add(self, block: Block, labelled: LabelledBlock) -> None:
        """Add the sums of a block, or note them for later; what outputs take from the block is dropped."""
        if self._statistics.are_exact:
            self._statistics.add(labelled)
            return
        self._waiting[block.row * self._columns + block.column] = replace(labelled, parts=())
        while self._following in self._waiting:
            self._statistics.add(self._waiting.pop(self._following))
            self._following += 1


def _window(block_bytes: int) -> int:
    """Number of blocks whose sums may wait."""
    return max(1, _MOST_WAITING // block_bytes)


def _sum_bytes(rows: int, bands: int, *, exact: bool) -> int:
    """Most bytes of a `LabelledBlock` without parts."""
    numbers = rows * (2 + bands * (2 * (1 if exact else 2) + 2))  # counts and areas; sums, squares and extremes
    return 8 * numbers + 1024


def labelling_needs(info: SceneInfo, classes: int, work: Work) -> Needs:
    """Needs of one pass that labels each block."""
    each = _sum_bytes(classes + 2, len(info.bands), exact=has_exact_sums(info.dtype))
    waiting = 0 if has_exact_sums(info.dtype) else min(work.blocks, _window(each)) * each
    return Needs(fixed=waiting, per_block=work.pixels, passes=1)
