"""Masks: the named classes or bits, dilated by the requested distance, independent of chunks."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from affine import Affine
from conftest import UTM, WriteRaster, patches
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation
from sources import FULL, described, layers, opened, whole, write_safe

from pipeline.config.yaml import anchor_paths
from pipeline.core.errors import ConfigError, SceneError
from pipeline.core.mask_layers import MASK_LAYERS
from pipeline.jobs.config import RunConfig
from pipeline.jobs.run import run_config

SCL_DROPPED = (0, 1, 3, 8, 9, 10)
"""SCL classes masked out by default."""


@pytest.fixture
def product(tmp_path: Path) -> Path:
    return write_safe(tmp_path, layers())


def scl_at_ten_metres() -> npt.NDArray[Any]:
    return layers()["SCL"].repeat(2, axis=0).repeat(2, axis=1)


def disk(radius: float) -> npt.NDArray[np.bool_]:
    reach = int(radius)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    return np.asarray(x * x + y * y <= radius * radius)


@pytest.mark.parametrize(
    ("mask", "dropped"),
    [
        ("scl", SCL_DROPPED),
        ({"scl": "default"}, SCL_DROPPED),
        ({"scl": [9]}, (9,)),
        ({"scl": ["cloud_high", "Cloud_Shadow"]}, (9, 3)),
        ({"layer": "scl", "keep": ["vegetation"]}, (0, 3, 9)),
        ("none", ()),
    ],
)
def test_classes_of_scl_are_masked_out(product: Path, mask: Any, dropped: tuple[int, ...]) -> None:
    for chunk in (128, 100, 4096):
        _, valid = whole(opened(product, chunk, mask=mask))
        np.testing.assert_array_equal(valid, ~np.isin(scl_at_ten_metres(), dropped))


@pytest.mark.lowest
@pytest.mark.parametrize("metres", [20, 50, 60.1, 400])
@pytest.mark.parametrize("chunk", [100, 128, 4096])
def test_a_mask_is_dilated_by_metres(product: Path, metres: float, chunk: int) -> None:
    _, valid = whole(opened(product, chunk, mask={"scl": [3, 9], "dilate": metres}))
    bad = np.isin(layers()["SCL"], [3, 9])
    expected = binary_dilation(bad, disk(metres / 20)).repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(valid, ~expected)


def test_nodata_of_scl_is_masked_out_but_not_dilated(product: Path) -> None:
    _, valid = whole(opened(product, mask={"scl": [0, 9], "dilate": 60}))
    scl = layers()["SCL"]
    expected = (binary_dilation(scl == 9, disk(3)) | (scl == 0)).repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_array_equal(valid, ~expected)


def test_scl_of_a_real_product_masks_its_clouds(data: Path) -> None:
    import rasterio

    product = data / "s2-safe" / FULL
    source = opened(product, 915, bands=["B04"], mask="scl")
    (path,) = product.rglob("*SCL_60m.jp2")
    with rasterio.open(path) as file:
        scl = file.read(1)
    pixels, valid = whole(source)
    np.testing.assert_array_equal(valid, ~np.isin(scl, SCL_DROPPED) & (pixels[0] != 0))


def test_a_plain_mask_file_keeps_nonzero_pixels(write_raster: WriteRaster) -> None:
    mask = (np.random.default_rng(3).random((1, 200, 300)) < 0.5).astype("uint8") * 7
    scene, path = write_raster("scene.tif", patches(2)), write_raster("mask.tif", mask)
    np.testing.assert_array_equal(whole(opened(scene, mask=str(path)))[1], mask[0] > 0)


def test_a_mask_file_keeps_or_drops_values_on_a_grid_of_its_own(write_raster: WriteRaster) -> None:
    mask = np.random.default_rng(4).integers(0, 5, (1, 67, 100)).astype("int16")
    scene = write_raster("scene.tif", patches(2))
    path = str(write_raster("mask.tif", mask, transform=UTM["transform"] @ Affine.scale(3), nodata=4))
    near = mask[0].repeat(3, axis=0).repeat(3, axis=1)[:200, :300]
    _, valid = whole(opened(scene, 90, mask={"path": path, "keep": [1, 2]}))
    np.testing.assert_array_equal(valid, np.isin(near, [1, 2]))
    _, dropped = whole(opened(scene, 90, mask={"path": path, "drop": [1, 2]}))
    np.testing.assert_array_equal(dropped, np.isin(near, [0, 3]))


def test_bits_of_a_quality_band_are_masked_out(write_raster: WriteRaster) -> None:
    quality = np.random.default_rng(5).integers(0, 2**16, (1, 200, 300)).astype("uint16")
    scene, path = write_raster("scene.tif", patches(2)), str(write_raster("qa.tif", quality))
    _, valid = whole(opened(scene, mask={"path": path, "bits": ["cloud", "cloud_shadow", 15]}))
    np.testing.assert_array_equal(valid, quality[0] & (1 << 3 | 1 << 4 | 1 << 15) == 0)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunk=st.integers(7, 300), size=st.sampled_from([10, 20, 30, 25]), metres=st.sampled_from([0, 35, 90, 200]))
def test_a_mask_does_not_depend_on_chunks(write_raster: WriteRaster, chunk: int, size: float, metres: float) -> None:
    mask = (np.random.default_rng(6).random((1, 90, 120)) < 0.98).astype("uint8")
    scene = write_raster("scene.tif", patches(1))
    path = write_raster("mask.tif", mask, transform=Affine(size, 0, 300_000, 0, -size, 5_900_000))
    rule = {"path": str(path), "dilate": metres}
    np.testing.assert_array_equal(whole(opened(scene, chunk, mask=rule))[1], whole(opened(scene, 4096, mask=rule))[1])


def test_fit_mask_does_not_mask_the_map(product: Path, tmp_path: Path) -> None:
    def run(name: str, **scene: Any) -> dict[str, Any]:
        fit = {"k": 3, "pixels": 5000} | scene.pop("fit", {})
        return run_config(
            RunConfig.model_validate(
                {
                    "version": 1,
                    "scene": {"source": str(product), **scene},
                    "fit": fit,
                    "output": {"labels": str(tmp_path / f"{name}.tif")},
                }
            )
        )

    plain, both, alone = run("plain"), run("both", mask="scl"), run("alone", fit={"mask": "scl"})
    masked = int(np.isin(scl_at_ten_metres(), SCL_DROPPED).sum())
    assert (plain["nodata_pixels"], both["nodata_pixels"], alone["nodata_pixels"]) == (0, masked, 0)
    assert both["model"] | {"sha256": 0} == alone["model"] | {"sha256": 0}
    assert plain["model"]["sampled_pixels"] == 5000
    assert all(report["source_passes"] == 1 for report in (plain, both, alone))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ("qa_pixel", r"scene\.mask: .* has no layer qa_pixel \(available: scl\)"),
        ({"path": "none.tif"}, r"none\.tif"),
    ],
)
def test_a_missing_mask_is_refused_by_name(product: Path, mask: Any, message: str) -> None:
    with pytest.raises((ConfigError, SceneError), match=message):
        opened(product, mask=mask)


def test_a_mask_that_does_not_overlap_the_scene_is_refused(write_raster: WriteRaster) -> None:
    scene = write_raster("scene.tif", patches(1))
    far = write_raster("mask.tif", patches(1), transform=Affine(10, 0, 500_000, 0, -10, 5_900_000))
    with pytest.raises(SceneError, match=r"scene\.mask: .*mask\.tif doesn't overlap the scene: .*500000"):
        opened(scene, mask=str(far))


def test_dilate_on_a_grid_in_degrees_is_refused(write_raster: WriteRaster) -> None:
    place = {"crs": "EPSG:4326", "transform": Affine(1e-4, 0, 12, 0, -1e-4, 52)}
    scene, mask = write_raster("scene.tif", patches(1), **place), write_raster("mask.tif", patches(1), **place)
    with pytest.raises(
        ConfigError,
        match=r"scene\.mask\.dilate: metres need a projected CRS, but the mask is in degrees",
    ):
        opened(scene, mask={"path": str(mask), "dilate": 60})


def test_classes_of_a_float_layer_are_refused(write_raster: WriteRaster) -> None:
    scene = write_raster("scene.tif", patches(1))
    mask = write_raster("mask.tif", patches(1, dtype="float32"))
    with pytest.raises(ConfigError, match="float32 pixels, which have no classes or bits"):
        opened(scene, mask={"path": str(mask), "bits": [3]})


def test_bits_beyond_the_layers_type_are_refused(write_raster: WriteRaster) -> None:
    scene, mask = write_raster("scene.tif", patches(1)), write_raster("mask.tif", patches(1, dtype="uint8"))
    with pytest.raises(ConfigError, match=r"mask\.tif has no bit 8: its uint8 pixels have 8 bits"):
        opened(scene, mask={"path": str(mask), "bits": [8]})


def test_the_sign_bit_is_used_like_other_bits(write_raster: WriteRaster) -> None:
    quality = np.array([[[-32768, 5, -1, 0]]], "int16").repeat(200, axis=1).repeat(75, axis=2)
    scene, mask = write_raster("scene.tif", patches(1)), write_raster("mask.tif", quality)
    _, valid = whole(opened(scene, mask={"path": str(mask), "bits": [15]}))
    np.testing.assert_array_equal(valid, quality[0] >= 0)


def test_nan_in_a_mask_is_masked_out(write_raster: WriteRaster) -> None:
    mask = np.full((1, 200, 300), np.nan, "float32")
    mask[:, :50] = 1
    scene, path = write_raster("scene.tif", patches(1)), write_raster("mask.tif", mask)
    np.testing.assert_array_equal(whole(opened(scene, mask=str(path)))[1], np.isfinite(mask[0]))


def test_unknown_classes_of_scl_are_refused(product: Path) -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError, match="scl has classes 0 to 11"):
        opened(product, mask={"scl": [99]})


def test_a_file_with_an_alpha_band_is_warped_with_it(write_raster: WriteRaster) -> None:
    fine, coarse = patches(1), patches(2, (100, 150), dtype="uint16")
    coarse[1] = 255
    coarse[1, 20:40] = 0
    place = UTM["transform"] @ Affine.scale(2)
    files = [write_raster("s_B02.tif", fine), write_raster("s_B05.tif", coarse, alpha=True, transform=place)]
    (one, ok), (other, also) = (whole(opened(list(map(str, files)), size, resampling="bilinear")) for size in (64, 512))
    np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(ok, also)
    assert not ok[44:76].any()
    assert ok[:36].all()


def test_masked_pixels_outside_of_a_cut_are_dilated_into_it(write_raster: WriteRaster) -> None:
    """Also if the layer has another CRS."""
    from rasterio.warp import calculate_default_transform, reproject

    scene = write_raster("scene.tif", patches(1), tiled=True, blockxsize=64, blockysize=64)
    mask = np.ones((1, 200, 300), "uint8")
    mask[:, 90:110, 40:60] = 0
    near = write_raster("near.tif", mask)
    transform, width, height = calculate_default_transform(
        "EPSG:32633", "EPSG:32632", 300, 200, left=300_000, bottom=5_898_000, right=303_000, top=5_900_000
    )
    turned = np.full((1, height, width), 255, "uint8")
    reproject(mask, turned, src_transform=UTM["transform"], src_crs="EPSG:32633", dst_transform=transform,
              dst_crs="EPSG:32632", dst_nodata=255)  # fmt: skip
    other = write_raster("other.tif", turned, crs="EPSG:32632", transform=transform, nodata=255)
    aoi = {"bounds": [300_650, 5_898_700, 301_270, 5_899_300], "crs": "EPSG:32633"}
    for path in (near, other):
        rule = {"path": str(path), "dilate": 300}
        full, cut = opened(scene, 64, mask=rule), opened(scene, 64, mask=rule, aoi=aoi)
        (_, valid), (_, inner) = whole(full), whole(cut)
        column, row = ~full.info.grid.transform @ (cut.info.grid.transform.c, cut.info.grid.transform.f)
        rows, columns = (
            slice(round(row), round(row) + inner.shape[0]),
            slice(round(column), round(column) + inner.shape[1]),
        )
        inside = whole(opened(scene, 64, aoi=aoi))[1]
        np.testing.assert_array_equal(inner, valid[rows, columns] & inside)
        assert 0 < inner.sum() < inside.sum()


def test_the_plan_counts_large_blocks_of_a_mask(write_raster: WriteRaster) -> None:
    scene = write_raster("scene.tif", patches(1), tiled=True, blockxsize=64, blockysize=64)
    mask = write_raster("mask.tif", patches(1), tiled=True, blockxsize=512, blockysize=512)
    assert described(scene, mask=str(mask)).reading.file_block_bytes == 512 * 512 * 2


def layer_item(folder: Path, key: str, pixels: npt.NDArray[Any], **profile: Any) -> Path:
    """Write a STAC item with one band and a quality layer, and their files; return the path of the item."""
    import json

    import rasterio

    stack = pixels if pixels.ndim == 3 else pixels[np.newaxis]
    for name, planes in (("red", patches(1, stack.shape[1:])), (key, stack)):
        count, height, width = planes.shape
        shape = {"count": count, "height": height, "width": width, "dtype": planes.dtype}
        more = profile if name == key else {}
        with rasterio.open(folder / f"{name}.tif", "w", driver="GTiff", **{**UTM, **shape, **more}) as file:
            file.write(planes)
    kinds = {"type": "image/tiff; application=geotiff"}
    content = {
        "type": "Feature", "stac_version": "1.0.0", "id": "x", "geometry": None, "links": [],
        "properties": {"datetime": "2023-06-25T10:20:21Z"},
        "assets": {
            "red": {"href": "./red.tif", "eo:bands": [{"name": "red", "common_name": "red"}], **kinds},
            key: {"href": f"./{key}.tif", **kinds},
        },
    }  # fmt: skip
    path = folder / "item.json"
    path.write_text(json.dumps(content))
    return path


def every_value(dtype: str) -> npt.NDArray[Any]:
    """All values of a type, shuffled."""
    count = 2 ** (8 * np.dtype(dtype).itemsize)
    side = int(count**0.5)
    return np.random.default_rng(7).permutation(count).reshape(side, side).astype(dtype)


def is_set(layer: npt.NDArray[Any], *bits: int) -> npt.NDArray[np.bool_]:
    """True where all given bits are set, computed independently of the package."""
    planes = np.unpackbits(layer.astype("<u2").view("u1").reshape(*layer.shape, 2), axis=-1, bitorder="little")
    return np.asarray(planes[..., list(bits)].all(axis=-1))


def test_udm_is_usable_where_it_is_zero(tmp_path: Path) -> None:
    udm = every_value("uint8")
    item = layer_item(tmp_path, "udm", udm)
    np.testing.assert_array_equal(whole(opened(item, mask="udm"))[1], udm == 0)
    np.testing.assert_array_equal(whole(opened(item, mask={"udm": ["cloud"]}))[1], ~is_set(udm, 1))


def test_udm2_is_usable_where_it_is_clear(tmp_path: Path) -> None:
    planes = np.random.default_rng(8).integers(0, 2, (8, 90, 70)).astype("uint8")
    item = layer_item(tmp_path, "udm2", planes)
    np.testing.assert_array_equal(whole(opened(item, mask="udm2"))[1], planes[0] == 1)


def test_fmask_leaves_out_clouds_adjacent_pixels_shadows_and_fill(tmp_path: Path) -> None:
    fmask = every_value("uint8")
    item = layer_item(tmp_path, "Fmask", fmask)
    bad = is_set(fmask, 0) | is_set(fmask, 1) | is_set(fmask, 2) | is_set(fmask, 3)
    np.testing.assert_array_equal(whole(opened(item, mask="fmask"))[1], ~bad & (fmask != 255))
    two = is_set(fmask, 1) | is_set(fmask, 3)
    np.testing.assert_array_equal(whole(opened(item, mask={"fmask": ["cloud", "shadow"]}))[1], ~two & (fmask != 255))
    haze = opened(item, mask={"fmask": ["aerosol_high"]})
    np.testing.assert_array_equal(whole(haze)[1], ~is_set(fmask, 6, 7) & (fmask != 255))


def test_bqa_of_landsat_collection_one_has_confidences_of_two_bits(tmp_path: Path) -> None:
    bqa = every_value("uint16")
    item = layer_item(tmp_path, "BQA", bqa)
    bad = is_set(bqa, 0) | is_set(bqa, 4) | is_set(bqa, 7, 8) | is_set(bqa, 11, 12)
    for chunk in (64, 4096):
        np.testing.assert_array_equal(whole(opened(item, chunk, mask="bqa"))[1], ~bad)
    snow = {"layer": "bqa", "bits": ["snow", [0, 5]]}
    np.testing.assert_array_equal(whole(opened(item, mask=snow))[1], ~(is_set(bqa, 9, 10) | is_set(bqa, 0, 5)))


def test_a_file_can_be_read_as_a_known_layer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    udm = np.where(patches(1)[0] > 100, 0, 2).astype("uint8")
    item = layer_item(tmp_path, "udm", udm)
    path = str(tmp_path / "udm.tif")
    with caplog.at_level("WARNING", logger="pipeline"):
        np.testing.assert_array_equal(whole(opened(item, mask={"udm": "default", "path": path}))[1], udm == 0)
        assert "plain mask" not in caplog.text
        whole(opened(item, mask=path))
    assert "read as a plain mask (0 is masked out), but is named like a udm layer" in caplog.text


@pytest.mark.parametrize(
    ("key", "mask", "words"),
    [
        ("fmask", "fmask", "leaves out bits 0 cirrus, 1 cloud, 2 adjacent, 3 shadow"),
        ("qa_pixel", {"qa_pixel": [3, "cloud_shadow"]}, "leaves out bits 3 cloud, 4 cloud_shadow"),
        ("BQA", {"bqa": ["cloud", "cirrus"]}, "leaves out bits 4 cloud, 11+12 cirrus"),
        ("udm2", "udm2", "keeps values 1 clear"),
    ],
)
def test_log_names_the_classes_and_bits_left_out(
    tmp_path: Path, key: str, mask: Any, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    item = layer_item(tmp_path, key, np.zeros((40, 50), "uint16"))
    with caplog.at_level("INFO", logger="pipeline"):
        opened(item, mask=mask)
    assert f"scene.mask: {key}.tif {words}" in caplog.text


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"fmask": ["clouds"]}, "clouds"),
        ({"udm2": [3]}, "udm2 has classes 0 to 1: 0 not_clear, 1 clear"),
        ({"layer": "udm2", "bits": [1]}, "udm2 holds classes; give 'drop' or 'keep'"),
        ({"layer": "scl", "bits": []}, "scl holds classes; give 'drop' or 'keep'"),
        ({"layer": "bqa", "drop": [1]}, "bqa holds bits; give 'bits'"),
        ({"bqa": [[]]}, "bits"),
        ({"bqa": [32]}, "bits"),
        ({"bqa": [True]}, "bits"),
        ({"dilate": 3}, "give 'path' or a layer: scl, qa_pixel, bqa, udm, udm2, fmask"),
    ],
)
def test_rules_that_do_not_suit_a_layer_are_refused(mask: Any, message: str) -> None:
    from pydantic import ValidationError

    from pipeline.config.schema import SceneConfig

    with pytest.raises(ValidationError, match=message):
        SceneConfig.model_validate({"source": "a.tif", "mask": mask})


@pytest.mark.parametrize("name", ["none", "None", *MASK_LAYERS])
def test_layer_names_are_not_paths(name: str) -> None:
    settings = {"scene": {"mask": name}, "fit": {"mask": name}}
    assert anchor_paths(settings, Path("/elsewhere")) == settings


def test_names_of_bits_follow_the_files_name(write_raster: WriteRaster, caplog: pytest.LogCaptureFixture) -> None:
    values = np.resize(every_value("uint8"), (1, 200, 300))
    scene = write_raster("scene.tif", patches(1))
    for name, bit in (("HLS.S30.T33UUU.2023001T102021.v2.0.Fmask.tif", 1), ("qa.tif", 3), ("x_QA_PIXEL.tif", 3)):
        path = str(write_raster(name, values))
        with caplog.at_level("INFO", logger="pipeline"):
            _, valid = whole(opened(scene, mask={"path": path, "bits": ["cloud"]}))
        np.testing.assert_array_equal(valid, ~is_set(values[0], bit))
        assert f"{name} leaves out bits {bit}{' cloud' if name != 'qa.tif' else ''}" in caplog.text
