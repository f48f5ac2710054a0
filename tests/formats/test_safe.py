"""Sentinel-2 products in SAFE format: names, scales and offsets from the metadata, pixels as in the images."""

import logging
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from conftest import patches
from sources import FULL, ROWS, described, layers, opened, whole, write_safe

from benchmarks.safe import SafeRecipe
from pipeline.core.band_names import SENTINEL2_COMMON_NAMES
from pipeline.core.errors import ConfigError, SceneError, TerrazzoError
from pipeline.engine.cache import open_cache
from pipeline.formats.detect import open_catalogues
from pipeline.formats.sentinel2 import BAND_IDS, NATIVE_RESOLUTION
from pipeline.jobs.inspect import inspect_scene
from pipeline.raster.file_cache import FileCache
from pipeline.scenes.raster_source import RasterSource

THUMBNAILS = "esa_S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500.SAFE"
L1C = "S2A_MSIL1C_20180101T105441_N0206_R051_T31TDH_20180101T124911.SAFE"


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """Small generated product of baseline 05.09."""
    return write_safe(tmp_path, layers())


def zipped(product: Path) -> Path:
    """Pack a product folder into a zip, as it is downloaded."""
    archive = product.with_suffix(".SAFE.zip")
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(product.rglob("*")):
            file.write(path, path.relative_to(product.parent))
    return archive


def test_every_band_has_common_name_and_native_resolution() -> None:
    assert set(BAND_IDS) == set(SENTINEL2_COMMON_NAMES) == set(NATIVE_RESOLUTION)


def test_default_bands_are_the_four_of_10_metres(product: Path) -> None:
    source = opened(product)
    assert source.info.bands == ("B02", "B03", "B04", "B08")
    assert source.info.units.quantity == "reflectance"
    assert source.info.scales == (1e-4,) * 4
    assert source.info.offsets == (-0.1,) * 4
    assert source.info.nodata == (0,) * 4
    pixels, valid = whole(source)
    np.testing.assert_array_equal(pixels, [layers()[band] for band in source.info.bands])
    assert valid.all()


@pytest.mark.parametrize("way", ["folder", "metadata", "parent", "zip", "parent of a zip", "granule"])
def test_product_opens_by_any_of_its_paths(product: Path, way: str) -> None:
    expected, _ = whole(opened(product))
    path = {"folder": product, "metadata": product / "MTD_MSIL2A.xml", "parent": product.parent}.get(way)
    if way.endswith("zip"):
        archive = zipped(product)
        shutil.rmtree(product)
        path = archive if way == "zip" else archive.parent
    if way == "granule":
        (path,) = (product / "GRANULE").iterdir()
    pixels, _ = whole(opened(str(path)))
    np.testing.assert_array_equal(pixels, expected)


def test_coarse_bands_are_repeated_onto_the_10_metre_grid(product: Path) -> None:
    source = opened(product, bands="all")
    assert source.info.bands == ("B01", "B02", "B03", "B04", "B05", "B08", "B8A", "B09", "B11")
    pixels, _ = whole(source)
    for band, plane in zip(source.info.bands, pixels, strict=True):
        native = layers()[band]
        ratio = ROWS // len(native)
        np.testing.assert_array_equal(plane, native.repeat(ratio, axis=0).repeat(ratio, axis=1))


@pytest.mark.lowest
@pytest.mark.parametrize("bands", [["8A", "4", "11"], ["nir08", "red", "swir16"], ["B8A", "B04", "B11"]])
def test_bands_are_chosen_by_name_number_and_common_name(product: Path, bands: list[str]) -> None:
    assert described(product, bands=bands).info.bands == ("B8A", "B04", "B11")


def test_only_chosen_bands_are_opened(product: Path) -> None:
    for path in product.rglob("*.jp2"):
        if "B04" not in path.name:
            path.write_bytes(b"no image")
    assert opened(product, bands=["red"]).info.bands == ("B04",)


@pytest.mark.parametrize("workers", [1, 3])
def test_each_jpeg_2000_tile_is_decoded_once_for_any_block_size(product: Path, tmp_path: Path, workers: int) -> None:
    from concurrent.futures import ThreadPoolExecutor

    scene = described(product, bands="all")
    with open_cache("disk", tmp_path) as cache, ThreadPoolExecutor(workers) as pool:
        files = FileCache(cache)
        for chunk in (100, 128):
            source = RasterSource(scene, (chunk, chunk), files)
            first = first if chunk != 100 else source  # noqa: F821 (bound in the first round)
            list(pool.map(source.read, source.blocks))
        assert first.passes == 1
        assert source.passes == 0, "the second reader finds all pixels in the cache"


