"""The record of a run is read as a run writes it, and anything else is refused by its field."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import WriteRaster, patches
from runs import config

from pipeline.core.errors import ConfigError
from pipeline.jobs.run import run_config
from pipeline.jobs.run_records import read_run_record


@pytest.fixture
def record(write_raster: WriteRaster, tmp_path: Path) -> Path:
    """Record of a run."""
    scene = write_raster("s.tif", patches(3, (40, 50)), bands=["red", "green", "blue"])
    run_config(config(scene, tmp_path / "a.tif", fit={"k": 3}))
    return tmp_path / "a.run.json"


def change(record: Path, section: tuple[str, ...], key: str, value: str) -> None:
    """Replace a value of a record by one that is given as JSON."""
    content = inner = json.loads(record.read_text())
    for name in section:
        inner = inner[name]
    inner[key] = "a value"
    record.write_text(json.dumps(content).replace('"a value"', value))


@pytest.mark.parametrize("k", ["300", "255", "1000000000000", "1e999", "0", "-3", "4.7", "true", '"4"', "null", "[4]"])
def test_a_number_of_classes_that_no_map_has_is_refused(record: Path, k: str) -> None:
    change(record, ("model",), "k", k)
    with pytest.raises(ConfigError, match=r"a\.run\.json: this is not the record of a run .* \(model\.k is "):
        read_run_record(record)


@pytest.mark.parametrize("rgb", ['["red", "green"]', '"red"', "[]", "[1, 2, 3]", '[""]', "3", "{}"])
def test_shown_bands_that_are_not_one_or_three_names_are_refused(record: Path, rgb: str) -> None:
    change(record, ("config", "output"), "rgb", rgb)
    with pytest.raises(ConfigError, match=r"a\.run\.json: this is not the record of a run .*\(config\.output\.rgb is "):
        read_run_record(record)


@pytest.mark.parametrize("path", ['"."', '""', '".."', '"/"', '"a/.."', "3", "null", '"a\\u0000b"', '"folder"'])
def test_a_map_without_a_name_or_in_a_folder_that_is_no_store_names_the_record(record: Path, path: str) -> None:
    (record.parent / "folder").mkdir()
    change(record, ("outputs",), "labels", path)
    with pytest.raises(ConfigError, match=r"a\.run\.json: this is not the record of a run .*\(outputs\.labels"):
        read_run_record(record)


def test_of_two_maps_with_one_name_the_one_with_the_digest_of_the_record_is_taken(record: Path) -> None:
    moved = record.parent / "moved"
    moved.mkdir()
    for name in (record.name, "a.tif"):
        shutil.copy(record.parent / name, moved / name)
    assert read_run_record(moved / record.name).labels == record.parent / "a.tif", "both are the map"
    run_config(config(record.parent / "s.tif", record.parent / "a.tif", fit={"k": 4}), overwrite=True)
    assert read_run_record(moved / record.name).labels == moved / "a.tif"
