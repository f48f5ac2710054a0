"""Georeferencing of arrays from other libraries: CRS in any location, coordinates of pixel centres or corners."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import xarray as xr
from affine import Affine
from conftest import UTM, WriteRaster, patches

from pipeline import fit, label, open_scene, write
from pipeline.core.errors import ConfigError
from pipeline.dataarrays.grids import grid_of

pytestmark = pytest.mark.lowest

T = UTM["transform"]
CRS = rasterio.crs.CRS.from_epsg(32633)
ROWS, COLUMNS = 40, 60


def bare(transform: Affine = T, anchor: float = 0.5, **attrs: Any) -> xr.DataArray:
    """Make an array with coordinates at a position within each pixel (0.5: centres), without further metadata."""
    y = transform.f + transform.e * (np.arange(ROWS) + anchor)
    x = transform.c + transform.a * (np.arange(COLUMNS) + anchor)
    data = patches(3, (ROWS, COLUMNS))
    return xr.DataArray(data, dims=("band", "y", "x"), coords={"y": y, "x": x}, attrs=attrs)


@dataclass
class RasterSpec:
    """Stand-in for stackstac's class of this name."""

    epsg: int
    transform: Affine
    shape: tuple[int, int]


def stackstac(anchor: float = 0.0) -> xr.DataArray:
    """Make an array as stackstac.stack() does: by default with coordinates of upper left corners."""
    spec = RasterSpec(32633, T, (ROWS, COLUMNS))
    array = bare(anchor=anchor).assign_attrs(spec=spec, crs="epsg:32633", transform=T, resolution=10.0)
    array = array.assign_coords(epsg=32633).expand_dims(time=[np.datetime64("2020-01-01")])
    return array.assign_coords(band=["B02", "B03", "B04"], id=("time", ["item"])).rename("stackstac-0123")


def mapped(name: str = "spatial_ref", **record: Any) -> xr.DataArray:
    """Make an array with a grid mapping that it does not name."""
    return bare().assign_coords({name: xr.DataArray(0, attrs=record)})


def utm_of_cf() -> dict[str, Any]:
    """CF parameters of UTM zone 33, without a WKT."""
    import pyproj

    record = pyproj.CRS.from_epsg(32633).to_cf()
    del record["crs_wkt"]
    return record


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


CRS_LOCATIONS = {
    "attrs crs": lambda: bare(crs="epsg:32633"),
    "attrs crs of datacubes": lambda: bare(crs="+init=epsg:32633"),
    "attrs crs as PROJ": lambda: bare(crs="+proj=utm +zone=33 +datum=WGS84 +units=m +no_defs"),
    "attrs crs as an object": lambda: bare(crs=CRS),
    "attrs crs as a number": lambda: bare(crs=np.int64(32633)),
    "attrs epsg": lambda: bare(epsg=32633),
    "attrs proj:code": lambda: bare(**{"proj:code": "EPSG:32633"}),
    "coordinate epsg": lambda: bare().assign_coords(epsg=32633),
    "coordinate proj:epsg": lambda: bare().assign_coords({"proj:epsg": 32633.0}),
    "odc-stac": lambda: bare().assign_coords(spatial_ref=xr.DataArray(32633, attrs={"spatial_ref": CRS.to_wkt()})),
    "odc-stac, its spatial_ref's attributes lost": lambda: bare().assign_coords(spatial_ref=32633),
    "odc-stac, without spatial_ref": lambda: bare().assign_coords(x=bare().x.assign_attrs(crs="EPSG:32633")),
    "rioxarray": lambda: bare().rio.write_crs(32633),
    "rioxarray, another name": lambda: bare().rio.write_crs(32633, grid_mapping_name="utm"),
    "grid mapping without a name": lambda: mapped("some_name", crs_wkt=CRS.to_wkt()),
    "named in attrs": lambda: mapped("utm", crs_wkt=CRS.to_wkt()).assign_attrs(grid_mapping="utm"),
    "CF's longer form": lambda: mapped("utm", spatial_ref=CRS.to_wkt()).assign_attrs(grid_mapping="utm: x y"),
    "CF's parameters": lambda: mapped("utm", **utm_of_cf()),
}


