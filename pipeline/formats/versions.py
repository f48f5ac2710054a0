"""Choose which of a band's files is read, by resolution and by which files are present."""

import logging
import math
from collections.abc import Sequence
from typing import Final

from pipeline.core.errors import SceneError
from pipeline.formats.catalogue import BandOffer, BandVersion
from pipeline.raster.file_bands import FileBand

logger = logging.getLogger(__name__)

_SAME_RESOLUTION: Final = 1e-6
"""Largest relative difference of two resolutions that count as the same."""


def best_version(offer: BandOffer) -> BandVersion | None:
    """First present file of a band: that of the native resolution, else the finest; None if all are missing."""
    return next((version for version in offer.versions if version.present), None)


def warn_of_sizes(versions: Sequence[BandVersion], bands: Sequence[FileBand]) -> None:
    """Log one warning if opened files (`bands`) have other sizes than their product states (`versions`)."""
    pairs = zip(versions, bands, strict=True)
    different = [(version, band) for version, band in pairs if version.shape not in {(), band.grid.shape}]
    if different:
        version, band = different[0]
        stated = " x ".join(map(str, version.shape[::-1]))
        more = f"; the same is true of {len(different) - 1} more files" if len(different) > 1 else ""
        logger.warning(
            "%s: %s pixels are stated, but the file has %s, which is used%s",
            version.path,
            stated,
            band.grid.describe(),
            more,
        )


def finest_resolution(offers: Sequence[BandOffer]) -> float:
    """Finest nominal resolution among the best files of bands, in units of the CRS; 0 if a product states none."""
    return min((version.resolution for offer in offers if (version := best_version(offer))), default=0.0)


def pick_version(offer: BandOffer, resolution: float, origin: str) -> BandVersion:
    """Choose the file from which a band is read, for a scene's grid of a nominal resolution.

    It is the file of the grid's resolution, else of the native resolution, else the coarsest one finer than the grid.
    Raises SceneError if the native file is missing, and no other file has the grid's resolution or a finer one.
    """
    present = [version for version in offer.versions if version.present]
    for version in present:
        if math.isclose(version.resolution, resolution, rel_tol=_SAME_RESOLUTION):
            return version
    if offer.native.present:
        return offer.native
    finer = [version for version in present if version.resolution < resolution]
    if finer:
        return finer[-1]
    instead = f", or set scene.resolution: {present[0].resolution:g}, at which it is present" if present else ""
    msg = (
        f"{origin}: band {offer.name} is missing: the product lists {offer.native.path}, but there is no such file; "
        f"download the product again{instead}"
    )
    raise SceneError(msg)
