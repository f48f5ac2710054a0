"""Indices as columns: runs, models, predictions and lazy labels, with numpy on the same pixels as the oracle."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import WriteRaster, patches
from runs import config, read
from sources import layers, product

from pipeline import fit, label, open_scene
from pipeline.config.schema import SceneConfig
from pipeline.core.errors import ConfigError, FitError, ModelError
from pipeline.jobs.predict import predict
from pipeline.jobs.run import fit_config, plan_config, run_config
from pipeline.models.base import ClusterModel
from pipeline.sinks.registry import OutputConfig

FIT = {"k": 5, "starts": 2, "pixels": 20_000}
FEATURES = {"indices": ["ndvi", "B8A / B08", "evi"], "standardize": "clip"}


def columns_of(pixels: dict[str, npt.NDArray[Any]], offset: float = -1000) -> npt.NDArray[np.float64]:
    """Reflectance of B03 and B04, and the indices of `FEATURES`, shape (column, rows, columns)."""
    values = {band: (plane.astype(np.float64) + offset) / 10_000 for band, plane in pixels.items()}
    values["B8A"] = values["B8A"].repeat(2, 0).repeat(2, 1)
    red, nir, blue = values["B04"], values["B08"], values["B02"]
    evi = 2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)
    return np.stack([values["B03"], red, (nir - red) / (nir + red), values["B8A"] / nir, np.clip(evi, -1, 1)])


def nearest(columns: npt.NDArray[np.float64], model: ClusterModel) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Class of each pixel, and whether it is clear: the second nearest centroid is farther by more than rounding."""
    low, high = np.array(model.preparation.bounds).T
    points = np.clip(columns.reshape(len(columns), -1).T, low, high)
    distances = np.linalg.norm((points[:, None] - model.centres) / (high - low), axis=2)
    first, second = np.sort(distances, axis=1)[:, :2].T
    shape = columns.shape[1:]
    return (distances.argmin(axis=1) + 1).reshape(shape), (second - first > 1e-4).reshape(shape)


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    return product(tmp_path, "one", layers())


