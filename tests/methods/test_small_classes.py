"""Small classes are merged into the nearest: in the model, its counts and its map."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from affine import Affine
from blocks import fitted, holes, scene
from fakes import MemorySource
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from pipeline.config.schema import FeaturesConfig
from pipeline.core.errors import ConfigError
from pipeline.jobs.config import FIT
from pipeline.methods.small_classes import least_count, merge_small
from pipeline.models.base import ClusterModel


@settings(max_examples=200, deadline=None)
@given(
    counts=st.lists(st.integers(0, 1000), min_size=2, max_size=12),
    least=st.fractions(0, 1500),
    seed=st.integers(0, 100),
)
def test_no_class_that_is_left_is_too_small(counts: list[int], least: Fraction, seed: int) -> None:
    centres = np.random.default_rng(seed).random((len(counts), 3))
    into = merge_small(np.array(counts), centres, least)
    sizes = np.bincount(into, counts)
    left = np.unique(into)
    assert (into[left] == left).all(), "a class that is left is itself"
    assert len(left) == 1 or all(sizes[label] >= least for label in left)
    assert all(into[label] == label for label, count in enumerate(counts) if count >= least)


def model_of(pixels: Any, **settings: Any) -> tuple[ClusterModel, np.ndarray]:
    data, valid = scene("uint16"), holes((120, 150))
    source = MemorySource(data, valid, (64, 64))
    config = FIT.parse({"k": 12, "pixels": pixels, "tol": 0, **settings}, "test")
    model = fitted(source, config, FeaturesConfig(standardize="clip")).model
    return model, model.labeller(source.info)(data, valid).classes


@pytest.mark.parametrize("pixels", [500_000, "all"])
def test_a_model_without_small_classes_has_their_pixels_in_the_nearest(pixels: Any) -> None:
    plain, labels = model_of(pixels)
    sizes = np.array(plain.counts)
    least = int(np.sort(sizes)[3]) + 1  # four are smaller
    model, merged = model_of(pixels, min_size=least)
    assert model.k < plain.k
    assert min(model.counts) >= least
    np.testing.assert_array_equal(model.centroids, plain.centroids)
    assert model.counts == tuple(np.bincount(merged[merged > 0], minlength=model.k + 1)[1:].tolist())
    for label in range(1, plain.k + 1):
        (found,) = np.unique(merged[labels == label])
        assert (found > 0) == (label > 0)
    brightness = [np.mean(each.mean) for each in model.classes]  # type: ignore[arg-type]
    assert brightness == sorted(brightness)
    assert ClusterModel.from_json(model.to_json()) == model


def test_sizes_are_pixels_of_the_scene_shares_and_hectares() -> None:
    source = MemorySource(scene("uint16"))
    crs = CRS.from_epsg(6933).to_wkt()
    grid = replace(source.info.grid, transform=Affine(10, 0, 300_000, 0, -10, 5_900_000), crs=crs)
    assert least_count(300, 1000, 3000, grid) == 100
    assert least_count("2.5 %", 1000, 3000, grid) == 25
    assert float(least_count("3ha", 1000, 3000, grid)) == pytest.approx(100)
    nowhere = replace(grid, crs=None)
    with pytest.raises(ConfigError, match=r"^fit.min_size: 3 ha: the areas of pixels are unknown \(.*use a number"):
        least_count("3 ha", 1000, 3000, nowhere)


@pytest.mark.parametrize("size", [0, "ha", "100%", "-1 ha", "1e3 ha", "nan%", "1.2.3 ha", True])
def test_what_is_no_size_is_refused(size: Any) -> None:
    with pytest.raises(ConfigError, match=r"min_size: .* is not allowed; expected .*such as 1%"):
        FIT.parse({"min_size": size}, "fit")


def test_a_single_class_that_is_left_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    merge_small(np.array([5, 6, 7]), np.eye(3), Fraction(1000))
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    assert "2 of 3 classes are too small" in caplog.text
