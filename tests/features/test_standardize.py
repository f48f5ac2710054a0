"""Standardized bands: the same classes as scikit-learn, with centroids in the input units."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blocks import fitted, holes, scene
from conftest import WriteRaster
from fakes import MemorySource
from sklearn.cluster import KMeans
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from pipeline.config.schema import FeaturesConfig
from pipeline.core.errors import ConfigError, FitError, ModelError
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.progress import Progress
from pipeline.features.standardize import Standardization
from pipeline.jobs.config import FIT
from pipeline.kernels.assign import assign
from pipeline.methods.fit import fit_source
from pipeline.models.base import ClusterModel

SCALERS = {"zscore": StandardScaler(), "minmax": MinMaxScaler(), "robust": RobustScaler()}


def uneven(dtype: str = "uint16") -> Any:
    """Bands with very different spreads."""
    data = scene(dtype, bands=3).astype(np.float64) * np.array([1, 30, 0.2])[:, None, None] + 50
    return data.astype(dtype)


def model_of(data: Any, valid: Any, method: str, **settings: Any) -> ClusterModel:
    source, features = MemorySource(data, valid, (64, 64)), FeaturesConfig.model_validate({"standardize": method})
    config = FIT.parse({"k": 5, **settings}, "test")
    if config.pixels == "all":
        return fitted(source, config, features).model
    return fit_source(source, config, features, executor=ThreadExecutor(2), progress=Progress()).model


@pytest.mark.parametrize("method", SCALERS)
@pytest.mark.parametrize("pixels", [500_000, "all"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_classes_equal_those_of_scikit_learn_on_scaled_pixels(method: str, pixels: Any, dtype: str) -> None:
    data, valid = uneven(dtype), holes((120, 150))
    model = model_of(data, valid, method, pixels=pixels, tol=0)
    rows = data[:, valid].T.astype(np.float64)
    scaler = SCALERS[method].fit(rows)
    expected = KMeans(5, init=scaler.transform(model.centres), n_init=1, tol=0).fit(scaler.transform(rows))
    assert model.inertia == pytest.approx(expected.inertia_, rel=1e-6), "scikit-learn could improve the centroids"
    labels = assign(data, valid, model.centres, model.preparation.bind(model.units).stretch)
    np.testing.assert_array_equal(labels[valid] - 1, expected.labels_)
    for label, centroid in enumerate(model.centres, 1):
        np.testing.assert_allclose(centroid, data[:, labels == label].mean(axis=1), rtol=1e-4)


def test_standardizing_changes_classes_and_digest() -> None:
    data, valid = uneven(), holes((120, 150))
    plain, scaled = (model_of(data, valid, method) for method in ("none", "zscore"))
    assert plain.preparation == Standardization()
    assert scaled.preparation.standardize == "zscore"
    assert plain.digest != scaled.digest
    assert not np.allclose(plain.centres, scaled.centres, rtol=0.05)


def test_units_of_a_band_do_not_affect_standardized_classes() -> None:
    data, valid = uneven("float64"), holes((120, 150))
    one = model_of(data, valid, "zscore")
    other = model_of(data * np.array([8, 1, 0.25])[:, None, None], valid, "zscore")
    np.testing.assert_allclose(other.centres / [8, 1, 0.25], one.centres[np.argsort(one.centres.mean(1))], rtol=1e-9)


@pytest.mark.parametrize(
    ("method", "reason"), [("zscore", "all sampled pixels are equal"), ("robust", "or use zscore$")]
)
def test_band_without_spread_is_refused_by_name(method: str, reason: str) -> None:
    data = uneven()
    data[2, 20 if method == "robust" else 0 :] = 7
    with pytest.raises(FitError, match=rf"^features\.standardize: {method}: band band3 has no spread .*{reason}"):
        model_of(data, np.ones(data.shape[1:], bool), method)


@pytest.mark.parametrize("constant", [0.1, 0.3, 273.15])
@pytest.mark.parametrize("method", ["zscore", "minmax", "robust"])
def test_constant_band_has_no_spread_although_its_mean_is_rounded(constant: float, method: str) -> None:
    data = uneven("float64")
    data[1] = constant
    with pytest.raises(
        FitError, match=r"band2 has no spread \(all sampled pixels are equal\); leave it out of scene.bands$"
    ):
        model_of(data, np.ones(data.shape[1:], bool), method)


def test_preparation_is_stored_in_the_model_and_an_inconsistent_one_is_refused(tmp_path: Path) -> None:
    model = model_of(uneven(), holes((120, 150)), "robust")
    (tmp_path / "m.json").write_text(model.to_json())
    assert ClusterModel.load(tmp_path / "m.json") == model
    broken = model.to_json().replace('"standardize": "robust"', '"standardize": "none"')
    with pytest.raises(ModelError, match="preparation"):
        ClusterModel.from_json(broken)


def test_map_of_another_scene_uses_the_preparation_of_the_model(write_raster: WriteRaster, tmp_path: Path) -> None:
    import rasterio

    from pipeline.config.schema import SceneConfig
    from pipeline.jobs.predict import predict
    from pipeline.sinks.registry import OutputConfig

    data, valid = uneven(), np.ones((120, 150), bool)
    model = model_of(data, valid, "zscore")
    other = np.ascontiguousarray(data[:, ::-1])
    scene_path = write_raster("other.tif", other)
    renamed = model.model_copy(update={"bands": ("band1", "band2", "band3")})
    predict(SceneConfig(source=(str(scene_path),)), renamed, OutputConfig(labels=str(tmp_path / "m.tif")))
    with rasterio.open(tmp_path / "m.tif") as file:
        np.testing.assert_array_equal(
            file.read(1), assign(other, valid, model.centres, model.preparation.bind(model.units).stretch)
        )


@pytest.mark.parametrize("method", ["none", "clip", "zscore"])
def test_weights_give_the_classes_of_bands_multiplied_by_them(method: str) -> None:
    data, valid = uneven("float64"), holes((120, 150))
    weighted = model_of(data, valid, method, weights={"band1": 3, "band3": 0.5})
    expected = model_of(data * np.array([3, 1, 0.5])[:, None, None], valid, "none") if method == "none" else None
    if expected is not None:
        by_first_band = np.argsort(expected.centres[:, 0])
        found = weighted.centres[np.argsort(weighted.centres[:, 0])] * [3, 1, 0.5]
        np.testing.assert_allclose(found, expected.centres[by_first_band], rtol=1e-9)
    plain = model_of(data, valid, method)
    assert weighted.digest != plain.digest
    factors = weighted.preparation.bind(weighted.units).factors / plain.preparation.bind(plain.units).factors
    np.testing.assert_allclose(factors, [3, 1, 0.5], rtol=1e-15)
    assert ClusterModel.from_json(weighted.to_json()) == weighted


def test_equal_weights_change_no_label_and_an_unknown_band_is_refused() -> None:
    data, valid = uneven(), holes((120, 150))
    plain, doubled = (model_of(data, valid, "clip", weights={f"band{i}": w for i in (1, 2, 3)}) for w in (1, 2))
    np.testing.assert_array_equal(plain.centres, doubled.centres)
    with pytest.raises(ConfigError, match=r"fit.weights: .*'nir'.*band1, band2, band3"):
        model_of(data, valid, "clip", weights={"nir": 2})
    with pytest.raises(ConfigError, match=r"fit.weights: Band1 is band1, which has a weight already"):
        model_of(data, valid, "clip", weights={"band1": 2, "Band1": 3})
