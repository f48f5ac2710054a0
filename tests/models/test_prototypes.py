"""Nearest points: labels, classes of several points, points too large for distances."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import MemorySource
from sources import build, changed, content, model_of

from pipeline.core.errors import ModelError

pytestmark = pytest.mark.lowest


POINTS = [[30, 40], [90, 200], [140, 60], [220, 180], [250, 20]]


def nearest(source: MemorySource) -> Any:
    """Oracle: index of the nearest point of each pixel, in integers."""
    return np.argmin([((source.data.astype(int) - np.array(p)[:, None, None]) ** 2).sum(0) for p in POINTS], axis=0)


@pytest.mark.parametrize("classes", [None, (1, 2, 3, 4, 5), (2, 1, 2, 3, 1)])
def test_a_pixel_is_of_the_class_of_its_nearest_point(classes: tuple[int, ...] | None) -> None:
    source = MemorySource(np.random.default_rng(2).integers(0, 255, (2, 60, 70), np.uint8))
    model = model_of(POINTS, classes=classes)
    expected = np.array(classes or (1, 2, 3, 4, 5))[nearest(source)]
    np.testing.assert_array_equal(model.labeller(source.info)(source.data, source.valid).classes, expected)


@pytest.mark.parametrize("standardized", [False, True])
@pytest.mark.parametrize("count", [254, 255, 256, 1500])
def test_a_pixel_is_of_the_class_of_the_first_of_its_nearest_points(count: int, *, standardized: bool) -> None:
    """Of many points, too, and with integers, many pixels of which are as near to two points as to one."""
    rng = np.random.default_rng(count)
    points, classes = rng.integers(0, 40, (count, 2)), rng.permutation(count) % 254 + 1
    classes = classes if count >= 254 else np.arange(count) + 1
    source = MemorySource(rng.integers(0, 40, (2, 60, 70), np.uint8), rng.random((60, 70)) < 0.9)
    model = model_of(points, classes=classes.tolist())
    factors = np.array([1, 2]) if standardized else np.ones(2, int)
    if standardized:
        spread = {"standardize": "zscore", "centre": (0.0, 0.0), "spread": (2.0, 1.0)}
        model = type(model).model_validate({**model.model_dump(), "preparation": spread})
    squares = [((source.data.astype(int) - p[:, None, None]) * factors[:, None, None]) ** 2 for p in points]
    expected = np.where(source.valid, classes[np.argmin(np.sum(squares, axis=1), axis=0)], 0)
    np.testing.assert_array_equal(model.labeller(source.info)(source.data, source.valid).classes, expected)


def test_pixels_of_many_points_are_labelled_strip_by_strip() -> None:
    """A block of more pixels than are classed at once."""
    rng = np.random.default_rng(7)
    points, classes = rng.integers(0, 255, (300, 1)), np.arange(300) % 7 + 1
    source = MemorySource(rng.integers(0, 255, (1, 300, 500), np.uint8))
    expected = classes[np.abs(np.arange(256)[:, None] - points[:, 0]).argmin(axis=1)]
    labeller = model_of(points, classes=classes.tolist()).labeller(source.info)
    np.testing.assert_array_equal(labeller(source.data, source.valid).classes, expected[source.data[0]])


def test_a_model_holds_up_to_65535_points() -> None:
    points, classes = np.zeros((65_535, 1)), [1, 2, *[1] * 65_533]
    assert len(model_of(points, classes=classes).centroids) == 65_535
    with pytest.raises(ModelError, match="65536 centroids and 2 classes; expected points with the class of each, 2 to"):
        model_of(np.zeros((65_536, 1)), classes=[*classes, 1])


def test_labels_of_another_scene_are_those_of_the_same_quantity() -> None:
    """The points are converted to the scene's stored numbers."""
    units = {"dtype": "uint8", "scales": (0.5, 2.0), "offsets": (3.0, -1.0), "quantity": "reflectance"}
    stored = np.array(POINTS, float)
    model = build(content(units=units, centroids=(stored * [0.5, 2] + [3, -1]).tolist(), counts=(1,) * 5))
    source = MemorySource(np.random.default_rng(2).integers(0, 255, (2, 60, 70), np.uint8))
    source.info = replace(source.info, scales=(0.5, 2.0), offsets=(3.0, -1.0), quantities=("reflectance",) * 2)
    np.testing.assert_allclose(model.labeller(source.info).points, stored, rtol=1e-12)
    np.testing.assert_allclose(model.labeller(source.info).preparation.stretch, [1, 4])


@pytest.mark.parametrize("number", [1e61, -1e200])
def test_points_too_large_for_distances_are_refused(number: float) -> None:
    """At once for the type of the model's scene, and for a scene whose stored numbers they would be."""
    points = ((100.5, 2000.25), (1000.1, 1500.0), (3000.0, number))
    with pytest.raises(
        ModelError, match=r"centroids: 1e\+\d+ is too large for float32; expected numbers up to 3\.4e\+38"
    ):
        build(changed("centroids", points))
    model = build(content())
    tiny = model.units.model_copy(update={"scales": (1e-45, 1.0), "quantity": "reflectance"})
    model = model.model_copy(update={"units": tiny})
    with pytest.raises(ModelError, match=r"^s\.tif: .*distances to them exceed 3\.4e\+38"):
        model.check_fits(model.bands, tiny, "s.tif")
