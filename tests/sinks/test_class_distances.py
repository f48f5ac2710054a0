"""Distances between classes are those that the model works with, compared with SciPy's."""

from typing import Any

import numpy as np
import pytest
from blocks import fitted, scene
from fakes import MemorySource
from pages import content_of
from scipy.spatial.distance import cdist
from sources import model_of

from pipeline.config.schema import FeaturesConfig
from pipeline.jobs.config import FIT
from pipeline.models.gaussians import GaussianModel
from pipeline.models.prototypes import Prototypes
from pipeline.sinks.class_distances import class_distances, nearest


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({"standardize": "none"}, "in the unit of the bands (numbers)"),
        ({"standardize": "zscore"}, "1 is a standard deviation of a band"),
        ({"standardize": "clip"}, "1 is the range of a band between the percentiles it is clipped to"),
    ],
)
@pytest.mark.parametrize("method", ["kmeans", "gmm"])
def test_they_are_between_standardized_centres(method: str, features: dict[str, Any], words: str) -> None:
    source = MemorySource(scene("u2", bands=3))
    model = fitted(source, FIT.parse({"method": method, "k": 4}, "test"), FeaturesConfig(**features)).model
    assert isinstance(model, Prototypes | GaussianModel)
    centres = np.array(model.centroids if isinstance(model, Prototypes) else model.means) / model.preparation.spreads
    found, said = class_distances(content_of(source, model))
    np.testing.assert_allclose(found, cdist(centres, centres), atol=1e-9)
    assert words in said


def test_weights_and_components_are_part_of_them() -> None:
    source = MemorySource(scene("u2", bands=4))
    fit = FIT.parse({"k": 4, "weights": {"band2": 3}}, "test")
    model = fitted(source, fit, FeaturesConfig(standardize="zscore", pca=2)).model
    assert isinstance(model, Prototypes)
    found, said = class_distances(content_of(source, model))
    np.testing.assert_allclose(found, cdist(model.centroids, model.centroids), atol=1e-4)
    assert said.endswith("times the weight of the band, of principal components")


def test_of_classes_with_several_points_they_are_between_means_in_the_map() -> None:
    source = MemorySource(scene("u1", bands=2))
    model = model_of([[10, 10], [200, 200], [100, 100], [90, 160]], classes=[1, 1, 2, 3])
    content = content_of(source, model)
    means = np.stack([content.statistics.means(label) for label in (1, 2, 3)])
    found, said = class_distances(content)
    np.testing.assert_allclose(found, cdist(means, means))
    assert "means of the classes in this map" in said


def test_the_nearest_class_is_found_and_classes_without_pixels_have_none() -> None:
    nan = np.nan
    distances = np.array([[0, 2, 1.5, nan], [2, 0, 3, nan], [1.5, 3, 0, nan], [nan] * 4])
    assert nearest(distances)[:3] == [(3, 1.5), (1, 2.0), (1, 1.5)]
    assert nearest(distances)[3][0] == 0
