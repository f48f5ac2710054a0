"""Recognising sensors by file names, and the common names of their bands."""

import pytest

from pipeline.core.band_names import common_names
from pipeline.formats.sensors import band_number, sensor_of

C2 = "LC08_L2SP_008059_20191201_20200825_02_T1"


@pytest.mark.parametrize(
    ("files", "common"),
    [
        ({f"{C2}_SR_B4.TIF": "SR_B4", f"{C2}_ST_B10.TIF": "ST_B10"}, ["red", "lwir11"]),
        ({"LC08_L1TP_016037_20170813_20170814_01_RT_B11.TIF": "B11", "LC08_L1TP_016037_B9.TIF": "B9"},
         ["lwir12", "cirrus"]),
        ({"LT52240631988227CUB02_B4.TIF": "B4", "LT52240631988227CUB02_B6.TIF": "B6"}, ["nir08", "lwir"]),
        ({"LE07_L1TP_1_B6_VCID_1.TIF": "B6_VCID_1", "LE07_L1TP_1_B8.TIF": "B8"}, ["lwir", "pan"]),
        ({"LM02_L1GS_1_B4.TIF": "B4", "LM02_L1GS_1_B5.TIF": "B5"}, ["green", "red"]),
        ({"LM05_L1GS_1_B1.TIF": "B1", "LM05_L1GS_1_B4.TIF": "B4"}, ["green", "nir09"]),
        ({"L8-B4-Elkton-VA.tiff": "B4", "L8-B10-Elkton-VA.tiff": "B10"}, ["red", "lwir11"]),
        ({"clip_LC08_L2SP_1_ST_B10.TIF": "ST_B10", "my-area LC09_L1TP_1_B4.TIF": "B4"}, ["lwir11", "red"]),
        ({"clip_SENTINEL2A_20230625-105123-456_L2A_T31TFJ_C_V3-0_FRE_B8.tif": "B8"}, ["nir"]),
        ({"HLS.L30.T29UNU.2022278T115411.v2.0.B05.tif": "B05"}, ["nir08"]),
        ({"HLS.S30.T29UNU.2022278T115411.v2.0.B8A.tif": "B8A"}, ["nir08"]),
        ({"T33UUU_20170216T102101_B04.jp2": "B04", "T33UUU_20170216T102101_B10.jp2": "B10"}, ["red", "cirrus"]),
        ({"MCD43A4.A2017006.h21v11.006.2017018074804_B01.TIF": "Nadir_Reflectance_Band1", "MCD43A4_B04.TIF": "B04"},
         ["red", "green"]),
        ({"CBERS_4_AWFI_20170420_146_129_L2_BAND16.tif": "BAND16"}, ["nir"]),
    ],
)  # fmt: skip
def test_band_numbers_have_the_common_names_of_the_sensor(files: dict[str, str], common: list[str]) -> None:
    sensor = sensor_of(list(files))
    assert sensor
    assert [sensor.common_name(band) for band in files.values()] == common


@pytest.mark.parametrize(
    "files",
    [
        ["B4.tif"],
        ["farm_B4.tif", "farm_B5.tif"],
        ["L2_B4.tif"],
        ["plot_L8_B4.tif"],
        ["LC08_L1TP_B4.TIF", "T33UUU_20170216T102101_B04.jp2"],
        ["LC08_L1TP_B4.TIF", "B5.tif"],
        [],
    ],
)
def test_names_of_no_or_several_sensors_are_of_no_sensor(files: list[str]) -> None:
    assert sensor_of(files) is None


def test_band_number_without_sensor_has_no_common_name() -> None:
    assert common_names(["B4", "B5", "B10", "B11"]) == [None] * 4
    assert common_names(["B04", "B10"]) == ["red", "cirrus"]
    assert common_names(["Red", "NIR", "blue_2"]) == ["red", "nir", None]
    assert [band_number(name) for name in ("SR_B04", "B8A", "band 7", "rgb2", "AB4")] == ["4", "8a", "7", None, None]


def test_more_specific_sensor_is_found_at_any_position() -> None:
    name = "SENTINEL2A_20230625-105123-456_L2A_T31TFJ_C_V3-0_FRE_B8.tif"  # L2A_T31TFJ_ matches another sensor
    for prefix in ("", "clip_"):
        sensor = sensor_of([prefix + name])
        assert sensor
        assert sensor.fill == -10000
