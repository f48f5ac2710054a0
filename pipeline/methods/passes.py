"""Passes over all pixels of a scene: assign each to its nearest centroid, and update exact class sums."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Stretch
from pipeline.core.grid import Block
from pipeline.engine.threads import run_on_threads
from pipeline.kernels.fixed import MAX_POINTS_PER_SUM, ClassTotals, FixedPoint, squares
from pipeline.kernels.move_points import EXCLUDED
from pipeline.kernels.mover import Mover
from pipeline.methods.lloyd import Centres
from pipeline.pixels.pieces import PIECE_PIXELS, PixelPieces

_PIECES_TOGETHER: Final = MAX_POINTS_PER_SUM // PIECE_PIXELS
"""Number of pieces whose sums fit 64 bits; they are then added to Python integers, which don't overflow."""


class Passes:
    """Assign all pixels to centroids, pass by pass, and hold the counts and sums of each class.

    Parameters
    ----------
    pixels : PixelPieces
        The scene; each of its blocks must have been read for the fit before.
    k : int
        Number of classes.
    stretch : ndarray of float64, shape (band,), optional
        Factor per band by which differences are multiplied before distances are taken; None for 1.
    workers : int
        Number of threads.
    width : float
        Typical distance of pixels from their centroids: see `Mover`. Affects speed only.
    """

    def __init__(self, pixels: PixelPieces, k: int, stretch: Stretch, workers: int, width: float) -> None:
        self._pixels = pixels
        self._k = k
        self._workers = workers
        self._fixed = FixedPoint.of(pixels.info.dtype, *pixels.limits)
        self.ledger = ClassTotals(k, self._fixed)
        """Counts and sums per class."""
        factors = np.ones(len(pixels.info.bands)) if stretch is None else stretch
        self._mover = Mover(pixels.info.dtype, stretch, self._fixed.scaling, width)
        self._weights = np.square(factors, dtype=np.float64)
        self._has_squares = False

    def run(self, centres: Centres, blocks: Sequence[Block] | None = None) -> int:
        """Assign each pixel to its nearest centroid; return the number of pixels that changed class.

        If labels are not stored between passes, counts and sums are those of this pass only, and it may be over any
        `blocks` of the scene.
        """
        moves, first = 0, not (self._has_squares and self._pixels.remembers)
        if not self._pixels.remembers:
            self.ledger = ClassTotals(self._k, self._fixed)
        self._mover.set_centres(centres)

        def work(own_blocks: Iterator[Block]) -> tuple[int, ClassTotals]:
            return self._work(own_blocks, with_squares=first)

        for moved, changes in run_on_threads(work, blocks or self._pixels.blocks, self._workers):
            moves += moved
            self.ledger.merge(changes)
        self._has_squares = True
        return moves

    def _work(self, blocks: Iterator[Block], *, with_squares: bool) -> tuple[int, ClassTotals]:
        """Assign the pixels of some blocks; return how many changed class, and the changes of counts and sums."""
        moves, pieces, changes, added_up = 0, 0, ClassTotals(self._k, self._fixed), self._fixed.zero_sums(self._k)
        for piece in self._pixels.pieces(blocks):
            if with_squares:
                changes.squares += squares(piece.points, piece.labels != EXCLUDED, self._fixed)
            moves += self._mover.move(piece.points, piece.labels, piece.bounds, *added_up)
            self._pixels.store_labels(piece)
            pieces += 1
            if pieces == _PIECES_TOGETHER:
                changes.add(*added_up)
                pieces, added_up = 0, self._fixed.zero_sums(self._k)
            del piece  # it may be a whole block: free it before the next one is read
        if moves:
            changes.add(*added_up)
        return moves, changes

    def inertia(self, centres: Centres) -> float:
        """Sum of squared distances of all pixels to their centroids in the last pass."""
        return self.ledger.inertia(centres, self._weights)

    @property
    def variance(self) -> float:
        """Mean over the bands of their variances after scaling by `stretch`."""
        return float((self.ledger.variances() * self._weights).mean())

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Number of pixels per class, shape (k,)."""
        return self.ledger.counts[1:].astype(np.int64)
