"""Paths of outputs: wrong ones are found before the scene is opened."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import WriteRaster, patches
from runs import config, contents
from sources import described

from pipeline.core.errors import ConfigError
from pipeline.core.needs import Work
from pipeline.jobs.config import RunConfig
from pipeline.jobs.run import check_outputs, plan_config, run_config
from pipeline.methods.registry import METHODS

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
    scene = {"aoi": {"path": str(tmp_path / "area.json")}, "mask": {"path": str(tmp_path / "s.tif.msk")}}
    paths = {key: path if path == "none" else str(tmp_path / path) for key, path in output.items()}
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
