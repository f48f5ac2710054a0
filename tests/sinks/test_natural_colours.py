"""Natural colours are those of the picture, as far as all of them can be told apart."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sources import model_of

from pipeline.models.base import ClusterModel
from pipeline.sinks.colour_difference import ciede2000, least_difference, seen_as_lab
from pipeline.sinks.natural_colours import NO_DATA, mean_colours, move_apart, natural_colours
from pipeline.sinks.picture import stretch


def model_with(means: list[list[float]], stds: list[list[float]], counts: list[int]) -> ClusterModel:
    model = model_of(means)
    classes = [
        each.model_copy(update={"mean": tuple(mean), "std": tuple(std), "pixels": count})
        for each, mean, std, count in zip(model.classes, means, stds, counts, strict=True)
    ]
    return model.model_copy(update={"classes": tuple(classes)})


def test_colours_are_the_means_of_the_pixels_as_the_picture_shows_them() -> None:
    rng = np.random.default_rng(3)
    means, stds = [[100.0, 200.0, 50.0], [300.0, 250.0, 90.0], [500.0, 900.0, 400.0]], [[20.0, 30.0, 10.0]] * 3
    counts = [6000, 3000, 1000]
    pixels = np.concatenate([rng.normal(m, s, (n, 3)) for m, s, n in zip(means, stds, counts, strict=True)])
    means = [part.mean(axis=0).tolist() for part in np.split(pixels, np.cumsum(counts)[:-1])]
    # the picture of the means with the stretch of all pixels
    picture = stretch(np.concatenate([pixels, np.array(means)]).T[:, None], np.ones((1, 10_003), np.bool_))[0, -3:]
    colours = mean_colours(model_with(means, stds, counts), (0, 1, 2), (5, 95))
    np.testing.assert_allclose(colours, picture, atol=4)
    grey = mean_colours(model_with(means, stds, counts), (1,), (5, 95))
    np.testing.assert_allclose(grey, np.repeat(colours[:, [1]], 3, axis=1))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 24), spread=st.sampled_from([0, 5, 60]))
def test_all_colours_differ_for_everybody_and_from_nodata(seed: int, k: int, spread: int) -> None:
    rng = np.random.default_rng(seed)
    wanted = np.clip(rng.uniform(0, 255, 3) + rng.normal(0, spread, (k, 3)), 0, 255)
    colours = move_apart(wanted, rng.integers(0, 1000, k).tolist(), [NO_DATA])
    assert least_difference([*colours, NO_DATA])[0] >= 5 - 1e-3
    np.testing.assert_array_equal(colours, colours.round())


def test_colours_that_can_be_told_apart_stay_and_of_two_that_are_alike_the_larger_class_keeps_its_own() -> None:
    apart = np.array([[20.0, 30, 90], [180, 160, 60], [60, 120, 40]])
    np.testing.assert_array_equal(move_apart(apart, [1, 1, 1]), apart)
    alike = np.array([[60.0, 120, 40], [61, 121, 41], [20, 30, 90]])
    moved = move_apart(alike, [10, 1000, 10])
    np.testing.assert_array_equal(moved[1:], alike[1:])
    assert ciede2000(*seen_as_lab([moved[0], alike[0]])[0]) < 25  # no further than needed


@pytest.mark.parametrize("k", [60, 254])
def test_there_are_colours_for_very_many_classes(k: int) -> None:
    colours = natural_colours(model_of(np.linspace([0, 0, 0], [9, 9, 9], k)), (0, 1, 2))
    assert len(set(colours)) == k
    assert least_difference(colours)[0] > 1.9