def test_file_of_the_requested_resolution_is_read(tmp_path: Path) -> None:
    coarse = patches(1, (60, 60), seed=9)[0]
    made = {"B02": layers()["B02"], "B02@60": coarse, "B8A": layers()["B8A"]}
    product = write_safe(tmp_path, made)
    pixels, _ = whole(opened(product, bands=["B02"], resolution=60))
    np.testing.assert_array_equal(pixels[0], coarse)
    assert opened(product, bands=["B02"]).info.grid.resolution == (10, 10)
    assert opened(product, bands=["B02", "B8A"], resolution=20).info.grid.shape == (180, 180)


@pytest.mark.parametrize(
    ("recipe", "scale", "offset"),
    [
        (SafeRecipe(baseline="02.14", offsets=None), 1e-4, 0.0),
        (SafeRecipe(baseline="05.11", offsets=(-900,) * 13), 1e-4, -0.09),
        (SafeRecipe(level="L1C", baseline="04.00"), 1e-4, -0.1),
        (SafeRecipe(quantification=5000, offsets=(0,) * 3 + (-250,) + (0,) * 9), 2e-4, -0.05),
    ],
)
def test_scale_and_offset_are_those_of_the_metadata(
    tmp_path: Path, recipe: SafeRecipe, scale: float, offset: float
) -> None:
    product = write_safe(tmp_path, {"B04": layers()["B04"]}, recipe)
    info = described(product, bands=["B04"]).info
    assert (info.scales, info.offsets) == ((pytest.approx(scale),), (pytest.approx(offset),))


def test_real_product_without_10_metre_images_opens_at_60_metres_with_a_warning(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    product = data / "s2-safe" / FULL
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        scene = described(product)
    assert "14 of 27 images that the product lists are missing: at 10 m B02, B03, B04, B08" in caplog.text
    assert scene.info.bands == ("B02", "B03", "B04", "B8A")
    assert scene.info.grid.resolution == (60, 60)
    assert scene.info.offsets == (-0.1,) * 4
    everything = described(product, bands="all")
    assert len(everything.info.bands) == 11
    source = RasterSource(everything, (700, 700))
    block = source.blocks[4]
    pixels = source.read(block)
    for path, plane in zip(everything.info.sources, pixels.data, strict=True):
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(plane, file.read(1, window=block.window))
    np.testing.assert_array_equal(pixels.valid, (pixels.data != 0).all(axis=0))
    assert open_catalogues(str(product))[0].mask("scl") is not None


def test_missing_image_is_an_error_with_band_and_file(data: Path) -> None:
    with pytest.raises(SceneError, match=r"band B02 is missing: the product lists .*B02_10m\.jp2.*resolution: 60"):
        described(data / "s2-safe" / FULL, bands=["B02"], resolution=10)
    with pytest.raises(SceneError, match=r"band B02 is missing: the product lists .*T31TDH_20180101T105441_B02\.jp2"):
        described(data / "s2-safe" / L1C)


def test_incomplete_product_is_refused_with_the_missing_file(product: Path) -> None:
    (missing,) = product.rglob("*B03_10m.jp2")
    missing.unlink()
    with pytest.raises(SceneError, match=rf"band B03 is missing: the product lists {missing}"):
        described(product)
    with pytest.raises(SceneError, match="band B03 is missing"):
        described(product, bands="all")
    assert described(product, bands=["B02", "B04"]).info.bands == ("B02", "B04")


def test_size_of_the_files_counts_rather_than_that_in_the_metadata(data: Path) -> None:
    scene = described(data / "s2-safe" / THUMBNAILS, bands="all")
    assert len(scene.info.bands) == 12
    assert scene.info.grid.shape == (100, 100)
    assert scene.info.grid.resolution == (1098, 1098)
    assert scene.info.offsets == (0,) * 12


def test_metadata_of_every_baseline_are_read(data: Path) -> None:
    found = {}
    for folder in sorted((data / "s2-xml").iterdir()) + sorted((data / "s2-safe").iterdir()):
        product = open_catalogues(str(folder))[0].product
        assert product is not None
        found[product.baseline] = (product.level, product.tile, product.date, product.radiometry)
    assert found["05.09"] == ("L2A", "01WCP", "2023-06-25", "reflectance = (DN -1000) / 10000")
    assert found["02.12"] == ("L2A", "07HFE", "2019-02-12", "reflectance = DN / 10000")
    assert found["03.01"] == ("L1C", "46RER", "2021-09-08", "reflectance = DN / 10000")
    assert found["04.00"][:2] == ("L2A", "29UNU")
    assert found["02.06"][:2] == ("L1C", "31TDH")


def test_unknown_band_is_an_error_that_lists_the_bands(product: Path) -> None:
    with pytest.raises(ConfigError, match=r"no band 'B10'.* B01, B02, B03, B04, B05, B08, B8A, B09, B11"):
        described(product, bands=["B10"])


def test_two_products_in_a_folder_are_refused_with_both_names(product: Path, tmp_path: Path) -> None:
    other = write_safe(tmp_path, {"B02": layers()["B02"]}, SafeRecipe(tile="T33UVU"))
    with pytest.raises(SceneError, match=rf"holds {product.name} and {other.name}; name the one to take"):
        described(tmp_path)
    plain = tmp_path / "plain.tif"
    plain.write_bytes(b"")
    with pytest.raises(SceneError, match=rf"{product.name} is a product, .*plain\.tif a file or folder of images"):
        described([product, plain])


def test_folder_without_product_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SceneError, match="empty: the folder holds no product and no raster file"):
        described(tmp_path / "empty")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("BOA_QUANTIFICATION_VALUE", "OTHER", "the field BOA_QUANTIFICATION_VALUE is missing"),
        (">10000<", ">many<", "BOA_QUANTIFICATION_VALUE is 'many'; expected a number"),
        (">10000<", ">0<", "BOA_QUANTIFICATION_VALUE is 0; expected a number above 0"),
        (">Level-2A<", ">Level-0<", "the processing level is 'Level-0'"),
        ("PROCESSING_LEVEL", "OTHER", "the field PROCESSING_LEVEL is missing"),
        ('band_id="3">-1000', 'band_id="3">nan', "BOA_ADD_OFFSET is 'nan'; expected a number"),
        ('band_id="3"', 'band_id="99"', "BOA_ADD_OFFSET is stated for some bands, but not for B04"),
        ("</n1:General_Info>", "", "can't be read as XML"),
    ],
)
def test_missing_or_invalid_metadata_field_is_named_in_the_error(
    product: Path, old: str, new: str, message: str
) -> None:
    path = product / "MTD_MSIL2A.xml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(SceneError, match=rf"MTD_MSIL2A\.xml: .*{message}"):
        described(product)


