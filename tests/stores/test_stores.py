"""Zarr and NetCDF stores of many tools: nodata, packing, CRS, grid and time by the CF conventions; stores per band."""

import json
import logging
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import rasterio
import rasterio.shutil
import rioxarray
import xarray as xr
import zarr
from affine import Affine
from conftest import WriteRaster, patches
from rasterio.crs import CRS
from sources import add_array, described, opened, whole, write_eopf
from zarr.storage import LocalStore

from pipeline.config.schema import SceneConfig
from pipeline.core.errors import ConfigError, SceneError
from pipeline.jobs.config import RunConfig
from pipeline.jobs.run import run_config
from pipeline.scenes.mosaic_source import open_source
from pipeline.scenes.open import open_scene_config
from pipeline.stores.preview import read_reduced
from pipeline.stores.values import quantity_of
from pipeline.stores.variables import ArrayReader

SHAPE = (20, 30)
Y, X = 5_900_000 - 10 * (np.arange(20) + 0.5), 300_000 + 10 * (np.arange(30) + 0.5)
NORTH_UP = Affine(10, 0, 300_000, 0, -10, 5_900_000)
WKT = CRS.from_epsg(32633).to_wkt()
MAPPING = {key: value for key, value in pyproj.CRS(32633).to_cf().items() if key != "crs_wkt"}
"""CF parameters of UTM zone 33, without a WKT."""


def pixels(count: int = 1) -> npt.NDArray[Any]:
    return patches(count, SHAPE)


def store(path: Path, plane: Any, attrs: Mapping[str, Any] | None = None, **coords: Any) -> Path:
    """Write a NetCDF file with one variable `a` (y, x) in UTM."""
    coordinates = {"y": Y, "x": X, "spatial_ref": xr.DataArray(0, attrs={"crs_wkt": WKT}), **coords}
    made = xr.Dataset({"a": (("y", "x"), plane, dict(attrs or {}))}, coordinates)
    made.to_netcdf(path, engine="h5netcdf")
    return path


def zarr_array(path: Path, plane: npt.NDArray[Any], attrs: Any = None, group: Any = None, **how: Any) -> Path:
    """Write a Zarr store with one array `a` (y, x), with zarr itself."""
    root = zarr.create_group(path, zarr_format=3, attributes=group or {})
    array = add_array(root, "a", plane, **{"dimension_names": ("y", "x"), **how})
    array.attrs.update(attrs or {})
    return path


@pytest.mark.lowest
@pytest.mark.parametrize("kind", ["i1", "i2", "i4"])
def test_integers_marked_unsigned_are_read_as_unsigned(tmp_path: Path, kind: str) -> None:
    stored = np.random.default_rng(0).integers(np.iinfo(kind).min, np.iinfo(kind).max, SHAPE, dtype=kind)
    stored[:2] = -1
    attrs = {"_Unsigned": "true", "_FillValue": np.dtype(kind).type(-1), "scale_factor": 0.5, "add_offset": 3.0}
    source = opened(store(tmp_path / "s.nc", stored, attrs), 13)
    data, valid = whole(source)
    expected = xr.open_dataset(tmp_path / "s.nc")["a"].values
    np.testing.assert_array_equal(valid, np.isfinite(expected))
    assert source.info.dtype == np.dtype(f"u{kind[1]}")
    np.testing.assert_allclose(data[0][valid] * 0.5 + 3, expected[valid], rtol=1e-6)


def test_valid_range_of_unsigned_integers_is_unsigned(tmp_path: Path) -> None:
    stored = np.arange(600).astype("u1").view("i1").reshape(SHAPE)
    attrs = {"_Unsigned": "true", "valid_range": np.array([2, -6], "i1")}
    data, valid = whole(opened(store(tmp_path / "s.nc", stored, attrs), 13))
    np.testing.assert_array_equal(valid, (data[0] >= 2) & (data[0] <= 250))


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_all_stated_nodata_values_are_applied(tmp_path: Path, dtype: str) -> None:
    plane = pixels()[0].astype(dtype)
    plane.flat[:6] = [-999, -9999, -1, 7000, 7001, 9]
    attrs = {
        "_FillValue": np.dtype(dtype).type(-1),
        "missing_value": np.array([-999, -9999], dtype),
        "nodata": 7000.0,
        "nodatavals": np.array([7001.0]),
    }
    path = store(tmp_path / "s.nc", plane, attrs)
    data, valid = whole(opened(path, 13))
    np.testing.assert_array_equal(valid, ~np.isin(plane, [-999, -9999, -1, 7000, 7001]))
    np.testing.assert_array_equal(data[0], plane)
    configured = whole(opened(path, 13, nodata=9))[1]  # replaces all nodata values of the store
    np.testing.assert_array_equal(configured, plane != 9)


def test_further_nodata_values_are_nodata_in_the_map_with_any_cache(tmp_path: Path) -> None:
    plane = pixels()[0].astype("int16")
    plane[3:9], plane[:, 4:7] = -5, -6
    path = store(tmp_path / "s.nc", plane, {"missing_value": np.array([-5, -6], "int16"), "valid_max": 200})
    for cache in ("disk", "memory", "none"):
        settings = {
            "version": 1,
            "scene": {"source": str(path)},
            "fit": {"k": 3, "pixels": "all"},
            "output": {"labels": str(tmp_path / f"{cache}.tif")},
            "run": {"cache": cache, "chunk": 16},
        }
        run_config(RunConfig.model_validate(settings))
        with rasterio.open(tmp_path / f"{cache}.tif") as file:
            np.testing.assert_array_equal(file.read(1) != 0, (plane > 0) & (plane <= 200))


