"""Real products of sensors other than Sentinel-2, as downloaded: bands, scales, nodata and masks of each."""

import csv
import gzip
import logging
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from sources import described

from pipeline.core.errors import SceneError
from pipeline.jobs.config import RunConfig
from pipeline.jobs.run import run_config
from pipeline.scenes.raster_scene import RasterScene

Mapped = Callable[..., npt.NDArray[np.uint8]]


@pytest.fixture
def sensors(data: Path) -> Path:
    """Folder of products of other sensors."""
    if not (data / "sensors").is_dir():
        pytest.skip(f"no imagery of other sensors: {data}/sensors is not there")
    return data / "sensors"


@pytest.fixture
def mapped(tmp_path: Path) -> Mapped:
    """Function that runs a config with four classes and returns the class map."""

    def run(source: Path | Sequence[Path], **scene: Any) -> npt.NDArray[np.uint8]:
        named = [str(source)] if isinstance(source, Path) else [str(path) for path in source]
        config = {
            "version": 1,
            "scene": {"source": named, **scene},
            "fit": {"k": 4, "pixels": 20_000},
            "output": {"labels": str(tmp_path / "map.tif")},
        }
        run_config(RunConfig.model_validate(config), overwrite=True)
        with rasterio.open(tmp_path / "map.tif") as file:
            labels: npt.NDArray[np.uint8] = file.read(1)
        return labels

    return run


def read(folder: Path, pattern: str) -> npt.NDArray[Any]:
    """Read the first band of the only file that matches a pattern, with rasterio."""
    (path,) = folder.glob(pattern)
    with rasterio.open(path) as file:
        pixels: npt.NDArray[Any] = file.read(1)
    return pixels


def opened(source: Path, **settings: Any) -> RasterScene:
    return described(source, **settings)


def warnings_of(caplog: pytest.LogCaptureFixture) -> str:
    """Logged warnings, one per line."""
    return "\n".join(record.message for record in caplog.records if record.levelno >= logging.WARNING)


def test_landsat_collection_2_level_2(sensors: Path, mapped: Mapped, caplog: pytest.LogCaptureFixture) -> None:
    folder = sensors / "landsat_c2_l2sp_008059"
    info = opened(folder).info
    assert info.bands == ("B2", "B3", "B4", "B5", "B6", "B7")
    assert info.common_names == ("blue", "green", "red", "nir08", "swir16", "swir22")
    assert (set(info.scales), set(info.offsets), info.units.quantity) == ({2.75e-5}, {-0.2}, "reflectance")
    assert all(
        name in warnings_of(caplog) for name in ("QA_PIXEL", "QA_RADSAT", "SR_QA_AEROSOL", "ST_QA", "B10", "qa_pixel")
    )
    everything = opened(folder, bands="all").info
    assert everything.bands[-1] == "B10"
    assert everything.units.quantities[-1] == "temperature"
    assert (everything.scales[-1], everything.offsets[-1]) == (0.00341802, 149.0)
    valid = np.logical_and.reduce([read(folder, f"*_SR_B{n}.TIF") != 0 for n in range(2, 8)])
    np.testing.assert_array_equal(mapped(folder) > 0, valid)
    dropped = read(folder, "*_QA_PIXEL.TIF") & 0b11111 != 0
    np.testing.assert_array_equal(mapped(folder, mask="qa_pixel") > 0, valid & ~dropped)


def test_default_bands_leave_out_temperature(sensors: Path, mapped: Mapped) -> None:
    folder = sensors / "landsat_c2_l2sp_008059"
    names = [f"SR_B{n}" for n in range(2, 8)]
    np.testing.assert_array_equal(mapped(folder), mapped(folder, bands=names))


def test_landsat_collection_1_level_1(sensors: Path, mapped: Mapped, caplog: pytest.LogCaptureFixture) -> None:
    folder = sensors / "landsat_c1_l1tp_016037"
    info = opened(folder).info
    assert info.bands == ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B9")
    assert info.common_names == ("coastal", "blue", "green", "red", "nir08", "swir16", "swir22", "cirrus")
    assert "thermal: B10, B11" in warnings_of(caplog)
    assert opened(folder, bands="all").info.common_names[-2:] == ("lwir11", "lwir12")
    np.testing.assert_allclose(info.scales, 2e-5 / math.sin(math.radians(62.17310472)))
    fill = read(folder, "*_BQA.TIF") & 1 != 0
    np.testing.assert_array_equal(mapped(folder) == 0, fill)


def test_landsat_5_before_collections(sensors: Path, mapped: Mapped) -> None:
    folder = sensors / "landsat5_cub02_dn"
    info = opened(folder).info
    assert info.bands == ("B1", "B2", "B3", "B4", "B5", "B7")
    assert info.common_names == ("blue", "green", "red", "nir08", "swir16", "swir22")
    assert info.units.quantity == "numbers"
    assert set(info.nodata) == {255}
    valid = np.logical_and.reduce([read(folder, f"*_B{n}.TIF") != 255 for n in (1, 2, 3, 4, 5, 7)])
    np.testing.assert_array_equal(mapped(folder) > 0, valid)


def test_landsat_in_archives(sensors: Path, tmp_path: Path, mapped: Mapped) -> None:
    (packed,) = (sensors / "landsat8_c1_targz").glob("*.tar.gz")
    with pytest.raises(SceneError, match=r"compressed as a whole.*tar -xf"):
        opened(packed)
    with gzip.open(packed) as file, (tmp_path / "scene.tar").open("wb") as tar:
        shutil.copyfileobj(file, tar)
    info = opened(tmp_path / "scene.tar").info
    assert info.bands == ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9")
    with rasterio.open(f"/vsitar/{tmp_path}/scene.tar/{packed.name[:-7]}_BQA.TIF") as file:
        fill = file.read(1) & 1 != 0
    labels = mapped(tmp_path / "scene.tar", bands=["B2", "B3", "B4"])
    np.testing.assert_array_equal(labels == 0, fill)


