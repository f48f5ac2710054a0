"""Zarr and NetCDF stores as scenes: EOPF products, stores written by xarray, and damaged or inconsistent ones."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from affine import Affine
from conftest import patches
from sources import NAMES, add_array, dataset, described, layers, opened, whole, write_eopf

from pipeline.cli.text import inspection_words
from pipeline.core.errors import SceneError
from pipeline.formats.detect import open_catalogues
from pipeline.jobs.config import RunConfig
from pipeline.jobs.inspect import inspect_scene
from pipeline.jobs.run import run_config

pytestmark = pytest.mark.lowest


@pytest.mark.parametrize("chunk", [180, 360, 100])
def test_eopf_product_is_one_scene(data: Path, tmp_path: Path, chunk: int) -> None:
    source = opened(write_eopf(data, tmp_path, chunk), 128, bands="all", mask={"scl": [9, 3], "dilate": 40})
    assert source.info.bands == ("B01", "B02", "B03", "B04", "B05", "B08", "B8A", "B09", "B11")
    assert source.info.grid.crs is not None
    assert "UTM zone 32N" in source.info.grid.crs
    assert source.info.grid.transform == Affine(10, 0, 699_960, 0, -10, 4_700_040)
    assert (source.info.scales, source.info.offsets) == ((1e-4,) * 9, (-0.1,) * 9)
    assert source.info.units.quantity == "reflectance"
    pixels, valid = whole(source)
    for band, plane in zip(source.info.bands, pixels, strict=True):
        native = layers()[band]
        ratio = 360 // len(native)
        np.testing.assert_array_equal(plane, native.repeat(ratio, axis=0).repeat(ratio, axis=1))
    assert 0 < valid.mean() < 1


def test_eopf_product_is_mapped_in_one_pass(data: Path, tmp_path: Path) -> None:
    path = write_eopf(data, tmp_path)
    report = run_config(
        RunConfig.model_validate(
            {
                "version": 1,
                "scene": {"source": str(path), "bands": "all"},
                "fit": {"k": 4, "pixels": 5000},
                "output": {"labels": str(tmp_path / "c.tif")},
                "run": {"chunk": 100},
            }
        )
    )
    assert report["source_passes"] == report["plan"]["passes"] == 1
    assert report["nodata_pixels"] == 0


def test_inspect_reports_metadata_of_an_eopf_product(data: Path, tmp_path: Path) -> None:
    found = inspect_scene(str(write_eopf(data, tmp_path)))
    assert found.product is not None
    assert (found.product.baseline, found.product.level, found.product.tile) == ("05.11", "L2A", "32TQM")
    assert found.product.date == "2025-10-08"
    words = inspection_words(found)
    assert "reflectance = 0.0001 x DN -0.1" in words
    assert "scl at 20 m" in words


@pytest.mark.parametrize("location", ["proj:epsg", "proj:wkt2", "stac_discovery", "other_metadata"])
def test_crs_of_an_eopf_product_is_found_in_every_location(data: Path, tmp_path: Path, location: str) -> None:
    path = write_eopf(data, tmp_path)
    for attributes in path.rglob("reflectance/**/.zattrs"):
        content = json.loads(attributes.read_text())
        remaining = {key: value for key, value in content.items() if not key.startswith("proj:") or key == location}
        attributes.write_text(json.dumps(remaining))
    root = json.loads((path / ".zattrs").read_text())
    root["stac_discovery"]["properties"].pop("proj:code", None)
    if location != "stac_discovery":
        root["stac_discovery"]["properties"].pop("proj:epsg", None)
    root["other_metadata"] = {"horizontal_CRS_code": "EPSG:32632"} if location == "other_metadata" else {}
    (path / ".zattrs").write_text(json.dumps(root))
    grid = described(path).info.grid
    assert grid.crs is not None
    assert "UTM zone 32N" in grid.crs
    assert grid.transform == Affine(10, 0, 699_960, 0, -10, 4_700_040)


@pytest.mark.filterwarnings("ignore:The (data type|dtype|codec) .*Zarr")  # worded differently by zarr's versions
@pytest.mark.parametrize("kind", ["variables", "bands", "south up", "degrees"])
@pytest.mark.parametrize("form", ["zarr 2", "zarr 3", "netcdf"])
def test_stores_written_by_xarray_are_opened(tmp_path: Path, kind: str, form: str) -> None:
    made, pixels = dataset(kind)
    path = tmp_path / ("s.nc" if form == "netcdf" else "s.zarr")
    if form == "netcdf":
        made.to_netcdf(path, engine="h5netcdf")
    else:
        made.chunk({dim: 37 for dim in made.dims if dim != "band"}).to_zarr(
            path, zarr_format=int(form[-1]), consolidated=False
        )
    source = opened(path, 33)
    data, valid = whole(source)
    names = {"south up": ("band1", "band2", "band3"), "variables": ("green", "nir", "red")}.get(kind, NAMES)
    np.testing.assert_array_equal(data, pixels[[1, 2, 0]] if kind == "variables" else pixels)
    assert valid.all()
    grid = source.info.grid
    if kind == "degrees":
        np.testing.assert_allclose(list(grid.transform)[:6], [1e-4, 0, 12 - 5e-5, 0, -1e-4, 52 + 5e-5], rtol=1e-9)
        assert grid.crs is not None
        assert "WGS 84" in grid.crs
    else:
        assert grid.transform.almost_equals(Affine(10, 0, 300_000, 0, -10, 5_900_000), precision=1e-6)
        assert grid.crs is not None
    assert source.info.bands == names


def test_scale_offset_and_fill_value_are_read_but_not_applied(tmp_path: Path) -> None:
    made, pixels = dataset("bands")
    pixels[:, :5] = 0
    made["refl"][:] = pixels
    made["refl"].encoding.update({"scale_factor": 1e-4, "add_offset": -0.1, "_FillValue": 0, "dtype": "uint16"})
    stored = made.copy()
    stored["refl"] = made["refl"] * 1e-4 - 0.1
    stored["refl"] = stored["refl"].where(made["refl"] != 0)
    stored["refl"].encoding = made["refl"].encoding
    stored.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    source = opened(tmp_path / "s.nc", 40)
    assert (source.info.scales, source.info.offsets) == ((1e-4,) * 3, (-0.1,) * 3)
    assert source.info.units.quantity == "scaled"
    data, valid = whole(source)
    np.testing.assert_array_equal(data, pixels)
    np.testing.assert_array_equal(valid, pixels[0] != 0)


def test_nan_pixels_are_nodata(tmp_path: Path) -> None:
    made, pixels = dataset("variables")
    floats = made.astype("float32")
    floats["red"][10:20, 5:9] = np.nan
    floats.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    _, valid = whole(opened(tmp_path / "s.nc", 40))
    assert (~valid).sum() == 40
    assert not valid[10:20, 5:9].any()
    assert pixels.dtype == np.uint16


def test_unevenly_spaced_coordinates_are_rejected(tmp_path: Path) -> None:
    made, _ = dataset("variables")
    y = made.y.values.copy()
    y[40:] -= 7
    made.assign_coords(y=y).to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    with pytest.raises(SceneError, match=r"s\.nc: green: the coordinates y are not evenly spaced"):
        described(tmp_path / "s.nc")


def test_several_times_without_a_choice_are_rejected(tmp_path: Path) -> None:
    made = xr.Dataset({"refl": (("time", "y", "x"), patches(2, (20, 30)))})
    made.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    with pytest.raises(SceneError, match="refl holds 2 times"):
        described(tmp_path / "s.nc")


def test_store_without_rows_and_columns_is_an_error(tmp_path: Path) -> None:
    xr.Dataset({"a": (("t",), np.arange(3))}).to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    with pytest.raises(SceneError, match=r"s\.nc: no variable has rows and columns .* its variables are a \('t',\)"):
        described(tmp_path / "s.nc")


def test_file_that_is_not_netcdf_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "s.nc").write_bytes(b"no netcdf at all")
    with pytest.raises(SceneError, match=r"s\.nc: xarray can't open this"):
        described(tmp_path / "s.nc")


def test_error_for_a_damaged_chunk_names_its_window(data: Path, tmp_path: Path) -> None:
    path = write_eopf(data, tmp_path)
    (path / "measurements/reflectance/r10m/b03/1.1").write_bytes(b"damaged")
    with pytest.raises(SceneError, match=r"\.zarr: b03: rows .* can't be read .*; check that the store is complete"):
        whole(opened(path, 128))
    assert open_catalogues(str(path))[0].names


@pytest.mark.parametrize("rows_from", ["south", "north"])
@pytest.mark.parametrize("way", ["proj:transform", "GeoTransform"])
@pytest.mark.parametrize("coordinates", [True, False])
def test_rows_stored_from_the_south_are_flipped(tmp_path: Path, rows_from: str, way: str, *, coordinates: bool) -> None:
    pixels = patches(1, (60, 40))[0]
    down = 10 if rows_from == "south" else -10
    top = 5_000_000 - (600 if rows_from == "south" else 0)
    stored = pixels[::-1] if rows_from == "south" else pixels
    made = xr.Dataset({"a": (("y", "x"), stored)})
    if coordinates:
        made = made.assign_coords(y=top + down * (np.arange(60) + 0.5), x=300_000 + 10 * (np.arange(40) + 0.5))
    if way == "proj:transform":
        made["a"].attrs = {"proj:transform": [10, 0, 300_000, 0, down, top], "proj:epsg": 32633}
    else:
        crs = {"crs_wkt": "EPSG:32633", "GeoTransform": f"300000 10 0 {top} 0 {down}"}
        made = made.assign_coords(spatial_ref=xr.DataArray(0, attrs=crs))
    made.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    source = opened(tmp_path / "s.nc", 17)
    assert source.info.grid.transform == Affine(10, 0, 300_000, 0, -10, 5_000_000)
    np.testing.assert_array_equal(whole(source)[0][0], pixels)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ([1, 2], "is not a transform"),
        ("x", "is not a transform"),
        (["a"] * 6, "is not a number"),
        ([float("nan")] * 6, "is not a finite number"),
        ([0.0] * 6, "its pixels have no size"),
        ([10, 0, 3e5, 0, 10, 5.9e6], "contradicts the coordinates"),
        ([10, 0, 3e5 + 1.1, 0, -10, 5.9e6], "contradicts the coordinates"),
        ([20, 0, 3e5, 0, -20, 5.9e6], "contradicts the coordinates"),
        ([10, 1, 3e5, 1, -10, 5.9e6], "contradicts the coordinates"),
    ],
)
@pytest.mark.parametrize("coordinates", [True, False])
def test_coordinates_are_used_instead_of_an_invalid_or_contradicting_transform(
    tmp_path: Path, stated: Any, message: str, caplog: pytest.LogCaptureFixture, *, coordinates: bool
) -> None:
    made, pixels = dataset("variables")
    made[["red"]].to_zarr(tmp_path / "s.zarr", zarr_format=2, consolidated=False)
    path = tmp_path / "s.zarr" / "red" / ".zattrs"
    path.write_text(json.dumps({**json.loads(path.read_text()), "proj:transform": stated}))
    if coordinates:
        source = opened(tmp_path / "s.zarr", 33)
        assert source.info.grid.transform.almost_equals(Affine(10, 0, 300_000, 0, -10, 5_900_000), precision=1e-6)
        np.testing.assert_array_equal(whole(source)[0][0], pixels[0])
        assert message in caplog.text
        return
    for axis in "xy":
        shutil.rmtree(tmp_path / "s.zarr" / axis)
    if message == "contradicts the coordinates":
        assert abs(described(tmp_path / "s.zarr").info.grid.transform.a) == stated[0]
        return
    with pytest.raises(SceneError, match=rf"red.*{message}"):
        described(tmp_path / "s.zarr")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"scale_factor": "x"}, "scale_factor: 'x' is not a number"),
        ({"scale_factor": [0.1, 0.2]}, "is not a number"),
        ({"scale_factor": float("nan")}, "is not a finite number"),
        ({"proj:epsg": 1}, "'1' is not a valid coordinate reference system"),
    ],
)
def test_malformed_attributes_are_one_error_message(
    tmp_path: Path, attributes: dict[str, Any], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    made, _ = dataset("variables")
    made[["red"]].drop_vars("spatial_ref").to_zarr(tmp_path / "s.zarr", zarr_format=2, consolidated=False)
    path = tmp_path / "s.zarr" / "red" / ".zattrs"
    path.write_text(json.dumps({**json.loads(path.read_text()), **attributes}))
    with pytest.raises(SceneError, match=rf"red.*{message}"):
        described(tmp_path / "s.zarr")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_coordinates_that_are_not_finite_are_rejected(tmp_path: Path, bad: float) -> None:
    made, _ = dataset("variables")
    x = made.x.values.copy()
    x[5] = bad
    made.assign_coords(x=x).to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    with pytest.raises(SceneError, match="the coordinates x are not evenly spaced"):
        described(tmp_path / "s.nc")


def test_missing_chunks_are_nodata(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made, pixels = dataset("variables")
    made.chunk(y=40, x=50).to_zarr(tmp_path / "s.zarr", zarr_format=3, consolidated=False)
    (tmp_path / "s.zarr" / "green" / "c" / "1" / "0").unlink()
    _, valid = whole(opened(tmp_path / "s.zarr", 33))
    expected = np.ones((80, 100), bool)
    expected[40:, :50] = False
    np.testing.assert_array_equal(valid, expected)
    assert "1 of 4 chunks are not stored" in caplog.text
    assert pixels.all()


def test_store_without_coordinates_has_no_georeference(tmp_path: Path) -> None:
    xr.Dataset({"a": (("y", "x"), patches(1, (20, 30))[0], {"proj:epsg": 32633})}).to_netcdf(
        tmp_path / "s.nc", engine="h5netcdf"
    )
    grid = described(tmp_path / "s.nc").info.grid
    assert (grid.crs, grid.transform) == (None, Affine.identity())


def test_rewritten_store_is_read_again(tmp_path: Path) -> None:
    for size in (30, 10):
        pixels = patches(1, (size, size), seed=size)[0]
        made = xr.Dataset({"a": (("y", "x"), pixels)}, {"y": -10.0 * np.arange(size), "x": 10.0 * np.arange(size)})
        made.to_zarr(tmp_path / "s.zarr", zarr_format=2, consolidated=False, mode="w")
        np.testing.assert_array_equal(whole(opened(tmp_path / "s.zarr"))[0][0], pixels)


def test_sharded_stores_are_read_completely(tmp_path: Path) -> None:
    pixels = patches(1, (100, 100))[0]
    pixels[:3] = 0
    group = zarr.create_group(tmp_path / "s.zarr", zarr_format=3)
    add_array(group, "a", pixels, chunks=(16, 16), shards=(64, 64), dimension_names=["y", "x"])
    data, valid = whole(opened(tmp_path / "s.zarr", 33))
    np.testing.assert_array_equal(data[0], pixels)
    assert valid.all()


@pytest.mark.parametrize("method", ["bilinear", "average"])
def test_resampling_of_stores_is_nearest_neighbour_only(tmp_path: Path, method: str) -> None:
    """GDAL's warper can't read stores, so only nearest neighbour is available."""
    numbers = np.arange(3600, dtype="uint16").reshape(60, 60)
    coordinates = {"y": 5_900_000 - 10 * (np.arange(60) + 0.5), "x": 300_000 + 10 * (np.arange(60) + 0.5)}
    path = tmp_path / "red.zarr"
    xr.DataArray(numbers, coordinates, ("y", "x")).to_dataset(name="red").to_zarr(path, consolidated=False)
    pixels, _ = whole(opened(path, 64, resolution=20))
    np.testing.assert_array_equal(pixels[0], numbers[1::2, 1::2])
    with pytest.raises(SceneError, match="by nearest neighbour"):
        opened(path, 64, resolution=20, resampling=method)


def test_bands_of_an_eopf_product_are_resampled_by_nearest_neighbour_only(data: Path, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"B05 has 180 x 180 pixels of 20 .*by nearest neighbour"):
        opened(write_eopf(data, tmp_path), 64, bands=["B02", "B05"], resampling="bilinear")