@pytest.mark.parametrize("make", CRS_LOCATIONS.values(), ids=CRS_LOCATIONS)
def test_crs_is_found_in_every_location(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    array = make()
    found = grid_of(array)
    assert found.transform == T
    assert found.crs is not None
    assert pyproj.CRS.from_wkt(found.crs).utm_zone == "33N"
    assert warnings_of(caplog) == []


@pytest.mark.filterwarnings("ignore:It is recommended to use 'rio.write_crs")
def test_crs_set_on_the_rioxarray_accessor_is_used() -> None:
    array = bare()
    array.rio.set_crs(32633, inplace=True)
    assert grid_of(array).crs == CRS.to_wkt()


def test_missing_crs_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene = bare()
    model = fit(scene, k=3)
    assert any("no coordinate reference system" in message for message in warnings_of(caplog))
    caplog.clear()
    labels = label(scene.rio.write_crs(32633), model)
    assert warnings_of(caplog) == []
    write(labels.drop_vars("spatial_ref"), tmp_path / "lost.tif")
    assert any("no coordinate reference system" in message for message in warnings_of(caplog))


def test_contradicting_crs_is_warned_of_and_the_grid_mapping_is_used(caplog: pytest.LogCaptureFixture) -> None:
    array = bare(crs="EPSG:32633").assign_coords(epsg=3857).rio.write_crs(32633, grid_mapping_name="utm")
    assert grid_of(array).crs == CRS.to_wkt()
    (message,) = warnings_of(caplog)
    assert "EPSG:32633 by coordinate utm" in message
    assert "EPSG:3857 by coordinate epsg" in message


def test_invalid_crs_is_warned_of_and_the_next_is_used(caplog: pytest.LogCaptureFixture) -> None:
    assert grid_of(bare(crs="nonsense", epsg=32633)).crs == CRS.to_wkt()
    assert "nonsense" in warnings_of(caplog)[0]


def test_latitudes_without_a_crs_are_wgs84() -> None:
    degrees = bare(Affine(0.001, 0, 12, 0, -0.001, 48)).rename(y="latitude", x="longitude")
    found = grid_of(degrees)
    assert found.crs is not None
    assert rasterio.crs.CRS.from_wkt(found.crs).to_epsg() == 4326
    np.testing.assert_allclose(tuple(found.transform)[:6], (0.001, 0, 12, 0, -0.001, 48), rtol=1e-9)


CUTS = {
    "whole": (lambda a: a, T),
    "cut": (lambda a: a.isel(x=slice(7, 30), y=slice(5, None)), T @ Affine.translation(7, 5)),
    "one pixel": (lambda a: a.isel(x=[3], y=[2]), T @ Affine.translation(3, 2)),
    "mirrored": (lambda a: a.isel(y=slice(None, None, -1)), T @ Affine.translation(0, ROWS) @ Affine.scale(1, -1)),
    "a row dropped": (lambda a: a.isel(time=0, y=slice(1, None)), T @ Affine.translation(0, 1)),
}


@pytest.mark.parametrize("anchor", [0.0, 0.5])
@pytest.mark.parametrize(("cut", "expected"), CUTS.values(), ids=CUTS)
def test_stackstac_coordinates_of_corners_and_centres_are_recognised(
    anchor: float, cut: Any, expected: Affine, caplog: pytest.LogCaptureFixture
) -> None:
    assert grid_of(cut(stackstac(anchor))).transform == expected
    assert warnings_of(caplog) == []


def test_map_of_a_stackstac_array_has_the_transform_of_its_pixels(tmp_path: Path) -> None:
    scene = stackstac()
    labels = label(scene, fit(scene, k=3))
    xr.align(scene, labels, join="exact")
    write(labels.rename("classes"), tmp_path / "a.tif")
    labels.to_netcdf(tmp_path / "a.nc")
    write(xr.open_dataarray(tmp_path / "a.nc"), tmp_path / "b.tif")
    for name in ("a.tif", "a.nc", "b.tif"):
        with rasterio.open(tmp_path / name) as file:
            assert (file.transform, file.crs) == (T, CRS), name


def test_stackstac_array_without_attributes_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    corners = stackstac().isel(time=0).drop_attrs()
    assert grid_of(corners).transform == T
    assert "upper left corners" in warnings_of(caplog)[0]
    caplog.clear()
    unknown = corners.rename("red")
    assert grid_of(unknown).transform == T @ Affine.translation(-0.5, -0.5)
    assert "centres" in warnings_of(caplog)[0]
    caplog.clear()
    assert grid_of(stackstac(0.5).isel(time=0).drop_attrs()).transform == T
    assert warnings_of(caplog) == []


def test_stackstac_array_without_coordinates_has_the_stated_transform(caplog: pytest.LogCaptureFixture) -> None:
    scene = stackstac().drop_vars(["x", "y"])
    assert grid_of(scene).transform == T
    assert warnings_of(caplog) == []
    grid_of(scene.isel(x=slice(5, None)))
    assert "subset of a larger one" in warnings_of(caplog)[0]


@pytest.mark.parametrize("where", ["attrs", "GeoTransform"])
def test_coordinates_are_used_if_a_transform_contradicts_them(where: str, caplog: pytest.LogCaptureFixture) -> None:
    wrong = T @ Affine.translation(0.3, 0)
    scene = bare().assign_attrs(transform=wrong) if where == "attrs" else bare().rio.write_transform(wrong)
    scene = scene.rio.write_crs(32633)
    assert grid_of(scene).transform == T
    assert "contradicts" in warnings_of(caplog)[0]
    caplog.clear()
    near = T @ Affine.translation(0.05, 0)
    scene = bare().assign_attrs(transform=near) if where == "attrs" else bare().rio.write_transform(near)
    scene = scene.rio.write_crs(32633)
    assert grid_of(scene).transform == near
    assert warnings_of(caplog) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s[:, ::3, ::2], T @ Affine.translation(-0.5, -1) @ Affine.scale(2, 3)),
        (lambda s: s.coarsen(x=2, y=2).mean(), T @ Affine.scale(2)),
        (lambda s: s.assign_coords(x=s.x + 5), T @ Affine.translation(0.5, 0)),
    ],
    ids=["strided", "coarsened", "moved"],
)
def test_grid_of_a_derived_array_is_that_of_its_coordinates(
    write_raster: WriteRaster, change: Any, expected: Affine, caplog: pytest.LogCaptureFixture
) -> None:
    scene = open_scene(write_raster("s.tif", patches(3, (ROWS, COLUMNS)), nodata=0))
    assert grid_of(change(scene)).transform.almost_equals(expected, 1e-6)
    assert "contradicts" in warnings_of(caplog)[0]


