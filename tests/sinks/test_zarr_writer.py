"""The map as a Zarr store: read by zarr, xarray, rioxarray and GDAL, and equal to the GeoTIFF of the same run."""

import errno
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import rioxarray
import xarray as xr
import zarr
from affine import Affine
from conftest import WriteRaster, patches
from rasterio.errors import NotGeoreferencedWarning
from runs import config, contents, read
from sources import dataset

from pipeline import ClusterModel, label, write
from pipeline.core.errors import ConfigError, OutputError
from pipeline.core.grid import Grid
from pipeline.jobs.run import run_config
from pipeline.kernels.majority import halve
from pipeline.sinks import zarr_writer
from pipeline.sinks.geotiff import map_tags
from pipeline.sinks.palette import class_colours
from pipeline.sinks.zarr_chunks import StagedStore
from pipeline.sinks.zarr_layout import MapDescription
from pipeline.sinks.zarr_writer import ZarrWriter, verify_store

CRS = rasterio.CRS.from_epsg(32633).to_wkt()
K = 5


def description(shape: tuple[int, int], **changes: Any) -> MapDescription:
    grid = {"shape": shape, "transform": Affine(10, 0, 300_000, 0, -10, 5_900_000), "crs": CRS, **changes}
    names = tuple(f"class {number}" for number in range(1, K + 1))
    return MapDescription(
        grid=Grid(**grid), colours=class_colours(K), names=names, unclassified=True, tags=map_tags("abc")
    )


