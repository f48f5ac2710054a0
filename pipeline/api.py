"""The Python front door: lazy xarray in and out."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import dask
import numpy as np
import numpy.typing as npt
import xarray as xr

from pipeline.config import FeaturesConfig, FitConfig, ResourceConfig, SceneConfig
from pipeline.errors import ConfigError
from pipeline.fitting.fit import fit_source
from pipeline.grid import Block
from pipeline.mapping import map_tags
from pipeline.model import ClusterModel
from pipeline.plan import chunk_shapes
from pipeline.record import parse_record
from pipeline.runtime.progress import Progress
from pipeline.runtime.schedule import count_workers, stream
from pipeline.runtime.scratch import open_scratch
from pipeline.scenes.crop import cropped
from pipeline.scenes.keptblocks import KeptBlocks, ReadBlocks
from pipeline.scenes.lazy import ArraySource, blocks_of, grid_of, to_dataarray
from pipeline.scenes.mosaic import open_source
from pipeline.scenes.opening import describe_scene
from pipeline.scenes.source import FitSource
from pipeline.sinks.geotiff import MapWriter
from pipeline.sinks.palette import class_colours
from pipeline.sinks.staging import Staging


def open_scene(
    source: str | Path | Sequence[str | Path],
    bands: Sequence[str | int] | str = "auto",
    nodata: str | float = "auto",
    chunk: int | str = "auto",
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
    **placing
        As in the config's `scene`: resolution, resampling, mask, aoi, crop.

    Returns
    -------
    DataArray (band, y, x)
        In the files' dtype, with coordinates `band`, `y`, `x`, `spatial_ref` and, lazy, `valid` (y, x): True
        where every band holds data.

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
    scene = describe_scene(parse_record(SceneConfig, asked, "open_scene"))
    side = parse_record(ResourceConfig, {"chunk": chunk}, "open_scene").chunk
    shape = (side, side) if isinstance(side, int) else chunk_shapes(scene.info)[0]
    return to_dataarray(cropped(open_source(scene, shape)))


def fit(
    scene: xr.DataArray,
    k: int = 8,
    *,
    workers: int | str = "auto",
    scale: str = "auto",
    standardize: str = "none",
    scratch_dir: str | Path | None = None,
    **settings: Any,
) -> ClusterModel:
    """Find the classes of a scene by k-means, on a sample of its valid pixels or all of them.

    The scene is read once, but by mini-batches over all pixels once more.

    Parameters
    ----------
    scene : DataArray (band, y, x)
        From `open_scene`, or any other; nodata is what its `valid` coordinate says, else rioxarray's nodata
        value, and NaN.
    k : int
        Number of classes, 2 to 254.
    workers : 'auto' or int
        Blocks worked on at once; 'auto' is one for each core.
    scale : 'auto' or 'none'
        'auto' clusters what the scene's coordinates `scale` and `offset` make of its numbers, where `open_scene`
        found any (reflectance); 'none' the numbers as they are.
    standardize : 'none', 'zscore', 'minmax' or 'robust'
        What bands are divided by before distances are taken.
    scratch_dir : str or Path, optional
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
    source = ArraySource(scene.assign_attrs(quantity="numbers") if features.scale == "none" else scene)
    with ExitStack() as context:
        pixels: FitSource = source
        if config.pixels == "all" and config.method == "minibatch":
            pixels = ReadBlocks(source)
        elif config.pixels == "all":
            kind: Literal["memory", "disk"] = "memory" if scratch_dir is None else "disk"
            pixels = KeptBlocks(source, context.enter_context(open_scratch(kind, Path(scratch_dir or "."))))
        return fit_source(pixels, config, features, workers=count_workers(workers), progress=Progress()).model


def write(
    labels: xr.DataArray,
    path: str | Path,
    *,
    overwrite: bool = False,
    palette: str = "auto",
    workers: int | str = "auto",
) -> Path:
    """Compute labels chunk by chunk and write them as a Cloud-Optimized GeoTIFF.

    Parameters
    ----------
    labels : DataArray (y, x) of uint8
        From `label`.
    path : str or Path
        The map. It appears when it is whole.
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
    if labels.dims != ("y", "x") or labels.dtype != np.uint8 or "k" not in labels.attrs:
        msg = f"write: expected labels from label(), uint8 (y, x), not {labels.dtype} {labels.dims}"
        raise ConfigError(msg)
    chunked = labels if labels.chunks else labels.chunk({"y": 1024, "x": 1024})
    colours, target = class_colours(int(labels.attrs["k"]), palette), Path(path)
    tags, threads = map_tags(str(labels.attrs.get("model", ""))), count_workers(workers)

    def compute(block: Block) -> npt.NDArray[np.uint8]:
        (part,) = dask.compute(chunked.data[block.slices], scheduler="synchronous")
        return np.asarray(part, np.uint8)

    with (
        Staging([target], overwrite=overwrite) as staging,
        MapWriter(staging.path(target), grid_of(chunked), colours, tags, threads) as writer,
    ):
        for block, part in stream(compute, blocks_of(chunked), threads):
            writer.write(part, block)
        writer.finish()
    return target
