"""Distances and densities of the classes of a model are those of scipy, for every pixel of a block."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import MemorySource
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sources import gaussians_of, model_of

from pipeline.features.standardize import Standardization
from pipeline.labels.measures import log_sum, measure_of

MEANS = [[50, 60], [120, 110], [200, 10]]
COVARIANCES = [[[900, 200], [200, 400]], [[2500, -900], [-900, 1600]], [[400, 0], [0, 400]]]


def scene(shape: tuple[int, int] = (300, 310)) -> MemorySource:
    rng = np.random.default_rng(5)
    return MemorySource(rng.integers(0, 255, (2, *shape), np.uint8), rng.random(shape) < 0.7)


def clip(low: float, high: float) -> Standardization:
    return Standardization(
        standardize="clip", centre=(low, low), spread=(high - low, 50.0), bounds=((low, high), (low, low + 50))
    )


def test_distances_are_euclidean_after_clamping_and_scaling() -> None:
    source, model = scene(), model_of(MEANS, ("one", "two")).model_copy(update={"preparation": clip(30, 130)})
    found = measure_of(model, source.info)(source.data, source.valid)
    pixels = source.data[:, source.valid].astype(float)
    clamped = np.stack([pixels[0].clip(30, 130) / 100, pixels[1].clip(30, 80) / 50], axis=1)
    assert np.isnan(found[:, ~source.valid]).all()
    np.testing.assert_allclose(found[:, source.valid].T, cdist(clamped, np.array(MEANS) / [100, 50]))


def test_the_distance_to_a_class_of_several_points_is_that_to_the_nearest() -> None:
    points = [[50, 60], [120, 110], [200, 10], [0, 0], [240, 240]]
    source, model = scene((40, 50)), model_of(points, ("one", "two"), classes=(2, 1, 2, 1, 1))
    model = model.model_copy(update={"classes_of_points": (2, 1, 2, 255, 1)})  # noise is of no class
    found = measure_of(model, source.info)(source.data, source.valid)
    each = cdist(source.data.reshape(2, -1).T, points).T.reshape(5, 40, 50)
    expected = np.stack([each[[1, 4]].min(axis=0), each[[0, 2]].min(axis=0)])
    np.testing.assert_allclose(found, np.where(source.valid, expected, np.nan))


@pytest.mark.parametrize("weights", [(0.3, 0.5, 0.2), (0.6, 0.4, 0.0)])
def test_densities_are_those_of_gaussians_and_the_largest_is_the_class(weights: tuple[float, ...]) -> None:
    source, model = scene((40, 50)), gaussians_of(MEANS, COVARIANCES, weights)
    source.info = replace(source.info, bands=model.bands)
    found = measure_of(model, source.info)(source.data, source.valid)
    pixels = source.data[:, source.valid].T.astype(float)
    with np.errstate(divide="ignore"):
        expected = np.log(weights) + np.stack(
            [multivariate_normal(*each).logpdf(pixels) for each in zip(MEANS, COVARIANCES, strict=True)], axis=1
        )
    np.testing.assert_allclose(found[:, source.valid].T, expected)
    np.testing.assert_allclose(log_sum(found[:, source.valid]), logsumexp(expected, axis=1))
    labels = model.labeller(source.info)(source.data, source.valid).classes
    np.testing.assert_array_equal(labels[source.valid], expected.argmax(axis=1) + 1)