def noise(shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    labels = np.random.default_rng(0).integers(0, K + 1, shape).astype(np.uint8)
    labels[shape[0] // 2 :] = 0  # whole chunks of nodata, which are written, too
    labels[0, 0] = 255
    return labels


def write_labels(
    path: Path,
    labels: npt.NDArray[np.uint8],
    chunk: tuple[int, int] = (300, 777),
    zarr_format: Literal[2, 3] = 2,
    *,
    overviews: bool = False,
) -> None:
    made = description(labels.shape)
    with ZarrWriter(path, made, 2, zarr_format=zarr_format, overviews=overviews) as writer:
        for block in reversed(made.grid.blocks(chunk)):
            writer.add_labels(block, labels[block.slices])
        writer.prepare()
        writer.finish()


def opened(path: Path, **how: Any) -> xr.Dataset:
    """What xarray makes of a store without a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return xr.open_zarr(path, **how)


@pytest.mark.lowest
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("shape", [(1, 1), (1, 1500), (1300, 2100)])
def test_blocks_of_any_shape_make_a_store_with_every_chunk_and_overviews_by_majority(
    tmp_path: Path, shape: tuple[int, int], zarr_format: Literal[2, 3]
) -> None:
    labels = noise(shape)
    write_labels(tmp_path / "map.zarr", labels, zarr_format=zarr_format, overviews=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["map.zarr"]
    array = zarr.open_group(tmp_path / "map.zarr", mode="r")["class"]
    assert array.metadata.zarr_format == zarr_format
    assert array.fill_value == (None if zarr_format == 2 else 0)
    assert array.nchunks_initialized == array.nchunks
    np.testing.assert_array_equal(array[...], labels)
    factor = 1
    while max(labels.shape) > 512:
        labels, factor = halve(labels), 2 * factor
        level = opened(tmp_path / "map.zarr" / f"overview_{factor}")
        np.testing.assert_array_equal(level["class"].values, labels)
        assert level.rio.crs == rasterio.CRS.from_epsg(32633)
        assert level.rio.transform() == Affine(10 * factor, 0, 300_000, 0, -10 * factor, 5_900_000)
    layout = opened(tmp_path / "map.zarr").attrs.get("multiscales", {"layout": []})["layout"]
    folders = [entry["asset"] for entry in layout if (tmp_path / "map.zarr" / entry["asset"]).is_dir()]
    assert folders == ([] if factor == 1 else ["class", *(f"overview_{2**n}/class" for n in range(1, len(folders)))])
    assert 2 ** max(0, len(folders) - 1) == factor


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_files_do_not_depend_on_blocks(tmp_path: Path, zarr_format: Literal[2, 3]) -> None:
    labels = noise((1100, 1050))
    for number, chunk in enumerate([(1100, 1050), (64, 64), (1, 1050)]):
        write_labels(tmp_path / f"{number}.zarr", labels, chunk, zarr_format, overviews=True)
    first, *others = (contents(tmp_path / f"{number}.zarr") for number in range(3))
    assert others == [first, first]


SCENES: dict[str, dict[str, Any]] = {
    "projected": {"dtype": "uint16", "nodata": 0},
    "degrees": {"dtype": "float32", "crs": "EPSG:4326", "transform": Affine(1e-4 / 3, 0, 7, 0, -1e-4 / 3, 50)},
    "tilted": {"dtype": "uint16", "transform": Affine(7.1, 2.3, 100_000.1, 2.2, -7.3, 200_000.2)},
    "unlocated": {"dtype": "uint16", "crs": None, "transform": Affine.identity()},
    "row": {"dtype": "uint16", "shape": (1, 300)},
    "metres": {"dtype": "uint16", "crs": "EPSG:3035", "transform": Affine(100, 0, 4e6, 0, -100, 3e6)},
}


@pytest.mark.parametrize("kind", SCENES)
def test_xarray_and_gdal_read_the_pixels_and_location_of_the_geotiff_of_the_same_run(
    write_raster: WriteRaster, tmp_path: Path, kind: str
) -> None:
    profile = dict(SCENES[kind])
    pixels = patches(3, profile.pop("shape", (70, 90)), dtype=profile.pop("dtype"))
    pixels[:, :, :9] = profile.setdefault("nodata", np.nan if pixels.dtype.kind == "f" else 0)
    scene = write_raster("scene.tif", pixels, **profile)
    for name in ("map.tif", "map.zarr"):
        job = config(scene, tmp_path / name, fit={"k": 4, "starts": 1}, run={"workers": 2, "chunk": 16})
        run_config(job, overwrite=True)
    dataset = opened(tmp_path / "map.zarr")
    assert list(dataset.data_vars) == ["class"]
    labels = dataset["class"]
    with rasterio.open(tmp_path / "map.tif") as map_file:
        np.testing.assert_array_equal(labels.values, map_file.read(1))
        assert (labels.dims, labels.dtype, labels.rio.nodata) == (("y", "x"), np.uint8, 0)
        assert labels.rio.crs == map_file.crs
        assert labels.rio.transform() == map_file.transform
        assert labels.attrs["spatial:transform"] == list(map_file.transform)[:6]
        for name in (tmp_path / "map.zarr", f'ZARR:"{tmp_path}/map.zarr":/class'):
            check_gdal(str(name), map_file, located=kind not in {"tilted", "row"})
        if kind != "tilted":
            np.testing.assert_array_equal(labels.x, [map_file.xy(0, n)[0] for n in range(map_file.width)])
            np.testing.assert_array_equal(labels.y, [map_file.xy(n, 0)[1] for n in range(map_file.height)])
    assert ("x" in dataset.coords) is (kind != "tilted"), "rows and columns of a rotated grid have no coordinates"


def check_gdal(name: str, map_file: rasterio.DatasetReader, *, located: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(name) as file:
            np.testing.assert_array_equal(file.read(1), map_file.read(1))
            assert file.crs == map_file.crs
            # GDAL takes the transform from coordinates that differ, which a single row and a rotated grid do not have
            assert not located or file.transform.almost_equals(map_file.transform, 1e-9)


def test_attributes_say_what_the_labels_mean_and_where_they_lie(tmp_path: Path) -> None:
    write_labels(tmp_path / "map.zarr", noise((20, 30)))
    dataset = opened(tmp_path / "map.zarr")
    attrs = dataset["class"].attrs
    assert attrs["flag_values"] == [1, 2, 3, 4, 5, 255]
    assert attrs["flag_meanings"] == "class_1 class_2 class_3 class_4 class_5 unclassified"
    assert [tuple(bytes.fromhex(word[1:])) for word in attrs["flag_colors"].split()[:K]] == list(class_colours(K))
    assert attrs["proj:code"] == "EPSG:32633"
    assert attrs["spatial:bbox"] == [300_000, 5_899_800, 300_300, 5_900_000]
    assert dataset.attrs["TERRAZZO_MODEL_SHA256"] == "abc"
    assert dataset.spatial_ref.attrs["grid_mapping_name"] == "transverse_mercator"
    assert dataset["class"].encoding["coordinates"] == attrs["grid_mapping"] == "spatial_ref"
    assert dataset.x.attrs == {"axis": "X", "standard_name": "projection_x_coordinate", "units": "m"}


@pytest.mark.skipif(shutil.which("gdalinfo") is None, reason="the system has no gdalinfo")
@pytest.mark.parametrize("overviews", [False, True])
def test_the_gdal_of_the_system_opens_the_store_by_its_path(tmp_path: Path, *, overviews: bool) -> None:
    labels = noise((700, 900))
    write_labels(tmp_path / "map.zarr", labels, overviews=overviews)
    done = subprocess.run(
        ["gdalinfo", "-json", "-checksum", str(tmp_path / "map.zarr")],  # noqa: S607 (where it is installed)
        capture_output=True,
        check=True,
        env={name: value for name, value in os.environ.items() if not name.startswith(("GDAL", "PROJ"))},
    )
    found = json.loads(done.stdout)
    assert found["size"] == [900, 700]
    assert found["geoTransform"] == [300_000, 10, 0, 5_900_000, 0, -10]
    assert rasterio.CRS.from_wkt(found["coordinateSystem"]["wkt"]) == rasterio.CRS.from_epsg(32633)
    with rasterio.MemoryFile() as memory:
        with memory.open(driver="GTiff", width=900, height=700, count=1, dtype="uint8") as file:
            file.write(labels, 1)
        with memory.open() as file:
            assert found["bands"][0]["checksum"] == file.checksum(1)


LOADED = """
import sys
from pathlib import Path
from pipeline.jobs.config import RunConfig
from pipeline.jobs.run import run_config
for name in ("map.tif", "map.zarr"):
    settings = {"version": 1, "scene": {"source": sys.argv[1]}, "output": {"labels": str(Path(sys.argv[2]) / name)}}
    run_config(RunConfig.model_validate({**settings, "fit": {"k": 2, "starts": 1}}), overwrite=True)
    print(*sorted({"zarr", "numcodecs", "xarray", "dask", "pandas", "sklearn"} & set(sys.modules)))
"""


def test_only_the_run_of_a_zarr_map_loads_zarr_and_none_loads_xarray(write_raster: WriteRaster, tmp_path: Path) -> None:
    scene = write_raster("scene.tif", patches(2, (40, 50)))
    command = [sys.executable, "-c", LOADED, str(scene), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["", "numcodecs zarr"]


def test_a_store_that_differs_from_what_was_written_is_found(tmp_path: Path) -> None:
    labels = noise((1100, 600))
    path = tmp_path / "map.zarr"
    write_labels(path, labels, overviews=True)
    sums = {"": zarr_writer.checksum(labels, (0, 0)), "overview_2": zarr_writer.checksum(halve(labels), (0, 0))}
    verify_store(path, sums)
    with pytest.raises(OutputError, match="the map read back differs from what was written"):
        verify_store(path, {"": 1})
    with pytest.raises(OutputError, match="overview_2 read back differs"):
        verify_store(path, sums | {"overview_2": 1})
    (path / "class" / "0.0").unlink()
    with pytest.raises(OutputError, match="the map read back differs from what was written"):
        verify_store(path, sums)
    (path / "class" / "0.0").write_bytes(b"no chunk")
    with pytest.raises(OutputError, match="the map can't be read back"):
        verify_store(path, sums)


def test_a_full_disk_is_told_and_leaves_no_store(
    write_raster: WriteRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = write_raster("scene.tif", patches())
    plain = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.parent.name in {"class", ".parts"} and not path.name.startswith("."):
            raise OSError(errno.ENOSPC, "No space left on device")
        return plain(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    message = r"the map can't be written \(No space left on device\); make room there, or set output\.labels to a path"
    with pytest.raises(OutputError, match=message):
        run_config(config(scene, tmp_path / "map.zarr", fit={"k": 3, "starts": 1}))
    assert [entry.name for entry in tmp_path.iterdir()] == ["scene.tif"]


def test_a_temporary_folder_that_was_removed_is_not_made_again(tmp_path: Path) -> None:
    """A signal removes it while zarr's threads may still write."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    store = StagedStore(folder / "map.zarr")
    group = zarr.create_group(store, zarr_format=2)
    array = group.create_array("class", shape=(4, 4), chunks=(2, 2), dtype="uint8")
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError):
        array[...] = np.ones((4, 4), np.uint8)
    assert not folder.exists()


def test_only_a_store_of_this_program_is_replaced_and_only_if_that_is_allowed(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    scene, path = write_raster("scene.tif", patches()), tmp_path / "map.zarr"
    job = config(scene, path, fit={"k": 3, "starts": 1}, output={"zarr_overviews": True})
    run_config(job)
    first = contents(path)
    with pytest.raises(OutputError, match=r"map\.zarr: the folder exists already; allow overwriting"):
        run_config(job)
    run_config(job, overwrite=True)
    assert contents(path) == first
    (path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"^output\.labels: .*map\.zarr: this folder contains notes\.txt, which Terr"):
        run_config(job, overwrite=True)
    assert contents(path) == first | {"notes.txt": b"mine"}
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


@pytest.mark.parametrize("group", ["", "overview_2"])
def test_a_store_is_not_replaced_by_the_map_of_a_scene_in_it(tmp_path: Path, group: str) -> None:
    path = tmp_path / "map.zarr"
    write_labels(path, noise((700, 900)), overviews=True)
    before = contents(path)
    message = r"^output\.labels: .*map\.zarr: this (file is|folder contains) an input \(the scene"
    with pytest.raises(ConfigError, match=message):
        run_config(config(path / group, path, fit={"k": 3}), overwrite=True)
    assert contents(path) == before


@pytest.mark.parametrize("source", ["", "*.zarr"])
def test_a_map_beside_stores_is_no_part_of_the_scene_when_it_is_replaced(tmp_path: Path, source: str) -> None:
    dataset("bands")[0].to_zarr(tmp_path / "scene.zarr", zarr_format=2)
    job = config(tmp_path / source, tmp_path / "map.zarr", fit={"k": 3, "starts": 1})
    first, second = (run_config(job, overwrite=True) for _ in range(2))
    assert second["scene"] == first["scene"]
    assert second["sha256"]["labels"] == first["sha256"]["labels"]


def test_labels_in_python_are_written_and_read_back_with_all_that_write_needs(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    scene = write_raster("scene.tif", patches(shape=(150, 130)))
    run_config(config(scene, tmp_path / "map.zarr", fit={"k": 4, "starts": 1}, scene={"date": "2025-07-14"}))
    model = ClusterModel.load(tmp_path / "map.model.json")
    with rioxarray.open_rasterio(scene, chunks={"y": 37, "x": 41}) as array:
        target = write(label(array.assign_attrs(acquired="2025-07-14"), model), tmp_path / "python.zarr")
    assert target == tmp_path / "python.zarr"
    of_run, of_python = opened(tmp_path / "map.zarr"), opened(target)
    assert of_python.equals(of_run)
    assert {**of_run.attrs, **of_python.attrs} == of_run.attrs, "only files and settings are not known here"
    chunks = [
        {name: data for name, data in contents(each).items() if ".z" not in name}
        for each in (target, tmp_path / "map.zarr")
    ]
    assert chunks[0] == chunks[1]
    part = opened(target)["class"].isel(x=slice(20, 90))
    write(part, tmp_path / "part.zarr")
    again = opened(tmp_path / "part.zarr")["class"]
    assert again.equals(part)
    assert (again.attrs["model"], again.attrs["k"], again.attrs["acquired"]) == (model.digest, 4, "2025-07-14")
    write(part, tmp_path / "part_of_it.tif")
    np.testing.assert_array_equal(read(tmp_path / "part_of_it.tif"), part)
    with pytest.raises(ConfigError, match="write: zarr_format: 4 is not allowed"):
        write(part, tmp_path / "four.zarr", zarr_format=4)  # type: ignore[arg-type]
