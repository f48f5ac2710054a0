"""Raster files that belong together: bands, masks, and the metadata of their sensor and product."""

import json
import logging
import math
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from conftest import UTM, WriteRaster, patches
from sources import described

from pipeline.config.schema import SceneConfig
from pipeline.core.errors import ConfigError, SceneError
from pipeline.formats.detect import open_catalogues
from pipeline.jobs.config import RunConfig
from pipeline.jobs.predict import predict
from pipeline.jobs.run import run_config
from pipeline.models.base import ClusterModel
from pipeline.scenes.mosaic_source import open_source
from pipeline.sinks.registry import OutputConfig

LANDSAT = "LC08_L2SP_008059_20191201_20200825_02_T1"
ONE = patches(bands=1, shape=(32, 48))


@pytest.fixture
def files(write_raster: WriteRaster) -> Callable[..., list[Path]]:
    """Function that writes single-band files with given names."""

    def write(*names: str) -> list[Path]:
        return [write_raster(name, ONE + i) for i, name in enumerate(names)]

    return write


def read_all(source: Path | list[Path], **settings: object) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]]:
    scene = described(source, **settings)
    reader = open_source(scene, scene.info.grid.shape)
    pixels = reader.read(reader.blocks[0])
    return pixels.data, pixels.valid


