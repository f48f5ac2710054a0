"""Maps that are written from labels have the same legend as those of a run."""

from pathlib import Path

import pytest
import rioxarray
from conftest import WriteRaster, patches
from rasterio.transform import from_origin
from runs import config

from pipeline import ClusterModel, label, open_scene, write
from pipeline.core.errors import ConfigError, OutputError
from pipeline.jobs.run import run_config

LEGEND = (".tif.aux.xml", ".qml")


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326"])
def test_a_map_written_in_python_has_the_legend_of_the_run(write_raster: WriteRaster, tmp_path: Path, crs: str) -> None:
    pixels = patches(3, shape=(150, 130))
    pixels[:, :20] = 0
    transform = from_origin(12, 50, 0.001, 0.001) if crs == "EPSG:4326" else from_origin(5e5, 5e6, 10, 10)
    path = write_raster("scene.tif", pixels, crs=crs, transform=transform, nodata=0)
    run_config(config(path, tmp_path / "run.tif", fit={"k": 4, "starts": 1}))
    model = ClusterModel.load(tmp_path / "run.model.json")
    labels = label(open_scene(path, chunk=64), model)
    write(labels, tmp_path / "written.tif")
    for ending in LEGEND:
        written, of_run = ((tmp_path / f"{name}{ending}").read_bytes() for name in ("written", "run"))
        assert written == of_run, ending


def test_a_legend_that_exists_is_replaced_only_on_request(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster("scene.tif", patches(3))
    run_config(config(path, tmp_path / "run.tif", fit={"k": 3, "starts": 1}, output={"qml": str(tmp_path / "map.qml")}))
    labels = label(open_scene(path), ClusterModel.load(tmp_path / "run.model.json"))
    before = (tmp_path / "map.qml").read_bytes()
    with pytest.raises(OutputError, match=r"map\.qml: the file exists already; allow overwriting"):
        write(labels, tmp_path / "map.tif")
    assert not (tmp_path / "map.tif").exists()
    assert (tmp_path / "map.qml").read_bytes() == before
    write(labels, tmp_path / "map.tif", overwrite=True, palette="viridis")
    assert (tmp_path / "map.qml").read_bytes() != before


@pytest.mark.parametrize("name", ["scene.tif", "scene.tif.ovr", "scene.tfw"])
def test_a_map_never_replaces_its_scene_nor_becomes_part_of_it(
    write_raster: WriteRaster, tmp_path: Path, name: str
) -> None:
    path = write_raster("scene.tif", patches(3))
    before = path.read_bytes()
    run_config(config(path, tmp_path / "run.tif", fit={"k": 3, "starts": 1}))
    model = ClusterModel.load(tmp_path / "run.model.json")
    with rioxarray.open_rasterio(path, chunks=64) as array:
        for scene in (open_scene(path), array):
            with pytest.raises(ConfigError, match=rf"{name}: .*(is an input|as part of .*an input)"):
                write(label(scene, model), tmp_path / name, overwrite=True)
    assert path.read_bytes() == before


def test_colours_of_a_file_beside_the_map_are_not_replaced(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster("scene.tif", patches(3))
    run_config(config(path, tmp_path / "run.tif", fit={"k": 3, "starts": 1}))
    labels = label(open_scene(path), ClusterModel.load(tmp_path / "run.model.json"))
    with pytest.raises(ConfigError, match=r"run\.qml: this file is an input \(palette\)"):
        write(labels, tmp_path / "run.tif", palette=str(tmp_path / "run.qml"), overwrite=True)
