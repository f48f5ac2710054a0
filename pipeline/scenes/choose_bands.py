"""Choose the bands of a scene, or of each scene of a mosaic, and open them."""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from pipeline.config.schema import SceneConfig
from pipeline.core.errors import ConfigError, SceneError
from pipeline.core.units import PIXEL_TYPES
from pipeline.formats.catalogue import Catalogue
from pipeline.formats.detect import open_catalogues
from pipeline.formats.renaming import rename_bands
from pipeline.formats.versions import finest_resolution, pick_version, warn_of_sizes
from pipeline.raster.file_bands import FileBand
from pipeline.scenes.band_checks import alpha_notes, left_out_note
from pipeline.scenes.empty_bands import leave_out_empty

logger = logging.getLogger(__name__)

_TINIEST: Final = 1e-15
_LARGEST: Final = 1e15
"""Plausible scales lie between these limits, offsets below the upper one; products of others may overflow."""


def catalogues_of(config: SceneConfig, excluded: Iterable[str | Path] = ()) -> list[Catalogue]:
    """Open the catalogues of a config's source, one per scene, bands renamed as configured.

    Parameters
    ----------
    config : SceneConfig
        Source, time, names.
    excluded : iterable of str or Path
        Files that are not part of the scene, e.g. outputs of an earlier run in the source folder.

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


def choose_bands(catalogues: Sequence[Catalogue], config: SceneConfig) -> list[list[FileBand]]:
    """Open the requested bands of each scene, without those that are empty in all scenes.

    Raises
    ------
    SceneError
        If a file can't be opened, or scenes of different processing levels are to be combined.
    ConfigError
        If a band is not offered.
    """
    for note in (note for one in catalogues for note in (*one.notes, left_out_note(one, config.bands)) if note):
        logger.warning("%s", note)
    _check_levels(catalogues)
    opened = [_open(catalogue, config) for catalogue in catalogues]
    if len(opened) == 1:
        opened = [_use_named_alphas_as_data(opened[0])]
    if len({len(bands) for bands in opened}) > 1 or not all(catalogue.may_hold_empty_bands for catalogue in catalogues):
        return opened
    return leave_out_empty(opened, config.nodata, named=not isinstance(config.bands, str))


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


def _use_named_alphas_as_data(bands: Sequence[FileBand]) -> list[FileBand]:
    """Use alpha bands that are requested by name as data instead of as masks."""
    data = [(band.path, band.index) for band in bands if band.is_alpha]
    for path, index in data:
        logger.warning(
            "%s: band %d is marked as alpha, but scene.bands names it: it is used as data, not as a mask", path, index
        )
    return [replace(band, alpha=None) if (band.path, band.alpha) in data else band for band in bands]


def clusterable_bands(bands: Sequence[FileBand], config: SceneConfig) -> list[FileBand]:
    """Return bands with the scales and nodata values that are used; a configured value replaces all others.

    Raises
    ------
    SceneError
        If a band has a pixel type that can't be clustered.
    """
    for band in bands:
        if band.dtype not in PIXEL_TYPES:
            msg = f"{band.path}: pixels of type {band.dtype} can't be clustered; convert them to integers or floats"
            raise SceneError(msg)
    odd = next((band for band in bands if band.quantity != "numbers" and not _is_plausible(band)), None)
    if odd:
        logger.warning(
            "%s: implausible scale %g and offset %g: stored numbers of all bands are used unscaled; correct the tags",
            odd.path,
            odd.scale,
            odd.offset,
        )
        bands = [replace(band, scale=1.0, offset=0.0, quantity="numbers") for band in bands]
    if config.nodata == "auto":
        return list(bands)
    return [replace(band, array=replace(band.array, nodata=())) if band.array else band for band in bands]


def _is_plausible(band: FileBand) -> bool:
    """Whether the scale and offset of a band are numbers that a sensor's units may have."""
    return _TINIEST < abs(band.scale) < _LARGEST and abs(band.offset) < _LARGEST
