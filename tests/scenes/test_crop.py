"""Values of scene.crop: a map shows the area of interest, the file's blocks or the whole scene, by the same model."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.mask
from conftest import WriteRaster, patches
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from runs import config
from sources import LEFT, ORIGIN, TOP, TRIANGLE, described, mosaic, opened, polygon, whole, write_vector

from pipeline import fit, label, open_scene, write
from pipeline.config.schema import SceneConfig
from pipeline.core.errors import ConfigError
from pipeline.jobs.predict import predict
from pipeline.jobs.run import plan_config, run_config
from pipeline.models.base import ClusterModel
from pipeline.raster.readers import GdalReader
from pipeline.scenes.crop import cropped
from pipeline.sinks.registry import OutputConfig

CROPS = ["area", "blocks", "none"]


@pytest.fixture
def decoded_windows(monkeypatch: pytest.MonkeyPatch) -> Counter[Any]:
    """Number of times each window of each file is decoded."""
    windows: Counter[Any] = Counter()
    read = GdalReader.read

    def counted(self: GdalReader, window: Any, *args: Any) -> None:
        windows[self._part.path, window.window] += 1
        read(self, window, *args)

    monkeypatch.setattr(GdalReader, "read", counted)
    return windows


def make_maps(
    source: list[str], tmp_path: Path, decoded_windows: Counter[Any], aoi: Any, **sections: Any
) -> dict[str, tuple[Any, Any, str, str, Any]]:
    """Map, transform, model, table and decoded windows for each value of scene.crop."""
    made = {}
    for crop in CROPS:
        decoded_windows.clear()
        labels = tmp_path / f"{crop}.tif"
        report = run_config(config(source, labels, scene={"aoi": aoi, "crop": crop}, **sections))
        with rasterio.open(labels) as file:
            pixels, transform = file.read(1), file.transform
        assert (report["scene"]["rows"], report["scene"]["columns"]) == pixels.shape
        assert report["nodata_pixels"] == (pixels == 0).sum()
        model, table = (labels.with_suffix(ending).read_text() for ending in (".model.json", ".csv"))
        made[crop] = (pixels, transform, model, table, Counter(decoded_windows))
    return made


def check_same(made: dict[str, tuple[Any, Any, str, str, Any]], shape: tuple[int, int]) -> None:
    """Check that models, tables and decoded windows are equal, and pixels are where the maps overlap."""
    for numbers in zip(*(facts[2:] for facts in made.values()), strict=True):
        assert all(other == numbers[0] for other in numbers)
    full, own = made["none"][:2]
    assert full.shape == shape
    for pixels, transform in (made["area"][:2], made["blocks"][:2]):
        left, top = map(round, ~own @ (transform.c, transform.f))
        (rows, columns), around = pixels.shape, full.copy()
        np.testing.assert_array_equal(full[top : top + rows, left : left + columns], pixels)
        around[top : top + rows, left : left + columns] = 0
        assert not around.any()


@pytest.mark.parametrize(
    "fits", [{"k": 4}, {"k": 4, "pixels": "all"}, {"k": 4, "pixels": "all", "method": "minibatch"}]
)
def test_crop_changes_neither_model_nor_decoded_windows(
    jpeg2000: list[str], tmp_path: Path, decoded_windows: Counter[Any], fits: dict[str, Any]
) -> None:
    with rasterio.open(jpeg2000[0]) as file:
        west, south, east, north = file.bounds
        crs = file.crs.to_string()
    wide, high = east - west, north - south
    corners = [
        (west + 0.31 * wide, south + 0.4 * high),
        (west + 0.6 * wide, south + 0.5 * high),
        (west + 0.4 * wide, south + 0.8 * high),
    ]
    shape = polygon(*corners)
    area = write_vector(tmp_path / "area.geojson", shape, crs=crs)
    made = make_maps(jpeg2000, tmp_path, decoded_windows, area, fit=fits, run={"chunk": 128})
    check_same(made, (768, 1536))
    with rasterio.open(jpeg2000[0]) as file:
        inside, transform = rasterio.mask.mask(file, [shape], crop=True, indexes=1, filled=False)
    pixels = made["area"][0]
    assert pixels.shape == inside.shape
    assert made["area"][1].almost_equals(transform)
    np.testing.assert_array_equal(pixels == 0, inside.mask)
    rows, columns = made["blocks"][0].shape
    assert rows % 64 == columns % 64 == 0
    largest = 4 * rows * columns
    windows = made["area"][4].elements()
    assert sum((bottom - top) * (right - left) for _, ((top, bottom), (left, right)) in windows) <= largest


@pytest.mark.parametrize("where", [(330, 405, 570, 777), (0, 0, 1068, 1068), (1030, 1030, 1068, 1068)])
def test_crop_of_tiles_that_straddle_those_of_the_map_changes_no_model(
    landscape: list[str], tmp_path: Path, decoded_windows: Counter[Any], where: tuple[int, int, int, int]
) -> None:
    with rasterio.open(landscape[0]) as file:
        (west, north), (east, south) = file.transform @ where[:2], file.transform @ where[2:]
        aoi = {"bounds": [west, south, east, north], "crs": file.crs.to_string()}
    made = make_maps(landscape, tmp_path, decoded_windows, aoi, fit={"k": 4})
    check_same(made, (1068, 1068))
    assert made["area"][0].shape == (where[3] - where[1], where[2] - where[0])
    assert made["area"][0].all()


def coordinates_between(least: int, most: int) -> st.SearchStrategy[float]:
    """Coordinates on pixel edges, on pixel centres, and in between."""
    return st.builds(lambda whole, part: whole + part, st.integers(least, most), st.sampled_from([0, 0.3, 0.5]))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.tuples(st.integers(5, 300), st.sampled_from([16, 64, 256])),
    corners=st.lists(
        st.tuples(coordinates_between(-40, 340), coordinates_between(-40, 240)), min_size=3, max_size=6, unique=True
    ),
    crop=st.sampled_from(CROPS),
)
def test_a_cropped_scene_has_the_pixels_of_the_whole_scene(
    write_raster: WriteRaster,
    tmp_path: Path,
    sizes: tuple[int, int],
    corners: list[tuple[float, float]],
    crop: str,
) -> None:
    import shapely

    shape = shapely.convex_hull(shapely.MultiPoint([ORIGIN @ corner for corner in corners]))
    if shape.geom_type != "Polygon" or not shape.intersects(shapely.box(300_010, 5_898_010, 302_990, 5_899_990)):
        return
    (chunk, tile), pixels = sizes, patches(2)
    path = write_raster("scene.tif", pixels, tiled=True, blockxsize=tile, blockysize=tile)
    source = cropped(
        opened(path, chunk, aoi=write_vector(tmp_path / "a.geojson", shapely.geometry.mapping(shape)), crop=crop)
    )
    data, valid = whole(source)
    grid, (top, left) = source.info.grid, source.info.origin
    assert grid.transform.almost_equals(ORIGIN @ ORIGIN.translation(left, top), 1e-6)
    inner = (slice(top, top + grid.shape[0]), slice(left, left + grid.shape[1]))
    inside = rasterio.features.geometry_mask([shape], (200, 300), ORIGIN, invert=True)
    np.testing.assert_array_equal(valid, inside[inner])
    np.testing.assert_array_equal(data[:, valid], pixels[(slice(None), *inner)][:, valid])
    assert inside.sum() == valid.sum()
    assert {(block.row, block.column) for block in source.blocks} == set(
        np.ndindex(1 + max(block.row for block in source.blocks), 1 + max(block.column for block in source.blocks))
    )
    if crop == "none":
        assert grid.shape == (200, 300)
    if crop == "area" and inside.any():
        with rasterio.open(path) as file:
            window = rasterio.features.geometry_window(file, [shape])
        assert (top, left) == (window.row_off, window.col_off)
        assert grid.shape == (window.height, window.width)


def test_an_area_and_a_mask_of_one_polygon_have_the_same_classes(write_raster: WriteRaster, tmp_path: Path) -> None:
    """The sample is drawn by the position on the scene's own grid, before it is cut."""
    path = write_raster("scene.tif", patches(3), tiled=True, blockxsize=64, blockysize=64)
    area = write_vector(tmp_path / "a.geojson", TRIANGLE)
    models = []
    for key in ("aoi", "mask"):
        labels = tmp_path / f"{key}.tif"
        run_config(config(path, labels, scene={key: area}, fit={"k": 5, "pixels": 3000}))
        models.append(json.loads(labels.with_suffix(".model.json").read_text()))
    assert models[0]["fitting"].pop("scene_pixels") < models[1]["fitting"].pop("scene_pixels")
    for key in ("centroids", "counts", "inertia", "fitting"):
        assert models[0][key] == models[1][key]