@pytest.mark.parametrize(
    ("attrs", "lowest", "highest"),
    [
        ({"valid_min": np.int16(50)}, 50, np.inf),
        ({"valid_max": np.int16(90)}, -np.inf, 90),
        ({"valid_range": np.array([50, 90], "i2")}, 50, 90),
        ({"valid_range": np.array([50, 90], "i2"), "scale_factor": 0.01, "add_offset": -1.0}, 50, 90),
        ({"valid_range": [-0.5, -0.1], "scale_factor": 0.01, "add_offset": -1.0}, 50, 90),
        ({"valid_range": [-0.9, -0.5], "scale_factor": -0.01, "add_offset": 0.0}, 50, 90),
        ({"valid_min": 0.0, "scale_factor": 0.01}, 0, np.inf),
        ({"valid_range": [-1e9, 1e9]}, -np.inf, np.inf),
    ],
)
def test_numbers_outside_the_valid_range_are_nodata(
    tmp_path: Path, attrs: dict[str, Any], lowest: float, highest: float
) -> None:
    plane = pixels()[0].astype("int16")
    _, valid = whole(opened(store(tmp_path / "s.nc", plane, attrs), 13))
    np.testing.assert_array_equal(valid, (plane >= lowest) & (plane <= highest))


def test_a_limit_is_as_precise_as_the_pixels(tmp_path: Path) -> None:
    plane = np.full(SHAPE, 0.1, "float32")
    plane[:, 3] = 0.2
    _, valid = whole(opened(store(tmp_path / "s.nc", plane, {"valid_max": 0.1}), 13))
    np.testing.assert_array_equal(valid, plane < 0.15)  # though float32's 0.1 is more than 0.1


@pytest.mark.parametrize("stated", ["0-100", [1, 2, 3], [9, 1], [float("nan"), 1.0]])
def test_invalid_valid_range_is_ignored_with_a_warning(
    tmp_path: Path, stated: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert whole(opened(store(tmp_path / "s.nc", pixels()[0], {"valid_range": stated}), 13))[1].all()
    assert "the valid range" in caplog.text
    assert "ignored" in caplog.text


def test_previews_apply_further_nodata_values_and_variables_are_read_as_one_part(tmp_path: Path) -> None:
    planes = pixels(3).astype("int16")
    planes[1, :5] = -7
    attrs = {"missing_value": np.array([-8, -7], "int16")}
    made = xr.Dataset({"a": (("band", "y", "x"), planes, attrs)}, {"y": Y, "x": X})
    made.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    scene = described(tmp_path / "s.nc")
    assert [part.indexes for part in scene.parts] == [(1, 2, 3)]
    from pipeline.formats.detect import open_catalogues

    offers = open_catalogues(str(tmp_path / "s.nc"))[0].bands
    for plane, (picture, valid) in zip(planes, read_reduced([o.open(o.native) for o in offers], SHAPE), strict=True):
        np.testing.assert_array_equal(picture, plane)
        np.testing.assert_array_equal(valid, plane != -7)


PACKED = {"dtype": "int16", "scale_factor": 10.0, "add_offset": 300_005.0}


@pytest.mark.lowest
@pytest.mark.filterwarnings("ignore:saving variable")  # older xarrays warn of coordinates without a fill value
@pytest.mark.parametrize("rows_from", ["north", "south"])
def test_packed_coordinates_are_unpacked_without_flipping_rows(tmp_path: Path, rows_from: str) -> None:
    step = 1 if rows_from == "north" else -1
    made = xr.Dataset({"a": (("y", "x"), pixels()[0][::step])}, {"y": Y[::step], "x": X})
    sign = -10.0 if rows_from == "north" else 10.0  # packed numbers increase in both orders
    made["y"].encoding = {"dtype": "int16", "scale_factor": sign, "add_offset": float(made.y[0])}
    made["x"].encoding = dict(PACKED)
    made.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    source = opened(tmp_path / "s.nc", 13)
    assert source.info.grid.transform.almost_equals(NORTH_UP, precision=1e-6)
    np.testing.assert_array_equal(whole(source)[0][0], pixels()[0])


def test_coordinate_equal_to_the_fill_value_is_valid(tmp_path: Path) -> None:
    """Zarr's default fill value is 0, which is also the longitude of Greenwich."""
    root = zarr.create_group(tmp_path / "s.zarr", zarr_format=2)
    for name, values in (("lat", 50.0 - np.arange(20)), ("lon", np.arange(30.0) - 5)):
        add_array(root, name, values, fill_value=0).attrs["_ARRAY_DIMENSIONS"] = [name]
    array = add_array(root, "a", pixels()[0], fill_value=None)
    array.attrs["_ARRAY_DIMENSIONS"] = ["lat", "lon"]
    assert described(tmp_path / "s.zarr").info.grid.transform == Affine(1, 0, -5.5, 0, -1, 50.5)


def with_axes(rows: Any, columns: Any, mapping: Any = None, named: str = "utm", **others: Any) -> xr.Dataset:
    """Make a dataset with a variable `a` with the given dimensions, coordinates and grid mapping."""
    attrs = {"grid_mapping": named} if mapping is not None else {}
    coords = {rows[0]: rows, columns[0]: columns, **others}
    if mapping is not None:
        coords["utm"] = xr.DataArray(0, attrs=mapping)
    return xr.Dataset({"a": ((rows[0], columns[0]), pixels()[0], attrs)}, coords)


METRES = {"units": "m"}
KM = {"units": "km"}
GEO = xr.DataArray(0, attrs={"grid_mapping_name": "latitude_longitude"})
AXES = {
    "axis": with_axes(("yc", Y, {"axis": "Y"}), ("xc", X, {"axis": "X"}), MAPPING),
    "standard name": with_axes(
        ("down", Y, {"standard_name": "projection_y_coordinate"}),
        ("across", X, {"standard_name": "projection_x_coordinate"}),
        MAPPING,
    ),
    "kilometres": with_axes(("y", Y / 1000, KM), ("x", X / 1000, KM), MAPPING),
    "a mapping of dimensions": with_axes(("y", Y, METRES), ("x", X, METRES), MAPPING, "utm: x y"),
    "two mappings": with_axes(("y", Y, METRES), ("x", X, METRES), MAPPING, "geo: lat lon utm: y x", geo=GEO),
    "a mapping that none names": with_axes(("y", Y), ("x", X)).assign_coords(utm=xr.DataArray(0, attrs=MAPPING)),
    "single precision": with_axes(("y", Y.astype("f4")), ("x", X.astype("f4")), MAPPING),
    "upside down": with_axes(("y", Y), ("x", X), MAPPING).isel(y=slice(None, None, -1)),
    "transposed": with_axes(("y", Y), ("x", X), MAPPING).transpose("x", "y"),
    "coordinates by another name": with_axes(("y", Y), ("x", X), MAPPING).rename_dims(y="j", x="i").rename_vars(
        y="northing", x="easting"
    ).pipe(lambda made: made.assign_coords(
        northing=("j", Y, {"standard_name": "projection_y_coordinate"}),
        easting=("i", X, {"standard_name": "projection_x_coordinate"}),
    )),
}  # fmt: skip


@pytest.mark.lowest
@pytest.mark.parametrize("kind", AXES)
@pytest.mark.parametrize("form", ["netcdf", "zarr"])
def test_rows_columns_and_crs_are_found_by_cf_attributes(tmp_path: Path, kind: str, form: str) -> None:
    made = AXES[kind]
    path = tmp_path / ("s.nc" if form == "netcdf" else "s.zarr")
    if form == "netcdf":
        made.to_netcdf(path, engine="h5netcdf")
    else:
        made.to_zarr(path, zarr_format=2, consolidated=False)
    source = opened(path, 13)
    assert source.info.grid.transform.almost_equals(NORTH_UP, precision=1e-6)
    np.testing.assert_array_equal(whole(source)[0][0], pixels()[0])
    assert source.info.grid.crs is not None
    to_utm = pyproj.Transformer.from_crs("EPSG:4326", source.info.grid.crs, always_xy=True)
    expected = pyproj.Transformer.from_crs("EPSG:4326", "EPSG:32633", always_xy=True).transform(12.0, 53.2)
    np.testing.assert_allclose(to_utm.transform(12.0, 53.2), expected, atol=1e-3)


def test_rotated_pole_is_read_from_cf_parameters(tmp_path: Path) -> None:
    pole = {
        "grid_mapping_name": "rotated_latitude_longitude",
        "grid_north_pole_latitude": 39.25,
        "grid_north_pole_longitude": -162.0,
    }
    degrees = {"units": "degrees"}
    made = with_axes(
        ("rlat", 2 - 0.1 * np.arange(20), {"standard_name": "grid_latitude", **degrees}),
        ("rlon", 0.1 * np.arange(30), {"standard_name": "grid_longitude", **degrees}),
        pole,
    )
    made.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    grid = described(tmp_path / "s.nc").info.grid
    assert grid.transform.almost_equals(Affine(0.1, 0, -0.05, 0, -0.1, 2.05), precision=1e-9)
    assert grid.crs is not None
    both = [
        pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True) for crs in (pyproj.CRS.from_cf(pole), grid.crs)
    ]
    np.testing.assert_allclose(both[0].transform(1.0, 1.0), both[1].transform(1.0, 1.0), atol=1e-6)