@pytest.mark.parametrize(
    "kind",
    [
        '<!DOCTYPE a [<!ENTITY b "b"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>',
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd">',
    ],
)
def test_metadata_with_xml_entities_are_refused(product: Path, kind: str) -> None:
    path = product / "MTD_MSIL2A.xml"
    head, rest = path.read_text().split("\n", 1)
    path.write_text(f"{head}\n{kind}\n{rest}".replace("Level-2A<", "&c;<"))
    with pytest.raises(SceneError, match="it declares a document type"):
        described(product)


def test_metadata_above_the_size_limit_are_refused(product: Path) -> None:
    path = product / "MTD_MSIL2A.xml"
    path.write_text(path.read_text() + " " * (65 * 2**20))
    with pytest.raises(SceneError, match="larger than 64 MB"):
        described(product)


@pytest.mark.parametrize("cut", [0, 10, 0.3, 0.9])
def test_truncated_zip_is_refused(product: Path, cut: float) -> None:
    archive = zipped(product)
    content = archive.read_bytes()
    archive.write_bytes(content[: int(cut * len(content)) if cut < 1 else cut])
    with pytest.raises(SceneError, match=r"SAFE\.zip: this zip can't be read .* download it again"):
        described(archive)


def test_damaged_zip_is_named_in_the_error(product: Path) -> None:
    archive = zipped(product)
    content = bytearray(archive.read_bytes())
    for start in range(2000, len(content) - 6000, 400):
        content[start : start + 100] = b"\xff" * 100
    archive.write_bytes(content)
    with pytest.raises(TerrazzoError, match=r"SAFE\.zip"):
        whole(opened(archive))


@pytest.mark.parametrize("name", ["../../evil.xml", "/etc/evil.xml", "a/../../b", "C:\\evil", "..\\evil"])
def test_zip_with_paths_outside_of_it_is_refused(product: Path, name: str) -> None:
    archive = zipped(product)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr(name, "x")
    with pytest.raises(SceneError, match="with a path outside of it"):
        described(archive)


def test_zip_bomb_is_refused(product: Path) -> None:
    archive = zipped(product)
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.jp2", b"\0" * 2**20)
        file.filelist[-1].file_size = 2**30  # the size that the archive states
    with pytest.raises(SceneError, match=r"bomb.jp2 claims to be 1073741824 bytes"):
        described(archive)


