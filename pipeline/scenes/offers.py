"""What a source offers before its pixels' files are opened: bands, at which resolutions, and masks."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from pipeline.errors import SceneError
from pipeline.scenes.bands import choose_bands, common_name
from pipeline.scenes.filebands import ArrayRef, FileBand, Quantity, read_band

logger = logging.getLogger(__name__)

_SAME_RESOLUTION: Final = 1e-6


@dataclass(frozen=True, kw_only=True)
class BandVersion:
    """One of the files that hold a band."""

    path: str
    index: int = 1
    """Band of the file, counted from 1."""
    resolution: float = 0.0
    """Nominal size of a pixel, as the product says; 0 where only the file knows."""
    shape: tuple[int, ...] = ()
    """(rows, columns) as the product says; none where only the file knows."""
    array: ArrayRef | None = None
    """Where it is a variable of a Zarr or NetCDF store."""
    present: bool = True
    """False where the product lists the file, but it is not there."""


def open_version(version: BandVersion) -> FileBand:
    """Read the metadata of a band's file or array.

    Raises
    ------
    SceneError
        When it can't be opened, or has no such band.
    """
    if version.array:
        from pipeline.scenes.arrays import describe_variable  # noqa: PLC0415 (xarray takes half a second to import)

        return describe_variable(version.array)
    return read_band(version.path, version.index)


@dataclass(frozen=True, kw_only=True)
class BandOffer:
    """A band that may be chosen."""

    name: str
    versions: tuple[BandVersion, ...]
    """The files that hold it: the one of the resolution at which it was measured first, then the finest."""
    common: str | None = None
    """Common name, such as red."""
    number: str = ""
    """The number that stands for it, where that isn't its place among the bands."""
    keys: tuple[str, ...] = ()
    """Other names, such as those of a STAC item's assets."""
    scale: float | None = None
    """From stored numbers to physical units, as the product says; None where the file's tags do."""
    offset: float | None = None
    nodata: float | None = None
    """Where the file has no tag that says so."""
    quantity: Quantity | None = None
    opened: FileBand | None = None
    """Where the file had to be opened to know the band."""

    @property
    def native(self) -> BandVersion:
        """The file of the resolution at which it was measured, there or not."""
        return self.versions[0]

    def open(self, version: BandVersion) -> FileBand:
        """Read the metadata of one of the band's files, and say of it what the product does.

        Raises
        ------
        SceneError
            When it can't be opened, or has no such band.
        """
        band = self.opened or open_version(version)
        return replace(
            band,
            name=self.name,
            scale=band.scale if self.scale is None else self.scale,
            offset=band.offset if self.offset is None else self.offset,
            nodata=self.nodata if band.nodata is None else band.nodata,
            quantity=self.quantity or band.quantity,
        )


def numbers_words(bands: Sequence[BandOffer]) -> str:
    """How stored numbers become what they mean, in words."""
    pairs = {(band.scale, band.offset) for band in bands}
    if len(pairs) > 1:
        return "scale and offset differ by band"
    scale, offset = pairs.pop()
    if scale is None:
        return "as the files' tags say"
    return f"{bands[0].quantity or 'value'} = {scale:g} x DN{f' {offset:+g}' if offset else ''}"


@dataclass(frozen=True, kw_only=True)
class MaskOffer:
    """A layer of classes or bits that tells which pixels to leave out."""

    kind: Literal["scl", "qa_pixel"]
    versions: tuple[BandVersion, ...]
    """The one of the resolution at which it was made first."""

    def __str__(self) -> str:
        sizes = ", ".join(f"{version.resolution:g} m" for version in self.versions if version.resolution)
        return f"{self.kind} at {sizes}" if sizes else self.kind


@dataclass(frozen=True, kw_only=True)
class Product:
    """What a product says of itself."""

    name: str
    format: str
    """Such as Sentinel-2 SAFE."""
    level: str
    date: str
    tile: str
    baseline: str
    radiometry: str
    """How reflectance comes from the stored numbers, in words."""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All that a source offers."""

    origin: str
    """What the user named, for messages."""
    bands: tuple[BandOffer, ...]
    default: tuple[str, ...] = ()
    """Names of the bands that are taken unless others are asked for; none means all."""
    whole: tuple[str, ...] = ()
    """Names of the bands that 'all' stands for; none means all but alpha bands."""
    masks: tuple[MaskOffer, ...] = ()
    product: Product | None = None
    files: tuple[str, ...] = ()
    """What must not be written over, beside the bands' own files."""
    libraries: int = 0
    """Bytes of libraries that are loaded to read it."""
    notes: tuple[str, ...] = ()
    """What the user should know."""

    @property
    def names(self) -> list[str]:
        """Names of the bands, alpha bands among them."""
        return [band.name for band in self.bands]

    def number(self, place: int) -> str:
        """The number that stands for the band at a place among all, from 0."""
        return self.bands[place].number or str(place + 1)

    def mask(self, kind: str) -> MaskOffer | None:
        """The mask of a kind, if there is one."""
        return next((mask for mask in self.masks if mask.kind == kind), None)

    def choose(self, wanted: Sequence[str] | str) -> list[BandOffer]:
        """Bands asked for, in the order asked for.

        Parameters
        ----------
        wanted : sequence of str, 'all' or 'auto'
            Names, numbers or common names; all bands but alpha bands; or what the source takes by default.

        Raises
        ------
        ConfigError
            When a band is unknown or asked for twice.
        """
        wanted = {"auto": self.default or self.whole or "all", "all": self.whole or "all"}.get(str(wanted), wanted)
        if isinstance(wanted, str):
            return [band for band in self.bands if not (band.opened and band.opened.is_alpha)]
        keys = {key: band.name for band in self.bands for key in band.keys}
        names = self.names
        known = set(names)
        wanted = [band if band in known else keys.get(band, band) for band in wanted]
        common = [band.common or common_name(band.name) for band in self.bands]
        numbers = [self.number(place) for place in range(len(self.bands))]
        return [self.bands[i] for i in choose_bands(wanted, names, common, numbers)]


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
