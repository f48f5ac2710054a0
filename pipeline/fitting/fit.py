"""A scene's model: draw a sample, cluster it, put the classes in order."""

from os.path import basename
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline import __version__
from pipeline.config import FitConfig
from pipeline.fitting.kmeans import fit_sample
from pipeline.fitting.lloyd import Clustering
from pipeline.fitting.sample import Sample, draw_sample
from pipeline.kernels.assign import assign
from pipeline.kernels.lloyd import own_distances
from pipeline.model import ClusterModel, Fitting, Provenance
from pipeline.runtime.progress import Progress
from pipeline.scenes.source import BlockSource, SceneInfo


def fit_source(
    source: BlockSource,
    config: FitConfig,
    *,
    workers: int,
    progress: Progress,
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

    Raises
    ------
    SceneError
        When no pixel is valid, or a block can't be read.
    FitError
        When there are fewer distinct pixels than classes.
    """
    with progress.stage("sample", len(source.blocks)) as step:
        sample = draw_sample(source, wanted=config.pixels, seed=config.seed, workers=workers, step=step)
    with progress.stage("fit", config.starts) as step:
        clustering = fit_sample(sample.values, config, workers, step, source.info.units.stretch)
    return _model(source.info, sample, clustering, config)


def _model(info: SceneInfo, sample: Sample, clustering: Clustering, config: FitConfig) -> ClusterModel:
    units = info.units
    found = units.to_physical(clustering.centres)
    physical = found[brightness_order(found)]
    centres = units.to_stored(physical)  # as every scene will have them, this one among them
    points = np.ascontiguousarray(sample.values.T)
    labels = assign(points[:, np.newaxis], np.ones((1, points.shape[1]), np.bool_), centres, units.stretch)[0]
    return ClusterModel(
        bands=info.bands,
        units=units,
        nodata=info.nodata_rule,
        centroids=tuple(tuple(row) for row in physical.tolist()),
        counts=tuple(np.bincount(labels, minlength=config.k + 1)[1:].tolist()),
        inertia=own_distances(points, labels, centres, units.stretch)[1] * float(units.spreads[0]) ** 2,
        fitting=Fitting(
            **config.model_dump(include={"method", "seed", "starts", "max_iter", "tol"}),
            iterations=clustering.iterations,
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
