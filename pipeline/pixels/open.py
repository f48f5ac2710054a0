"""A scene as the stages of a run read it: from its files, or from the cache."""

from dataclasses import dataclass

from pipeline.core.pixels import BlockSource, FitSource
from pipeline.engine.cache import Scratch
from pipeline.pixels.cache import SparedBlocks
from pipeline.pixels.passes import KeptBlocks, ReadBlocks
from pipeline.raster.file_cache import KeptFiles
from pipeline.scenes.crop import cropped
from pipeline.scenes.mosaic import Mosaic, MosaicSource, open_source
from pipeline.scenes.raster_scene import RasterScene
from pipeline.scenes.raster_source import RasterSource

Scene = RasterScene | Mosaic
Source = RasterSource | MosaicSource


@dataclass(frozen=True)
class Reading:
    """A scene, as each stage reads it."""

    source: Source
    for_fit: FitSource
    for_map: BlockSource


def open_pixels(
    scene: Scene,
    chunk: tuple[int, int],
    scratch: Scratch | None,
    *,
    keeps_files: bool,
    keeps_blocks: bool,
    needed: bool,
    over_all: bool,
) -> Reading:
    """Open the pixels of a scene for the fit and for the map.

    Parameters
    ----------
    scene : RasterScene or Mosaic
        What is read.
    chunk : tuple of int
        (rows, columns) of a block.
    scratch : Scratch or None
        The cache; None to read the files for each pass.
    keeps_files : bool
        Whether decoded blocks of files are cached.
    keeps_blocks : bool
        Whether blocks on the scene's grid are cached.
    needed : bool
        Whether a full disk ends the run; otherwise the files are read again.
    over_all : bool
        Whether the fit passes over all pixels.
    """
    source = open_source(scene, chunk, KeptFiles(scratch) if scratch and keeps_files else None)
    if scratch and keeps_blocks:
        kept = KeptBlocks(source, scratch) if over_all else SparedBlocks(source, scratch, needed=needed)
        return Reading(source, kept, cropped(kept))
    return Reading(source, ReadBlocks(source) if over_all else source, cropped(source))
