"""The scikit-learn face: scikit-learn's own checks, the same numbers as its estimators and as `fit`, and scenes."""

import inspect
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import patches
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.metrics import pairwise_distances
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from pipeline import ClusterEstimator, fit, label
from pipeline.core.errors import ConfigError, ModelError

pytestmark = pytest.mark.lowest


def samples(dtype: str = "float64") -> Any:
    """600 samples of four features in five groups."""
    rng = np.random.default_rng(4)
    centres = rng.uniform(0, 1000, (5, 4))
    return np.round(centres[rng.integers(0, 5, 600)] + rng.normal(0, 25, (600, 4))).clip(0).astype(dtype)


def scene(chunk: int = 64, halo: bool = False) -> xr.DataArray:  # noqa: FBT001, FBT002
    """A lazy scene of three bands with nodata."""
    array = xr.DataArray(patches(3), dims=("band", "y", "x"), coords={"band": ["green", "red", "nir"]})
    array = array.assign_coords(valid=(("y", "x"), np.arange(200)[:, np.newaxis] % 40 + np.zeros(300, int) > 3))
    return array.chunk({"y": chunk, "x": chunk + 16 * halo})


@parametrize_with_checks([ClusterEstimator(k=3, starts=2), ClusterEstimator(k=3, method="gmm", starts=2, steps=5)])
def test_scikit_learn_takes_it_for_an_estimator(estimator: Any, check: Any) -> None:
    check(estimator)


def test_its_parameters_are_the_arguments_of_fit() -> None:
    wanted = list(inspect.signature(fit).parameters.values())[1:]
    found = list(inspect.signature(ClusterEstimator).parameters.values())
    assert {each.name: each.default for each in found} == {each.name: each.default for each in wanted}


@pytest.mark.parametrize("dtype", ["float64", "float32", "uint16", "int64"])
def test_from_the_same_start_it_finds_what_kmeans_finds(dtype: str) -> None:
    rows = samples(dtype)
    start = rows[:5].astype(float)
    ours = ClusterEstimator(init=start, standardize="none", tol=0).fit(rows)
    theirs = KMeans(5, init=start, n_init=1, tol=0).fit(rows.astype(float))
    order = theirs.cluster_centers_.mean(axis=1).argsort()
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_[order])
    np.testing.assert_array_equal(ours.labels_, order.argsort()[theirs.labels_])
    np.testing.assert_array_equal(ours.counts_, np.bincount(ours.labels_))
    assert ours.inertia_ == pytest.approx(theirs.inertia_)
    assert ours.score(rows) == pytest.approx(theirs.score(rows.astype(float)))
    assert ours.n_features_in_ == theirs.n_features_in_
    others = samples()[::-1] + 13.0
    np.testing.assert_allclose(ours.transform(others), theirs.transform(others)[:, order])
    np.testing.assert_array_equal(ours.predict(others), order.argsort()[theirs.predict(others)])
    assert list(ours.get_feature_names_out()) == [f"clusterestimator{i}" for i in range(5)]


@pytest.mark.parametrize(
    "settings",
    [
        {"k": 4},
        {"k": 4, "standardize": "zscore", "weights": {"band2": 2}, "pca": 2},
        {"method": "isodata"},
        {"k": 4, "pixels": "all", "indices": ["band1 / band2"]},
        {"method": "minibatch", "k": 4},
    ],
)
def test_the_model_of_an_array_is_that_of_a_scene_of_its_numbers(settings: dict[str, Any]) -> None:
    rows = samples("uint16")
    column = xr.DataArray(rows.T[:, :, np.newaxis], dims=("band", "y", "x"))
    ours, theirs = ClusterEstimator(**settings).fit(rows), fit(column, **settings)
    unlike = {"provenance"}
    assert ours.model_.model_dump(exclude=unlike) == theirs.model_dump(exclude=unlike)
    np.testing.assert_array_equal(ours.labels_ + 1, label(column, theirs).values[:, 0])
    np.testing.assert_array_equal(ours.predict(rows.astype("float32")), ours.labels_)
    np.testing.assert_array_equal(ours.transform(rows).argmin(axis=1), ours.labels_)
    assert -ours.score(rows) == pytest.approx(ours.inertia_)


