"""Facts and warnings about scenes, and the template made of them."""

import cProfile
import json
import pstats
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine
from conftest import WriteRaster, patches

import pipeline.scenes.preview as preview_module
from pipeline.cli.text import inspection_words
from pipeline.config.record import parse_record
from pipeline.config.schema import SceneConfig
from pipeline.geo.gdal import open_raster
from pipeline.jobs.config import RunConfig
from pipeline.jobs.inspect import inspect_scene
from pipeline.jobs.template import config_template
from pipeline.methods.registry import METHODS
from pipeline.raster.file_bands import list_bands
from pipeline.scenes.open import open_scene_config


def notes(path: Path | list[str]) -> str:
    found = inspect_scene([str(path)] if isinstance(path, Path) else path)
    return "\n".join(found.warnings)


def test_facts_agree_with_rasterio(data: Path) -> None:
    path = data / "scenes" / "landsat7_olinda" / "L7_ETMs.tif"
    found = inspect_scene([str(path)])
    with rasterio.open(path) as file:
        assert (found.rows, found.columns) == file.shape
        assert found.block == file.block_shapes[0][::-1]
        assert found.crs == file.crs.to_string()
        assert len(found.bands) == file.count
        assert found.bands[0].low == file.read(1).min()
        assert found.bands[0].high == file.read(1).max()


def test_the_valid_share_counts_every_band(write_raster: WriteRaster) -> None:
    pixels = patches(2)
    pixels[0, :50], pixels[1, 150:] = 0, 0
    found = inspect_scene([str(write_raster("s.tif", pixels, nodata=0))])
    assert found.valid_share == 0.5
    assert [band.valid_share for band in found.bands] == [0.75, 0.75]


def test_large_scenes_are_previewed_at_reduced_resolution(write_raster: WriteRaster) -> None:
    pixels = patches(1, (2100, 1500))
    pixels[:, :1050] = 0
    found = inspect_scene([str(write_raster("s.tif", pixels, nodata=0, tiled=True))])
    assert found.valid_share == pytest.approx(0.5, abs=0.01)


def test_untagged_zeros_are_reported(write_raster: WriteRaster) -> None:
    pixels = patches(2)
    pixels[:, :50] = 0
    assert "25.0% of the pixels are 0 in every band" in notes(write_raster("plain.tif", pixels))
    assert "0 in every band" not in notes(write_raster("tagged.tif", pixels, nodata=0))


def test_the_date_is_shown_and_in_the_config_for_editing(write_raster: WriteRaster) -> None:
    for name, date in (("s_20250714.tif", "2025-07-14"), ("s.tif", None)):
        path = str(write_raster(name, patches(1)))
        found = inspect_scene(path)
        assert json.loads(json.dumps(found.record()))["acquired"] == date
        assert f"\ndate     {date or 'unknown'}\n" in inspection_words(found)
        text = config_template([path])
        assert yaml.safe_load(text)["scene"].get("date") is None
        edited = yaml.safe_load(text.replace("# date", "date"))["scene"]["date"]
        assert parse_record(SceneConfig, {"source": path, "date": edited}, "x").date == "2025-07-14"


def test_constant_and_duplicate_bands_are_named(write_raster: WriteRaster) -> None:
    pixels = patches(4)
    pixels[1], pixels[3] = 17, pixels[0]
    warnings = notes(write_raster("s.tif", pixels, bands=["a", "b", "c", "d"]))
    assert "band b is 17 in every pixel of its preview" in warnings
    assert "band d has the same preview as a" in warnings
    assert "band c" not in warnings


def test_alpha_and_infinity_and_missing_crs_are_named(write_raster: WriteRaster) -> None:
    pixels = patches(4, dtype="uint8")
    pixels[3] = 255
    assert "is marked as alpha and used as a mask; if it is data, name it" in notes(
        write_raster("rgba.tif", pixels, alpha=True)
    )
    floats = patches(1, dtype="float32")
    floats[0, 0, 0] = np.inf
    warnings = notes(write_raster("floats.tif", floats, crs=None))
    assert "infinite" in warnings
    assert "no coordinate reference system" in warnings


def test_bands_on_different_grids_are_described(data: Path) -> None:
    folder = data / "scenes" / "t33uuu_20170216_l1c"
    found = inspect_scene([str(folder / "*.jp2")])
    assert len(found.bands) == 13
    assert found.valid_share == 1 - 1 / (512 * 256)  # one pixel of B8A is 0, which is nodata in Sentinel-2
    assert [band.name for band in found.bands][7:10] == ["B08", "B8A", "B09"]
    assert "different grids" in found.warnings[0]
    assert {band.common_name for band in found.bands} >= {"red", "nir", "swir16"}
    assert max(map(len, inspection_words(found).splitlines()[1:])) <= 80


