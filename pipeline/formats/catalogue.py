"""Catalogue of a source: the bands and masks that can be chosen, and the files or arrays that hold them.

A `Catalogue` lists the bands (`BandOffer`) and masks (`MaskOffer`) of one scene. Each of them is held by one or several
files or arrays (`BandVersion`), such as one per resolution. `Product` is what the product's metadata state. A catalogue
is made from metadata; most files are only opened once their bands are chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pipeline.core.acquisition import Acquisition
from pipeline.core.band_names import choose_bands, common_names
from pipeline.core.errors import ConfigError
from pipeline.core.layer_kinds import LayerKind, is_terrain
from pipeline.core.mask_layers import MaskKind
from pipeline.core.units import Quantity
from pipeline.formats import registry
from pipeline.formats.sensors import is_thermal
from pipeline.raster.file_bands import ArrayRef, FileBand, read_band

NO_REFLECTED_LIGHT: Final = frozenset({"temperature", "radiance", "angle", "elevation"})
"""Quantities of bands that are no reflectance and therefore no default bands of a source that also has reflectance."""


@dataclass(frozen=True, kw_only=True)
class BandVersion:
    """One file or array that holds a band, such as the one of a certain resolution."""

    path: str
    """Path of the file or store, as GDAL or xarray opens it."""
    index: int = 1
    """Number of the band in the file, from 1."""
    resolution: float = 0.0
    """Nominal pixel size that the product states, in units of the CRS; 0 if it states none."""
    shape: tuple[int, ...] = ()
    """(rows, columns) that the product states; empty if it states none."""
    array: ArrayRef | None = None
    """The array in a Zarr or NetCDF store; None for raster files."""
    present: bool = True
    """Whether the file exists; False if the product lists it but the file is missing."""


def open_version(version: BandVersion) -> FileBand:
    """Read the metadata of a band; raise SceneError if the file or array can't be opened, or has no such band."""
    if version.array:
        return registry.describe_variable(version.array)
    return read_band(version.path, version.index)


