"""Which of the files that hold a band is read: by resolution, and by which of them are there."""

import logging
import math
from collections.abc import Sequence
from typing import Final

from pipeline.core.errors import SceneError
from pipeline.formats.catalogue import BandOffer, BandVersion
from pipeline.raster.file_bands import FileBand

logger = logging.getLogger(__name__)

_SAME_RESOLUTION: Final = 1e-6


def best_version(offer: BandOffer) -> BandVersion | None:
    """The best of a band's files that are there."""
    return next((version for version in offer.versions if version.present), None)


def warn_of_sizes(versions: Sequence[BandVersion], bands: Sequence[FileBand]) -> None:
    """Say, once, when files have other sizes than their product states."""
    pairs = zip(versions, bands, strict=True)
    odd = [(version, band) for version, band in pairs if version.shape not in {(), band.grid.shape}]
    if odd:
        version, band = odd[0]
        stated = " x ".join(map(str, version.shape[::-1]))
        more = f"; so it is with {len(odd) - 1} more" if len(odd) > 1 else ""
        logger.warning(
            "%s: %s pixels are stated, but the file has %s, which counts%s",
            version.path,
            stated,
            band.grid.describe(),
            more,
        )


def finest_resolution(offers: Sequence[BandOffer]) -> float:
    """The finest nominal resolution among the best files of bands; 0 where none is stated."""
    return min((version.resolution for offer in offers if (version := best_version(offer))), default=0.0)


def pick_version(offer: BandOffer, resolution: float, origin: str) -> BandVersion:
    """The file a band is read from: the one of this resolution, else the native one.

    Parameters
    ----------
    offer : BandOffer
        The band.
    resolution : float
        Of the scene's grid; nominal.
    origin : str
        The product, for messages.

    Raises
    ------
    SceneError
        When the file isn't there, and none that is as fine as the grid stands in for it.
    """
    there = [version for version in offer.versions if version.present]
    for version in there:
        if math.isclose(version.resolution, resolution, rel_tol=_SAME_RESOLUTION):
            return version
    if offer.native.present:
        return offer.native
    finer = [version for version in there if version.resolution < resolution]
    if finer:
        return finer[-1]
    instead = f", or set scene.resolution: {there[0].resolution:g}, at which it is there" if there else ""
    msg = (
        f"{origin}: band {offer.name} is missing: the product lists {offer.native.path}, but there is no such file; "
        f"download the product again{instead}"
    )
    raise SceneError(msg)
