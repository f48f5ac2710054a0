"""Paths of outputs: wrong ones are found before the scene is opened."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from conftest import WriteRaster, patches
from runs import config, contents
from sources import described

from pipeline.config.schema import SceneConfig
from pipeline.core.errors import ConfigError
from pipeline.core.needs import Work
from pipeline.jobs.config import RunConfig, load_config
from pipeline.jobs.outputs import OutputPaths
from pipeline.jobs.predict import predict
from pipeline.jobs.run import check_outputs, plan_config, run_config
from pipeline.methods.registry import METHODS
from pipeline.models.base import ClusterModel
from pipeline.sinks.registry import OutputConfig

STEPS: list[Callable[[RunConfig], Any]] = [
    check_outputs,
    plan_config,
    lambda config: run_config(config, overwrite=True),
]
"""What `validate`, `plan` and `run --overwrite` call."""


def refused(job: RunConfig, message: str) -> None:
    """Check that each command refuses a config with a message."""
    for step in STEPS:
        with pytest.raises(ConfigError, match=message):
            step(job)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"table": "x.csv", "model": "x.csv"}, r"^output\.model: .*x\.csv: this is the path of output\.table, too"),
        ({"table": "c.tif"}, r"^output\.table: .*c\.tif: this is the path of output\.labels, too"),
        ({"model": "c.csv"}, r"^output\.model: .*c\.csv: this is the path of output\.table, too"),
        ({"run": "folder/../x", "model": "x"}, r"^output\.run: .*this is the path of output\.model, too"),
        ({"run": "link/x", "model": "folder/x"}, r"^output\.run: .*this is the path of output\.model, too"),
        ({"table": "c.tif.ovr"}, r"^output\.table: .*c\.tif\.ovr: GDAL would read this file as part of output\.labels"),
        ({"table": "c.tif.aux.xml"}, r"^output\.table: .*c\.tif\.aux\.xml: this is the path of output\.sidecar, too"),
        (
            {"table": "c.tif.aux.xml", "sidecar": "none"},
            r"^output\.table: .*c\.tif\.aux\.xml: GDAL would read this file as part of output\.labels",
        ),
        ({"sidecar": "c.xml"}, r"^output\.sidecar: .*c\.xml: the sidecar file .* has to be \S*c\.tif\.aux\.xml; leave"),
        ({"qml": "c.txt"}, r"^output\.qml: .*c\.txt: the style for QGIS is a style of QGIS; use a name that ends in"),
        ({"table": "folder"}, r"^output\.table: .*folder: this is a folder"),
        ({"model": "link"}, r"^output\.model: .*link: this is a folder"),
        ({"table": "/dev/null"}, r"^output\.table: /dev/null: this is a device and is not replaced"),
        ({"table": "t" * 256}, r"^output\.table: .*longer than 255 bytes"),
        ({"table": "t" * 256 + "/t.csv"}, r"^output\.table: .*longer than 255 bytes"),
        (
            {"table": "t/" * 2100 + "t.csv"},
            r"^output\.table: .*t\.csv: this path can't be looked up \(File name too long\)",
        ),
        (
            {"run": "scene.tif"},
            r"^output\.run: .*this file is an input \(scene\.source\), which is never replaced",
        ),
        ({"labels": "link.tif"}, r"^output\.labels: .*link\.tif: this file is an input \(scene\.source\)"),
        ({"model": "area.json"}, r"^output\.model: .*area\.json: this file is an input \(scene\.aoi\)"),
        ({"model": "mask.tif"}, r"^output\.model: .*mask\.tif: this file is an input \(fit\.mask\)"),
        ({"table": "init.csv"}, r"^output\.table: .*init\.csv: this file is an input \(fit\.init\)"),
        (
            {"labels": "folder.zarr"},
            r"^output\.labels: .*folder\.zarr: this folder is not a Zarr store that Terrazzo wrote",
        ),
        ({"labels": "scene.zarr"}, r"^output\.labels: .*scene\.zarr: this is no folder, and is not replaced"),
        ({"labels": "c.jpg"}, r"c\.jpg: the map is a GeoTIFF or a Zarr store; use a name that ends in \.tif or \.zarr"),
        (
            {"labels": "c.zarr", "table": "c.zarr/t.csv"},
            r"^output\.table: .*t\.csv: this is inside output\.labels, .*c\.z",
        ),
        (
            {"table": "t.zarr"},
            r"^output\.table: .*t\.zarr: the table of classes is a file, and \.zarr ends the names of folders",
        ),
        ({"table": "p.clr"}, r"^output\.table: .*p\.clr: this file is an input \(output\.palette\), which is never"),
        ({"labels": "s.tif"}, r"^output\.labels: .*s\.tif: GDAL would read .*s\.tif\.msk, .* input \(scene\.mask\)"),
    ],
)
def test_paths_that_can_not_be_those_of_outputs_are_refused_by_key_by_each_command(
    tmp_path: Path, output: dict[str, str], message: str
) -> None:
    """The files are not rasters: they are never opened."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.zarr").mkdir()
    (tmp_path / "scene.zarr").touch()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "link.tif").symlink_to(tmp_path / "scene.tif")
    for name in ("scene.tif", "mask.tif", "s.tif.msk", "area.json", "init.csv"):
        (tmp_path / name).write_text(name)
    (tmp_path / "p.clr").write_text("".join(f"{label} 1 2 {label}\n" for label in range(1, 9)))
    scene = {"aoi": {"path": str(tmp_path / "area.json")}, "mask": {"path": str(tmp_path / "s.tif.msk")}}
    named = {"palette": "p.clr", **output}
    paths = {key: path if path == "none" else str(tmp_path / path) for key, path in named.items()}
    fit = {"mask": {"path": str(tmp_path / "mask.tif")}, "init": str(tmp_path / "init.csv")}
    before = contents(tmp_path)
    refused(config(tmp_path / "scene.tif", tmp_path / "c.tif", scene=scene, fit=fit, output=paths), message)
    assert contents(tmp_path) == before


