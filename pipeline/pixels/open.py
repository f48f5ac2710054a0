"""A scene as the stages of a run read it: from its files, or from the cache."""

from dataclasses import dataclass

from pipeline.core.pixels import BlockSource, FitSource
from pipeline.engine.cache import Cache
from pipeline.pixels.cache import CachedBlocks
from pipeline.pixels.pieces import CachedPieces, UncachedPieces
from pipeline.raster.file_cache import FileCache
from pipeline.scenes.crop import cropped
from pipeline.scenes.mosaic import Mosaic, MosaicSource, open_source
from pipeline.scenes.raster_scene import RasterScene
from pipeline.scenes.raster_source import RasterSource

Scene = RasterScene | Mosaic
Source = RasterSource | MosaicSource


@dataclass(frozen=True)
class ScenePixels:
    """A scene, as each stage reads it."""

    source: Source
    for_fit: FitSource
    for_map: BlockSource


def open_pixels(
    scene: Scene,
    chunk: tuple[int, int],
    cache: Cache | None,
    *,
    caches_files: bool,
    caches_blocks: bool,
    needed: bool,
    over_all: bool,
) -> ScenePixels:
    """Open the pixels of a scene for the fit and for the map.

    Parameters
    ----------
    scene : RasterScene or Mosaic
        What is read.
    chunk : tuple of int
        (rows, columns) of a block.
    cache : Scratch or None
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
    source = open_source(scene, chunk, FileCache(cache) if cache and caches_files else None)
    if cache and caches_blocks:
        kept = CachedPieces(source, cache) if over_all else CachedBlocks(source, cache, needed=needed)
        return ScenePixels(source, kept, cropped(kept))
    return ScenePixels(source, UncachedPieces(source) if over_all else source, cropped(source))
