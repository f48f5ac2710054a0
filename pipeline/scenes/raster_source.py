"""Read the pixels of a raster scene block by block: bands aligned to its grid, masks applied."""

import threading
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from pipeline.core.arrays import Planes, Validity
from pipeline.core.grid import Block
from pipeline.core.pixels import Pixels
from pipeline.core.scene_info import SceneInfo
from pipeline.engine.executor import PerProcess
from pipeline.engine.time_limits import limits_for_blocks
from pipeline.formats import registry
from pipeline.kernels.validity import mask_invalid
from pipeline.raster.file_cache import FileCache
from pipeline.raster.file_parts import FilePart
from pipeline.raster.readers import GdalReader, Handles, WindowReader
from pipeline.raster.regrid import read_part
from pipeline.scenes.masks import LayerMask, Mask, apply_mask
from pipeline.scenes.raster_scene import RasterScene


class _Scene(Protocol):
    """What sources need to know of a scene."""

    @property
    def info(self) -> SceneInfo:
        """Metadata of the scene."""

    @property
    def is_remote(self) -> bool:
        """Whether a file is on another machine."""

    @property
    def file_pixels(self) -> int:
        """Number of pixels in the files of the scene."""


AnyScene = TypeVar("AnyScene", bound=_Scene)


class FileSource(PerProcess, Generic[AnyScene]):
    """What the sources of a scene and of a mosaic have in common. A copy in another process counts what it decodes.

    Parameters
    ----------
    scene : RasterScene or Mosaic
        The scene to read.
    chunk : tuple of int
        (rows, columns) of a block.
    cache : FileCache, optional
        Caches decoded file blocks; without it they are decoded each time they are needed.
    """

    cheap_again = False
    store = None

    def __init__(self, scene: AnyScene, chunk: tuple[int, int], cache: FileCache | None = None) -> None:
        self._scene = scene
        self.info = scene.info
        self.blocks = scene.info.grid.blocks(chunk)
        self._files = FileReaders(cache)
        self._time_limit = limits_for_blocks(remote=scene.is_remote)

    def tally(self) -> int:
        """Return the number of pixels that this process has decoded, over all bands."""
        return self._files.decoded_pixels

    @property
    def file_pixels(self) -> int:
        """Number of pixels in the files of the scene, over all bands."""
        return self._scene.file_pixels

    @property
    def passes(self) -> float:
        """Number of pixels that this process has decoded, relative to the number of pixels in the scene's files."""
        return self.tally() / self.file_pixels


class RasterSource(FileSource[RasterScene]):
    """Read the blocks of a `RasterScene`; a `PixelSource`."""

    def read(self, block: Block) -> Pixels:
        """Read a block's pixels and which of them are valid.

        Raises
        ------
        SceneError
            If a file is damaged or cut short, or a server exceeds the time limit; names the file and the block.
        """
        with self._time_limit():
            return read_scene(self._scene, block, self._files)

    def read_for_fit(self, block: Block) -> tuple[Pixels, Validity]:
        """Read a block, and mark the pixels that take part in the fit, shape (rows, columns)."""
        pixels = self.read(block)
        if not self._scene.fit_masks:
            return pixels, pixels.valid
        fitting = pixels.valid.copy()
        with self._time_limit():
            apply_masks(self._scene.fit_masks, block, fitting, self._files)
        return pixels, fitting


class FileReaders:
    """Readers of file parts with shared open files, cache and counter of decoded pixels.

    A pickle carries the cache; another process opens the files itself, and counts from 0.
    """

    def __init__(self, cache: FileCache | None = None) -> None:
        self._cache = cache
        self._handles = Handles()
        self._guard = threading.Lock()
        self.decoded_pixels = 0
        """Number of pixels decoded so far, over all bands."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._cache,)

    def reader(self, part: FilePart) -> WindowReader:
        """Return a reader of a part, from the cache if there is one."""
        reader = _CountedReader(self._uncounted(part), self)
        if self._cache is None:
            return reader
        with self._guard:
            return self._cache.cached_reader(part, reader)

    def _uncounted(self, part: FilePart) -> WindowReader:
        if part.array:
            return registry.ArrayReader(part.array, tuple(index - 1 for index in part.indexes))
        return GdalReader(part, self._handles)

    def count(self, pixels: int) -> None:
        """Add to the number of decoded pixels."""
        with self._guard:
            self.decoded_pixels += pixels


class _CountedReader:
    """Count the pixels of bands that another reader decodes."""

    def __init__(self, reader: WindowReader, files: FileReaders) -> None:
        self._reader = reader
        self._files = files

    def read(self, window: Block, out: Planes, valid: Validity) -> None:
        self._files.count(out.size)
        self._reader.read(window, out, valid)


def read_scene(scene: RasterScene, block: Block, files: FileReaders) -> Pixels:
    """Read any rectangle of a scene's grid: its pixels, and which of them are valid."""
    data = np.empty((len(scene.info.bands), *block.shape), scene.info.dtype)
    valid = np.ones(block.shape, np.bool_)
    for part in scene.parts:
        read_part(part, files.reader(part), block, data[part.first : part.first + len(part.indexes)], valid)
    apply_masks(scene.masks, block, valid, files)
    return Pixels(data, mask_invalid(data, scene.info.nodata, valid))


def apply_masks(masks: tuple[Mask, ...], block: Block, valid: Validity, files: FileReaders) -> None:
    """Clear the pixels of a block in `valid`, in place, that masks leave out."""
    for mask in masks:
        if isinstance(mask, LayerMask):
            apply_mask(mask, files.reader(mask.part), block, valid)
        else:
            mask.apply(block, valid)
