"""Records of a model's classes with the statistics of the sampled pixels in each."""

import numpy as np

from pipeline.core.arrays import Points
from pipeline.core.scene_info import SceneInfo
from pipeline.geo.pixel_areas import PixelAreas
from pipeline.kernels.sums import class_sums
from pipeline.labels.classify import ClassStatistics, LabelledBlock, centres_of_rows, rows_of
from pipeline.models.base import ClusterModel
from pipeline.models.classes import ClassInfo


def with_statistics(model: ClusterModel, info: SceneInfo, points: Points) -> ClusterModel:
    """Return a model whose classes have the mean and standard deviation of the points that it puts into them.

    These are the sampled pixels in stored numbers of the scene, shape (band, point). Sums over them are exact or
    error-free pairs, so that the statistics are those of the sample, whatever the blocks it came from.
    """
    planes = points[:, np.newaxis]
    labels = model.labeller(info)(planes, np.ones(planes.shape[1:], np.bool_)).classes
    statistics = ClassStatistics(model, info.units, PixelAreas(reason="these are points"))
    sums = class_sums(planes, rows_of(labels, model.k), centres_of_rows(model, info.units))
    statistics.add(LabelledBlock(*sums, areas=(), parts=()))
    return model.model_copy(update={"classes": tuple(_record(each, statistics) for each in model.classes)})


def _record(each: ClassInfo, statistics: ClassStatistics) -> ClassInfo:
    """Record of a class; without statistics, as JSON has no NaN, if no point is in it or the squares overflow."""
    mean, std = statistics.means(each.id), statistics.stds(each.id)
    if not np.isfinite([mean, std]).all():
        return each
    return each.model_copy(update={"mean": tuple(mean.tolist()), "std": tuple(std.tolist())})
