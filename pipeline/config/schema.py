"""The YAML config as typed, frozen records: loading, overrides, JSON Schema. Mistakes are found before files open."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import ByteSize, Field, model_validator

from pipeline.config.fields import Bands, Name, Names, Paths, Resampling, Size, Time
from pipeline.config.masks import MASK_DESCRIPTION, AreaConfig, MaskConfig
from pipeline.config.mistaken_scene import scene_named_as_config
from pipeline.config.record import Record, parse_record
from pipeline.config.yaml import anchor_paths, merge, override, parse_yaml
from pipeline.core.errors import ConfigError
from pipeline.core.regular_files import read_regular
from pipeline.core.timeouts import DEFAULT_TIMEOUT, MAX_TIMEOUT

MAX_CLASSES: Final = 254
"""Largest number of classes: labels are uint8, 0 is nodata, 255 is reserved for 'unclassified'."""

_MAX_FILE_BYTES: Final = 2**20
"""Largest size of a config file, in bytes."""

DEFAULT_SAMPLE: Final = 500_000
"""Default number of sampled pixels (`fit.pixels`)."""


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


class FeaturesConfig(Record):
    """Section `features`: how band values are scaled before clustering."""

    scale: Literal["auto", "none"] = Field(
        "auto",
        description="'auto' (apply the scale and offset that the product or file states, for example to reflectance), "
        "or 'none' (use the stored numbers)",
    )
    standardize: Literal["none", "zscore", "minmax", "robust"] = Field(
        "none",
        description="the spread by which bands are divided before distances are computed: 'none', 'zscore' (standard "
        "deviation), 'minmax' (range) or 'robust' (interquartile range), each over the sampled pixels",
    )


class FitConfig(Record):
    """Section `fit`: method, number of classes, sampling and stopping rules."""

    method: Literal["kmeans", "minibatch", "dask-ml"] = Field(
        "kmeans", description="'kmeans', 'minibatch' or 'dask-ml'"
    )
    k: int = Field(
        8, ge=2, le=MAX_CLASSES, description=f"the number of classes, a whole number from 2 to {MAX_CLASSES}"
    )
    pixels: Literal["all"] | Annotated[int, Field(ge=1, le=100_000_000)] = Field(
        DEFAULT_SAMPLE,
        description="the number of valid pixels sampled for the fit, 1 to 100000000, or 'all' (start from "
        f"{DEFAULT_SAMPLE} sampled ones, then pass over every pixel)",
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="the random seed, a whole number from 0 to 4294967295")
    starts: int = Field(5, ge=1, le=1000, description="the number of starts, 1 to 1000; the best one is used")
    max_iter: int = Field(300, ge=1, description="the largest number of iterations per start, at least 1")
    tol: float = Field(
        1e-4,
        ge=0,
        description="a number from 0: stop when centroids move less than this, relative to the variance of the data",
    )
    mask: MaskConfig = Field(None, description=f"for the fit only: {MASK_DESCRIPTION}")

    @model_validator(mode="after")
    def _enough_pixels(self) -> Self:
        """Refuse a sample with fewer pixels than classes."""
        if self.sampled < self.k:
            msg = f"{self.sampled} sampled pixels are too few for {self.k} classes; raise fit.pixels, or lower fit.k"
            raise ValueError(msg)
        return self

    @property
    def sampled(self) -> int:
        """Number of pixels to sample, if the scene has as many valid ones."""
        return DEFAULT_SAMPLE if self.pixels == "all" else self.pixels


class OutputConfig(Record):
    """Section `output`: paths of the results. By default all are next to `labels`, with names derived from it."""

    labels: Name = Field(description="the path of the map, a GeoTIFF, for example out/classes.tif")
    model: Name | None = Field(
        None, description="the path of the model (default: <labels>.model.json), or 'none' to leave it out"
    )
    table: Name | None = Field(
        None, description="the path of the table of classes (default: <labels>.csv), or 'none' to leave it out"
    )
    picture: Name | None = Field(
        None, description="the path of the picture (default: <labels>_quicklook.png), or 'none' to leave it out"
    )
    report: Name | None = Field(
        None, description="the path of the report (default: <labels>.run.json), or 'none' to leave it out"
    )
    palette: str = Field(
        "auto",
        min_length=1,
        description="'auto' (distinct colours, also for the colour-blind), or a matplotlib colour map's name",
    )


class ResourceConfig(Record):
    """Section `run`: workers, memory, cache and time limit."""

    renamed: ClassVar[Mapping[str, str]] = {"scratch": "cache", "scratch_dir": "cache_dir"}

    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = Field(
        "auto", description="'auto' (one per core), or the number of blocks processed at once, 1 to 1024"
    )
    memory: Size = Field(ByteSize(2 * 10**9), gt=0, description="the memory limit of the run, such as 2GB or 800MB")
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
        None, description="the folder for a cache on disk, which must exist (default: that of the map)"
    )
    timeout: Annotated[float, Field(gt=0, le=MAX_TIMEOUT)] = Field(
        DEFAULT_TIMEOUT,
        description="the time limit in seconds for a file on another machine, to open it or to read a block, including "
        f"all retries: a number above 0, up to {MAX_TIMEOUT}",
    )


class RunConfig(Record):
    """Config of a run, version 1."""

    version: Literal[1] = Field(description="1, the version of this config format")
    scene: SceneConfig = Field(
        description="a mapping: source, bands, names, nodata, resolution, time, resampling, mask, aoi, crop"
    )
    features: FeaturesConfig = Field(default=FeaturesConfig(), description="a mapping: scale, standardize")
    fit: FitConfig = Field(
        default=FitConfig(), description="a mapping: method, k, pixels, seed, starts, max_iter, tol, mask"
    )
    output: OutputConfig = Field(description="a mapping: labels, model, table, picture, report, palette")
    run: ResourceConfig = Field(
        default=ResourceConfig(), description="a mapping: workers, memory, chunk, cache, cache_dir, timeout"
    )


class PredictConfig(Record):
    """Settings of `terrazzo predict`, which uses an existing model."""

    scene: SceneConfig = Field(
        description="a mapping: source, names, nodata, resolution, time, resampling, mask, aoi, crop"
    )
    run: ResourceConfig = Field(
        default=ResourceConfig(), description="a mapping: workers, memory, chunk, cache, cache_dir, timeout"
    )


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a config file.

    Parameters
    ----------
    path : str or Path
        Path of a YAML file. Relative paths in it are relative to its folder.
    overrides : iterable of str
        Settings such as `fit.k=12`, which replace those of the file; the value is parsed as YAML. Relative paths in
        them are relative to the current folder.

    Raises
    ------
    ConfigError
        If the file can't be read, is not plain YAML, or is not a valid config.
    """
    path = Path(path)
    if message := scene_named_as_config(path):
        raise ConfigError(message)
    try:
        text = read_regular(path, _MAX_FILE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        msg = f"{path}: the config can't be read: {reason}"
        raise ConfigError(msg) from error
    settings = parse_yaml(text, str(path))
    if isinstance(settings, dict):
        settings = anchor_paths(settings, path.absolute().parent)
        for setting in overrides:
            settings = merge(settings, override(setting))
    return parse_record(RunConfig, settings, str(path))


def load_prediction(
    source: Sequence[str], resources: Mapping[str, str], overrides: Iterable[str] = ()
) -> PredictConfig:
    """Build the settings of `terrazzo predict` from command line arguments.

    Parameters
    ----------
    source : sequence of str
        Paths of files or folders, globs, or one product.
    resources : mapping
        Settings of section `run` by key.
    overrides : iterable of str
        Settings such as `scene.mask=scl` or `run.cache_dir=/fast`.

    Raises
    ------
    ConfigError
        If a setting is not valid, is not one of `scene` or `run`, or is defined by the model.
    """
    settings: dict[str, Any] = {"scene": {"source": list(source)}, "run": dict(resources)}
    for setting in overrides:
        changed = override(setting)
        if not set(changed) <= set(settings):
            msg = f"--set {setting}: only scene.* and run.* can be set here; all other settings come from the model"
            raise ConfigError(msg)
        if "bands" in (changed.get("scene") or ()):
            msg = f"--set {setting}: the bands are defined by the model; leave this setting out"
            raise ConfigError(msg)
        settings = merge(settings, changed)
    return parse_record(PredictConfig, settings, "predict")


def config_schema() -> dict[str, Any]:
    """JSON Schema of the config, for editors."""
    schema = RunConfig.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Terrazzo run config"}