def test_a_cropped_mosaic_has_the_pixels_of_the_whole_mosaic(two: list[Path]) -> None:
    bounds = (LEFT + 1230, TOP - 2770, LEFT + 3990, TOP - 1010)
    aoi = {"bounds": bounds, "crs": "EPSG:32633"}
    uncut, known = whole(mosaic(two))
    for crop in CROPS:
        source = cropped(mosaic(two, 64, aoi=aoi, crop=crop))
        data, valid = whole(source)
        (top, left), (rows, columns) = source.info.origin, source.info.grid.shape
        inner = (slice(top, top + rows), slice(left, left + columns))
        inside = np.zeros((400, 460), bool)
        inside[101:277, 123:399] = known[101:277, 123:399]
        np.testing.assert_array_equal(valid, inside[inner])
        np.testing.assert_array_equal(data[:, valid], uncut[(slice(None), *inner)][:, valid])
        if crop == "area":
            assert (top, left, rows, columns) == (101, 123, 176, 276)
        if crop == "none":
            assert (rows, columns) == (400, 460)


@pytest.mark.parametrize("crop", CROPS)
def test_lazy_scenes_are_cropped_and_have_the_same_model(write_raster: WriteRaster, tmp_path: Path, crop: str) -> None:
    path = write_raster("scene.tif", patches(3), tiled=True, blockxsize=64, blockysize=64)
    aoi = {"bounds": (300_705, 5_899_095, 301_505, 5_899_495), "crs": "EPSG:32633"}
    scene = open_scene(path, aoi=aoi, crop=crop, chunk=64)
    assert scene.shape[1:] == {"area": (41, 81), "blocks": (128, 128), "none": (200, 300)}[crop]
    model = fit(scene, k=4, pixels=1500)
    run_config(config(path, tmp_path / "run.tif", scene={"aoi": aoi, "crop": crop}, fit={"k": 4, "pixels": 1500}))
    assert model.centroids == ClusterModel.load(tmp_path / "run.model.json").centroids
    write(label(scene, model), tmp_path / "map.tif")
    with rasterio.open(tmp_path / "map.tif") as lazy, rasterio.open(tmp_path / "run.tif") as run:
        assert (lazy.transform, lazy.shape) == (run.transform, run.shape)
        np.testing.assert_array_equal(lazy.read(1), run.read(1))
    assert bool(scene.valid.sum() == 3200)


