"""The Python front door: lazy xarray in and out."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr

from pipeline.config.arguments import name_arguments_in_messages
from pipeline.config.record import parse_record
from pipeline.config.schema import MAX_CLASSES, FeaturesConfig, FitConfig, ResourceConfig, SceneConfig
from pipeline.core.errors import ConfigError
from pipeline.core.grid import Block
from pipeline.core.pixels import FitSource
from pipeline.core.time_limits import DEFAULT_TIMEOUT
from pipeline.dataarrays.computing import Computer
from pipeline.dataarrays.dimensions import to_planes
from pipeline.dataarrays.grids import grid_of
from pipeline.dataarrays.lazy import to_dataarray
from pipeline.dataarrays.source import ArraySource, blocks_of, lazy_data
from pipeline.engine.cache import open_cache
from pipeline.engine.deadline import time_limit
from pipeline.engine.progress import Progress
from pipeline.engine.threads import count_workers, stream
from pipeline.jobs.map import map_tags
from pipeline.jobs.plan import chunk_shapes
from pipeline.methods.fit import fit_source
from pipeline.models.cluster_model import ClusterModel
from pipeline.pixels.pieces import CachedPieces, UncachedPieces
from pipeline.scenes.crop import cropped
from pipeline.scenes.describe_scene import describe_scene
from pipeline.scenes.mosaic import open_source
from pipeline.sinks.geotiff import MapWriter
from pipeline.sinks.palette import class_colours
from pipeline.sinks.staging import Staging


@name_arguments_in_messages("scene", "run")
def open_scene(
    source: str | Path | Sequence[str | Path],
    bands: Sequence[str | int] | str = "auto",
    nodata: str | float = "auto",
    chunk: int | str = "auto",
    timeout: float = DEFAULT_TIMEOUT,
    **placing: Any,
) -> xr.DataArray:
    """Open a scene lazily: only metadata is read.

    Parameters
    ----------
    source : str, Path or sequence of them
        A Sentinel-2 product (SAFE folder or zip, EOPF Zarr, STAC item by file or address), a Zarr or NetCDF store, a
        raster that GDAL opens, or one file for each band: a list, a glob, a folder. Of several products each pixel
        comes from the first that holds data there.
    bands : sequence of str or int, 'all' or 'auto'
        Bands to keep, in this order: names (B04), numbers, common names (red); 'auto' is the four 10 m bands of a
        Sentinel-2 product, and all of anything else.
    nodata : 'auto' or float
        What marks pixels without data; 'auto' takes what the files say.
    chunk : 'auto' or int
        Side of a chunk in pixels; 'auto' takes whole blocks of the file.
    timeout : float
        The most seconds that a file on another machine may take to open, and later to read for a chunk.
    **placing
        As in the config's `scene`: resolution, time, resampling, mask, aoi, crop.

    Returns
    -------
    DataArray (band, y, x)
        In the files' dtype, with coordinates `band`, `y`, `x`, `spatial_ref` and, lazy, `valid` (y, x): True
        where every band holds data. It can be pickled, computed by any dask scheduler, and saved: its place goes
        into the files. What xarray makes of it by arithmetic, `coarsen`, `pad` and the like is a scene, too.

    Raises
    ------
    SceneError, ConfigError
        When the files can't be opened or stacked, or have no such band.
    """
    asked = {
        "source": [str(source)] if isinstance(source, str | Path) else [str(file) for file in source],
        "bands": [bands] if isinstance(bands, str) and bands not in {"auto", "all"} else bands,
        "nodata": nodata,
        **placing,
    }
    resources = parse_record(ResourceConfig, {"chunk": chunk, "timeout": timeout}, "open_scene")
    with time_limit(resources.timeout):
        scene = describe_scene(parse_record(SceneConfig, asked, "open_scene"))
        side = resources.chunk
        shape = (side, side) if isinstance(side, int) else chunk_shapes(scene.info)[0]
        return to_dataarray(cropped(open_source(scene, shape)))


@name_arguments_in_messages("fit", "features", "run")
def fit(
    scene: xr.DataArray | xr.Dataset,
    k: int = 8,
    *,
    workers: int | str = "auto",
    scale: str = "auto",
    standardize: str = "none",
    cache_dir: str | Path | None = None,
    **settings: Any,
) -> ClusterModel:
    """Find the classes of a scene by k-means, on a sample of its valid pixels or all of them.

    The scene is read once, but by mini-batches over all pixels once more.

    Parameters
    ----------
    scene : DataArray (band, y, x), or Dataset of bands
        From `open_scene`, rioxarray, odc-stac, stackstac or any other. Dimensions may have any order; rows and columns
        are also known as latitude and longitude or by CF attributes, the band dimension by any name; a time of length
        1 is dropped. Of a Dataset the variables of one grid and type are the bands. Nodata is what the coordinate
        `valid` says (True or 1 is valid; anything less, or NaN, is not), else rioxarray's nodata value, and NaN.
        Where a dask client, `dask.config` or a context names a scheduler, that computes the blocks, a few at a time;
        else own threads do.
    k : int
        Number of classes, 2 to 254.
    workers : 'auto' or int
        Blocks worked on at once; 'auto' is one for each core.
    scale : 'auto' or 'none'
        'auto' clusters what the scene's coordinates `scale` and `offset` make of its numbers, where `open_scene`
        found any (reflectance); 'none' the numbers as they are.
    standardize : 'none', 'zscore', 'minmax' or 'robust'
        What bands are divided by before distances are taken.
    cache_dir : str or Path, optional
        Where `pixels="all"` keeps the pixels between passes: a folder. Unless one is named they are kept in memory,
        all of them, but for mini-batches.
    **settings
        As in the config's `fit`: method, pixels, seed, starts, max_iter, tol.

    Returns
    -------
    ClusterModel
        The same for any chunks and any number of workers, but for the last digits of dask-ml.

    Raises
    ------
    ConfigError
        When a setting is not allowed.
    SceneError, FitError
        When no pixel is valid, a block can't be read, or there are fewer distinct pixels than classes.
    """
    config = parse_record(FitConfig, {"k": k, **settings}, "fit")
    if config.mask is not None:
        msg = "fit: mask: masks are open_scene's; for the fit alone, narrow the scene's `valid` coordinate"
        raise ConfigError(msg)
    features = parse_record(FeaturesConfig, {"scale": scale, "standardize": standardize}, "fit")
    source = ArraySource(scene, scaled=features.scale != "none")
    with ExitStack() as context:
        pixels: FitSource = source
        if config.pixels == "all" and config.method == "minibatch":
            pixels = UncachedPieces(source)
        elif config.pixels == "all":
            kind: Literal["memory", "disk"] = "memory" if cache_dir is None else "disk"
            pixels = CachedPieces(source, context.enter_context(open_cache(kind, Path(cache_dir or "."))))
        return fit_source(pixels, config, features, workers=count_workers(workers), progress=Progress()).model


@name_arguments_in_messages("output")
def write(
    labels: xr.DataArray,
    path: str | Path,
    *,
    k: int | None = None,
    overwrite: bool = False,
    palette: str = "auto",
    workers: int | str = "auto",
) -> Path:
    """Compute labels chunk by chunk and write them as a Cloud-Optimized GeoTIFF.

    Parameters
    ----------
    labels : DataArray (y, x) of uint8
        From `label`; also read back from a file, or changed, as long as they are uint8. They are computed as `fit`
        says of scenes.
    path : str or Path
        The map. It appears when it is whole.
    k : int, optional
        Number of classes, where the labels have lost their attribute `k`; they may hold 0 (no data) to k.
    overwrite : bool
        Whether a file of this name may be replaced.
    palette : str
        'auto', or the name of a matplotlib colour map.
    workers : 'auto' or int
        Chunks worked on at once; 'auto' is one for each core.

    Returns
    -------
    Path
        The map.

    Raises
    ------
    ConfigError
        When these are not labels.
    OutputError
        When the file exists already or can't be written.
    """
    array = _check_labels(labels)
    classes = _count_classes(labels, k)
    data, target, compute = lazy_data(array), Path(path), Computer.in_force()
    colours = class_colours(classes, palette)
    tags, threads = map_tags(str(labels.attrs.get("model", ""))), count_workers(workers)

    def labels_of(block: Block) -> npt.NDArray[np.uint8]:
        (part,) = compute(data[block.slices])
        if part.max() > classes:
            msg = f"write: the labels hold {part.max()} at {block}, but k is {classes}; give the largest there is as k"
            raise ConfigError(msg)
        return np.asarray(part, np.uint8)

    with (
        Staging([target], overwrite=overwrite) as staging,
        MapWriter(staging.path(target), grid_of(labels), colours, tags, threads) as writer,
    ):
        for block, part in stream(labels_of, blocks_of(data), threads):
            writer.write(part, block)
        writer.finish()
    return target


def _check_labels(labels: Any) -> xr.DataArray:
    """Labels in the order (rows, columns).

    Raises
    ------
    ConfigError
        Saying what is expected, when they are something else.
    """
    expected = "write: expected labels from label(), uint8 (y, x)"
    if isinstance(labels, xr.Dataset):
        listed = ", ".join(map(str, labels.data_vars)) or "nothing"
        msg = f"{expected}, not a Dataset of {listed}; take one of its variables, as by dataset['class']"
        raise ConfigError(msg)
    if not isinstance(labels, xr.DataArray):
        msg = (
            f"{expected}, not {'None' if labels is None else 'a ' + type(labels).__name__}; wrap an array as "
            "xr.DataArray(array, dims=('y', 'x'), coords={'y': ..., 'x': ...}), and give k"
        )
        raise ConfigError(msg)
    planes, _ = to_planes(labels, "write: what was given for labels")
    if planes.shape[0] != 1 or labels.dtype != np.uint8:
        fix = "; make them uint8 again: labels.fillna(0).astype('uint8')" if planes.shape[0] == 1 else ""
        msg = f"{expected}, not {labels.dtype} {labels.dims}{fix}"
        raise ConfigError(msg)
    return planes[0]


def _count_classes(labels: xr.DataArray, k: int | None) -> int:
    """How many classes labels have: as told, else as their attribute says.

    Raises
    ------
    ConfigError
        When nothing tells, or it is not allowed.
    """
    stated = labels.attrs.get("k") if k is None else k
    if stated is None:
        msg = (
            "write: the labels have lost their attribute k, the number of classes, as xarray's arithmetic drops "
            "attributes; give it, as by k=8, or keep them: xr.set_options(keep_attrs=True)"
        )
        raise ConfigError(msg)
    if not isinstance(stated, int | np.integer) or isinstance(stated, bool) or not 1 <= stated <= MAX_CLASSES:
        allowed = f"the number of classes, a whole number from 1 to {MAX_CLASSES}"
        msg = f"write: k: {stated!r} is not allowed; expected {allowed}"
        raise ConfigError(msg)
    return int(stated)
