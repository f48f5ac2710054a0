"""Labels of a scene's blocks, and what is counted on the way."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.grid import Block, Grid
from pipeline.core.pixels import BlockSource
from pipeline.core.units import Units
from pipeline.engine.threads import stream
from pipeline.geo.pixel_areas import PixelAreas
from pipeline.kernels.areas import class_areas
from pipeline.kernels.assign import assign
from pipeline.kernels.fixed import has_exact_sums
from pipeline.kernels.sums import class_sums, merge_sums
from pipeline.models.cluster_model import ClusterModel


@dataclass(frozen=True)
class Thinning:
    """Every n-th pixel of a scene, for a picture."""

    step: int
    """Pixels whose row and column are whole multiples of it are kept."""
    bands: tuple[int, ...]
    """Positions of the bands kept."""

    def shape(self, grid: Grid) -> tuple[int, int]:
        """(rows, columns) of the thinned scene."""
        return -(-grid.shape[0] // self.step), -(-grid.shape[1] // self.step)

    def inside(self, block: Block) -> tuple[slice, slice]:
        """Index of the kept pixels in a block."""
        return slice(-block.top % self.step, None, self.step), slice(-block.left % self.step, None, self.step)

    def onto(self, block: Block) -> tuple[slice, slice]:
        """Index of the block's kept pixels in the thinned scene."""
        (top, bottom), (left, right) = block.window
        n = self.step
        return slice(-(-top // n), -(-bottom // n)), slice(-(-left // n), -(-right // n))


@dataclass(frozen=True)
class LabelledBlock:
    """Labels of a block, and sums over its classes. Row 0 of the sums stands for nodata."""

    labels: npt.NDArray[np.uint8]
    """Shape (rows, columns): 0 is nodata, 1 to k are classes."""
    counts: npt.NDArray[np.int64]
    """Pixels in each class, shape (k + 1,)."""
    sums: npt.NDArray[Any]
    """Sum of each band, shape (part, k + 1, band), as `class_sums` adds it up."""
    squares: npt.NDArray[Any]
    """Sum of each band's squares, shape (part, k + 1, band)."""
    thinned: npt.NDArray[Any]
    """Pixels kept for the picture, shape (kept bands, kept rows, kept columns)."""
    areas: tuple[int, ...] = ()
    """Area of each class in the unit of the pixels' areas, k + 1 of them, where rows differ in it."""


def classify_blocks(
    source: BlockSource, model: ClusterModel, thinning: Thinning, workers: int, areas: PixelAreas | None = None
) -> Iterator[tuple[Block, LabelledBlock]]:
    """Read and label a scene's blocks, several at a time, and yield them in order.

    Parameters
    ----------
    source : BlockSource
        A scene with the model's bands, in the model's order.
    model : ClusterModel
        The classes.
    thinning : Thinning
        Which pixels to keep for a picture.
    workers : int
        Blocks worked on at once.
    areas : PixelAreas, optional
        Of the scene's pixels; by default they are not added up.
    """
    units = source.info.units
    centres, stretch = model.centres_in(units), model.stretch_in(units)

    def classify(block: Block) -> LabelledBlock:
        data, valid = source.read(block)
        labels = assign(data, valid, centres, stretch)
        thinned = data[(list(thinning.bands), *thinning.inside(block))]
        weights = areas.whole_numbers(block) if areas else None
        ground = () if weights is None else class_areas(labels, weights, model.k + 1)
        return LabelledBlock(labels, *class_sums(data, labels, centres), thinned, ground)

    return stream(classify, source.blocks, workers)


class ClassStatistics:
    """Pixels, means and standard deviations of the classes of a scene, added up block by block."""

    def __init__(self, model: ClusterModel, units: Units, areas: PixelAreas | None = None) -> None:
        self._units = units
        self._pixel_areas = areas or PixelAreas(reason="nobody asked for it")
        self._areas = [0] * (model.k + 1)
        self._shift = np.zeros((model.k + 1, len(model.bands)))
        self._exact = has_exact_sums(np.dtype(units.dtype))
        if not self._exact:
            self._shift[1:] = model.centres_in(units)
        self.counts = [0] * (model.k + 1)
        """Pixels in each class; the first number counts nodata."""
        shape = (1 if self._exact else 2, *self._shift.shape)
        self._sums = np.zeros(shape, object if self._exact else np.float64)
        self._squares = np.zeros_like(self._sums)

    def add(self, block: LabelledBlock) -> None:
        """Add a block. Integer pixels are added up exactly: Python's numbers do not overflow."""
        self.counts = [total + int(count) for total, count in zip(self.counts, block.counts, strict=True)]
        if block.areas:
            self._areas = [total + area for total, area in zip(self._areas, block.areas, strict=True)]
        kind = self._sums.dtype
        self._sums = merge_sums(self._sums, block.sums.astype(kind))
        self._squares = merge_sums(self._squares, block.squares.astype(kind))

    def hectares(self, label: int) -> float | None:
        """Area of a class on the ground; None where it is not known."""
        if self._pixel_areas.rows is not None:
            return self._areas[label] * self._pixel_areas.unit
        each = self._pixel_areas.hectares
        return None if each is None else self.counts[label] * each

    def means(self, label: int) -> npt.NDArray[np.float64]:
        """Mean of each band over a class, shape (band,), in the quantity of the units; NaN for an empty class."""
        count, bands = self.counts[label], range(self._shift.shape[1])
        if not count:
            return np.full(len(bands), np.nan)
        return self._units.to_physical(
            self._shift[label] + [float(_whole(self._sums[:, label, band]) / count) for band in bands]
        )

    def stds(self, label: int) -> npt.NDArray[np.float64]:
        """Standard deviation (population) of each band over a class, shape (band,); NaN for an empty class."""
        return self._units.spreads * [self._std(label, band) for band in range(self._shift.shape[1])]

    def _std(self, label: int, band: int) -> float:
        """Of stored numbers; NaN for an empty class, and where squares overflowed."""
        count = self.counts[label]
        total, square = _whole(self._sums[:, label, band]), _whole(self._squares[:, label, band])
        if not (count and isfinite(square)):
            return float("nan")
        return sqrt(max(0.0, (square * count - total * total) / count**2))


def _whole(parts: npt.NDArray[Any]) -> Any:
    """The sum of some parts, without rounding, unless it overflowed."""
    return sum(map(Fraction, parts.tolist())) if all(map(isfinite, parts)) else float("nan")
