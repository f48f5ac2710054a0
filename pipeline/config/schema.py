"""The sections of the config as typed, frozen records: mistakes are found before a file is opened."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    StrictBool,
    StrictInt,
    field_validator,
    model_validator,
)

from pipeline.config.fields import (
    Band,
    Bands,
    Date,
    Name,
    Names,
    Palette,
    Paths,
    Resampling,
    Size,
    Text,
    Time,
    is_palette_file,
)
from pipeline.config.masks import MASK_DESCRIPTION, AreaConfig, MaskConfig
from pipeline.config.record import Record, refuse_boolean
from pipeline.core.timeouts import DEFAULT_TIMEOUT, MAX_TIMEOUT

CLIPPED: Final = (2.0, 98.0)
"""Percentiles of `features.standardize: clip`."""

LONGEST_TITLE: Final = 200
"""Largest number of characters of the line of text above a picture."""

Standardize = Literal["none", "clip", "zscore", "minmax", "robust"]

WindowSize = Literal[3, 5, 7, 9, 11, 13, 15]
"""Pixels per side of the square around a pixel over which bands are averaged, or texture is measured."""

Percentile = Annotated[float, Field(ge=0, le=100), BeforeValidator(refuse_boolean)]


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] >= value[1]:
        msg = f"{value[0]:g} is not smaller than {value[1]:g}"
        raise ValueError(msg)
    return value


PercentileRange = Annotated[tuple[Percentile, Percentile], AfterValidator(_ascending)]
"""Two percentiles, the smaller first."""


class SceneConfig(Record):
    """Section `scene`: files, bands, grid, masks and area of interest."""

    source: Paths = Field(
        description="a Sentinel-2 product (.SAFE folder or zip, EOPF Zarr, STAC item; several are mosaicked into one "
        "map), a Zarr or NetCDF store, a raster file or its address, or one file per band: a folder, a glob, or a list "
        "of files"
    )
    bands: Bands = Field(
        "auto",
        description="'auto' (the four 10 m bands of a Sentinel-2 product, else all), 'all', or a list of band names "
        "(B04), numbers (4) or common names (red), such as [red, nir]",
    )
    names: Names = Field(
        None,
        description="names for unnamed bands: a list with one per band of the source, such as [blue, green, red, nir], "
        "or a mapping of bands to names, such as {1: blue, 4: nir}",
    )
    nodata: Literal["auto"] | int | float = Field(
        "auto", description="'auto' (as stated by the files), or the number that marks pixels without data"
    )
    resolution: Literal["auto"] | Annotated[float, Field(gt=0)] = Field(
        "auto",
        description="'auto' (that of the finest selected band), or the side of the map's pixels in the units of the "
        "scene's CRS, such as 20",
    )
    time: Time | None = Field(
        None,
        description="the time step to use of a Zarr or NetCDF store with several: an ISO date or its beginning "
        "(2020-07-11, 2020-07), 'first' or 'last' (the earliest, the latest), or a number from 1, in the store's order",
    )
    date: Date | None = Field(
        None,
        description="the date of acquisition, if the files state none or a wrong one: an ISO date (2025-07-14), a time "
        "(2025-07-14T10:30:31Z; without a zone in UTC), or a period (2025-06-01/2025-08-31)",
    )
    resampling: Resampling = Field(
        "nearest",
        description="the method by which bands on other grids are resampled onto the map's grid, by its GDAL name "
        "(nearest, bilinear, cubic, average, mode, ...), or a mapping of bands to methods, with 'default' for others",
    )
    mask: MaskConfig = Field(None, description=MASK_DESCRIPTION)
    aoi: AreaConfig = Field(
        None,
        description="the area of interest, outside of which pixels are nodata: [west, south, east, north] in degrees, "
        "the path of a vector file, or a mapping: bounds, crs, path",
    )
    crop: Literal["area", "blocks", "none"] = Field(
        "area",
        description="'area' (the map covers the bounding box of the area of interest), 'blocks' (the file blocks that "
        "it touches), or 'none' (the whole scene, 0 outside of the area)",
    )


class ClipConfig(Record):
    """Mapping `features.standardize: {clip: [low, high]}`."""

    clip: tuple[Percentile, Percentile] = Field(description="two percentiles from 0 to 100, such as [2, 98]")

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.clip[0] >= self.clip[1]:
            first, second = self.clip
            fix = f"write clip: [{second:g}, {first:g}]" if first > second else "give two that differ, such as [2, 98]"
            msg = f"clip: percentile {first:g} is not smaller than {second:g}; {fix}"
            raise ValueError(msg)
        return self


class TextureConfig(Record):
    """Mapping `features.texture`."""

    bands: tuple[Band, ...] = Field(min_length=1, description="a list of bands, such as [B08]")
    of: Literal["std", "range"] = Field(
        "std", description="'std' (standard deviation), or 'range' (largest minus smallest)"
    )
    size: WindowSize = Field(5, description="the side of a square in pixels, an odd number from 3 to 15")


class FeaturesConfig(Record):
    """Section `features`: what is clustered, and how it is scaled."""

    scale: Literal["auto", "none"] = Field(
        "auto",
        description="'auto' (apply the scale and offset that the product or file states, for example to reflectance), "
        "or 'none' (use the stored numbers)",
    )
    standardize: Standardize | ClipConfig = Field(
        "clip",
        description="how bands are made comparable before distances are computed, by the sampled pixels: 'clip' (from "
        "the 2nd to the 98th percentile, with values beyond clamped to them; other percentiles by {clip: [1, 99]}, the "
        "smaller first), 'none', or divided by their spread: 'zscore' (standard deviation), 'minmax' (range) or "
        "'robust' (interquartile range)",
    )
    indices: tuple[str, ...] = Field(
        (),
        description="a list of indices that are used with the bands, such as [ndvi, ndwi]: names, or expressions of "
        "bands, such as '(nir - red) / (nir + red)'",
    )
    assume: Literal["stated", "reflectance"] = Field(
        "stated",
        description="'stated' (indices use the quantity that the files state), or 'reflectance' (numbers without scale "
        "are reflectance from 0 to 1)",
    )
    smooth: WindowSize | None = Field(
        None,
        description="the side of a square in pixels, an odd number from 3 to 15, such as 3: each pixel of a band "
        "becomes the mean of the valid pixels of the square around it, and indices are computed from these",
    )

    texture: TextureConfig | None = Field(
        None,
        description="a mapping: bands, of ('std' or 'range'), size (an odd number of pixels from 3 to 15; without it, "
        "5), such as {bands: [B08], of: std, size: 5}; for each of the bands a column is added: the spread of the "
        "valid pixels of the square around each pixel, which are not smoothed",
    )
    unit_norm: StrictBool = Field(
        False,  # noqa: FBT003
        description="true or false: whether the bands of each pixel are divided by their Euclidean norm, after smooth, "
        "so that classes differ by the shape of the spectrum and not by brightness; with standardize: none, k-means "
        "then is by the spectral angle. Indices are computed before; means in the table are those of the divided bands",
    )

    pca: Annotated[StrictInt, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None,
        description="the number of principal components that are clustered instead of the bands and indices, such as "
        "4, or the share of the variance that they must have, above 0 and below 1, such as 0.99; they are found on "
        "the sampled pixels, standardized and weighted",
    )

    @property
    def way(self) -> str:
        """How bands are standardized, without percentiles."""
        return "clip" if isinstance(self.standardize, ClipConfig) else self.standardize

    @property
    def percentiles(self) -> tuple[float, float]:
        """Percentiles of 'clip'."""
        return self.standardize.clip if isinstance(self.standardize, ClipConfig) else CLIPPED


class FitConfig(Record):
    """What section `fit` has in common for all methods; each method has a record with its own settings."""

    method: str = Field(description="a method by its name")
    mask: MaskConfig = Field(
        None, title="as scene.mask, for the fit only", description=f"for the fit only: {MASK_DESCRIPTION}"
    )

    @property
    def paths(self) -> dict[str, str]:
        """Key of each file that the section names, by its path."""
        return {self.mask.path: "fit.mask"} if self.mask and self.mask.path else {}


class OutputSection(Record):
    """Section `output` without the keys of the other outputs, which have defaults next to `labels`."""

    labels: Name = Field(
        description="the path of the map, a GeoTIFF (.tif) or a Zarr store (.zarr), for example out/classes.tif"
    )
    zarr_format: Literal[2, 3] = Field(
        2, description="the format of a map that is a Zarr store: 2, or 3, which GDAL before 3.11 can't read"
    )
    zarr_overviews: StrictBool = Field(
        False,  # noqa: FBT003
        description="true or false: whether a map that is a Zarr store has overviews, as groups overview_2, overview_4 "
        "and so on; a GeoTIFF always has them",
    )
    palette: Palette = Field(
        "auto",
        description="'auto' (distinct colours, also for the colour-blind), 'natural' (as the classes look in the "
        "picture, moved apart until they can be told apart), the name of a colour map of matplotlib or cmocean "
        "(viridis, tab20, cmo.deep), a list with a colour for each class, such as [[0, 0, 139], '#228b22'], or the "
        "path of a .clr, .qml, .gpl or .txt (GDAL, QGIS) file with a colour for each class",
    )
    rgb: tuple[Band, ...] | None = Field(
        None,
        description="a list of three bands by name, shown in red, green and blue in the picture, such as [nir, red, "
        "green], or of one, shown in grey (default: red, green and blue; if these are not known, the first band in "
        "grey)",
    )
    stretch: PercentileRange = Field(
        (5.0, 95.0),
        description="two percentiles from 0 to 100, such as [2, 98]: the values of a band that are black and white in "
        "the picture",
    )
    title: Annotated[Text, Field(max_length=LONGEST_TITLE)] | None = Field(
        None, description=f"a line of text above the picture, of at most {LONGEST_TITLE} characters"
    )
    picture_size: Annotated[StrictInt, Field(ge=512, le=8192)] = Field(
        2048, description="the longest side of the picture in pixels, at most: 512 to 8192"
    )
    panels: Literal["both", "classes", "scene"] = Field(
        "both", description="'both' (scene and classes side by side), or one alone: 'classes' or 'scene'"
    )

    @field_validator("rgb")
    @classmethod
    def _three_or_one(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None and len(value) not in (1, 3):
            msg = f"{len(value)} bands"
            raise ValueError(msg)
        return value

    @property
    def paths(self) -> dict[str, str]:
        """Key of each input file that the section names, by its path."""
        return {self.palette: "output.palette"} if is_palette_file(self.palette) else {}


class ResourceConfig(Record):
    """Section `run`: workers, cluster, memory, cache and time limit."""

    renamed: ClassVar[Mapping[str, str]] = {"scratch": "cache", "scratch_dir": "cache_dir"}

    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = Field(
        "auto",
        description="'auto' (one per core), or the number of blocks processed at once, 1 to 1024; on a cluster, the "
        "most processes that are used",
    )
    cluster: Name = Field(
        "auto",
        description="where blocks are worked on: 'auto' (on the dask cluster whose client the program has made "
        "current, else on threads), 'none' (threads), 'processes' (on this machine, as many as run.workers says), the "
        "address of a dask scheduler (tcp://host:8786), or the path of its scheduler file",
    )
    memory: Size = Field(
        ByteSize(2 * 10**9),
        description="the memory limit of the run, such as 2GB or 800MB; on a cluster, of each process",
    )
    chunk: Literal["auto"] | Annotated[int, Field(ge=16, le=65536)] = Field(
        "auto",
        description="'auto', or the side of a block in pixels, 16 to 65536, rounded up to whole blocks of the file",
    )
    cache: Literal["auto", "memory", "disk", "none"] = Field(
        "auto",
        description="where decoded pixels are cached between passes: 'disk', 'memory', 'none' (files are read again in "
        "each pass), or 'auto' (on disk, if reading again would cost more); its folder is run.cache_dir",
    )
    cache_dir: Name | None = Field(
        None,
        description="the folder for a cache on disk, which must exist, on a cluster on each worker (default: that "
        "of the map; the worker's own)",
    )
    timeout: Annotated[float, Field(gt=0, le=MAX_TIMEOUT)] = Field(
        DEFAULT_TIMEOUT,
        description="the time limit in seconds for a file on another machine, to open it or to read a block, including "
        f"all retries: a number above 0, up to {MAX_TIMEOUT}",
    )