@dataclass(frozen=True, kw_only=True)
class BandOffer:
    """A band of the catalogue that can be chosen, with the files that hold it."""

    name: str
    """Name of the band, unique in the catalogue."""
    versions: tuple[BandVersion, ...]
    """Files or arrays that hold the band: that of the native resolution first, then by resolution, finest first."""
    common: str | None = None
    """Common name of STAC, such as red; None if unknown."""
    number: str = ""
    """Number by which the band can be chosen, such as 8A; empty if that is its position in the catalogue, from 1."""
    keys: tuple[str, ...] = ()
    """Other names by which the band can be chosen, such as the key of a STAC asset."""
    scale: float | None = None
    """Factor from stored numbers to physical values that the product states; None to use the file's tags."""
    offset: float | None = None
    """Offset added after scaling that the product states; None to use the file's tags."""
    nodata: float | None = None
    """Nodata value used if the file has no nodata tag."""
    quantity: Quantity | None = None
    """Physical quantity of the scaled values; None to use that of the file."""
    opened: FileBand | None = None
    """Metadata of the file, if it was opened to list its bands; None before that."""
    kind: LayerKind = "measured"
    """Kind of layer; bands other than "measured" are only taken if they are named."""

    @property
    def is_alpha(self) -> bool:
        """Whether the file tags it as an alpha band."""
        return bool(self.opened and self.opened.is_alpha)

    @property
    def measures_no_light(self) -> bool:
        """Whether it is known to measure something other than reflected light, such as temperature or elevation."""
        quantity = self.quantity or (self.opened.quantity if self.opened else None)
        return quantity in NO_REFLECTED_LIGHT or is_thermal(self.common, self.name) or is_terrain(self.name)

    @property
    def native(self) -> BandVersion:
        """The file or array of the native resolution, present or not."""
        return self.versions[0]

    def open(self, version: BandVersion) -> FileBand:
        """Read the metadata of one of `versions`, with name, scale, offset and quantity of the product if it has any.

        Raises SceneError as `open_version` does.
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


def reflective_names(bands: Sequence[BandOffer]) -> tuple[str, ...]:
    """Names of the bands that measure reflected light; empty if those are all bands, so that 'auto' is 'all'."""
    measured = [band for band in bands if band.kind == "measured" and not band.is_alpha]
    reflective = tuple(band.name for band in measured if not band.measures_no_light)
    return reflective if len(reflective) < len(measured) else ()


def scaling_text(bands: Sequence[BandOffer]) -> str:
    """Describe how stored numbers (DN) are scaled, such as `reflectance = 0.0001 x DN -0.1`."""
    pairs = {(band.scale, band.offset) for band in bands}
    if len(pairs) > 1:
        return "scale and offset differ by band"
    scale, offset = pairs.pop()
    if scale is None:
        return "as the files' tags say"
    return f"{bands[0].quantity or 'value'} = {scale:g} x DN{f' {offset:+g}' if offset else ''}"


@dataclass(frozen=True, kw_only=True)
class MaskOffer:
    """A quality layer of known classes or bits from which pixels can be masked."""

    kind: MaskKind
    """Which quality layer it is; `core.mask_layers.MASK_LAYERS` has its classes or bits."""
    versions: tuple[BandVersion, ...]
    """Files or arrays that hold the layer: that of the native resolution first."""

    def __str__(self) -> str:
        sizes = ", ".join(f"{version.resolution:g} m" for version in self.versions if version.resolution)
        return f"{self.kind} at {sizes}" if sizes else self.kind


@dataclass(frozen=True, kw_only=True)
class Product:
    """Metadata of a product, for reports and messages; texts are empty if unknown."""

    name: str
    """Identifier of the product."""
    format: str
    """Format, such as Sentinel-2 SAFE."""
    level: str
    """Processing level, such as L2A or L2SP."""
    date: str
    """Date of acquisition, as YYYY-MM-DD."""
    tile: str
    """Tile, such as 31TFJ of MGRS or 008/059 of WRS-2."""
    baseline: str
    """Processing baseline or collection, such as 05.09."""
    radiometry: str
    """Formula from stored numbers (DN) to physical values, as text."""
    sensor_known: bool = True
    """Whether the sensor is known, so that none of its bands is expected to be empty."""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Bands, masks and metadata of one scene: a product, a STAC item, a store, or raster files that belong together."""

    origin: str
    """Source as the user named it, for messages."""
    bands: tuple[BandOffer, ...]
    """Bands that can be chosen, including alpha bands and layers that are not measured."""
    default: tuple[str, ...] = ()
    """Names of the bands taken for 'auto'; empty for the same as 'all'."""
    all_names: tuple[str, ...] = ()
    """Names of the bands taken for 'all'; empty for all measured bands without alpha bands."""
    masks: tuple[MaskOffer, ...] = ()
    """Quality layers from which pixels can be masked."""
    fill: MaskOffer | None = None
    """Quality layer whose lowest bit marks nodata pixels; None if there is none."""
    product: Product | None = None
    """Metadata of the product; None for plain files and stores."""
    files: tuple[str, ...] = ()
    """Paths that must not be overwritten, in addition to the bands' own files: metadata, archives, folders."""
    library_bytes: int = 0
    """Memory in bytes of the libraries that are imported to read the source."""
    notes: tuple[str, ...] = ()
    """Warnings for the user about missing, assumed or contradictory metadata."""
    unselectable: tuple[tuple[str, str], ...] = ()
    """(name, kind) of layers that can't be chosen as bands."""
    ambiguous: str = ""
    """Message saying why bands have to be named (two assets hold the same one); empty if they need not be."""
    times: tuple[str, ...] = ()
    """Time steps of a store, one of which is read, as text; empty if the source has no time."""
    acquired: Acquisition | None = None
    """When the scene was acquired by the product's metadata; None to use what the bands' files state."""

    @property
    def names(self) -> list[str]:
        """Names of the bands, including alpha bands."""
        return [band.name for band in self.bands]

    @property
    def common_names(self) -> list[str | None]:
        """Common name or None per band; derived from the bands' names if the source states none for any band."""
        stated = [band.common or (band.opened.common if band.opened else None) for band in self.bands]
        return stated if any(stated) else common_names(self.names)

    @property
    def may_hold_empty_bands(self) -> bool:
        """Whether bands may be entirely nodata, because the sensor is unknown."""
        return self.product is None or not self.product.sensor_known

    def number(self, index: int) -> str:
        """Number by which the band at an index (from 0) can be chosen."""
        return self.bands[index].number or str(index + 1)

    def called(self, names: Sequence[str]) -> tuple[list[str | None], list[str]]:
        """Return the common names, None if unknown, and the numbers of bands of this catalogue by their names."""
        index = {name: i for i, name in enumerate(self.names)}
        common = self.common_names
        return [common[index[name]] for name in names], [self.number(index[name]) for name in names]

    def mask(self, kind: str) -> MaskOffer | None:
        """The mask of a kind; None if there is none."""
        return next((mask for mask in self.masks if mask.kind == kind), None)

    def choose(self, wanted: Sequence[str] | str) -> list[BandOffer]:
        """Choose bands in the order of the config's `scene.bands`.

        Parameters
        ----------
        wanted : sequence of str, 'all' or 'auto'
            Names, keys, numbers or common names; or all measured bands; or the default bands.

        Raises
        ------
        ConfigError
            If a band is unknown or requested twice, or if 'all' or 'auto' is ambiguous.
        """
        if isinstance(wanted, str):
            if self.ambiguous:
                raise ConfigError(self.ambiguous)
            if not (wanted := (self.default if wanted == "auto" else ()) or self.all_names):
                return [band for band in self.bands if band.kind == "measured" and not band.is_alpha]
        names = self.names
        keys = {key: band.name for band in self.bands for key in band.keys} | {name: name for name in names}
        wanted = [keys.get(band, band) for band in wanted]
        numbers = [self.number(index) for index in range(len(names))]
        return [self.bands[i] for i in choose_bands(wanted, names, self.common_names, numbers)]
