"""What a source offers before its pixels' files are opened: bands, at which resolutions, and masks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipeline.core.band_names import choose_bands, common_names
from pipeline.core.errors import ConfigError
from pipeline.core.layer_kinds import LayerKind, is_terrain
from pipeline.core.mask_layers import MaskKind
from pipeline.core.units import Quantity
from pipeline.formats.sensors import is_thermal
from pipeline.raster.file_bands import ArrayRef, FileBand, read_band

NO_REFLECTED_LIGHT: Final = frozenset({"temperature", "radiance", "angle", "elevation"})
"""Quantities of bands that are not chosen by default beside reflectance."""


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
        from pipeline.stores.variables import describe_variable  # noqa: PLC0415 (xarray takes half a second to import)

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
    kind: LayerKind = "measured"
    """What else it is: only a band that is measured is taken unless it is named."""

    @property
    def is_alpha(self) -> bool:
        """Whether the file marks it as an alpha band."""
        return bool(self.opened and self.opened.is_alpha)

    @property
    def measures_no_light(self) -> bool:
        """Whether it measures something else than reflected light, as far as is known: heat, an angle, a height."""
        quantity = self.quantity or (self.opened.quantity if self.opened else None)
        return quantity in NO_REFLECTED_LIGHT or is_thermal(self.common, self.name) or is_terrain(self.name)

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
            common=self.common or band.common,
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

    kind: MaskKind
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
    sensor_known: bool = True
    """Whether it is of a sensor whose bands all hold data."""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All that a source offers."""

    origin: str
    """What the user named, for messages."""
    bands: tuple[BandOffer, ...]
    default: tuple[str, ...] = ()
    """Names of the bands that are taken unless others are asked for; none means all."""
    whole: tuple[str, ...] = ()
    """Names of the bands that 'all' stands for; none means all that are measured, but alpha bands."""
    masks: tuple[MaskOffer, ...] = ()
    fill: MaskOffer | None = None
    """Layer whose lowest bit marks pixels without data."""
    product: Product | None = None
    files: tuple[str, ...] = ()
    """What must not be written over, beside the bands' own files."""
    library_bytes: int = 0
    """Bytes of libraries that are loaded to read it."""
    notes: tuple[str, ...] = ()
    """What the user should know."""
    others: tuple[tuple[str, str], ...] = ()
    """Layers that are no bands and can't be named as some: name, and what it is."""
    ambiguous: str = ""
    """Why bands have to be named: two versions of one; empty where they need not be."""
    times: tuple[str, ...] = ()
    """What the times that it holds are called, of which one is taken; none where it states no time."""

    @property
    def names(self) -> list[str]:
        """Names of the bands, alpha bands among them."""
        return [band.name for band in self.bands]

    @property
    def common_names(self) -> list[str | None]:
        """Common names of the bands; told from their names where the source states none at all."""
        stated = [band.common or (band.opened.common if band.opened else None) for band in self.bands]
        return stated if any(stated) else common_names(self.names)

    @property
    def may_hold_empty(self) -> bool:
        """Whether some of its bands may hold no data at all."""
        return self.product is None or not self.product.sensor_known

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
            When a band is unknown or asked for twice, or has two versions and none is named.
        """
        if isinstance(wanted, str):
            if self.ambiguous:
                raise ConfigError(self.ambiguous)
            if not (wanted := (self.default if wanted == "auto" else ()) or self.whole):
                return [band for band in self.bands if band.kind == "measured" and not band.is_alpha]
        names = self.names
        keys = {key: band.name for band in self.bands for key in band.keys} | {name: name for name in names}
        wanted = [keys.get(band, band) for band in wanted]
        numbers = [self.number(place) for place in range(len(names))]
        return [self.bands[i] for i in choose_bands(wanted, names, self.common_names, numbers)]
