"""Pixels of a block, and the protocols of sources that read them block by block."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.core.grid import Block, Blocks
from pipeline.core.scene_info import SceneInfo


class Pixels(NamedTuple):
    """Pixel values and validity of one block."""

    data: npt.NDArray[Any]
    """Stored values, shape (band, rows, columns), in the dtype and units of the scene."""
    valid: npt.NDArray[np.bool_]
    """Valid pixels, shape (rows, columns): True where no band is nodata or masked."""


class BlockSource(Protocol):
    """A scene that is read block by block. `read` may be called from several threads at once."""

    @property
    def info(self) -> SceneInfo:
        """Metadata of the scene."""

    @property
    def blocks(self) -> Blocks:
        """The blocks that cover the scene, row by row."""

    def read(self, block: Block) -> Pixels:
        """Read one of `blocks`."""


@dataclass(frozen=True)
class Piece:
    """Pixels of a rectangle within a block, with their labels and bounds."""

    points: npt.NDArray[Any]
    """Pixel values, shape (band, pixel)."""
    labels_and_bounds: npt.NDArray[np.uint8]
    """Row 0: label of each pixel; row 1: bound of each pixel. Shape (2, pixel)."""
    block: Block
    """Block that the piece is part of."""
    window: tuple[slice, slice]
    """Rows and columns of the block."""
    is_new: bool
    """Whether labels and bounds are initial ones, because none of the block are stored."""

    @property
    def labels(self) -> npt.NDArray[np.uint8]:
        """Label of each pixel as last stored, shape (pixel,); 0 at first, `EXCLUDED` if the pixel is not fitted."""
        labels: npt.NDArray[np.uint8] = self.labels_and_bounds[0]
        return labels

    @property
    def bounds(self) -> npt.NDArray[np.uint8]:
        """Bound of each pixel as last stored, shape (pixel,); 0 at first, undefined if the pixel is not fitted."""
        bounds: npt.NDArray[np.uint8] = self.labels_and_bounds[1]
        return bounds


class PieceStore(Protocol):
    """Pixels, and what passes over them remember about each, stored from one pass to the next.

    A droppable cache: a block that is missing is read again, and labels that are missing are those of a first pass.
    """

    def pieces(self, blocks: Iterable[Block]) -> Iterator[Piece]:
        """Yield the pixels and labels of blocks, piece by piece, in arrays that are reused for the next piece."""

    def store_labels(self, piece: Piece) -> None:
        """Store labels and bounds of a piece, which was read before, for the next pass."""


class PixelSource(BlockSource, Protocol):
    """A scene that the fit reads, too: it may leave out valid pixels (`fit.mask`) and may be read in many passes."""

    @property
    def cheap_again(self) -> bool:
        """Whether reading a block again costs little, because it is cached or in memory."""

    @property
    def store(self) -> PieceStore | None:
        """Where pixels and labels are stored from pass to pass; None if each pass reads the source again."""

    def read_for_fit(self, block: Block) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        """Read one of `blocks`; return its pixels, and which valid ones the fit uses, shape (rows, columns)."""
