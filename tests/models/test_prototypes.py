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
    model = build(changed("centroids", ((100.5, 2000.25), (1000.1, 1500.0), (3000.0, number))))
    with pytest.raises(ModelError, match=r"^s\.tif: .*distances to them exceed 1e\+60"):
        model.check_fits(model.bands, model.units, "s.tif")
