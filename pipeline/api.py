"""The Python functions: open a scene as a lazy DataArray, fit a model, write labels."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from pipeline.config.argument_messages import check_argument, name_arguments_in_messages
from pipeline.config.fields import ResamplingMethod
from pipeline.config.record import parse_record
from pipeline.config.schema import FeaturesConfig, OutputSection, ResourceConfig, SceneConfig, Standardize
from pipeline.core.errors import ConfigError
from pipeline.core.grid import Block
from pipeline.core.text import kind_words
from pipeline.core.timeouts import DEFAULT_TIMEOUT
from pipeline.dataarrays.computing import Computer
from pipeline.dataarrays.dimensions import to_planes
from pipeline.dataarrays.grids import grid_of
from pipeline.dataarrays.lazy import to_dataarray
from pipeline.dataarrays.source import ArraySource, lazy_data
from pipeline.engine.executor import count_workers
from pipeline.engine.progress import Progress, progress_of
from pipeline.engine.time_limits import time_limit
from pipeline.jobs.arrays import compute_labels, fit_arrays
from pipeline.jobs.config import FIT
from pipeline.jobs.plan import chunk_shapes
from pipeline.jobs.write_labels import files_of_map, write_labels
from pipeline.labels.classify import Labels
from pipeline.labels.flags import Flags
from pipeline.labels.lazy import source_files
from pipeline.methods.settings import MAX_CLASSES
from pipeline.models.base import ClusterModel
from pipeline.models.classes import UNCLASSIFIED
from pipeline.pixels.table import PixelTable
from pipeline.scenes.crop import cropped
from pipeline.scenes.mosaic_source import open_source
from pipeline.scenes.open import open_scene_config
from pipeline.sinks.geotiff import map_tags
from pipeline.sinks.palette import class_colours
from pipeline.sinks.registry import open_map
from pipeline.sinks.staging import keep_apart
from pipeline.sinks.zarr_layout import MapDescription


@name_arguments_in_messages("scene", "run")
def open_scene(
    source: str | Path | Sequence[str | Path],
    bands: Sequence[str | int] | str = "auto",
    nodata: float | Literal["auto"] = "auto",
    chunk: int | Literal["auto"] = "auto",
    timeout: float = DEFAULT_TIMEOUT,
    *,
    names: Sequence[str] | Mapping[str | int, str] | None = None,
    resolution: float | Literal["auto"] = "auto",
    time: str | int | date | np.datetime64 | None = None,
    date: str | date | None = None,
    resampling: ResamplingMethod | Mapping[str, ResamplingMethod] = "nearest",
    mask: str | Mapping[str, Any] | None = None,
    aoi: Sequence[float] | str | Mapping[str, Any] | None = None,
    crop: Literal["area", "blocks", "none"] = "area",
) -> xr.DataArray:
    """Open a scene as a lazy DataArray; only metadata is read.

    Parameters
    ----------
    source : str, Path or sequence of them
        A Sentinel-2 product (SAFE folder or zip, EOPF Zarr, STAC item by path or URL), a Zarr or NetCDF store, a
        raster that GDAL opens, or one file per band: a list, a glob, a folder. If several products overlap, each
        pixel is taken from the first one in which it is valid.
    bands : sequence of str or int, 'all' or 'auto', default 'auto'
        Bands to read, in this order: names (B04), numbers from 1, or common names (red). 'auto' is the four 10 m
        bands of a Sentinel-2 product, and all bands of anything else.
    nodata : 'auto' or float, default 'auto'
        Value of pixels without data; 'auto' uses the nodata value of the files.
    chunk : 'auto' or int, default 'auto'
        Side of a chunk in pixels, 16 to 65536; 'auto' uses whole blocks of the file.
    timeout : float, default 120
        Time limit in seconds for opening a remote file, and later for reading each chunk.
    names : sequence of str, or mapping of bands to str, optional
        Names for bands that have none: one per band of the source, or new names by band.
    resolution : 'auto' or float, default 'auto'
        Pixel size in units of the scene's CRS; 'auto' uses that of the finest band requested.
    time : str, int, date or datetime64, optional
        Time to read from a store with several: an ISO date or its beginning ('2020-07'), 'first', 'last', or a number
        from 1 in the store's order.
    date : str or date, optional
        Date of acquisition, if the files state none or a wrong one: an ISO date, a time, or a period
        ('2025-06-01/2025-08-31').
    resampling : str, or mapping of bands to str, default 'nearest'
        GDAL's resampling method ('nearest', 'bilinear', 'cubic', 'average', ...) for bands on other grids, or one
        method per band, with 'default' for the others.
    mask : str or mapping, optional
        Pixels to leave out: by a mask layer of the product ('scl', 'qa_pixel', 'fmask', ...); by the path of a raster,
        whose pixels other than 0 are kept, or of a vector file, whose inside is kept; or a mapping with the keys of
        `scene.mask` in the config.
    aoi : sequence of four floats, str or mapping, optional
        Area of interest: (west, south, east, north) in degrees, the path of a vector file, or a mapping with the keys
        `bounds`, `crs`, `path`. Pixels outside are not valid.
    crop : 'area', 'blocks' or 'none', default 'area'
        Extent of a scene with an area of interest: its bounding box, the blocks of the file that it touches, or the
        whole scene.

    Returns
    -------
    DataArray (band, y, x)
        In the dtype of the files, with coordinates `band`, `y`, `x`, `spatial_ref` and a lazy coordinate `valid`
        (y, x): True where every band is valid. The attribute `acquired` is its date, if that is known. It can be
        pickled, computed by any dask scheduler, and saved with its georeference. Results of xarray's arithmetic,
        `coarsen`, `pad` and the like can be used as scenes, too.

    Raises
    ------
    ConfigError
        If an argument is not allowed, or a requested band does not exist.
    SceneError
        If the files can't be opened or combined.
    """
    settings = {
        "source": [str(source)] if isinstance(source, str | Path) else [str(file) for file in source],
        "bands": [bands] if isinstance(bands, str) and bands not in {"auto", "all"} else bands,
        "nodata": nodata,
        "names": names,
        "resolution": resolution,
        "time": time,
        "date": date,
        "resampling": resampling,
        "mask": mask,
        "aoi": aoi,
        "crop": crop,
    }
    resources = parse_record(ResourceConfig, {"chunk": chunk, "timeout": timeout}, "open_scene")
    with time_limit(resources.timeout):
        scene = open_scene_config(parse_record(SceneConfig, settings, "open_scene"))
        side = resources.chunk
        shape = (side, side) if isinstance(side, int) else chunk_shapes(scene.info)[0]
        return to_dataarray(cropped(open_source(scene, shape)))


@name_arguments_in_messages("fit", "features", "run")
def fit(
    scene: xr.DataArray | xr.Dataset | PixelTable,
    k: int | None = None,
    *,
    method: str = "kmeans",
    pixels: int | str | None = None,
    seed: int = 0,
    stratify: Literal["none", "blocks"] | None = None,
    starts: int | None = None,
    init: str | Path | Sequence[Sequence[float]] | np.ndarray | ClusterModel | None = None,
    max_iter: int | None = None,
    tol: float | None = None,
    ridge: float | None = None,
    covariance: Literal["full", "diag"] | None = None,
    steps: int | None = None,
    scale: Literal["auto", "none"] = "auto",
    standardize: Standardize | Mapping[str, Sequence[float]] = "clip",
    min_size: int | str | None = None,
    weights: Mapping[str, float] | None = None,
    indices: Sequence[str] = (),
    assume: Literal["stated", "reflectance"] = "stated",
    bins: int | None = None,
    by: Literal["equal", "quantile", "natural"] | None = None,
    edges: Sequence[float] | None = None,
    outside: Literal["unclassified", "extend", "nodata"] | None = None,
    k_min: int | None = None,
    k_max: int | None = None,
    max_std: float | Literal["auto"] | None = None,
    min_distance: float | Literal["auto"] | None = None,
    estimator: str | None = None,
    options: Mapping[str, Any] | None = None,
    smooth: int | None = None,
    unit_norm: bool = False,
    pca: float | None = None,
    texture: Mapping[str, Any] | None = None,
    workers: int | Literal["auto"] = "auto",
    cache_dir: str | Path | None = None,
    progress: bool | Progress = False,
) -> ClusterModel:
    """Find the classes of a scene by k-means or another method, on a sample of its valid pixels or on all of them.

    The scene is read once; twice with `method="minibatch"` and `pixels="all"`, and with `method="histogram"`.
    An argument of another method is an error. None is the default of the method, which is said here.

    Parameters
    ----------
    scene : DataArray (band, y, x), or Dataset with a variable per band
        From `open_scene`, rioxarray, odc-stac, stackstac or any other library (for arrays of samples there is
        `ClusterEstimator`). Dimensions may have any order; rows and columns are also recognized as latitude and
        longitude or by CF attributes, the band dimension may have any name, and a time dimension of length 1 is
        dropped. In a Dataset, the variables that share a grid and a dtype are the bands.
        A pixel is valid unless its coordinate `valid` is False, less than 1 or NaN, or a band has the nodata value
        (that of rioxarray and of the attributes) or NaN there. To fit on a part of the scene, set `valid` to False
        elsewhere.
        With a dask client in force (none is started), blocks of lazy and of persisted arrays are computed and worked on
        by the workers of its cluster, and only the sample comes here. Otherwise blocks are computed by the scheduler of
        `dask.config` or a context, a few at a time, or else by threads of this function; they are worked on here. So
        are the blocks of arrays in memory, which would have to be sent, and `method="minibatch"` over all pixels, whose
        batches depend on each other.
    k : int, optional
        Number of classes of k-means, Gaussian mixtures, and estimators of scikit-learn that take it, 2 to 254; by
        default 8, or as many as `init` has if that is a model or an array.
    method : str, default 'kmeans'
        'kmeans'; 'minibatch', 'dask-ml': other k-means; 'gmm': Gaussian mixture; 'isodata' splits, merges and drops
        classes; 'sklearn' is any clusterer of scikit-learn. Of one band: 'histogram' counts all valid pixels and makes
        bins of their values; 'ranges' takes the edges of classes as they are given.
    pixels : int, share or 'all', optional
        Number of valid pixels to sample, 500000 by default; their share, such as '5%'; or 'all': start from a sample
        of 500000, then fit on every valid pixel. A histogram always takes all.
    seed : int, default 0
        Seed of the random sample and starts.
    stratify : 'none' or 'blocks', optional
        Whether every valid pixel is as likely to be sampled, as by default, or as many are sampled from each square of
        512 x 512 pixels as from any other, as far as it has valid ones.
    starts : int, optional
        Number of random starts, 1 to 1000, of which the best one is used; 10 by default.
    init : str, path, array or ClusterModel, optional
        Initial centroids of k-means: 'k-means++', the default, draws them in each start; 'diagonal' spreads them
        from the mean minus to the mean plus the deviation of each band. Also centroids, shape (k, band), in the scene's
        quantity, a model, whose `centres` are taken, or a file: that of a model, a CSV with a column per band, text
        with a line per centroid, or GRASS signatures. All but the first make one start.
    max_iter : int, optional
        Largest number of iterations per start, 300 by default; of rounds of ISODATA, 20 by default.
    tol : float, optional
        Stop when centroids move less than this, relative to the variance of the data; 1e-6 by default.
    ridge : float, optional
        Of gmm: share of each band's variance that is added to that of each class; 0.01 by default.
    covariance : 'full' or 'diag', optional
        Of gmm: whether classes have covariances between bands, as by default, or only variances.
    steps : int, optional
        Of gmm: number of steps of expectation maximization; 50 by default.
    scale : 'auto' or 'none', default 'auto'
        'auto' clusters scaled values (reflectance), by the coordinates `scale` and `offset` that `open_scene` sets if
        the files state them; 'none' clusters the stored numbers.
    standardize : 'clip', 'none', 'zscore', 'minmax', 'robust' or mapping, default 'clip'
        What each band is divided by before distances are computed: the range from its 2nd to its 98th percentile, to
        which values beyond are clamped (other percentiles by {'clip': (1, 99)}), nothing, its standard deviation, its
        range, or its interquartile range.
    min_size : int or str, optional
        Smallest size of a class: pixels, a share such as '1%', or an area such as '5 ha'. Smaller ones are merged into
        the nearest; by ISODATA, whose default is '0.1%', they are dropped in the round.
    weights : mapping of str to float, optional
        Factor by which the differences of a band count more, such as {'nir': 2}; 1 for other bands.
    indices : sequence of str, optional
        Indices that are used with the bands, or instead of several bands by a method of one band: names such as 'ndvi',
        or expressions such as '(nir - red) / (nir + red)'.
    assume : 'stated' or 'reflectance', default 'stated'
        Whether indices take numbers without a scale for reflectance.
    bins : int, optional
        Number of bins of a histogram, 2 to 254, 20 by default: bin i is class i, also if it is empty.
    by : 'equal', 'quantile' or 'natural', optional
        Bins of equal width (the edges of `numpy.histogram_bin_edges`), as by default, of equal numbers of pixels
        (`numpy.quantile`), or by natural breaks (Jenks).
    edges : sequence of float, optional
        Edges of ranges, 2 to 255, ascending, in the scene's quantity: class i is [edge i, edge i + 1), the last class
        includes its upper edge.
    outside : 'unclassified', 'extend' or 'nodata', optional
        Label of pixels beyond the edges of ranges: 255, the default, that of the first or last class, or 0.
    k_min, k_max : int, optional
        Least and largest number of classes of ISODATA, which starts with the least; 5 and 12 by default.
    max_std : float or 'auto', optional
        Classes of ISODATA are split if the standard deviation of one of their bands is larger, after `standardize`;
        'auto', the default, is 0.4 times that of all pixels.
    min_distance : float or 'auto', optional
        Classes of ISODATA are merged if their centroids are nearer, after `standardize`; 'auto', the default, is
        `max_std`.
    estimator : str, optional
        Clusterer of scikit-learn, of `sklearn.cluster` or `sklearn.mixture`; 'cluster.Birch' by default. `k` is given
        on to it if it takes a number of classes.
    options : mapping, optional
        Parameters of the estimator; lengths such as `eps` are those after `standardize`.
    smooth : int, optional
        Side of a square in pixels, an odd number from 3 to 15: each pixel of a band becomes the mean of the valid
        pixels of the square around it, and indices are computed from these.
    unit_norm : bool, default False
        Whether the bands of each pixel are divided by their Euclidean norm, so that classes differ by the shape of the
        spectrum and not by brightness; with `standardize="none"`, k-means then is by the spectral angle.
    pca : int or float, optional
        Number of principal components that are clustered instead of the bands and indices, or the share of the variance
        that they must have, such as 0.99.
    texture : mapping, optional
        Columns that are added, as `features.texture` in the config: {'bands': ['B08'], 'of': 'std', 'size': 5} is the
        standard deviation of the valid pixels of a square of 5 x 5.
    workers : 'auto' or int, default 'auto'
        Number of blocks processed at once; 'auto' is one per core. On a cluster, the most workers that are used;
        'auto' is all.
    cache_dir : str or Path, optional
        Folder in which `pixels="all"` caches the pixels between passes, and `smooth` those of each block for its
        neighbours; on a cluster, a folder on each worker. Without it, all pixels are cached in memory, on a cluster in
        that of the workers. `method="minibatch"` needs no cache.
    progress : bool or Progress, default False
        True shows the stages: as bars in a notebook or a terminal, else as lines on standard error.

    Returns
    -------
    ClusterModel
        The same for any chunks and any number of workers, except for the last digits with `method="dask-ml"`; with
        `method="sklearn"` on the same machine and with the same version of scikit-learn.

    Raises
    ------
    ConfigError
        If an argument is not allowed, or the scene is no array of bands, rows and columns.
    SceneError
        If no pixel is valid, or a block can't be read.
    FitError
        If there are fewer distinct pixels than classes, a band has no spread, or values are too large; if an estimator
        fails, or finds fewer than 2 or more than 254 classes.
    OutputError
        If `cache_dir` is no folder, or its disk is full.
    ClusterError
        If the cluster has no workers, or they can't take part.
    """
    settings = {
        "k": _count_of(init) if k is None else k,
        "pixels": pixels,
        "stratify": stratify,
        "starts": starts,
        "init": init.tolist() if isinstance(init, np.ndarray) else str(init) if isinstance(init, Path) else init,
        "max_iter": max_iter,
        "tol": tol,
        "min_size": min_size,
        "weights": weights,
        "ridge": ridge,
        "covariance": covariance,
        "steps": steps,
        "bins": bins,
        "by": by,
        "edges": edges.tolist() if isinstance(edges, np.ndarray) else edges,
        "outside": outside,
        "k_min": k_min,
        "k_max": k_max,
        "max_std": max_std,
        "min_distance": min_distance,
        "estimator": estimator,
        "options": dict(options) if isinstance(options, Mapping) else options,
    }
    own = {name: value for name, value in settings.items() if value is not None}
    config = FIT.parse({"method": method, "seed": seed, **own}, "fit")
    chosen = {
        "scale": scale,
        "standardize": standardize,
        "indices": indices,
        "assume": assume,
        "smooth": smooth,
        "unit_norm": unit_norm,
        "pca": pca,
        "texture": texture,
    }
    features = parse_record(FeaturesConfig, chosen, "fit")
    resources = parse_record(ResourceConfig, {"workers": workers, "cache_dir": cache_dir and str(cache_dir)}, "fit")
    source = scene if isinstance(scene, PixelTable) else ArraySource(scene, scaled=features.scale != "none")
    return fit_arrays(source, config, features, resources, progress_of(progress, "fit"))


@name_arguments_in_messages("output")
def write(
    labels: xr.DataArray,
    path: str | Path,
    *,
    k: int | None = None,
    overwrite: bool = False,
    palette: str | Sequence[str | Sequence[int]] = "auto",
    workers: int | Literal["auto"] = "auto",
    zarr_format: Literal[2, 3] = 2,
    zarr_overviews: bool = False,
    progress: bool | Progress = False,
) -> Path:
    """Compute labels chunk by chunk and write them as a Cloud-Optimized GeoTIFF or a Zarr store, with a legend.

    Names and colours of the classes are written beside the map, as by a run: `<map>.qml` for QGIS and, of a GeoTIFF,
    `<map>.tif.aux.xml` for clients of GDAL.

    Parameters
    ----------
    labels : DataArray (y, x) of uint8
        From `label`; also read back from a file, or changed, as long as they are uint8. They are computed where `fit`
        would compute blocks: with a dask client in force, on the workers of its cluster, from which labels come
        compressed.
    path : str or Path
        The map to write: a Zarr store if the path ends in .zarr, else a GeoTIFF. It appears under this name only when
        it is complete.
    k : int, optional
        Number of classes, needed if the labels have lost their attribute `k`. Labels are 0 (nodata) to k, and 255
        (unclassified) if their attribute `flag_values` lists it.
    overwrite : bool, default False
        Whether existing files may be replaced; a folder, if it is a Zarr store that Terrazzo wrote.
    palette : str or sequence, default 'auto'
        'auto', the name of a colour map of matplotlib or cmocean, the path of a file of colours (.clr, .qml, .gpl,
        .txt), or a colour for each class, such as '#228b22' or (34, 139, 34).
    workers : 'auto' or int, default 'auto'
        Number of chunks processed at once; 'auto' is one per core.
    zarr_format : 2 or 3, default 2
        Format of a Zarr store; GDAL before 3.11 can't read 3.
    zarr_overviews : bool, default False
        Whether a Zarr store has overviews, as groups overview_2, overview_4, ...; a GeoTIFF always has them.
    progress : bool or Progress, default False
        True shows the stages: as bars in a notebook or a terminal, else as lines on standard error.

    Returns
    -------
    Path
        The file or folder written.

    Raises
    ------
    ConfigError
        If these are not labels, or an argument is not allowed.
    SceneError
        If a chunk of a scene of `open_scene` can't be read.
    OutputError
        If the file exists already or can't be written.
    """
    check_argument(path, (str, PathLike), "write: path: expected the path of the map, such as 'classes.tif'")
    array = _check_labels(labels)
    classes = _count_classes(labels, k)
    data, target = lazy_data(array), Path(path)
    compute = Computer.in_force() if array.chunks else Computer("synchronous")
    flags = Flags.of(labels.attrs)
    unclassified = flags.unclassified
    resources = parse_record(ResourceConfig, {"workers": workers}, "write")
    options = {"labels": str(path), "palette": palette, "zarr_format": zarr_format, "zarr_overviews": zarr_overviews}
    output = parse_record(OutputSection, options, "write")
    for file in files_of_map(target):
        keep_apart({"path": file}, output.paths | dict.fromkeys(source_files(labels), "the scene of these labels"))
    acquired = {"TERRAZZO_ACQUIRED": str(labels.attrs["acquired"])} if "acquired" in labels.attrs else {}
    description = MapDescription(
        grid=grid_of(labels),
        colours=class_colours(classes, output.palette),
        names=tuple(flags.names.get(label, f"class {label}") for label in range(1, classes + 1)),
        unclassified=unclassified,
        tags=map_tags(str(labels.attrs.get("model", "")), unclassified=unclassified) | acquired,
    )
    opened = partial(
        open_map,
        description=description,
        workers=count_workers(resources.workers),
        zarr_format=output.zarr_format,
        overviews=output.zarr_overviews,
    )
    display = progress_of(progress, "write")
    parts = _checked(compute_labels(data, compute, resources, display), classes, unclassified=unclassified)
    write_labels(target, description, opened, parts, display, overwrite=overwrite)
    return target


def _count_of(init: Any) -> int | None:
    """Number of initial centroids that are a model or an array; None if they are a word or a file."""
    if isinstance(init, ClusterModel):
        return init.k
    return len(init) if isinstance(init, list | tuple | np.ndarray) and np.ndim(init) else None


def _check_labels(labels: Any) -> xr.DataArray:
    """Return labels with dimensions in the order (rows, columns).

    Raises
    ------
    ConfigError
        If they are something else.
    """
    expected = "write: expected labels from label(), uint8 (y, x)"
    if isinstance(labels, xr.Dataset):
        listed = ", ".join(map(str, labels.data_vars)) or "nothing"
        msg = f"{expected}, not a Dataset of {listed}; pass one of its variables, such as dataset['class']"
        raise ConfigError(msg)
    if not isinstance(labels, xr.DataArray):
        msg = (
            f"{expected}, not {kind_words(labels)}; wrap an array as "
            "xr.DataArray(array, dims=('y', 'x'), coords={'y': ..., 'x': ...}), and pass k"
        )
        raise ConfigError(msg)
    planes, _ = to_planes(labels, "write: the argument labels")
    if planes.shape[0] != 1 or labels.dtype != np.uint8:
        fix = "; make them uint8 again: labels.fillna(0).astype('uint8')" if planes.shape[0] == 1 else ""
        msg = f"{expected}, not {labels.dtype} {labels.dims}{fix}"
        raise ConfigError(msg)
    return planes[0]


def _checked(parts: Iterable[tuple[Block, Labels]], k: int, *, unclassified: bool) -> Iterator[tuple[Block, Labels]]:
    """Yield blocks and their labels; raise ConfigError if these are neither 0 nor classes 1 to k, nor unclassified.

    They may be unclassified only if `unclassified` is true.
    """
    for block, labels in parts:
        others = labels[labels > k]
        if unclassified:
            others = others[others != UNCLASSIFIED]
        if others.size:
            fix = "set k to the largest label"
            if others.max() == UNCLASSIFIED:
                fix = f"if that is unclassified, set their attribute flag_values to 1 to {k} and {UNCLASSIFIED}"
            msg = f"write: the labels hold {others.max()} at {block}, but k is {k}; {fix}"
            raise ConfigError(msg)
        yield block, labels


def _count_classes(labels: xr.DataArray, k: int | None) -> int:
    """Return the number of classes of labels: `k`, or else their attribute `k`.

    Raises
    ------
    ConfigError
        If there is neither, or it is not allowed.
    """
    stated = labels.attrs.get("k") if k is None else k
    if stated is None:
        msg = (
            "write: the labels have lost their attribute k, the number of classes, as xarray's arithmetic drops "
            "attributes; pass it, such as k=8, or keep attributes: xr.set_options(keep_attrs=True)"
        )
        raise ConfigError(msg)
    if not isinstance(stated, int | np.integer) or isinstance(stated, bool) or not 1 <= stated <= MAX_CLASSES:
        allowed = f"the number of classes, a whole number from 1 to {MAX_CLASSES}"
        msg = f"write: k: {stated!r} is not allowed; expected {allowed}"
        raise ConfigError(msg)
    return int(stated)
