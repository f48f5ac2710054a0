"""Real Zarr and NetCDF stores of other sensors, compared with xarray, rioxarray and the CF conventions."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import rasterio
import rioxarray  # noqa: F401 (the .rio accessor)
import xarray as xr
from affine import Affine
from rasterio.crs import CRS
from sources import described, opened, whole

from pipeline.core.errors import SceneError
from pipeline.jobs.config import RunConfig
from pipeline.jobs.inspect import inspect_scene
from pipeline.jobs.run import run_config
from pipeline.jobs.template import config_template

DEA = "dea_landsat8_xarray_nc/sample_c3_sr.nc"
WATER = "dea_landsat8_xarray_nc/sample_wofl.nc"
GOES = "goes16_lst_meso_nc/OR_ABI-L2-LSTM2-M6_G16_s20211381700538_e20211381700595_c20211381701211.nc"
GRIDMET = "gridmet_unsigned_nc/tmmx_20190121.nc"
MSG = "msg_polar_bt_nc/toa_brightness_temperature.nc"
PLANET = "planetscope_3d_nc/PLANET_SCOPE_3D.nc"
PLANET_FLAT = "planetscope_3d_nc/test_find_crs.nc"
ICE = "sic_daily_zarr/sic_daily_sample.zarr"
OLCI = "xcube_olci_chl_zarr/cube-1-250-250.zarr"
SWATH = "olci_l2_swath_nc/O_L2_0001_SNS_2017104102450_v1.0.nc"


@pytest.fixture(scope="session")
def sensors(data: Path) -> Path:
    """Folder of samples of other sensors."""
    folder = data / "sensors"
    if not folder.is_dir():
        pytest.skip(f"no samples of other sensors: {folder} is not there")
    return folder


def decoded(path: Path, **how: Any) -> xr.Dataset:
    """Open a store as xarray decodes it."""
    engine = "zarr" if path.suffix == ".zarr" else None
    return xr.open_dataset(path, engine=engine, chunks=None, decode_timedelta=False, **how)


def holds_data(variable: xr.DataArray) -> npt.NDArray[np.bool_]:
    """Valid mask: not NaN after xarray's decoding, and inside of the valid range of the CF conventions.

    xarray does not apply the valid range; all samples state it in stored numbers, so these are compared.
    """
    data = np.isfinite(variable.values)
    low, high = variable.attrs.get("valid_range", (variable.attrs.get("valid_min"), variable.attrs.get("valid_max")))
    scale, offset = variable.encoding.get("scale_factor", 1), variable.encoding.get("add_offset", 0)
    stored = np.round((variable.values.astype("float64") - offset) / scale)
    if low is not None:
        data &= stored >= low
    if high is not None:
        data &= stored <= high
    return np.asarray(data)


def north_up(array: xr.DataArray, y: str) -> xr.DataArray:
    """Flip an array whose y coordinates increase."""
    return array if array[y].values[0] > array[y].values[-1] else array.isel({y: slice(None, None, -1)})


PLAIN = {
    DEA: ("y", "x", {}),
    WATER: ("y", "x", {}),
    GOES: ("y", "x", {}),
    GRIDMET: ("lat", "lon", {}),
    MSG: ("y", "x", {}),
    PLANET: ("y", "x", {"time": "last"}),
    PLANET_FLAT: ("y", "x", {}),
    ICE: ("latitude", "longitude", {}),
    OLCI: ("lat", "lon", {"time": 1, "bands": ["conc_chl", "conc_tsm"]}),
}


@pytest.mark.parametrize("name", PLAIN)
def test_values_and_nodata_equal_those_of_xarray(sensors: Path, name: str) -> None:
    y, x, how = PLAIN[name]
    source = opened(sensors / name, 100, **how)
    pixels, valid = whole(source)
    units = source.info.units
    physical = units.to_physical(np.moveaxis(pixels.astype("float64"), 0, -1))
    expected_valid = np.ones(valid.shape, bool)
    for band, values in zip(source.info.bands, np.moveaxis(physical, -1, 0), strict=True):
        variable = decoded(sensors / name)[band]
        step = -1 if how.get("time") == "last" else 0
        plane = north_up(variable.isel(time=step) if "time" in variable.dims else variable, y).transpose(y, x)
        data = holds_data(plane)
        stated = [
            variable.attrs[key] for key in ("nodata",) if key in variable.attrs
        ]  # xarray does not apply this attribute
        data &= ~np.isin(plane.values, stated)
        np.testing.assert_allclose(values[data], plane.values[data], rtol=1e-5)
        expected_valid &= data
    np.testing.assert_array_equal(valid, expected_valid)


@pytest.mark.parametrize("name", PLAIN)
def test_grid_matches_the_coordinates(sensors: Path, name: str) -> None:
    y, x, how = PLAIN[name]
    grid = opened(sensors / name, 100, **how).info.grid
    dataset = decoded(sensors / name)
    factor = 1.0
    if name == GOES:  # PROJ scales scanning angles to metres by the satellite's height
        factor = float(dataset["goes_imager_projection"].attrs["perspective_point_height"])
    xs, ys = (np.asarray(dataset[dim].values, "float64") * factor for dim in (x, y))
    ys = ys if ys[0] > ys[-1] else ys[::-1]
    rows, columns = grid.shape
    assert (rows, columns) == (ys.size, xs.size)
    transform = grid.transform
    atol = abs(transform.a) / 100
    np.testing.assert_allclose(transform.c + transform.a * (np.arange(columns) + 0.5), xs, rtol=0, atol=atol)
    np.testing.assert_allclose(transform.f + transform.e * (np.arange(rows) + 0.5), ys, rtol=0, atol=atol)


def test_crs_is_the_stated_one(sensors: Path) -> None:
    stated = {
        DEA: CRS.from_epsg(32652),
        WATER: CRS.from_epsg(32754),
        GRIDMET: CRS.from_epsg(4326),
        PLANET: CRS.from_wkt(decoded(sensors / PLANET)["spatial_ref"].attrs["spatial_ref"]),
        PLANET_FLAT: CRS.from_wkt(decoded(sensors / PLANET_FLAT)["spatial_ref"].attrs["spatial_ref"]),
        ICE: CRS.from_epsg(4326),
        OLCI: CRS.from_epsg(4326),
    }
    for name, crs in stated.items():
        found = opened(sensors / name, 100, **PLAIN[name][2]).info.grid.crs
        assert found is not None
        assert CRS.from_wkt(found) == crs, name


@pytest.mark.parametrize("name", [GOES, MSG])
def test_crs_from_projection_parameters_matches_stated_latitudes_and_longitudes(sensors: Path, name: str) -> None:
    grid = opened(sensors / name, 100).info.grid
    assert grid.crs is not None
    to_degrees = pyproj.Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    dataset = decoded(sensors / name)
    if name == MSG:  # it states latitude and longitude per pixel
        rows, columns = np.meshgrid(np.arange(0, 160, 40), np.arange(0, 256, 60), indexing="ij")
        xs, ys = grid.transform @ np.array([columns.ravel() + 0.5, rows.ravel() + 0.5])
        sphere = pyproj.CRS.from_cf(
            {"grid_mapping_name": "latitude_longitude", "earth_radius": dataset["stereographic"].attrs["earth_radius"]}
        )
        lon, lat = pyproj.Transformer.from_crs(grid.crs, sphere, always_xy=True).transform(xs, ys)
        np.testing.assert_allclose(lat, dataset["lat"].values[rows, columns].ravel(), atol=0.01)
        np.testing.assert_allclose(lon, dataset["lon"].values[rows, columns].ravel(), atol=0.01)
        return
    extent = dataset["geospatial_lat_lon_extent"].attrs
    lon, lat = to_degrees.transform(*(grid.transform @ (250, 250)))
    assert abs(lat - float(extent["geospatial_lat_center"])) < 0.05
    assert abs(lon - float(extent["geospatial_lon_center"])) < 0.05


@pytest.mark.parametrize(("name", "band"), [(DEA, "oa_fmask"), (GOES, "DQF"), (OLCI, "quality_flags")])
def test_quality_layers_are_left_out_unless_named(
    sensors: Path, name: str, band: str, caplog: pytest.LogCaptureFixture
) -> None:
    time = {"time": "first"} if name == OLCI else {}
    assert band not in described(sensors / name, **time).info.bands
    assert "left out by default" in caplog.text
    assert band in caplog.text
    assert described(sensors / name, bands=[band], **time).info.bands == (band,)


def test_default_bands_of_the_datacube_are_the_measured_ones(sensors: Path) -> None:
    bands = described(sensors / DEA).info.bands
    assert set(bands) == {name for name in decoded(sensors / DEA).data_vars if str(name).startswith("nbart")}


def test_swath_is_refused_with_the_fix(sensors: Path) -> None:
    with pytest.raises(SceneError, match=r"this is a swath, without regular coordinates: lat .*regular grid first"):
        described(sensors / SWATH)


@pytest.mark.parametrize(("name", "count"), [(OLCI, 5), (PLANET, 2)])
def test_time_steps_are_listed_and_each_can_be_chosen(sensors: Path, name: str, count: int) -> None:
    times = [str(time)[:19] for time in decoded(sensors / name)["time"].values]
    with pytest.raises(SceneError, match=f"holds {count} times: {', '.join(times)}.*scene.time"):
        described(sensors / name)
    variable = "conc_chl" if name == OLCI else "green"
    for number, time in enumerate(times, 1):
        expected = decoded(sensors / name)[variable].isel(time=number - 1).values
        for chosen in (number, time, time[:10]):
            pixels, _ = whole(opened(sensors / name, 500, time=chosen, bands=[variable]))
            np.testing.assert_array_equal(pixels[0], expected)


def test_inspect_and_init_use_the_first_time_step(sensors: Path) -> None:
    found = inspect_scene(str(sensors / PLANET))
    assert len(found.times) == 2
    assert any("choose one with scene.time" in warning for warning in found.warnings)
    assert "  time: first " in config_template([str(sensors / PLANET)])


@pytest.mark.parametrize("name", [DEA, GOES, GRIDMET, MSG, PLANET_FLAT, ICE, OLCI])
def test_map_is_nodata_exactly_where_the_store_is(sensors: Path, tmp_path: Path, name: str) -> None:
    how = PLAIN[name][2]
    source = opened(sensors / name, 200, **how)
    report = run_config(
        RunConfig.model_validate(
            {
                "version": 1,
                "scene": {"source": str(sensors / name), **how},
                "fit": {"k": 3, "pixels": 5000, "starts": 1},
                "output": {"labels": str(tmp_path / "map.tif")},
            }
        )
    )
    _, valid = whole(source)
    with rasterio.open(tmp_path / "map.tif") as file:
        labels = file.read(1)
        assert file.transform.almost_equals(source.info.grid.transform, precision=1e-6)
        assert file.crs is not None
    np.testing.assert_array_equal(labels != 0, valid)
    assert set(np.unique(labels[valid])) == {1, 2, 3}
    assert report["nodata_pixels"] == np.count_nonzero(~valid)


def test_invalid_transform_is_warned_of_and_coordinates_are_used(
    sensors: Path, caplog: pytest.LogCaptureFixture
) -> None:
    transform = described(sensors / GRIDMET).info.grid.transform
    assert "is not a transform; expected six numbers; the coordinates are used" in caplog.text
    array = decoded(sensors / GRIDMET)["air_temperature"].drop_vars("crs", errors="ignore")
    expected = array.rio.set_spatial_dims("lon", "lat").rio.transform(recalc=True)
    assert transform.almost_equals(Affine(*expected[:6]), precision=1e-9)