def test_padding_with_nan_coordinates_extends_the_grid() -> None:
    scene = bare().rio.write_crs(32633).pad(x=(3, 1), y=2)
    assert np.isnan(scene.x[0])
    assert grid_of(scene).transform == T @ Affine.translation(-3, -2)


def test_float32_coordinates_are_checked_at_float32_precision() -> None:
    t = Affine(0.0001, 0, 12.3, 0, -0.0001, 48.7)
    scene = bare(t).astype("float32")
    rounded = scene.assign_coords(x=scene.x.astype("f4"), y=scene.y.astype("f4"))
    found = grid_of(rounded).transform
    ulp = float(np.spacing(np.float32(48.7)))
    np.testing.assert_allclose(tuple(found)[:6], tuple(t)[:6], atol=ulp)
    exact = rounded.rio.write_transform(t)
    assert grid_of(exact).transform == t
    with pytest.raises(ConfigError, match="x are not evenly spaced"):
        grid_of(scene.assign_coords(x=np.sort(np.random.default_rng(0).uniform(12, 13, COLUMNS))))
    metres = bare(Affine(0.1, 0, 300_000, 0, -0.1, 5_900_000))
    with pytest.raises(ConfigError, match="y are not evenly spaced"):
        grid_of(metres.assign_coords(y=metres.y.astype("f4")))  # float32 steps are half a metre there


@pytest.mark.parametrize(("unit", "factor"), [("km", 1000), ("m", 1)])
def test_coordinates_in_kilometres_are_converted_to_metres(unit: str, factor: float) -> None:
    scene = bare()
    shrunk = {dim: scene[dim].copy(data=scene[dim] / factor).assign_attrs(units=unit) for dim in ("y", "x")}
    found = grid_of(scene.assign_coords(shrunk).rio.write_crs(32633)).transform
    assert found.almost_equals(T, 1e-5)


def test_angles_of_a_geostationary_view_are_converted_to_metres() -> None:
    record = {
        "grid_mapping_name": "geostationary",
        "perspective_point_height": 35786023.0,
        "semi_major_axis": 6378137.0,
        "semi_minor_axis": 6356752.31414,
        "latitude_of_projection_origin": 0.0,
        "longitude_of_projection_origin": -75.0,
        "sweep_angle_axis": "x",
    }
    t = Affine(5.6e-5, 0, -0.1, 0, -5.6e-5, 0.12)
    scene = bare(t).assign_coords(goes_imager_projection=xr.DataArray(0, attrs=record))
    radians = {dim: scene[dim].assign_attrs(units="rad") for dim in ("y", "x")}
    found = grid_of(scene.assign_coords(radians)).transform
    np.testing.assert_allclose(tuple(found)[:6], np.array(tuple(t)[:6]) * 35786023.0, rtol=1e-9)


def test_slices_of_rotated_scenes_have_the_right_transform(write_raster: WriteRaster, tmp_path: Path) -> None:
    t = Affine(10, 3, 300_000, 2, -10, 5_900_000)
    scene = open_scene(write_raster("r.tif", patches(3), transform=t, nodata=0))
    assert grid_of(scene).transform == t
    assert scene.rio.transform() == t
    part = scene[:, 10:150, 20:]
    assert grid_of(part).transform == t @ Affine.translation(20, 10)
    assert grid_of(scene[:, ::2, ::2]).transform.almost_equals(t @ Affine.translation(-0.5, -0.5) @ Affine.scale(2))
    write(label(part, fit(part, k=3)), tmp_path / "c.tif")
    with rasterio.open(tmp_path / "c.tif") as file:
        assert file.transform == t @ Affine.translation(20, 10)


def test_single_pixel_without_a_transform_is_an_error() -> None:
    with pytest.raises(ConfigError, match="one pixel along x"):
        grid_of(bare().isel(x=[0]))


def test_array_without_pixels_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no pixels"):
        grid_of(bare().isel(x=slice(0, 0)))