def test_landsat_clips_are_recognised_by_file_names(sensors: Path, mapped: Mapped) -> None:
    folder = sensors / "landsat8_elkton_labels"
    info = opened(folder).info
    assert info.bands == ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B9")
    assert info.common_names[3:5] == ("red", "nir08")
    assert (mapped(folder) > 0).all() == (read(folder, "*BQA*") & 1 == 0).all()
    assert opened(folder / "other").info.bands == ("B4", "B8")


def test_cbers_4(sensors: Path, mapped: Mapped) -> None:
    folder = sensors / "cbers4_awfi_l2"
    assert opened(folder, bands=["nir", "red"]).info.bands == ("BAND16", "BAND15")
    valid = np.logical_and.reduce([read(folder, f"*BAND{n}.tif") != 0 for n in range(13, 17)])
    np.testing.assert_array_equal(mapped(folder) > 0, valid)


def test_aws_tile_folder(sensors: Path, mapped: Mapped, tmp_path: Path) -> None:
    (folder,) = (sensors / "aws_s2_l1c_tile").iterdir()
    for source in (folder, folder / "tileInfo.json"):
        info = opened(source).info
        assert info.bands == ("B02", "B03", "B04", "B08")
        assert info.units.quantity == "reflectance"
        assert (set(info.nodata), set(info.scales), set(info.offsets)) == ({0}, {1e-4}, {0.0})
    assert len(opened(folder, bands="all").info.bands) == 13
    valid = np.logical_and.reduce([read(folder, f"{band}.jp2") != 0 for band in ("B02", "B03", "B04", "B08")])
    np.testing.assert_array_equal(mapped(folder) > 0, valid)
    with (tmp_path / "map.csv").open() as file:
        assert all(0 < float(row["mean_B04"]) < 2 for row in csv.DictReader(file))


def test_planetscope_image(sensors: Path, mapped: Mapped, caplog: pytest.LogCaptureFixture) -> None:
    folder = sensors / "planet_analyticms_20170831"
    info = opened(folder).info
    assert info.common_names == ("blue", "green", "red", "nir")
    assert "udm" in warnings_of(caplog)
    assert "Visual" in warnings_of(caplog)
    with rasterio.open(next(folder.glob("*AnalyticMS.tif"))) as file:
        valid = (file.read() != 0).all(axis=0)
    np.testing.assert_array_equal(mapped(folder) > 0, valid)
    usable = read(folder, "*_udm.tif") == 0
    np.testing.assert_array_equal(mapped(folder, mask="udm") > 0, valid & usable)


def test_modis_quality_layers_are_left_out(sensors: Path, mapped: Mapped, caplog: pytest.LogCaptureFixture) -> None:
    folder = sensors / "modis_mcd43a4_sinusoidal"
    info = opened(folder).info
    assert len(info.bands) == 7
    assert info.common_names[:4] == ("red", "nir08", "blue", "green")
    assert "B07qa" in warnings_of(caplog)
    valid = np.logical_and.reduce([read(folder, f"*_B0{n}.TIF") != 32767 for n in range(1, 8)])
    np.testing.assert_array_equal(mapped(folder) > 0, valid)


def test_hdf4_is_refused_because_of_the_missing_driver(sensors: Path) -> None:
    (path,) = (sensors / "modis_mod09ga_hdf4").glob("*.hdf")
    with pytest.raises(SceneError, match="HDF4, for which this GDAL has no driver"):
        opened(path)


def test_frame_without_georeference_is_mapped_with_a_warning(
    sensors: Path, mapped: Mapped, caplog: pytest.LogCaptureFixture
) -> None:
    folder = sensors / "micasense_rededge_crop"
    assert len(opened(folder).info.bands) == 5
    assert "no coordinate reference system" in warnings_of(caplog)
    assert (mapped(folder) > 0).all()


def test_image_with_ground_control_points_is_mapped_with_a_warning(
    sensors: Path, mapped: Mapped, caplog: pytest.LogCaptureFixture
) -> None:
    path = sensors / "gcps_only_nansat" / "gcps.tif"
    assert (mapped(path) > 0).all()
    assert "georeferenced by 100 ground control points" in warnings_of(caplog)
    assert "gdalwarp" in warnings_of(caplog)
    assert "no coordinate reference system" not in warnings_of(caplog)  # the first warning says it
    assert opened(path, bands=["blue", "red"]).info.bands == ("band3", "band1")


def test_tiles_with_different_extents_are_refused(sensors: Path) -> None:
    with pytest.raises(SceneError, match="are two images of 4 bands each with different extents"):
        opened(sensors / "naip_chips")


def test_dates_of_one_extent_are_stacked_with_a_warning(sensors: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(opened(sensors / "openeo_three_dates").info.bands) == 9
    assert "3 images of the same extent" in warnings_of(caplog)


def test_label_file_next_to_an_image_is_left_out(sensors: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(opened(sensors / "hls_terratorch_biomass_10band").info.bands) == 10
    assert "labels: label" in warnings_of(caplog)


def test_class_map_with_a_palette_is_read_with_a_warning(sensors: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert opened(sensors / "c3s_landcover_constant").info.bands == ("band1",)
    assert "has a palette" in warnings_of(caplog)
    assert "observation_count" in warnings_of(caplog)