def test_samples_with_nan_take_no_part_and_have_the_label_minus_one() -> None:
    rows = samples()
    holes = rows.copy()
    holes[::7, 2] = np.nan
    kept = ~np.isnan(holes).any(axis=1)
    ours, without = ClusterEstimator(k=5).fit(holes), ClusterEstimator(k=5).fit(rows[kept])
    np.testing.assert_array_equal(ours.labels_ == -1, ~kept)
    np.testing.assert_allclose(np.sort(ours.cluster_centers_[:, 0]), np.sort(without.cluster_centers_[:, 0]))
    np.testing.assert_array_equal(np.isnan(ours.transform(holes)), np.repeat(~kept[:, np.newaxis], 5, axis=1))
    assert ours.score(holes) == pytest.approx(ours.score(rows[kept]))
    with pytest.raises(ValueError, match="infinity"):
        ClusterEstimator(k=5).fit(np.where(np.isnan(holes), np.inf, holes))


def test_noise_of_other_clusterers_has_the_label_minus_one() -> None:
    rows = np.vstack([samples(), [[9000.0, 0, 0, 0]]])
    options = {"eps": 0.25, "min_samples": 5}
    ours = ClusterEstimator(method="sklearn", estimator="cluster.DBSCAN", options=options).fit(rows)
    assert ours.labels_[-1] == -1
    assert set(ours.labels_.tolist()) == {-1, *range(ours.model_.k)}
    assert ours.transform(rows).shape == (601, ours.model_.k)


def test_scores_and_posteriors_of_a_mixture_are_those_of_scikit_learn() -> None:
    rows = samples()
    ours = ClusterEstimator(k=5, method="gmm", standardize="none").fit(rows)
    gaussians = ours.model_.gaussians
    theirs = GaussianMixture(5)
    theirs.means_, theirs.covariances_, theirs.weights_ = gaussians
    theirs.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(theirs.covariances_))
    assert ours.score(rows) == pytest.approx(theirs.score(rows))
    np.testing.assert_allclose(ours.predict_proba(rows), theirs.predict_proba(rows), atol=1e-9)
    np.testing.assert_array_equal(ours.predict(rows), theirs.predict(rows))
    assert not hasattr(ours, "transform")
    assert not hasattr(ClusterEstimator(method="gmm"), "fit_transform")
    assert not hasattr(ClusterEstimator(), "predict_proba")


@pytest.mark.parametrize("features", [{}, {"smooth": 3}, {"indices": ["ndvi"], "standardize": "minmax"}])
def test_a_scene_is_labelled_and_measured_lazily(features: dict[str, Any]) -> None:
    ours = ClusterEstimator(k=4, **features)
    labels = ours.fit_predict(scene())
    model = fit(scene(), k=4, **features)
    assert ours.model_ == model
    assert labels.chunks is not None
    xr.testing.assert_identical(labels, label(scene(), model))
    assert list(ours.feature_names_in_) == ["green", "red", "nir"]
    assert ours.n_features_in_ == 3
    assert not hasattr(ours, "labels_")
    distances = ours.transform(scene())
    assert (distances.dims, distances.name) == (("class", "y", "x"), "distance")
    assert distances.rio.transform() == labels.rio.transform()
    assert distances.chunks == ((4,), *labels.chunks)
    np.testing.assert_array_equal(np.isnan(distances).any("class"), labels == 0)
    nearest = distances.fillna(-1).argmin("class") + 1
    np.testing.assert_array_equal(nearest.where(labels > 0, 0), labels)
    whole = ours.transform(scene(400, halo=True))
    np.testing.assert_array_equal(whole, distances)
    assert -ours.score(scene()) == pytest.approx(ours.inertia_)


def test_scenes_stay_arrays_whatever_set_output_says() -> None:
    plain = ClusterEstimator(k=4).fit(scene())
    ours = ClusterEstimator(k=4).set_output(transform="pandas")
    xr.testing.assert_identical(ours.fit_transform(scene()), plain.transform(scene()))
    xr.testing.assert_identical(ours.transform(scene()), plain.transform(scene()))


def test_distances_of_a_scene_are_euclidean_in_its_own_numbers() -> None:
    ours = ClusterEstimator(k=4, standardize="none").fit(scene())
    pixels = scene().values.reshape(3, -1).T.astype(float)
    expected = pairwise_distances(pixels, ours.cluster_centers_)
    found = ours.transform(scene()).values.reshape(4, -1).T
    valid = ~np.isnan(found).any(axis=1)
    np.testing.assert_allclose(found[valid], expected[valid])


