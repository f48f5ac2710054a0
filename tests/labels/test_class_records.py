"""Records of classes have the statistics of the sampled pixels in them."""

from statistics import fmean, pstdev

import numpy as np
import pytest
from blocks import fitted, holes, scene
from fakes import MemorySource
from sources import model_of

from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.progress import Progress
from pipeline.labels.class_records import with_statistics
from pipeline.methods.fit import fit_source
from pipeline.methods.kmeans import KMeansSettings


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4"])
def test_means_and_deviations_are_those_of_the_points_in_each_class(dtype: str) -> None:
    points = scene(dtype).reshape(3, -1)
    model = model_of([[40, 40, 40], [120, 120, 120], [190, 190, 190], [9000, 0, 0]], dtype=np.dtype(dtype).name)
    info = MemorySource(points[:, None]).info
    described = with_statistics(model, info, points)
    labels = model.labeller(info)(points[:, None], np.ones((1, points.shape[1]), bool)).classes[0]
    for each in described.classes[:3]:
        members = points[:, labels == each.id].astype(float)
        assert each.mean == pytest.approx([fmean(band) for band in members.tolist()], rel=1e-12)
        assert each.std == pytest.approx([pstdev(band) for band in members.tolist()], rel=1e-9)
    assert (described.classes[3].mean, described.classes[3].std) == (None, None)
    assert [each.pixels for each in described.classes] == [1, 1, 1, 1], "counts are those of the fit"
    assert described.digest == model.digest


def test_squares_that_overflow_leave_the_statistics_out() -> None:
    points = np.array([[1e200, -1e200]])
    model = model_of([[0.0], [1.0]], dtype="float64")
    assert [each.mean for each in with_statistics(model, MemorySource(points[:, None]).info, points).classes] == [
        None
    ] * 2


@pytest.mark.parametrize("pixels", [3000, "all"])
@pytest.mark.parametrize("dtype", ["u2", "f8"])
def test_a_fit_describes_its_sampled_pixels_whatever_the_blocks(dtype: str, pixels: object) -> None:
    data, valid = scene(dtype), holes((120, 150))
    config = KMeansSettings.model_validate({"k": 5, "pixels": pixels, "starts": 1})
    models = []
    for chunk, workers in (((120, 150), 1), ((17, 40), 2)):
        source = MemorySource(data, valid, chunk)
        if pixels == "all":
            models.append(fitted(source, config, workers=workers).model)
        else:
            models.append(fit_source(source, config, executor=ThreadExecutor(workers), progress=Progress()).model)
    assert models[0].classes == models[1].classes
    assert sum(models[0].counts) == (valid.sum() if pixels == "all" else 3000)
    for each, centroid in zip(models[0].classes, models[0].centroids, strict=True):
        assert each.name == f"class {each.id}"
        assert each.mean == pytest.approx(centroid, rel=1e-2)
