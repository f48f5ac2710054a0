"""Labels a scene block by block and accumulates statistics per class."""

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
from pipeline.engine.executor import ThreadExecutor
from pipeline.geo.pixel_areas import PixelAreas
from pipeline.kernels.areas import class_areas
from pipeline.kernels.assign import assign
from pipeline.kernels.fixed import has_exact_sums
from pipeline.kernels.sums import class_sums, merge_sums
from pipeline.models.cluster_model import ClusterModel


@dataclass(frozen=True)
class Thinning:
    """Selection of every n-th pixel of some bands, for the quicklook."""

    step: int
    """Distance between selected pixels: those whose row and column are multiples of it."""
    bands: tuple[int, ...]
    """Positions of the selected bands."""

    def shape(self, grid: Grid) -> tuple[int, int]:
        """(rows, columns) of the thinned scene."""
        return -(-grid.shape[0] // self.step), -(-grid.shape[1] // self.step)

    def inside(self, block: Block) -> tuple[slice, slice]:
        """Slices of the selected pixels in a block."""
        return slice(-block.top % self.step, None, self.step), slice(-block.left % self.step, None, self.step)

    def thinned_window(self, block: Block) -> tuple[slice, slice]:
        """Slices of a block's selected pixels in the thinned scene."""
        (top, bottom), (left, right) = block.window
        n = self.step
        return slice(-(-top // n), -(-bottom // n)), slice(-(-left // n), -(-right // n))


@dataclass(frozen=True)
class LabelledBlock:
    """Labels of a block and sums per class; class 0 is nodata."""

    labels: npt.NDArray[np.uint8]
    """Labels, shape (rows, columns): 0 is nodata, 1 to k are classes."""
    counts: npt.NDArray[np.int64]
    """Number of pixels per class, shape (k + 1,)."""
    sums: npt.NDArray[Any]
    """Sums of the pixels per class and band, shape (part, k + 1, band), from `class_sums`."""
    squares: npt.NDArray[Any]
    """Sums of the squared pixels per class and band, shape (part, k + 1, band)."""
    thinned: npt.NDArray[Any]
    """Pixels selected for the quicklook, shape (selected bands, selected rows, selected columns)."""
    areas: tuple[int, ...] = ()
    """Area per class in units of `PixelAreas.unit`, length k + 1; empty unless pixel areas differ by row."""


def classify_blocks(
    source: BlockSource, model: ClusterModel, thinning: Thinning, workers: int, areas: PixelAreas | None = None
) -> Iterator[tuple[Block, LabelledBlock]]:
    """Read and label the blocks of a scene in parallel, and yield them in order.

    Parameters
    ----------
    source : BlockSource
        A scene with the model's bands, in the model's order.
    model : ClusterModel
        The classes.
    thinning : Thinning
        Pixels to select for the quicklook.
    workers : int
        Number of blocks labelled at once.
    areas : PixelAreas, optional
        Areas of the scene's pixels; by default areas are not summed.
    """
    units = source.info.units
    centres, stretch = model.centres_in(units), model.stretch_in(units)

    def classify(block: Block) -> LabelledBlock:
        data, valid = source.read(block)
        labels = assign(data, valid, centres, stretch)
        thinned = data[(list(thinning.bands), *thinning.inside(block))]
        weights = areas.whole_numbers(block) if areas else None
        by_class = () if weights is None else class_areas(labels, weights, model.k + 1)
        return LabelledBlock(labels, *class_sums(data, labels, centres), thinned, by_class)

    return ThreadExecutor(workers).map(classify, source.blocks)


class ClassStatistics:
    """Pixel counts, areas, means and standard deviations per class of a scene, accumulated block by block."""

    def __init__(self, model: ClusterModel, units: Units, areas: PixelAreas | None = None) -> None:
        self._units = units
        self._pixel_areas = areas or PixelAreas(reason="areas were not requested")
        self._areas = [0] * (model.k + 1)
        self._shift = np.zeros((model.k + 1, len(model.bands)))
        self._exact = has_exact_sums(np.dtype(units.dtype))
        if not self._exact:
            self._shift[1:] = model.centres_in(units)
        self.counts = [0] * (model.k + 1)
        """Number of pixels per class, length k + 1; the first is nodata."""
        shape = (1 if self._exact else 2, *self._shift.shape)
        self._sums = np.zeros(shape, object if self._exact else np.float64)
        self._squares = np.zeros_like(self._sums)

    def add(self, block: LabelledBlock) -> None:
        """Add the sums of a block: exactly for integer pixels, because Python's integers do not overflow."""
        self.counts = [total + int(count) for total, count in zip(self.counts, block.counts, strict=True)]
        if block.areas:
            self._areas = [total + area for total, area in zip(self._areas, block.areas, strict=True)]
        kind = self._sums.dtype
        self._sums = merge_sums(self._sums, block.sums.astype(kind))
        self._squares = merge_sums(self._squares, block.squares.astype(kind))

    def hectares(self, label: int) -> float | None:
        """Area of a class in hectares; None if pixel areas are unknown."""
        if self._pixel_areas.rows is not None:
            return self._areas[label] * self._pixel_areas.unit
        per_pixel = self._pixel_areas.hectares
        return None if per_pixel is None else self.counts[label] * per_pixel

    def means(self, label: int) -> npt.NDArray[np.float64]:
        """Means of a class, shape (band,), in physical units; NaN for an empty class."""
        count, bands = self.counts[label], range(self._shift.shape[1])
        if not count:
            return np.full(len(bands), np.nan)
        return self._units.to_physical(
            self._shift[label] + [float(_exact_sum(self._sums[:, label, band]) / count) for band in bands]
        )

    def stds(self, label: int) -> npt.NDArray[np.float64]:
        """Population standard deviations of a class, shape (band,), in physical units; NaN for an empty class."""
        return self._units.difference_factors * [self._std(label, band) for band in range(self._shift.shape[1])]

    def _std(self, label: int, band: int) -> float:
        """Population standard deviation of stored numbers; NaN for an empty class or if squares overflowed."""
        count = self.counts[label]
        total, square = _exact_sum(self._sums[:, label, band]), _exact_sum(self._squares[:, label, band])
        if not (count and isfinite(square)):
            return float("nan")
        return sqrt(max(0.0, (square * count - total * total) / count**2))


def _exact_sum(parts: npt.NDArray[Any]) -> Any:
    """Sum of parts without rounding; NaN if a part overflowed."""
    return sum(map(Fraction, parts.tolist())) if all(map(isfinite, parts)) else float("nan")
