"""Reading files: pixels and validity equal those of plain rasterio, for any blocks."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import rasterio
from conftest import WriteRaster, patches
from sources import opened, whole

from pipeline.core.errors import ConfigError, SceneError


@pytest.mark.parametrize("chunk", [37, 512, 4096])
def test_band_files_are_stacked_as_rasterio_reads_them(landscape: list[str], chunk: int) -> None:
    data, valid = whole(opened(landscape, chunk))
    for band, path in zip(data, landscape, strict=True):
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(band, file.read(1))
    assert valid.all()


def test_jpeg2000_is_read_as_rasterio_reads_it(jpeg2000: list[str]) -> None:
    source = opened(jpeg2000, 320)
    data, _ = whole(source)
    for band, path in zip(data, jpeg2000, strict=True):
        with rasterio.open(path) as file:
            np.testing.assert_array_equal(band, file.read(1))
    assert source.info.bands == ("B02", "B03", "B04", "B08")
    assert source.info.block_shape == (64, 64)


def test_bands_have_the_requested_order(write_raster: WriteRaster) -> None:
    pixels = patches(4)
    path = write_raster("stack.tif", pixels, bands=["B02", "B03", "B04", "B08"])
    source = opened(path, bands=["nir", "1", "B04"])
    assert source.info.bands == ("B08", "B02", "B04")
    np.testing.assert_array_equal(whole(source)[0], pixels[[3, 0, 2]])


def test_bands_of_two_files_may_interleave(write_raster: WriteRaster) -> None:
    one, two = patches(2, seed=1), patches(2, seed=2)
    files = [
        str(write_raster("one.tif", one, bands=["a", "b"])),
        str(write_raster("two.tif", two, bands=["c", "d"])),
    ]
    data, _ = whole(opened(files, bands=["c", "a", "d", "b"]))
    np.testing.assert_array_equal(data, np.stack([two[0], one[0], two[1], one[1]]))


def test_two_hundred_bands_are_read(write_raster: WriteRaster) -> None:
    pixels = patches(200, (40, 50))
    path = write_raster("many.tif", pixels)
    source = opened(path)
    assert len(source.info.bands) == 200
    np.testing.assert_array_equal(whole(source)[0], pixels)


def test_a_pixel_is_invalid_where_any_band_has_the_tagged_value(write_raster: WriteRaster) -> None:
    pixels = patches(3)
    pixels[0, :10] = 0
    pixels[2, :, :7] = 0
    _, valid = whole(opened(write_raster("tagged.tif", pixels, nodata=0)))
    np.testing.assert_array_equal(valid, (pixels != 0).all(axis=0))


def test_the_config_value_replaces_the_tag(write_raster: WriteRaster) -> None:
    pixels = patches(2)
    pixels[0, :10], pixels[1, 20:30] = 0, 77
    path = write_raster("tagged.tif", pixels, nodata=0)
    _, valid = whole(opened(path, nodata=77))
    np.testing.assert_array_equal(valid, (pixels != 77).all(axis=0))


def test_untagged_zeros_are_data(write_raster: WriteRaster) -> None:
    pixels = patches(2)
    pixels[:, :50] = 0
    _, valid = whole(opened(write_raster("plain.tif", pixels)))
    assert valid.all()


@pytest.mark.parametrize("nodata", [None, -9999.0, float("nan")])
def test_nan_and_infinity_are_never_data(write_raster: WriteRaster, nodata: float | None) -> None:
    pixels = patches(2, dtype="float32")
    pixels[0, :5], pixels[1, 50:60, 3], pixels[0, 99], pixels[1, 120] = np.nan, np.inf, -np.inf, -9999
    _, valid = whole(opened(write_raster("floats.tif", pixels, nodata=nodata)))
    expected = np.isfinite(pixels).all(axis=0)
    if nodata == -9999.0:
        expected &= (pixels != -9999).all(axis=0)
    np.testing.assert_array_equal(valid, expected)


def test_an_alpha_band_is_a_mask_not_a_band(write_raster: WriteRaster) -> None:
    pixels = patches(4, dtype="uint8")
    pixels[3] = 255
    pixels[3, :30] = 0
    pixels[3, 40] = 1
    source = opened(write_raster("rgba.tif", pixels, alpha=True))
    data, valid = whole(source)
    assert source.info.bands == ("band1", "band2", "band3")
    np.testing.assert_array_equal(data, pixels[:3])
    np.testing.assert_array_equal(valid, pixels[3] != 0)


def test_a_requested_alpha_band_is_a_band_not_a_mask(write_raster: WriteRaster) -> None:
    pixels = np.random.default_rng(0).integers(0, 9, (4, 20, 30)).astype("uint8")
    pixels[3] = pixels[3] // 5
    path = write_raster("rgba.tif", pixels)
    with rasterio.open(path) as file:
        assert file.colorinterp[3].name == "alpha"
    source = opened(path, bands=["4", "2"])
    data, valid = whole(source)
    assert source.info.bands == ("band4", "band2")
    np.testing.assert_array_equal(data, pixels[[3, 1]])
    assert valid.all()
    assert not whole(opened(path))[1].all()


def test_alpha_bands_shift_no_number_and_their_names_give_way(write_raster: WriteRaster) -> None:
    pixels = np.full((2, 20, 30), 7, "uint8")
    paths = [write_raster(f"{name}.tif", pixels, alpha=True) for name in ("B02", "B03", "B04")]
    for path in paths:
        with rasterio.open(path, "r+") as file:
            file.set_band_description(2, "alpha")
    assert opened(paths).info.bands == ("B02", "B03", "B04")
    assert opened(paths, bands=["1", "2", "3"]).info.bands == ("B02", "B03", "B04")
    assert opened(paths, bands=["4", "B03", "5"]).info.bands == ("alpha", "B03", "B03_alpha")


def test_an_alpha_band_in_the_middle_shifts_no_number(write_raster: WriteRaster) -> None:
    pixels = patches(4, dtype="uint8")
    pixels[1] = 255
    path = write_raster("middle.tif", pixels)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [rasterio.enums.ColorInterp[name] for name in ("red", "alpha", "green", "blue")]
    assert opened(path, bands=["2"]).info.bands == ("band3",)
    assert opened(path, bands=["4"]).info.bands == ("band2",)


@pytest.mark.parametrize("factor", [np.nan, np.inf])
def test_a_nonfinite_scale_is_refused(write_raster: WriteRaster, factor: float) -> None:
    path = write_raster("scaled.tif", patches(2))
    with rasterio.open(path, "r+") as file:
        file.scales = (1.0, factor)
    with pytest.raises(SceneError, match=r"scaled\.tif: a band's scale is not a finite number: 1.0, (nan|inf)"):
        opened(path)


@pytest.mark.parametrize("size", [np.nan, 1e308])
def test_a_degenerate_geotransform_is_refused(write_raster: WriteRaster, size: float) -> None:
    path = write_raster("nowhere.tif", patches(1), transform=rasterio.Affine(size, 0, 0, 0, -10, 0))
    with pytest.raises(
        SceneError, match=r"nowhere\.tif: its geotransform is .*: its numbers are not finite, or too large"
    ):
        opened(path)


def test_alpha_and_a_nodata_tag_both_mask(write_raster: WriteRaster) -> None:
    pixels = patches(3)
    pixels[2] = 65535
    pixels[2, :30], pixels[0, 60:70] = 0, 9
    _, valid = whole(opened(write_raster("both.tif", pixels, alpha=True, nodata=9)))
    np.testing.assert_array_equal(valid, (pixels[2] != 0) & (pixels[:2] != 9).all(axis=0))


def test_a_mask_band_masks(write_raster: WriteRaster) -> None:
    pixels = patches(3)
    mask = np.full(pixels.shape[1:], 255, np.uint8)
    mask[33:44] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = write_raster("masked.tif", pixels)
        with rasterio.open(path, "r+") as file:
            file.write_mask(mask)
    source = opened(path)
    assert source.info.masked
    np.testing.assert_array_equal(whole(source)[1], mask != 0)


def test_mixed_types_are_read_in_a_type_that_holds_both(write_raster: WriteRaster) -> None:
    small, large = patches(1, dtype="uint8"), patches(1, dtype="uint16") * 200
    files = [str(write_raster("a_B02.tif", small)), str(write_raster("a_B03.tif", large))]
    data, _ = whole(opened(files))
    assert data.dtype == np.uint16
    np.testing.assert_array_equal(data, np.concatenate([small, large]))


def test_a_nodata_tag_the_type_cannot_hold_is_ignored_with_a_warning(
    write_raster: WriteRaster, caplog: pytest.LogCaptureFixture
) -> None:
    vrt = virtual(write_raster("odd.tif", patches(1)), ["Byte"], nodata="-9999")
    _, valid = whole(opened(vrt))
    assert valid.all()
    with rasterio.open(vrt) as file:
        assert ("-9999" in caplog.text) == (file.nodata is not None)


def virtual(path: Path, types: list[str], nodata: str = "") -> Path:
    """A VRT next to a file, with a band of each type that refers to its first band."""
    with rasterio.open(path) as file:
        rows, columns = file.shape
    source = f"<SimpleSource><SourceFilename>{path}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
    tag = f"<NoDataValue>{nodata}</NoDataValue>" if nodata else ""
    bands = "".join(
        f'<VRTRasterBand dataType="{kind}" band="{index}">{tag}{source}</VRTRasterBand>'
        for index, kind in enumerate(types, start=1)
    )
    vrt = path.with_suffix(".vrt")
    vrt.write_text(f'<VRTDataset rasterXSize="{columns}" rasterYSize="{rows}">{bands}</VRTDataset>')
    return vrt


def test_bands_of_different_types_in_one_file_are_read(write_raster: WriteRaster) -> None:
    pixels = patches(1)
    source = opened(virtual(write_raster("s.tif", pixels), ["UInt16", "Byte", "UInt16"]))
    np.testing.assert_array_equal(whole(source)[0], np.repeat(pixels, 3, axis=0))


def test_nodata_is_rounded_in_the_band_s_own_type(write_raster: WriteRaster) -> None:
    reals, counts = patches(1, dtype="float32"), patches(1, dtype="int32")
    reals[0, :10] = -9999.9
    files = [str(write_raster("s_B02.tif", reals)), str(write_raster("s_B03.tif", counts))]
    source = opened(files, nodata=-9999.9)
    assert source.info.dtype == np.float64
    np.testing.assert_array_equal(whole(source)[1], reals[0] > -9999)


def test_nodata_of_64_bits_that_no_float_holds_is_nodata(write_raster: WriteRaster) -> None:
    pixels = patches(1, dtype="int64")
    pixels[0, :10] = 2**63 - 1
    vrt = virtual(write_raster("s.tif", pixels), ["Int64"], nodata=str(2**63 - 1))
    np.testing.assert_array_equal(whole(opened(vrt))[1], pixels[0] != 2**63 - 1)


def test_complex_integers_are_refused(write_raster: WriteRaster) -> None:
    with pytest.raises(SceneError, match=r"s\.vrt: pixels of type complex_int16 can't be clustered"):
        opened(virtual(write_raster("s.tif", patches(1)), ["CInt16"]))


def test_more_files_than_a_thread_holds_open_are_read(write_raster: WriteRaster) -> None:
    pixels = patches(30, (40, 50))
    files = [str(write_raster(f"s_{n:02}.tif", pixels[n : n + 1])) for n in range(30)]
    np.testing.assert_array_equal(whole(opened(files, 20))[0], pixels)


def test_a_config_value_the_type_cannot_hold_is_refused(write_raster: WriteRaster) -> None:
    with pytest.raises(ConfigError, match=r"scene\.nodata: -1 can't occur in pixels of type uint16"):
        opened(write_raster("plain.tif", patches(1)), nodata=-1)


def test_only_requested_bands_need_a_pixel_type_that_suits(data: Path) -> None:
    folder = data / "scenes" / "t48que_20200223_l2a"
    files = sorted(str(path) for path in folder.glob("B*.tif"))
    source = opened(files, bands=["B8A", "swir16"])
    assert source.info.grid.shape == (534, 534)


def test_a_truncated_geotiff_names_file_and_block(write_raster: WriteRaster) -> None:
    path = write_raster("cut.tif", patches(3, (600, 600)), tiled=True, blockxsize=256, blockysize=256)
    path.write_bytes(path.read_bytes()[:-600_000])
    with pytest.raises(SceneError, match=r"cut\.tif: rows \d+-\d+, columns \d+-\d+ can't be read"):
        whole(opened(path, 256))


def test_a_truncated_jpeg2000_names_file_and_block(jpeg2000: list[str], tmp_path: Path) -> None:
    cut = tmp_path / "cut_B02.jp2"
    cut.write_bytes(Path(jpeg2000[0]).read_bytes()[:300_000])
    with pytest.raises(SceneError, match=r"cut_B02\.jp2: rows \d+-\d+, columns \d+-\d+ can't be read"):
        whole(opened(cut, 256))


@pytest.mark.parametrize("content", [b"", b"not a raster\n", b"II*\x00\x08\x00\x00\x00"])
def test_a_file_that_is_not_a_raster_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.tif"
    path.write_bytes(content)
    with pytest.raises(SceneError, match=r"odd\.tif: GDAL can't open this file as a raster"):
        opened(path)


def test_complex_pixels_are_refused(write_raster: WriteRaster) -> None:
    with pytest.raises(SceneError, match="complex64"):
        opened(write_raster("radar.tif", patches(1).astype("complex64")))


def test_a_source_can_be_sent_to_another_process(write_raster: WriteRaster) -> None:
    source = opened(write_raster("plain.tif", patches(2)))
    first = source.blocks[0]
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301 (pickled here)
    np.testing.assert_array_equal(copy.read(first).data, source.read(first).data)


def test_decoded_pixels_are_counted(write_raster: WriteRaster) -> None:
    source = opened(write_raster("plain.tif", patches(1)), 100)
    whole(source)
    whole(source)
    assert source.passes == 2