@pytest.mark.parametrize("step", [9e-5, 4e-5])
def test_single_precision_coordinates_are_evenly_spaced(tmp_path: Path, step: float) -> None:
    lat, lon = (52 - step * np.arange(2000)).astype("f4"), (150 + step * np.arange(300)).astype("f4")
    made = xr.Dataset({"a": (("lat", "lon"), patches(1, (2000, 300))[0])}, {"lat": lat, "lon": lon})
    made.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    transform = described(tmp_path / "s.nc").info.grid.transform
    assert transform.almost_equals(Affine(step, 0, 150 - step / 2, 0, -step, 52 + step / 2), precision=2e-5)


@pytest.mark.parametrize("moved", [0.0, 180.0])
def test_longitudes_may_reach_360_or_cross_the_antimeridian(tmp_path: Path, moved: float) -> None:
    lon = np.arange(5, 360, 10.0)
    stored = (lon + moved + 180) % 360 - 180 if moved else lon
    made = xr.Dataset(
        {"a": (("lat", "lon"), patches(1, (18, 36))[0])}, {"lat": 85 - 10.0 * np.arange(18), "lon": stored}
    )
    made.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    transform = described(tmp_path / "s.nc").info.grid.transform
    assert transform == Affine(10, 0, float(stored[0]) - 5, 0, -10, 90)


@pytest.mark.parametrize(
    "cut", [{"y": slice(5, None)}, {"x": slice(0, None, 2)}, {"y": slice(3, 9), "x": slice(1, None, 3)}]
)
def test_coordinates_override_the_stale_transform_of_a_subset(
    tmp_path: Path, cut: dict[str, slice], caplog: pytest.LogCaptureFixture
) -> None:
    made = xr.Dataset({"a": (("y", "x"), pixels()[0])}, {"y": Y, "x": X}).rio.write_crs(32633).rio.write_transform()
    made.isel(cut).to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    expected = made["a"].isel(cut).rio.transform(recalc=True)
    assert described(tmp_path / "s.nc").info.grid.transform.almost_equals(expected, precision=1e-6)
    assert "the stated transform contradicts the coordinates, which are used" in caplog.text


