"""A file that changes while it is read would spoil a map: no output is written, and the error names the change."""

import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from conftest import WriteRaster, patches

from pipeline import open_scene
from pipeline.config.schema import SceneConfig
from pipeline.core.errors import SceneError
from pipeline.engine.progress import Progress, Step
from pipeline.jobs.config import RunConfig
from pipeline.jobs.predict import predict
from pipeline.jobs.run import fit_config, run_config
from pipeline.models.base import ClusterModel
from pipeline.scenes import file_stamps
from pipeline.scenes.file_stamps import FileStamps, local_file
from pipeline.sinks.registry import OutputConfig

Change = Callable[[Path], None]


class ActAtStage(Progress):
    """Calls a function at the start of a stage."""

    def __init__(self, stage: str, act: Callable[[], None]) -> None:
        super().__init__()
        self._stage, self._act = stage, act

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Step]:
        if name == self._stage:
            self._act()
        with super().stage(name, total) as step:
            yield step


def config(folder: Path, source: Any, fit: dict[str, Any] | None = None, **scene: Any) -> RunConfig:
    (folder / "out").mkdir(exist_ok=True)
    scene_config = {"source": source, **scene}
    output = {"labels": str(folder / "out" / "map.tif")}
    return RunConfig.model_validate(
        {"version": 1, "scene": scene_config, "fit": {"k": 3, **(fit or {})}, "output": output}
    )


def replace_file(path: Path) -> None:
    """Replace a file by a copy with the same bytes and time, but another inode."""
    copy = path.with_name("copy" + path.suffix)
    shutil.copy2(path, copy)
    copy.replace(path)


def touch_file(path: Path) -> None:
    stamp = path.stat()
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1_000_000))


def append_to_file(path: Path) -> None:
    stamp = path.stat()
    with path.open("ab") as file:
        file.write(b"more")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


CHANGES = [
    (replace_file, "another file has taken its name"),
    (touch_file, "modified"),
    (append_to_file, "bytes became"),
    (Path.unlink, "it is gone"),
]


@pytest.mark.parametrize(("change", "reason"), CHANGES)
def test_a_source_that_changes_during_a_run_is_refused_without_output(
    write_raster: WriteRaster, tmp_path: Path, change: Change, reason: str
) -> None:
    path = write_raster("scene.tif", patches(3, (60, 80)))
    settings = config(tmp_path, str(path))
    with pytest.raises(SceneError, match=rf"scene\.tif: the file changed while .*{reason}"):
        run_config(settings, progress=ActAtStage("label", lambda: change(path)))
    assert not list((tmp_path / "out").iterdir())


