"""Reflectance of Sentinel-2: models and tables are in reflectance, and maps do not depend on a baseline's offset."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from conftest import WriteRaster
from sources import layers, write_safe

from benchmarks.safe import SafeRecipe
from pipeline import fit, label, open_scene
from pipeline.config.schema import SceneConfig
from pipeline.core.errors import ModelError
from pipeline.formats.sentinel2 import has_offset
from pipeline.jobs.config import RunConfig
from pipeline.jobs.predict import predict
from pipeline.jobs.run import run_config
from pipeline.models.base import ClusterModel
from pipeline.sinks.registry import OutputConfig

BANDS = ("B02", "B03", "B04", "B08")


def run(source: Path, target: Path, **settings: Any) -> dict[str, Any]:
    """Fit and label a product with five classes, and return the report."""
    config = {"scene": {"source": str(source)}, "fit": {"k": 5, "pixels": 20_000}, **settings}
    return run_config(RunConfig.model_validate({"version": 1, **config, "output": {"labels": str(target)}}))


def read(path: Path) -> npt.NDArray[Any]:
    with rasterio.open(path) as file:
        return np.asarray(file.read(1))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def product(folder: Path, baseline: str, added: int, nodata: int = 0) -> Path:
    """Write a product of a fixed scene whose stored numbers are larger by `added`, as its metadata state."""
    made = layers()
    pixels = {band: np.where(made[band] > 2500, made[band] + added, nodata).astype("uint16") for band in BANDS}
    offsets = (-added,) * 13 if added else None
    folder.mkdir()
    return write_safe(folder, pixels, SafeRecipe(baseline=baseline, offsets=offsets))


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [("02.14", False), ("03.01", False), ("04.00", True), ("05.11", True), ("10.00", True), ("", False), ("x", False)],
)
def test_offset_starts_at_baseline_04_00(baseline: str, expected: bool) -> None:  # noqa: FBT001
    assert has_offset(baseline) is expected


@pytest.mark.parametrize("added", [1000, 900])
def test_model_of_an_old_baseline_labels_a_new_one(
    tmp_path: Path, added: int, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = product(tmp_path / "old", "02.14", 0), product(tmp_path / "new", "05.09", added)
    run(old, tmp_path / "old.tif")
    model = ClusterModel.load(tmp_path / "old.model.json")
    with caplog.at_level("INFO", logger="pipeline"):
        predict(SceneConfig(source=(str(new),)), model, OutputConfig(labels=str(tmp_path / "new.tif")))
    assert "the centroids are converted exactly" in caplog.text
    assert (read(tmp_path / "old.tif") == 0).any(), "DN 0 is nodata before and after"
    np.testing.assert_array_equal(read(tmp_path / "new.tif"), read(tmp_path / "old.tif"))


def test_both_baselines_of_a_scene_have_the_same_model_and_table(tmp_path: Path) -> None:
    run(product(tmp_path / "old", "02.14", 0), tmp_path / "old.tif")
    run(product(tmp_path / "new", "05.09", 1000), tmp_path / "new.tif")
    np.testing.assert_array_equal(read(tmp_path / "old.tif"), read(tmp_path / "new.tif"))
    old, new = (ClusterModel.load(tmp_path / f"{name}.model.json") for name in ("old", "new"))
    assert old.units.quantity == new.units.quantity == "reflectance"
    np.testing.assert_allclose(old.centres, new.centres, rtol=1e-12)
    np.testing.assert_allclose(old.inertia, new.inertia, rtol=1e-9)
    tables = [table(tmp_path / f"{name}.csv") for name in ("old", "new")]
    assert tables[0] == tables[1]


def test_tables_and_models_are_in_reflectance(tmp_path: Path) -> None:
    source = product(tmp_path / "p", "05.09", 1000)
    run(source, tmp_path / "c.tif")
    labels = read(tmp_path / "c.tif")
    (path,) = source.rglob("*B04_10m.jp2")
    reflectance = (read(path).astype(float) - 1000) / 10_000
    for row in table(tmp_path / "c.csv"):
        inside = reflectance[labels == int(row["class"])]
        assert float(row["mean_B04"]) == pytest.approx(inside.mean(), rel=1e-6)
        assert float(row["std_B04"]) == pytest.approx(inside.std(), rel=1e-6)
    centres = ClusterModel.load(tmp_path / "c.model.json").centres
    assert 0 < centres.min() < centres.max() < 2
    assert (np.diff(centres.mean(axis=1)) > 0).all(), "classes are in order of reflectance"


def test_scale_none_clusters_stored_numbers(tmp_path: Path) -> None:
    source = product(tmp_path / "p", "05.09", 1000)
    run(source, tmp_path / "c.tif", features={"scale": "none"})
    model = ClusterModel.load(tmp_path / "c.model.json")
    assert model.units.quantity == "numbers"
    assert model.centres.min() > 1000
    run(source, tmp_path / "r.tif")
    np.testing.assert_array_equal(read(tmp_path / "c.tif"), read(tmp_path / "r.tif"))
    other = product(tmp_path / "o", "02.14", 0)
    with pytest.raises(ModelError, match=r"band B02 has scale 0\.0001 and offset 0, .* offset -0\.1"):
        predict(SceneConfig(source=(str(other),)), model, OutputConfig(labels=str(tmp_path / "x.tif")))


def test_unscaled_file_is_refused_for_a_model_in_reflectance(tmp_path: Path, write_raster: WriteRaster) -> None:
    run(product(tmp_path / "p", "05.09", 1000), tmp_path / "c.tif")
    model = ClusterModel.load(tmp_path / "c.model.json")
    pixels = np.stack([layers()[band] for band in BANDS])
    plain = write_raster("plain.tif", pixels, bands=BANDS)
    with pytest.raises(ModelError, match=r"plain\.tif: the model is in reflectance"):
        predict(SceneConfig(source=(str(plain),)), model, OutputConfig(labels=str(tmp_path / "x.tif")))


def test_plain_file_with_scale_tags_fits_a_model_in_reflectance(tmp_path: Path, write_raster: WriteRaster) -> None:
    run(product(tmp_path / "p", "05.09", 1000), tmp_path / "c.tif")
    made = layers()
    pixels = np.stack([np.where(made[band] > 2500, made[band], 0) for band in BANDS])
    path = write_raster("tagged.tif", pixels, bands=BANDS, nodata=0)
    with rasterio.open(path, "r+") as file:
        file.scales, file.offsets = (1e-4,) * 4, (0.0,) * 4
    model = ClusterModel.load(tmp_path / "c.model.json")
    predict(SceneConfig(source=(str(path),)), model, OutputConfig(labels=str(tmp_path / "t.tif")))
    np.testing.assert_array_equal(read(tmp_path / "t.tif"), read(tmp_path / "c.tif"))


def test_bands_of_different_scales_are_weighted_by_physical_values(tmp_path: Path, write_raster: WriteRaster) -> None:
    """A band stored with another scale is clustered like the same band in the first band's scale."""
    rng = np.random.default_rng(2)
    reflectance = np.stack([rng.normal(mean, 0.02, (60, 80)) for mean in (0.2, 0.3)])
    reflectance[:, :30] += np.array([0.2, -0.1])[:, np.newaxis, np.newaxis]
    reflectance[:, :, :25] += np.array([-0.1, 0.3])[:, np.newaxis, np.newaxis]
    coarse = np.round(reflectance / 2e-4)
    same = np.stack([coarse[0], coarse[1]]).astype("uint16")
    finer = np.stack([coarse[0], coarse[1] * 4]).astype("uint16")
    labels, models = [], []
    for name, pixels, scales in (("a", same, (2e-4, 2e-4)), ("b", finer, (2e-4, 0.5e-4))):
        path = write_raster(f"{name}.tif", pixels)
        with rasterio.open(path, "r+") as file:
            file.scales = scales
        for method in ("kmeans", "minibatch"):
            run(path, tmp_path / f"{name}_{method}_c.tif", fit={"k": 4, "pixels": 3000, "method": method})
            labels.append(read(tmp_path / f"{name}_{method}_c.tif"))
            models.append(ClusterModel.load(tmp_path / f"{name}_{method}_c.model.json"))
    np.testing.assert_array_equal(labels[0], labels[2])
    np.testing.assert_allclose(models[0].centres, models[2].centres, rtol=1e-9)
    np.testing.assert_allclose(models[0].inertia, models[2].inertia, rtol=1e-6)
    np.testing.assert_array_equal(labels[1], labels[3])


def test_python_api_is_in_reflectance(tmp_path: Path) -> None:
    source = product(tmp_path / "p", "05.09", 1000)
    run(source, tmp_path / "c.tif")
    scene = open_scene(source)
    assert scene.dtype == np.uint16
    assert set(scene.coords["quantity"].values) == {"reflectance"}
    model = fit(scene, k=5, pixels=20_000)
    assert model.centroids == ClusterModel.load(tmp_path / "c.model.json").centroids
    np.testing.assert_array_equal(label(scene, model).values, read(tmp_path / "c.tif"))
    raw = fit(scene, k=5, pixels=20_000, scale="none")
    assert raw.units.quantity == "numbers"
    np.testing.assert_array_equal(label(scene, raw).values, read(tmp_path / "c.tif"))


def test_models_without_quantity_load_as_numbers(tmp_path: Path) -> None:
    run(product(tmp_path / "p", "02.14", 0), tmp_path / "c.tif", features={"scale": "none"})
    content = json.loads((tmp_path / "c.model.json").read_text())
    del content["units"]["quantity"]
    assert ClusterModel.from_json(json.dumps(content)).units.quantity == "numbers"