def test_zip_without_product_or_raster_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("a.txt", "a")
    with pytest.raises(SceneError, match=r"a\.zip: this archive holds no Sentinel-2 product and no raster .*a\.txt"):
        described(tmp_path / "a.zip")


def test_product_of_two_tiles_is_refused_unless_a_granule_is_named(product: Path) -> None:
    (granule,) = (product / "GRANULE").iterdir()
    shutil.copytree(granule, granule.with_name("L2A_T33UVU_A000001_20230625T102021"))
    with pytest.raises(SceneError, match=r"holds 2 tiles; name the folder of one of them, such as .*L2A_T33U"):
        described(product)
    assert described(granule).info.bands == ("B02", "B03", "B04", "B08")


def test_product_with_old_names_is_read(tmp_path: Path) -> None:
    """Products before December 2016 have long names, and list images by name without a path."""
    new = write_safe(tmp_path, layers(), SafeRecipe(level="L1C", baseline="02.04", offsets=None))
    old = tmp_path / "S2A_OPER_PRD_MSIL1C_PDMC_20160607T163016_R065_V20160607T102021.SAFE"
    new.rename(old)
    (granule,) = (old / "GRANULE").iterdir()
    long = granule.with_name("S2A_OPER_MSI_L1C_TL_SGS__20160607T153120_A004999_T33UUU_N02.04")
    granule.rename(long)
    text = (old / "MTD_MSIL1C.xml").read_text()
    for path in (long / "IMG_DATA").iterdir():
        band = path.stem.rsplit("_", 1)[1]
        name = f"S2A_OPER_MSI_L1C_TL_SGS__20160607T153120_A004999_T33UUU_{band}"
        text = text.replace(f"GRANULE/{granule.name}/IMG_DATA/{path.stem}", name).replace("IMAGE_FILE", "IMAGE_ID")
        path.rename(path.with_name(f"{name}.jp2"))
    (old / "MTD_MSIL1C.xml").unlink()
    (old / "S2A_OPER_MTD_SAFL1C_PDMC_20160607T163016_R065_V20160607T102021.xml").write_text(text)
    source = opened(old, bands=["B04", "B8A"])
    np.testing.assert_array_equal(whole(source)[0][0], layers()["B04"])
    product = open_catalogues(str(old))[0].product
    assert product is not None
    assert (product.tile, product.baseline) == ("33UUU", "02.04")


@pytest.mark.parametrize("read", [lambda archive: whole(opened(archive)), inspect_scene], ids=["run", "inspect"])
def test_damaged_band_in_a_zip_is_an_error_with_both_paths(product: Path, read: Any) -> None:
    band = next(product.rglob("*_B03_10m.jp2"))
    content = bytearray(band.read_bytes())
    content[len(content) // 3 : -2] = bytes(len(content[len(content) // 3 : -2]))
    band.write_bytes(content)
    archive = zipped(product)
    with pytest.raises(SceneError) as error:
        read(str(archive))
    message = str(error.value)
    assert message.startswith(f"{band.relative_to(product.parent)} in {archive}: ")
    assert "the archive, or this file in it, is damaged or cut short" in message


@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_two_different_offsets_of_a_band_are_refused(tmp_path: Path, level: str) -> None:
    product = write_safe(tmp_path, {"B04": layers()["B04"]}, SafeRecipe(level=level))
    path = product / f"MTD_MSI{level}.xml"
    name = "RADIO_ADD_OFFSET" if level == "L1C" else "BOA_ADD_OFFSET"
    text, end = path.read_text(), f"</{name}>"
    last = text.rindex(end) + len(end)
    same, other = (f'{text[:last]}<{name} band_id="3">{value}</{name}>{text[last:]}' for value in ("-1000.0", "-900"))
    path.write_text(same)
    assert described(product, bands=["B04"]).info.offsets == (-0.1,)
    path.write_text(other)
    with pytest.raises(SceneError, match=rf"{name} is given twice for B04, as -1000 and as -900"):
        described(product, bands=["B04"])


def test_two_different_quantification_values_are_refused(product: Path) -> None:
    path = product / "MTD_MSIL2A.xml"
    text, name = path.read_text(), "BOA_QUANTIFICATION_VALUE"
    (value,) = (part for part in text.split("<") if part.startswith(name))
    path.write_text(text.replace(f"<{value}", f"<{value}</{name}><{value.replace('10000', '5000')}"))
    with pytest.raises(SceneError, match=rf"{name} is given twice, as '10000' and as '5000'"):
        described(product)
