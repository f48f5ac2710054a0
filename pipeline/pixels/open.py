"""Open the pixels of a scene for the fit and the map, read from its files or from a cache."""

from dataclasses import dataclass

from pipeline.core.pixels import BlockSource, PixelSource
from pipeline.engine.cache import Cache
from pipeline.pixels.block_cache import CachedSource
from pipeline.raster.file_cache import FileCache
from pipeline.scenes.crop import cropped
from pipeline.scenes.mosaic import Mosaic
from pipeline.scenes.mosaic_source import MosaicSource, open_source
from pipeline.scenes.raster_scene import RasterScene
from pipeline.scenes.raster_source import RasterSource

Scene = RasterScene | Mosaic
Source = RasterSource | MosaicSource


@dataclass(frozen=True)
class ScenePixels:
    """Sources of a scene's blocks for each stage of a run."""

    source: Source
    """Reads the files."""
    for_fit: PixelSource
    """Blocks for the fit, with the pixels that take part."""
    for_map: BlockSource
    """Blocks for the map, cropped to its extent."""


def open_pixels(
    scene: Scene,
    chunk: tuple[int, int],
    cache: Cache | None,
    *,
    caches_files: bool,
    caches_blocks: bool,
    cache_required: bool,
) -> ScenePixels:
    """Open the pixels of a scene for the fit and for the map.

    Parameters
    ----------
    scene : RasterScene or Mosaic
        The scene.
    chunk : tuple of int
        (rows, columns) of a block.
    cache : Cache or None
        Where pixels are cached; None to read the files for each pass.
    caches_files : bool
        Whether decoded blocks of files are cached.
    caches_blocks : bool
        Whether blocks on the scene's grid are cached.
    cache_required : bool
        Whether a full disk is an error; otherwise the files are read again.
    """
    source = open_source(scene, chunk, FileCache(cache) if cache and caches_files else None)
    pixels = CachedSource(source, cache, required=cache_required) if cache and caches_blocks else source
    return ScenePixels(source, pixels, cropped(pixels))
