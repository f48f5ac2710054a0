"""Clipped bands: the classes of scikit-learn on clamped pixels, with true means and the same bits for any blocks."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from blocks import fitted, holes, scene
from fakes import MemorySource
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from pipeline.config.record import parse_record
from pipeline.config.schema import FeaturesConfig
from pipeline.core.errors import ConfigError, FitError
from pipeline.core.units import Units
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.progress import Progress
from pipeline.features.standardize import Standardization
from pipeline.jobs.config import FIT
from pipeline.methods.fit import fit_source
from pipeline.models.base import ClusterModel

CLIP = FeaturesConfig(standardize="clip")


def uneven(dtype: str = "uint16") -> Any:
    """Bands with very different spreads, a dark and a bright outlier, and a cloud over the first rows."""
    data = scene(dtype, bands=3).astype(np.float64) * np.array([1, 30, 0.2])[:, None, None] + 50
    data[:, 100:, :3] *= 7
    data[1, 7] = 9000
    return data.astype(dtype)


def model_of(source: MemorySource, features: FeaturesConfig = CLIP, workers: int = 2, **fit: Any) -> ClusterModel:
    config = FIT.parse({"k": 5, **fit}, "test")
    if config.pixels == "all":
        return fitted(source, config, features, workers).model
    return fit_source(source, config, features, executor=ThreadExecutor(workers), progress=Progress()).model


def clamped(data: npt.NDArray[Any], valid: npt.NDArray[np.bool_], low: float = 2, high: float = 98) -> Any:
    """Pixels clamped to percentiles of the valid ones, (pixel, band), and the range of each band."""
    rows = data[:, valid].T
    bounds = [np.percentile(rows, low, axis=0, method="lower"), np.percentile(rows, high, axis=0, method="higher")]
    return np.clip(data.reshape(len(data), -1).T, *bounds).astype(np.float64), bounds[1] - bounds[0]


@pytest.mark.parametrize("pixels", [500_000, "all"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_classes_equal_those_of_scikit_learn_on_clamped_pixels(pixels: Any, dtype: str) -> None:
    data, valid = uneven(dtype), holes((120, 150))
    source = MemorySource(data, valid, (64, 64))
    model = model_of(source, pixels=pixels, tol=0)
    everything, spread = clamped(data, valid)
    rows = everything[valid.ravel()] / spread
    expected = KMeans(5, init=model.centres / spread, n_init=1, tol=0).fit(rows)
    assert model.inertia == pytest.approx(expected.inertia_, rel=1e-6), "scikit-learn could improve the centroids"
    labels = model.labeller(source.info)(data, valid).classes
    np.testing.assert_array_equal(labels[valid] - 1, expected.labels_)
    assert labels[~valid].max() == 0
    assert model.counts == tuple(np.bincount(labels[valid], minlength=6)[1:].tolist())


def test_the_model_has_centroids_of_clamped_pixels_and_true_means_and_is_ordered_by_these() -> None:
    data, valid = uneven(), holes((120, 150))
    source = MemorySource(data, valid, (64, 64))
    model = model_of(source, tol=0)
    labels, (everything, _) = model.labeller(source.info)(data, valid).classes, clamped(data, valid)
    for each, centroid in zip(model.classes, model.centres, strict=True):
        members = labels == each.id
        np.testing.assert_allclose(each.mean, data[:, members].mean(axis=1), rtol=1e-9)
        np.testing.assert_allclose(centroid, everything[members.ravel()].mean(axis=0), rtol=1e-9)
    brightness = [np.mean(each.mean) for each in model.classes]  # type: ignore[arg-type]
    assert brightness == sorted(brightness)
    assert np.abs(np.array([each.mean for each in model.classes]) - model.centres).max() > 1


@settings(max_examples=25, deadline=None)
@given(
    chunk=st.tuples(st.integers(7, 150), st.integers(7, 160)), workers=st.integers(1, 4),
    dtype=st.sampled_from(["uint8", "uint16", "int32", "float32"]), pixels=st.sampled_from(["all", 3000]),
)  # fmt: skip
def test_blocks_and_workers_change_no_bit(chunk: tuple[int, int], workers: int, dtype: str, pixels: Any) -> None:
    data, valid = uneven(dtype), holes((120, 150))
    whole = model_of(MemorySource(data, valid, (120, 150)), workers=1, pixels=pixels)
    source = MemorySource(data, valid, chunk)
    model = model_of(source, workers=workers, pixels=pixels)
    assert model == whole
    labels = model.labeller(source.info)(data, valid).classes
    for block in source.blocks:
        part = model.labeller(source.info)(*source.read(block)).classes
        np.testing.assert_array_equal(part, labels[block.slices])


def test_labels_of_more_pixels_than_a_strip_are_those_of_each_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.features import base

    data, valid = uneven(), holes((120, 150))
    source = MemorySource(data, valid, (64, 64))
    labeller = model_of(source).labeller(source.info)
    expected = labeller(data, valid).classes
    monkeypatch.setattr(base, "STRIP_PIXELS", 1000)
    np.testing.assert_array_equal(labeller(data, valid).classes, expected)


def test_the_order_of_bands_changes_no_label() -> None:
    data, valid = uneven(), holes((120, 150))
    one, other = MemorySource(data, valid), MemorySource(np.ascontiguousarray(data[[2, 0, 1]]), valid)
    start = model_of(one, tol=0)
    turned = start.model_copy(
        update={
            "preparation": Standardization(
                standardize="clip",
                **{
                    name: tuple(getattr(start.preparation, name)[band] for band in (2, 0, 1))
                    for name in ("centre", "spread", "bounds")
                },
            ),
            "centroids": tuple(tuple(row) for row in start.centres[:, [2, 0, 1]].tolist()),
        }
    )
    expected = start.labeller(one.info)(data, valid).classes
    np.testing.assert_array_equal(turned.labeller(other.info)(other.data, valid).classes, expected)


@pytest.mark.parametrize(("scale", "offset"), [(1e-4, -0.1), (-0.5, 900.0), (2.75e-5, -0.2)])
def test_bounds_are_the_same_numbers_of_any_scene_in_the_models_quantity(scale: float, offset: float) -> None:
    data, valid = uneven("uint16"), holes((120, 150))
    source = MemorySource(data, valid)
    facts = {"scales": (scale,) * 3, "offsets": (offset,) * 3, "quantities": ("reflectance",) * 3}
    source.info = replace(source.info, **facts)  # type: ignore[arg-type]
    model = model_of(source)
    bounds = [np.percentile(data[:, valid], p, axis=1, method=way) for p, way in ((2, "lower"), (98, "higher"))]  # type: ignore[call-overload]
    np.testing.assert_array_equal(model.preparation.bind(source.info.units).limits, bounds)
    shifted = Units(dtype="uint16", scales=(scale,) * 3, offsets=(offset - 1000 * scale,) * 3, quantity="reflectance")
    np.testing.assert_array_equal(model.preparation.bind(shifted).limits, np.array(bounds) + 1000)
    floats = Units(dtype="float64", scales=(1.0,) * 3, offsets=(0.0,) * 3, quantity="reflectance")
    physical = np.sort(np.array(bounds) * scale + offset, axis=0)
    np.testing.assert_allclose(model.preparation.bind(floats).limits, physical, rtol=1e-12)  # type: ignore[arg-type]


def test_bounds_beyond_a_scenes_type_are_those_of_the_type() -> None:
    found = Standardization(standardize="clip", centre=(-5.0,), spread=(1000.0,), bounds=((-5.0, 995.0),))
    limits = found.bind(Units(dtype="uint8", scales=(1.0,), offsets=(0.0,))).limits
    np.testing.assert_array_equal(limits, [[0], [255]])  # type: ignore[arg-type]


def test_a_band_without_spread_between_the_percentiles_is_refused_by_name() -> None:
    data = uneven()
    data[2, 2:] = 7
    with pytest.raises(FitError, match=r"clip: band band3 has no spread .* from percentile 2 to 98 are equal.* zscore"):
        model_of(MemorySource(data))


@pytest.mark.parametrize("clip", [[98, 2], [2], [-1, 50], [2, 101], [False, True], 5])
def test_percentiles_that_are_none_are_refused(clip: Any) -> None:
    with pytest.raises(ConfigError, match=r"standardize\W+clip: .*(not smaller than 2|two percentiles from 0)"):
        parse_record(FeaturesConfig, {"standardize": {"clip": clip}}, "features")


def test_other_percentiles_are_used() -> None:
    data, valid = uneven(), holes((120, 150))
    model = model_of(MemorySource(data, valid), FeaturesConfig.model_validate({"standardize": {"clip": [10, 80]}}))
    bounds = [np.percentile(data[:, valid], p, axis=1, method=way) for p, way in ((10, "lower"), (80, "higher"))]  # type: ignore[call-overload]
    np.testing.assert_array_equal(np.array(model.preparation.bounds).T, bounds)
