"""Mini-batch k-means over all pixels of a scene, each read once, in random order of squares."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.core.grid import Block, split_into_blocks
from pipeline.kernels.fixed import ClassTotals
from pipeline.methods.lloyd import Centres
from pipeline.methods.method import FitInput
from pipeline.methods.passes import Passes
from pipeline.methods.settings import CentroidSettings
from pipeline.pixels.pieces import PixelPieces

_CELL: Final = (512, 512)
"""(rows, columns) of the squares that batches consist of, independent of the scene's blocks."""

_CELLS_OF_A_BATCH: Final = 16
"""Number of squares per batch, drawn from the whole scene so that a batch represents it."""


def count_batches(shape: tuple[int, int]) -> int:
    """Return the number of batches of a scene of shape (rows, columns)."""
    cells = -(-shape[0] // _CELL[0]) * -(-shape[1] // _CELL[1])
    return -(-cells // _CELLS_OF_A_BATCH)


def _split_cell(cell: Block, largest: tuple[int, int]) -> Iterator[Block]:
    """Divide a square into blocks no larger than memory was planned for; sums don't depend on it."""
    for part in split_into_blocks(cell.shape, largest):
        yield replace(part, top=cell.top + part.top, left=cell.left + part.left)


def stream_batches(
    given: FitInput[CentroidSettings],
    pixels: PixelPieces,
    start: Centres,
    seen: npt.NDArray[np.int64],
    step: Callable[[], None] = lambda: None,
) -> Centres:
    """Move centroids towards the means of one batch of pixels after the other.

    Each centroid is the mean of all pixels that were nearest to it when their batch came. Batches are the scene's
    squares of 512 x 512 pixels in an order drawn from the seed, and sums are exact: the result is the same for any
    blocks and workers.

    Parameters
    ----------
    given : FitInput
        The seed for the order of the squares, and the executor that runs the pass over each batch.
    pixels : PixelPieces
        The scene.
    start : ndarray of float64, shape (k, band)
        Initial centroids, in stored numbers.
    seen : ndarray of int64, shape (k,)
        Number of pixels that each initial centroid is the mean of.
    step : callable
        Called after each batch, for progress.

    References
    ----------
    D. Sculley, "Web-scale k-means clustering", WWW 2010.
    """
    cells, largest = pixels.info.grid.blocks(_CELL), pixels.blocks[0].shape
    order = np.random.default_rng(given.settings.seed).permutation(len(cells))
    passes = Passes(pixels, len(start), given.stretch, given.executor, width=1.0)
    centres, seen = start, seen.copy()
    for first in range(0, len(cells), _CELLS_OF_A_BATCH):
        batch = (cells[i] for i in order[first : first + _CELLS_OF_A_BATCH].tolist())
        passes.assign(centres, list(chain.from_iterable(_split_cell(cell, largest) for cell in batch)))
        centres = moved_by_batch(centres, passes.totals, seen)
        step()
    return centres


def moved_by_batch(centres: Centres, totals: ClassTotals, seen: npt.NDArray[np.int64]) -> Centres:
    """Move each centroid towards the mean of its pixels in a batch, by their share of all it has seen.

    Parameters
    ----------
    centres : ndarray of float64, shape (k, band)
        Centroids before the batch.
    totals : ClassTotals
        Counts and sums of the batch.
    seen : ndarray of int64, shape (k,)
        Number of pixels per centroid so far; those of the batch are added, in place.
    """
    counts = totals.counts[1:].astype(np.int64)
    seen += counts
    return centres + (totals.means(centres) - centres) * (counts / np.maximum(seen, 1))[:, np.newaxis]
