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
from pipeline.kernels.assign import assign, class_sums, exact_sums
from pipeline.model import ClusterModel, Fitting, Provenance
from pipeline.runtime.progress import Progress
from pipeline.scenes.source import BlockSource, Pixels, SceneInfo

if TYPE_CHECKING:
    from pipeline.fitting.kmeans import Clusterer


def fit_source(
    source: BlockSource,
    config: FitConfig,
    *,
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
            sample = draw_sample(source, wanted=config.pixels, seed=config.seed, workers=workers, step=step, keep=keep)
        with progress.stage("fit", config.starts) as step:
            clusterer = kmeans.result().fit_sample(sample.values, config, workers, step)
    return _model(source.info, sample, clusterer, config)


def _model(info: SceneInfo, sample: Sample, clusterer: "Clusterer", config: FitConfig) -> ClusterModel:
    centres = exact_means(sample.values, clusterer.labels_, clusterer.cluster_centers_)
    centres = centres[brightness_order(centres)]
    labels, inertia = _assigned(sample.values, centres)
    return ClusterModel(
        bands=info.bands,
        units=info.units,
        nodata=info.nodata_rule,
        centroids=tuple(tuple(row) for row in centres.tolist()),
        counts=tuple(np.bincount(labels, minlength=config.k).tolist()),
        inertia=inertia,
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


def exact_means(
    values: npt.NDArray[Any], labels: npt.NDArray[np.integer[Any]], centres: npt.NDArray[np.floating[Any]]
) -> npt.NDArray[np.float64]:
    """Means of the members of each class: one more step of Lloyd's algorithm, without rounding on the way.

    scikit-learn works in float32 on centred data, and stops when centres move little; what is left of both
    would show in centroids that are not quite the means of their pixels.

    Parameters
    ----------
    values : ndarray, shape (n, band)
        Pixels, in input units.
    labels : ndarray of int, shape (n,)
        Class of each pixel, from 0.
    centres : ndarray, shape (k, band)
        Kept for classes without members.

    Returns
    -------
    ndarray of float64, shape (k, band)
    """
    as_blocks = np.ascontiguousarray(values.T)[:, np.newaxis]
    near = centres.astype(np.float64)
    counts, sums, _ = class_sums(as_blocks, (labels + 1).astype(np.uint8)[np.newaxis], near)
    members = counts[1:, np.newaxis]
    means = sums[1:] / np.maximum(members, 1) + (0 if exact_sums(values.dtype) else near)
    return np.where(members > 0, means, near)


def _assigned(values: npt.NDArray[Any], centres: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.intp], float]:
    """Class of each pixel as the map would have it, from 0, and the sum of squared distances."""
    as_blocks = np.ascontiguousarray(values.T)[:, np.newaxis]
    labels = assign(as_blocks, np.ones(as_blocks.shape[1:], np.bool_), centres)[0].astype(np.intp) - 1
    steps = (values[:, band] - centres[labels, band] for band in range(centres.shape[1]))  # band by band: little memory
    return labels, float(sum(np.square(step).sum() for step in steps))


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
