"""Describe the scene of a config, or a mosaic of several scenes, from metadata only."""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.config.masks import MaskRecord
from pipeline.config.schema import SceneConfig
from pipeline.core.errors import ConfigError, SceneError
from pipeline.core.grid import Grid
from pipeline.core.scene_info import combine_open_files
from pipeline.formats.catalogue import Catalogue, MaskOffer
from pipeline.formats.detect import open_catalogues
from pipeline.formats.renaming import rename_bands
from pipeline.formats.versions import finest_resolution, pick_version, warn_of_sizes
from pipeline.geo.area_of_interest import PYOGRIO, Area
from pipeline.geo.overlap import overlap
from pipeline.raster.file_bands import FileBand
from pipeline.scenes.band_checks import alpha_notes, left_out_note
from pipeline.scenes.choose_grid import choose_grid
from pipeline.scenes.empty_bands import leave_out_empty
from pipeline.scenes.masks import LayerMask, Mask, make_mask
from pipeline.scenes.mosaic import Mosaic, check_size, make_mosaic, union_grid
from pipeline.scenes.raster_scene import RasterScene, assemble_scene, cut_to_area

logger = logging.getLogger(__name__)


def describe_scene(
    config: SceneConfig, excluded: Iterable[str | Path] = (), fit_mask: MaskRecord | None = None
) -> RasterScene | Mosaic:
    """Describe a scene from the metadata of its files; if file names give the bands, only requested files are opened.

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
    for note in (note for one in catalogues for note in (*one.notes, left_out_note(one, config.bands)) if note):
        logger.warning("%s", note)
    if len(catalogues) > 1:
        return _describe_mosaic(catalogues, config, fit_mask)
    (catalogue,) = catalogues
    (bands,) = _leave_out_empty(catalogues, [_use_named_alphas_as_data(_open(catalogue, config))], config)
    scene = _add_masks(assemble_scene(bands, config, catalogue.files), config, catalogue, fit_mask)
    notes = _warn_of_notes(bands)
    if scene.info.grid.crs is None and not any("ground control points" in note for note in notes):
        logger.warning("%s: no coordinate reference system; the map will have none either", scene.info.sources[0])
    for path in dict.fromkeys(part.path for part in scene.parts if part.alphas):
        logger.info("%s: the alpha band is used as a mask: pixels are nodata where it is 0", path)
    return scene


def catalogues_of(config: SceneConfig, excluded: Iterable[str | Path] = ()) -> list[Catalogue]:
    """Open the catalogues of a config's source, bands renamed as configured; parameters as in `describe_scene`.

    Raises
    ------
    ConfigError
        If a time is requested, but the source has none.
    """
    catalogues = open_catalogues(config.source, excluded, config.time)
    timeless = next((catalogue for catalogue in catalogues if not catalogue.times), None)
    if config.time is not None and timeless:
        msg = f"scene.time: {timeless.origin} has no times to choose from; leave scene.time out"
        raise ConfigError(msg)
    return [rename_bands(catalogue, config.names) for catalogue in catalogues]


def _describe_mosaic(catalogues: Sequence[Catalogue], config: SceneConfig, fit_mask: MaskRecord | None) -> Mosaic:
    """Describe several scenes as a mosaic, on the first scene's grid extended to cover all of them."""
    _check_levels(catalogues)
    opened = _leave_out_empty(catalogues, [_open(catalogue, config) for catalogue in catalogues], config)
    _warn_of_notes(band for bands in opened for band in bands)
    grids = [choose_grid(bands, config.resolution) for bands in opened]
    whole = union_grid(grids)
    cut = cut_to_area(whole, opened[0], config)
    grid = cut.grid
    check_size(cut.grid)
    inside = [i for i, scene_grid in enumerate(grids) if _overlaps(grid, scene_grid, catalogues[i])]
    _warn_of_hidden_dates([catalogues[i] for i in inside], [grids[i] for i in inside])
    scenes = [
        _add_masks(assemble_scene(opened[i], config, catalogues[i].files, grid, whole), config, catalogues[i], fit_mask)
        for i in inside
    ]
    if cut.area:
        scenes = [replace(scene, masks=(cut.area, *scene.masks)) for scene in scenes]
    scenes = [
        replace(scene, info=replace(scene.info, origin=cut.origin, map_window=cut.map_window)) for scene in scenes
    ]
    return make_mosaic(scenes, [grids[i] for i in inside])


def _warn_of_notes(bands: Iterable[FileBand]) -> list[str]:
    """Log the notes of bands as warnings, each once, and return them."""
    notes = list(dict.fromkeys(note for band in bands for note in band.notes))
    for note in notes:
        logger.warning("%s", note)
    return notes


def _check_levels(catalogues: Sequence[Catalogue]) -> None:
    """Raise SceneError if products have different processing levels, so that their values can't be compared."""
    known = [(one, one.product.level) for one in catalogues if one.product and re.match(r"L\d", one.product.level)]
    for other, level in known[1:]:
        first, first_level = known[0]
        if level[:2] != first_level[:2]:
            msg = (
                f"scene.source: {first.origin} is of level {first_level}, {other.origin} of level {level}: their "
                "values can't be compared; choose products of one level"
            )
            raise SceneError(msg)


