"""A file that changes while it is read spoils a map: there is none then, and the error says what changed."""

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
from pipeline.config.schema import OutputConfig, RunConfig, SceneConfig
from pipeline.core.errors import SceneError
from pipeline.engine.progress import Progress, Step
from pipeline.jobs.run import fit_config, predict, run_config
from pipeline.models.cluster_model import ClusterModel
from pipeline.scenes import file_stamps
from pipeline.scenes.file_stamps import FileStamps, local_file

Change = Callable[[Path], None]


class At(Progress):
    """Does something as a stage begins."""

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
    given = {"source": source, **scene}
    output = {"labels": str(folder / "out" / "map.tif")}
    return RunConfig.model_validate({"version": 1, "scene": given, "fit": {"k": 3, **(fit or {})}, "output": output})


def replaced(path: Path) -> None:
    """Rename a copy over a file: same bytes, same time, another file."""
    copy = path.with_name("copy" + path.suffix)
    shutil.copy2(path, copy)
    copy.replace(path)


def touched(path: Path) -> None:
    stamp = path.stat()
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1_000_000))


def appended(path: Path) -> None:
    stamp = path.stat()
    with path.open("ab") as file:
        file.write(b"more")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


CHANGES = [(replaced, "another file has taken its name"), (touched, "modified"), (appended, "bytes became"),
           (Path.unlink, "it is gone")]  # fmt: skip


@pytest.mark.parametrize(("change", "told"), CHANGES)
def test_a_source_that_changes_during_a_run_is_an_error_and_there_is_no_output(
    write_raster: WriteRaster, tmp_path: Path, change: Change, told: str
) -> None:
    path = write_raster("scene.tif", patches(3, (60, 80)))
    asked = config(tmp_path, str(path))
    with pytest.raises(SceneError, match=rf"scene\.tif: the file changed while .*{told}"):
        run_config(asked, progress=At("label", lambda: change(path)))
    assert not list((tmp_path / "out").iterdir())


