"""Listing raster files of files, folders and patterns: each once, sorted with numbers by value."""

from pathlib import Path
from typing import Any

import pytest
import rasterio
from conftest import WriteRaster, patches

from pipeline.core.errors import SceneError
from pipeline.formats.paths import find_files
from pipeline.jobs.config import load_config


def paths(*arguments: Any) -> list[str]:
    """Paths that `find_files` lists."""
    return [file.path for file in find_files(*arguments)]


def touch(folder: Path, *names: str) -> list[str]:
    """Create empty files and return their paths."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return [str(folder / name) for name in names]


def test_folder_lists_only_its_rasters_sorted_by_band(tmp_path: Path) -> None:
    rasters = touch(tmp_path, "x_B2.tif", "x_B8.TIF", "x_B8A.tiff", "x_B10.jp2")
    touch(tmp_path, "x_B2.tif.aux.xml", "readme.txt", "x_B3", "deeper/x_B1.tif")
    (tmp_path / "folder.tif").mkdir()
    assert paths(tmp_path) == rasters
    assert paths(str(tmp_path) + "/") == rasters


def test_folder_without_rasters_names_the_subfolder_that_has_some(tmp_path: Path) -> None:
    touch(tmp_path, "QI_DATA/report.xml", "R10m/x_B02.jp2", "R20m/x_B05.jp2")
    with pytest.raises(SceneError, match=r"no raster file \(.*\); .*R10m does: name that folder"):
        paths(tmp_path)


def test_pattern_lists_its_matches_sorted_by_number(tmp_path: Path) -> None:
    touch(tmp_path, "a/B9.tif", "a/B10.tif", "b/B1.tif", "b/note.txt")
    (tmp_path / "a" / "B7.tif").mkdir()  # a folder is no raster
    assert paths(f"{tmp_path}/a/B*.tif") == touch(tmp_path, "a/B9.tif", "a/B10.tif")
    assert paths(f"{tmp_path}/**/*.tif") == touch(tmp_path, "a/B9.tif", "a/B10.tif", "b/B1.tif")


def test_excluded_and_hidden_files_are_listed_only_if_named(tmp_path: Path) -> None:
    band, output, hidden = touch(tmp_path, "B02.tif", "classes.tif", ".terrazzo-1.tif")
    (tmp_path / "link").symlink_to(tmp_path)
    for excluded in ([output], [tmp_path / "link" / "classes.tif"]):
        assert paths(tmp_path, excluded) == [band]
        assert paths(f"{tmp_path}/*.tif", excluded) == [band]
        assert paths([band, output], excluded) == [band, output]
    assert paths(hidden) == [hidden]


def test_named_files_keep_their_order(tmp_path: Path) -> None:
    files = touch(tmp_path, "c.tif", "a.tif", "b.dat")
    assert paths(files) == files
    assert paths([Path(file) for file in files]) == files
    assert paths(files[2]) == files[2:]


def test_existing_file_with_pattern_characters_is_that_file(tmp_path: Path) -> None:
    files = touch(tmp_path, "scene[1].tif", "scene1.tif")
    assert paths(files[0]) == files[:1]


def test_pattern_in_a_config_works_in_a_folder_with_pattern_characters(tmp_path: Path) -> None:
    files = touch(tmp_path / "run [2020]", "B02.tif", "B03.tif")
    config = tmp_path / "run [2020]" / "run.yaml"
    config.write_text("version: 1\nscene: {source: '*.tif'}\noutput: {labels: map.tif}\n")
    assert paths(load_config(config).scene.source) == files


@pytest.mark.parametrize("second", ["a.tif", "./a.tif", "folder", "*.tif", "./*.tif", "folder/../a.tif"])
def test_file_named_twice_is_refused_in_any_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    touch(tmp_path, "a.tif", "folder/b.tif")
    monkeypatch.chdir(tmp_path)
    first = "folder/b.tif" if second == "folder" else "a.tif"
    with pytest.raises(SceneError, match=rf"scene\.source: .*{first} is named twice"):
        find_files([first, second])


@pytest.mark.parametrize("item", ["/vsizip/x.zip/a.tif", "/vsicurl/https://example.org/*.tif"])
def test_virtual_paths_are_listed_unchanged(item: str) -> None:
    assert paths([item]) == [item]


@pytest.mark.parametrize("item", ["https://example.org/a.tif", "https://example.org/a.tif?key=1", "s3://bucket/a.tif"])
def test_urls_are_listed_unchanged(item: str) -> None:
    assert paths([item]) == [item]


def test_gdal_name_of_a_part_of_a_file_is_listed_unchanged(write_raster: WriteRaster) -> None:
    part = f"GTIFF_DIR:1:{write_raster('pages.tif', patches(1))}"
    with rasterio.open(part) as file:  # GDAL knows it
        assert file.count == 1
    assert paths(part) == [part]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none.tif", r"none\.tif: no such file or folder"),
        (["a.tif", "none.tif"], r"none\.tif: no such file or folder"),
        ("none*.tif", r"none\*\.tif: no file matches; check the pattern"),
        ("empty", r"empty: the folder holds no product and no raster file \(.*\.jp2.*\.tif"),
        ([], r"scene\.source: no file is named"),
        ("", r"no such file|no file is named"),
        ("x" * 300 + ".tif", r"x{300}\.tif: "),
    ],
)
def test_missing_files_are_named_in_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str | list[str], message: str
) -> None:
    touch(tmp_path, "a.tif", "empty/note.txt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SceneError, match=message):
        find_files(source)