def _warn_of_hidden_dates(catalogues: Sequence[Catalogue], grids: Sequence[Grid]) -> None:
    """Warn of scenes within the extent of an earlier one of another date: they only fill its nodata pixels."""
    dates = [catalogue.product.date if catalogue.product else "" for catalogue in catalogues]
    hidden: dict[str, list[str]] = {}
    for i, (date, grid) in enumerate(zip(dates, grids, strict=True)):
        covering = [
            other
            for other, before in zip(dates[:i], grids, strict=False)
            if date and other not in {"", date} and union_grid([before, grid]).shape == before.shape
        ]
        if covering:
            hidden.setdefault(covering[0], []).append(f"{catalogues[i].origin} ({date})")
    for date, origins in hidden.items():
        logger.warning(
            "scene.source: these scenes are within the extent of the scene of %s before them, and are used only where "
            "it has no data: %s; for a map of each date, run them separately",
            date,
            ", ".join(origins),
        )


def _overlaps(grid: Grid, scene_grid: Grid, catalogue: Catalogue) -> bool:
    """Return True if a scene overlaps the grid of the mosaic; else log that it is left out."""
    inside = overlap(grid, scene_grid)
    if not inside:
        logger.info("%s: left out, because it doesn't overlap the area of interest", catalogue.origin)
    return inside


def _add_masks(
    scene: RasterScene, config: SceneConfig, catalogue: Catalogue, fit_mask: MaskRecord | None
) -> RasterScene:
    """Add masks to a scene; also the fill of a quality layer if a band has no nodata tag."""
    grid = scene.info.grid
    untagged = any(band.opened and band.opened.nodata is None for band in catalogue.choose(scene.info.bands))
    masks: tuple[Mask, ...] = (make_mask(config.mask, catalogue, grid, "scene.mask"),) if config.mask else ()
    if catalogue.fill and not _masks_fill(config.mask, catalogue.fill):
        fill = MaskRecord(layer=catalogue.fill.kind, bits=(0,))
        masks += (make_mask(fill, catalogue, grid, "scene.nodata"),) if untagged else ()
    for_fit = (make_mask(fit_mask, catalogue, grid, "fit.mask"),) if fit_mask else ()
    layers = [mask for mask in (*masks, *for_fit) if isinstance(mask, LayerMask)]
    vectors = any(isinstance(mask, Area) for mask in (*masks, *for_fit)) or bool(config.aoi and config.aoi.path)
    info = replace(
        scene.info,
        library_bytes=scene.info.library_bytes + catalogue.library_bytes + PYOGRIO * vectors,
        masked=scene.info.masked or bool(masks or for_fit),
        expensive=scene.info.expensive or any(layer.part.is_expensive for layer in layers),
        read_by_file_block=scene.info.read_by_file_block
        or any(layer.part.alignment or layer.radius for layer in layers),
        decoded_bytes=scene.info.decoded_bytes + sum(part.size for part in {layer.part for layer in layers}),
        mask_margins=tuple(layer.margin_and_bytes for layer in layers),
        open_files=combine_open_files([scene.info.open_files, *(layer.open_files for layer in layers)]),
        file_block_bytes=max([scene.info.file_block_bytes, *(layer.block_bytes for layer in layers)]),
        warp_bytes=max([scene.info.warp_bytes, *(layer.part.warp_bytes for layer in layers)]),
        files=tuple(dict.fromkeys([*scene.info.files, *_side_files(config, fit_mask)])),
    )
    return replace(scene, info=info, masks=(*scene.masks, *masks), fit_masks=for_fit)


def _masks_fill(mask: MaskRecord | None, fill: MaskOffer) -> bool:
    """Return True if the configured mask already leaves out the fill of the source's quality layer."""
    return mask is not None and mask.layer == fill.kind and mask.path is None and 0 in mask.rule[1]


def _side_files(config: SceneConfig, fit_mask: MaskRecord | None) -> list[str]:
    """Paths of the files of masks and of the area of interest."""
    return [record.path for record in (config.mask, config.aoi, fit_mask) if record and record.path]


def _open(catalogue: Catalogue, config: SceneConfig) -> list[FileBand]:
    """Open the requested bands, each in the version that suits the scene's resolution."""
    offers = catalogue.choose(config.bands)
    resolution = finest_resolution(offers) if config.resolution == "auto" else config.resolution
    versions = [pick_version(offer, resolution, catalogue.origin) for offer in offers]
    bands = [offer.open(version) for offer, version in zip(offers, versions, strict=True)]
    warn_of_sizes(versions, bands)
    for note in alpha_notes([*bands, *(offer.opened for offer in catalogue.bands if offer.opened)]):
        logger.warning("%s", note)
    return bands


def _leave_out_empty(
    catalogues: Sequence[Catalogue], opened: list[list[FileBand]], config: SceneConfig
) -> list[list[FileBand]]:
    """Leave out bands without any valid pixel, unless the sensor is known to deliver all bands."""
    if len({len(bands) for bands in opened}) > 1 or not all(catalogue.may_hold_empty_bands for catalogue in catalogues):
        return opened
    return leave_out_empty(opened, config.nodata, named=not isinstance(config.bands, str))


def _use_named_alphas_as_data(bands: Sequence[FileBand]) -> list[FileBand]:
    """Use alpha bands that are requested by name as data instead of as masks."""
    data = [(band.path, band.index) for band in bands if band.is_alpha]
    for path, index in data:
        logger.warning(
            "%s: band %d is marked as alpha, but scene.bands names it: it is used as data, not as a mask", path, index
        )
    return [replace(band, alpha=None) if (band.path, band.alpha) in data else band for band in bands]