def test_an_output_in_a_folder_of_the_scene_is_no_input(write_raster: WriteRaster, tmp_path: Path) -> None:
    write_raster("s_B02.tif", patches(1))
    paths = check_outputs(config(tmp_path, tmp_path / "s_B02.csv.tif"))
    assert paths.folder == tmp_path


ALLOWED = {
    "gmm": [1000], "isodata": [1000], "sklearn": [1000], "histogram": ["all"], "ranges": [1000, "all"],
}  # fmt: skip
"""Pixels that methods can fit; others both a number and all."""


@pytest.mark.parametrize("method", [name for name, each in METHODS.items() if each.one_band])
@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"pca": 2}, "takes one band as it is; leave features.pca out"),
        ({"unit_norm": True}, "takes one band, which would be 1; leave it out"),
    ],
)
def test_features_that_one_band_can_not_have_are_refused_before_the_scene_is_opened(
    tmp_path: Path, method: str, features: dict[str, Any], message: str
) -> None:
    fit = {"method": method, **({"edges": [50, 100, 150]} if method == "ranges" else {})}
    job = config(tmp_path / "none.tif", tmp_path / "c.tif", fit=fit, features=features)
    refused(job, rf"^features\.\w+: fit.method: {method} {message}")


@pytest.mark.parametrize(
    ("method", "pixels"), [(name, pixels) for name in METHODS for pixels in ALLOWED.get(name, [1000, "all"])]
)
def test_a_cache_that_a_method_needs_is_asked_for_before_the_scene_is_opened(
    write_raster: WriteRaster, tmp_path: Path, method: str, pixels: object
) -> None:
    """Whether a method needs one depends on its settings alone, so that the scene does not have to be opened."""
    path = write_raster("scene.tif", patches(1 if METHODS[method].one_band else 3))
    fit = {"method": method, "pixels": pixels, **({"edges": [50, 100, 150]} if method == "ranges" else {})}
    job = config(path, tmp_path / "c.tif", fit=fit, run={"cache": "none"})
    work = Work(chunk=(64, 64), blocks=20, workers=2)
    if METHODS[method].needs(described(path).info, job.fit, work).cache == "must":
        path.write_text("not a raster")
        refused(job, f"^run.cache: none: {method} reads all pixels several times and needs a cache")
    else:
        check_outputs(job)
        plan_config(job)


