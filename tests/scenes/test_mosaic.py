"""Mosaics: each pixel comes from the first valid scene, with all its bands, in the first scene's units."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from conftest import WriteRaster
from sources import LEFT, TOP, described, layers, mosaic, product, whole

from pipeline import fit, label, open_scene
from pipeline.core.errors import SceneError
from pipeline.jobs.config import RunConfig
from pipeline.jobs.run import run_config
from pipeline.scenes.mosaic import Mosaic
from pipeline.scenes.mosaic_source import MosaicSource


def expected(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The mosaic of a band of both scenes, on a grid of 400 x 460 pixels."""
    canvas = np.zeros((400, 460), "int64")
    canvas[40:, 100:] = other
    canvas[:360, :360] = np.where(one > 0, one, canvas[:360, :360])
    return canvas


@pytest.mark.parametrize("chunk", [64, 100, 512])
def test_each_pixel_comes_from_the_first_valid_scene(two: list[Path], chunk: int) -> None:
    source = mosaic(two, chunk)
    grid = source.info.grid
    assert grid.shape == (400, 460)
    assert grid.transform == Affine(10, 0, LEFT, 0, -10, TOP)
    pixels, valid = whole(source)
    one, other = layers(), layers(seed=50)
    for band, plane in zip(source.info.bands, pixels, strict=True):
        one[band][100:150, 200:260] = 0
        np.testing.assert_array_equal(plane, expected(one[band], other[band]))
    np.testing.assert_array_equal(valid, pixels[0] > 0)


def test_the_order_of_scenes_sets_their_priority(two: list[Path]) -> None:
    source = mosaic(two[::-1])
    assert source.info.grid.shape == (400, 460)
    pixels, _ = whole(source)
    np.testing.assert_array_equal(pixels[0, 40:, 100:], layers(seed=50)["B02"])


def test_numbers_of_other_baselines_are_converted_to_the_first_scenes_units(tmp_path: Path) -> None:
    """DN 1000 is reflectance 0 in the new baseline; shifted to 0 it is still valid."""
    new, old = layers(), layers()
    for band in ("B02", "B03", "B04", "B08"):
        old[band] = (old[band] - 1000).astype("uint16")
        old[band][5, 5] = 7
        new[band][:200] = 0
    sources = [
        product(tmp_path, "old", old, baseline="02.14", offsets=None),
        product(tmp_path, "new", layers(), baseline="05.09"),
    ]
    whole_scene = mosaic([product(tmp_path, "hole", new), sources[0]])
    assert whole_scene.info.dtype == np.int32
    pixels, valid = whole(whole_scene)
    assert valid.all()
    for band, plane in zip(whole_scene.info.bands, pixels, strict=True):
        truth = layers()[band].astype("int64")
        truth[5, 5] = 1007
        np.testing.assert_array_equal(plane, truth)
    back, _ = whole(mosaic([sources[0], sources[1]]))
    assert (back[0] == old["B02"]).all()


def test_clouds_of_one_date_are_filled_from_another(tmp_path: Path) -> None:
    one, other = layers(), layers(seed=50)
    other["SCL"][:] = 4
    sources = [product(tmp_path, "one", one), product(tmp_path, "two", other, sensing="20230705T102021")]
    pixels, valid = whole(mosaic(sources, mask="scl"))
    cloudy = np.isin(one["SCL"], (0, 1, 3, 8, 9, 10)).repeat(2, axis=0).repeat(2, axis=1)
    assert valid.all()
    for band, plane in zip(("B02", "B03", "B04", "B08"), pixels, strict=True):
        np.testing.assert_array_equal(plane, np.where(cloudy, other[band], one[band]))


def test_a_tile_of_the_next_zone_is_warped_onto_the_first(tmp_path: Path) -> None:
    from rasterio.warp import transform

    (x,), (y,) = transform("EPSG:32633", "EPSG:32634", [LEFT + 1800], [TOP - 1800])
    near = (round(x / 10) * 10, round(y / 10) * 10)
    sources = [
        product(tmp_path, "one", layers()),
        product(tmp_path, "two", layers(seed=50), crs="EPSG:32634", origin=near, tile="T34UAU"),
    ]
    (one, ok), (other, also) = (whole(mosaic(sources, chunk)) for chunk in (100, 333))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(ok, also)
    assert 0.9 < ok[:360, :360].mean() <= 1
    assert ok.sum() > 360 * 360


def test_a_mosaic_becomes_a_map_each_image_decoded_once(two: list[Path], tmp_path: Path) -> None:
    report = run_config(
        RunConfig.model_validate(
            {
                "version": 1,
                "scene": {"source": [str(path) for path in two]},
                "fit": {"k": 4, "pixels": 20_000},
                "output": {"labels": str(tmp_path / "c.tif")},
                "run": {"chunk": 128},
            }
        )
    )
    assert report["source_passes"] == 1
    assert report["nodata_pixels"] == int((~whole(mosaic(two))[1]).sum())
    scene = open_scene(two, chunk=128)
    model = fit(scene, k=4, pixels=20_000)
    assert model.digest == report["model"]["sha256"]
    labels = label(scene, model).values
    assert int((labels == 0).sum()) == report["nodata_pixels"]


