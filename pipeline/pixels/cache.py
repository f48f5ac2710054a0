"""Cache of a scene's blocks, as they were first read for the fit."""

import logging
import threading
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Validity
from pipeline.core.errors import OutputError
from pipeline.core.grid import Block
from pipeline.core.pixels import FitSource, Pixels
from pipeline.core.scene_info import SceneInfo
from pipeline.engine.cache import Cache

logger = logging.getLogger(__name__)

_FITTING: Final = np.uint8(2)
"""Stored byte of a pixel that takes part in the fit."""


def block_name(block: Block) -> str:
    """Return the cache entry of a block: the planes of its bands, then a byte per pixel if some are not fitted."""
    return f"block-{block.row}-{block.column}"


class BlockCache:
    """Stores the planes of a block's bands and, unless all pixels take part in the fit, a byte per pixel.

    The byte is `_FITTING` if the pixel takes part, 1 if it is valid but does not, and 0 if it is nodata.

    Several threads may store and read different blocks at once.
    """

    def __init__(self, info: SceneInfo, cache: Cache) -> None:
        self._info = info
        self._cache = cache
        self._whole: set[Block] = set()
        """Blocks in which every pixel takes part in the fit."""

    def put(self, block: Block, pixels: Pixels, fitting: Validity) -> None:
        """Store a block, whose arrays must not change afterwards, and which of its pixels take part in the fit.

        Raises
        ------
        OutputError
            If the disk is full.
        """
        if fitting.all():
            self._whole.add(block)
            self._cache.put(block_name(block), pixels.data)
        else:
            self._cache.put(block_name(block), pixels.data, np.add(pixels.valid, fitting, dtype=np.uint8))

    def take(self, block: Block) -> Pixels:
        """Return a cached block."""
        data, part = self._take(block)
        return Pixels(data, part > 0)

    def take_for_fit(self, block: Block) -> tuple[Pixels, Validity]:
        """Return a cached block, and which of its pixels take part in the fit."""
        data, part = self._take(block)
        return Pixels(data, part > 0), part == _FITTING

    def _take(self, block: Block) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
        data = np.empty((len(self._info.bands), *block.shape), self._info.dtype)
        part = np.full(block.shape, _FITTING, np.uint8)
        validity = [] if block in self._whole else [(data.nbytes, part)]
        self._cache.take(block_name(block), (0, data), *validity)
        return data, part

    def drop(self, block: Block) -> None:
        """Remove a block from the cache, also one that was stored in part when the disk became full."""
        self._cache.drop(block_name(block))


class CachedBlocks:
    """Caches blocks when the fit first reads them, so that the map need not read them again; a `FitSource`.

    Parameters
    ----------
    source : FitSource
        The scene.
    cache : Cache
        Where blocks are stored.
    cache_required : bool
        Whether a full disk is an error. Otherwise the cache is then emptied, and the source is read again.
    """

    def __init__(self, source: FitSource, cache: Cache, *, cache_required: bool) -> None:
        self._source = source
        self._store = BlockCache(source.info, cache)
        self._cache_required = cache_required
        self._guard = threading.Lock()
        self._cached: set[Block] = set()
        self._disk_full = False
        self.info: SceneInfo = source.info
        self.blocks: Sequence[Block] = source.blocks

    def read_for_fit(self, block: Block) -> tuple[Pixels, Validity]:
        """Read a block from the cache, or from the source and cache it; return it, and which pixels the fit uses."""
        if self._is_cached(block):
            return self._store.take_for_fit(block)
        pixels, fitting = self._source.read_for_fit(block)
        if not self._disk_full:
            self._store_block(block, pixels, fitting)
        return pixels, fitting

    def read(self, block: Block) -> Pixels:
        """Return a block and drop it from the cache, because the map needs it once; read it again if not cached."""
        pixels = self._store.take(block) if self._is_cached(block) else self._source.read(block)
        with self._guard:
            self._cached.discard(block)
        self._store.drop(block)
        return pixels

    @property
    def cheap_again(self) -> bool:
        """Whether blocks that were read for the fit are cached."""
        return not self._disk_full

    def _is_cached(self, block: Block) -> bool:
        with self._guard:
            return block in self._cached

    def _store_block(self, block: Block, pixels: Pixels, fitting: Validity) -> None:
        """Store a block in the cache; stop caching if the disk is full and the cache is optional."""
        full: OutputError | None = None
        try:
            self._store.put(block, pixels, fitting)
        except OutputError as error:
            if self._cache_required:
                raise
            full = error
        with self._guard:
            if full and not self._disk_full:
                logger.warning("decoded pixels are no longer cached, the files are read again: %s", full)
                self._disk_full = True
            self._cached.add(block)
            for cached in self._cached if self._disk_full else ():  # the map needs the disk space
                self._store.drop(cached)
            if self._disk_full:
                self._cached.clear()
