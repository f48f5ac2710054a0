"""Pieces of a scene's blocks for fits with many passes over all pixels: from a store, or read again each time."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Validity
from pipeline.core.grid import Block, Blocks, split_into_blocks
from pipeline.core.pixels import Piece, PixelSource
from pipeline.core.scene_info import SceneInfo
from pipeline.engine.executor import PerProcess
from pipeline.features.base import Preparation
from pipeline.kernels.move_points import EXCLUDED

PIECE_PIXELS: Final = 2**18
"""Pixels read from the cache at once: enough for the cost of a call to be negligible."""


@dataclass(frozen=True)
class FittedPixels:
    """Number and limits of the pixels that take part in the fit, known when each block was read once."""

    counts: Mapping[Block, int]
    """Number of fitted pixels of each block."""
    low: npt.NDArray[Any]
    """Smallest value per band, in the scene's dtype, shape (band,)."""
    high: npt.NDArray[Any]
    """Largest value per band, in the scene's dtype, shape (band,)."""


class PixelPieces(PerProcess):
    """Pixels of a scene, prepared for distances, that are read in any number of passes.

    Parameters
    ----------
    source : PixelSource
        The scene. Its store, if it has one, holds pixels and labels from pass to pass.
    fitted : FittedPixels
        Its pixels that take part in the fit, in stored numbers.
    preparation : Preparation
        What is done with stored numbers before distances are taken. The store holds the numbers as they are.
    remembers : bool
        Whether to use the store; without it passes may be over any windows, and each begins without labels.
    """

    def __init__(
        self, source: PixelSource, fitted: FittedPixels, preparation: Preparation, *, remembers: bool = True
    ) -> None:
        self._source = source
        self.store = source.store if remembers else None
        self.remembers = self.store is not None
        """Whether labels and bounds are stored from one pass to the next."""
        self.info: SceneInfo = source.info
        self.blocks: Blocks = source.blocks
        self.fitted = FittedPixels(fitted.counts, *preparation.bounds(fitted.low, fitted.high))
        """Number and limits of the prepared pixels that take part in the fit."""
        self._preparation = preparation
        self.accounts: dict[Block, Any] = {}
        """What passes remember of a block besides its labels and bounds; a pickle has neither."""

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"accounts": {}}

    def pieces(self, blocks: Iterable[Block]) -> Iterator[Piece]:
        """Yield the pixels and labels of blocks, piece by piece; blocks without fitted pixels are skipped.

        The arrays of a piece may be reused for the next one.
        """
        needed = (block for block in blocks if self.fitted.counts.get(block, 1))
        pieces = self.store.pieces(needed) if self.store else self._read_each(needed)
        yield from map(self._prepared, pieces)  # no name holds a piece while the next is read

    def store_labels(self, piece: Piece) -> None:
        """Store labels and bounds of a piece for the next pass, if there is a store."""
        if self.store:
            self.store.store_labels(piece)

    def _prepared(self, piece: Piece) -> Piece:
        return replace(piece, points=self._preparation.apply(piece.points))

    def _read_each(self, blocks: Iterable[Block]) -> Iterator[Piece]:
        """Yield the pieces of blocks, which are read one after the other."""
        for block in blocks:
            yield from _read_pieces(self._source, block)


def _read_pieces(source: PixelSource, block: Block) -> Iterator[Piece]:
    """Yield the pieces of a block; a function of its own, so that its memory is freed before the next block."""
    pixels, fitting = source.read_for_fit(block)
    labels = initial_labels(fitting)
    for piece in windows(block):
        rows, columns = piece.slices
        points, own_labels = (np.ascontiguousarray(planes[:, rows, columns]) for planes in (pixels.data, labels))
        yield Piece(points.reshape(len(points), -1), own_labels.reshape(2, -1), block, piece.slices, is_new=True)


def initial_labels(fitting: Validity) -> npt.NDArray[np.uint8]:
    """Labels and bounds before the first pass, shape (2, rows, columns): 0, or `EXCLUDED` if a pixel is not fitted."""
    labels = np.zeros((2, *fitting.shape), np.uint8)
    np.copyto(labels, EXCLUDED, where=~fitting)  # both, so that runs of unfitted pixels are skipped
    return labels


def windows(block: Block) -> Blocks:
    """Divide a block into pieces, of whole rows if these are not too long; rows and columns count from the block's."""
    width = min(block.width, PIECE_PIXELS)
    return split_into_blocks(block.shape, (PIECE_PIXELS // width, width))
