"""Exact counts over all pixels of a scene of one band: of each stored number, or of each class of a labeller."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.grid import Block
from pipeline.engine.executor import Executor
from pipeline.features.base import STRIP_PIXELS
from pipeline.kernels.move_points import EXCLUDED
from pipeline.models.base import Labeller
from pipeline.pixels.pieces import PixelPieces
from pipeline.scenes.crop import place_of

Counts = npt.NDArray[np.int64]


def fitted_strips(pixels: PixelPieces, block: Block) -> Iterator[npt.NDArray[Any]]:
    """Yield the stored numbers of the pixels of a block that take part in the fit, some at a time, shape (pixel,)."""
    for piece in pixels.pieces([block]):
        for start in range(0, piece.labels.size, STRIP_PIXELS):
            strip = slice(start, start + STRIP_PIXELS)
            yield piece.points[0, strip][piece.labels[strip] != EXCLUDED]


@dataclass(frozen=True)
class CountNumbers:
    """Task: count the pixels of a block with each stored number, an integer of up to 16 bits."""

    pixels: PixelPieces

    def __call__(self, block: Block) -> Counts:
        """Return the number of pixels by stored number, with its bits read as an unsigned integer."""
        size = self.pixels.info.dtype.itemsize
        counts = np.zeros(256**size, np.int64)
        for numbers in fitted_strips(self.pixels, block):
            counts += np.bincount(numbers.view(f"u{size}"), minlength=counts.size)
        return counts

    def place(self, block: Block) -> Hashable:
        """Key of the pixels of a block."""
        return place_of(self.pixels, block)


@dataclass(frozen=True)
class CountLabels:
    """Task: count the pixels of a block with each label."""

    pixels: PixelPieces
    labeller: Labeller

    def __call__(self, block: Block) -> Counts:
        """Return the number of pixels by label, shape (256,)."""
        counts = np.zeros(256, np.int64)
        for numbers in fitted_strips(self.pixels, block):
            counts += count_labels(self.labeller, numbers)
        return counts

    def place(self, block: Block) -> Hashable:
        """Key of the pixels of a block."""
        return place_of(self.pixels, block)


def count_labels(labeller: Labeller, numbers: npt.NDArray[Any]) -> Counts:
    """Count valid pixels of one band, shape (pixel,), by label, shape (256,)."""
    plane = numbers[np.newaxis]
    return np.bincount(labeller(plane[np.newaxis], np.ones(plane.shape, np.bool_)).classes[0], minlength=256)


def count_all(task: CountNumbers | CountLabels, executor: Executor) -> Counts:
    """Add up the counts of all blocks."""
    counts: Counts = executor.fold(task, task.pixels.blocks, np.add)
    return counts
