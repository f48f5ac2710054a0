"""Windows of a source that is read by its blocks only, each once: those that a window overlaps are cached."""

import threading
from concurrent.futures import Future
from typing import Any

import numpy as np

from pipeline.core.arrays import Validity
from pipeline.core.grid import Block, Blocks
from pipeline.core.pixels import Pixels, PixelSource
from pipeline.core.scene_info import SceneInfo
from pipeline.engine.cache import Cache
from pipeline.engine.executor import PerProcess
from pipeline.pixels.block_cache import CachedSource


class CachedWindows(PerProcess):
    """Reads any window of a source whose blocks are read at first use, then cached; a `PixelSource`.

    Parameters
    ----------
    source : PixelSource
        The scene.
    cache : Cache
        Where its blocks are stored.
    """

    cheap_again = False
    store = None

    def __init__(self, source: PixelSource, cache: Cache) -> None:
        self._source = source
        self._cache = cache
        self._cached = CachedSource(source, cache, name="bands-")  # a cache on a worker also has the columns
        self._guard = threading.Lock()
        self._read: dict[Block, Future[None]] = {}
        """Blocks that this process has read or is reading."""
        self.info: SceneInfo = source.info
        self.blocks: Blocks = source.blocks

    def __reduce__(self) -> tuple[Any, ...]:
        return CachedWindows, (self._source, self._cache)

    def read(self, block: Block) -> Pixels:
        """Read a window."""
        return self.read_for_fit(block)[0]

    def read_for_fit(self, block: Block) -> tuple[Pixels, Validity]:
        """Read a window; return it, and which of its pixels the fit uses."""
        data = np.empty((len(self.info.bands), *block.shape), self.info.dtype)
        valid, fitting = np.empty(block.shape, np.bool_), np.empty(block.shape, np.bool_)
        for whole in self.blocks.touching(block):
            pixels, fits = self._block(whole)
            part = whole.common(block)
            own, target = part.within(whole), part.within(block)
            data[:, *target], valid[target], fitting[target] = pixels.data[:, *own], pixels.valid[own], fits[own]
        return Pixels(data, valid), fitting

    def _block(self, block: Block) -> tuple[Pixels, Validity]:
        """Return a block, which is read from the source if this is its first use."""
        with self._guard:
            first = block not in self._read
            done = self._read.setdefault(block, Future())
        if not first:
            done.result()
            return self._cached.read_for_fit(block)
        try:
            found = self._cached.read_for_fit(block)
        except BaseException as error:
            with self._guard:  # so that the next reader tries again
                del self._read[block]
            done.set_exception(error)
            raise
        done.set_result(None)
        return found