def test_scenes_outside_of_the_area_of_interest_are_left_out(
    two: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    two[1] = product(tmp_path, "far", layers(), origin=(LEFT + 3000, TOP))
    bounds = (LEFT, TOP - 300, LEFT + 500, TOP)
    with caplog.at_level(logging.INFO, logger="pipeline"):
        source = mosaic(two, aoi={"bounds": bounds, "crs": "EPSG:32633"})
    _, valid = whole(source)
    assert valid.sum() == 30 * 50
    assert f"{two[1]}: left out, because it doesn't overlap the area of interest" in caplog.text


def test_a_collection_of_items_is_a_mosaic(two: list[Path], tmp_path: Path) -> None:
    features = [
        {
            "type": "Feature", "stac_version": "1.1.0", "id": path.name, "geometry": None, "links": [],
            "properties": {"datetime": "2023-06-25T10:20:21Z", "constellation": "sentinel-2"},
            "assets": {
                image.stem.split("_")[-2]: {
                    "href": str(image), "type": "image/jp2", "roles": ["data"], "raster:scale": 1e-4,
                    "raster:offset": -0.1,
                }
                for image in path.rglob("*.jp2")
            },
        }
        for path in two
    ]  # fmt: skip
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    from_items, from_products = whole(mosaic([tmp_path / "items.json"])), whole(mosaic(two))
    np.testing.assert_array_equal(from_items[0], from_products[0])
    np.testing.assert_array_equal(from_items[1], from_products[1])


def test_scales_that_no_integer_shift_converts_are_refused(tmp_path: Path) -> None:
    sources = [product(tmp_path, "one", layers()), product(tmp_path, "two", layers(), quantification=5000)]
    with pytest.raises(SceneError, match=r"band B02 in units that don't fit: scale 0\.0001 .* scale 0\.0002"):
        described(sources)


def test_scenes_too_far_apart_are_refused(tmp_path: Path) -> None:
    far = product(tmp_path, "two", layers(), origin=(LEFT + 11_000_000, TOP - 11_000_000))
    with pytest.raises(SceneError, match=r"a map of all scenes would have 1100360 x 1100360 pixels; choose scenes"):
        described([product(tmp_path, "one", layers()), far])


def test_a_mosaic_may_have_more_pixels_than_32_bits_count(tmp_path: Path) -> None:
    far = product(tmp_path, "two", layers(seed=50), origin=(LEFT + 400_000, 900_040))
    source = mosaic([product(tmp_path, "one", layers()), far], 360)
    assert source.info.pixels == 40_360 * 500_360 > 2**34
    last = source.blocks[-1]
    (top, bottom), (left, right) = last.window
    data, valid = source.read(last)
    assert (bottom, right) == (500_360, 40_360)
    np.testing.assert_array_equal(data[0, -360:, -360:], layers(seed=50)["B02"][top - 500_000 :, left - 40_000 :])
    assert valid.all()


def test_the_fit_uses_the_maps_pixels_only(tmp_path: Path) -> None:
    """Pixels left out of the fit are not filled from a later scene."""
    one, other = layers(), layers()
    for band in ("B02", "B03", "B04", "B08"):
        one[band][:], other[band][:] = 1100, 1900
    other["SCL"][:] = 4
    sources = [product(tmp_path, "one", one), product(tmp_path, "two", other, tile="T33UVU")]
    from pipeline.config.masks import MaskRecord
    from pipeline.config.schema import SceneConfig
    from pipeline.scenes.open import open_scene_config

    scene = open_scene_config(SceneConfig(source=tuple(map(str, sources))), fit_mask=MaskRecord(layer="scl", drop=(9,)))
    assert isinstance(scene, Mosaic)
    source = MosaicSource(scene, (100, 100))
    for block in source.blocks:
        shown, (fitted, fitting) = source.read(block), source.read_for_fit(block)
        assert set(np.unique(shown.data[:, shown.valid])) == {1100}
        assert set(np.unique(fitted.data[:, fitting])) <= {1100}
        np.testing.assert_array_equal(fitted.valid, shown.valid)
        cloudy = (one["SCL"] == 9).repeat(2, axis=0).repeat(2, axis=1)[block.slices]
        np.testing.assert_array_equal(fitting, ~cloudy)


def test_products_may_be_named_by_a_pattern(two: list[Path], tmp_path: Path) -> None:
    from_pattern = whole(mosaic([tmp_path / "*" / "S2A_*.SAFE"]))
    np.testing.assert_array_equal(from_pattern[0], whole(mosaic(two))[0])


def test_scenes_far_apart_cause_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    far = product(tmp_path, "two", layers(), origin=(LEFT + 40_000, TOP), tile="T33UVU")
    source = mosaic([product(tmp_path, "one", layers()), far], 360)
    assert "most of them between the scenes" in caplog.text
    _, valid = whole(source)
    assert valid.sum() == 2 * 360 * 360


def test_scenes_far_apart_are_accepted_with_an_area_of_interest(tmp_path: Path) -> None:
    far = product(tmp_path, "two", layers(), origin=(LEFT + 400_000, 900_040))
    aoi = {"bounds": (LEFT, TOP - 300, LEFT + 500, TOP), "crs": "EPSG:32633"}
    _, valid = whole(mosaic([product(tmp_path, "one", layers()), far], aoi=aoi))
    assert valid.sum() == 30 * 50


def test_a_palette_in_a_mosaic_causes_a_warning(
    write_raster: WriteRaster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [write_raster(f"{name}.tif", np.full((1, 20, 20), 3, np.uint8), photometric="palette") for name in "ab"]
    for path in paths:
        with rasterio.open(path, "r+") as file:
            file.write_colormap(1, {3: (255, 0, 0)})
    features = [
        {
            "type": "Feature", "stac_version": "1.1.0", "id": path.name, "geometry": None, "links": [],
            "properties": {"datetime": "2023-06-25T10:20:21Z"},
            "assets": {"cover": {"href": str(path), "type": "image/tiff", "roles": ["data"]}},
        }
        for path in paths
    ]  # fmt: skip
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    mosaic([tmp_path / "items.json"])
    assert all(f"{path}: band 1 has a palette" in caplog.text for path in paths)
