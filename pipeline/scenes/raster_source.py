"""Read the pixels of a raster scene block by block: bands aligned to its grid, masks applied."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.grid import Block
from pipeline.core.pixels import Pixels
from pipeline.engine.time_limits import limits_for_blocks
from pipeline.formats import registry
from pipeline.kernels.validity import mask_invalid
from pipeline.raster.file_cache import FileCache
from pipeline.raster.file_parts import FilePart
from pipeline.raster.readers import GdalReader, Handles, WindowReader
from pipeline.raster.regrid import read_part
from pipeline.scenes.masks import LayerMask, Mask, apply_mask
from pipeline.scenes.raster_scene import RasterScene


class RasterSource:
    """Read the blocks of a `RasterScene`; a `FitSource`.

    Parameters
    ----------
    scene : RasterScene
        The scene to read.
    chunk : tuple of int
        (rows, columns) of a block.
    cache : FileCache, optional
        Caches decoded file blocks; without it they are decoded each time they are needed.
    handles : Handles, optional
        Open file handles, if several scenes share them.
    """

    cheap_again = False

    def __init__(
        self,
        scene: RasterScene,
        chunk: tuple[int, int],
        cache: FileCache | None = None,
        handles: Handles | None = None,
    ) -> None:
        self.scene = scene
        self.chunk = chunk
        self.info = scene.info
        self.blocks = tuple(scene.info.grid.blocks(chunk))
        self._decoded = _Counter()
        self._handles = handles or Handles()
        self._cache = cache
        self._time_limit = limits_for_blocks(remote=self.is_remote)
        self._readers = [self._reader(part) for part in scene.parts]
        self._masks = [self._with_reader(mask) for mask in scene.masks]
        self._fit_masks = [self._with_reader(mask) for mask in scene.fit_masks]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.scene, self.chunk), {"_time_limit": self._time_limit}

    def _reader(self, part: FilePart) -> WindowReader:
        reader = _CountedReader(self._own_reader(part), self._decoded)
        return self._cache.cached_reader(part, reader) if self._cache else reader

    def _own_reader(self, part: FilePart) -> WindowReader:
        if part.array:
            return registry.ArrayReader(part.array, tuple(index - 1 for index in part.indexes))
        return GdalReader(part, self._handles)

    def _with_reader(self, mask: Mask) -> Callable[[Block, npt.NDArray[np.bool_]], None]:
        """Return the function that clears masked pixels of a block in `valid`."""
        if isinstance(mask, LayerMask):
            return partial(apply_mask, mask, self._reader(mask.part))
        return mask.apply

    @property
    def passes(self) -> float:
        """Number of pixels decoded so far, relative to the number of pixels in the scene's files."""
        return self.decoded / self.decodable

    @property
    def is_remote(self) -> bool:
        """True if any file of the scene is remote."""
        return any(part.remote for part in self._unique_parts())

    def _unique_parts(self) -> dict[FilePart, None]:
        """File parts of the scene and of its masks, each once, as keys."""
        masks = [mask.part for mask in (*self.scene.masks, *self.scene.fit_masks) if isinstance(mask, LayerMask)]
        return dict.fromkeys([*self.scene.parts, *masks])

    @property
    def decoded(self) -> int:
        """Number of pixels decoded so far, over all bands."""
        return self._decoded.pixels

    @property
    def decodable(self) -> int:
        """Number of pixels in the scene's files, over all bands."""
        return sum(len(part.indexes) * part.grid.shape[0] * part.grid.shape[1] for part in self._unique_parts())

    def read(self, block: Block) -> Pixels:
        """Read a block's pixels and which of them are valid.

        Raises
        ------
        SceneError
            If a file is damaged or cut short, or a server exceeds the time limit; names the file and the block.
        """
        data = np.empty((len(self.info.bands), *block.shape), self.info.dtype)
        valid = np.ones(block.shape, np.bool_)
        with self._time_limit():
            for part, reader in zip(self.scene.parts, self._readers, strict=True):
                read_part(part, reader, block, data[part.first : part.first + len(part.indexes)], valid)
            for apply in self._masks:
                apply(block, valid)
        return Pixels(data, mask_invalid(data, self.info.nodata, valid))

    def read_for_fit(self, block: Block) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        """Read a block, and mark the pixels that take part in the fit, shape (rows, columns)."""
        pixels = self.read(block)
        if not self._fit_masks:
            return pixels, pixels.valid
        fitting = pixels.valid.copy()
        self.mask_for_fit(block, fitting)
        return pixels, fitting

    def mask_for_fit(self, block: Block, valid: npt.NDArray[np.bool_]) -> None:
        """Clear the pixels in `valid`, in place, that are left out of the fit only."""
        with self._time_limit():
            for apply in self._fit_masks:
                apply(block, valid)


class _Counter:
    """A counter that several threads may increase."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.pixels = 0

    def add(self, pixels: int) -> None:
        with self._lock:
            self.pixels += pixels


class _CountedReader:
    """Count the pixels that another reader decodes."""

    def __init__(self, reader: WindowReader, counter: _Counter) -> None:
        self._reader = reader
        self._counter = counter

    def read(self, window: Block, out: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:
        self._counter.add(out.size)
        self._reader.read(window, out, valid)
