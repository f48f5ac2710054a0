"""Bands tagged as alpha are masks if they have two values, data if they have more. The oracle is rasterio."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from conftest import WriteRaster, patches
from rasterio.enums import ColorInterp, Resampling
from runs import config, read
from sources import opened, whole

from pipeline.api import open_scene
from pipeline.core.errors import SceneError
from pipeline.jobs.inspect import inspect_scene
from pipeline.jobs.predict import predict
from pipeline.jobs.run import plan_config, run_config
from pipeline.jobs.template import config_template
from pipeline.models.base import ClusterModel
from pipeline.raster.file_bands import list_bands

TAGGED = "band 4 is tagged as alpha"


def alpha_of(dtype: str, full: int, shape: tuple[int, int] = (200, 300)) -> npt.NDArray[np.number]:
    """An alpha band: transparent in the first quarter, opaque below, and a soft edge of less than 1 %."""
    alpha = np.full(shape, full, dtype)
    alpha[: shape[0] // 4] = 0
    alpha[shape[0] // 4, :] = max(1, full // 2)
    return alpha


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_near_infrared_tagged_as_alpha_is_a_band(
    write_raster: WriteRaster, caplog: pytest.LogCaptureFixture, dtype: str
) -> None:
    pixels = patches(4, dtype=dtype)
    pixels[3, :5] = 0  # dark water must not be masked
    path = write_raster("rgbn.tif", pixels, alpha=True)
    for asked, order in (("auto", [0, 1, 2, 3]), ("all", [0, 1, 2, 3]), (["4", "band2"], [3, 1]), (["band4"], [3])):
        caplog.clear()
        source = opened(path, bands=asked)
        data, valid = whole(source)
        assert source.info.bands == tuple(f"band{i + 1}" for i in order)
        np.testing.assert_array_equal(data, pixels[order])
        assert valid.all()
        assert caplog.text.count(TAGGED) == 1


def test_default_alpha_tag_of_rasterio_is_ignored_for_data(write_raster: WriteRaster) -> None:
    path = write_raster("rgbn.tif", patches(4, dtype="uint8"))
    with rasterio.open(path) as file:
        assert file.colorinterp[3] == ColorInterp.alpha
    assert opened(path).info.bands == ("band1", "band2", "band3", "band4")


@pytest.mark.parametrize(
    ("dtype", "full"), [("uint8", 255), ("uint8", 1), ("uint16", 65535), ("uint16", 255), ("uint16", 1), ("float32", 1)]
)
def test_true_alpha_is_a_mask(write_raster: WriteRaster, dtype: str, full: int) -> None:
    pixels = patches(4, dtype=dtype)
    pixels[3] = alpha_of(dtype, full)
    source = opened(write_raster("rgba.tif", pixels, alpha=True))
    data, valid = whole(source)
    assert source.info.bands == ("band1", "band2", "band3")
    np.testing.assert_array_equal(data, pixels[:3])
    np.testing.assert_array_equal(valid, pixels[3] != 0)


@pytest.mark.parametrize("share", [0.005, 0.02])
def test_band_with_more_than_one_percent_between_the_extremes_is_data(write_raster: WriteRaster, share: float) -> None:
    pixels = patches(2, dtype="uint8")
    pixels[1] = 255
    pixels[1].flat[: round(share * pixels[1].size)] = np.arange(round(share * pixels[1].size)) % 250 + 2
    (grey, *rest) = list_bands([str(write_raster("ga.tif", pixels, alpha=True))])
    data = share > 0.01
    assert (grey.alpha is None) is data
    assert [(band.is_alpha, band.tagged_alpha) for band in rest] == [(not data, data)]


def test_data_band_tagged_as_alpha_keeps_its_number_next_to_a_true_alpha(write_raster: WriteRaster) -> None:
    pixels = patches(5, dtype="uint8")
    pixels[4] = alpha_of("uint8", 255)
    path = write_raster("middle.tif", pixels)
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp[name] for name in ("red", "alpha", "green", "blue", "alpha")]
    source = opened(path, bands=["2", "3"])
    data, valid = whole(source)
    assert source.info.bands == ("band2", "band3")
    np.testing.assert_array_equal(data, pixels[[1, 2]])
    np.testing.assert_array_equal(valid, pixels[4] != 0)
    assert [band.is_alpha for band in list_bands([str(path)])] == [False] * 4 + [True]


def test_only_band_tagged_as_alpha_is_data_or_refused(write_raster: WriteRaster) -> None:
    pixels = patches(1, dtype="uint8")
    path = write_raster("one.tif", pixels, alpha=True)
    np.testing.assert_array_equal(whole(opened(path))[0], pixels)
    with pytest.raises(SceneError, match="has an alpha band and no other"):
        opened(write_raster("mask.tif", alpha_of("uint8", 255)[np.newaxis], alpha=True))


def test_mask_of_the_whole_file_is_a_mask(write_raster: WriteRaster) -> None:
    pixels = patches(3, dtype="uint8")
    mask = np.full(pixels.shape[1:], 255, "uint8")
    mask[:40] = 77  # a mask of other values than 0 and 255 is a mask too, as in GDAL
    mask[40:60] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        path = write_raster("masked.tif", pixels)
        with rasterio.open(path, "r+") as file:
            file.write_mask(mask)
    source = opened(path)
    assert len(source.info.bands) == 3
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(whole(source)[1], file.dataset_mask() != 0)


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("overviews", [None, Resampling.average, Resampling.nearest])
def test_large_files_are_classified_from_a_few_blocks(
    write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch, interleave: str, overviews: Resampling | None
) -> None:
    """Averaged overviews of a true alpha have many intermediate values, which are no evidence of data."""
    import pipeline.raster.alpha as alpha_module

    monkeypatch.setattr(alpha_module, "_BYTES", 2**18)
    monkeypatch.setattr(alpha_module, "_OVERVIEW", (16, 2**20))
    shape = (1000, 1400)
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": interleave}
    data, mask = patches(4, shape, dtype="uint8"), patches(4, shape, dtype="uint8")
    data[3, :700] = 0  # most of the band is border, where near infrared is 0
    mask[3] = np.kron(np.random.default_rng(0).integers(0, 2, (100, 140)), np.ones((10, 10))) * 255
    for name, pixels, tagged in (("data.tif", data, True), ("mask.tif", mask, False)):
        path = write_raster(name, pixels, alpha=True, **tiles)
        if overviews is not None:
            with rasterio.open(path, "r+") as file:
                file.build_overviews([4, 16, 32], overviews)
        bands = list_bands([str(path)])
        assert [band.tagged_alpha for band in bands] == [False, False, False, tagged]
        assert bands == list_bands([str(path)])


@pytest.mark.parametrize("name", ["uncompressed", "one strip"])
def test_files_in_strips_are_classified(write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import pipeline.raster.alpha as alpha_module

    monkeypatch.setattr(alpha_module, "_BYTES", 2**16)
    kind = {"blockysize": 1} if name == "uncompressed" else {"blockysize": 800, "compress": "deflate"}
    pixels = patches(4, (800, 300), dtype="uint8")
    assert list_bands([str(write_raster("data.tif", pixels, alpha=True, **kind))])[3].tagged_alpha
    pixels[3] = alpha_of("uint8", 255, (800, 300))
    assert list_bands([str(write_raster("mask.tif", pixels, alpha=True, **kind))])[3].is_alpha


def test_true_alpha_with_jpeg_artefacts_is_a_mask(write_raster: WriteRaster) -> None:
    pixels = patches(4, (256, 256), dtype="uint8")
    yy, xx = np.mgrid[:256, :256]
    pixels[3] = np.where((yy - 128) ** 2 + (xx - 128) ** 2 < 100**2, 255, 0)
    path = write_raster("jpeg.tif", pixels, compress="jpeg", jpeg_quality=75, tiled=True)
    with rasterio.open(path) as file:
        alpha = file.read(4)
    assert ((alpha != 0) & (alpha != 255)).mean() > 0.01
    assert list_bands([str(path)])[3].is_alpha


def test_band_tagged_as_alpha_is_resampled_like_any_other(write_raster: WriteRaster) -> None:
    """The warper would use it as a mask; the oracle is the same file without the tag."""
    pixels = patches(4, dtype="uint8")
    pixels[3, 50:90] = 0
    tagged = write_raster("tagged.tif", pixels, alpha=True)
    plain = write_raster("plain.tif", pixels)
    with rasterio.open(plain, "r+") as file:
        file.colorinterp = [ColorInterp.gray] + [ColorInterp.undefined] * 3
    (data, valid), (expected_data, expected_valid) = (
        whole(opened(path, resolution=20, resampling="average", bands=["4", "1"])) for path in (tagged, plain)
    )
    np.testing.assert_array_equal(data, expected_data)
    np.testing.assert_array_equal(valid, expected_valid)
    assert valid.all()


def test_all_commands_treat_a_tagged_band_as_data(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A real NAIP tile, whose near infrared is tagged as alpha."""
    path = data / "sensors" / "naip_chips" / "m_3211605_ne_11_060_20200415.tif"
    names = ["band1", "band2", "band3", "band4"]
    with rasterio.open(path) as file:
        pixels = file.read()
    found = inspect_scene([str(path)])
    assert [band.name for band in found.bands] == names
    assert sum(TAGGED in warning for warning in found.warnings) == 1
    assert TAGGED in " ".join(config_template([str(path)]).split())
    assert "  bands: all" in config_template([str(path)])
    for asked in ("auto", "all", names, [1, 2, 3, 4]):
        caplog.clear()
        scene = open_scene(path, bands=asked)
        assert scene.band.values.tolist() == names
        np.testing.assert_array_equal(scene.values, pixels)
        assert scene.valid.values.all()
        assert caplog.text.count(TAGGED) == 1
    caplog.clear()
    asked = config(path, tmp_path / "c.tif", fit={"k": 4})
    assert plan_config(asked)[0].info.bands == tuple(names)
    assert caplog.text.count(TAGGED) == 1
    run_config(asked)
    assert caplog.text.count(TAGGED) == 2
    assert (read(tmp_path / "c.tif") > 0).all()
    model = ClusterModel.load(tmp_path / "c.model.json")
    assert model.bands == tuple(names)
    predict(asked.scene, model, asked.output.model_copy(update={"labels": str(tmp_path / "p.tif")}))
    assert caplog.text.count(TAGGED) == 3
    np.testing.assert_array_equal(read(tmp_path / "p.tif"), read(tmp_path / "c.tif"))
