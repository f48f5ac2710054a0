"""From a config's `scene` to a scene described: one, or a mosaic of several. Reads metadata only."""

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
from pipeline.scenes.choose_grid import one_grid
from pipeline.scenes.empty_bands import leave_out_empty
from pipeline.scenes.masks import LayerMask, Mask, make_mask
from pipeline.scenes.mosaic import Mosaic, check_width, make_mosaic, union_grid
from pipeline.scenes.raster_scene import RasterScene, cut_to_area, summarize
from pipeline.scenes.warnings import alpha_notes, left_out_note

logger = logging.getLogger(__name__)


def describe_scene(
    config: SceneConfig, excluded: Iterable[str | Path] = (), fit_mask: MaskRecord | None = None
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
    catalogues = catalogues_of(config, excluded)
    for note in (note for one in catalogues for note in (*one.notes, left_out_note(one, config.bands)) if note):
        logger.warning("%s", note)
    if len(catalogues) > 1:
        return _describe_mosaic(catalogues, config, fit_mask)
    (catalogue,) = catalogues
    (bands,) = _leave_out_empty(catalogues, [_let_alphas_be_bands(_open(catalogue, config))], config)
    scene = _leave_out(summarize(bands, config, catalogue.files), config, catalogue, fit_mask)
    notes = _say_notes(bands)
    if scene.info.grid.crs is None and not any("ground control points" in note for note in notes):
        logger.warning("%s: no coordinate reference system; the map will have none either", scene.info.sources[0])
    for path in dict.fromkeys(part.path for part in scene.parts if part.alphas):
        logger.info("%s: the alpha band is used as a mask: no data where it is 0", path)
    return scene


def catalogues_of(config: SceneConfig, excluded: Iterable[str | Path] = ()) -> list[Catalogue]:
    """What the source of a config offers, its bands called as the config says; parameters as in `describe_scene`.

    Raises
    ------
    ConfigError
        When a time is asked for of a source that states none.
    """
    catalogues = open_catalogues(config.source, excluded, config.time)
    timeless = next((catalogue for catalogue in catalogues if not catalogue.times), None)
    if config.time is not None and timeless:
        msg = f"scene.time: {timeless.origin} states no time, so none can be chosen; leave it out"
        raise ConfigError(msg)
    return [rename_bands(catalogue, config.names) for catalogue in catalogues]


def _describe_mosaic(catalogues: Sequence[Catalogue], config: SceneConfig, fit_mask: MaskRecord | None) -> Mosaic:
    """Describe several items or products on one grid: that of the first, wide enough for all."""
    _check_levels(catalogues)
    opened = _leave_out_empty(catalogues, [_open(catalogue, config) for catalogue in catalogues], config)
    _say_notes(band for bands in opened for band in bands)
    grids = [one_grid(bands, config.resolution) for bands in opened]
    whole = union_grid(grids)
    cut = cut_to_area(whole, opened[0], config)
    grid = cut.grid
    check_width(cut.grid)
    inside = [place for place, own in enumerate(grids) if _is_in(grid, own, catalogues[place])]
    _say_which_only_fill([catalogues[i] for i in inside], [grids[i] for i in inside])
    scenes = [
        _leave_out(summarize(opened[i], config, catalogues[i].files, grid, whole), config, catalogues[i], fit_mask)
        for i in inside
    ]
    if cut.area:
        scenes = [replace(scene, masks=(cut.area, *scene.masks)) for scene in scenes]
    scenes = [
        replace(scene, info=replace(scene.info, origin=cut.origin, map_window=cut.map_window)) for scene in scenes
    ]
    return make_mosaic(scenes, [grids[i] for i in inside])


def _say_notes(bands: Iterable[FileBand]) -> list[str]:
    """Warn of what makes the map of some bands useless, once for each file or band, and give what was said."""
    notes = list(dict.fromkeys(note for band in bands for note in band.notes))
    for note in notes:
        logger.warning("%s", note)
    return notes


def _check_levels(catalogues: Sequence[Catalogue]) -> None:
    """Raise SceneError where products are of several processing levels, so that their numbers mean different things."""
    known = [(one, one.product.level) for one in catalogues if one.product and re.match(r"L\d", one.product.level)]
    for other, level in known[1:]:
        first, its_level = known[0]
        if level[:2] != its_level[:2]:
            msg = (
                f"scene.source: {first.origin} is of level {its_level}, {other.origin} of level {level}: their numbers "
                "don't mean the same; name products of one level"
            )
            raise SceneError(msg)


def _say_which_only_fill(catalogues: Sequence[Catalogue], grids: Sequence[Grid]) -> None:
    """Say which scenes of other dates lie within an earlier one, and are seen only where that has no data."""
    dates = [catalogue.product.date if catalogue.product else "" for catalogue in catalogues]
    hidden: dict[str, list[str]] = {}
    for place, (date, grid) in enumerate(zip(dates, grids, strict=True)):
        over = [
            other
            for other, before in zip(dates[:place], grids, strict=False)
            if date and other not in {"", date} and union_grid([before, grid]).shape == before.shape
        ]
        if over:
            hidden.setdefault(over[0], []).append(f"{catalogues[place].origin} ({date})")
    for date, origins in hidden.items():
        logger.warning(
            "these show the same place as the scene of %s before them, and count only where it has no data: %s; for a "
            "map of each date name one at a time",
            date,
            ", ".join(origins),
        )


def _is_in(grid: Grid, own: Grid, catalogue: Catalogue) -> bool:
    """Whether a scene has anything to give to a mosaic."""
    inside = overlap(grid, own)
    if not inside:
        logger.info("%s: lies outside of the area of interest: left out", catalogue.origin)
    return inside


def _leave_out(
    scene: RasterScene, config: SceneConfig, catalogue: Catalogue, fit_mask: MaskRecord | None
) -> RasterScene:
    """Add the masks of a scene, among them a quality layer's fill where no tag of some band tells nodata."""
    grid = scene.info.grid
    untagged = any(band.opened and band.opened.nodata is None for band in catalogue.choose(scene.info.bands))
    masks: tuple[Mask, ...] = (make_mask(config.mask, catalogue, grid, "scene.mask"),) if config.mask else ()
    if catalogue.fill and not _leaves_fill_out(config.mask, catalogue.fill):
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


def _leaves_fill_out(mask: MaskRecord | None, fill: MaskOffer) -> bool:
    """Whether a mask that is asked for leaves out what a quality layer of the source calls fill."""
    return mask is not None and mask.layer == fill.kind and mask.path is None and 0 in mask.rule[1]


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


def _leave_out_empty(
    catalogues: Sequence[Catalogue], opened: list[list[FileBand]], config: SceneConfig
) -> list[list[FileBand]]:
    """Leave out the bands without any valid pixel, unless the sensor is known to deliver all of them."""
    if len({len(bands) for bands in opened}) > 1 or not all(catalogue.may_hold_empty_bands for catalogue in catalogues):
        return opened
    return leave_out_empty(opened, config.nodata, named=not isinstance(config.bands, str))


def _let_alphas_be_bands(bands: Sequence[FileBand]) -> list[FileBand]:
    """An alpha band that was asked for masks nothing any more."""
    data = [(band.path, band.index) for band in bands if band.is_alpha]
    for path, index in data:
        logger.warning("%s: band %d is marked as alpha, but was asked for as a band: it masks nothing", path, index)
    return [replace(band, alpha=None) if (band.path, band.alpha) in data else band for band in bands]
