"""Cache of a scene's blocks, as the fit first read them, and of the labels of their pixels."""

import logging
import threading
from collections.abc import Iterable, Iterator
from functools import partial
from secrets import token_hex
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Validity
from pipeline.core.errors import OutputError
from pipeline.core.grid import Block, Blocks
from pipeline.core.pixels import Piece, Pixels, PixelSource
from pipeline.core.scene_info import SceneInfo
from pipeline.engine.cache import Cache, Entry
from pipeline.pixels.pieces import PIECE_PIXELS, initial_labels, windows

logger = logging.getLogger(__name__)

_FITTED: Final = np.uint8(2)
"""Status of a pixel that takes part in the fit; that of one that is only valid is 1, and that of nodata 0."""

_PLANES: Final = slice(None)


class CachedSource:
    """Caches blocks when the fit first reads them, for later passes and for the map; a `PixelSource`.

    A block is up to three arrays in the cache: its pixels; their status, unless all take part in the fit; their labels
    and bounds, once passes have begun. Several threads may read different blocks at once. Pickled with its cache: a
    copy finds the blocks there, and reads from the source those it does not; labels and bounds are its own.

    Parameters
    ----------
    source : PixelSource
        The scene.
    cache : Cache
        Where blocks are stored.
    required : bool
        Whether a full disk is an error. Otherwise the cache is then emptied, and the source is read again.
    """

    def __init__(self, source: PixelSource, cache: Cache, *, required: bool = True) -> None:
        self._source = source
        self._cache = cache
        self._required = required
        self._guard = threading.Lock()
        self._own = token_hex(4)  # two passes may not change the labels of one block
        self._disk_full = False
        self.info: SceneInfo = source.info
        self.blocks: Blocks = source.blocks

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(CachedSource, required=self._required), (self._source, self._cache)

    @property
    def cheap_again(self) -> bool:
        """Whether blocks that were read for the fit are cached."""
        return not self._disk_full

    @property
    def store(self) -> "CachedSource | None":
        """The source itself, if passes can rely on the space of its cache."""
        return self if self._required else None

    def read_for_fit(self, block: Block) -> tuple[Pixels, Validity]:
        """Read a block from the cache, or from the source and cache it; return it and which pixels the fit uses."""
        data, status, _ = self._entries(block)
        if self._cache.holds(data):
            each = self._read_status(status)
            return Pixels(self._cache.read(data), each > 0), each == _FITTED
        pixels, fitting = self._source.read_for_fit(block)
        if not self._disk_full:
            self._write(block, pixels, fitting)
        return pixels, fitting

    def read(self, block: Block) -> Pixels:
        """Return a block and drop it from the cache, because the map needs it once; read the source if not cached."""
        data, status, _ = self._entries(block)
        if not self._cache.holds(data):
            return self._source.read(block)
        pixels = Pixels(self._cache.read(data), self._read_status(status) > 0)
        self._drop(block)
        return pixels

    def pieces(self, blocks: Iterable[Block]) -> Iterator[Piece]:
        """Yield the pixels and labels of blocks, in buffers that are reused: measured to be faster."""
        bands = len(self.info.bands)
        buffer, stored = np.empty(bands * PIECE_PIXELS, self.info.dtype), np.empty(2 * PIECE_PIXELS, np.uint8)
        for block in blocks:
            data, status, labels = self._entries(block)
            if not self._cache.holds(data):
                self.read_for_fit(block)
            if not self._cache.holds(labels):
                self._cache.write(labels, initial_labels(self._read_status(status) == _FITTED))
            for window in windows(block):
                count = window.height * window.width
                points, own_labels = buffer[: bands * count].reshape(bands, -1), stored[: 2 * count].reshape(2, -1)
                self._cache.read(data, (_PLANES, *window.slices), points.reshape(bands, *window.shape))
                self._cache.read(labels, (_PLANES, *window.slices), own_labels.reshape(2, *window.shape))
                yield Piece(points, own_labels, block, window.slices)

    def store_labels(self, piece: Piece) -> None:
        """Store labels and bounds of a piece for the next pass."""
        rows, columns = piece.window
        labels = piece.labels_and_bounds.reshape(2, rows.stop - rows.start, columns.stop - columns.start)
        self._cache.update(self._entries(piece.block)[2], (_PLANES, rows, columns), labels)

    def _entries(self, block: Block) -> tuple[Entry, Entry, Entry]:
        """Pixels, status, and labels with bounds of a block, or of any other window, in the cache."""
        place, byte = f"{block.top}-{block.left}-{block.height}x{block.width}", np.dtype(np.uint8)
        return (
            Entry(f"block-{place}", self.info.dtype, (len(self.info.bands), *block.shape)),
            Entry(f"status-{place}", byte, block.shape),
            Entry(f"labels-{place}-{self._own}", byte, (2, *block.shape)),
        )

    def _read_status(self, entry: Entry) -> npt.NDArray[np.uint8]:
        return self._cache.read(entry) if self._cache.holds(entry) else np.full(entry.shape, _FITTED)

    def _write(self, block: Block, pixels: Pixels, fitting: Validity) -> None:
        """Store a block in the cache; stop caching if the disk is full and the cache is optional."""
        data, status, _ = self._entries(block)
        try:
            if not fitting.all():
                self._cache.write(status, np.add(pixels.valid, fitting, dtype=np.uint8))
            self._cache.write(data, pixels.data)  # last, as it shows that the block is complete
        except OutputError as error:
            if self._required:
                raise
            with self._guard:
                if not self._disk_full:
                    logger.warning("decoded pixels are no longer cached, the files are read again: %s", error)
                self._disk_full = True
            for cached in self.blocks:  # the map needs the disk space
                self._drop(cached)
        if self._disk_full:  # since this block was read
            self._drop(block)

    def _drop(self, block: Block) -> None:
        for entry in self._entries(block):
            self._cache.drop(entry)
