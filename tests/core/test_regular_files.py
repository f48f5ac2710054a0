"""Pipes, devices and sockets in place of files: refused at once as inputs, and never replaced by outputs."""

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import terrazzo
from conftest import WriteRaster, patches
from runs import config
from sources import layers, write_safe

from benchmarks.safe import SafeRecipe
from pipeline.core.errors import ConfigError, ModelError, SceneError
from pipeline.core.regular_files import NotRegularError, TooLargeError, lookup_fault, read_regular, special_kind
from pipeline.jobs.config import load_config
from pipeline.jobs.inspect import inspect_scene
from pipeline.jobs.run import run_config
from pipeline.models.base import ClusterModel
from pipeline.sinks.staging import Staging

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs pipes and devices of POSIX")


def test_special_kind_names_pipes_devices_and_generated_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "none").symlink_to("nowhere")
    assert special_kind(tmp_path / "pipe") == special_kind(tmp_path / "link") == "a named pipe (FIFO)"
    assert special_kind("/dev/zero") == "a device"
    assert [special_kind(tmp_path / name) for name in ("file", "none", "nowhere", "")] == [None] * 4
    assert special_kind("with\0nul") is None
    if Path("/proc").is_mount():
        assert special_kind("/proc/self/status") == "a file that the system generates when it is read"


def test_read_regular_limits_the_size_and_does_not_block_on_pipes_and_devices(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"12345")
    assert read_regular(tmp_path / "file", 5) == b"12345"
    with pytest.raises(TooLargeError, match="larger than"):
        read_regular(tmp_path / "file", 4)
    with pytest.raises(NotRegularError, match=r"a named pipe \(FIFO\)"):
        read_regular(tmp_path / "pipe", 5)
    with pytest.raises(NotRegularError, match="a device"):
        read_regular("/dev/zero", 5)
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path, 5)