@pytest.mark.parametrize(
    ("names", "bands", "left_out", "masks"),
    [
        (
            ["X_SR_B2.TIF", "X_SR_B3.TIF", "X_ST_B10.TIF", "X_QA_PIXEL.TIF", "X_QA_RADSAT.TIF", "X_SR_QA_AEROSOL.TIF"],
            ["B10", "B2", "B3"],
            ["QA_PIXEL", "QA_RADSAT", "SR_QA_AEROSOL"],
            ["qa_pixel"],
        ),
        (["T31_B02_10m.jp2.tif", "T31_B03_10m.jp2.tif"], ["B02", "B03"], [], []),
        (
            ["T31_AOT_10m.tif", "T31_B02_10m.tif", "T31_B03_10m.tif", "T31_TCI_10m.tif", "T31_WVP_10m.tif"],
            ["B02", "B03"],
            ["AOT", "TCI", "WVP"],
            [],
        ),
        (
            ["HLS.S30.T3.B04.tif", "HLS.S30.T3.B8A.tif", "HLS.S30.T3.Fmask.tif", "HLS.S30.T3.SAA.tif"],
            ["B04", "B8A"],
            ["Fmask", "SAA"],
            ["fmask"],
        ),
        (["S_FRE_B2.tif", "S_FRE_B3.tif", "S_CLM_R1.tif", "S_ATB_R1.tif"], ["B2", "B3"], ["ATB_R1", "CLM_R1"], []),
        (["red.tif", "nir.tif", "alpha.tif", "cloud_mask.tif"], ["nir", "red"], ["alpha", "cloud_mask"], []),
        (
            [f"MOD09A1.h18v04.sur_refl_{name}.tif" for name in ("b01", "b02", "qc_500m", "state_500m", "szen")],
            ["B01", "B02"],
            ["qc_500m", "state_500m", "szen"],
            [],
        ),
        (["2020_3B_AnalyticMS.tif", "2020_3B_udm2.tif"], ["band1"], ["udm2"], ["udm2"]),
    ],
)  # fmt: skip
def test_folder_offers_measured_bands_and_warns_of_layers_left_out(  # noqa: PLR0917
    files: Callable[..., list[Path]], names: list[str], bands: list[str], left_out: list[str], masks: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    written = files(*names)
    folder = written[0].parent
    for source in (folder, folder / "*.*", written):
        caplog.clear()
        scene = described(source, bands="all")
        assert sorted(scene.info.bands) == bands
        warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
        assert all(any(name in line for line in warnings) for name in left_out)
        (catalogue,) = open_catalogues([str(path) for path in ([source] if isinstance(source, Path) else source)])
        assert [mask.kind for mask in catalogue.masks] == masks
    for name in left_out:
        assert described(folder, bands=[name]).info.bands == (name,)


def test_two_versions_of_a_band_in_a_folder_are_refused_unless_named(
    files: Callable[..., list[Path]],
) -> None:
    written = files("S_FRE_B2.tif", "S_FRE_B3.tif", "S_SRE_B2.tif", "S_SRE_B3.tif")
    with pytest.raises(SceneError, match=r"S_FRE_B2\.tif and .*S_SRE_B2\.tif are two versions of band B2"):
        described(written[0].parent)
    assert described(f"{written[0].parent}/*_FRE_*.tif").info.bands == ("B2", "B3")
    assert len(described(written).info.bands) == 4


def test_resolutions_of_a_band_are_versions_but_dates_are_not(files: Callable[..., list[Path]]) -> None:
    dates = files("20200101_B02.tif", "20200601_B02.tif")
    assert len(described(dates[0].parent).info.bands) == 2
    files("20200101_B02_10m.tif", "20200101_B02_20m.tif")
    with pytest.raises(SceneError, match="two versions of band B02"):
        described(f"{dates[0].parent}/*m.tif")


def test_images_with_different_extents_are_refused_with_both_names(write_raster: WriteRaster) -> None:
    pixels = patches(bands=4, shape=(40, 40))
    write_raster("west.tif", pixels)
    moved = {**UTM, "transform": UTM["transform"] @ Affine.translation(20, 0)}
    east = write_raster("east.tif", pixels, **moved)
    with pytest.raises(SceneError, match=r"east\.tif and .*west\.tif are two images of 4 bands .*gdalbuildvrt"):
        described(east.parent)
    with pytest.raises(SceneError, match="are two images of 4 bands"):
        described([east, east.with_name("west.tif")])


def test_images_with_the_same_extent_are_bands_of_one_scene(write_raster: WriteRaster) -> None:
    one = write_raster("one.tif", patches(bands=2))
    other = write_raster("other.tif", patches(bands=2, seed=1))
    assert len(described([one, other]).info.bands) == 4


def landsat_text(elevation: float = 30.0) -> str:
    """Metadata file of a Level-1 product with two reflective bands and a thermal one."""
    return f"""\
GROUP = L1_METADATA_FILE
  GROUP = METADATA_FILE_INFO
    COLLECTION_NUMBER = 01
  END_GROUP = METADATA_FILE_INFO
  GROUP = PRODUCT_METADATA
    DATA_TYPE = "L1TP"
    SPACECRAFT_ID = "LANDSAT_8"
    FILE_NAME_BAND_4 = "LC08_L1TP_1_B4.TIF"
    FILE_NAME_BAND_5 = "LC08_L1TP_1_B5.TIF"
    FILE_NAME_BAND_10 = "LC08_L1TP_1_B10.TIF"
  END_GROUP = PRODUCT_METADATA
  GROUP = IMAGE_ATTRIBUTES
    SUN_ELEVATION = {elevation}
  END_GROUP = IMAGE_ATTRIBUTES
  GROUP = RADIOMETRIC_RESCALING
    RADIANCE_MULT_BAND_4 = 9.7350E-03
    RADIANCE_MULT_BAND_10 = 3.3420E-04
    RADIANCE_ADD_BAND_4 = -48.67504
    RADIANCE_ADD_BAND_10 = 0.10000
    REFLECTANCE_MULT_BAND_4 = 2.0000E-05
    REFLECTANCE_MULT_BAND_5 = 2.0000E-05
    REFLECTANCE_ADD_BAND_4 = -0.100000
    REFLECTANCE_ADD_BAND_5 = -0.100000
  END_GROUP = RADIOMETRIC_RESCALING
END_GROUP = L1_METADATA_FILE
END
"""


def as_json(text: str) -> str:
    """Convert a metadata file from text to JSON form."""
    groups: dict[str, dict[str, str]] = {}
    name = ""
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "GROUP":
            name = value
        elif value and key != "END_GROUP":
            groups.setdefault(name, {})[key] = value.strip('"')
    return json.dumps({"LANDSAT_METADATA_FILE": groups})


@pytest.mark.parametrize("form", ["txt", "json"])
def test_landsat_metadata_scale_to_reflectance_corrected_for_sun_elevation(
    files: Callable[..., list[Path]], tmp_path: Path, form: str
) -> None:
    files("LC08_L1TP_1_B4.TIF", "LC08_L1TP_1_B5.TIF", "LC08_L1TP_1_B10.TIF")
    text = landsat_text(30)
    metadata = tmp_path / f"LC08_L1TP_1_MTL.{form}"
    metadata.write_text(text if form == "txt" else as_json(text))
    for source in (tmp_path, metadata):
        scene = described(source)
        assert scene.info.bands == ("B4", "B5")
        assert scene.info.units.quantity == "reflectance"
        np.testing.assert_allclose(scene.info.scales, 2e-5 / math.sin(math.radians(30)))
        np.testing.assert_allclose(scene.info.offsets, -0.1 / math.sin(math.radians(30)))
    everything = described(tmp_path, bands="all").info
    assert everything.units.quantities == ("reflectance", "reflectance", "radiance")
    assert everything.common_names == ("red", "nir08", "lwir11")
    assert described(tmp_path, bands=[4]).info.bands == described(tmp_path, bands=["red"]).info.bands == ("B4",)


def test_invalid_landsat_metadata_are_refused_with_the_field(files: Callable[..., list[Path]], tmp_path: Path) -> None:
    files("LC08_L1TP_1_B4.TIF", "LC08_L1TP_1_B5.TIF")
    metadata = tmp_path / "LC08_L1TP_1_MTL.txt"
    metadata.write_text(landsat_text(-3))
    with pytest.raises(SceneError, match="SUN_ELEVATION is -3"):
        described(tmp_path)
    metadata.write_text(landsat_text().replace("= 2.0000E-05", "= many"))
    with pytest.raises(SceneError, match="REFLECTANCE_MULT_BAND_4 is 'many'"):
        described(tmp_path)
    metadata.write_text("END")
    with pytest.raises(SceneError, match="SPACECRAFT_ID is missing"):
        described(tmp_path)


def test_landsat_metadata_with_radiance_only_apply_no_scale(files: Callable[..., list[Path]], tmp_path: Path) -> None:
    files("LT05_L1TP_1_B4.TIF", "LT05_L1TP_1_B5.TIF")
    text = landsat_text().replace("LC08", "LT05").replace("REFLECTANCE_", "OTHER_")
    (tmp_path / "LT05_L1TP_1_MTL.txt").write_text(text)
    assert described(tmp_path).info.units.quantity == "numbers"
    assert described(tmp_path).info.common_names == ("nir08", "swir16")


@pytest.mark.parametrize("quality", ["BQA", "QA_PIXEL"])
def test_fill_bit_is_nodata_for_bands_without_nodata_tag(write_raster: WriteRaster, quality: str) -> None:
    bits = np.zeros((1, 32, 48), np.uint16)
    bits[0, :8] = 1
    bits[0, 8:12] = 1 << 4  # cloud bit: valid
    paths = [write_raster("a_B1.tif", ONE), write_raster("a_B2.tif", ONE), write_raster(f"a_{quality}.tif", bits)]
    _, valid = read_all(paths[0].parent)
    np.testing.assert_array_equal(valid, bits[0] & 1 == 0)


@pytest.mark.parametrize("bits", [[3], [0, 3], "default"])
def test_fill_bit_is_nodata_in_addition_to_masked_bits(write_raster: WriteRaster, bits: object) -> None:
    quality = np.zeros((1, 32, 48), np.uint16)
    quality[0, :8] = 1
    quality[0, 8:12] = 1 << 3
    paths = [write_raster("a_B1.tif", ONE), write_raster("a_B2.tif", ONE), write_raster("a_QA_PIXEL.tif", quality)]
    _, valid = read_all(paths[0].parent, mask={"qa_pixel": bits})
    np.testing.assert_array_equal(valid, quality[0] == 0)


def test_fill_bit_is_unused_for_bands_with_nodata_tag(write_raster: WriteRaster) -> None:
    paths = [write_raster("a_B1.tif", ONE, nodata=0), write_raster("a_QA_PIXEL.tif", np.ones_like(ONE))]
    assert not described(paths[0].parent).masks


def test_zero_is_nodata_only_for_sensors_that_define_it(write_raster: WriteRaster) -> None:
    pixels = ONE.copy()
    pixels[0, :5] = 0
    landsat = write_raster(f"{LANDSAT}_SR_B2.TIF", pixels)
    other = write_raster("field_B2.tif", pixels)
    np.testing.assert_array_equal(read_all(landsat)[1], pixels[0] != 0)
    assert read_all(other)[1].all()
    tagged = write_raster(f"{LANDSAT}_SR_B3.TIF", pixels, nodata=7)
    np.testing.assert_array_equal(read_all(tagged)[1], pixels[0] != 7)


def test_bands_have_the_names_of_scene_names(write_raster: WriteRaster) -> None:
    path = write_raster("drone.tif", patches(bands=4))
    names = ["blue", "green", "red", "nir"]
    assert described(path, names=names, bands=["nir", "red"]).info.bands == ("nir", "red")
    assert described(path, names=names).info.common_names == tuple(names)
    partly_renamed = described(path, names={1: "b", "band4": "nir"})
    assert partly_renamed.info.bands == ("b", "band2", "band3", "nir")
    with pytest.raises(ConfigError, match="3 names for 4 bands: band1, band2, band3, band4"):
        described(path, names=names[:3])
    with pytest.raises(ConfigError, match="no band 'band9'"):
        described(path, names={"band9": "nir"})
    with pytest.raises(ConfigError, match="two bands would be called 'nir'"):
        described(path, names={1: "nir", 2: "nir"})
    with pytest.raises(ConfigError, match="two of 1, band1 are the same band"):
        described(path, names={1: "nir", "band1": "red"})
    assert described(path, names={1: "a", 2: "b", 3: "c", 4: "d"}, bands="all").info.bands == tuple("abcd")


def test_colour_tags_of_a_file_are_common_names(write_raster: WriteRaster) -> None:
    rgb = write_raster("rgb.tif", patches(bands=3, dtype="uint8"), photometric="RGB")
    assert described(rgb, bands=["blue", "red"]).info.bands == ("band3", "band1")
    planet = write_raster("20170831_1_3B_AnalyticMS.tif", patches(bands=4), photometric="RGB")
    assert described(planet).info.common_names == ("blue", "green", "red", "nir")


def packed(folder: Path, kind: str) -> Path:
    """Pack the files of a folder into an archive next to it."""
    archive = folder.parent / f"scene.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as file:
            for path in sorted(folder.iterdir()):
                file.write(path, path.name)
    else:
        with tarfile.open(archive, "w:gz" if kind.endswith("gz") else "w") as file:
            for path in sorted(folder.iterdir()):
                file.add(path, path.name)
    return archive


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archive_of_raster_files_equals_its_folder(files: Callable[..., list[Path]], tmp_path: Path, kind: str) -> None:
    files("LC08_L1TP_1_B4.TIF", "LC08_L1TP_1_B5.TIF", "LC08_L1TP_1_BQA.TIF")
    (tmp_path / "LC08_L1TP_1_MTL.txt").write_text(landsat_text())
    archive = packed(tmp_path, kind)
    one, other = described(tmp_path).info, described(archive).info
    assert (one.bands, one.units, one.common_names) == (other.bands, other.units, other.common_names)
    assert str(archive) in other.files
    for from_folder, from_archive in zip(read_all(tmp_path), read_all(archive), strict=True):
        np.testing.assert_array_equal(from_archive, from_folder)
    archive.unlink()


def test_compressed_archive_is_refused_with_the_command_to_unpack_it(
    files: Callable[..., list[Path]], tmp_path: Path
) -> None:
    files("a_B4.tif")
    archive = packed(tmp_path, "tar.gz")
    with pytest.raises(SceneError, match=r"compressed as a whole.*tar -xf scene\.tar\.gz -C scene"):
        described(archive)
    archive.unlink()


def test_tar_with_paths_outside_of_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tif").write_bytes(b"x")
    archive = tmp_path / "bad.tar"
    with tarfile.open(archive, "w") as file:
        file.add(tmp_path / "x.tif", "../x.tif")
    with pytest.raises(SceneError, match="with a path outside of it"):
        described(archive)


def test_images_with_the_same_extent_are_stacked_with_a_warning(
    write_raster: WriteRaster, caplog: pytest.LogCaptureFixture
) -> None:
    first = write_raster("day1.tif", patches(bands=3))
    write_raster("day2.tif", patches(bands=3, seed=1))
    write_raster("scene_labels.tif", ONE)
    assert len(described(first.parent).info.bands) == 6
    assert "2 images of the same extent" in caplog.text
    assert "labels: scene_labels" in caplog.text


def test_model_of_a_landsat_folder_fits_band_names_of_stac_items(
    files: Callable[..., list[Path]], write_raster: WriteRaster, tmp_path: Path
) -> None:
    files("LC08_L2SP_1_SR_B4.TIF", "LC08_L2SP_1_SR_B5.TIF")
    item = write_raster("other.tif", np.concatenate([ONE, ONE + 1]), bands=["SR_B4", "SR_B5"])
    labels = {}
    for one, other in ((tmp_path / "LC08*.TIF", item), (item, tmp_path / "LC08*.TIF")):
        config = {
            "version": 1,
            "scene": {"source": str(one)},
            "fit": {"k": 3},
            "output": {"labels": str(tmp_path / "own" / "map.tif")},
        }
        (tmp_path / "own").mkdir(exist_ok=True)
        run_config(RunConfig.model_validate(config), overwrite=True)
        model = ClusterModel.load(tmp_path / "own" / "map.model.json")
        output = OutputConfig(labels=str(tmp_path / "own" / "again.tif"))
        predict(SceneConfig(source=(str(other),)), model, output, overwrite=True)
        for name in ("map", "again"):
            with rasterio.open(tmp_path / "own" / f"{name}.tif") as file:
                labels[name] = file.read()
        np.testing.assert_array_equal(labels["map"], labels["again"])


def test_other_files_in_a_product_folder_do_not_change_the_scene(
    files: Callable[..., list[Path]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files("LC08_L1TP_1_B4.TIF", "LC08_L1TP_1_B5.TIF", "LC08_L1TP_1_B10.TIF")
    (tmp_path / "LC08_L1TP_1_MTL.txt").write_text(landsat_text())
    alone = described(tmp_path).info
    files("dem.tif", "terrain_slope.tif", "my_B4.classes.png")
    info = described(tmp_path).info
    for one, other in ((info.bands, alone.bands), (info.units, alone.units), (info.nodata, alone.nodata)):
        assert one == other
    assert "terrain: dem, terrain_slope" in caplog.text
    everything = described(tmp_path, bands="all").info
    assert sorted(everything.bands) == ["B10", "B4", "B5", "dem", "terrain_slope"]
    assert dict(zip(everything.bands, everything.nodata, strict=True))["dem"] is None  # 0 is a height


def test_several_files_of_one_band_are_stacked_with_a_warning_unless_named(
    files: Callable[..., list[Path]], caplog: pytest.LogCaptureFixture
) -> None:
    written = files("HLS.L30.T1.B02.tif", "HLS.L30.T1.B03.tif", "HLS.S30.T1.B02.tif", "HLS.S30.T1.B03.tif")
    assert len(described(written[0].parent).info.bands) == 4
    assert "2 files hold band B02" in caplog.text
    caplog.clear()
    assert len(described(written).info.bands) == 4  # files named by the user are not compared
    assert "files hold band" not in caplog.text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("LC08_L1TP_1_20200825_B4.TIF", "LC08_L2SP_1_20200826_SR_B4.TIF"),
        ("S2A_MSIL1C_L1C_T31TFJ_B04.tif", "S2A_MSIL2A_L2A_T31TFJ_B04.tif"),
        ("LC08_1_sr_band4.tif", "LC08_1_toa_band4.tif"),
        ("ga_ls8c_nbar_band04.tif", "ga_ls8c_nbart_band04.tif"),
    ],
)
def test_two_processing_levels_of_a_band_are_refused(files: Callable[..., list[Path]], one: str, other: str) -> None:
    with pytest.raises(SceneError, match="are two versions of band"):
        described(files(one, other)[0].parent)


def test_thermal_bands_are_recognised_for_unknown_sensors(
    write_raster: WriteRaster, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_raster("export.tif", patches(bands=3), bands=["SR_B4", "SR_B5", "ST_B10"])
    assert described(path).info.bands == ("SR_B4", "SR_B5")
    assert "thermal: ST_B10" in caplog.text
    assert described(path, bands="all").info.bands == ("SR_B4", "SR_B5", "ST_B10")


def test_quality_layers_in_a_multi_band_file_are_masks(
    write_raster: WriteRaster, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = patches(bands=6, shape=(32, 48))
    pixels[4], pixels[4, :10] = 4, 8
    path = write_raster("export.tif", pixels, bands=["B2", "B3", "B4", "QA60", "SCL", "elevation"])
    assert described(path).info.bands == ("B2", "B3", "B4")
    assert "quality layers: QA60, SCL; terrain: elevation" in caplog.text
    assert described(path, bands="all").info.bands == ("B2", "B3", "B4", "elevation")
    assert described(path, bands=["QA60", "B2"]).info.bands == ("QA60", "B2")
    _, valid = read_all(path, mask="scl")
    np.testing.assert_array_equal(valid, pixels[4] == 4)
    (catalogue,) = open_catalogues(str(path))
    assert [mask.kind for mask in catalogue.masks] == ["scl"]


def test_file_with_a_palette_is_left_out_unless_named(
    files: Callable[..., list[Path]], caplog: pytest.LogCaptureFixture
) -> None:
    (red, nir, old) = files("red.tif", "nir.tif", "older.tif")
    with rasterio.open(old, "w", driver="GTiff", **UTM, count=1, height=32, width=48, dtype="uint8") as file:
        file.write((ONE % 4).astype("uint8"))
        file.write_colormap(1, {i: (60 * i, 0, 0, 255) for i in range(4)})
    assert described(red.parent).info.bands == ("nir", "red")
    assert "labels: older" in caplog.text
    assert described([red, nir, old]).info.bands == ("red", "nir", "older")
    assert described(f"{red.parent}/old*.tif").info.bands == ("band1",)


def test_dot_paths_in_tar_and_hidden_macos_files_in_zip_are_handled(
    files: Callable[..., list[Path]], tmp_path: Path
) -> None:
    paths = files("a_B04.tif", "a_B05.tif")
    with tarfile.open(tmp_path / "dots.tar", "w") as tar:
        for path in paths:
            tar.add(path, f"./scene/{path.name}")
    with zipfile.ZipFile(tmp_path / "mac.zip", "w") as pack:
        for path in paths:
            pack.write(path, f"scene/{path.name}")
            pack.writestr(f"__MACOSX/scene/._{path.name}", b"\0\5\26\7")
    from_files = read_all(paths)
    for archive in ("dots.tar", "mac.zip"):
        for expected, actual in zip(from_files, read_all(tmp_path / archive), strict=True):
            np.testing.assert_array_equal(actual, expected)


def test_archive_of_two_scenes_is_refused_with_both_paths_in_it(
    files: Callable[..., list[Path]], tmp_path: Path
) -> None:
    (path,) = files("B02.tif")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as pack:
        for folder in ("a", "b"):
            pack.write(path, f"{folder}/B02.tif")
    with pytest.raises(SceneError, match=r"B02, in a/B02\.tif in .*two\.zip and in b/B02\.tif in .*two\.zip"):
        described(tmp_path / "two.zip")


def test_zero_is_valid_in_floats_derived_from_sensor_bands(write_raster: WriteRaster) -> None:
    index = (ONE.astype(np.float32) - ONE.mean()) / 100
    index[0, :4] = 0
    assert read_all(write_raster("L8_ratio.tif", index))[1].all()
