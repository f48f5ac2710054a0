"""Bands of unit norm: scikit-learn's normalized rows, and models that apply them alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fakes import MemorySource
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from runs import config, read
from sklearn.preprocessing import normalize
from sources import layers, product

from pipeline import fit, label, open_scene
from pipeline.config.schema import FeaturesConfig, SceneConfig
from pipeline.core.pixels import Pixels
from pipeline.core.scene_info import SceneInfo
from pipeline.features.columns import Columns
from pipeline.jobs.predict import predict
from pipeline.jobs.run import fit_config, run_config
from pipeline.models.base import ClusterModel
from pipeline.sinks.registry import OutputConfig

FIT = {"k": 5, "starts": 2, "pixels": 20_000}
FEATURES = {"unit_norm": True, "standardize": "none"}


def scene_like(data: npt.NDArray[Any], **units: Any) -> SceneInfo:
    return replace(MemorySource(data).info, **units)


@settings(deadline=None, max_examples=50)
@given(
    data=arrays(np.int16, st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9))),
    scaled=st.booleans(),
)
def test_spectra_are_those_that_scikit_learn_normalizes(data: npt.NDArray[Any], *, scaled: bool) -> None:
    count = len(data)
    units = {"scales": (1e-4,) * count, "offsets": (-0.1,) * count, "quantities": ("reflectance",) * count}
    info = scene_like(data, **units) if scaled else scene_like(data)
    columns = Columns.of(FeaturesConfig(unit_norm=True), info, count)
    assert columns is not None
    found = columns.apply(Pixels(data, np.ones(data.shape[1:], np.bool_)), info, (slice(0, 9), slice(0, 9)))
    physical = data * 1e-4 - 0.1 if scaled else data.astype(np.float64)
    expected = normalize(physical.reshape(count, -1).T).T.reshape(data.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    described = columns.info(info)
    np.testing.assert_array_equal(described.units.to_physical(np.ones(count)), np.ones(count))


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    return product(tmp_path, "one", layers())


@pytest.mark.parametrize("pixels", [20_000, "all"])
def test_a_map_by_the_spectral_angle(safe: Path, tmp_path: Path, pixels: Any) -> None:
    run_config(config(safe, tmp_path / "m.tif", features=FEATURES, fit=FIT | {"pixels": pixels}))
    model, made = ClusterModel.load(tmp_path / "m.model.json"), layers()
    points = np.stack([(made[band].ravel() - 1000.0) / 10_000 for band in ("B02", "B03", "B04", "B08")], axis=1)
    distances = np.linalg.norm(normalize(points)[:, None] - model.centres, axis=2)
    first, second = np.sort(distances, axis=1)[:, :2].T
    clear = second - first > 1e-6
    np.testing.assert_array_equal(read(tmp_path / "m.tif").ravel()[clear], distances.argmin(axis=1)[clear] + 1)
    assert clear.mean() > 0.99


def test_brightness_changes_no_class(safe: Path, tmp_path: Path) -> None:
    """The other product is half as bright, and stored with another offset."""
    model = fit_config(config(safe, tmp_path / "m.tif", features=FEATURES, fit=FIT), tmp_path / "m.json")
    dim = {band: plane if band == "SCL" else (plane - 1000) // 2 for band, plane in layers().items()}
    bright = {band: plane if band == "SCL" else 2 * plane + 1000 for band, plane in dim.items()}
    maps = []
    for name, pixels, old in (("dim", dim, True), ("bright", bright, False)):
        settings = {"offsets": None, "baseline": "02.14"} if old else {}
        scene, path = product(tmp_path, name, pixels, **settings), tmp_path / f"{name}.tif"
        predict(SceneConfig(source=(str(scene),), nodata=65535), model, OutputConfig(labels=str(path)))
        maps.append(read(path))
    np.testing.assert_array_equal(*maps)


def test_predict_label_and_python_do_the_same(safe: Path, tmp_path: Path) -> None:
    features = FEATURES | {"indices": ["ndvi"], "smooth": 3}
    run_config(config(safe, tmp_path / "m.tif", features=features, fit=FIT))
    model, expected = ClusterModel.load(tmp_path / "m.model.json"), read(tmp_path / "m.tif")
    assert model.unit_norm
    predict(SceneConfig(source=(str(safe),)), model, OutputConfig(labels=str(tmp_path / "p.tif")), resources=None)
    np.testing.assert_array_equal(read(tmp_path / "p.tif"), expected)
    scene = open_scene(safe)
    np.testing.assert_array_equal(label(scene, model).values, expected)
    own = fit(scene, unit_norm=True, standardize="none", smooth=3, indices=["ndvi"], **FIT)
    assert own.digest == model.digest
    assert own.digest != model.model_copy(update={"unit_norm": False}).digest