@pytest.mark.parametrize(
    "options", [{}, {"FORMAT": "NC4"}, {"FORMAT": "NC4", "WRITE_BOTTOMUP": "NO"}, {"FORMAT": "NC2"}]
)
def test_files_written_by_gdal_are_read_as_by_gdal(
    write_raster: WriteRaster, tmp_path: Path, options: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    raster = write_raster("a.tif", pixels(2).astype("int16"), nodata=77)
    rasterio.shutil.copy(raster, tmp_path / "g.nc", driver="netCDF", **options)
    source = opened(tmp_path / "g.nc", 13)
    assert source.info.grid == described(raster).info.grid
    data, valid = whole(source)
    np.testing.assert_array_equal(data, pixels(2))
    np.testing.assert_array_equal(valid, (pixels(2) != 77).all(axis=0))
    assert "contradicts" not in caplog.text


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("form", ["netcdf", "zarr 2", "zarr 3"])
def test_files_written_by_rioxarray_are_read_as_their_source(
    write_raster: WriteRaster, tmp_path: Path, form: str, *, masked: bool
) -> None:
    raster = write_raster("a.tif", pixels(2).astype("int16"), nodata=77)
    made = rioxarray.open_rasterio(raster, masked=masked).to_dataset(name="a")
    path = tmp_path / ("s.nc" if form == "netcdf" else "s.zarr")
    if form == "netcdf":
        made.to_netcdf(path, engine="h5netcdf")
    else:
        made.to_zarr(path, zarr_format=int(form[-1]), consolidated=False)
    source = opened(path, 13)
    assert source.info.grid == described(raster).info.grid
    data, valid = whole(source)
    np.testing.assert_array_equal(valid, (pixels(2) != 77).all(axis=0))
    np.testing.assert_array_equal(data[:, valid], pixels(2)[:, valid])


STATED = {
    "init": "+init=epsg:32633",
    "PROJ": "+proj=utm +zone=33 +datum=WGS84 +units=m +no_defs",
    "code": "EPSG:32633",
    "number": 32633,
    "WKT 2": pyproj.CRS(32633).to_wkt(),
    "PROJJSON": pyproj.CRS(32633).to_json(),
}


@pytest.mark.parametrize(
    ("where", "kind"), [*((where, kind) for where in ("array", "dataset") for kind in STATED), ("epsg", "number")]
)
def test_crs_is_read_in_every_notation_and_location(
    tmp_path: Path, kind: str, where: str, capfd: pytest.CaptureFixture[str]
) -> None:
    made = xr.Dataset({"a": (("y", "x"), pixels()[0])}, {"y": Y, "x": X})
    if where == "epsg":  # as stackstac writes it
        made = made.assign_coords(epsg=32633)
    else:
        (made["a"] if where == "array" else made).attrs["crs"] = STATED[kind]
    made.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    crs = described(tmp_path / "s.nc").info.grid.crs
    assert crs is not None
    assert CRS.from_wkt(crs).to_epsg() == 32633
    assert "deprecated" not in capfd.readouterr().err


def test_invalid_crs_is_warned_of_if_another_is_stated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    crs = described(store(tmp_path / "s.nc", pixels()[0], {"crs": "nonsense"})).info.grid.crs
    assert crs is not None
    assert CRS.from_wkt(crs).to_epsg() == 32633
    assert "'nonsense' is not a valid coordinate reference system; another" in caplog.text


def test_unknown_cf_projection_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = with_axes(("y", Y), ("x", X), {"grid_mapping_name": "nonsense"})
    made.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    assert described(tmp_path / "s.nc").info.grid.crs is None
    assert "the grid mapping utm ('nonsense') can't be read as a coordinate reference system" in caplog.text
    assert "no coordinate reference system" in caplog.text


GEOZARR = {"spatial:transform": [10, 0, 300_000, 0, -10, 5_900_000]}
CODES = {
    "code": {"proj:code": "EPSG:32633"},
    "wkt2": {"proj:wkt2": pyproj.CRS(32633).to_wkt()},
    "projjson": {"proj:projjson": pyproj.CRS(32633).to_json_dict()},
    "record": {"proj": {"code": "EPSG:32633"}},
    "GDAL": {"_CRS": {"wkt": WKT}},
    "GDAL's address": {"_CRS": {"url": "http://www.opengis.net/def/crs/EPSG/0/32633"}},
}


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("where", ["array", "group", "root"])
def test_geozarr_attributes_are_read_from_array_group_or_root(tmp_path: Path, where: str, code: str) -> None:
    attrs = {**GEOZARR, **CODES[code]}
    path = tmp_path / "s.zarr"
    if where == "root":
        zarr.create_group(path, attributes=attrs)
        path /= "r10m"
    zarr_array(path, pixels()[0], attrs if where == "array" else None, attrs if where == "group" else None)
    source = opened(path, 13)
    assert source.info.grid.transform == NORTH_UP
    assert source.info.grid.crs is not None
    assert CRS.from_wkt(source.info.grid.crs).to_epsg() == 32633
    np.testing.assert_array_equal(whole(source)[0][0], pixels()[0])


def test_geozarr_dimensions_and_node_registration_are_read(tmp_path: Path) -> None:
    attrs = {
        "spatial:dimensions": ["down", "across"],
        "spatial:transform": [10, 0, 300_005, 0, -10, 5_899_995],
        "spatial:registration": "node",
        "proj:code": "EPSG:32633",
    }
    path = zarr_array(tmp_path / "s.zarr", pixels()[0], None, attrs, dimension_names=("down", "across"))
    assert described(path).info.grid.transform == NORTH_UP


def test_transform_stated_for_another_shape_is_ignored(tmp_path: Path) -> None:
    attrs = {**GEOZARR, "spatial:shape": [40, 60], "proj:code": "EPSG:32633"}
    path = zarr_array(tmp_path / "s.zarr", pixels()[0], None, attrs)
    assert described(path).info.grid.transform == Affine.identity()


def test_store_with_variables_in_groups_only_is_an_error(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "s.zarr")
    zarr_array(tmp_path / "s.zarr" / "r10m", pixels()[0])
    with pytest.raises(
        SceneError, match=r"its variables are in groups \(r10m\); open one of these, such as .*s\.zarr/r10m"
    ):
        described(tmp_path / "s.zarr")


@pytest.mark.parametrize(("fill", "is_nodata"), [(-9999, True), (0, False)])
def test_zarr_fill_value_is_nodata_unless_it_is_the_default(tmp_path: Path, fill: int, *, is_nodata: bool) -> None:
    plane = pixels()[0].astype("int16")
    plane[:4] = fill
    path = zarr_array(tmp_path / "s.zarr", plane, fill_value=fill, config={"write_empty_chunks": True})
    _, valid = whole(opened(path, 13))
    np.testing.assert_array_equal(valid, (plane != fill) | (not is_nodata))


def test_missing_chunks_are_warned_of_once_per_variable(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = zarr_array(tmp_path / "s.zarr", pixels()[0])
    cube = np.zeros((5, *SHAPE), "int16")
    cube[:, SHAPE[0] // 2 :] = 3
    group = zarr.open_group(path, mode="a")
    add_array(group, "cube", cube, chunks=(5, SHAPE[0] // 2, SHAPE[1]), dimension_names=["b", "y", "x"])
    bands = [f"cube_band{number}" for number in (2, 4)]
    _, valid = whole(opened(path, 13, bands=bands))
    np.testing.assert_array_equal(valid, cube[0] != 0)
    assert caplog.text.count("chunks are not stored") == 1


def test_flag_layers_are_not_bands_unless_requested(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = xr.Dataset({"nir": (("y", "x"), pixels()[0]), "state": (("y", "x"), pixels()[0])}, {"y": Y, "x": X})
    made["state"].attrs = {"flag_values": [1, 2], "flag_meanings": "good bad"}
    made["view"] = ("y", "x"), pixels()[0].astype("float32"), {"units": "degree"}
    made["where"] = ("y", "x"), pixels()[0].astype("float32"), {"standard_name": "latitude"}
    made.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    assert described(tmp_path / "s.nc").info.bands == ("nir",)
    assert "state" in caplog.text
    assert "view" in caplog.text
    assert described(tmp_path / "s.nc", bands=["state"]).info.bands == ("state",)


def test_store_of_flags_only_is_opened(tmp_path: Path) -> None:
    path = store(tmp_path / "s.nc", pixels()[0], {"flag_values": [1, 2], "flag_meanings": "good bad"})
    assert described(path).info.bands == ("a",)


def test_variables_with_too_many_dimensions_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = xr.Dataset({"a": (("y", "x"), pixels()[0]), "b": (("m", "n", "y", "x"), np.ones((2, 2, *SHAPE)))})
    made.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    assert described(tmp_path / "s.nc").info.bands == ("a",)
    assert (
        "variables with more than one dimension in addition to rows, columns and time are left out: b (m, n, y, x)"
        in caplog.text
    )


def test_mask_in_a_store_is_found_by_name(tmp_path: Path) -> None:
    made = xr.Dataset({"B04": (("y", "x"), pixels()[0])}, {"y": Y, "x": X})
    classes = np.full(SHAPE, 4, "uint8")
    classes[:, 5:9] = 9
    made["SCL"] = ("y", "x"), classes
    made.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    _, valid = whole(opened(tmp_path / "s.nc", 13, mask="scl"))
    np.testing.assert_array_equal(valid, classes != 9)


def test_mask_classes_of_an_eopf_product_are_logged_by_name(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        described(write_eopf(data, tmp_path), mask={"scl": [9, 3]})
    assert "leaves out values 9 cloud_high, 3 cloud_shadow" in caplog.text


# ---------------------------------------------------------------------------------------------------------------- times

TIMES = np.array(["2020-07-11", "2020-07-16T10:30", "2020-07-16T22:30", "2021-01-02"], "M8[ns]")


def cube(path: Path, dim: str = "time", times: Any = TIMES, attrs: Any = None, order: Any = ("y", "x")) -> Path:
    """Write a NetCDF file of one variable `a` with a time dimension."""
    planes = pixels(len(times))
    made = xr.Dataset({"a": ((dim, "y", "x"), planes)}, {dim: (dim, times, attrs or {}), "y": Y, "x": X})
    made.transpose(dim, *order).to_netcdf(path, engine="h5netcdf")
    return path


@pytest.mark.parametrize(
    ("requested", "position"),
    [
        ("2020-07-11", 0), ("2020-07-11T00:00:00", 0), ("2020-07-16T10:30", 1), ("2020-07-16 22:30:00Z", 2),
        ("2021", 3), ("2021-01", 3), (1, 0), (4, 3), ("first", 0), ("last", 3), (TIMES[1], 1),
    ],
)  # fmt: skip
def test_one_of_several_times_is_chosen(tmp_path: Path, requested: Any, position: int) -> None:
    data, _ = whole(opened(cube(tmp_path / "s.nc"), 13, time=requested))
    np.testing.assert_array_equal(data[0], pixels(4)[position])


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        (
            "2020-07-16",
            "matches 2 times of .*: 2020-07-16T10:30:00, 2020-07-16T22:30:00; state one in full, or number 2 or 3",
        ),
        ("2019", "has no time '2019'; it holds 2020-07-11, "),
        (5, "5 is not a number from 1 to 4"),
    ],
)
def test_unmatched_time_is_an_error(tmp_path: Path, requested: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"scene.time: .*{message}"):
        described(cube(tmp_path / "s.nc"), time=requested)


@pytest.mark.parametrize("value", [0, -1, True, 1.5, ""])
def test_invalid_time_setting_is_rejected(value: Any) -> None:
    with pytest.raises(ValueError, match="time"):
        SceneConfig.model_validate({"source": "a.nc", "time": value})


def test_first_and_last_are_the_earliest_and_latest_time(tmp_path: Path) -> None:
    path = cube(tmp_path / "s.nc", times=TIMES[[2, 0, 3, 1]])
    for requested, position in (("first", 1), ("last", 2), (1, 0)):
        np.testing.assert_array_equal(whole(opened(path, 13, time=requested))[0][0], pixels(4)[position])


@pytest.mark.parametrize(
    ("dim", "times", "attrs"),
    [
        ("t", TIMES[:1], {}),
        ("day", [0.5], {"units": "days since 2020-01-01"}),
        ("when", [7], {"axis": "T"}),
        ("when", [7], {"standard_name": "time"}),
        ("date", ["2020-01"], {}),
    ],
)
def test_single_time_of_any_name_is_not_a_band(tmp_path: Path, dim: str, times: Any, attrs: Any) -> None:
    assert described(cube(tmp_path / "s.nc", dim, times, attrs)).info.bands == ("a",)


@pytest.mark.parametrize(
    ("dim", "times", "attrs", "requested"),
    [
        ("t", TIMES[:2], {}, "2020-07-16"),
        ("day", [0.5, 1.25], {"units": "days since 2020-01-01"}, "2020-01-02T06"),
        ("day", [0.5, 31.5], {"units": "days since 2020-01-31", "calendar": "noleap"}, 2),
        ("when", [7, 8], {"axis": "T"}, "last"),
        ("date", ["2020-01", "2020-02"], {}, "2020-02"),
    ],
)
def test_several_times_of_any_name_are_an_error_without_a_choice(
    tmp_path: Path, dim: str, times: Any, attrs: Any, requested: Any
) -> None:
    path = cube(tmp_path / "s.nc", dim, times, attrs)
    with pytest.raises(SceneError, match=r"holds 2 times: .*scene\.time"):
        described(path)
    np.testing.assert_array_equal(whole(opened(path, 13, time=requested))[0][0], pixels(2)[1])


def test_band_dimension_next_to_a_single_time_gives_bands(tmp_path: Path) -> None:
    planes = pixels(2)
    made = xr.Dataset({"a": (("t", "bands", "y", "x"), planes[np.newaxis])}, {"t": TIMES[:1], "bands": ["B02", "B08"]})
    made.assign_coords(y=Y, x=X).to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    source = opened(tmp_path / "s.nc", 13)
    assert source.info.bands == ("B02", "B08")
    np.testing.assert_array_equal(whole(source)[0], planes)


def test_time_cannot_be_chosen_if_none_is_stated(write_raster: WriteRaster) -> None:
    with pytest.raises(ConfigError, match=r"scene\.time: .* has no times"):
        described(write_raster("a.tif", pixels()), time="first")


def test_requested_time_must_match_the_single_time(tmp_path: Path) -> None:
    path = store(tmp_path / "s.nc", pixels()[0], day=((), 3.0, {"units": "days since 2020-01-01"}))
    assert described(path, time="2020-01-04").info.bands == ("a",)
    with pytest.raises(ConfigError, match="has no time '2020-01-05'; it holds 2020-01-04"):
        described(path, time="2020-01-05")


# --------------------------------------------------------------------------------------------------------- many stores


def band(path: Path, names: str, shift: int = 0, east: float = 0, form: str = "netcdf") -> Path:
    """Write a store of variables whose numbers are shifted and whose grid is moved to the east."""
    planes = {name: (("y", "x"), pixels()[0] + np.uint16(shift + i)) for i, name in enumerate(names.split())}
    made = xr.Dataset(planes, {"y": Y, "x": X + east, "spatial_ref": xr.DataArray(0, attrs={"crs_wkt": WKT})})
    if form == "netcdf":
        made.to_netcdf(path, engine="h5netcdf")
    else:
        made.to_zarr(path, zarr_format=2, consolidated=False)
    return path


@pytest.mark.parametrize("form", ["netcdf", "zarr"])
def test_one_store_per_band_is_one_scene(tmp_path: Path, form: str) -> None:
    suffix = "nc" if form == "netcdf" else "zarr"
    files = [band(tmp_path / f"s_B{n}.{suffix}", name, n, form=form) for n, name in ((10, "red"), (2, "nir"))]
    source = opened(files, 13)
    assert source.info.bands == ("red", "nir")
    np.testing.assert_array_equal(whole(source)[0], np.stack([pixels()[0] + 10, pixels()[0] + 2]))
    for several in (f"{tmp_path}/*.{suffix}", tmp_path):  # file names in numeric order
        assert described(several).info.bands == ("nir", "red")
    assert set(described(files).info.files) >= set(map(str, files))


def test_bands_of_equal_variable_names_are_named_after_their_files(tmp_path: Path) -> None:
    files = [band(tmp_path / f"s_B{n}.nc", "Band1", n) for n in (10, 2)]
    source = opened(files, 13)
    assert source.info.bands == ("B10", "B2")
    np.testing.assert_array_equal(whole(source)[0], np.stack([pixels()[0] + 10, pixels()[0] + 2]))


def test_stores_of_several_bands_each_are_one_scene(tmp_path: Path) -> None:
    files = [band(tmp_path / "a.nc", "red nir"), band(tmp_path / "b.nc", "blue swir")]
    assert described(files).info.bands == ("nir", "red", "blue", "swir")


def test_stores_sharing_some_bands_are_rejected(tmp_path: Path) -> None:
    files = [band(tmp_path / "a.nc", "red nir"), band(tmp_path / "b.nc", "red swir")]
    with pytest.raises(SceneError, match=r"two bands are called red, in .*a\.nc and in .*b\.nc"):
        described(files)


@pytest.mark.parametrize("names", ["ndvi", "red nir"])
def test_stores_of_the_same_bands_and_other_extents_are_a_mosaic(tmp_path: Path, names: str) -> None:
    files = [band(tmp_path / "a.nc", names), band(tmp_path / "b.nc", names, 50, 300)]
    scene = open_scene_config(SceneConfig.model_validate({"source": list(map(str, files))}))
    assert scene.info.grid.shape == (20, 60)
    data, valid = whole(open_source(scene, (13, 13)))
    first = names.split().index(scene.info.bands[0])
    np.testing.assert_array_equal(data[0], np.hstack([pixels()[0], pixels()[0] + 50]) + first)
    assert valid.all()


def test_stores_of_the_same_bands_and_extent_are_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = [band(tmp_path / "a.nc", "red nir"), band(tmp_path / "b.nc", "red nir", 50)]
    open_scene_config(SceneConfig.model_validate({"source": list(map(str, files))}))
    assert "hold the same bands of the same extent: each pixel is taken from the first of 2 stores" in caplog.text


def test_stores_of_other_bands_and_extents_are_rejected(tmp_path: Path) -> None:
    files = [band(tmp_path / "a.nc", "red"), band(tmp_path / "b.nc", "nir", east=9000)]
    with pytest.raises(SceneError, match=r"show different places: .*a\.nc.*b\.nc"):
        described(files)


def test_images_next_to_stores_are_reported(
    tmp_path: Path, write_raster: WriteRaster, caplog: pytest.LogCaptureFixture
) -> None:
    band(tmp_path / "a.nc", "red")
    image = write_raster("b.tif", pixels())
    with pytest.raises(SceneError, match=r"a\.nc.*b\.tif"):
        described(f"{tmp_path}/*")
    assert described(tmp_path).info.sources == (str(image),)
    assert "the folder also holds image files, so these stores are left out: a.nc" in caplog.text


def test_variable_without_chunks_is_read_in_strips(tmp_path: Path) -> None:
    planes = np.arange(2 * 1500 * 1100, dtype="uint16").reshape(2, 1500, 1100)
    made = xr.Dataset({"a": (("band", "y", "x"), planes)})
    made.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    assert described(tmp_path / "s.nc").reading.file_block_bytes <= 2**21
    np.testing.assert_array_equal(whole(opened(tmp_path / "s.nc", 600))[0], planes)


def test_netcdf_with_variables_in_groups_only_is_an_error(tmp_path: Path) -> None:
    xr.Dataset({"a": (("y", "x"), pixels()[0])}).to_netcdf(tmp_path / "s.nc", group="PRODUCT", engine="h5netcdf")
    with pytest.raises(SceneError, match=r"its variables are in groups \(PRODUCT\); save one as a separate store"):
        described(tmp_path / "s.nc")


# ------------------------------------------------------------------------------------------------- zips and few reads


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("folder", ["", "s.zarr/"])
def test_zarr_store_in_a_zip_is_opened(tmp_path: Path, zarr_format: int, folder: str) -> None:
    made = xr.Dataset({"red": (("y", "x"), pixels()[0])}, {"y": Y, "x": X})
    path = tmp_path / "s.zarr.zip"
    made.to_zarr(tmp_path / "in" / folder, zarr_format=zarr_format, consolidated=False)
    shutil.make_archive(str(path.with_suffix("")), "zip", tmp_path / "in")
    source = opened(path, 13)
    assert source.info.bands == ("red",)
    np.testing.assert_array_equal(whole(source)[0][0], pixels()[0])


@pytest.mark.lowest
def test_eopf_product_in_a_zip_is_opened(data: Path, tmp_path: Path) -> None:
    folder = write_eopf(data, tmp_path)
    shutil.make_archive(str(folder), "zip", folder)
    packed, plain = opened(f"{folder}.zip", 128), opened(folder, 128)
    assert packed.info.bands == plain.info.bands == ("B02", "B03", "B04", "B08")
    assert packed.info.grid == plain.info.grid
    np.testing.assert_array_equal(whole(packed)[0], whole(plain)[0])


CHUNKS = {
    "all bands": (("band", "y", "x"), (6, 40, 50)),
    "all in one": (("band", "y", "x"), (6, 120, 200)),
    "some bands": (("band", "y", "x"), (4, 40, 50)),
    "bands last": (("y", "x", "band"), (40, 50, 6)),
    "one band": (("band", "y", "x"), (1, 40, 50)),
}


@pytest.mark.parametrize("kind", CHUNKS)
@pytest.mark.parametrize("bands", ["all", [6, 1, 3]])
def test_each_chunk_is_decoded_once_in_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, bands: Any
) -> None:
    order, chunks = CHUNKS[kind]
    planes = patches(6, (120, 200))
    made = xr.Dataset({"a": (("band", "y", "x"), planes)}).transpose(*order)
    made.to_zarr(tmp_path / "s.zarr", zarr_format=2, consolidated=False, encoding={"a": {"chunks": chunks}})
    wanted = range(6) if bands == "all" else [band - 1 for band in bands]
    np.testing.assert_array_equal(whole(opened(tmp_path / "s.zarr", 33, bands=bands))[0], planes[list(wanted)])
    reads: Counter[str] = Counter()
    monkeypatch.setattr(LocalStore, "get", counting(LocalStore.get, reads))
    settings = {
        "version": 1,
        "scene": {"source": str(tmp_path / "s.zarr"), "bands": bands},
        "fit": {"k": 3, "pixels": 1000, "starts": 1},
        "output": {"labels": str(tmp_path / "map.tif")},
        "run": {"workers": 2},
    }
    run_config(RunConfig.model_validate(settings))
    counts = {key: count for key, count in reads.items() if key.startswith("a/") and key[2].isdigit()}
    assert set(counts.values()) == {1}
    indices = {tuple(map(int, key.removeprefix("a/").split("."))) for key in counts}
    axis = order.index("band")
    assert {index[axis] for index in indices} == {band // chunks[axis] for band in wanted}


def test_chunk_of_many_bands_is_decoded_once_on_opening_and_once_for_previews(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = xr.Dataset({"a": (("band", "y", "x"), patches(6, (120, 200), dtype="float32"))})
    encoding = {"a": {"chunks": (3, 40, 200)}}
    made.to_zarr(tmp_path / "s.zarr", zarr_format=2, consolidated=False, encoding=encoding)
    reads: Counter[str] = Counter()
    monkeypatch.setattr(LocalStore, "get", counting(LocalStore.get, reads))
    described(tmp_path / "s.zarr")
    assert {count for key, count in reads.items() if re.match(r"a/\d", key)} == {1}
    from pipeline.formats.detect import open_catalogues

    bands = [offer.open(offer.native) for offer in open_catalogues(str(tmp_path / "s.zarr"))[0].bands]
    reads.clear()
    shapes = []
    plain = ArrayReader.read
    monkeypatch.setattr(ArrayReader, "read", lambda self, *args: shapes.append(args[1].shape) or plain(self, *args))
    pictures = read_reduced(bands, (12, 20))
    np.testing.assert_array_equal([picture for picture, _ in pictures], made["a"].values[:, 5::10, 5::10])
    assert set(reads.values()) == {1}
    assert set(shapes) == {(3, 40, 200)}  # one chunk of bands at a time


def counting(get: Callable[..., Any], reads: Counter[str]) -> Callable[..., Any]:
    """Wrap `LocalStore.get` so that it counts reads per key."""

    async def counted(self: LocalStore, key: str, *args: Any, **how: Any) -> Any:
        reads[key] += 1
        return await get(self, key, *args, **how)

    return counted


def test_plan_counts_the_bytes_of_all_bands_of_a_chunk(tmp_path: Path) -> None:
    made = xr.Dataset({"a": (("band", "y", "x"), patches(6, (120, 200)))})
    sizes = {}
    for together in (1, 6):
        path = tmp_path / f"{together}.zarr"
        chunks = (together, 40, 50)
        made.to_zarr(path, zarr_format=2, consolidated=False, encoding={"a": {"chunks": chunks}})
        reading = described(path).reading
        sizes[together] = reading.file_block_bytes, reading.extra_bytes_per_pixel
    assert sizes == {1: (40 * 50 * 2, 2), 6: (6 * 40 * 50 * 2, 12)}


# -------------------------------------------------------------------------------------------------------- quantities


@pytest.mark.parametrize(
    ("attrs", "quantity"),
    [
        ({"units": "K"}, "temperature"),
        ({"units": "degC"}, "temperature"),
        ({"standard_name": "toa_brightness_temperature"}, "temperature"),
        ({"standard_name": "toa_bidirectional_reflectance", "units": "1"}, "reflectance"),
        ({"standard_name": "surface_bidirectional_reflectance"}, "reflectance"),
        ({"standard_name": "toa_outgoing_radiance_per_unit_wavelength"}, "radiance"),
        ({"units": "degrees"}, "angle"),
        ({"standard_name": "solar_zenith_angle"}, "angle"),
        ({"standard_name": "surface_altitude", "units": "m"}, "elevation"),
        ({"standard_name": "height_above_reference_ellipsoid"}, "elevation"),
        ({"units": "1"}, None),
        ({"units": "mg m^-3", "long_name": "chlorophyll"}, None),
        ({}, None),
    ],
)
def test_quantity_is_derived_from_units_and_standard_name(attrs: dict[str, str], quantity: str | None) -> None:
    assert quantity_of(attrs) == quantity


def test_temperature_is_not_a_default_band_next_to_reflectance(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = xr.Dataset({name: (("y", "x"), pixels()[0]) for name in ("red", "nir", "lst")}, {"y": Y, "x": X})
    made["lst"].attrs = {"units": "K", "scale_factor": 0.01, "add_offset": 200.0}
    made.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    assert described(tmp_path / "s.nc").info.bands == ("nir", "red")
    assert "temperature: lst" in caplog.text
    scene = described(tmp_path / "s.nc", bands="all")
    assert scene.info.units.quantities == ("temperature", "numbers", "numbers")
    assert json.dumps(scene.info.units.model_dump(mode="json"))
