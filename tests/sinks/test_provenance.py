"""What a map's tags say of the scene's files and the settings."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import rasterio
import zarr
from conftest import WriteRaster, patches
from runs import config, contents
from sources import dataset, described, write_vector

from pipeline.config.schema import SceneConfig
from pipeline.jobs.predict import predict
from pipeline.jobs.run import run_config
from pipeline.models.store import load_model
from pipeline.sinks.provenance import MapProvenance, plain_name
from pipeline.sinks.registry import OutputConfig

QUICK = {"k": 3, "starts": 1, "max_iter": 3}


def tags(path: Path) -> dict[str, Any]:
    """Our tags of a map; those that are JSON are parsed."""
    with rasterio.open(path) as file:
        ours = {key.removeprefix("TERRAZZO_"): text for key, text in file.tags().items() if "TERRAZZO" in key}
    return {key: json.loads(text) if text[0] in "[{" else text for key, text in ours.items()}


def test_a_map_says_which_files_and_settings_decide_it(write_raster: WriteRaster, tmp_path: Path) -> None:
    paths = [write_raster(f"s_20250714_B0{seed}.tif", patches(1, seed=seed)) for seed in (2, 3)]
    (tmp_path / "areas").mkdir()
    area = write_vector(
        tmp_path / "areas" / "a.geojson",
        {"type": "Polygon", "coordinates": [[(3e5, 59e5), (3e5, 5898500), (302500, 5898500), (3e5, 59e5)]]},
    )
    job = config(
        paths, tmp_path / "c.tif", scene={"aoi": {"path": area}}, fit=QUICK, features={"indices": ["B03 / B02"]}
    )
    report = run_config(job)
    found = tags(tmp_path / "c.tif")
    assert found["ACQUIRED"] == "2025-07-14"
    assert found["BANDS"] == ["B02", "B03", "B03 / B02"]
    assert [file["name"] for file in found["FILES"]] == [*(path.name for path in paths), "a.geojson"]
    for file, path in zip(found["FILES"], [*paths, Path(area)], strict=True):
        content = path.read_bytes()
        ends = content if len(content) <= 2**17 else content[: 2**16] + content[-(2**16) :]
        assert (file["bytes"], file["sha256_of_ends"]) == (len(content), hashlib.sha256(ends).hexdigest())
    whole = job.model_dump(mode="json")
    assert found["FEATURES"] == whole["features"]
    assert found["FIT"] == whole["fit"]
    assert found["SCENE"] == whole["scene"] | {
        "source": [path.name for path in paths],
        "aoi": whole["scene"]["aoi"] | {"path": "a.geojson"},
    }
    assert str(tmp_path) not in json.dumps(found)
    assert (report["inputs"], report["scene"]["acquired"]) == (found["FILES"], found["ACQUIRED"])
    assert not {"OUTPUT", "RUN"} & set(found)


def test_the_map_is_the_same_bytes_in_any_folder_and_with_any_run_and_output(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    path = write_raster("s_20250714.tif", patches(3, (300, 400)))
    maps = set()
    for folder, output, run in (
        ("one", {}, {}),
        ("a folder/below", {"table": "none", "stac": "none"}, {"workers": 1, "chunk": 64}),
        ("three", {"picture": "none"}, {"memory": "3GB", "cache": "memory", "timeout": 5}),
    ):
        (tmp_path / folder).mkdir(parents=True)
        source = Path(shutil.copyfile(path, tmp_path / folder / path.name))  # with another time
        run_config(config(source, tmp_path / folder / f"map of {folder[:3]}.tif", fit=QUICK, output=output, run=run))
        maps.add((tmp_path / folder / f"map of {folder[:3]}.tif").read_bytes())
    assert len(maps) == 1


def test_a_prediction_says_its_scene_and_model(write_raster: WriteRaster, tmp_path: Path) -> None:
    first, second = write_raster("a_20250714.tif", patches(3)), write_raster("b_20250719.tif", patches(3, seed=1))
    run_config(config(first, tmp_path / "a.tif.tif", fit=QUICK))
    model = load_model(tmp_path / "a.tif.model.json")
    report = predict(SceneConfig(source=(str(second),)), model, OutputConfig(labels=str(tmp_path / "p.tif")))
    found = tags(tmp_path / "p.tif")
    assert (found["ACQUIRED"], found["MODEL_SHA256"]) == ("2025-07-19", model.digest)
    assert [file["name"] for file in found["FILES"]] == [second.name]
    assert found["SCENE"]["source"] == [second.name]
    assert not {"FEATURES", "FIT"} & set(found)
    assert report["config"]["scene"]["source"] == [str(second)]
    assert report["config"]["scene"]["resampling"] == "nearest", "defaults are written, too"


def test_a_store_stands_by_its_metadata_and_an_archive_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    dataset("bands")[0].to_zarr(path, zarr_format=2, consolidated=False)

    def recorded() -> Any:
        return MapProvenance.of(described(path).info, SceneConfig(source=(str(path),))).files

    (before,) = recorded()
    assert before.name == "s.zarr"
    assert before.sha256_of_ends == hashlib.sha256((path / ".zattrs").read_bytes()).hexdigest()
    zarr.open_group(path, mode="r+").attrs["note"] = "changed"
    assert recorded() != (before,)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/a/B02.tif", "B02.tif"),
        ("/data/a/scene.SAFE/", "scene.SAFE"),
        ("https://host/a/B02.tif?token=secret", "B02.tif"),
        ("/vsicurl/https://host/a/B02.tif?token=secret", "B02.tif"),
        ("s3://bucket/B02.tif", "B02.tif"),
        ("/data/*.tif", "*.tif"),
        ("what?.tif", "what?.tif"),
    ],
)
def test_names_have_no_folders_and_no_secrets(path: str, name: str) -> None:
    assert plain_name(path) == name


def test_remote_files_are_listed_once_whatever_name_gdal_has_for_them(write_raster: WriteRaster) -> None:
    info = described(write_raster("a.tif", patches(1))).info
    files = ("https://192.0.2.1/a.tif?t=1", "/vsicurl/https://192.0.2.1/a.tif?t=1", "s3://b/c.tif", "/vsis3/b/c.tif")
    listed = MapProvenance.of(type(info)(**{**vars(info), "files": files}), SceneConfig(source=(files[0],))).files
    assert [file.name for file in listed] == ["a.tif", "c.tif"]


def test_remote_files_are_named_and_not_opened(write_raster: WriteRaster) -> None:
    path = write_raster("a.tif", patches(1))
    info = described(path).info
    remote = type(info)(**{**vars(info), "files": ("https://192.0.2.1/a/B02.tif?token=secret", str(path))})
    first, second = MapProvenance.of(remote, SceneConfig(source=(str(path),))).files
    assert (first.name, first.bytes, first.sha256_of_ends) == ("B02.tif", None, None)
    assert second.bytes == path.stat().st_size
    assert contents(path.parent)[path.name] == path.read_bytes()
