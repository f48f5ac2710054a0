"""A scene's model: draw a sample, cluster it, put the classes in order."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from os.path import basename
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline import __version__
from pipeline.config import FitConfig
from pipeline.fitting.sample import Sample, draw_sample
from pipeline.grid import Block
from pipeline.model import ClusterModel, Fitting, Provenance, Units
from pipeline.runtime.progress import Progress
from pipeline.scenes.source import BlockSource, Pixels, SceneInfo

if TYPE_CHECKING:
    from pipeline.fitting.kmeans import Clusterer


def units_of(info: SceneInfo) -> Units:
    """What the numbers of a scene's pixels mean."""
    return Units(dtype=info.dtype.name, scales=info.scales, offsets=info.offsets)


def fit_source(
    source: BlockSource,
    config: FitConfig,
    *,
    nodata: str | float,
    workers: int,
    progress: Progress,
    keep: Callable[[Block, Pixels], None] = lambda _block, _pixels: None,
) -> ClusterModel:
    """Find the classes of a scene, reading it once.

    Parameters
    ----------
    source : BlockSource
        The scene.
    config : FitConfig
        Method, number of classes, sample size, seed.
    nodata : 'auto' or float
        The nodata rule in force, which the model remembers.
    workers : int
        Blocks, then starts, worked on at once.
    progress : Progress
        Shows the stages `sample` and `fit`.
    keep : callable
        Called with each block and its pixels, so that others need not read it again.

    Raises
    ------
    SceneError
        When no pixel is valid, or a block can't be read.
    FitError
        When there are fewer distinct pixels than classes.
    """
    with ThreadPoolExecutor(1) as loader:
        # scikit-learn takes seconds to import: it is while the first blocks are decoded
        kmeans = loader.submit(import_module, "pipeline.fitting.kmeans")
        with progress.stage("sample", len(source.blocks)) as step:
            sample = draw_sample(
                source, wanted=config.pixels, seed=config.seed, workers=workers, step=step, keep=keep
            )
        with progress.stage("fit", config.starts) as step:
            clusterer = kmeans.result().fit_sample(sample.values, config, workers, step)
    return _model(source.info, sample, clusterer, config, nodata)


def _model(
    info: SceneInfo, sample: Sample, clusterer: "Clusterer", config: FitConfig, nodata: str | float
) -> ClusterModel:
    centres = clusterer.cluster_centers_.astype(np.float64)
    order = brightness_order(centres)
    counts = np.bincount(clusterer.labels_, minlength=config.k)
    return ClusterModel(
        bands=info.bands,
        units=units_of(info),
        nodata="auto" if isinstance(nodata, str) else nodata,
        centroids=tuple(tuple(row) for row in centres[order].tolist()),
        counts=tuple(counts[order].tolist()),
        inertia=float(clusterer.inertia_),
        fitting=Fitting(
            **config.model_dump(include={"method", "seed", "starts", "max_iter", "tol"}),
            iterations=int(clusterer.n_iter_),
            sampled_pixels=len(sample.values),
            valid_pixels=sample.valid,
            scene_pixels=sample.total,
        ),
        provenance=Provenance(
            software="terrazzo",
            version=__version__,
            sources=tuple(basename(path) for path in info.sources),  # noqa: PTH119 (may be /vsi...)
            crs=info.grid.crs,
        ),
    )


def brightness_order(centres: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Order of classes from the darkest to the brightest.

    Parameters
    ----------
    centres : ndarray, shape (k, band)
        Class centres in any order.

    Returns
    -------
    ndarray of int, shape (k,)
        Rows sorted by their mean; rows of equal mean by their numbers, first band first.
    """
    return np.lexsort((*centres.T[::-1], centres.mean(axis=1)))