def test_methods_that_pass_over_windows_of_all_pixels_need_a_cache(tmp_path: Path) -> None:
    for method, needed in {"kmeans": False, "minibatch": True, "dask-ml": True}.items():
        job = config("missing.tif", tmp_path / "c.tif", fit={"method": method, "pixels": "all"}, run={"cache": "none"})
        if needed:
            refused(job, "^run.cache: none")
        else:
            check_outputs(job)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"palette": [[1, 2, 3]] * 7}, r"^output\.palette: there are 7 colours for 8 classes"),
        ({"palette": "p.gpl"}, r"^output\.palette: .*p\.gpl: there are 2 colours for 8 classes"),
        ({"palette": "virids"}, "did you mean viridis"),
        ({"world_file": True}, r"^output\.world_file: the picture shows scene and classes side by side"),
        ({"world_file": True, "panels": "scene", "picture": "none"}, r"^output\.world_file: output\.picture is none"),
        (
            {"world_file": True, "panels": "scene", "table": "c_quicklook.pgw"},
            "the path of output.table, too",
        ),
    ],
)
def test_looks_that_can_not_be_are_refused_before_the_scene_is_opened(
    tmp_path: Path, output: dict[str, Any], message: str
) -> None:
    (tmp_path / "p.gpl").write_text("GIMP Palette\n1 2 3\n4 5 6\n")
    files = {key: str(tmp_path / value) for key, value in output.items() if isinstance(value, str) and "." in value}
    refused(config(tmp_path / "none.tif", tmp_path / "c.tif", output=output | files), message)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (
            {"rgb": ["nir", "red", "green"]},
            r"^output\.rgb: 'nir' is not among the bands of the map, which are red, swir",
        ),
        ({"palette": "natural"}, r"natural: which of red, swir are red, green and blue is not known"),
    ],
)
def test_bands_of_the_picture_that_are_not_read_are_refused_before_pixels_are(
    write_raster: WriteRaster, tmp_path: Path, output: dict[str, Any], message: str
) -> None:
    path = write_raster("scene.tif", patches(2), bands=["red", "swir"])
    for step in STEPS[1:]:
        with pytest.raises(ConfigError, match=message):
            step(config(path, tmp_path / "c.tif", output=output))
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_colours_are_relative_to_the_config_and_those_of_overrides_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "c.yaml").write_text("{version: 1, scene: {source: s.tif}, output: {labels: m.tif, palette: p.QML}}")
    assert load_config(tmp_path / "c.yaml").output.palette == str(tmp_path / "p.QML")
    other = load_config(tmp_path / "c.yaml", ["output.palette=q.clr"])
    assert other.output.palette == str(tmp_path / "here" / "q.clr")
    for word in ("natural", "viridis"):
        assert load_config(tmp_path / "c.yaml", [f"output.palette={word}"]).output.palette == word


@pytest.mark.parametrize("ending", [".qml", ".clr"])
def test_the_colours_of_one_map_are_those_of_another_by_its_file(
    write_raster: WriteRaster, tmp_path: Path, ending: str
) -> None:
    path = write_raster("scene.tif", patches(3), bands=["red", "green", "blue"])
    first = {"palette": "natural", "clr": str(tmp_path / "a.clr"), "picture": "none"}
    run_config(config(path, tmp_path / "a.tif", fit={"k": 5}, output=first))
    second = {"palette": str(tmp_path / f"a{ending}"), "picture": "none"}
    run_config(config(path, tmp_path / "b.tif", fit={"k": 5}, output=second))
    with rasterio.open(tmp_path / "a.tif") as one, rasterio.open(tmp_path / "b.tif") as other:
        assert one.colormap(1) == other.colormap(1)
        assert len({one.colormap(1)[label] for label in range(1, 6)}) == 5


def test_a_run_with_colours_of_a_file_and_a_world_file_writes_both(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster("scene.tif", patches(3), bands=["red", "green", "blue"])
    (tmp_path / "p.clr").write_text("1 1 2 3\n2 40 50 60\n3 250 240 230\n")
    output = {"palette": str(tmp_path / "p.clr"), "picture": str(tmp_path / "c.jpeg"), "panels": "classes"}
    report = run_config(config(path, tmp_path / "c.tif", fit={"k": 3}, output={**output, "world_file": True}))
    assert report["outputs"]["world_file"] == str(tmp_path / "c.jgw")
    assert (tmp_path / "c.jgw").is_file()
    with rasterio.open(tmp_path / "c.tif") as file, rasterio.open(tmp_path / "c.jpeg") as picture:
        assert [file.colormap(1)[label][:3] for label in (1, 2, 3)] == [(1, 2, 3), (40, 50, 60), (250, 240, 230)]
        np.testing.assert_allclose(picture.transform, file.transform @ Affine.scale(file.width / picture.width))


def test_maps_of_a_model_have_the_colours_of_the_first_one(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster("scene.tif", patches(3))
    first = run_config(config(path, tmp_path / "a.tif", fit={"k": 3}, output={"palette": "viridis"}))
    model = ClusterModel.load(tmp_path / "a.model.json")
    predict(SceneConfig(source=(str(path),)), model, OutputConfig(labels=str(tmp_path / "b.tif")))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert first["model"]["sha256"] == model.digest
    plain = run_config(config(path, tmp_path / "c.tif", fit={"k": 3}))
    assert plain["model"]["sha256"] == model.digest, "colours decide no pixel"


def test_an_output_of_another_map_that_stays_is_told(
    write_raster: WriteRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_raster("scene.tif", patches(3))
    output = {"clr": str(tmp_path / "a.clr"), "world_file": True, "panels": "classes"}
    run_config(config(path, tmp_path / "a.tif", fit={"k": 3}, output=output))
    caplog.clear()
    run_config(config(path, tmp_path / "a.tif", fit={"k": 3}), overwrite=True)
    for name in ("a.clr", "a_quicklook.pgw"):
        assert f"{name}: this file is left as it is and will not belong to the new map" in caplog.text


def test_a_sidecar_of_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^output\.sidecar: the sidecar file .* beside a GeoTIFF only; leave this"):
        OutputPaths.of(OutputConfig(labels=str(tmp_path / "a.zarr"), sidecar="a.tif.aux.xml"), fits=True)