def test_posteriors_of_a_scene_are_those_of_its_pixels() -> None:
    ours = ClusterEstimator(k=3, method="gmm").fit(scene())
    lazy = ours.predict_proba(scene())
    assert (lazy.dims, lazy.name) == (("class", "y", "x"), "probability")
    pixels = scene().values.reshape(3, -1).T
    rows = ClusterEstimator(k=3, method="gmm").fit(pixels)
    rows.model_ = ours.model_.model_copy(update={"bands": rows.model_.bands})
    valid = lazy.notnull().all("class").values.ravel()
    np.testing.assert_allclose(lazy.values.reshape(3, -1).T[valid], rows.predict_proba(pixels)[valid])
    assert ours.score(scene()) == pytest.approx(rows.score(pixels[valid]))


def test_it_works_in_a_pipeline_and_a_grid_search() -> None:
    rows = samples()
    steps = make_pipeline(StandardScaler(), PCA(3), ClusterEstimator(standardize="none", k=5))
    labels = steps.fit_predict(rows)
    same = KMeans(5, n_init=10, random_state=0).fit_predict(PCA(3).fit_transform(StandardScaler().fit_transform(rows)))
    assert len({*zip(labels.tolist(), same.tolist(), strict=True)}) == 5
    search = GridSearchCV(ClusterEstimator(starts=3), {"k": [2, 3, 5]}, cv=3).fit(rows)
    assert search.best_params_ == {"k": 5}
    assert search.best_score_ == pytest.approx(search.cv_results_["mean_test_score"].max())


def test_columns_of_a_data_frame_are_features_by_name() -> None:
    frame = pd.DataFrame(samples(), columns=["blue", "green", "red", "nir"])
    ours = ClusterEstimator(k=4, indices=["ndvi"], assume="reflectance").set_output(transform="pandas").fit(frame)
    assert ours.model_.bands == ("blue", "green", "red", "nir", "ndvi")
    assert list(ours.feature_names_in_) == list(frame)
    assert ours.cluster_centers_.shape == (4, 5)
    assert list(ours.transform(frame)) == [f"clusterestimator{i}" for i in range(4)]
    with pytest.raises(ValueError, match="feature names"):
        ours.predict(frame[["nir", "red", "green", "blue"]])


def test_a_clone_or_a_pickle_is_the_same_estimator() -> None:
    ours = ClusterEstimator(k=4, starts=3, weights={"band1": 2}).fit(samples())
    assert clone(ours).get_params() == ours.get_params()
    with pytest.raises(NotFittedError):
        clone(ours).predict(samples())
    copy = pickle.loads(pickle.dumps(ours))  # noqa: S301 (made here)
    assert copy.model_ == ours.model_
    np.testing.assert_array_equal(copy.predict(samples()), ours.labels_)
    assert clone(ours).set_params(weights=None).fit(samples()).model_ != ours.model_


def test_a_fit_on_a_scene_forgets_that_on_an_array() -> None:
    ours = ClusterEstimator(k=3).fit(samples())
    assert ours.labels_.shape == (600,)
    ours.fit(scene())
    assert not hasattr(ours, "labels_")
    assert not hasattr(ours.fit(samples()), "feature_names_in_")


@pytest.mark.parametrize(
    ("settings", "rows", "kind", "message"),
    [
        ({"smooth": 3}, samples(), ConfigError, r"^smooth: samples of an array have no neighbours; leave it out"),
        ({"k": 1}, samples(), ConfigError, r"^fit: k: 1 is not allowed"),
        ({"method": "kmean"}, samples(), ConfigError, r"^fit: method: 'kmean' is not allowed"),
        ({}, samples()[:, 0], ValueError, "Reshape your data"),
        ({}, samples().reshape(10, 60, 4), ValueError, "dim 3"),
        ({}, [["a", "b"], ["c", "d"]], ValueError, "(?i)convert .*(numeric|float)"),
    ],
)
def test_what_is_wrong_is_said(settings: dict[str, Any], rows: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        ClusterEstimator(**settings).fit(rows)


def test_ranges_have_labels_and_neither_distances_nor_a_score() -> None:
    rows = samples()[:, :1]
    ours = ClusterEstimator(method="ranges", edges=[100, 300, 600]).fit(rows)
    expected = np.digitize(rows[:, 0], [100, 300, np.nextafter(600, 601)]) - 1
    np.testing.assert_array_equal(ours.labels_, np.where(expected == 2, -1, expected))
    assert not hasattr(ours, "transform")
    with pytest.raises(ModelError, match="a model of method ranges has neither distances nor densities of classes"):
        ours.score(rows)
