"""From a config's `scene` to a scene described: one, or a mosaic of several. Reads metadata only."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.areas import MaskRecord
from pipeline.config import SceneConfig
from pipeline.grid import Grid
from pipeline.scenes.catalogue import open_catalogues
from pipeline.scenes.describe import RasterScene, cut_to_area, summarize
from pipeline.scenes.emptiness import leave_out_empty
from pipeline.scenes.filebands import FileBand
from pipeline.scenes.ground import overlap
from pipeline.scenes.masks import LayerMask, make_mask
from pipeline.scenes.mosaic import Mosaic, check_width, make_mosaic, union_grid
from pipeline.scenes.offers import Catalogue, finest_resolution, pick_version, warn_of_sizes
from pipeline.scenes.places import PYOGRIO, Area
from pipeline.scenes.placing import one_grid
from pipeline.scenes.remarks import alpha_notes

logger = logging.getLogger(__name__)


def describe_scene(
    config: SceneConfig, besides: Iterable[str | Path] = (), fit_mask: MaskRecord | None = None
) -> RasterScene | Mosaic:
    """Read the metadata of a scene's files: only of those whose bands are asked for, where names tell.

    Parameters
    ----------
    config : SceneConfig
        Source, bands, and how they come onto one grid.
    besides : iterable of str or Path
        Files that are no part of the scene: a run's own outputs, left there by an earlier run.
    fit_mask : MaskRecord, optional
        What is left out of the fit alone.

    Raises
    ------
    SceneError
        When a file can't be opened or the bands can't be brought onto one grid.
    ConfigError
        When a band, the nodata value or the resolution doesn't fit the files.
    """
    catalogues = open_catalogues(config.source, besides)
    for note in (note for catalogue in catalogues for note in catalogue.notes):
        logger.warning("%s", note)
    if len(catalogues) > 1:
        return _describe_mosaic(catalogues, config, fit_mask)
    (catalogue,) = catalogues
    bands = _let_alphas_be_bands(_open(catalogue, config))
    if catalogue.product is None:
        bands = leave_out_empty(bands, config.nodata, named=not isinstance(config.bands, str))
    scene = _leave_out(summarize(bands, config, catalogue.files), config, catalogue, fit_mask)
    if scene.info.grid.crs is None:
        logger.warning("%s: no coordinate reference system; the map will have none either", scene.info.sources[0])
    for path in dict.fromkeys(part.path for part in scene.parts if part.alphas):
        logger.info("%s: the alpha band is used as a mask: no data where it is 0", path)
    return scene


def _describe_mosaic(catalogues: Sequence[Catalogue], config: SceneConfig, fit_mask: MaskRecord | None) -> Mosaic:
    """Describe several items or products on one grid: that of the first, wide enough for all."""
    opened = [_open(catalogue, config) for catalogue in catalogues]
    grids = [one_grid(bands, config.resolution) for bands in opened]
    whole = union_grid(grids)
    grid, area = cut_to_area(whole, opened[0], config)
    check_width(grid)
    inside = [place for place, own in enumerate(grids) if _is_in(grid, own, catalogues[place])]
    scenes = [
        _leave_out(summarize(opened[i], config, catalogues[i].files, grid, whole), config, catalogues[i], fit_mask)
        for i in inside
    ]
    if area:
        scenes = [replace(scene, masks=(area, *scene.masks)) for scene in scenes]
    return make_mosaic(scenes, [grids[i] for i in inside])


def _is_in(grid: Grid, own: Grid, catalogue: Catalogue) -> bool:
    """Whether a scene has anything to give to a mosaic."""
    inside = overlap(grid, own)
    if not inside:
        logger.info("%s: lies outside of the area of interest: left out", catalogue.origin)
    return inside


def _leave_out(
    scene: RasterScene, config: SceneConfig, catalogue: Catalogue, fit_mask: MaskRecord | None
) -> RasterScene:
    """Add the masks of a scene."""
    grid = scene.info.grid
    masks = (make_mask(config.mask, catalogue, grid, "scene.mask"),) if config.mask else ()
    for_fit = (make_mask(fit_mask, catalogue, grid, "fit.mask"),) if fit_mask else ()
    layers = [mask for mask in (*masks, *for_fit) if isinstance(mask, LayerMask)]
    vectors = any(isinstance(mask, Area) for mask in (*masks, *for_fit)) or bool(config.aoi and config.aoi.path)
    info = replace(
        scene.info,
        libraries=scene.info.libraries + catalogue.libraries + PYOGRIO * vectors,
        masked=scene.info.masked or bool(masks or for_fit),
        dear=scene.info.dear or any(layer.part.is_dear for layer in layers),
        split=scene.info.split or any(layer.part.placement or layer.radius for layer in layers),
        decoded_bytes=scene.info.decoded_bytes + sum(part.size for part in {layer.part for layer in layers}),
        margins=tuple(layer.margin_and_bytes for layer in layers),
        file_block_bytes=max([scene.info.file_block_bytes, *(layer.block_bytes for layer in layers)]),
        warp_bytes=max([scene.info.warp_bytes, *(layer.part.warp_bytes for layer in layers)]),
        files=tuple(dict.fromkeys([*scene.info.files, *_side_files(config, fit_mask)])),
    )
    return replace(scene, info=info, masks=(*scene.masks, *masks), fit_masks=for_fit)


def _side_files(config: SceneConfig, fit_mask: MaskRecord | None) -> list[str]:
    """Files of masks and areas."""
    return [record.path for record in (config.mask, config.aoi, fit_mask) if record and record.path]


def _open(catalogue: Catalogue, config: SceneConfig) -> list[FileBand]:
    """Open the files of the bands asked for, each in the version that suits the scene's resolution."""
    offers = catalogue.choose(config.bands)
    resolution = finest_resolution(offers) if config.resolution == "auto" else config.resolution
    versions = [pick_version(offer, resolution, catalogue.origin) for offer in offers]
    bands = [offer.open(version) for offer, version in zip(offers, versions, strict=True)]
    warn_of_sizes(versions, bands)
    for note in alpha_notes([*bands, *(offer.opened for offer in catalogue.bands if offer.opened)]):
        logger.warning("%s", note)
    return bands


def _let_alphas_be_bands(bands: Sequence[FileBand]) -> list[FileBand]:
    """An alpha band that was asked for masks nothing any more."""
    data = [(band.path, band.index) for band in bands if band.is_alpha]
    for path, index in data:
        logger.warning("%s: band %d is marked as alpha, but was asked for as a band: it masks nothing", path, index)
    return [replace(band, alpha=None) if (band.path, band.alpha) in data else band for band in bands]