def test_generated_file_without_content_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel trace reads like this; it is imitated by a pipe that is not recognised as one."""
    os.mkfifo(tmp_path / "trace")
    writer = os.open(tmp_path / "trace", os.O_RDWR)  # with a writer, reading does not end
    monkeypatch.setattr("pipeline.core.regular_files._KINDS", {})
    with pytest.raises(NotRegularError, match="generates when it is read"):
        read_regular(tmp_path / "trace", 5)
    os.close(writer)


@pytest.fixture
def special(tmp_path: Path) -> Iterator[Callable[[str, str], Path]]:
    """Create a pipe, a link to a device, or a socket at a path where a file is expected."""
    sockets = []

    def make(name: str, kind: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        else:
            sockets.append(socket.socket(socket.AF_UNIX))
            sockets[-1].bind(os.path.relpath(path))
        return path

    yield make
    for opened in sockets:
        opened.close()


KINDS = ["pipe", "device", "socket"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["scene.tif", "scene.jp2", "item.json", "scene.zip", "scene.tar", "scene.nc", "LC08_MTL.txt", "scene.vrt"]
)
def test_special_file_as_scene_is_refused(
    special: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = special(name, kind)
    with pytest.raises(SceneError, match=rf"{name}.*this is a (named pipe|device|socket)"):
        run_config(config(path, tmp_path / "c.tif"))


@pytest.mark.parametrize("kind", KINDS)
def test_special_file_as_config_or_model_is_refused(
    special: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    config_path, model = special("my.yaml", kind), special("m.json", kind)
    done = terrazzo("run", config_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "my.yaml: the config can't be read: this is a" in done.stderr
    with pytest.raises(ModelError, match=r"m\.json: the model can't be read: this is a"):
        ClusterModel.load(model)


def test_huge_config_file_is_refused(tmp_path: Path) -> None:
    from pipeline.jobs.config import load_config

    endless = tmp_path / "endless.yaml"
    with endless.open("wb") as file:
        file.truncate(2**33)
    with pytest.raises(ConfigError, match=r"endless\.yaml"):
        load_config(endless)


@pytest.mark.parametrize("role", ["band", "metadata"])
def test_pipe_within_a_product_is_refused(tmp_path: Path, role: str) -> None:
    product = write_safe(tmp_path, layers(), SafeRecipe())
    (replaced, *_) = product.rglob("*_B02*.jp2" if role == "band" else "MTD_MSIL*.xml")
    replaced.unlink()
    os.mkfifo(replaced)
    with pytest.raises(SceneError, match=r"named pipe|not a file"):
        run_config(config(product, tmp_path / "c.tif"))


def test_pipe_within_a_virtual_file_or_a_store_is_refused(write_raster: WriteRaster, tmp_path: Path) -> None:
    import xarray as xr
    from rasterio.shutil import copy

    path = write_raster("scene.tif", patches())
    copy(path, tmp_path / "scene.vrt", driver="VRT")
    path.rename(tmp_path / "aside.tif")
    os.mkfifo(path)
    with pytest.raises(SceneError, match="named pipe"):
        run_config(config(tmp_path / "scene.vrt", tmp_path / "c.tif"))
    cube = xr.Dataset({"red": (("y", "x"), np.ones((20, 20), "float32"))}, coords={"y": range(20), "x": range(20)})
    cube.to_zarr(tmp_path / "cube.zarr", zarr_format=2, consolidated=False)
    (chunk,) = (tmp_path / "cube.zarr" / "red").glob("0.0")
    chunk.unlink()
    os.mkfifo(chunk)
    with pytest.raises(SceneError, match=r"0\.0: this is a named pipe"):
        run_config(config(tmp_path / "cube.zarr", tmp_path / "c.tif"))


@pytest.mark.parametrize("key", ["mask", "aoi"])
def test_pipe_as_mask_or_area_is_refused(write_raster: WriteRaster, tmp_path: Path, key: str) -> None:
    path = write_raster("scene.tif", patches())
    os.mkfifo(tmp_path / "area.gpkg")
    with pytest.raises(SceneError, match=r"area\.gpkg: .*this is a named pipe"):
        run_config(config(path, tmp_path / "c.tif", scene={key: {"path": str(tmp_path / "area.gpkg")}}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("overwrite", [False, True])
def test_special_file_as_output_is_refused_and_not_replaced(
    special: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, *, overwrite: bool
) -> None:
    """Regression: a report written to /dev/null replaced the device."""
    monkeypatch.chdir(tmp_path)
    path = special("report.json", kind)
    before = path.lstat()
    with (
        pytest.raises(ConfigError, match=r"report\.json: this is a .* and is not replaced"),
        Staging([tmp_path / "map.tif", path], overwrite=overwrite),
    ):
        pytest.fail("the outputs were accepted")
    assert path.lstat() == before
    assert [child.name for child in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize("name", ["n" * 300 + ".tif", "n/" * 2100 + "n.tif"])
def test_a_path_that_is_too_long_is_one_sentence_wherever_it_is_given(
    write_raster: WriteRaster, tmp_path: Path, name: str
) -> None:
    """Regression: pathlib raises OSError for these paths, also if asked whether they exist."""
    path, long = write_raster("scene.tif", patches()), str(tmp_path / name)
    fault = r"this path can't be looked up \(File name too long\)"
    for source in (long, [str(path), long], f"{long}/*.tif", f"{long}/store.zarr"):
        with pytest.raises(SceneError, match=fault):
            run_config(config(source, tmp_path / "c.tif"))
        with pytest.raises(SceneError, match=fault):
            inspect_scene([source] if isinstance(source, str) else source)
    for section, key in (("scene", "mask"), ("fit", "mask"), ("run", "cache_dir")):
        value = long if section == "run" else {"path": long}
        with pytest.raises(ConfigError, match=rf"^{section}\.{key}: \S*: {fault}"):
            run_config(config(path, tmp_path / "c.tif", **{section: {key: value}}))
    with pytest.raises(SceneError, match=r"scene\.aoi: .* can't be read as a vector file \(.*File name too long"):
        run_config(config(path, tmp_path / "c.tif", scene={"aoi": {"path": long + ".gpkg"}}))
    with pytest.raises(ConfigError, match=r"the config can't be read: File name too long"):
        load_config(long)
    with pytest.raises(ModelError, match=r"the model can't be read: File name too long"):
        ClusterModel.load(long)
    assert lookup_fault(tmp_path / "missing") == lookup_fault(path / "in a file") == lookup_fault(path) == ""


def test_null_device_as_output_survives_overwriting(write_raster: WriteRaster, tmp_path: Path) -> None:
    """Uses a copy of the null device, or a link to it if the user may not create devices."""
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | 0o020000, Path("/dev/null").stat().st_rdev)
    except OSError:
        device.symlink_to("/dev/null")
    path = write_raster("scene.tif", patches())
    run = config(path, tmp_path / "c.tif", output={"run": str(device)})
    with pytest.raises(ConfigError, match="null: this is a device"):
        run_config(run, overwrite=True)
    assert special_kind(device) == "a device"
    assert not (tmp_path / "c.tif").exists()
    shutil.rmtree(tmp_path, ignore_errors=True)
