"""Pixels of raster files, block by block."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.grid import Block
from pipeline.core.pixels import Pixels
from pipeline.engine.deadline import limits_for_blocks
from pipeline.formats import registry
from pipeline.kernels.validity import mask_invalid
from pipeline.raster.file_cache import FileCache
from pipeline.raster.file_parts import FilePart
from pipeline.raster.readers import GdalReader, Handles, WindowReader
from pipeline.raster.regrid import read_part
from pipeline.scenes.masks import LayerMask, Mask, apply_mask
from pipeline.scenes.raster_scene import RasterScene


class RasterSource:
    """Reads the blocks of a `RasterScene`; a `FitSource`.

    Parameters
    ----------
    scene : RasterScene
        What is read.
    chunk : tuple of int
        (rows, columns) of a block.
    kept : KeptFiles, optional
        Keeps what is decoded; without it files are read anew each time.
    handles : Handles, optional
        Open files, where several scenes share them.
    """

    def __init__(
        self,
        scene: RasterScene,
        chunk: tuple[int, int],
        kept: FileCache | None = None,
        handles: Handles | None = None,
    ) -> None:
        self.scene = scene
        self.chunk = chunk
        self.info = scene.info
        self.blocks = tuple(scene.info.grid.blocks(chunk))
        self._decoded = _Counter()
        self._handles = handles or Handles()
        self._kept = kept
        self._in_time = limits_for_blocks(remote=self.is_remote)
        self._readers = [self._reader(part) for part in scene.parts]
        self._masks = [self._with_reader(mask) for mask in scene.masks]
        self._fit_masks = [self._with_reader(mask) for mask in scene.fit_masks]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.scene, self.chunk), {"_in_time": self._in_time}

    def _reader(self, part: FilePart) -> WindowReader:
        reader = _CountedReader(self._own_reader(part), self._decoded)
        return self._kept.cached_reader(part, reader) if self._kept else reader

    def _own_reader(self, part: FilePart) -> WindowReader:
        if part.array:
            return registry.ArrayReader(part.array, tuple(index - 1 for index in part.indexes))
        return GdalReader(part, self._handles)

    def _with_reader(self, mask: Mask) -> Callable[[Block, npt.NDArray[np.bool_]], None]:
        """Give the function that strikes out of a block's validity what a mask leaves out."""
        if isinstance(mask, LayerMask):
            return partial(apply_mask, mask, self._reader(mask.part))
        return mask.apply

    @property
    def passes(self) -> float:
        """How often the scene's files have been decoded so far: pixels decoded over pixels there are."""
        return self.decoded / self.decodable

    @property
    def is_remote(self) -> bool:
        """Whether any of its files is on another machine."""
        return any(part.remote for part in self._files())

    def _files(self) -> dict[FilePart, None]:
        """Parts of the scene and of its masks, each once."""
        masks = [mask.part for mask in (*self.scene.masks, *self.scene.fit_masks) if isinstance(mask, LayerMask)]
        return dict.fromkeys([*self.scene.parts, *masks])

    @property
    def decoded(self) -> int:
        """Pixels decoded so far."""
        return self._decoded.pixels

    @property
    def decodable(self) -> int:
        """Pixels that the scene's files have."""
        return sum(len(part.indexes) * part.grid.shape[0] * part.grid.shape[1] for part in self._files())

    def read(self, block: Block) -> Pixels:
        """Read a block's pixels and tell which hold data.

        Raises
        ------
        SceneError
            Naming the file and the block, when the file is damaged or cut short, or a server takes longer than allowed.
        """
        data = np.empty((len(self.info.bands), *block.shape), self.info.dtype)
        valid = np.ones(block.shape, np.bool_)
        with self._in_time():
            for part, reader in zip(self.scene.parts, self._readers, strict=True):
                read_part(part, reader, block, data[part.first : part.first + len(part.indexes)], valid)
            for apply in self._masks:
                apply(block, valid)
        return Pixels(data, mask_invalid(data, self.info.nodata, valid))

    def read_for_fit(self, block: Block) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        """Read a block as `read` does, and tell which of its pixels take part in the fit."""
        pixels = self.read(block)
        if not self._fit_masks:
            return pixels, pixels.valid
        fitting = pixels.valid.copy()
        self.mask_for_fit(block, fitting)
        return pixels, fitting

    def mask_for_fit(self, block: Block, valid: npt.NDArray[np.bool_]) -> None:
        """Strike out of a block's validity, in place, what is left out of the fit alone."""
        with self._in_time():
            for apply in self._fit_masks:
                apply(block, valid)


class _Counter:
    """Counts on several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.pixels = 0

    def add(self, pixels: int) -> None:
        with self._lock:
            self.pixels += pixels


class _CountedReader:
    """Counts the pixels that another reader decodes."""

    def __init__(self, reader: WindowReader, counter: _Counter) -> None:
        self._reader = reader
        self._counter = counter

    def read(self, window: Block, out: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:
        self._counter.add(out.size)
        self._reader.read(window, out, valid)
