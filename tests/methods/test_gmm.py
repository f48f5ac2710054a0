"""Gaussian mixtures: EM of scikit-learn from the same start, the same bits for any blocks and workers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from blocks import scene
from fakes import MemorySource
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from pipeline import fit, label
from pipeline.config.schema import FeaturesConfig
from pipeline.core.errors import ConfigError, FitError
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.progress import Progress
from pipeline.jobs.config import FIT
from pipeline.kernels.assign import assign
from pipeline.methods.em import ExpectationMaximization, fit_gaussians
from pipeline.methods.fit import fit_source
from pipeline.models.base import ClusterModel
from pipeline.models.gaussians import GaussianModel

pytestmark = pytest.mark.lowest


def fit_model(source: Any, workers: int = 2, standardize: Any = "none", **changes: Any) -> GaussianModel:
    config = FIT.parse({"method": "gmm", "k": 4, "pixels": 5000, "starts": 2, "steps": 8, **changes}, "test")
    features = FeaturesConfig(standardize=standardize)
    model = fit_source(source, config, features, executor=ThreadExecutor(workers), progress=Progress()).model
    assert isinstance(model, GaussianModel)
    return model


def labelled(points: Any, k: int, seed: int = 0) -> tuple[Any, Any]:
    """Classes of points, shape (point,), by the nearest of k of them; and these, shape (k, band)."""
    chosen = np.random.default_rng(seed).choice(points.shape[1], k, replace=False)
    centres = np.ascontiguousarray(points[:, chosen].T.astype(np.float64))
    return assign(points[:, np.newaxis], np.ones((1, points.shape[1]), bool), centres)[0], centres


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize(
    ("bands", "k", "steps", "ridge"), [(3, 4, 20, 0.01), (6, 9, 30, 0.0), (1, 3, 5, 0.1), (5, 2, 0, 0)]
)
def test_steps_are_those_of_scikit_learn(  # noqa: PLR0917
    bands: int,
    k: int,
    steps: int,
    ridge: float,
    diagonal: bool,  # noqa: FBT001
    dtype: str,
) -> None:
    points = scene(dtype, bands=bands).reshape(bands, -1)
    em = ExpectationMaximization(points, ridge=ridge, diagonal=diagonal, workers=2)
    labels, centres = labelled(points, k)
    start = em.start(labels, centres)
    found, log = fit_gaussians(em, labels, centres, steps)
    assert len(log) == steps
    numbers = points.T.astype(np.float64)
    mean, deviation = numbers.mean(axis=0), numbers.std(axis=0)
    standard = (numbers - mean) / deviation
    for c, mean_of_class in enumerate(start.means):
        np.testing.assert_allclose(mean_of_class, standard[labels == c + 1].mean(axis=0), atol=1e-12)
    precisions = np.linalg.inv(start.covariances)
    oracle = GaussianMixture(
        k, covariance_type="diag" if diagonal else "full", tol=0, max_iter=max(steps, 1), reg_covar=ridge,
        means_init=start.means, weights_init=start.weights,
        precisions_init=np.diagonal(precisions, axis1=1, axis2=2) if diagonal else precisions,
    )  # fmt: skip
    if steps:
        with pytest.warns(UserWarning, match="did not converge"):
            oracle.fit(standard)
        means, covariances, weights = oracle.means_, oracle.covariances_, oracle.weights_
        covariances = np.einsum("cb,bd->cbd", covariances, np.eye(bands)) if diagonal else covariances
        np.testing.assert_allclose((found.means - mean) / deviation, means, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(
            found.covariances / np.outer(deviation, deviation), covariances, rtol=1e-9, atol=1e-9
        )
        np.testing.assert_allclose(found.weights, weights, rtol=1e-9)
    else:
        np.testing.assert_allclose((found.means - mean) / deviation, start.means, atol=1e-12)


def test_bits_are_the_same_for_any_workers() -> None:
    points = scene("float32", (300, 200), 4).reshape(4, -1)
    labels, centres = labelled(points, 6)
    assert points.shape[1] % 512
    found = []
    for workers in (1, 2, 3, 4):
        em = ExpectationMaximization(points, ridge=0.01, diagonal=False, workers=workers)
        found.append(fit_gaussians(em, labels, centres, 6)[0])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("standardize", ["none", "clip"])
def test_the_model_does_not_depend_on_chunks_and_workers(standardize: str) -> None:
    data = scene("uint16", bands=4)
    valid = data[0] > 60
    models = {
        fit_model(MemorySource(data, valid, chunk), workers, standardize).to_json()
        for chunk, workers in (((120, 150), 1), ((64, 64), 3), ((31, 17), 2), ((1, 150), 4))
    }
    assert len(models) == 1


@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0), (1e-4, 0.3, -2.0)])
@pytest.mark.parametrize("standardize", ["none", "clip", "zscore"])
def test_counts_are_the_labels_of_the_model_as_it_is_loaded(standardize: str, scales: tuple[float, ...]) -> None:
    source = MemorySource(scene("uint16"))
    source.info = replace(source.info, scales=scales, offsets=(0.1, 0.0, 7.0), quantities=("reflectance",) * 3)
    model = fit_model(source, standardize=standardize, pixels=source.info.pixels)
    loaded = ClusterModel.from_json(model.to_json())
    assert loaded == model
    labels = model.labeller(source.info)(source.data, source.valid).classes
    np.testing.assert_array_equal(loaded.labeller(source.info)(source.data, source.valid).classes, labels)
    assert tuple(np.bincount(labels.ravel(), minlength=5)[1:]) == model.counts
    brightness = [np.mean(each.mean) for each in model.classes if each.mean is not None]
    assert brightness == sorted(brightness)


@settings(max_examples=8, deadline=None)
@given(st.permutations(range(3)), st.integers(0, 2**20))
def test_the_order_of_the_bands_and_nodata_do_not_matter(order: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    data, valid = scene("uint16"), rng.random((120, 150)) < 0.9
    labels, centres = labelled(data[:, valid], 4)
    (one, _), (two, _) = (
        fit_gaussians(
            ExpectationMaximization(np.ascontiguousarray(pixels), ridge=0.01, diagonal=False, workers=1),
            labels, centres[:, list(bands)], 5,
        )
        for pixels, bands in ((data[:, valid], range(3)), (data[:, valid][order], order))
    )  # fmt: skip
    np.testing.assert_allclose(two.means, one.means[:, order], rtol=1e-9)
    np.testing.assert_allclose(two.covariances, one.covariances[:, order][:, :, order], rtol=1e-8, atol=1e-8)
    changed = np.where(valid, data, rng.integers(0, 2**16, data.shape, np.uint16))
    assert fit_model(MemorySource(changed, valid)) == fit_model(MemorySource(data, valid))


def test_a_singular_covariance_without_ridge_is_an_error_that_says_how_to_fit() -> None:
    data = scene("uint16")
    data[2] = data[0] + data[1]
    with pytest.raises(FitError, match=r"^fit\.ridge: 0: the covariance of a class is singular.*raise fit\.ridge"):
        fit_model(MemorySource(data), ridge=0)
    assert fit_model(MemorySource(data)).k == 4
    assert fit_model(MemorySource(data), ridge=0, covariance="diag").k == 4


def test_a_band_without_variance_is_fitted_with_a_ridge() -> None:
    data = scene("uint16")
    data[1] = 7
    assert fit_model(MemorySource(data)).k == 4
    with pytest.raises(FitError, match=r"^fit\.ridge: 0: "):
        fit_model(MemorySource(data), ridge=0)


def test_classes_that_die_out_are_reported_and_the_model_is_valid(caplog: pytest.LogCaptureFixture) -> None:
    data = np.random.default_rng(0).normal(100, 10, (2, 100, 100)).astype("float32")
    model = fit_model(MemorySource(data), k=30, ridge=5, steps=200)
    dead = [each.id for each in model.classes if not each.pixels]
    assert dead
    assert f"fit.k: {len(dead)} of the 30 classes died out ({', '.join(map(str, dead))})" in caplog.text
    assert ClusterModel.from_json(model.to_json()) == model
    caplog.clear()
    fit_model(MemorySource(data), k=2)
    assert "died out" not in caplog.text


def test_a_class_without_points_stays_with_weight_0() -> None:
    points = scene("float32").reshape(3, -1)
    labels, centres = labelled(points, 3)
    em = ExpectationMaximization(points, ridge=0.01, diagonal=False, workers=1)
    with_empty = em.step(em.start(labels, np.vstack([centres, [[1, 2, 3]]])))
    without = em.step(em.start(labels, centres))
    for one, two in zip(with_empty, without, strict=True):
        np.testing.assert_array_equal(one[:3], two)
    assert with_empty.weights[3] == 0
    np.testing.assert_allclose(em.in_units_of_points(with_empty).means[3], [1, 2, 3])


def test_covariances_are_found_which_k_means_can_not_tell_apart() -> None:
    """Two crossing classes with one mean, and bands of very different scales."""
    rng = np.random.default_rng(0)
    inner = rng.random((120, 150)) < 0.5
    long, short = rng.normal(0, 1, (120, 150)), rng.normal(0, 0.05, (120, 150))
    data = np.where(inner, [long, short], [short, long]) * np.array([1, 1000])[:, None, None] + 3000
    model = fit_model(MemorySource(data.astype("float32")), k=2, ridge=1e-4, steps=100, pixels=18_000)
    labels = model.labeller(MemorySource(data.astype("float32")).info)(data.astype("float32"), inner | True).classes
    assert adjusted_rand_score(inner.ravel(), labels.ravel()) > 0.8


def test_settings_that_a_mixture_has_not_are_refused_with_the_fix() -> None:
    with pytest.raises(
        ConfigError, match=r"^test: min_size: a key of kmeans, minibatch, dask-ml, isodata; method: gmm"
    ):
        FIT.parse({"method": "gmm", "min_size": "1%"}, "test")


def test_python_functions_fit_and_label(tmp_path: Path) -> None:
    data, valid = scene("uint16"), np.arange(120 * 150).reshape(120, 150) % 7 > 0
    coords = {"band": ["band1", "band2", "band3"], "valid": (("y", "x"), valid)}
    array = xr.DataArray(data, dims=("band", "y", "x"), coords=coords).chunk({"y": 50})
    model = fit(array, 4, method="gmm", pixels=5000, starts=2, steps=8, ridge=0.02, covariance="diag", tol=1e-4)
    same = fit_model(MemorySource(data, valid), standardize="clip", ridge=0.02, covariance="diag", tol=1e-4)
    assert model.means == same.means
    assert model.covariances == same.covariances
    assert not any(matrix[0][1] for matrix in model.covariances)
    (tmp_path / "m.json").write_text(model.to_json())
    labels = label(array, ClusterModel.load(tmp_path / "m.json")).values
    np.testing.assert_array_equal(labels, same.labeller(MemorySource(data).info)(data, valid).classes)
