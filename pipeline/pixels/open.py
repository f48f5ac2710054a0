"""Open the pixels of a scene for the fit and the map, read from its files or from a cache."""

from dataclasses import dataclass
from functools import cached_property

from pipeline.core.pixels import BlockSource, PixelSource
from pipeline.core.scene_info import SceneInfo
from pipeline.engine.cache import Cache
from pipeline.features.columns import Columns
from pipeline.pixels.block_cache import CachedSource
from pipeline.pixels.feature_source import FeatureSource
from pipeline.raster.file_cache import FileCache
from pipeline.scenes.crop import cropped
from pipeline.scenes.mosaic import Mosaic
from pipeline.scenes.mosaic_source import MosaicSource, open_source
from pipeline.scenes.raster_scene import RasterScene
from pipeline.scenes.raster_source import RasterSource
from pipeline.scenes.reading import Reading


@dataclass(frozen=True)
class FeatureScene:
    """A scene, and the columns that are computed from its bands, as known before pixels are read."""

    bands: RasterScene | Mosaic
    """The scene."""
    columns: Columns
    """What is computed from the bands of a block."""

    @cached_property
    def info(self) -> SceneInfo:
        """Facts about the scene, with those of the columns instead of the bands."""
        return self.columns.info(self.bands.info)

    @property
    def reading(self) -> Reading:
        """What reading the bands costs."""
        return self.bands.reading

    @property
    def is_remote(self) -> bool:
        """Whether any file of the scene is remote."""
        return self.bands.is_remote

    @property
    def file_pixels(self) -> int:
        """Number of pixels in the files of the scene and of its masks, over all bands."""
        return self.bands.file_pixels


Scene = RasterScene | Mosaic | FeatureScene


def first_scene(scene: Scene) -> RasterScene:
    """Return the scene itself without its features, or the first of a mosaic."""
    bands = scene.bands if isinstance(scene, FeatureScene) else scene
    return bands.scenes[0] if isinstance(bands, Mosaic) else bands


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
    scene : RasterScene, Mosaic or FeatureScene
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
    bands, columns = (scene.bands, scene.columns) if isinstance(scene, FeatureScene) else (scene, None)
    source = open_source(bands, chunk, FileCache(cache) if cache and caches_files else None)
    pixels: PixelSource = FeatureSource(source, columns) if columns else source
    if cache and caches_blocks:
        pixels = CachedSource(pixels, cache, required=cache_required)
    return ScenePixels(source, pixels, cropped(pixels))
