"""Mini-batch k-means over every pixel of a scene, read once, in an order of its own."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Stretch
from pipeline.core.grid import Block, split_into_blocks
from pipeline.methods.lloyd import Centres
from pipeline.methods.passes import Passes
from pipeline.pixels.pieces import PixelPieces

_CELL: Final = (512, 512)
"""(rows, columns) of the squares that a scene is cut into, whatever its blocks are."""

_CELLS_OF_A_BATCH: Final = 16
"""Squares from all over the scene, so that a batch is no single landscape."""


def count_batches(shape: tuple[int, int]) -> int:
    """How many batches a scene of (rows, columns) has."""
    cells = -(-shape[0] // _CELL[0]) * -(-shape[1] // _CELL[1])
    return -(-cells // _CELLS_OF_A_BATCH)


def _within(cell: Block, most: tuple[int, int]) -> Iterator[Block]:
    """Cut a square into blocks that are no larger than those that memory was planned for; no sum notices."""
    for part in split_into_blocks(cell.shape, most):
        yield replace(part, top=cell.top + part.top, left=cell.left + part.left)


def stream_batches(
    pixels: PixelPieces,
    start: Centres,
    seen: npt.NDArray[np.int64],
    *,
    seed: int,
    stretch: Stretch,
    workers: int,
    step: Callable[[], None] = lambda: None,
) -> Centres:
    """Move centres towards the means of one batch of pixels after the other.

    Each centre is the mean of all pixels that were nearest to it when their batch came. Batches are the scene's
    squares of 512 x 512 pixels in an order drawn from the seed, and sums are exact: the result is the same for any
    blocks and workers.

    Parameters
    ----------
    pixels : FitPixels
        The scene, each block of which was read for the fit already.
    start : ndarray of float64, shape (k, band)
        Centres to start from, in stored numbers.
    seen : ndarray of int64, shape (k,)
        How many pixels each of them is the mean of.
    seed : int
        Draws the order.
    stretch : ndarray of float64, shape (band,), optional
        What differences of each band are multiplied by.
    workers : int
        Squares worked on at once.
    step : callable
        Called after each batch, for progress.

    References
    ----------
    D. Sculley, "Web-scale k-means clustering", WWW 2010.
    """
    cells = [list(_within(cell, pixels.blocks[0].shape)) for cell in pixels.info.grid.blocks(_CELL)]
    order = np.random.default_rng(seed).permutation(len(cells))
    passes = Passes(pixels, len(start), stretch, workers, width=1.0)
    centres, seen = start, seen.copy()
    for first in range(0, len(cells), _CELLS_OF_A_BATCH):
        passes.run(centres, list(chain.from_iterable(cells[i] for i in order[first : first + _CELLS_OF_A_BATCH])))
        means = passes.ledger.means(centres)
        seen += passes.counts
        centres = centres + (means - centres) * (passes.counts / np.maximum(seen, 1))[:, np.newaxis]
        step()
    return centres
