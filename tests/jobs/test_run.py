"""Whole runs on real and generated scenes: the same map for any blocks and workers, each block read as planned."""

import csv
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import rasterio
from conftest import ROOT, WriteRaster, patches
from fakes import CountingSource
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from rio_cogeo.cogeo import cog_validate
from runs import config, contents, killed_run, read
from sklearn.cluster import KMeans

import pipeline.jobs.run as run_module
import pipeline.pixels.open as pixels_module
from pipeline.config.schema import SceneConfig
from pipeline.core.errors import ConfigError, FitError, ModelError, OutputError, SceneError, TerrazzoError
from pipeline.engine.cache import DiskCache, Entry
from pipeline.jobs.predict import predict
from pipeline.jobs.run import fit_config, plan_config, run_config
from pipeline.models.base import ClusterModel
from pipeline.scenes.raster_source import RasterSource
from pipeline.sinks.geotiff import MapWriter
from pipeline.sinks.registry import OutputConfig

PLAIN = {"standardize": "none"}


def sklearn_labels(model: ClusterModel, pixels: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return scikit-learn's labels for the model's centroids, and where the nearest centroid is unambiguous."""
    points = pixels.reshape(len(pixels), -1).T.astype("float64")
    oracle = KMeans(model.k, n_init=1, max_iter=1).fit(np.repeat(model.centres, 2, axis=0))
    oracle.cluster_centers_ = model.centres.copy()
    distances = np.sort(((points[:, None] - model.centres) ** 2).sum(axis=2), axis=1)
    clear = distances[:, 1] - distances[:, 0] > 1e-5 * distances[:, 1]
    return oracle.predict(points) + 1, clear


@pytest.mark.lowest
def test_a_real_scene_becomes_a_map(landscape: list[str], tmp_path: Path) -> None:
    report = run_config(config(landscape, tmp_path / "classes.tif", features=PLAIN, fit={"k": 8, "pixels": 100_000}))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "classes.csv", "classes.html", "classes.model.json", "classes.qml", "classes.run.json", "classes.tif",
        "classes.tif.aux.xml", "classes_quicklook.png",
    ]  # fmt: skip
    model = ClusterModel.load(tmp_path / "classes.model.json")
    pixels = np.stack([read(Path(path)) for path in landscape])
    labels = read(tmp_path / "classes.tif")
    expected, clear = sklearn_labels(model, pixels)
    np.testing.assert_array_equal(labels.ravel()[clear], expected[clear])
    assert clear.mean() > 0.999
    with rasterio.open(tmp_path / "classes.tif") as file, rasterio.open(landscape[0]) as original:
        assert (file.crs, file.transform, file.shape) == (original.crs, original.transform, original.shape)
        assert file.tags()["TERRAZZO_MODEL_SHA256"] == model.digest
    assert cog_validate(tmp_path / "classes.tif", strict=True, quiet=True)[0]
    check_table(tmp_path / "classes.csv", pixels, labels)
    check_report(report, labels)
    assert json.loads((tmp_path / "classes.run.json").read_text()) == json.loads(json.dumps(report))


def check_table(path: Path, pixels: npt.NDArray[Any], labels: npt.NDArray[np.uint8]) -> None:
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["class"]) for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        members = pixels[:, labels == int(row["class"])].astype("float64")
        assert int(row["pixels"]) == members.shape[1]
        assert float(row["share"]) == pytest.approx(members.shape[1] / (labels > 0).sum(), abs=1e-6)
        assert float(row["area_ha"]) == pytest.approx(members.shape[1] * 0.01)
        for band, values in zip(("B02", "B03", "B04", "B08"), members, strict=True):
            assert float(row[f"mean_{band}"]) == pytest.approx(values.mean(), rel=1e-6)
            assert float(row[f"std_{band}"]) == pytest.approx(values.std(), rel=1e-6)


def check_report(report: dict[str, Any], labels: npt.NDArray[np.uint8]) -> None:
    counts = np.bincount(labels.ravel(), minlength=9)
    assert [entry["pixels"] for entry in report["classes"]] == counts[1:].tolist()
    assert report["nodata_pixels"] == counts[0]
    assert report["source_passes"] == report["plan"]["passes"]
    assert set(report["seconds"]) == {"sample", "fit", "label", "write", "total"}
    assert report["peak_rss"] is None or report["peak_rss"] > 10**8
    assert report["config"]["fit"]["pixels"] == 100_000
    assert {"terrazzo", "python", "gdal", "scikit-learn"} <= set(report["versions"])


@pytest.mark.lowest
def test_jpeg2000_is_decoded_once_and_labelled_as_by_scikit_learn(jpeg2000: list[str], tmp_path: Path) -> None:
    report = run_config(config(jpeg2000, tmp_path / "classes.tif", features=PLAIN, run={"chunk": 256}))
    assert report["source_passes"] == report["plan"]["passes"] == 1
    pixels = np.stack([read(Path(path)) for path in jpeg2000])
    expected, clear = sklearn_labels(ClusterModel.load(tmp_path / "classes.model.json"), pixels)
    np.testing.assert_array_equal(read(tmp_path / "classes.tif").ravel()[clear], expected[clear])
    assert not list(tmp_path.glob(".*")), "no cache is left"


def test_no_block_is_read_more_often_than_planned(
    write_raster: WriteRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources: list[CountingSource] = []

    def counting(*args: Any) -> CountingSource:
        sources.append(CountingSource(RasterSource(*args)))
        return sources[-1]

    monkeypatch.setattr(pixels_module, "open_source", counting)
    path = write_raster("scene.tif", patches(3, (300, 300)), tiled=True, blockxsize=64, blockysize=64)
    report = run_config(config(path, tmp_path / "classes.tif", run={"chunk": 64, "workers": 3}))
    (source,) = sources
    assert len(source.reads) == len(source.blocks) == 25
    assert set(source.reads.values()) == {report["plan"]["passes"]} == {2}


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunk=st.integers(16, 400), workers=st.integers(1, 5), hole=st.integers(0, 150))
def test_blocks_and_workers_never_change_a_file(
    write_raster: WriteRaster, tmp_path: Path, chunk: int, workers: int, hole: int
) -> None:
    pixels = patches(3, (260, 310))
    pixels[:, hole : hole + 40, 30:200] = 0
    path = write_raster("scene.tif", pixels, nodata=0, tiled=True, blockxsize=16, blockysize=16)
    outputs = []
    for side, threads in ((400, 1), (chunk, workers)):
        run_config(
            config(path, tmp_path / "c.tif", fit={"k": 4, "starts": 2}, run={"chunk": side, "workers": threads}),
            overwrite=True,
        )
        names = ("c.tif", "c.tif.aux.xml", "c.qml", "c.model.json", "c.csv", "c_quicklook.png")
        outputs.append([(tmp_path / name).read_bytes() for name in names])
    assert outputs[0] == outputs[1]
    np.testing.assert_array_equal(read(tmp_path / "c.tif") == 0, (pixels == 0).any(axis=0))


def test_permuted_bands_give_the_same_map(landscape: list[str], tmp_path: Path) -> None:
    fit = {"k": 4, "pixels": 50_000, "tol": 0}
    for name, order in (("one", [0, 1, 2, 3]), ("two", [3, 1, 0, 2])):
        run_config(config([landscape[i] for i in order], tmp_path / f"{name}.tif", features=PLAIN, fit=fit))
    one, two = read(tmp_path / "one.tif"), read(tmp_path / "two.tif")
    assert (one == two).mean() > 0.999
    model = ClusterModel.load(tmp_path / "one.model.json")
    permuted = model.model_copy(
        update={
            "bands": tuple(model.bands[i] for i in (3, 1, 0, 2)),
            "centroids": tuple(tuple(row[i] for i in (3, 1, 0, 2)) for row in model.centroids),
        }
    )
    predict(SceneConfig(source=tuple(landscape)), permuted, OutputConfig(labels=str(tmp_path / "three.tif")))
    assert (read(tmp_path / "three.tif") == one).mean() > 0.99999  # sums in another order round differently


def test_predict_labels_another_scene_without_fitting(data: Path, tmp_path: Path) -> None:
    folder = data / "scenes" / "rgbn_5m"
    run_config(config(folder / "rgbn_suba.tif", tmp_path / "a.tif", features=PLAIN, fit={"k": 3}))
    model = ClusterModel.load(tmp_path / "a.model.json")
    report = predict(
        SceneConfig(source=(str(folder / "rgbn_subb.tif"),)), model, OutputConfig(labels=str(tmp_path / "b.tif"))
    )
    assert report["source_passes"] == 1
    with rasterio.open(folder / "rgbn_subb.tif") as file:
        pixels, nodata = file.read(), file.nodata
    invalid = (pixels == nodata).any(axis=0)
    labels = read(tmp_path / "b.tif")
    np.testing.assert_array_equal(labels == 0, invalid)
    expected, clear = sklearn_labels(model, pixels)
    clear &= ~invalid.ravel()
    np.testing.assert_array_equal(labels.ravel()[clear], expected[clear])


def test_predict_warns_if_nearly_all_pixels_are_in_one_class(
    write_raster: WriteRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_config(config(write_raster("a.tif", patches(2)), tmp_path / "map.tif", fit={"k": 3}))
    model = ClusterModel.load(tmp_path / "map.model.json")
    other = write_raster("b.tif", patches(2) // 100)  # as if reflectance were in percent, without a tag
    predict(SceneConfig(source=(str(other),)), model, OutputConfig(labels=str(tmp_path / "c.tif")))
    assert "b.tif: 100.0% of the pixels fall into class 1; does the model's scene have the same units" in caplog.text


def test_predict_refuses_a_scene_without_the_bands(landscape: list[str], tmp_path: Path) -> None:
    model = fit_config(config(landscape, tmp_path / "unused.tif", fit={"pixels": 1000}), tmp_path / "m.json")
    with pytest.raises(ModelError, match=r"needs bands B02, B03, B04, B08; .* but not B02"):
        predict(SceneConfig(source=tuple(landscape[1:])), model, OutputConfig(labels=str(tmp_path / "p.tif")))
    assert [path.name for path in tmp_path.iterdir()] == ["m.json"]


def test_a_nodata_value_of_the_model_that_can_not_occur_is_said_to_be_the_models(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    wide = write_raster("wide.tif", patches(3).astype("uint32"))
    narrow = write_raster("narrow.tif", patches(3))
    scene, fit = {"nodata": 70_000}, {"k": 3, "starts": 1}
    model = fit_config(config(wide, tmp_path / "c.tif", scene=scene, fit=fit), tmp_path / "m.json")
    output = OutputConfig(labels=str(tmp_path / "p.tif"))
    with pytest.raises(
        ModelError, match=r"narrow\.tif: the model's nodata value 70000 can't occur in .* uint16; set scene\.nodata"
    ):
        predict(SceneConfig(source=(str(narrow),)), model, output)
    with pytest.raises(ConfigError, match=r"^scene\.nodata: 80000 can't occur in pixels of type uint16"):
        predict(SceneConfig(source=(str(narrow),), nodata=80_000), model, output)
    predict(SceneConfig(source=(str(narrow),), nodata=0), model, output)


def test_minibatch_is_selected_by_one_setting(landscape: list[str], tmp_path: Path) -> None:
    kmeans, minibatch = (
        run_config(config(landscape, tmp_path / f"{method}.tif", fit={"method": method, "k": 6}))
        for method in ("kmeans", "minibatch")
    )
    assert minibatch["model"]["method"] == "minibatch"
    assert minibatch["model"]["inertia"] == pytest.approx(kmeans["model"]["inertia"], rel=0.1)


def test_one_band_alone_works(landscape: list[str], tmp_path: Path) -> None:
    run_config(config(landscape[3], tmp_path / "c.tif", fit={"k": 5}))
    labels, pixels = read(tmp_path / "c.tif"), read(Path(landscape[3]))
    for label in range(1, 5):  # classes of one band are ranges of its values
        assert pixels[labels == label].max() < pixels[labels == label + 1].min()


@pytest.mark.lowest
def test_float_reflectance_in_degrees_works(data: Path, tmp_path: Path) -> None:
    source = data / "scenes" / "rstoolbox_s2" / "rstoolbox_sen2.tif"
    report = run_config(config(source, tmp_path / "c.tif", fit={"k": 4}))
    with rasterio.open(source) as file:
        valid, t = np.isfinite(file.read()).all(axis=0), file.transform
    np.testing.assert_array_equal(read(tmp_path / "c.tif") == 0, ~valid)
    geod, pixels = pyproj.Geod(ellps="WGS84"), valid.sum(axis=1)
    corners = [[t @ (x, row + y) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))] for row in range(len(valid))]
    areas = [abs(geod.polygon_area_perimeter(*np.transpose(pixel))[0]) for pixel in corners]
    hectares = sum(entry["area_ha"] for entry in report["classes"])
    assert hectares == pytest.approx(float(np.dot(areas, pixels)) / 10_000, rel=1e-3)
    assert not report["area_note"]


def test_strips_of_three_rows_work(data: Path, tmp_path: Path) -> None:
    source = data / "scenes" / "landsat7_olinda" / "L7_ETMs.tif"
    report = run_config(config(source, tmp_path / "c.tif", fit={"k": 6}))
    assert report["plan"]["chunk"][1] == 349
    assert (read(tmp_path / "c.tif") > 0).all()


def test_the_cogs_of_a_granule_work(data: Path, tmp_path: Path) -> None:
    folder = data / "scenes" / "29rkh_20200219_l2a_cog"
    bands = ["B02", "B03", "B04", "B08"]
    run_config(config(folder, tmp_path / "c.tif", scene={"bands": bands}, fit={"k": 8}))
    pixels = np.stack([read(folder / f"{band}.tif") for band in bands])
    np.testing.assert_array_equal(read(tmp_path / "c.tif") == 0, (pixels == 0).any(axis=0))


def test_two_hundred_bands_work(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster("many.tif", patches(200, (150, 160)))
    report = run_config(config(path, tmp_path / "c.tif", fit={"k": 5}))
    assert len(report["scene"]["bands"]) == 200


def test_254_classes_work(landscape: list[str], tmp_path: Path) -> None:
    run_config(config(landscape, tmp_path / "c.tif", fit={"k": 254, "pixels": 20_000, "starts": 1}))
    assert read(tmp_path / "c.tif").max() == 254
    with Image.open(tmp_path / "c_quicklook.png") as picture:
        assert max(picture.size) <= 2048


def test_the_same_seed_gives_the_same_model_file(landscape: list[str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        run_config(config(landscape, tmp_path / f"{name}.tif", fit={"seed": 7, "pixels": 5000}))
    assert (tmp_path / "one.model.json").read_bytes() == (tmp_path / "two.model.json").read_bytes()
    assert (tmp_path / "one.tif").read_bytes() == (tmp_path / "two.tif").read_bytes()


def test_outputs_go_where_the_config_says(write_raster: WriteRaster, tmp_path: Path) -> None:
    names = {key: str(tmp_path / f"my.{key}") for key in ("model", "table", "run")}
    names["picture"] = str(tmp_path / "my.png")
    path = write_raster("scene.tif", patches(3))
    run_config(config(path, tmp_path / "m.tiff", output={**names, "palette": "viridis"}, fit={"k": 3}))
    assert {"m.tiff", "my.model", "my.table", "my.png", "my.run"} <= {p.name for p in tmp_path.iterdir()}
    with rasterio.open(tmp_path / "m.tiff") as file:
        assert file.colormap(1)[1][:3] == (68, 1, 84)  # viridis begins there


OPTIONAL = {
    "sidecar": "c.tif.aux.xml", "qml": "c.qml", "table": "c.csv", "picture": "c_quicklook.png", "model": "c.model.json",
    "report": "c.html", "run": "c.run.json",
}  # fmt: skip
"""Outputs that can be switched off, and their default names."""


@pytest.mark.parametrize("off", [*([key] for key in OPTIONAL), [*OPTIONAL]])
def test_outputs_can_be_switched_off(
    write_raster: WriteRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture, off: list[str]
) -> None:
    path = write_raster("scene.tif", patches(3))
    for folder in ("whole", "part"):
        (tmp_path / folder).mkdir()
    whole = run_config(config(path, tmp_path / "whole" / "c.tif", fit={"k": 3}))
    output = dict.fromkeys(off, "none")
    job = config(path, tmp_path / "part" / "c.tif", output=output, fit={"k": 3})
    planned, report = plan_config(job)[1], run_config(job)
    left = {key: name for key, name in OPTIONAL.items() if key not in off}
    assert {file.name for file in (tmp_path / "part").iterdir()} == {"c.tif", *left.values()}
    for name in {"c.tif", *left.values()} - {"c.run.json", "c.html"}:
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert set(report["outputs"]) == {"labels", *left}
    assert set(report["sha256"]) == {"labels", *left} - {"run", "report"}
    assert report["plan"]["map_disk"] == planned.map_disk < whole["plan"]["map_disk"]
    assert report["classes"] == whole["classes"]
    if "run" not in off:
        assert json.loads((tmp_path / "part" / "c.run.json").read_text()) == json.loads(json.dumps(report))
    assert not caplog.records
    before = contents(tmp_path / "whole")
    run_config(config(path, tmp_path / "whole" / "c.tif", output=output, fit={"k": 4}), overwrite=True)
    after = contents(tmp_path / "whole")
    for key in off:
        stays = f"{OPTIONAL[key]}: this file is left as it is and will not belong to the new map, as output.{key}"
        assert after.get(OPTIONAL[key]) == (None if key == "sidecar" else before[OPTIONAL[key]])
        assert (stays in caplog.text) is (key != "sidecar"), "GDAL would read it as part of the new map: it is removed"
    caplog.clear()
    run_config(config(path, tmp_path / "part" / "c.tif", output=output, fit={"k": 4}), overwrite=True)
    assert not caplog.records, "the outputs that are replaced are all from one run"


def test_a_map_is_replaced_without_a_warning_after_gdal_has_added_statistics(
    write_raster: WriteRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, sidecar = write_raster("scene.tif", patches(3)), tmp_path / "c.tif.aux.xml"
    run_config(config(path, tmp_path / "c.tif", fit={"k": 3}))
    before = sidecar.read_bytes()
    statistics = b'<Metadata><MDI key="STATISTICS_MEAN">2</MDI></Metadata>'
    sidecar.write_bytes(before.replace(b"</PAMRasterBand>", statistics + b"</PAMRasterBand>"))
    with rasterio.open(tmp_path / "c.tif") as file:
        assert file.tags(1)["STATISTICS_MEAN"] == "2"
    run_config(config(path, tmp_path / "c.tif", fit={"k": 3}), overwrite=True)
    assert sidecar.read_bytes() == before
    assert not caplog.records


def test_outputs_of_predict_can_be_switched_off(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster("scene.tif", patches(3))
    model = fit_config(config(path, tmp_path / "c.tif", fit={"k": 3}), tmp_path / "m.json")
    (tmp_path / "out").mkdir()
    off = dict.fromkeys(("picture", "report", "run", "sidecar"), "None")
    output = OutputConfig(labels=str(tmp_path / "out" / "c.tif"), **off)
    report = predict(SceneConfig(source=(str(path),)), model, output)
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"c.tif", "c.csv", "c.qml"}
    assert set(report["outputs"]) == {"labels", "qml", "table"}


def test_a_run_without_a_picture_loads_no_pillow(write_raster: WriteRaster, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from runs import config; from pipeline.jobs.run import run_config; "
        "output = {'picture': sys.argv[3], 'report': 'none'}; "
        "run_config(config(sys.argv[1], Path(sys.argv[2]), output=output, fit={'k': 3})); "
        "print('PIL' in sys.modules)"
    )
    path, found = write_raster("scene.tif", patches(3)), []
    for name in ("none", str(tmp_path / "p.png")):
        command = [sys.executable, "-c", code, str(path), str(tmp_path / f"{len(found)}.tif"), name]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), str(ROOT)])}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        found.append(done.stdout.strip())
    assert found == ["False", "True"]


def test_the_map_can_not_be_switched_off(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^output\.labels: the map can't be switched off \(none\); give a path that"):
        plan_config(config(tmp_path / "no.tif", Path("none")))


def test_existing_outputs_are_refused_before_any_work(
    write_raster: WriteRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_raster("scene.tif", patches(3))
    (tmp_path / "c.csv").write_text("mine")
    monkeypatch.setattr(RasterSource, "read", lambda *_: pytest.fail("a block was read"))
    with pytest.raises(OutputError, match=r"c\.csv: the file exists already"):
        run_config(config(path, tmp_path / "c.tif"))
    assert (tmp_path / "c.csv").read_text() == "mine"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SceneError("cut short"), MemoryError])
@pytest.mark.parametrize("failing", ["sample", "label"])
def test_a_failed_run_leaves_no_files_and_changes_none(
    jpeg2000: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Any, failing: str
) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(*((RasterSource, "read") if failing == "sample" else (DiskCache, "read")), broken)
    (tmp_path / "c.tif").write_text("the old map")
    with pytest.raises(error if isinstance(error, type) else type(error)):
        run_config(config(jpeg2000, tmp_path / "c.tif"), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["c.tif"]
    assert (tmp_path / "c.tif").read_text() == "the old map"


def test_too_little_disk_space_is_refused_before_any_work(
    write_raster: WriteRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_raster("scene.tif", patches(3))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    monkeypatch.setattr(RasterSource, "read", lambda *_: pytest.fail("a block was read"))
    with pytest.raises(OutputError, match="0 MB are free"):
        run_config(config(path, tmp_path / "c.tif"))


@pytest.mark.parametrize(("side", "k"), [(300, 3), (1100, 120)])
def test_a_run_takes_no_more_disk_than_planned(write_raster: WriteRaster, tmp_path: Path, side: int, k: int) -> None:
    """Noise in many classes: map and picture hardly compress, and the tiles at the edges are partly outside."""
    pixels = np.random.default_rng(1).integers(0, 256, (3, side, side + 1), dtype=np.uint8)
    job = config(str(write_raster("scene.tif", pixels)), tmp_path / "out" / "map.tif", fit={"k": k, "pixels": 2000})
    done, largest = Event(), 0

    def watch() -> None:
        nonlocal largest
        while not done.wait(0.002):
            with suppress(OSError):  # a file that was removed meanwhile
                sizes = [path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file()]
                largest = max(largest, sum(sizes))

    (tmp_path / "out").mkdir()
    watcher = Thread(target=watch)
    watcher.start()
    try:
        run_config(job)
    finally:
        done.set()
        watcher.join()
    assert side**2 < largest <= plan_config(job)[1].disk


def test_an_all_nodata_scene_is_an_error(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster("scene.tif", patches(3) * 0, nodata=0)
    with pytest.raises(TerrazzoError, match="all 60000 pixels are nodata"):
        run_config(config(path, tmp_path / "c.tif"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["scene.tif"]


def test_a_run_never_reads_its_own_map_as_a_band(write_raster: WriteRaster, tmp_path: Path) -> None:
    for band in ("B02", "B03"):
        write_raster(f"s_{band}.tif", patches(1))
    for source in (tmp_path, tmp_path / "*.tif"):
        for _ in range(2):
            report = run_config(config(source, tmp_path / "classes.tif", fit={"k": 3}), overwrite=True)
            assert report["scene"]["bands"] == ["B02", "B03"]


@pytest.mark.parametrize("output", ["labels", "table", "model"])
def test_a_scene_is_never_overwritten(write_raster: WriteRaster, tmp_path: Path, output: str) -> None:
    path = write_raster("scene.tif", patches(3))
    before = path.read_bytes()
    (tmp_path / "link.tif").symlink_to(path)
    job = config(path, tmp_path / "c.tif", output={output: str(tmp_path / "link.tif")}, fit={"k": 3})
    with pytest.raises(ConfigError, match=rf"^output\.{output}: .*link\.tif: this file is an input"):
        run_config(job, overwrite=True)
    assert path.read_bytes() == before


def test_sidecars_of_an_older_map_are_removed_with_it(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster("scene.tif", patches(3))
    for ending in ("", ".msk", ".ovr", ".aux.xml"):
        (tmp_path / f"c.tif{ending}").write_text("old")
    run_config(config(path, tmp_path / "c.tif", fit={"k": 3}), overwrite=True)
    with rasterio.open(tmp_path / "c.tif") as file:
        assert (file.read_masks(1) == 255).all()
    assert not (tmp_path / "c.tif.msk").exists()


def test_a_cache_folder_that_can_not_be_removed_does_not_fail_the_run(
    jpeg2000: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("os.rmdir", lambda *_, **__: (_ for _ in ()).throw(OSError("busy")))
    run_config(config(jpeg2000, tmp_path / "c.tif", fit={"k": 3, "pixels": 1000}))
    assert (tmp_path / "c.tif").exists()
    assert "remove it by hand" in caplog.text


def test_many_untagged_zeros_give_a_warning(
    write_raster: WriteRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = patches(3)
    pixels[:, :50] = 0
    run_config(config(write_raster("plain.tif", pixels), tmp_path / "a.tif", fit={"k": 3}))
    assert "25.0% of the pixels are 0 in every band" in caplog.text
    caplog.clear()
    bands = [write_raster(f"B{n:02}.tif", pixels[:1]) for n in range(1, 11)]
    run_config(config(bands, tmp_path / "c.tif", fit={"k": 3}))
    (message,) = (record.getMessage() for record in caplog.records if "0 in every band" in record.getMessage())
    assert message.endswith("(bands B01, B02, B03, B04, B05, B06, B07, B08, ...)")  # without the names of files
    caplog.clear()
    run_config(config(write_raster("tagged.tif", pixels, nodata=0), tmp_path / "b.tif", fit={"k": 3}))
    assert "0 in every band" not in caplog.text


def test_an_untagged_fill_value_is_named(write_raster: WriteRaster, tmp_path: Path) -> None:
    pixels = patches(2, dtype="float32")
    pixels[:, :30] = np.finfo("float32").min
    with pytest.raises(
        TerrazzoError, match=r"the value -3\.40282e\+38, which may be a nodata value.* set scene\.nodata"
    ):
        run_config(config(write_raster("s.tif", pixels), tmp_path / "c.tif", fit={"k": 3}))


@pytest.mark.parametrize("target_name", ["GRANULE/x.csv", "MTD_MSIL2A.xml", "SCL"])
def test_nothing_is_written_into_a_product(tmp_path: Path, target_name: str) -> None:
    from sources import layers, write_safe

    product = write_safe(tmp_path, layers())
    target = next(product.rglob("*SCL*")) if target_name == "SCL" else product / target_name
    before = target.read_bytes() if target.exists() else None
    message = r"^output\.table: .*this file (is|would be inside) an input \(the scene\), (which is never|where nothing)"
    job = config(product, tmp_path / "c.tif", output={"table": str(target)})
    with pytest.raises(ConfigError, match=message):
        plan_config(job)
    with pytest.raises(ConfigError, match=message):
        run_config(job, overwrite=True)
    assert (target.read_bytes() if target.exists() else None) == before
    assert not (tmp_path / "c.tif").exists()


@pytest.mark.parametrize("method", ["kmeans", "minibatch"])
@pytest.mark.parametrize("pixels", [5000, "all"])
def test_a_cache_changes_no_bit_and_saves_every_second_reading(
    jpeg2000: list[str], tmp_path: Path, method: str, pixels: Any
) -> None:
    """Files count the pixels decoded; each of these runs makes more than one pass over the scene."""
    fit = {"k": 4, "pixels": pixels, "method": method, "starts": 2}
    plain_cache = "none"
    if (method, pixels) == ("minibatch", "all"):
        plain_cache = "disk"
        with pytest.raises(ConfigError, match=r"^run\.cache: none: minibatch reads all pixels several times"):
            run_config(config(jpeg2000, tmp_path / "no.tif", fit=fit, run={"cache": "none"}))
    uncached = {"cache": plain_cache, "chunk": 256}
    plain = run_config(config(jpeg2000, tmp_path / "plain.tif", fit=fit, run=uncached))
    assert plain["source_passes"] >= 2 or plain_cache == "disk"
    for cache in ("auto", "memory", "disk"):
        job = config(jpeg2000, tmp_path / "cached.tif", fit=fit, run={"cache": cache, "chunk": 512})
        report = run_config(job, overwrite=True)
        assert report["model"]["sha256"] == plain["model"]["sha256"], cache
        assert (read(tmp_path / "cached.tif") == read(tmp_path / "plain.tif")).all(), cache
        assert report["source_passes"] == 1, cache
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("compress", "cache", "room", "passes"),
    [
        ("deflate", "auto", True, 1),
        ("deflate", "auto", False, 2),  # the cache is optional
        ("deflate", "none", True, 2),
        (None, "auto", True, 2),
    ],
)
def test_a_compressed_geotiff_is_decoded_once_if_the_disk_has_room(
    write_raster: WriteRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    compress: str | None, cache: str, *, passes: int, room: bool,
) -> None:  # fmt: skip
    pixels = patches(3, (300, 310))
    pixels[:, 40:90, 200:] = 0  # blocks that are valid everywhere, in part, and nowhere
    pixels[:, 128:192, 64:128] = 0
    layout = {"tiled": True, "blockxsize": 64, "blockysize": 64, "nodata": 0}
    path = write_raster("scene.tif", pixels, compress=compress, **layout)
    twice = run_config(config(path, tmp_path / "twice.tif", run={"chunk": 64, "cache": "none"}))
    if not room:
        free = twice["plan"]["map_disk"] + 3 * 300 * 310
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    job = config(path, tmp_path / "map.tif", run={"chunk": 64, "cache": cache})
    left, prepare = [], MapWriter.prepare

    def watched(self: MapWriter, summary: Any) -> None:
        left.append(len(list(tmp_path.glob(".*/block-*"))))
        prepare(self, summary)

    monkeypatch.setattr(MapWriter, "prepare", watched)
    planned, report = plan_config(job)[1], run_config(job)
    assert (report["source_passes"], report["plan"]["passes"], planned.passes) == (passes, passes, passes)
    assert left == [0], "cached blocks are removed after the map has read them"
    assert report["model"]["sha256"] == twice["model"]["sha256"]
    assert (read(tmp_path / "map.tif") == read(tmp_path / "twice.tif")).all()
    assert (tmp_path / "map.csv").read_text() == (tmp_path / "twice.csv").read_text()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("cache", "at"), [("auto", 1), ("auto", 7), ("disk", 7)])
def test_an_optional_cache_does_not_fail_the_run_when_the_disk_becomes_full(
    write_raster: WriteRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    *, cache: str, at: int,
) -> None:  # fmt: skip
    """Quotas and parallel runs are not seen when free space is checked before the run."""
    path = write_raster(
        "scene.tif", patches(3, (300, 310)), compress="deflate", tiled=True, blockxsize=64, blockysize=64
    )
    twice = run_config(config(path, tmp_path / "twice.tif", run={"chunk": 64, "cache": "none"}))
    (tmp_path / "fast").mkdir()
    write_array, calls, left = DiskCache.write, count(1), 0

    def filling(self: DiskCache, entry: Entry, array: Any) -> None:
        write_array(self, entry, array)
        if next(calls) >= at:
            raise OutputError("half of " + entry.name)

    write = run_module.write_outputs

    def watched(*args: Any, **settings: Any) -> Any:
        nonlocal left
        left = len(list((tmp_path / "fast").glob("*/block-*")))
        return write(*args, **settings)

    monkeypatch.setattr(DiskCache, "write", filling)
    monkeypatch.setattr(run_module, "write_outputs", watched)
    run = {"chunk": 64, "cache": cache, "cache_dir": str(tmp_path / "fast"), "workers": 3}
    job = config(path, tmp_path / "map.tif", run=run)
    if cache == "disk":
        with pytest.raises(OutputError, match="half of"):
            run_config(job)
        return
    passes = run_config(job)["source_passes"]
    lost = at - 1 + 2 * 3  # stored before the disk was full, and on the way by then; read while code is loaded
    assert 2 <= passes <= 2 + lost * 64**2 / (300 * 310)
    assert (read(tmp_path / "map.tif") == read(tmp_path / "twice.tif")).all()
    assert (tmp_path / "map.model.json").read_text() == (tmp_path / "twice.model.json").read_text()
    assert twice["source_passes"] == 2
    assert left == 0, "the map needs the disk space"
    assert [line for line in caplog.messages if "read again" in line] == [
        line for line in caplog.messages if "half of" in line
    ]
    assert sum("half of" in line for line in caplog.messages) == 1


def test_each_block_of_a_geotiff_is_decoded_once_for_a_fit_over_all_pixels(
    landscape: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collections import Counter

    from pipeline.raster.readers import GdalReader

    decoded: Counter[Any] = Counter()
    plain = GdalReader.read

    def counted(self: GdalReader, window: Any, out: Any, valid: Any) -> None:
        decoded[self._part.path, window.window] += 1
        plain(self, window, out, valid)

    monkeypatch.setattr(GdalReader, "read", counted)
    report = run_config(config(landscape, tmp_path / "c.tif", fit={"k": 5, "pixels": "all", "tol": 0}))
    assert len(report["log"]) > 2
    assert set(decoded.values()) == {1}
    assert report["source_passes"] == 1


@pytest.mark.parametrize("standardize", ["none", "zscore", "minmax"])
def test_the_inertia_of_each_pass_is_in_the_report(landscape: list[str], tmp_path: Path, standardize: str) -> None:
    fit, features = {"k": 5, "pixels": "all", "tol": 1e-6}, {"standardize": standardize}
    report = run_config(config(landscape, tmp_path / "c.tif", fit=fit, features=features))
    inertias = [done["inertia"] for done in report["log"]]
    assert inertias == sorted(inertias, reverse=True)
    assert inertias[-1] == pytest.approx(report["model"]["inertia"], rel=1e-3)  # the same units
    assert report["log"][0]["changed"] is None
    assert 0 < report["log"][1]["changed"] < 1
    assert report["log"][-1]["shift"] <= 1e-6
    assert report["model"]["iterations"] == len(inertias)
    assert report["model"]["pixels"] == "all"
    pixels = [entry["pixels"] for entry in report["classes"]]
    assert pixels == list(ClusterModel.load(tmp_path / "c.model.json").counts)


def test_an_untagged_fill_value_outside_of_the_sample_is_refused(write_raster: WriteRaster, tmp_path: Path) -> None:
    pixels = patches(2, dtype="float32")
    pixels[1, 77, 99] = -3.4e38  # a nodata value without a tag
    fit = {"k": 3, "pixels": "all"}
    message = r"has the value -3\.4e\+38, which may be a nodata value.*scene\.nodata: -3\.39"
    with pytest.raises(FitError, match=message):
        run_config(config(write_raster("odd.tif", pixels), tmp_path / "c.tif", fit=fit))


@pytest.mark.parametrize("pixels", [5000, "all"])
def test_an_untagged_fill_value_is_refused_before_it_dominates_the_fit(
    write_raster: WriteRaster, tmp_path: Path, pixels: int | str
) -> None:
    data = patches(2, dtype="float64") / 255
    data[:, :20] = 9.969209968386869e36  # the default fill value of NetCDF
    with pytest.raises(FitError, match=r"which may be a nodata value.*scene\.nodata: 9\.969209968386869e\+36"):
        run_config(config(write_raster("odd.tif", data), tmp_path / "c.tif", fit={"k": 3, "pixels": pixels}))


def test_a_band_of_tiny_values_and_a_few_larger_ones_is_not_refused(write_raster: WriteRaster, tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(0, 1e-17, (1, 200, 300))
    data[0, :20] = np.repeat([0.3, 0.5], 150)
    report = run_config(config(write_raster("odd.tif", data), tmp_path / "c.tif", fit={"k": 3, "pixels": "all"}))
    assert sorted(entry["pixels"] for entry in report["classes"]) == [3000, 3000, 54_000]


@pytest.mark.parametrize("standardize", ["zscore", "minmax", "robust"])
def test_huge_numbers_are_refused_in_one_sentence_for_any_standardization(
    write_raster: WriteRaster, tmp_path: Path, standardize: str
) -> None:
    path = write_raster("huge.tif", patches(2, dtype="float64") * 1e199)
    with pytest.raises(FitError, match="may be a nodata value"):
        run_config(config(path, tmp_path / "c.tif", features={"standardize": standardize}, fit={"k": 3}))


@pytest.mark.parametrize("cache", ["none", "memory", "auto"])
def test_every_run_removes_the_leftovers_of_a_killed_one(write_raster: WriteRaster, tmp_path: Path, cache: str) -> None:
    (tmp_path / "out").mkdir()
    left = killed_run(tmp_path / "out")
    path = write_raster("scene.tif", patches(3))
    run_config(config(path, tmp_path / "out" / "c.tif", fit={"k": 3}, run={"cache": cache}))
    assert not left.exists()


def test_leftovers_of_a_killed_run_are_removed_before_free_space_is_checked(
    write_raster: WriteRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / "fast" / ".terrazzo-scratch-killed"
    left.mkdir(parents=True)
    (left / "lock").touch()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0 if left.exists() else 10**9))
    path = write_raster("scene.tif", patches(3), compress="deflate")
    report = run_config(config(path, tmp_path / "c.tif", fit={"k": 3}, run={"cache_dir": str(tmp_path / "fast")}))
    assert (report["plan"]["cache"], report["source_passes"]) == ("disk", 1)


@pytest.mark.parametrize("wrong", ["this folder does not exist", "this is a file"])
def test_a_wrong_cache_dir_is_refused_before_the_scene_is_opened(tmp_path: Path, wrong: str) -> None:
    if wrong == "this is a file":
        (tmp_path / "fast").touch()
    job = config(tmp_path / "no.tif", tmp_path / "c.tif", run={"cache_dir": str(tmp_path / "fast"), "cache": "none"})
    with pytest.raises(ConfigError, match=rf"^run\.cache_dir: .*fast: {wrong}; create the folder"):
        run_module.plan_config(job)


def test_predict_checks_its_cache_dir_and_says_if_it_is_not_needed(
    landscape: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = fit_config(config(landscape, tmp_path / "a.tif", fit={"k": 3}), tmp_path / "model.json")
    job = config(landscape, tmp_path / "b.tif", run={"cache_dir": str(tmp_path / "fast")})
    with pytest.raises(ConfigError, match=r"^run\.cache_dir: .*fast: this folder does not exist"):
        predict(job.scene, model, job.output, resources=job.run)
    (tmp_path / "fast").mkdir()
    with caplog.at_level("INFO", logger="pipeline"):
        predict(job.scene, model, job.output, resources=job.run)
    assert f"run.cache_dir: {tmp_path / 'fast'} is not used, because this run caches nothing on disk" in caplog.text


def test_the_cache_is_in_the_folder_of_the_config(landscape: list[str], tmp_path: Path) -> None:
    (tmp_path / "fast").mkdir()
    seen: list[str] = []
    write = DiskCache.write

    def watched(self: DiskCache, entry: Entry, array: Any) -> None:
        seen.extend(str(path.parent) for path in (tmp_path / "fast").glob("*/lock"))
        write(self, entry, array)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DiskCache, "write", watched)
        run_config(
            config(
                landscape,
                tmp_path / "c.tif",
                fit={"k": 3, "pixels": "all"},
                run={"cache_dir": str(tmp_path / "fast")},
            )
        )
    assert len(set(seen)) == 1
    assert not list((tmp_path / "fast").iterdir())


def test_python_shows_progress_on_request(
    write_raster: WriteRaster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_raster("scene.tif", patches(3))
    options = {"table": "none", "picture": "none"}
    settings = config(path, tmp_path / "classes.tif", fit={"k": 3, "starts": 1}, output=options)
    run_config(settings)
    assert capsys.readouterr().err == ""
    run_config(settings, overwrite=True, progress=True)
    names = dict.fromkeys(line.split(":")[0] for line in capsys.readouterr().err.splitlines())
    assert list(names) == ["sample", "fit", "label", "write"]
    with pytest.raises(ConfigError, match=r"^run_config: progress: 'bar' is not allowed; expected True, False"):
        run_config(settings, overwrite=True, progress="bar")  # type: ignore[arg-type]
