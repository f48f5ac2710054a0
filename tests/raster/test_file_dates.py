"""Dates in the tags of raster files."""

from pathlib import Path

import pytest
import rasterio
from conftest import WriteRaster, patches
from sources import described


@pytest.mark.parametrize(
    ("name", "tags", "expected"),
    [
        ("a.tif", {"ACQUISITIONDATETIME": "1988-08-14 13:00:47"}, "1988-08-14T13:00:47Z"),
        ("a_20200101.tif", {"acquisition_date": "1988-08-14"}, "1988-08-14"),
        ("a_20200101.tif", {"ACQUISITIONDATETIME": "1970-01-01 00:00:00"}, "2020-01-01"),
        (
            "a.tif",
            {"RANGEBEGINNINGDATE": "2016-12-29", "RANGEENDINGDATE": "2017-01-14", "RANGEENDINGTIME": "23:59:59.999"},
            "2016-12-29T00:00:00Z/2017-01-14T23:59:59.999Z",
        ),
        # the time at which the file was made: only that of the scene if the name says so
        ("a.tif", {"TIFFTAG_DATETIME": "2017:08:31 17:27:54"}, None),
        ("a_20170420.tif", {"TIFFTAG_DATETIME": "2017:05:10 19:44:53"}, "2017-04-20"),
        ("a_20170831.tif", {"TIFFTAG_DATETIME": "2017:08:31 17:27:54"}, "2017-08-31T17:27:54Z"),
        ("a.tif", {"DATETIME": "2017-08-31"}, None),
    ],
)
def test_tags_win_over_names_if_they_are_about_the_scene(
    write_raster: WriteRaster, name: str, tags: dict[str, str], expected: str | None
) -> None:
    path = write_raster(name, patches(1))
    with rasterio.open(path, "r+") as file:
        file.update_tags(**tags)
    acquired = described([path]).info.acquired
    assert (acquired and str(acquired)) == expected


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("landsat_c1_l1tp_016037", "2017-08-13T15:54:15.788Z"),
        ("landsat_c2_l2sp_008059", "2019-12-01T15:13:51.861Z"),
        ("landsat5_cub02_dn", "1988-08-14T13:00:47.375Z"),
        ("planet_analyticms_20170831", "2017-08-31T17:27:54Z"),
        ("cbers4_awfi_l2", "2017-04-20"),
        ("modis_mcd43a4_sinusoidal", "2016-12-29T00:00:00Z/2017-01-14T23:59:59.999Z"),
        ("micasense_rededge_crop", None),
    ],
)
def test_products_as_downloaded(data: Path, folder: str, expected: str | None) -> None:
    acquired = described(data / "sensors" / folder).info.acquired
    assert (acquired and str(acquired)) == expected
