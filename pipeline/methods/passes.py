"""Passes over all pixels of a scene: each is assigned to its nearest centre, and classes are added up exactly."""

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
"""How many pieces are added up in 64 bits; Python's numbers, which don't overflow, take longer."""


class Passes:
    """Assigns all pixels to centres, pass by pass, and keeps account of the classes."""

    def __init__(self, pixels: PixelPieces, k: int, stretch: Stretch, workers: int, width: float) -> None:
        self._pixels = pixels
        self._k = k
        self._workers = workers
        self._fixed = FixedPoint.of(pixels.info.dtype, pixels.low, pixels.high)
        self.ledger = ClassTotals(k, self._fixed)
        factors = np.ones(len(pixels.info.bands)) if stretch is None else stretch
        self._mover = Mover(pixels.info.dtype, stretch, self._fixed.scaling, width)
        self._weights = np.square(factors, dtype=np.float64)
        self._has_squares = False

    def run(self, centres: Centres, blocks: Sequence[Block] | None = None) -> int:
        """Assign each pixel to its nearest centre; give the number that changed class.

        Where classes are not kept from pass to pass, the account is that of this pass alone, which may be one over
        any `blocks` of the scene.
        """
        moves, first = 0, not (self._has_squares and self._pixels.caches_labels)
        if not self._pixels.caches_labels:
            self.ledger = ClassTotals(self._k, self._fixed)
        self._mover.set_centres(centres)

        def work(some: Iterator[Block]) -> tuple[int, ClassTotals]:
            return self._work(some, with_squares=first)

        for moved, changes in run_on_threads(work, blocks or self._pixels.blocks, self._workers):
            moves += moved
            self.ledger.merge(changes)
        self._has_squares = True
        return moves

    def _work(self, blocks: Iterator[Block], *, with_squares: bool) -> tuple[int, ClassTotals]:
        """Move the pixels of some blocks; give how many moved, and what that changes."""
        moves, together, changes, added_up = 0, 0, ClassTotals(self._k, self._fixed), self._fixed.zero_sums(self._k)
        for piece in self._pixels.pieces(blocks):
            if with_squares:
                changes.squares += squares(piece.points, piece.labels != EXCLUDED, self._fixed)
            moves += self._mover.move(piece.points, piece.labels, piece.bounds, *added_up)
            self._pixels.store_labels(piece)
            together += 1
            if together == _PIECES_TOGETHER:
                changes.add(*added_up)
                together, added_up = 0, self._fixed.zero_sums(self._k)
            del piece  # it may be a whole block, to be let go before the next one is read
        if moves:
            changes.add(*added_up)
        return moves, changes

    def inertia(self, centres: Centres) -> float:
        """Sum of squared distances of all pixels to the centres they were assigned to last."""
        return self.ledger.inertia(centres, self._weights)

    @property
    def variance(self) -> float:
        """Mean over the bands of their stretched variances."""
        return float((self.ledger.variances() * self._weights).mean())

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Pixels of each class."""
        return self.ledger.counts[1:].astype(np.int64)
