"""Principal components: those of scikit-learn, of any units and blocks, in runs and from the model alone."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fakes import MemorySource
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import config, read
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA
from sources import layers, product

from pipeline import fit, label, open_scene
from pipeline.config.schema import FeaturesConfig, SceneConfig
from pipeline.core.errors import ConfigError, ModelError
from pipeline.core.units import Units
from pipeline.features.standardize import Standardization
from pipeline.jobs.predict import predict
from pipeline.jobs.run import fit_config, plan_config, run_config
from pipeline.models.base import ClusterModel
from pipeline.sinks.registry import OutputConfig

FIT = {"k": 5, "starts": 2, "pixels": 20_000}
FEATURES = {"pca": 3, "indices": ["ndvi"], "standardize": "zscore"}


def spread(generator: np.random.Generator, bands: int, count: int = 3000) -> npt.NDArray[np.float32]:
    """Correlated bands."""
    mixed = generator.normal(size=(bands, bands)) @ (
        generator.normal(size=(bands, count)) * np.arange(1, bands + 1)[:, None]
    )
    return (100 + mixed).astype(np.float32)


def fitted(points: npt.NDArray[Any], pca: float, standardize: str = "none", scales: Any = 1.0) -> Any:
    """Standardization with components of points, and the units of these."""
    count = len(points)
    info = replace(
        MemorySource(points[:, None]).info,
        scales=tuple(np.broadcast_to(scales, count).tolist()),
        quantities=("scaled",) * count,
    )
    features = FeaturesConfig(pca=pca, standardize=standardize)  # type: ignore[arg-type]
    return Standardization.fit(points, info, features).with_components(pca, points, info), info.units


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32 - 1), bands=st.integers(2, 6), negative=st.booleans())
def test_components_are_those_of_scikit_learn(seed: int, bands: int, *, negative: bool) -> None:
    generator = np.random.default_rng(seed)
    points, scales = spread(generator, bands), np.where(negative, -0.5, 0.5) * np.arange(1, bands + 1)
    made, units = fitted(points, bands, scales=scales)
    oracle = PCA(svd_solver="full").fit(points.T * scales)
    loadings, found = oracle.components_, np.array(made.components.loadings)
    signs = np.sign(np.take_along_axis(loadings, np.abs(loadings).argmax(axis=1)[:, None], axis=1))
    np.testing.assert_allclose(found, loadings * signs, atol=1e-5)
    np.testing.assert_allclose(made.components.shares, oracle.explained_variance_ratio_, rtol=1e-5, atol=1e-9)
    assert (np.take_along_axis(found, np.abs(found).argmax(axis=1)[:, None], axis=1) > 0).all()
    expected = oracle.transform(points.T * scales).T * signs
    np.testing.assert_allclose(made.bind(units).apply(points), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("share", [0.3, 0.8, 0.95, 0.9999])
def test_a_share_of_the_variance_is_reached_by_as_few_components_as_possible(share: float) -> None:
    points = spread(np.random.default_rng(0), 6)
    ratios = PCA().fit(points.T).explained_variance_ratio_
    made, _ = fitted(points, share)
    assert len(made.components.loadings) == int(np.searchsorted(np.cumsum(ratios), share)) + 1


@pytest.mark.parametrize("standardize", ["none", "clip", "robust"])
def test_other_units_of_a_scene_give_the_same_components(standardize: str) -> None:
    points = spread(np.random.default_rng(1), 4)
    made, units = fitted(points, 3, standardize)
    other = Units(dtype="float32", scales=(2.0, -0.5, 1.0, 4.0), offsets=(7.0, 0.0, -3.0, 0.0), quantity="scaled")
    stored = np.stack(
        [(band - offset) / scale for band, scale, offset in zip(points, other.scales, other.offsets, strict=True)]
    )
    one, two = made.bind(units).apply(points), made.bind(other).apply(stored.astype(np.float32))
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), standardize=st.sampled_from(["none", "clip", "zscore"]))
def test_each_point_has_components_of_its_own_within_the_bounds(seed: int, standardize: str) -> None:
    points = spread(np.random.default_rng(seed), 4, 500)
    made, units = fitted(points, 4, standardize)
    preparation = pickle.loads(pickle.dumps(made)).bind(units)  # noqa: S301 (our own)
    whole = preparation.apply(points)
    for cut in (slice(3, 4), slice(100, 371)):
        np.testing.assert_array_equal(preparation.apply(np.ascontiguousarray(points[:, cut])), whole[:, cut])
    low, high = preparation.bounds(points.min(axis=1), points.max(axis=1))
    assert (low <= whole.min(axis=1)).all()
    assert (high >= whole.max(axis=1)).all()


def test_points_are_restored_from_all_components() -> None:
    points = spread(np.random.default_rng(2), 4, 300)
    made, units = fitted(points, 4, "zscore", scales=[1.0, -2.0, 3.0, 0.1])
    preparation = made.bind(units)
    np.testing.assert_allclose(preparation.restore(preparation.apply(points).T.astype(np.float64)), points.T, rtol=1e-4)


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    return product(tmp_path, "one", layers())


def columns_of_the_product() -> npt.NDArray[np.float64]:
    """Reflectance of four bands, and NDVI, shape (column, pixel)."""
    made = layers()
    bands = np.stack([(made[band].ravel() - 1000.0) / 10_000 for band in ("B02", "B03", "B04", "B08")])
    return np.concatenate([bands, [(bands[3] - bands[2]) / (bands[3] + bands[2])]])


def components_of(model: ClusterModel) -> npt.NDArray[np.float64]:
    """Components of each pixel of the product, shape (component, pixel)."""
    made, components = model.preparation, model.preparation.components
    assert components is not None
    centre, deviation, mean = (np.array(each)[:, None] for each in (made.centre, made.spread, components.centre))
    return np.array(components.loadings) @ ((columns_of_the_product() - centre) / deviation - mean)


@pytest.mark.parametrize("pixels", [20_000, "all"])
@pytest.mark.parametrize("method", ["kmeans", "minibatch", "dask-ml"])
def test_a_run_classes_by_components(safe: Path, tmp_path: Path, pixels: Any, method: str) -> None:
    run_config(config(safe, tmp_path / "m.tif", features=FEATURES, fit=FIT | {"pixels": pixels, "method": method}))
    model, columns = ClusterModel.load(tmp_path / "m.model.json"), columns_of_the_product()
    points = components_of(model)
    centroids = np.array(json.loads(model.to_json())["centroids"])
    distances = np.linalg.norm(points.T[:, None] - centroids, axis=2)
    first, second = np.sort(distances, axis=1)[:, :2].T
    clear, found = second - first > 1e-4, read(tmp_path / "m.tif").ravel()
    np.testing.assert_array_equal(found[clear], distances.argmin(axis=1)[clear] + 1)
    assert clear.mean() > 0.99
    means = [columns[:4, found == label].mean() for label in range(1, 6)]
    assert means == sorted(means)
    if pixels == "all":
        assert model.inertia == pytest.approx((first**2).sum(), rel=1e-3)
        np.testing.assert_allclose(
            centroids, [points[:, found == label].mean(axis=1) for label in range(1, 6)], atol=0.05
        )


@pytest.mark.parametrize("pixels", [20_000, "all"])
def test_blocks_and_workers_change_no_byte(safe: Path, tmp_path: Path, pixels: Any) -> None:
    maps = []
    for number, run in enumerate(({}, {"chunk": 64, "workers": 1}, {"chunk": 128, "workers": 2, "cache": "memory"})):
        path = tmp_path / f"{number}.tif"
        made = config(safe, path, features=FEATURES | {"smooth": 3}, fit=FIT | {"pixels": pixels}, run=run)
        assert run_config(made)["source_passes"] == 1
        maps.append([path.with_suffix(suffix).read_bytes() for suffix in (".tif", ".csv", ".model.json")])
    assert maps[0] == maps[1] == maps[2]


def test_predict_label_and_python_do_the_same(safe: Path, tmp_path: Path) -> None:
    """The other product has another offset."""
    features = FEATURES | {"standardize": "clip", "pca": 0.99}
    run_config(config(safe, tmp_path / "m.tif", features=features, fit=FIT | {"min_size": "2%"}))
    model, expected = ClusterModel.load(tmp_path / "m.model.json"), read(tmp_path / "m.tif")
    own = fit(open_scene(safe), indices=["ndvi"], pca=0.99, min_size="2%", **FIT)
    assert own.digest == model.digest
    np.testing.assert_array_equal(label(open_scene(safe), model).values, expected)
    shifted = {band: plane if band == "SCL" else plane - 1000 for band, plane in layers().items()}
    other = product(tmp_path, "other", shifted, offsets=None, baseline="02.14")
    for scene in (safe, other):
        path = tmp_path / f"{scene.parent.name}.tif"
        predict(SceneConfig(source=(str(scene),)), model, OutputConfig(labels=str(path)))
        assert (read(path) == expected).mean() > (0.9999 if scene == other else 0.999999)


@pytest.mark.parametrize(
    "method",
    [
        {"method": "isodata", "k_min": 3, "k_max": 6, "pixels": 20_000},
        {"method": "sklearn", "estimator": "cluster.KMeans", "options": {"n_clusters": 5}, "pixels": 2000},
        {
            "method": "sklearn",
            "estimator": "cluster.AgglomerativeClustering",
            "options": {"n_clusters": 4},
            "pixels": 100,  # distances of all pixels of the map to each are computed below
        },
    ],
    ids=lambda method: method.get("estimator", method["method"]),
)
def test_other_methods_class_by_components(safe: Path, tmp_path: Path, method: dict[str, Any]) -> None:
    run_config(config(safe, tmp_path / "m.tif", features=FEATURES, fit=method))
    model, found = ClusterModel.load(tmp_path / "m.model.json"), read(tmp_path / "m.tif")
    content = json.loads(model.to_json())
    assert {len(row) for row in content["centroids"]} == {3}
    assert {len(row) for row in model.centres} == {5}
    labels = content.get("classes_of_points") or range(1, len(content["centroids"]) + 1)
    distances = np.linalg.norm(components_of(model).T[:, None] - np.array(content["centroids"]), axis=2)
    first, second = np.sort(distances, axis=1)[:, :2].T
    clear = second - first > 1e-4
    np.testing.assert_array_equal(found.ravel()[clear], np.array(labels)[distances.argmin(axis=1)][clear])
    np.testing.assert_array_equal(label(open_scene(safe), model).values, found)


def test_gaussians_are_of_components(safe: Path, tmp_path: Path) -> None:
    settings = FIT | {"method": "gmm", "pixels": 200_000}
    run_config(config(safe, tmp_path / "m.tif", features=FEATURES, fit=settings, run={"chunk": 64}))
    model, found, columns = (
        ClusterModel.load(tmp_path / "m.model.json"),
        read(tmp_path / "m.tif"),
        columns_of_the_product(),
    )
    content, points = json.loads(model.to_json()), components_of(model)
    densities = [
        np.log(weight) + multivariate_normal(mean, covariance).logpdf(points.T)
        for mean, covariance, weight in zip(content["means"], content["covariances"], content["weights"], strict=True)
    ]
    second, first = np.sort(densities, axis=0)[-2:]
    clear = first - second > 1e-2
    np.testing.assert_array_equal(found.ravel()[clear], np.argmax(densities, axis=0)[clear] + 1)
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(label(open_scene(safe), model).values, found)
    means = [columns[:4, found.ravel() == each].mean() for each in range(1, 6)]
    assert means == sorted(means)


def test_methods_of_one_band_refuse_components(safe: Path, tmp_path: Path) -> None:
    made = config(safe, tmp_path / "m.tif", scene={"bands": ["B08"]}, features={"pca": 1}, fit={"method": "histogram"})
    with pytest.raises(ConfigError, match=r"features.pca: fit.method: histogram takes one band as it is"):
        run_config(made)


def test_more_components_than_columns_are_refused_before_pixels_are_read(safe: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"features.pca: 6 components of 5 bands and other features; use 5 at most"):
        plan_config(config(safe, tmp_path / "m.tif", features=FEATURES | {"pca": 6}, fit=FIT))
    for wrong in (0, 1.0, 1.5, -1, True, "4"):
        with pytest.raises(ConfigError, match=r"pca: .* not allowed; expected the number of principal components"):
            fit(open_scene(safe), pca=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found["loadings"][0].pop(), "expected loadings per component and band"),
        (lambda found: found["loadings"][0].__setitem__(0, 3.0), "expected unit vectors"),
        (lambda found: found["centre"].append(0.0), "expected loadings per component and band"),
        (lambda found: (found["loadings"].pop(), found["shares"].pop()), "expected 2, one per component"),
    ],
)
def test_components_of_a_model_that_do_not_fit_are_refused(
    safe: Path, tmp_path: Path, change: Any, message: str
) -> None:
    fit_config(config(safe, tmp_path / "m.tif", features=FEATURES, fit=FIT), tmp_path / "m.json")
    content = json.loads((tmp_path / "m.json").read_text())
    change(content["preparation"]["components"])
    with pytest.raises(ModelError, match=message):
        ClusterModel.from_json(json.dumps(content))
