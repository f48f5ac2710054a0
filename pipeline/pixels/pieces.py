"""Pieces of a scene's blocks for fits with many passes over all pixels: from a cache, or read again each time."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.core.grid import Block
from pipeline.core.pixels import FitSource, Pixels
from pipeline.core.scene_info import SceneInfo
from pipeline.engine.cache import Cache
from pipeline.kernels.move_points import EXCLUDED
from pipeline.pixels.cache import BlockCache, block_name

PIECE_PIXELS: Final = 2**18
"""Pixels read from the cache at once: enough for the cost of a call to be negligible."""


@dataclass(frozen=True)
class Piece:
    """Consecutive pixels of a flattened block, with their labels and bounds."""

    points: npt.NDArray[Any]
    """Pixel values, shape (band, pixel)."""
    labels_and_bounds: npt.NDArray[np.uint8]
    """Row 0: label of each pixel; row 1: bound of each pixel. Shape (2, pixel)."""
    block: Block
    """Block that the piece is part of."""
    start: int
    """Index of the first pixel in the flattened block."""

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


class PixelPieces(FitSource, Protocol):
    """A scene whose pixels can be read in any number of passes, after each block was read once for the fit."""

    @property
    def caches_labels(self) -> bool:
        """Whether labels and bounds are stored from one pass to the next."""

    @property
    def low(self) -> npt.NDArray[Any]:
        """Smallest value per band among the fitted pixels, shape (band,)."""

    @property
    def high(self) -> npt.NDArray[Any]:
        """Largest value per band among the fitted pixels, shape (band,)."""

    @property
    def fitting(self) -> Mapping[Block, int]:
        """Number of fitted pixels per block."""

    @property
    def accounts(self) -> dict[Block, Any]:
        """What passes remember of a block beside its labels and bounds; it must be forgotten whenever they are."""

    def pieces(self, blocks: Iterable[Block]) -> Iterator[Piece]:
        """Yield the pixels and labels of blocks, piece by piece; blocks without fitted pixels are skipped.

        The arrays of a piece may be reused for the next one.
        """

    def store_labels(self, piece: Piece) -> None:
        """Store labels and bounds of a piece for the next pass."""


class _CountedPieces:
    """Reads a source for the fit, counts the fitted pixels and finds their limits."""

    def __init__(self, source: FitSource) -> None:
        self._source = source
        self._guard = threading.Lock()
        self.info: SceneInfo = source.info
        self.blocks: Sequence[Block] = source.blocks
        self.fitting: dict[Block, int] = {}
        """Number of fitted pixels per block."""
        self.accounts: dict[Block, Any] = {}
        """What passes remember of a block beside its labels and bounds."""
        self._limits: list[npt.NDArray[Any]] = []
        """Smallest and largest value per band of each block, shape (2, band)."""

    @property
    def low(self) -> npt.NDArray[Any]:
        """Smallest value per band among the fitted pixels, shape (band,)."""
        least: npt.NDArray[Any] = np.min(np.stack(self._limits)[:, 0], axis=0)
        return least

    @property
    def high(self) -> npt.NDArray[Any]:
        """Largest value per band among the fitted pixels, shape (band,)."""
        largest: npt.NDArray[Any] = np.max(np.stack(self._limits)[:, 1], axis=0)
        return largest

    def read_for_fit(self, block: Block) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        """Read a block from the source; return it, and which of its pixels take part in the fit."""
        pixels, fitting = self._source.read_for_fit(block)
        count = int(np.count_nonzero(fitting))
        limits = np.empty((2, len(pixels.data)), pixels.data.dtype)
        for band, plane in enumerate(pixels.data if count else ()):
            chosen = plane if count == fitting.size else plane[fitting]
            limits[:, band] = chosen.min(), chosen.max()
        with self._guard:
            self.fitting[block] = count
            if count:
                self._limits.append(limits)
        return pixels, fitting


class UncachedPieces(_CountedPieces):
    """Reads the source again in each pass."""

    cheap_again = False
    caches_labels = False

    def read(self, block: Block) -> Pixels:
        """Read a block from the source."""
        return self._source.read(block)

    def pieces(self, blocks: Iterable[Block]) -> Iterator[Piece]:
        """Read blocks, or any other windows, and yield their pieces, with labels of 0."""
        for block in blocks:
            if self.fitting.get(block, 1):
                yield from self._pieces_of(block)

    def _pieces_of(self, block: Block) -> Iterator[Piece]:
        """Yield the pieces of a block; a function of its own, so that its memory is freed before the next block."""
        pixels, fitting = self._source.read_for_fit(block)
        labels = np.where(fitting, np.uint8(0), np.uint8(EXCLUDED)).reshape(-1)
        points = pixels.data.reshape(len(pixels.data), -1)
        for start in range(0, labels.size, PIECE_PIXELS):
            own_labels = labels[start : start + PIECE_PIXELS]
            own_points = np.ascontiguousarray(points[:, start : start + PIECE_PIXELS])
            yield Piece(own_points, np.stack([own_labels, np.zeros_like(own_labels)]), block, start)

    def store_labels(self, piece: Piece) -> None:
        """Do nothing: each pass starts without labels."""


class CachedPieces(_CountedPieces):
    """Caches blocks when the fit first reads them, and labels and bounds of their pieces in entries of their own."""

    caches_labels = True
    cheap_again = True

    def __init__(self, source: FitSource, cache: Cache) -> None:
        super().__init__(source)
        self._cache = cache
        self._store = BlockCache(source.info, cache)

    def read_for_fit(self, block: Block) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        """Read a block from the cache, or from the source and cache it; return it, and which pixels the fit uses."""
        if block in self.fitting:
            return self._store.take_for_fit(block)
        pixels, fitting = super().read_for_fit(block)
        self._store.put(block, pixels, fitting)
        stored, outside = np.zeros(2 * fitting.size, np.uint8), ~fitting.reshape(-1)
        # per piece labels, then bounds; OUTSIDE in both, so that runs of unfitted pixels are skipped
        for start in range(0, fitting.size, PIECE_PIXELS):
            mask = outside[start : start + PIECE_PIXELS]
            stored[2 * start : 2 * (start + mask.size)][np.tile(mask, 2)] = EXCLUDED
        self._cache.put(_labels_name(block), stored)
        return pixels, fitting

    def read(self, block: Block) -> Pixels:
        """Return a cached block."""
        return self._store.take(block)

    def pieces(self, blocks: Iterable[Block]) -> Iterator[Piece]:
        """Yield the pixels and labels of cached blocks, in buffers that are reused: measured to be faster."""
        bands = len(self.info.bands)
        buffer, stored = np.empty(bands * PIECE_PIXELS, self.info.dtype), np.empty(2 * PIECE_PIXELS, np.uint8)
        for block in blocks:
            pixels = block.height * block.width if self.fitting[block] else 0
            for start in range(0, pixels, PIECE_PIXELS):
                count = min(PIECE_PIXELS, pixels - start)
                points, labels = buffer[: bands * count].reshape(bands, count), stored[: 2 * count].reshape(2, count)
                planes = (((band * pixels + start) * buffer.itemsize, plane) for band, plane in enumerate(points))
                self._cache.take(block_name(block), *planes)
                self._cache.take(_labels_name(block), (2 * start, labels))
                yield Piece(points, labels, block, start)

    def store_labels(self, piece: Piece) -> None:
        """Store labels and bounds of a piece for the next pass."""
        self._cache.change(_labels_name(piece.block), 2 * piece.start, piece.labels_and_bounds)


def _labels_name(block: Block) -> str:
    """Return the cache entry of the labels and bounds of a block."""
    return f"labels-{block.row}-{block.column}"
