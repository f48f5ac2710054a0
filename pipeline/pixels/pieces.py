"""Pixels of a scene for fits that pass over all of them many times: kept as they were first read, or read anew."""

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
"""Pixels that are taken out of the cache at once: enough for the cost of a call to vanish."""


@dataclass(frozen=True)
class Piece:
    """Pixels of a part of a block."""

    points: npt.NDArray[Any]
    """Shape (band, pixel)."""
    beside: npt.NDArray[np.uint8]
    """Shape (2, pixel): labels and bounds."""
    block: Block
    start: int
    """Place of the first pixel in the flattened block."""

    @property
    def labels(self) -> npt.NDArray[np.uint8]:
        """Shape (pixel,): what was kept last; 0 at first, `EXCLUDED` where a pixel takes no part in the fit."""
        labels: npt.NDArray[np.uint8] = self.beside[0]
        return labels

    @property
    def bounds(self) -> npt.NDArray[np.uint8]:
        """Shape (pixel,): what was kept last; 0 at first, any where a pixel takes no part."""
        bounds: npt.NDArray[np.uint8] = self.beside[1]
        return bounds


class PixelPieces(FitSource, Protocol):
    """A scene whose pixels, once each block was read for the fit, can be passed over again and again."""

    @property
    def remembers(self) -> bool:
        """Whether labels are kept from pass to pass."""

    @property
    def low(self) -> npt.NDArray[Any]:
        """Least number of each band among the pixels of the fit, shape (band,)."""

    @property
    def high(self) -> npt.NDArray[Any]:
        """Largest number of each band among them."""

    @property
    def fitting(self) -> Mapping[Block, int]:
        """How many pixels of each block take part in the fit."""

    def pieces(self, blocks: Iterable[Block]) -> Iterator[Piece]:
        """Give the pixels and labels of blocks, piece by piece; nothing where none is in the fit.

        The arrays of a piece may be used again for the next one.
        """

    def keep(self, piece: Piece) -> None:
        """Keep labels and bounds of a piece for the next pass."""


class _CountedPieces:
    """Reads a source for the fit and counts what takes part."""

    def __init__(self, source: FitSource) -> None:
        self._source = source
        self._guard = threading.Lock()
        self.info: SceneInfo = source.info
        self.blocks: Sequence[Block] = source.blocks
        self.fitting: dict[Block, int] = {}
        """How many pixels of each block take part in the fit."""
        self._limits: list[npt.NDArray[Any]] = []

    @property
    def low(self) -> npt.NDArray[Any]:
        """Least number of each band among the pixels of the fit, shape (band,)."""
        least: npt.NDArray[Any] = np.min(np.stack(self._limits)[:, 0], axis=0)
        return least

    @property
    def high(self) -> npt.NDArray[Any]:
        """Largest number of each band among the pixels of the fit, shape (band,)."""
        largest: npt.NDArray[Any] = np.max(np.stack(self._limits)[:, 1], axis=0)
        return largest

    def read_for_fit(self, block: Block) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        """Read a block from the source, and say which of its pixels take part in the fit."""
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
    """Reads the source anew for each pass."""

    remembers = False

    def read(self, block: Block) -> Pixels:
        """Read a block from the source."""
        return self._source.read(block)

    def pieces(self, blocks: Iterable[Block]) -> Iterator[Piece]:
        """Read blocks, or any other windows, and give their pieces, whose labels are 0."""
        for block in blocks:
            if self.fitting.get(block, 1):
                yield from self._pieces_of(block)

    def _pieces_of(self, block: Block) -> Iterator[Piece]:
        """By itself, so that a block is let go, but for the last piece, before the next one is read."""
        pixels, fitting = self._source.read_for_fit(block)
        labels = np.where(fitting, np.uint8(0), np.uint8(EXCLUDED)).reshape(-1)
        points = pixels.data.reshape(len(pixels.data), -1)
        for start in range(0, labels.size, PIECE_PIXELS):
            known = labels[start : start + PIECE_PIXELS]
            some = np.ascontiguousarray(points[:, start : start + PIECE_PIXELS])
            yield Piece(some, np.stack([known, np.zeros_like(known)]), block, start)

    def keep(self, piece: Piece) -> None:
        """Do nothing."""


class CachedPieces(_CountedPieces):
    """Keeps blocks in a cache when the fit first reads them, and, by themselves and in pieces, labels and bounds."""

    remembers = True

    def __init__(self, source: FitSource, cache: Cache) -> None:
        super().__init__(source)
        self._cache = cache
        self._store = BlockCache(source.info, cache)

    def read_for_fit(self, block: Block) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        """Read a block from the source, keep it, and say which of its pixels take part in the fit."""
        pixels, fitting = super().read_for_fit(block)
        self._store.put(block, pixels, fitting)
        beside, outside = np.zeros(2 * fitting.size, np.uint8), ~fitting.reshape(-1)
        for start in range(
            0, fitting.size, PIECE_PIXELS
        ):  # labels, then bounds: the same, so that runs are passed over
            some = outside[start : start + PIECE_PIXELS]
            beside[2 * start : 2 * (start + some.size)][np.tile(some, 2)] = EXCLUDED
        self._cache.put(_labels_of(block), beside)
        return pixels, fitting

    def keeps(self, _block: Block) -> bool:
        """Whether a block that was read for the fit is kept: all are."""
        return True

    def read(self, block: Block) -> Pixels:
        """Give a block that is kept."""
        return self._store.take(block)

    def read_again_for_fit(self, block: Block) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        """Give a block that is kept, and say which of its pixels take part in the fit."""
        return self._store.take_for_fit(block)

    def pieces(self, blocks: Iterable[Block]) -> Iterator[Piece]:
        """Take the pixels and labels of blocks out of the cache, into the same room: measured to be faster."""
        bands = len(self.info.bands)
        room, beside = np.empty(bands * PIECE_PIXELS, self.info.dtype), np.empty(2 * PIECE_PIXELS, np.uint8)
        for block in blocks:
            pixels = block.height * block.width if self.fitting[block] else 0
            for start in range(0, pixels, PIECE_PIXELS):
                count = min(PIECE_PIXELS, pixels - start)
                points, known = room[: bands * count].reshape(bands, count), beside[: 2 * count].reshape(2, count)
                planes = (((band * pixels + start) * room.itemsize, plane) for band, plane in enumerate(points))
                self._cache.take(block_name(block), *planes)
                self._cache.take(_labels_of(block), (2 * start, known))
                yield Piece(points, known, block, start)

    def keep(self, piece: Piece) -> None:
        """Keep labels and bounds of a piece."""
        self._cache.change(_labels_of(piece.block), 2 * piece.start, piece.beside)


def _labels_of(block: Block) -> str:
    """Name under which a cache keeps the labels and bounds of a block."""
    return f"labels-{block.row}-{block.column}"
