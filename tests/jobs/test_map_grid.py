"""A picture of several runs has a panel for each map and each scene, with their colours, and one stretch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from commands import terrazzo
from conftest import WriteRaster, patches
from PIL import Image
from runs import config, contents

from pipeline.core.errors import ConfigError, OutputError, SceneError
from pipeline.jobs.grid import draw_runs
from pipeline.jobs.predict import predict
from pipeline.jobs.run import run_config
from pipeline.models.base import ClusterModel
from pipeline.sinks.quicklook import LINE

RGB = ["red", "green", "blue"]


@pytest.fixture
def two_runs(write_raster: WriteRaster, tmp_path: Path) -> list[Path]:
    """Records of two maps of one model: the second scene is as dark again, and has another size."""
    pixels = patches(3, (120, 200))
    first = write_raster("first.tif", pixels, bands=RGB)
    second = write_raster("second.tif", pixels[:, :100, :150] // 2, bands=RGB)
    run_config(config(first, tmp_path / "a.tif", fit={"k": 4}))
    again = config(second, tmp_path / "b.tif")
    predict(again.scene, ClusterModel.load(tmp_path / "a.model.json"), again.output)
    return [tmp_path / "a.run.json", tmp_path / "b.run.json"]


def page_of(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def colours_of(path: Path) -> npt.NDArray[np.uint8]:
    """A map in its own colours, shape (rows, columns, 3)."""
    with rasterio.open(path) as file:
        table = {0: (215, 215, 215)} | {label: colour[:3] for label, colour in file.colormap(1).items() if label}
        return np.array([table.get(label, (0, 0, 0)) for label in range(256)], np.uint8)[file.read(1)]


def test_maps_lie_above_their_scenes_pixel_by_pixel_with_one_stretch(two_runs: list[Path], tmp_path: Path) -> None:
    layout = draw_runs(two_runs, tmp_path / "g.png", scale=1, title="Two dates")
    page = page_of(tmp_path / "g.png")
    assert page.shape == (layout.height, layout.width, 3)
    scenes, shown = [], []
    for name, left, source in zip("ab", layout.lefts, ("first", "second"), strict=True):
        expected = colours_of(tmp_path / f"{name}.tif")
        high, wide = expected.shape[:2]
        top = layout.tops[0] + LINE
        np.testing.assert_array_equal(page[top : top + high, left : left + wide], expected)
        top = layout.tops[1] + LINE
        shown.append(page[top : top + high, left : left + wide].reshape(-1, 3))
        with rasterio.open(tmp_path / f"{source}.tif") as file:
            scenes.append(np.moveaxis(file.read(), 0, 2).reshape(-1, 3).astype(float))
    together = np.concatenate(scenes)
    low, high = np.percentile(together, [5, 95], axis=0)
    np.testing.assert_allclose(np.concatenate(shown), np.clip((together - low) / (high - low), 0, 1) * 255, atol=0.51)


@pytest.mark.parametrize("store", [2, 3])
def test_a_map_in_a_zarr_store_is_drawn_as_the_geotiff(two_runs: list[Path], tmp_path: Path, store: int) -> None:
    if store == 3 and tuple(map(int, rasterio.__gdal_version__.split(".")[:2])) < (3, 11):
        pytest.skip(f"GDAL {rasterio.__gdal_version__} does not read Zarr stores of format 3")
    run_config(config(tmp_path / "first.tif", tmp_path / "z.zarr", fit={"k": 4}, output={"zarr_format": store}))
    draw_runs([tmp_path / "z.run.json"], tmp_path / "z.png", scale=1, title="one")
    draw_runs(two_runs[:1], tmp_path / "g.png", scale=1, title="one")
    np.testing.assert_array_equal(page_of(tmp_path / "z.png"), page_of(tmp_path / "g.png"))


def test_masked_clouds_do_not_darken_the_rest(write_raster: WriteRaster, tmp_path: Path) -> None:
    pixels, clear = patches(3, (60, 80)), np.ones((1, 60, 80), np.uint8)
    clear[:, :, 50:] = 0
    pixels[:, :, 50:] = 60_000
    scene = {"mask": {"path": str(write_raster("clear.tif", clear))}}
    run_config(config(write_raster("s.tif", pixels, bands=RGB), tmp_path / "a.tif", fit={"k": 3}, scene=scene))
    layout = draw_runs([tmp_path / "a.run.json"], tmp_path / "g.png", scale=1)
    top, left = layout.tops[1] + LINE, layout.lefts[0]
    panel = page_of(tmp_path / "g.png")[top : top + 60, left : left + 80]
    low, high = np.percentile(pixels[:, :, :50].reshape(3, -1).astype(float), [5, 95], axis=1)[..., None, None]
    np.testing.assert_allclose(panel, np.moveaxis(np.clip((pixels - low) / (high - low), 0, 1) * 255, 0, 2), atol=0.51)


def test_one_model_has_one_legend_and_two_models_have_two_and_a_note(two_runs: list[Path], tmp_path: Path) -> None:
    shared = draw_runs(two_runs, tmp_path / "g.png")
    assert (shared.shared_entries, shared.own_entries) == (4, ())
    run_config(config(tmp_path / "second.tif", tmp_path / "c.tif", fit={"k": 3}))
    own = draw_runs([two_runs[0], tmp_path / "c.run.json"], tmp_path / "h.png")
    assert (own.shared_entries, own.own_entries) == (0, (4, 3))
    page = page_of(tmp_path / "h.png")
    legend = page[own.tops[2] + LINE :]
    for left, right, classes in ((0, own.lefts[1], 4), (own.lefts[1], own.width, 3)):
        found = {tuple(colour) for colour in legend[:, left:right].reshape(-1, 3).tolist()}
        with rasterio.open(tmp_path / ("a.tif" if classes == 4 else "c.tif")) as file:
            colours = [file.colormap(1)[label][:3] for label in range(1, classes + 1)]
        assert [colour in found for colour in colours] == [True] * classes


def test_a_scale_thins_maps_and_scenes_alike_and_the_picture_has_the_size_that_was_said(
    two_runs: list[Path], tmp_path: Path
) -> None:
    layout = draw_runs(two_runs, tmp_path / "g.jpg", scale=0.1)
    assert layout.sizes == ((20, 12), (15, 10))
    with Image.open(tmp_path / "g.jpg") as picture:
        assert picture.format == "JPEG"
        assert picture.size == (layout.width, layout.height)
        assert b"not data" in picture.info["comment"]


def test_scenes_whose_values_can_not_be_compared_have_stretches_of_their_own(
    two_runs: list[Path], write_raster: WriteRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    second = config(tmp_path / "second.tif", tmp_path / "b.tif", output={"rgb": ["blue", "green", "red"]})
    predict(second.scene, ClusterModel.load(tmp_path / "a.model.json"), second.output, overwrite=True)
    layout = draw_runs(two_runs, tmp_path / "f.png", scale=1)
    panel = page_of(tmp_path / "f.png")[layout.tops[1] + LINE :][:100, layout.lefts[1] : layout.lefts[1] + 150]
    assert panel.max(axis=(0, 1)).tolist() == [255] * 3, "other bands are no measure of these"
    caplog.clear()
    third = write_raster("third.tif", (patches(3, (90, 90))).astype(np.uint8), bands=RGB)
    run_config(config(third, tmp_path / "c.tif", fit={"k": 3}))
    layout = draw_runs([*two_runs, tmp_path / "c.run.json"], tmp_path / "g.png", scale=1)
    assert "those that differ have a stretch of their own" in caplog.text
    top, left = layout.tops[1] + LINE, layout.lefts[2]
    panel = page_of(tmp_path / "g.png")[top : top + 90, left : left + 90]
    assert panel.max(axis=(0, 1)).tolist() == [255] * 3
    assert panel.min(axis=(0, 1)).tolist() == [0] * 3


def test_a_real_scene_is_read_from_overviews_and_cut_to_its_area(jpeg2000: list[str], tmp_path: Path) -> None:
    with rasterio.open(jpeg2000[0]) as file:
        west, south = file.bounds[:2]
    area = {"bounds": [west + 2000, south + 1000, west + 8000, south + 5000], "crs": "EPSG:32633"}
    scene, fit = {"aoi": area, "bands": ["nir"]}, {"k": 4, "pixels": 20_000}
    run_config(config(jpeg2000, tmp_path / "a.tif", fit=fit, scene=scene))
    layout = draw_runs([tmp_path / "a.run.json"], tmp_path / "g.png", scale=0.25)
    assert layout.sizes == ((150, 100),)
    top, left = layout.tops[1] + LINE, layout.lefts[0]
    panel = page_of(tmp_path / "g.png")[top : top + 100, left : left + 150].astype(float)
    for channel, path in enumerate((jpeg2000[2], jpeg2000[1], jpeg2000[0])):  # red, green and blue were not mapped
        with rasterio.open(path) as file:
            row, column = file.index(west + 2000, south + 5000)
            pixels = file.read(1)[row : row + 400, column : column + 600].reshape(100, 4, 150, 4).mean(axis=(1, 3))
        assert np.corrcoef(panel[..., channel].ravel(), pixels.ravel())[0, 1] > 0.9


def test_a_mosaic_is_shown_wherever_it_has_classes(two: list[Path], tmp_path: Path) -> None:
    run_config(config(two, tmp_path / "a.tif", fit={"k": 4}, scene={"bands": ["red", "green", "blue", "nir"]}))
    layout = draw_runs([tmp_path / "a.run.json"], tmp_path / "g.png", scale=1)
    width, height = layout.sizes[0]
    left, page = layout.lefts[0], page_of(tmp_path / "g.png")
    panels = [page[top + LINE : top + LINE + height, left : left + width] for top in layout.tops[:2]]
    nodata = [(panel == 215).all(axis=2) for panel in panels]
    assert 0 < nodata[0].mean() < 1
    np.testing.assert_array_equal(*nodata)


def changed(record: Path, **parts: Any) -> Path:
    """A record with other parts, beside the first."""
    other = record.with_name("other.run.json")
    other.write_text(json.dumps(json.loads(record.read_text()) | parts))
    return other


def test_a_record_that_was_moved_with_its_map_is_found_and_one_without_is_refused(
    two_runs: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "moved").mkdir()
    for name in ("a.run.json", "a.tif"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    assert draw_runs([tmp_path / "moved" / "a.run.json"], tmp_path / "g.png", scale=1).sizes == ((200, 120),)
    (tmp_path / "moved" / "a.tif").unlink()
    with pytest.raises(
        ConfigError, match=r"a\.run\.json: its map is not there any more \(.*a\.tif and .*moved/a\.tif\)"
    ):
        draw_runs([tmp_path / "moved" / "a.run.json"], tmp_path / "h.png")
    (tmp_path / "second.tif").unlink()
    with pytest.raises(SceneError, match=r"b\.run\.json: the scene of this run can't be shown: .*second\.tif"):
        draw_runs(two_runs[1:], tmp_path / "h.png")
    assert not (tmp_path / "h.png").exists()


def test_what_is_no_record_no_map_of_it_or_too_large_is_refused_and_nothing_is_written(
    two_runs: list[Path], tmp_path: Path
) -> None:
    first, second = two_runs
    before = contents(tmp_path)
    other = changed(first, outputs={"labels": str(tmp_path / "c.tif")})
    run_config(config(tmp_path / "second.tif", tmp_path / "c.tif", fit={"k": 3}))
    refused: list[tuple[list[Path], str, dict[str, Any], type[Exception], str]] = [
        ([tmp_path / "a.model.json"], "g.png", {}, ConfigError, r"a\.model\.json: this is not the record of a run"),
        (
            [tmp_path / "none.json"],
            "g.png",
            {},
            ConfigError,
            r"none\.json: the record of a run can't be read \(No such",
        ),
        (
            [other],
            "g.png",
            {},
            OutputError,
            r"c\.tif: this is not the map of .*other\.run\.json: it is of another model",
        ),
        ([first, second], "g.png", {"scale": 80}, ConfigError, "--scale 80: the picture would have 28,"),
        (
            [first],
            "g.png",
            {"title": "x" * 201},
            ConfigError,
            "--title: a text of 201 characters; use one of at most 200",
        ),
        ([first], "g.tif", {}, ConfigError, r"--output: .*g\.tif: the picture is a PNG or JPEG"),
        ([first], "first.tif", {}, ConfigError, "the picture is a PNG or JPEG"),
        ([first], "a.csv.png", {}, OutputError, "the file exists already"),
    ]
    (tmp_path / "a.csv.png").write_text("mine")
    for runs, name, how, error, message in refused:
        with pytest.raises(error, match=message):
            draw_runs(runs, tmp_path / name, **how)
    after = contents(tmp_path)
    assert before.items() <= after.items()
    assert {name for name in after if name.endswith(".png") and name.startswith("g")} == set()


@pytest.mark.parametrize("rgb", [["red", "red", "red"], ["red", "B04", "green"]])
def test_a_band_may_be_shown_twice(write_raster: WriteRaster, tmp_path: Path, rgb: list[str]) -> None:
    scene = write_raster("s.tif", patches(3, (60, 80)), bands=["B04", "B03", "B02"])
    run_config(config(scene, tmp_path / "a.tif", fit={"k": 3}, output={"rgb": rgb}))
    layout = draw_runs([tmp_path / "a.run.json"], tmp_path / "g.png", scale=1)
    top, left = layout.tops[1] + LINE, layout.lefts[0]
    panel = page_of(tmp_path / "g.png")[top : top + 60, left : left + 80]
    with rasterio.open(scene) as file:
        pixels = file.read([1, 1, 1] if rgb[2] == "red" else [1, 1, 2]).astype(float)
    low, high = np.percentile(pixels.reshape(3, -1), [5, 95], axis=1)[..., None, None]
    np.testing.assert_allclose(panel, np.moveaxis(np.clip((pixels - low) / (high - low), 0, 1) * 255, 0, 2), atol=0.51)


def test_a_scene_whose_run_showed_an_index_is_shown_in_its_own_bands(
    write_raster: WriteRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scene = write_raster("s.tif", patches(4, (60, 80)), bands=[*RGB, "nir"])
    index = {"features": {"indices": ["ndvi"]}, "output": {"rgb": ["ndvi", "red", "green"]}}
    run_config(config(scene, tmp_path / "a.tif", fit={"k": 3}, **index))
    run_config(config(scene, tmp_path / "b.tif", fit={"k": 3}))
    layout = draw_runs([tmp_path / "a.run.json"], tmp_path / "g.png", scale=1)
    assert "the bands of output.rgb (ndvi, red, green) are not all bands of the scene" in caplog.text
    draw_runs([tmp_path / "b.run.json"], tmp_path / "h.png", scale=1)
    panels = [page_of(tmp_path / name)[layout.tops[1] + LINE :][:60] for name in ("g.png", "h.png")]
    np.testing.assert_array_equal(*panels)


def test_pixels_that_the_config_says_are_nodata_are_shown_as_nodata(write_raster: WriteRaster, tmp_path: Path) -> None:
    pixels = patches(3, (60, 80))
    pixels[:, :20, :30] = 7777
    scene = write_raster("s.tif", pixels, bands=RGB)
    run_config(config(scene, tmp_path / "a.tif", fit={"k": 3}, scene={"nodata": 7777}))
    layout = draw_runs([tmp_path / "a.run.json"], tmp_path / "g.png", scale=1)
    top, left = layout.tops[1] + LINE, layout.lefts[0]
    panel = page_of(tmp_path / "g.png")[top : top + 60, left : left + 80]
    np.testing.assert_array_equal((panel == 215).all(axis=2), (pixels == 7777).all(axis=0))


def test_a_zarr_map_with_quotation_marks_in_its_name_is_drawn(two_runs: list[Path], tmp_path: Path) -> None:
    name = 'a "quoted" \\name'
    run_config(config(tmp_path / "first.tif", tmp_path / f"{name}.zarr", fit={"k": 4}))
    draw_runs([tmp_path / f"{name}.run.json"], tmp_path / "z.png", scale=1)
    draw_runs(two_runs[:1], tmp_path / "g.png", scale=1)
    np.testing.assert_array_equal(page_of(tmp_path / "z.png"), page_of(tmp_path / "g.png"))


def test_a_store_of_format_3_that_gdal_can_not_read_is_to_be_written_in_format_2(
    two_runs: list[Path], tmp_path: Path
) -> None:
    store = tmp_path / "z.zarr"
    store.mkdir()
    (store / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')  # without labels
    with pytest.raises(OutputError, match=r"z\.zarr: the map of .*: write the map with output\.zarr_format: 2$"):
        draw_runs([changed(two_runs[0], outputs={"labels": str(store)})], tmp_path / "g.png")


def test_an_input_is_never_replaced(write_raster: WriteRaster, tmp_path: Path) -> None:
    scene = write_raster("scene.png", patches(3, dtype="uint8"), driver="PNG")
    run_config(config(scene, tmp_path / "a.tif", fit={"k": 3}, output={"picture": "none"}))
    before = scene.read_bytes()
    with pytest.raises(
        ConfigError, match=r"scene\.png: this file is an input \(scene\.source\), which is never replaced"
    ):
        draw_runs([tmp_path / "a.run.json"], scene, overwrite=True)
    run_config(config(tmp_path / "*.png", tmp_path / "b.tif", fit={"k": 3}, output={"picture": "none"}))
    with pytest.raises(ConfigError, match=r"scene\.png: this file is an input \(a scene\)"):
        draw_runs([tmp_path / "b.run.json"], scene, overwrite=True)
    run_config(config(scene, tmp_path / "c.tif", fit={"k": 3}))
    quicklook = tmp_path / "c_quicklook.png"
    drawn = quicklook.read_bytes()
    with pytest.raises(
        ConfigError, match=r"quicklook\.png: this file is an input \(an output of a run that is drawn\)"
    ):
        draw_runs([tmp_path / "c.run.json"], quicklook, overwrite=True)
    assert quicklook.read_bytes() == drawn
    assert scene.read_bytes() == before


def test_the_command_draws_a_picture_and_says_where(two_runs: list[Path], tmp_path: Path) -> None:
    done = terrazzo("grid", *two_runs, "-o", "g.png", "--scale", "0.5", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("picture  g.png   ")
    again = terrazzo("grid", *two_runs, "-o", "g.png", cwd=tmp_path)
    assert again.returncode == 1
    assert "the file exists already" in again.stderr


@pytest.mark.parametrize("scale", ["nan", "0", "-1", "inf"])
def test_a_scale_that_is_no_size_is_wrong_usage(two_runs: list[Path], tmp_path: Path, scale: str) -> None:
    done = terrazzo("grid", *two_runs, "-o", "g.png", "--scale", scale, cwd=tmp_path)
    assert done.returncode == 2
    assert "--scale" in done.stderr
    assert not (tmp_path / "g.png").exists()
