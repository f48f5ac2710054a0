"""The YAML config as typed, frozen records. Every mistake in it is found here, before a scene is opened."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import ByteSize, Field, model_validator

from pipeline.config.fields import Bands, Name, Names, Paths, Resampling, Size, Time
from pipeline.config.masks import MASK_WORDS, AreaConfig, MaskConfig
from pipeline.config.mistaken_scene import scene_named_as_config
from pipeline.config.record import Record, parse_record
from pipeline.config.yaml import anchor_paths, merge, override, parse_yaml
from pipeline.core.errors import ConfigError
from pipeline.core.regular_files import read_regular
from pipeline.core.time_limits import DEFAULT_TIMEOUT, MAX_TIMEOUT

MAX_CLASSES: Final = 254
"""Labels are uint8: 0 is nodata, 255 is kept for 'unclassified'."""

_LARGEST_FILE: Final = 2**20
"""Bytes of a config, at most."""

DEFAULT_SAMPLE: Final = 500_000
"""Pixels sampled unless said otherwise."""


class SceneConfig(Record):
    """Which pixels are clustered."""

    source: Paths = Field(
        description="a Sentinel-2 product (.SAFE folder or zip, EOPF Zarr, STAC item; several make one map), a Zarr or "
        "NetCDF store, a raster file or its address, or one file per band: a folder, a glob, or a list of files"
    )
    bands: Bands = Field(
        "auto",
        description="'auto' (the four 10 m bands of a Sentinel-2 product, else all), 'all', or a list of band names "
        "(B04), numbers (4) or common names (red), such as [red, nir]",
    )
    names: Names = Field(
        None,
        description="names for bands that have none: a list, one for each band of the source, such as [blue, green, "
        "red, nir], or a mapping of bands to names, such as {1: blue, 4: nir}",
    )
    nodata: Literal["auto"] | int | float = Field(
        "auto", description="'auto' (what the files say), or the number that marks pixels without data"
    )
    resolution: Literal["auto"] | Annotated[float, Field(gt=0)] = Field(
        "auto",
        description="'auto' (that of the finest band chosen), or the side of the map's pixels in the units of the "
        "scene's CRS, such as 20",
    )
    time: Time | None = Field(
        None,
        description="which time is taken of a Zarr or NetCDF store that holds several: an ISO date or its beginning "
        "(2020-07-11, 2020-07), 'first' or 'last' (the earliest, the latest), or a number from 1, in the store's order",
    )
    resampling: Resampling = Field(
        "nearest",
        description="how bands of other grids come onto the map's, in GDAL's words (nearest, bilinear, cubic, average, "
        "mode, ...), or a mapping of bands to such words, with 'default' for the others",
    )
    mask: MaskConfig = Field(None, description=MASK_WORDS)
    aoi: AreaConfig = Field(
        None,
        description="the area of interest, outside of which there is no data: [west, south, east, north] in degrees, "
        "the path of a vector file, or a mapping: bounds, crs, path",
    )
    crop: Literal["area", "blocks", "none"] = Field(
        "area",
        description="'area' (the map is the box around the area of interest), 'blocks' (the blocks of the file that it "
        "touches), or 'none' (the whole scene, 0 outside of the area)",
    )


class FeaturesConfig(Record):
    """What of the pixels is clustered."""

    scale: Literal["auto", "none"] = Field(
        "auto",
        description="'auto' (by the scale and offset that the product or file states: reflectance), or 'none' (the "
        "stored numbers as they are)",
    )
    standardize: Literal["none", "zscore", "minmax", "robust"] = Field(
        "none",
        description="what bands are divided by before distances are taken: 'none', 'zscore' (their standard "
        "deviation), 'minmax' (their range) or 'robust' (the range of their middle half), of the sampled pixels",
    )


class FitConfig(Record):
    """How the classes are found."""

    method: Literal["kmeans", "minibatch", "dask-ml"] = Field(
        "kmeans", description="'kmeans', 'minibatch' or 'dask-ml'"
    )
    k: int = Field(
        8, ge=2, le=MAX_CLASSES, description=f"the number of classes, a whole number from 2 to {MAX_CLASSES}"
    )
    pixels: Literal["all"] | Annotated[int, Field(ge=1, le=100_000_000)] = Field(
        DEFAULT_SAMPLE,
        description=f"the number of valid pixels sampled for the fit, 1 to 100000000, or 'all' (start from "
        f"{DEFAULT_SAMPLE} sampled ones, then pass over every pixel)",
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="a whole number from 0 to 4294967295")
    starts: int = Field(5, ge=1, le=1000, description="the number of starts of which the best is kept, 1 to 1000")
    max_iter: int = Field(300, ge=1, description="the largest number of iterations of a start, at least 1")
    tol: float = Field(
        1e-4, ge=0, description="a number from 0: stop when centroids move less, relative to the variance of the data"
    )
    mask: MaskConfig = Field(None, description=f"for the fit alone: {MASK_WORDS}")

    @model_validator(mode="after")
    def _enough_pixels(self) -> Self:
        """Refuse a sample that has fewer pixels than there are to be classes."""
        if self.sampled < self.k:
            msg = f"{self.sampled} sampled pixels are too few for {self.k} classes; raise fit.pixels, or lower fit.k"
            raise ValueError(msg)
        return self

    @property
    def sampled(self) -> int:
        """How many pixels are sampled, if the scene has so many."""
        return DEFAULT_SAMPLE if self.pixels == "all" else self.pixels


class OutputConfig(Record):
    """Where the results go. All but `labels` stand beside it unless said otherwise."""

    labels: Name = Field(description="the path of the map, a GeoTIFF, for example out/classes.tif")
    model: Name | None = Field(None, description="the path of the model (default: <labels>.model.json)")
    table: Name | None = Field(None, description="the path of the table of classes (default: <labels>.csv)")
    picture: Name | None = Field(None, description="the path of the picture (default: <labels>_quicklook.png)")
    report: Name | None = Field(None, description="the path of the run's report (default: <labels>.run.json)")
    palette: str = Field(
        "auto", min_length=1, description="'auto' (told apart by the colour-blind), or a matplotlib colour map's name"
    )


class ResourceConfig(Record):
    """What the machine may be asked for."""

    renamed: ClassVar[Mapping[str, str]] = {"scratch": "cache", "scratch_dir": "cache_dir"}

    workers: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = Field(
        "auto", description="'auto' (one for each core), or the number of blocks worked on at once, 1 to 1024"
    )
    memory: Size = Field(
        ByteSize(2 * 10**9), gt=0, description="the most memory the run may take, such as 2GB or 800MB"
    )
    chunk: Literal["auto"] | Annotated[int, Field(ge=16, le=65536)] = Field(
        "auto",
        description="'auto', or the side of a block in pixels, 16 to 65536, rounded up to whole blocks of the file",
    )
    cache: Literal["auto", "memory", "disk", "none"] = Field(
        "auto",
        description="where decoded pixels are kept between passes: 'disk', 'memory', 'none' (files are read again for "
        "each pass), or 'auto' (on disk, where reading again would cost more); its folder is run.cache_dir",
    )
    cache_dir: Name | None = Field(
        None, description="the folder for a cache on disk, which must exist (default: that of the map)"
    )
    timeout: Annotated[float, Field(gt=0, le=MAX_TIMEOUT)] = Field(
        DEFAULT_TIMEOUT,
        description="the most seconds that a file on another machine may take to open, or to read for a block, all "
        f"retries together: a number above 0, up to {MAX_TIMEOUT}",
    )


class RunConfig(Record):
    """A whole run: version 1 of the config."""

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
    """What is said where a model is there already."""

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
        A YAML file. Relative paths in it are relative to its folder.
    overrides : iterable of str
        Settings such as `fit.k=12`, applied on top, the value read as YAML. Relative paths in them are
        relative to the current folder, as anything typed into a shell is.

    Raises
    ------
    ConfigError
        When the file can't be read, is not plain YAML, or holds a mistake.
    """
    path = Path(path)
    if mistaken := scene_named_as_config(path):
        raise ConfigError(mistaken)
    try:
        text = read_regular(path, _LARGEST_FILE).decode()
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
    """Say by what is typed into a shell which scene a model is used on, and what that may take.

    Parameters
    ----------
    source : sequence of str
        Files, folders, globs, or one product.
    resources : mapping
        Settings of `run`, by their names.
    overrides : iterable of str
        Settings such as `scene.mask=scl` or `run.cache_dir=/fast`.

    Raises
    ------
    ConfigError
        When a setting is neither the scene's nor the run's, not allowed, or the model's to say.
    """
    settings: dict[str, Any] = {"scene": {"source": list(source)}, "run": dict(resources)}
    for setting in overrides:
        changed = override(setting)
        if not set(changed) <= set(settings):
            msg = f"--set {setting}: only scene.* and run.* can be set here; the rest is the model's"
            raise ConfigError(msg)
        if "bands" in (changed.get("scene") or ()):
            msg = f"--set {setting}: bands are those of the model; leave it out"
            raise ConfigError(msg)
        settings = merge(settings, changed)
    return parse_record(PredictConfig, settings, "predict")


def config_schema() -> dict[str, Any]:
    """Describe the config as a JSON Schema, for editors."""
    schema = RunConfig.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Terrazzo run config"}
