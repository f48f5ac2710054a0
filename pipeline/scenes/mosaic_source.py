"""Read the pixels of a mosaic block by block, and open the source of any scene."""

from collections.abc import Sequence

import numpy as np

from pipeline.core.arrays import Planes, Validity
from pipeline.core.grid import Block
from pipeline.core.pixels import Pixels
from pipeline.raster.file_cache import FileCache
from pipeline.scenes.mosaic import Mosaic
from pipeline.scenes.raster_scene import RasterScene
from pipeline.scenes.raster_source import FileSource, RasterSource, apply_masks, read_scene


def open_source(
    scene: RasterScene | Mosaic, chunk: tuple[int, int], cache: FileCache | None = None
) -> "RasterSource | MosaicSource":
    """Open the pixels of a scene or mosaic."""
    if isinstance(scene, Mosaic):
        return MosaicSource(scene, chunk, cache)
    return RasterSource(scene, chunk, cache)


class MosaicSource(FileSource[Mosaic]):
    """Read the blocks of a `Mosaic`; a `PixelSource`."""

    def read(self, block: Block) -> Pixels:
        """Read a block; a scene is read only if the scenes before it leave invalid pixels.

        Raises
        ------
        SceneError
            If a file is damaged or cut short, or a server exceeds the time limit; names the file and the block.
        """
        with self._time_limit():
            data, valid, _ = self._read(block)
        return Pixels(data, valid)

    def read_for_fit(self, block: Block) -> tuple[Pixels, Validity]:
        """Read a block, and mark the pixels that take part in the fit, by the masks of the scene each comes from."""
        with self._time_limit():
            data, valid, fitting = self._read(block, for_fit=True)
        return Pixels(data, valid), fitting

    def _read(self, block: Block, *, for_fit: bool = False) -> tuple[Planes, Validity, Validity]:
        data = np.zeros((len(self.info.bands), *block.shape), self.info.dtype)
        valid, fitting = np.zeros(block.shape, np.bool_), np.zeros(block.shape, np.bool_)
        for number in self._scene.extents.touching(block):
            scene = self._scene.scenes[number]
            pixels = read_scene(scene, block, self._files)
            new = pixels.valid & ~valid
            _fill(data, new, pixels.data, self._scene.shifts[number])
            del pixels  # free memory before the next scene is read
            valid |= new
            if for_fit:
                apply_masks(scene.fit_masks, block, new, self._files)
                fitting |= new
            if valid.all():
                break
        return data, valid, fitting


def _fill(data: Planes, new: Validity, own: Planes, shifts: Sequence[int]) -> None:
    """Copy a scene's pixels into `data` where `new` is True, converted to the first scene's units."""
    for plane, numbers, shift in zip(data, own, shifts, strict=True):
        np.copyto(plane, numbers, where=new)
        if shift:
            np.add(plane, shift, out=plane, where=new)
