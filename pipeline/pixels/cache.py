"""Blocks of a scene in a cache: kept as they were first read."""

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


def block_name(block: Block) -> str:
    """Name under which a cache keeps the planes of a block's bands, one after the other, and what follows them."""
    return f"block-{block.row}-{block.column}"


class BlockCache:
    """Keeps the planes of a block's bands and, unless all pixels take part in a fit, a byte for each.

    That is `_FITTING` where a pixel takes part, 1 where it holds data and does not, 0 where it holds none.

    Different blocks may be kept and taken by several threads at once.
    """

    def __init__(self, info: SceneInfo, cache: Cache) -> None:
        self._info = info
        self._cache = cache
        self._whole: set[Block] = set()
        """Blocks in which every pixel takes part."""

    def put(self, block: Block, pixels: Pixels, fitting: Validity) -> None:
        """Keep a block, whose arrays nobody may change any more, and which of its pixels take part in a fit.

        Raises
        ------
        OutputError
            When the disk is full.
        """
        if fitting.all():
            self._whole.add(block)
            self._cache.put(block_name(block), pixels.data)
        else:
            self._cache.put(block_name(block), pixels.data, np.add(pixels.valid, fitting, dtype=np.uint8))

    def take(self, block: Block) -> Pixels:
        """Give a block that is kept."""
        data, part = self._take(block)
        return Pixels(data, part > 0)

    def take_for_fit(self, block: Block) -> tuple[Pixels, Validity]:
        """Give a block that is kept, and which of its pixels take part in a fit."""
        data, part = self._take(block)
        return Pixels(data, part > 0), part == _FITTING

    def _take(self, block: Block) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
        data = np.empty((len(self._info.bands), *block.shape), self._info.dtype)
        part = np.full(block.shape, _FITTING, np.uint8)
        beside = [] if block in self._whole else [(data.nbytes, part)]
        self._cache.take(block_name(block), (0, data), *beside)
        return data, part

    def drop(self, block: Block) -> None:
        """Forget a block, or what of it was kept when the disk became full."""
        self._cache.drop(block_name(block))


class CachedBlocks:
    """Keeps blocks when a fit first reads them, so that the map needs not read them again; a `FitSource`.

    Parameters
    ----------
    source : FitSource
        The scene.
    cache : Scratch
        Where blocks are kept.
    needed : bool
        Whether blocks must be kept. Otherwise all are let go when the disk becomes full, and the source is read again.
    """

    def __init__(self, source: FitSource, cache: Cache, *, needed: bool) -> None:
        self._source = source
        self._store = BlockCache(source.info, cache)
        self._needed = needed
        self._guard = threading.Lock()
        self._kept: set[Block] = set()
        self._gives_up = False
        self.info: SceneInfo = source.info
        self.blocks: Sequence[Block] = source.blocks

    def read_for_fit(self, block: Block) -> tuple[Pixels, Validity]:
        """Read a block from the source, keep it, and say which of its pixels take part in the fit."""
        pixels, fitting = self._source.read_for_fit(block)
        if not self._gives_up:
            self._keep(block, pixels, fitting)
        return pixels, fitting

    def read(self, block: Block) -> Pixels:
        """Give a block that is kept, and let go of it, for a map wants it once; read it again where it is not kept."""
        pixels = self._store.take(block) if self.keeps(block) else self._source.read(block)
        with self._guard:
            self._kept.discard(block)
        self._store.drop(block)
        return pixels

    def read_again_for_fit(self, block: Block) -> tuple[Pixels, Validity]:
        """Give a block that was read for the fit once more, and keep it."""
        return self._store.take_for_fit(block) if self.keeps(block) else self._source.read_for_fit(block)

    def keeps(self, block: Block) -> bool:
        """Whether a block is kept, so that to read it again costs little."""
        with self._guard:
            return block in self._kept

    def _keep(self, block: Block, pixels: Pixels, fitting: Validity) -> None:
        full: OutputError | None = None
        try:
            self._store.put(block, pixels, fitting)
        except OutputError as error:
            if self._needed:
                raise
            full = error
        with self._guard:
            if full and not self._gives_up:
                logger.warning("decoded pixels are not kept, and the files are read again: %s", full)
                self._gives_up = True
            self._kept.add(block)
            for kept in self._kept if self._gives_up else ():  # the map wants the room
                self._store.drop(kept)
            if self._gives_up:
                self._kept.clear()
