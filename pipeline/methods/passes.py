"""Passes over all pixels of a scene: assign each to its nearest centroid, with exact counts and sums per class.

A pass over a block is a pure function of its pixels, the centroids before and the centroids now: the number of pixels
that change class, and exact counts and sums at the centroids now. What is remembered of the pass before (labels, bounds
and the block's account) only saves time: without it the pixels are assigned to the centroids before, then moved.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Stretch
from pipeline.core.grid import Block
from pipeline.core.pixels import Piece
from pipeline.engine.executor import Executor
from pipeline.kernels.fixed import MAX_POINTS_PER_SUM, ClassTotals, FixedPoint, squares
from pipeline.kernels.move_points import EXCLUDED
from pipeline.kernels.mover import Mover
from pipeline.methods.lloyd import Centres
from pipeline.pixels.pieces import PIECE_PIXELS, PixelPieces
from pipeline.scenes.crop import place_of

_PIECES_TOGETHER: Final = MAX_POINTS_PER_SUM // PIECE_PIXELS
"""Number of pieces whose sums fit 64 bits; they are then added to Python integers, which don't overflow."""


@dataclass(frozen=True)
class BlockAccount:
    """Counts and sums of a block, up to date with its labels; remembered with them from pass to pass."""

    at: Mover
    """Centroids that the labels belong to."""
    squares: npt.NDArray[np.object_]
    """Sum of the squares of the block's pixels per band, as `squares` returns it."""
    sums: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]
    """Counts and sums (`FixedPoint.zero_sums`) for each `_PIECES_TOGETHER` pieces."""


@dataclass(frozen=True)
class PassResult:
    """Result of a pass over some blocks."""

    moves: int
    """Number of pixels that changed class."""
    totals: ClassTotals
    """Counts, sums and squares of the blocks."""

    def merge(self, other: "PassResult") -> "PassResult":
        """Add the result of other blocks; the totals of this one are changed."""
        self.totals.merge(other.totals)
        return PassResult(self.moves + other.moves, self.totals)


@dataclass(frozen=True)
class MoveBlock:
    """Task: move the pixels of a block from their nearest centroids before to those now."""

    pixels: PixelPieces
    k: int
    """Number of classes."""
    fixed: FixedPoint
    before: Mover | None
    """Centroids of the pass before; None if pixels have no class yet."""
    now: Mover
    """Centroids of this pass."""

    def __call__(self, block: Block) -> PassResult:
        """Move the pixels of a block; return its absolute counts and sums, and the number of pixels that moved."""
        known, moves = self._known(block), 0
        account = BlockAccount(self.now, np.zeros(len(self.fixed.factor), object), [])
        for number, piece in enumerate(self.pixels.pieces([block])):
            known = None if piece.is_new else known  # its labels were lost
            account = replace(known, at=self.now) if known and not number else account
            if number // _PIECES_TOGETHER == len(account.sums):
                account.sums.append(self.fixed.zero_sums(self.k))
            sums = account.sums[number // _PIECES_TOGETHER]
            if not known:
                self._enter(piece, account, *sums)
            moves += self.now.move(piece.points, piece.labels, piece.bounds, *sums)
            self.pixels.store_labels(piece)
        if self.pixels.remembers:
            self.pixels.accounts[block] = account
        totals = ClassTotals(self.k, self.fixed)
        totals.squares += account.squares
        for sums in account.sums:
            totals.add(*sums)
        return PassResult(moves, totals)

    def place(self, block: Block) -> Hashable:
        """Key of the pixels of a block."""
        return place_of(self.pixels, block)

    def _known(self, block: Block) -> BlockAccount | None:
        """Take out the account of a block; None if it was forgotten, or belongs to other centroids than those before.

        Until the pass over the block is complete there is none, because its labels may be those of either pass.
        """
        known = self.pixels.accounts.pop(block, None)
        return known if known and self.before and known.at.is_at(self.before) else None

    def _enter(
        self, piece: Piece, account: BlockAccount, counts: npt.NDArray[np.int64], sums: npt.NDArray[np.int64]
    ) -> None:
        """Assign the pixels of a piece about which nothing is known to the centroids before, and add up its squares."""
        takes_part = piece.labels != EXCLUDED
        np.multiply(piece.labels_and_bounds, ~takes_part, out=piece.labels_and_bounds)
        account.squares[:] += squares(piece.points, takes_part, self.fixed)
        if self.before is not None:
            self.before.move(piece.points, piece.labels, piece.bounds, counts, sums)


class Passes:
    """Assigns all pixels to centroids, pass by pass, and holds the counts and sums of each class.

    Parameters
    ----------
    pixels : PixelPieces
        The scene.
    k : int
        Number of classes.
    stretch : ndarray of float64, shape (band,), optional
        Factor per band by which differences are multiplied before distances are taken; None for 1.
    executor : Executor
        Runs the task of each block.
    width : float
        Typical distance of pixels from their centroids: see `Mover`. Affects speed only.
    """

    def __init__(self, pixels: PixelPieces, k: int, stretch: Stretch, executor: Executor, width: float) -> None:
        self._pixels = pixels
        self._k = k
        self._executor = executor
        low, high = pixels.fitted.low, pixels.fitted.high
        self._fixed = FixedPoint.of(low.dtype, low, high)
        self.totals = ClassTotals(k, self._fixed)
        """Counts, sums and squares after the last pass."""
        self.stretch = stretch
        self._mover = Mover(low.dtype, stretch, self._fixed.scaling, width)
        self._weights = np.square(np.ones(len(low)) if stretch is None else stretch, dtype=np.float64)

    def assign(self, centres: Centres, blocks: Sequence[Block] | None = None) -> int:
        """Assign each pixel to its nearest centroid; return the number of pixels that changed class.

        If labels are not remembered, that is the number of all pixels, and the pass may be over any `blocks` of the
        scene.
        """
        has_classes = self._pixels.remembers and self._mover.centroids is not None
        before, now = self._mover if has_classes else None, self._mover.to(centres)
        task = MoveBlock(self._pixels, self._k, self._fixed, before, now)
        result = self._executor.fold(task, blocks or self._pixels.blocks, PassResult.merge)
        self._mover, self.totals = now, result.totals
        return result.moves

    def inertia(self, centres: Centres) -> float:
        """Sum of squared distances of all pixels to their centroids in the last pass."""
        return self.totals.inertia(centres, self._weights)

    @property
    def variance(self) -> float:
        """Mean over the bands of their variances after scaling by `stretch`."""
        return float((self.totals.variances() * self._weights).mean())

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Number of pixels per class, shape (k,)."""
        return self.totals.counts[1:].astype(np.int64)