@pytest.mark.parametrize("pixels", [20_000, "all"])
def test_a_run_classes_pixels_by_bands_and_indices(safe: Path, tmp_path: Path, pixels: Any) -> None:
    """B02, B08 and B8A are read for the indices only."""
    sections = {"scene": {"bands": ["B03", "B04"]}, "features": FEATURES, "fit": FIT | {"pixels": pixels}}
    run_config(config(safe, tmp_path / "m.tif", **sections))
    model, columns = ClusterModel.load(tmp_path / "m.model.json"), columns_of(layers())
    assert model.bands == ("B03", "B04", "ndvi", "B8A / B08", "evi")
    assert model.scene_bands == ("B03", "B04", "B08", "B8A", "B02")
    labels, clear = nearest(columns, model)
    found = read(tmp_path / "m.tif")
    np.testing.assert_array_equal(found[clear], labels[clear])
    assert clear.mean() > 0.99
    with (tmp_path / "m.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        members = columns[:, found == int(row["class"])]
        for name, column in zip(model.bands, members, strict=True):
            assert float(row[f"mean_{name}"]) == pytest.approx(column.mean(), rel=1e-4, abs=1e-6)
    brightness = [(float(row["mean_B03"]) + float(row["mean_B04"])) / 2 for row in rows]
    assert brightness == sorted(brightness), "indices say nothing of brightness"


def test_blocks_workers_and_passes_change_no_byte(safe: Path, tmp_path: Path) -> None:
    maps = []
    for number, run in enumerate(({}, {"chunk": 64, "workers": 1}, {"chunk": 128, "workers": 2, "cache": "memory"})):
        path = tmp_path / f"{number}.tif"
        run_config(config(safe, path, features=FEATURES, fit=FIT | {"pixels": "all"}, run=run))
        maps.append(
            (path.read_bytes(), path.with_suffix(".csv").read_text(), path.with_suffix(".model.json").read_text())
        )
    assert maps[0] == maps[1] == maps[2]


def test_predict_and_label_compute_the_indices_from_the_model_alone(safe: Path, tmp_path: Path) -> None:
    """The other product has another offset: columns are converted as bands are."""
    model = fit_config(config(safe, tmp_path / "m.tif", features=FEATURES, fit=FIT), tmp_path / "m.json")
    loaded = ClusterModel.load(tmp_path / "m.json")
    assert loaded == model
    assert loaded.digest == model.digest
    shifted = {band: plane if band == "SCL" else plane - 1000 for band, plane in layers().items()}
    other = product(tmp_path, "other", shifted, offsets=None, baseline="02.14")
    for scene in (safe, other):
        path = tmp_path / f"{scene.parent.name}.tif"
        predict(SceneConfig(source=(str(scene),)), loaded, OutputConfig(labels=str(path)))
        lazy = label(open_scene(scene, bands="all", resolution=10), loaded)
        np.testing.assert_array_equal(lazy.values, read(path))
    np.testing.assert_array_equal(read(tmp_path / "one.tif"), read(tmp_path / "other.tif"))


def test_fit_of_a_dataarray_is_that_of_a_config(safe: Path, tmp_path: Path) -> None:
    bands = ["B02", "B03", "B04", "B08"]
    indices = ["ndvi", "(nir - green) / (nir + green)"]
    model = fit(open_scene(safe, bands=bands), indices=indices, standardize="clip", **FIT)
    made = config(safe, tmp_path / "m.tif", features={"indices": indices, "standardize": "clip"}, fit=FIT)
    expected = fit_config(made, tmp_path / "m.json")
    assert model.digest == expected.digest
    assert [each.mean for each in model.classes] == [each.mean for each in expected.classes]


def test_a_plan_counts_the_columns_and_the_bands_behind_them(safe: Path, tmp_path: Path) -> None:
    without = plan_config(config(safe, tmp_path / "m.tif", fit=FIT))[1]
    scene, plan = plan_config(config(safe, tmp_path / "m.tif", features=FEATURES, fit=FIT))
    assert scene.info.bands[-3:] == ("ndvi", "B8A / B08", "evi")
    assert plan.per_block > without.per_block * 2
    assert plan.fit > without.fit


def file_of(write_raster: WriteRaster) -> Path:
    return write_raster("scene.tif", patches(4), bands=["blue", "green", "red", "nir"])


def test_an_index_with_constants_is_refused_on_plain_numbers_unless_they_are_reflectance(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    scene, features = file_of(write_raster), {"indices": ["ndvi", "evi"]}
    with pytest.raises(ConfigError, match=r"^features.indices: evi has constants .* has stored numbers .*assume"):
        run_config(config(scene, tmp_path / "m.tif", features=features, fit=FIT))
    assert not (tmp_path / "m.tif").exists()
    run_config(config(scene, tmp_path / "m.tif", features=features | {"assume": "reflectance"}, fit=FIT))
    assert set(np.unique(read(tmp_path / "m.tif")).tolist()) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        (["ndwi", "ndv"], "features.indices: .*ndv.*did you mean ndvi"),
        (["nbr"], "features.indices: .*nbr.*swir22"),
        (["ndvi", "ndvi"], "features.indices: ndvi is given twice"),
        (["ndvi", "NDVI"], "features.indices: ndvi is given twice"),
        (["nir +"], "features.indices: .*nir +"),
        (["__import__('os')"], "features.indices"),
    ],
)
def test_indices_that_can_not_be_computed_are_refused(
    write_raster: WriteRaster, tmp_path: Path, indices: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_config(config(file_of(write_raster), tmp_path / "m.tif", features={"indices": indices}, fit=FIT))


def test_a_scene_without_a_band_of_an_index_is_refused_by_name(
    safe: Path, tmp_path: Path, write_raster: WriteRaster
) -> None:
    model = fit_config(config(safe, tmp_path / "m.tif", features=FEATURES, fit=FIT), tmp_path / "m.json")
    other = write_raster("other.tif", patches(4), bands=["B02", "B03", "B04", "B08"])
    with pytest.raises(ModelError, match=r"the model needs bands .*B8A; the scene has .*, but not B8A"):
        predict(SceneConfig(source=(str(other),)), model, OutputConfig(labels=str(tmp_path / "o.tif")))
    numbers = write_raster("numbers.tif", patches(5), bands=["B02", "B03", "B04", "B08", "B8A"])
    with pytest.raises(ModelError, match=r"states no scale"):
        predict(SceneConfig(source=(str(numbers),)), model, OutputConfig(labels=str(tmp_path / "o.tif")))


def test_an_index_whose_place_in_a_model_is_wrong_is_refused(safe: Path, tmp_path: Path) -> None:
    fit_config(config(safe, tmp_path / "m.tif", features=FEATURES, fit=FIT), tmp_path / "m.json")
    text = (tmp_path / "m.json").read_text()
    with pytest.raises(ModelError, match=r"indices: gndvi, .* are not the last of the bands"):
        ClusterModel.from_json(text.replace('"name": "ndvi"', '"name": "gndvi"'))


NDVI_RANGES = {"method": "ranges", "edges": [-1, 0.1, 0.25, 0.4, 1]}


def test_a_method_of_one_band_classes_an_index_alone(safe: Path, tmp_path: Path) -> None:
    """Ranges of NDVI, in a run, in Python, and predicted: bands are read for it, and are no columns."""
    run_config(config(safe, tmp_path / "m.tif", features={"indices": ["ndvi"]}, fit=NDVI_RANGES))
    ndvi, labels = columns_of(layers())[2], read(tmp_path / "m.tif")
    edges = np.array(NDVI_RANGES["edges"])
    clear = np.abs(ndvi[..., np.newaxis] - edges).min(axis=-1) > 1e-6
    np.testing.assert_array_equal(labels[clear], np.digitize(ndvi, edges[1:-1])[clear] + 1)
    model = ClusterModel.load(tmp_path / "m.model.json")
    assert (model.bands, model.scene_bands) == (("ndvi",), ("B08", "B04"))
    predict(SceneConfig(source=(str(safe),)), model, OutputConfig(labels=str(tmp_path / "p.tif")))
    np.testing.assert_array_equal(read(tmp_path / "p.tif"), labels)
    scene = open_scene(safe)
    again = fit(scene, indices=["ndvi"], **NDVI_RANGES)
    np.testing.assert_array_equal(label(scene, again).values, labels)
    bands = {"bands": ["B03", "B04"]}
    with pytest.raises(ConfigError, match=r"takes one band, but the scene has 3: B03, B04, ndvi; choose one"):
        plan_config(config(safe, tmp_path / "n.tif", scene=bands, features={"indices": ["ndvi"]}, fit=NDVI_RANGES))


@pytest.mark.parametrize(
    ("index", "settings", "message"),
    [
        ("red * 0 + 1", {}, "clip: index red \\* 0 \\+ 1 has no spread .*; leave it out of features.indices"),
        ("red * 0 + 1", {"standardize": "zscore"}, "zscore: index red .* has no spread .*; leave it out of features"),
        ("1e25 * red", {}, "^index 1e25 \\* red reaches .*, whose square overflows float32; leave it out of features"),
        ("red * 0 + 1", {"method": "histogram"}, "^index red .*: all valid pixels have the value 1; choose one that"),
    ],
)
def test_an_index_that_can_not_be_clustered_is_told_as_one(
    write_raster: WriteRaster, index: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(FitError, match=message.replace("features.indices", "indices").replace("features", "indices")):
        fit(open_scene(file_of(write_raster)), indices=[index], **settings)


def test_expressions_of_one_band_and_an_index_alone_with_unit_norm_are_columns(write_raster: WriteRaster) -> None:
    scene = open_scene(file_of(write_raster))
    model = fit(scene, indices=["1 / red"], **FIT)
    assert model.bands[-1] == "1 / red"
    histogram = fit(scene, indices=["ndvi"], method="histogram", unit_norm=True)
    assert histogram.bands == ("ndvi",)
    assert sum(histogram.counts) == scene.shape[1] * scene.shape[2]


@pytest.mark.parametrize(("rows", "side"), [(1, 5), (6, 15)])
def test_a_scene_narrower_than_the_margin_is_labelled(write_raster: WriteRaster, rows: int, side: int) -> None:
    pixels = patches(2)[:, :rows]
    path = write_raster("strip.tif", pixels, bands=["red", "nir"], tiled=True, blockxsize=64, blockysize=64)
    scene = open_scene(path, chunk=64)
    model = fit(scene, k=3, smooth=side)
    whole = label(scene.chunk({"y": -1, "x": -1}), model)
    np.testing.assert_array_equal(label(scene, model).values, whole.values)


@pytest.mark.parametrize(("old", "new"), [('"B08",\n        "B04"', '"B08"'), ('"name": "ndvi"', '"name": "nir +"')])
def test_a_model_file_with_a_broken_index_is_refused(safe: Path, tmp_path: Path, old: str, new: str) -> None:
    features = {"indices": ["ndvi"]}
    text = fit_config(config(safe, tmp_path / "m.tif", features=features, fit=FIT), tmp_path / "m.json").to_json()
    assert old in text
    with pytest.raises(ModelError, match="indices"):
        ClusterModel.from_json(text.replace(old, new))
