"""Facts about a scene: when it was acquired, by each kind of source."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from conftest import WriteRaster, patches
from scene_kinds import KINDS, Files, two_products
from sources import described

from pipeline.config.record import parse_record
from pipeline.config.schema import SceneConfig
from pipeline.core.errors import ConfigError

SENSED = "2023-06-25T10:20:21.024Z"
"""Time in the metadata of generated products."""

DATES = {
    "safe_with_masks_and_area": SENSED,
    "safe_with_a_mask_of_the_fit": SENSED,
    "safe_in_an_archive": SENSED,
    "stac_item": "2023-06-25T10:20:21Z",
    "stac_collection": "2023-06-25T10:20:21Z",
    "eopf_store_with_a_mask": "2025-10-08T10:00:41.024Z",
    "mosaic_of_two": SENSED,
    "mosaic_cut_to_an_area": SENSED,
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_kind_of_scene_knows_when_it_was_acquired_or_that_it_is_unknown(
    kind: Any, data: Path, tmp_path: Path, write_raster: WriteRaster
) -> None:
    acquired = kind(Files(data, tmp_path, write_raster)).info.acquired
    assert (acquired and str(acquired)) == DATES.get(kind.__name__)


def test_the_config_wins(data: Path, tmp_path: Path, write_raster: WriteRaster) -> None:
    products = two_products(Files(data, tmp_path, write_raster))
    assert str(described(products, date="2020-01-01").info.acquired) == "2020-01-01"
    path = write_raster("a_20250714.tif", patches(1))
    assert str(described(path, date="2025-06-01/2025-08-31").info.acquired) == "2025-06-01/2025-08-31"
    with pytest.raises(ConfigError, match=r"date: 'June' is not allowed; expected the date of acquisition"):
        parse_record(SceneConfig, {"source": str(path), "date": "June"}, "x.yaml")


def test_images_of_two_dates_in_one_scene_are_a_period(write_raster: WriteRaster) -> None:
    first, second, undated = (
        write_raster(f"{name}.tif", patches(1)) for name in ("B02_20250714", "B03_20250719", "B04")
    )
    assert str(described([second, first]).info.acquired) == "2025-07-14/2025-07-19"
    assert described([first, undated]).info.acquired is None, "the other may be of any day"
    assert str(described([first, undated], bands=["1"]).info.acquired) == "2025-07-14", "only what is read counts"


@pytest.mark.parametrize(
    ("time", "expected"), [("first", "2020-07-11"), (2, "2020-07-16T10:30:00Z"), ("2020-08", "2020-08-01")]
)
def test_a_store_is_of_the_chosen_time(tmp_path: Path, time: object, expected: str) -> None:
    times = np.array(["2020-07-11", "2020-07-16T10:30", "2020-08-01"], "datetime64[ns]")
    cube = xr.DataArray(
        np.ones((3, 20, 30), "uint16"), dims=("time", "y", "x"), coords={"time": times, "y": np.arange(20)[::-1]}
    )
    cube.assign_coords(x=np.arange(30)).to_dataset(name="red").to_netcdf(tmp_path / "s_20190101.nc")
    assert str(described(tmp_path / "s_20190101.nc", time=time).info.acquired) == expected


@pytest.mark.parametrize(
    ("attrs", "expected"),
    [
        ({"time_coverage_start": "2020-07-11T10:00:00Z", "time_coverage_end": "2020-07-11T10:05:00Z"},
         "2020-07-11T10:00:00Z/2020-07-11T10:05:00Z"),
        ({}, "2019-01-01"),
    ],
)  # fmt: skip
def test_a_store_without_times_is_of_the_coverage_it_states_or_of_its_name(
    tmp_path: Path, attrs: dict[str, str], expected: str
) -> None:
    plane = xr.DataArray(np.ones((20, 30), "uint16"), dims=("y", "x"), coords={"y": np.arange(20), "x": np.arange(30)})
    plane.to_dataset(name="red").assign_attrs(attrs).to_netcdf(tmp_path / "s_20190101.nc")
    assert str(described(tmp_path / "s_20190101.nc").info.acquired) == expected
