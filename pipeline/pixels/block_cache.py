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
from pipeline.engine.executor import PerProcess
from pipeline.pixels.pieces import PIECE_PIXELS, initial_labels, windows

logger = logging.getLogger(__name__)

_FITTED: Final = np.uint8(2)
"""Status of a pixel that takes part in the fit; that of one that is only valid is 1, and that of nodata 0."""

_PLANES: Final = slice(None)


class CachedSource(PerProcess):
    """Caches blocks when the fit first reads them, for later passes and for the map; a `PixelSource`.

    A block is up to three arrays in the cache: its pixels, under a name that says whether all take part in the fit; if
    not, their status; their labels and bounds, once passes have begun. Several threads may read different blocks at
    once. Pickled with its cache: a copy finds the blocks there, and reads from the source those it does not; labels and
    bounds are its own.

    Parameters
    ----------
    source : PixelSource
        The scene.
    cache : Cache
        Where blocks are stored.
    required : bool
        Whether a full disk is an error. Otherwise the cache is then emptied, and the source is read again.
    name : str
        Beginning of the names of its blocks, if the cache is shared with another source.
    """

    def __init__(self, source: PixelSource, cache: Cache, *, required: bool = True, name: str = "") -> None:
        self._source = source
        self._cache = cache
        self._required = required
        self._name = name
        self._guard = threading.Lock()
        self._own = token_hex(4)  # two passes may not change the labels of one block
        self._disk_full = False
        self.info: SceneInfo = source.info
        self.blocks: Blocks = source.blocks

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(CachedSource, required=self._required, name=self._name), (self._source, self._cache)

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
        if found := self._cached(block):
            return found
        pixels, fitting = self._source.read_for_fit(block)
        if not self._disk_full:
            self._write(block, pixels, fitting)
        return pixels, fitting

    def read(self, block: Block) -> Pixels:
        """Return a block and drop it from the cache, because the map needs it once; read the source if not cached."""
        found = self._cached(block)
        if found is None:
            return self._source.read(block)
        self._drop(block)
        return found[0]

    def _cached(self, block: Block) -> tuple[Pixels, Validity] | None:
        """Return a block and which of its pixels the fit uses; None if it is not cached."""
        try:
            if not (data := self._stored(block)):
                return None
            status = self._status(block, data)
            return Pixels(self._cache.read(data), status > 0), status == _FITTED
        except OutputError:
            if self._required:
                raise
            return None  # another thread has emptied the cache since, because the disk is full

    def pieces(self, blocks: Iterable[Block]) -> Iterator[Piece]:
        """Yield the pixels and labels of blocks, in buffers that are reused: measured to be faster."""
        bands = len(self.info.bands)
        buffer, stored = np.empty(bands * PIECE_PIXELS, self.info.dtype), np.empty(2 * PIECE_PIXELS, np.uint8)
        for block in blocks:
            if not self._stored(block):
                self.read_for_fit(block)
            data, labels = self._stored(block) or self._entry("block", block), self._labels(block)
            is_new = not self._cache.holds(labels)
            if is_new:
                self._cache.write(labels, initial_labels(self._status(block, data) == _FITTED))
            for window in windows(block):
                count = window.height * window.width
                points, own_labels = buffer[: bands * count].reshape(bands, -1), stored[: 2 * count].reshape(2, -1)
                self._cache.read(data, (_PLANES, *window.slices), points.reshape(bands, *window.shape))
                self._cache.read(labels, (_PLANES, *window.slices), own_labels.reshape(2, *window.shape))
                yield Piece(points, own_labels, block, window.slices, is_new)

    def store_labels(self, piece: Piece) -> None:
        """Store labels and bounds of a piece for the next pass."""
        rows, columns = piece.window
        labels = piece.labels_and_bounds.reshape(2, rows.stop - rows.start, columns.stop - columns.start)
        self._cache.update(self._labels(piece.block), (_PLANES, rows, columns), labels)

    def _entry(self, kind: str, block: Block) -> Entry:
        """Array of a block in the cache: its pixels ('block', 'block-whole'), or a byte for each ('status')."""
        name = f"{self._name}{kind}-{block.top}-{block.left}-{block.height}x{block.width}"
        if kind == "status":
            return Entry(name, np.dtype(np.uint8), block.shape)
        return Entry(name, self.info.dtype, (len(self.info.bands), *block.shape))

    def _labels(self, block: Block) -> Entry:
        """Labels and bounds of a block in the cache."""
        entry = self._entry("status", block)
        return Entry(f"labels-{self._own}-{entry.name}", entry.dtype, (2, *block.shape))

    def _stored(self, block: Block) -> Entry | None:
        """Pixels of a block in the cache, under the name that says whether all are fitted; None if not there."""
        return next((entry for entry in self._pixels(block) if self._cache.holds(entry)), None)

    def _pixels(self, block: Block) -> tuple[Entry, Entry]:
        return self._entry("block-whole", block), self._entry("block", block)

    def _status(self, block: Block, data: Entry) -> npt.NDArray[np.uint8]:
        """Status of each pixel of a block, shape (rows, columns)."""
        entry = self._entry("status", block)
        return np.full(entry.shape, _FITTED) if data == self._pixels(block)[0] else self._cache.read(entry)

    def _write(self, block: Block, pixels: Pixels, fitting: Validity) -> None:
        """Store a block in the cache; stop caching if the disk is full and the cache is optional."""
        whole, part = self._pixels(block)
        try:
            if fitting.all():
                self._cache.write(whole, pixels.data)
            else:
                self._cache.write(self._entry("status", block), np.add(pixels.valid, fitting, dtype=np.uint8))
                self._cache.write(part, pixels.data)  # last, as it shows that the block is complete
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
        for entry in (*self._pixels(block), self._entry("status", block), self._labels(block)):
            self._cache.drop(entry)