def test_a_prediction_is_cropped(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster("scene.tif", patches(3), tiled=True, blockxsize=64, blockysize=64)
    run_config(config(path, tmp_path / "all.tif", fit={"k": 4}))
    scene = SceneConfig.model_validate(
        {"source": str(path), "aoi": {"bounds": (300_700, 5_899_100, 301_500, 5_899_500), "crs": "EPSG:32633"}}
    )
    model = ClusterModel.load(tmp_path / "all.model.json")
    predict(scene, model, OutputConfig(labels=str(tmp_path / "part.tif")))
    with rasterio.open(tmp_path / "all.tif") as uncut, rasterio.open(tmp_path / "part.tif") as part:
        assert part.shape == (40, 80)
        np.testing.assert_array_equal(part.read(1), uncut.read(1)[50:90, 70:150])


def test_a_plan_states_the_size_of_the_cropped_map(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = write_raster("scene.tif", patches(3, (1200, 1400)), tiled=True, blockxsize=256, blockysize=256)
    aoi = {"bounds": (300_700, 5_899_100, 301_500, 5_899_500), "crs": "EPSG:32633"}
    sizes, disks = {}, {}
    for crop in CROPS:
        scene, plan = plan_config(config(path, tmp_path / "map.tif", scene={"aoi": aoi, "crop": crop}))
        sizes[crop], disks[crop] = scene.info.map_grid.shape, plan.map_disk
    assert sizes == {"area": (40, 80), "blocks": (256, 256), "none": (1200, 1400)}
    assert disks["area"] <= disks["blocks"] < disks["none"]


def test_crop_without_an_area_changes_nothing(write_raster: WriteRaster) -> None:
    scene = described(write_raster("scene.tif", patches(1)), crop="area")
    assert scene.info.map_window is None
    source = opened(scene.info.sources[0])
    assert cropped(source) is source


def test_an_unknown_value_of_crop_is_refused(write_raster: WriteRaster) -> None:
    with pytest.raises(ConfigError, match=r"open_scene: crop: 'box' is not allowed; expected 'area' "):
        open_scene(write_raster("scene.tif", patches(1)), crop="box")