def test_so_it_is_for_a_fit_alone_and_for_a_prediction(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster("scene.tif", patches(3, (60, 80)))
    asked, model = config(tmp_path, str(path)), tmp_path / "out" / "model.json"
    with pytest.raises(SceneError, match="the file changed"):
        fit_config(asked, model, progress=At("fit", lambda: replaced(path)))
    assert not model.exists()
    fit_config(asked, model)
    output = OutputConfig(labels=str(tmp_path / "out" / "map.tif"))
    with pytest.raises(SceneError, match="the file changed"):
        predict(
            SceneConfig(source=(str(path),)),
            ClusterModel.load(model),
            output,
            progress=At("write", lambda: replaced(path)),
        )
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["model.json"]


def of_a_virtual_file(folder: Path, path: Path) -> tuple[Any, Path]:
    from rasterio.shutil import copy

    copy(path, folder / "scene.vrt", driver="VRT")
    return str(folder / "scene.vrt"), path


def of_a_zip(folder: Path, path: Path) -> tuple[Any, Path]:
    with zipfile.ZipFile(folder / "scenes.zip", "w") as archive:
        archive.write(path, "inside/scene.tif")
    return f"/vsizip/{folder / 'scenes.zip'}/inside/scene.tif", folder / "scenes.zip"


def of_a_store(folder: Path, path: Path) -> tuple[Any, Path]:
    with rasterio.open(path) as file:
        pixels = file.read()
    store = xr.DataArray(pixels, dims=("band", "y", "x"), name="pixels")
    store = store.assign_coords(y=np.arange(60) * -10.0, x=np.arange(80) * 10.0)
    store.to_dataset().chunk({"y": 30}).to_zarr(folder / "scene.zarr", zarr_format=2)
    chunks = sorted((folder / "scene.zarr" / "pixels").glob("[0-9]*"))
    return str(folder / "scene.zarr"), chunks[-1]


@pytest.mark.parametrize("form", [of_a_virtual_file, of_a_zip, of_a_store])
@pytest.mark.parametrize("change", [replaced, touched, appended])
def test_files_behind_what_is_named_count(
    write_raster: WriteRaster,
    tmp_path: Path,
    form: Callable[[Path, Path], tuple[Any, Path]],
    change: Change,
) -> None:
    source, behind = form(tmp_path, write_raster("scene.tif", patches(3, (60, 80))))
    asked = config(tmp_path, source)
    with pytest.raises(SceneError, match=f"{behind.name}: the file changed"):
        run_config(asked, progress=At("label", lambda: change(behind)))
    assert not list((tmp_path / "out").iterdir())
    run_config(asked)


def test_a_chunk_that_is_new_in_a_store_counts(write_raster: WriteRaster, tmp_path: Path) -> None:
    source, chunk = of_a_store(tmp_path, write_raster("scene.tif", patches(3, (60, 80))))
    chunk.rename(tmp_path / "later")  # a chunk that is not there is filled with zeros
    with pytest.raises(SceneError, match=f"{chunk.name}: the file changed .*it is new"):
        run_config(config(tmp_path, source), progress=At("label", lambda: (tmp_path / "later").replace(chunk) and None))


@pytest.mark.parametrize("where", ["mask", "aoi", "fit"])
def test_files_of_masks_and_areas_count(write_raster: WriteRaster, tmp_path: Path, where: str) -> None:
    path = write_raster("scene.tif", patches(3, (60, 80)))
    side = write_raster("side.tif", np.ones((1, 60, 80), np.uint8))
    if where == "aoi":
        side = tmp_path / "side.geojson"
        side.write_text('{"type": "Polygon", "coordinates": [[[11, 53], [13, 53], [13, 54], [11, 54], [11, 53]]]}')
    asked = config(tmp_path, str(path), **({"fit": {"mask": str(side)}} if where == "fit" else {where: str(side)}))
    with pytest.raises(SceneError, match=f"{side.name}: the file changed"):
        run_config(asked, progress=At("label", lambda: replaced(side)))
    assert not list((tmp_path / "out").iterdir())


def test_a_file_that_was_cut_short_meanwhile_is_told_as_changed_not_as_damaged(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    path = write_raster("scene.tif", patches(3, (600, 800)))

    def cut() -> None:
        with path.open("r+b") as file:
            file.truncate(5000)

    with pytest.raises(SceneError, match="the file changed") as error:
        run_config(config(tmp_path, str(path)), progress=At("label", cut))
    assert "5000" in str(error.value)


def test_a_lazy_scene_whose_file_is_another_one_by_now_is_not_computed(write_raster: WriteRaster) -> None:
    path = write_raster("scene.tif", patches(3, (60, 80)))
    scene = open_scene(path)
    scene.compute()
    replaced(path)
    with pytest.raises(SceneError, match=r"scene\.tif: the file changed .*open the scene again"):
        scene.compute()
    open_scene(path).compute()


def test_of_a_very_large_store_metadata_and_folders_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "large.zarr"
    (store / "red").mkdir(parents=True)
    for name in (".zgroup", "red/.zarray", *(f"red/{i}.0" for i in range(9))):
        (store / name).write_text("{}")
    monkeypatch.setattr(file_stamps, "_MOST_CHUNKS", 3)
    for change in (
        lambda: touched(store / "red" / ".zarray"),
        lambda: appended(store / "red" / "0.0"),
        lambda: (store / "red" / "9.0").write_text("{}"),
        lambda: replaced(store / "red" / "8.0"),
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
def test_the_file_behind_a_path_of_gdal_is_found(tmp_path: Path, spelled: str) -> None:
    path = tmp_path / "a file.nc"
    path.write_bytes(b"x")
    assert local_file(spelled.format(path)) == str(path)


@pytest.mark.parametrize(
    "spelled", ["https://example.org/a.tif", "/vsicurl/https://example.org/a.tif", "/vsizip//vsicurl/https://e.org/a",
                "s3://bucket/a.tif", "/vsimem/a.tif", "nowhere.tif", ""],
)  # fmt: skip
def test_files_of_other_machines_have_no_stamp(spelled: str) -> None:
    assert local_file(spelled) is None
    FileStamps([spelled]).check()