def test_the_template_is_a_valid_config_for_its_scene(data: Path) -> None:
    for source in (data / "scenes" / "t33uuu_20170216_l1c", data / "scenes" / "rgbn_5m" / "rgbn.tif"):
        text = config_template([str(source)])
        config = RunConfig.model_validate(yaml.safe_load(text))
        assert config.fit == RunConfig.model_fields["fit"].default
        assert all(f"  # {method.name}: {method.description}\n" in text for method in METHODS.values())
        assert all(key in text for key in ("source:", "bands:", "nodata:", "method:", "palette:", "memory:", "chunk:"))
    assert "B8A" not in str(
        RunConfig.model_validate(
            yaml.safe_load(config_template([str(data / "scenes" / "t33uuu_20170216_l1c")]))
        ).scene.bands
    )


def test_the_template_names_its_map_after_the_folder_of_a_pattern(write_raster: WriteRaster) -> None:
    path = write_raster("a_B02.tif", patches(1))
    folder = path.parent
    for source, name in ((f"{folder}/*B0*.tif", folder.name), (str(path), "a_B02"), (f"{folder}/", folder.name)):
        assert f'labels: "{name}_classes.tif"' in config_template([source])


def test_files_of_different_extents_are_reported(write_raster: WriteRaster) -> None:
    """The files have the same shape, but their pixels don't overlap."""
    files = [
        write_raster("s_B02.tif", patches(1)),
        write_raster("s_B03.tif", patches(1), transform=Affine(10, 0, 302_000, 0, -10, 5_900_000)),
    ]
    found = inspect_scene([str(file) for file in files])
    assert found.valid_share is None
    notes_on_extents = [warning for warning in found.warnings if "different extents" in warning]
    assert len(notes_on_extents) == 1
    assert "B02 and B03" in notes_on_extents[0]
    assert "302000, 5900000" in notes_on_extents[0]
    assert not any("has the same preview" in warning for warning in found.warnings)


def test_work_grows_linearly_with_the_number_of_bands(write_raster: WriteRaster) -> None:
    """Four times the bands take about four times the calls, and the file is opened equally often."""
    calls, opened = [], []
    for count in (150, 600):
        pixels = patches(5, (32, 32))[np.arange(count) % 5] + np.arange(count, dtype="uint16")[:, None, None] % 97
        path = str(write_raster(f"{count}.tif", pixels, nodata=0, interleave="pixel"))
        inspect_scene([path])  # the first time imports modules
        profile = cProfile.Profile()
        with profile:
            found = inspect_scene([path])
            open_scene_config(
                SceneConfig.model_validate({"source": path, "bands": [band.name for band in found.bands]})
            )
        stats = pstats.Stats(profile)
        calls.append(stats.total_calls)
        entries = stats.stats.items()
        opened.append(sum(entry[0] for (file, _, name), entry in entries if "rasterio" in file and name == "open"))
        assert len(found.bands) == count
    assert calls[1] < 5 * calls[0]
    assert opened[0] == opened[1]


def test_previews_of_many_bands_stay_within_the_memory_limit(
    write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = patches(12, (300, 300))
    pixels[:, 150:] = 0
    path = write_raster("s.tif", pixels, nodata=0)
    monkeypatch.setattr(preview_module, "_BYTES", 2**19)
    bands = list_bands([str(path)])
    previews = preview_module.read_previews(bands, bands[0])
    assert sum(preview.pixels.nbytes + preview.valid.nbytes for preview in previews) <= 2**19
    assert inspect_scene([str(path)]).valid_share == pytest.approx(0.5, abs=0.02)


def test_equal_bands_are_reported_wherever_they_are_among_the_bands(write_raster: WriteRaster) -> None:
    pixels = patches(30, dtype="float32")
    pixels[29], pixels[17] = pixels[2], pixels[2]
    pixels[2, 0, 0] = pixels[17, 0, 0] = pixels[29, 0, 0] = np.nan
    duplicates = [
        warning for warning in inspect_scene([str(write_raster("s.tif", pixels))]).warnings if "the same" in warning
    ]
    assert [warning.split(":")[0] for warning in duplicates] == [
        "band band18 has the same preview as band3", "band band30 has the same preview as band3",
    ]  # fmt: skip


def test_many_bands_are_read_as_by_rasterio(write_raster: WriteRaster) -> None:
    path = write_raster("s.tif", patches(70, (32, 32)))
    with open_raster(str(path)) as file, rasterio.open(path) as plain:
        assert file.indexes == range(1, 71)  # a range, for fast lookups, unlike rasterio's tuple
        np.testing.assert_array_equal(file.read([3, 70, 1]), plain.read([3, 70, 1]))
        np.testing.assert_array_equal(file.read(), plain.read())
        with pytest.raises(IndexError):
            file.read(71)
