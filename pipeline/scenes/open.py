"""Open the scene of a config, or a mosaic of several scenes, from metadata only, step by step."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.config.masks import MaskRecord
from pipeline.config.schema import SceneConfig
from pipeline.core.grid import Grid
from pipeline.formats.catalogue import Catalogue
from pipeline.geo.overlap import overlap
from pipeline.raster.file_bands import FileBand
from pipeline.scenes.band_checks import warn_of_little_overlap
from pipeline.scenes.choose_bands import catalogues_of, choose_bands, clusterable_bands
from pipeline.scenes.choose_grid import check_size, choose_grid, union_grid
from pipeline.scenes.cut import Cut, cut_to_area
from pipeline.scenes.facts import scene_info
from pipeline.scenes.mosaic import Mosaic, make_mosaic, warn_of_hidden_dates
from pipeline.scenes.plan_parts import plan_parts
from pipeline.scenes.raster_scene import RasterScene
from pipeline.scenes.reading import reading_of
from pipeline.scenes.scene_masks import SceneMasks, open_masks

logger = logging.getLogger(__name__)


def open_scene_config(
    config: SceneConfig, excluded: Iterable[str | Path] = (), fit_mask: MaskRecord | None = None
) -> RasterScene | Mosaic:
    """Open a config's scene: read the metadata of its files; if file names give the bands, of requested files only.

    Parameters
    ----------
    config : SceneConfig
        Source, bands, grid, masks and area of interest.
    excluded : iterable of str or Path
        Files that are not part of the scene, e.g. outputs of an earlier run in the source folder.
    fit_mask : MaskRecord, optional
        Mask of pixels that are left out of the fit only.

    Raises
    ------
    SceneError
        If a file can't be opened, or the bands can't be aligned to one grid.
    ConfigError
        If a band, the nodata value or the resolution doesn't suit the files.
    """
    catalogues = catalogues_of(config, excluded)
    opened = choose_bands(catalogues, config)
    if len(catalogues) > 1:
        return _open_mosaic(catalogues, opened, config, fit_mask)
    (catalogue,), (bands,) = catalogues, opened
    scene = open_bands(bands, config, catalogue, fit_mask)
    _warn_of_notes(bands)
    if scene.info.grid.crs is None and not any(band.has_control_points for band in bands):
        logger.warning("%s: no coordinate reference system; the map will have none either", scene.info.sources[0])
    for path in dict.fromkeys(part.path for part in scene.parts if part.alphas):
        logger.info("%s: the alpha band is used as a mask: pixels are nodata where it is 0", path)
    return scene


def open_bands(
    bands: Sequence[FileBand],
    config: SceneConfig,
    catalogue: Catalogue | None = None,
    fit_mask: MaskRecord | None = None,
) -> RasterScene:
    """Open a scene of chosen bands, on the grid of the finest, with the masks of a catalogue if one is given."""
    bands = clusterable_bands(bands, config)
    cut = cut_to_area(choose_grid(bands, config.resolution), bands, config)
    if cut.area is None:
        warn_of_little_overlap(bands, cut.grid)
    return _open_on(cut, bands, config, catalogue, fit_mask)


def _open_mosaic(
    catalogues: Sequence[Catalogue],
    opened: Sequence[Sequence[FileBand]],
    config: SceneConfig,
    fit_mask: MaskRecord | None,
) -> Mosaic:
    """Open several scenes as a mosaic, on the first scene's grid extended to cover all of them."""
    _warn_of_notes(band for bands in opened for band in bands)
    grids = [choose_grid(bands, config.resolution) for bands in opened]
    cut = cut_to_area(union_grid(grids), opened[0], config)
    check_size(cut.grid)
    inside = [i for i, grid in enumerate(grids) if _overlaps(cut.grid, grid, catalogues[i])]
    warn_of_hidden_dates([catalogues[i] for i in inside], [grids[i] for i in inside], cut.grid)
    uncropped = Cut(whole=cut.whole, grid=cut.grid, area=cut.area)  # the mosaic is cropped, not each scene
    scenes = [
        _open_on(uncropped, clusterable_bands(opened[i], config), config, catalogues[i], fit_mask) for i in inside
    ]
    return make_mosaic(scenes, [grids[i] for i in inside], cut)


def _open_on(
    cut: Cut,
    bands: Sequence[FileBand],
    config: SceneConfig,
    catalogue: Catalogue | None,
    fit_mask: MaskRecord | None,
) -> RasterScene:
    """Open a scene of bands on a grid: plan how they are read, open masks, state the facts."""
    planned = plan_parts(bands, cut, config, catalogue)
    masks = open_masks(catalogue, bands, cut, config, fit_mask) if catalogue else SceneMasks()
    info = scene_info(bands, cut, planned, masks, config, catalogue=catalogue)
    reading = reading_of(info, bands, planned.parts, masks, catalogue.library_bytes if catalogue else 0)
    return RasterScene(info, reading, planned.parts, masks.masks, masks.fit_masks)


def _warn_of_notes(bands: Iterable[FileBand]) -> None:
    """Log the notes of bands as warnings, each once."""
    for note in dict.fromkeys(note for band in bands for note in band.notes):
        logger.warning("%s", note)


def _overlaps(grid: Grid, scene_grid: Grid, catalogue: Catalogue) -> bool:
    """Return True if a scene overlaps the grid of the mosaic; else log that it is left out."""
    inside = overlap(grid, scene_grid)
    if not inside:
        logger.info("%s: left out, because it doesn't overlap the area of interest", catalogue.origin)
    return inside