def test_a_source_that_changes_during_fit_or_predict_is_refused(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster("scene.tif", patches(3, (60, 80)))
    settings, model = config(tmp_path, str(path)), tmp_path / "out" / "model.json"
    with pytest.raises(SceneError, match="the file changed"):
        fit_config(settings, model, progress=ActAtStage("fit", lambda: replace_file(path)))
    assert not model.exists()
    fit_config(settings, model)
    output = OutputConfig(labels=str(tmp_path / "out" / "map.tif"))
    with pytest.raises(SceneError, match="the file changed"):
        predict(
            SceneConfig(source=(str(path),)),
            ClusterModel.load(model),
            output,
            progress=ActAtStage("write", lambda: replace_file(path)),
        )
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["model.json"]


def virtual_source(folder: Path, path: Path) -> tuple[Any, Path]:
    from rasterio.shutil import copy

    copy(path, folder / "scene.vrt", driver="VRT")
    return str(folder / "scene.vrt"), path


def zip_source(folder: Path, path: Path) -> tuple[Any, Path]:
    with zipfile.ZipFile(folder / "scenes.zip", "w") as archive:
        archive.write(path, "inside/scene.tif")
    return f"/vsizip/{folder / 'scenes.zip'}/inside/scene.tif", folder / "scenes.zip"


def store_source(folder: Path, path: Path) -> tuple[Any, Path]:
    with rasterio.open(path) as file:
        pixels = file.read()
    store = xr.DataArray(pixels, dims=("band", "y", "x"), name="pixels")
    store = store.assign_coords(y=np.arange(60) * -10.0, x=np.arange(80) * 10.0)
    store.to_dataset().chunk({"y": 30}).to_zarr(folder / "scene.zarr", zarr_format=2)
    chunks = sorted((folder / "scene.zarr" / "pixels").glob("[0-9]*"))
    return str(folder / "scene.zarr"), chunks[-1]


@pytest.mark.parametrize("form", [virtual_source, zip_source, store_source])
@pytest.mark.parametrize("change", [replace_file, touch_file, append_to_file])
def test_files_behind_virtual_files_archives_and_stores_are_checked(
    write_raster: WriteRaster,
    tmp_path: Path,
    form: Callable[[Path, Path], tuple[Any, Path]],
    change: Change,
) -> None:
    source, behind = form(tmp_path, write_raster("scene.tif", patches(3, (60, 80))))
    settings = config(tmp_path, source)
    with pytest.raises(SceneError, match=f"{behind.name}: the file changed"):
        run_config(settings, progress=ActAtStage("label", lambda: change(behind)))
    assert not list((tmp_path / "out").iterdir())
    run_config(settings)


def test_a_new_chunk_of_a_store_is_a_change(write_raster: WriteRaster, tmp_path: Path) -> None:
    source, chunk = store_source(tmp_path, write_raster("scene.tif", patches(3, (60, 80))))
    chunk.rename(tmp_path / "later")  # a missing chunk is read as zeros
    with pytest.raises(SceneError, match=f"{chunk.name}: the file changed .*it is new"):
        run_config(
            config(tmp_path, source), progress=ActAtStage("label", lambda: (tmp_path / "later").replace(chunk) and None)
        )


@pytest.mark.parametrize("where", ["mask", "aoi", "fit"])
def test_files_of_masks_and_areas_are_checked(write_raster: WriteRaster, tmp_path: Path, where: str) -> None:
    path = write_raster("scene.tif", patches(3, (60, 80)))
    side = write_raster("side.tif", np.ones((1, 60, 80), np.uint8))
    if where == "aoi":
        side = tmp_path / "side.geojson"
        side.write_text('{"type": "Polygon", "coordinates": [[[11, 53], [13, 53], [13, 54], [11, 54], [11, 53]]]}')
    settings = config(tmp_path, str(path), **({"fit": {"mask": str(side)}} if where == "fit" else {where: str(side)}))
    with pytest.raises(SceneError, match=f"{side.name}: the file changed"):
        run_config(settings, progress=ActAtStage("label", lambda: replace_file(side)))
    assert not list((tmp_path / "out").iterdir())


def test_a_file_truncated_during_a_run_is_reported_as_changed_not_damaged(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    path = write_raster("scene.tif", patches(3, (600, 800)))

    def cut() -> None:
        with path.open("r+b") as file:
            file.truncate(5000)

    with pytest.raises(SceneError, match="the file changed") as error:
        run_config(config(tmp_path, str(path)), progress=ActAtStage("label", cut))
    assert "5000" in str(error.value)


def test_a_lazy_scene_whose_file_was_replaced_is_refused(write_raster: WriteRaster) -> None:
    path = write_raster("scene.tif", patches(3, (60, 80)))
    scene = open_scene(path)
    scene.compute()
    replace_file(path)
    with pytest.raises(SceneError, match=r"scene\.tif: the file changed .*open the scene again"):
        scene.compute()
    open_scene(path).compute()


def test_metadata_and_folders_of_a_very_large_store_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "large.zarr"
    (store / "red").mkdir(parents=True)
    for name in (".zgroup", "red/.zarray", *(f"red/{i}.0" for i in range(9))):
        (store / name).write_text("{}")
    monkeypatch.setattr(file_stamps, "_MOST_CHUNKS", 3)
    for change in (
        lambda: touch_file(store / "red" / ".zarray"),
        lambda: append_to_file(store / "red" / "0.0"),
        lambda: (store / "red" / "9.0").write_text("{}"),
        lambda: replace_file(store / "red" / "8.0"),
    ):
        stamps = FileStamps([str(store)])
        stamps.check()
        change()
        with pytest.raises(SceneError, match="the file changed"):
            stamps.check()


@pytest.mark.parametrize(
    "spelled",
    ["{0}", "/vsizip/{0}/a/b.tif", "/vsizip/{{{0}}}/a/b.tif", "/vsitar/{0}/b.tif", "/vsigzip/{0}", "zip://{0}!a/b.tif",
     'NETCDF:"{0}":red', "NETCDF:{0}:red", 'HDF5:"{0}"://group/red', "GTIFF_DIR:1:{0}", "file://{0}",
     "/vsizip//vsigzip/{0}/x"],
)  # fmt: skip
def test_local_file_finds_the_file_behind_a_gdal_path(tmp_path: Path, spelled: str) -> None:
    path = tmp_path / "a file.nc"
    path.write_bytes(b"x")
    assert local_file(spelled.format(path)) == str(path)


@pytest.mark.parametrize(
    "spelled", ["https://example.org/a.tif", "/vsicurl/https://example.org/a.tif", "/vsizip//vsicurl/https://e.org/a",
                "s3://bucket/a.tif", "/vsimem/a.tif", "nowhere.tif", ""],
)  # fmt: skip
def test_remote_files_have_no_local_file(spelled: str) -> None:
    assert local_file(spelled) is None
    FileStamps([spelled]).check()
