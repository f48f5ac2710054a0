"""Ranges and histograms from the config to the files: labels 0, 1 to k and 255 in maps, tables and pictures."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from conftest import WriteRaster, patches
from PIL import Image
from runs import config, read

from pipeline import fit, label, open_scene, write
from pipeline.cli.text import report_words
from pipeline.config.schema import SceneConfig
from pipeline.core.errors import ConfigError
from pipeline.jobs.predict import predict
from pipeline.jobs.run import plan_config, run_config
from pipeline.kernels.majority import halve
from pipeline.models.base import ClusterModel
from pipeline.sinks.registry import OutputConfig

EDGES = [60, 90.5, 150, 200]
GREY = (75, 75, 75)
Labels = npt.NDArray[np.uint8]


@pytest.fixture
def pixels() -> npt.NDArray[np.uint16]:
    """One band with nodata, larger than a tile of the map."""
    data = patches(1, (700, 900))
    data[0, 100:140, :300] = 0
    return data


@pytest.fixture
def scene(write_raster: WriteRaster, pixels: npt.NDArray[np.uint16]) -> Path:
    return write_raster("scene.tif", pixels, bands=["B5"], nodata=0)


def expected(pixels: npt.NDArray[Any], outside: str = "unclassified") -> Labels:
    """Labels by `numpy.digitize`; no pixel is on the last edge of EDGES."""
    below, above = {"unclassified": (255, 255), "nodata": (0, 0), "extend": (1, 3)}[outside]
    classes = np.array([below, 1, 2, 3, above], np.uint8)[np.digitize(pixels[0], [*EDGES[:-1], EDGES[-1] + 1e-9])]
    return np.where(pixels[0] == 0, np.uint8(0), classes)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(scene: Path, labels: Path, outside: str = "unclassified", **sections: Any) -> dict[str, Any]:
    given = {"method": "ranges", "edges": EDGES, "outside": outside}
    return run_config(config(scene, labels, fit=given, **sections))


@pytest.mark.lowest
def test_unclassified_pixels_are_in_the_map_the_table_the_picture_and_the_report(
    scene: Path, pixels: npt.NDArray[np.uint16], tmp_path: Path
) -> None:
    report = run(scene, tmp_path / "map.tif")
    labels, valid = expected(pixels), int((pixels != 0).sum())
    counts = np.bincount(labels.ravel(), minlength=256)
    assert counts[255] > 1000
    with rasterio.open(tmp_path / "map.tif") as file:
        np.testing.assert_array_equal(file.read(1), labels)
        assert file.nodata == 0
        assert file.colormap(1)[255] == (*GREY, 255)
        assert "255 is unclassified" in file.tags()["TIFFTAG_IMAGEDESCRIPTION"]
    with rasterio.open(tmp_path / "map.tif", overview_level=0) as overview:
        np.testing.assert_array_equal(overview.read(1), halve(labels), "255 counts like a class")

    table = rows_of(tmp_path / "map.csv")
    assert [row["class"] for row in table] == ["1", "2", "3", "255"]
    assert [int(row["pixels"]) for row in table] == [*counts[1:4].tolist(), counts[255]]
    assert sum(float(row["share"]) for row in table) == pytest.approx(1, abs=1e-5), "of all valid pixels"
    for row in table:
        inside = pixels[0][labels == int(row["class"])]
        assert float(row["mean_B5"]) == pytest.approx(inside.mean(), rel=1e-6)
        assert float(row["std_B5"]) == pytest.approx(inside.std(), rel=1e-6)
        assert float(row["area_ha"]) == pytest.approx(inside.size / 100, rel=1e-3)
    assert table[-1]["colour"] == "#4b4b4b"

    assert [each["pixels"] for each in report["classes"]] == counts[1:4].tolist()
    assert report["nodata_pixels"] == counts[0]
    assert report["unclassified"]["pixels"] == counts[255]
    assert report["unclassified"]["share"] == counts[255] / valid
    assert report["unclassified"]["area_ha"] == pytest.approx(counts[255] / 100, rel=1e-3)
    assert json.loads((tmp_path / "map.run.json").read_text())["unclassified"] == report["unclassified"]
    assert f"unclassified  {counts[255]:,}" in report_words(report)
    with Image.open(tmp_path / "map_quicklook.png") as picture:
        page = np.asarray(picture)
    assert (page == GREY).all(axis=2).sum() > counts[255], "the pixels, and the box of the legend"


@pytest.mark.parametrize("outside", ["extend", "nodata"])
def test_a_model_that_leaves_nothing_unclassified_has_files_without_255(
    scene: Path, pixels: npt.NDArray[np.uint16], tmp_path: Path, outside: str
) -> None:
    report = run(scene, tmp_path / "map.tif", outside)
    np.testing.assert_array_equal(read(tmp_path / "map.tif"), expected(pixels, outside))
    with rasterio.open(tmp_path / "map.tif") as file:
        assert sorted(file.colormap(1)) == [0, 1, 2, 3]
        assert "255" not in file.tags()["TIFFTAG_IMAGEDESCRIPTION"]
    assert [row["class"] for row in rows_of(tmp_path / "map.csv")] == ["1", "2", "3"]
    assert {key: report["unclassified"][key] for key in ("pixels", "share", "area_ha")} == {
        "pixels": 0, "share": 0.0, "area_ha": 0.0
    }  # fmt: skip
    assert "unclassified" not in report_words(report)


@pytest.mark.parametrize("fitting", [{"method": "ranges", "edges": EDGES}, {"method": "histogram", "bins": 9}])
def test_files_are_the_same_for_any_blocks_workers_and_cache(
    scene: Path, tmp_path: Path, fitting: dict[str, Any]
) -> None:
    found = set()
    for number, resources in enumerate(
        [{"chunk": 64, "workers": 2}, {"chunk": 900, "workers": 1}, {"chunk": 256, "workers": 2, "cache": "memory"}]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        run_config(config(scene, folder / "map.tif", fit=fitting, run=resources))
        names = ("map.tif", "map.tif.aux.xml", "map.qml", "map.csv", "map.model.json", "map_quicklook.png")
        found.add(tuple((folder / name).read_bytes() for name in names))
    assert len(found) == 1


def test_a_histogram_is_a_map_of_its_bins_and_extends_to_other_scenes(
    scene: Path, pixels: npt.NDArray[np.uint16], tmp_path: Path, write_raster: WriteRaster
) -> None:
    report = run_config(config(scene, tmp_path / "map.tif", fit={"method": "histogram", "bins": 20}))
    counts, edges = np.histogram(pixels[0][pixels[0] != 0], 20)
    assert [each["pixels"] for each in report["classes"]] == counts.tolist()
    model = ClusterModel.load(tmp_path / "map.model.json")
    assert model.counts == tuple(counts.tolist())
    wide = np.array([[[1, 300, 40000, 0]]], np.uint16)
    other = write_raster("wide.tif", wide, bands=["B5"], nodata=0)
    predict(SceneConfig(source=(str(other),)), model, OutputConfig(labels=str(tmp_path / "other.tif")))
    assert read(tmp_path / "other.tif").tolist() == [[1, 20, 20, 0]]
    assert edges[0] <= 1 or edges[-1] < 40000


def test_predict_warns_of_a_scene_that_is_unclassified(
    scene: Path, tmp_path: Path, write_raster: WriteRaster, caplog: pytest.LogCaptureFixture
) -> None:
    run(scene, tmp_path / "map.tif")
    bright = write_raster("bright.tif", np.full((1, 20, 30), 5000, np.uint16), bands=["B5"])
    predict(
        SceneConfig(source=(str(bright),)),
        ClusterModel.load(tmp_path / "map.model.json"),
        OutputConfig(labels=str(tmp_path / "other.tif")),
    )
    assert "100.0% of the pixels are unclassified; does the model's scene have the same units" in caplog.text
    assert (read(tmp_path / "other.tif") == 255).all()


def test_areas_of_unclassified_pixels_in_degrees_add_up(
    write_raster: WriteRaster, pixels: npt.NDArray[np.uint16], tmp_path: Path
) -> None:
    transform = rasterio.transform.from_origin(10, 60, 0.001, 0.001)
    path = write_raster("degrees.tif", pixels, nodata=0, crs="EPSG:4326", transform=transform)
    split, whole = (run(path, tmp_path / f"{outside}.tif", outside) for outside in ("unclassified", "extend"))
    areas = [each["area_ha"] for each in (*split["classes"], split["unclassified"])]
    assert sum(areas) == pytest.approx(sum(each["area_ha"] for each in whole["classes"]), rel=1e-12)
    assert split["unclassified"]["area_ha"] > 0


def test_labels_are_lazy_and_written_with_255(scene: Path, pixels: npt.NDArray[np.uint16], tmp_path: Path) -> None:
    opened = open_scene(scene, chunk=256)
    model = fit(opened, method="ranges", edges=np.array(EDGES))
    labels = label(opened, model)
    assert labels.attrs["flag_values"].tolist() == [1, 2, 3, 255]
    assert labels.attrs["flag_meanings"] == "class_1 class_2 class_3 unclassified"
    np.testing.assert_array_equal(labels.values, expected(pixels))
    run(scene, tmp_path / "run.tif", output={"sidecar": "none"})
    written = write(labels, tmp_path / "map.tif")
    (tmp_path / "map.tif.aux.xml").unlink()  # whose colours replace those of the map
    with rasterio.open(written) as file, rasterio.open(tmp_path / "run.tif") as other:
        np.testing.assert_array_equal(file.read(1), expected(pixels))
        assert file.colormap(1) == other.colormap(1)
        assert file.tags() == {key: other.tags()[key] for key in file.tags()}, "a run states its scene's files, too"
    lost = labels.copy()
    lost.attrs = {}
    with pytest.raises(
        ConfigError, match=r"hold 255 at .*, but k is 3; if that is unclassified, set their attribute fla"
    ):
        write(lost, tmp_path / "lost.tif", k=3)
    with pytest.raises(ConfigError, match=r"hold 3 at .*, but k is 2; set k to the largest label"):
        write(labels.copy(data=labels.data % 255), tmp_path / "few.tif", k=2)
    assert not list(tmp_path.glob("lost*")) + list(tmp_path.glob("few*"))


def test_histograms_in_python_take_their_own_arguments_only(scene: Path, pixels: npt.NDArray[np.uint16]) -> None:
    opened = open_scene(scene)
    model = fit(opened, method="histogram", bins=7, by="quantile", workers=1)
    values = pixels[0][pixels[0] != 0]
    np.testing.assert_array_equal(model.edges, np.quantile(values, np.linspace(0, 1, 8)))
    assert model == fit(opened.chunk({"y": 33}), method="histogram", bins=7, by="quantile", workers=2)
    with pytest.raises(ConfigError, match=r"^fit: k: an argument of kmeans, .*; method: histogram has pixels, seed, b"):
        fit(opened, 5, method="histogram")
    with pytest.raises(ConfigError, match=r"^fit: edges: missing; expected a list of 2 to 255"):
        fit(opened, method="ranges")
    with pytest.raises(ConfigError, match=r"^fit: bins: an argument of histogram; method: kmeans has"):
        fit(opened, bins=5)


def test_a_plan_names_the_band_to_choose_and_counts_the_passes(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster("two.tif", patches(2), bands=["B4", "B5"])
    with pytest.raises(ConfigError, match=r"fit.method: histogram takes one band, but the scene has 2: B4, B5; choose"):
        plan_config(config(path, tmp_path / "map.tif", fit={"method": "histogram"}))
    one = {"source": path, "labels": tmp_path / "map.tif", "scene": {"bands": ["B5"]}}
    assert plan_config(config(**one, fit={"method": "histogram"}))[1].passes == 3
    assert plan_config(config(**one, fit={"method": "ranges", "edges": [0, 1]}))[1].passes == 2
