"""A store opened by path and the same store opened with xarray have the same valid pixels and the same grid."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 (the .rio accessor)
import xarray as xr
from conftest import patches

from pipeline import fit, label, open_scene
from pipeline.core.errors import ConfigError, SceneError
from pipeline.dataarrays.grids import grid_of

SHAPE = (40, 50)
Y = 5_000_000 - 10 * np.arange(SHAPE[0]) - 5.0
X = 500_000 + 10 * np.arange(SHAPE[1]) + 5.0
WKT = rasterio.CRS.from_epsg(32633).to_wkt()
A, B = patches(2, SHAPE)
ALL = np.ones(SHAPE, bool)


def store(path: Path, *, a: dict[str, Any] | None = None, b: dict[str, Any] | None = None, **more: Any) -> Path:
    """Write a NetCDF file of two bands with attributes; numbers are written unchanged."""
    made = xr.Dataset(
        {
            "a": (("y", "x"), more.get("pixels", A), {"grid_mapping": "crs", **(a or {})}),
            "b": (("y", "x"), more.get("others", B), {"grid_mapping": "crs", **(b or {})}),
            "crs": ((), 0, {"crs_wkt": WKT}),
        },
        coords={"y": Y, "x": X},
    )
    unmarked = {name: {"_FillValue": None} for name in ("a", "b", "y", "x") if "_FillValue" not in made[name].attrs}
    made.to_netcdf(path, engine="h5netcdf", encoding=unmarked)
    return path


def check_same(path: Path, valid: Any = None, **how: Any) -> tuple[xr.DataArray, xr.DataArray]:
    """Open a store by path and with xarray; check that valid pixels and grids are equal; return scene and labels."""
    scene = open_scene(path)
    dataset = xr.open_dataset(path, decode_coords="all", **how)
    labels = label(dataset, fit(dataset, k=3))
    np.testing.assert_array_equal(labels.values != 0, scene.valid.values)
    if valid is not None:
        np.testing.assert_array_equal(scene.valid.values, valid)
    assert grid_of(labels) == grid_of(scene)
    return scene, labels


def with_holes(dtype: str = "i2") -> Any:
    """Pixels of band A with rows of 30000 and of -5."""
    pixels = A.astype(dtype)
    pixels[:2], pixels[2:4] = 30_000, -5
    return pixels


RANGES = {
    "packed": {"scale_factor": 1e-4, "add_offset": -0.1, "valid_range": np.array([0, 20_000], "i2")},
    "physical": {"scale_factor": 1e-4, "valid_min": 0.0, "valid_max": 2.0},
    "plain": {"valid_min": np.int16(0), "valid_max": np.int16(20_000)},
    "with a fill value": {"_FillValue": np.int16(-5), "valid_max": np.int16(20_000)},
    "a text": {"valid_range": "0, 20000"},
    "upside down": {"scale_factor": -1e-4, "valid_min": -2.0, "valid_max": 0.0},
}


@pytest.mark.parametrize("attrs", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("mask_and_scale", [True, False])
def test_valid_range_is_applied_to_datasets_that_xarray_opened(
    tmp_path: Path, attrs: dict[str, Any], *, mask_and_scale: bool
) -> None:
    pixels = with_holes()
    path = store(tmp_path / "s.nc", a=attrs, pixels=pixels, others=B.astype("i2"))
    check_same(path, (pixels >= 0) & (pixels <= 20_000), mask_and_scale=mask_and_scale)


def test_valid_range_is_not_applied_to_computed_numbers(tmp_path: Path) -> None:
    path = store(tmp_path / "s.nc", a={"valid_max": np.int16(1)}, pixels=A.astype("i2"), others=B.astype("i2"))
    with xr.set_options(keep_attrs=True):
        changed = xr.open_dataset(path, decode_coords="all") / 100
    assert changed.a.attrs["valid_max"] == 1
    assert (label(changed, fit(changed, k=3)).values != 0).all()


def test_nodata_of_an_attribute_is_applied_in_addition_to_nan(tmp_path: Path) -> None:
    """xarray writes NaN as the fill value of floats next to a nodata attribute."""
    pixels = A.astype("f4")
    pixels[0], pixels[1] = np.nan, -999
    marks = {"_FillValue": np.float32(np.nan), "nodata": -999}
    valid = np.broadcast_to(np.arange(SHAPE[0])[:, None] >= 2, SHAPE)
    check_same(store(tmp_path / "s.nc", a=marks, pixels=pixels, others=B.astype("f4")), valid)


def test_nodata_of_packed_data_is_a_packed_number(tmp_path: Path) -> None:
    pixels = A.astype("i2")
    pixels[3] = -999
    marks = {"scale_factor": np.float32(1e-4), "add_offset": np.float32(0.3), "nodata": -999}
    check_same(store(tmp_path / "s.nc", a=marks, pixels=pixels, others=B.astype("i2")), pixels != -999)


def test_nodata_that_cannot_occur_is_ignored_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = store(tmp_path / "s.nc", a={"nodata": -999}, b={"nodata": "nan"})
    check_same(path, ALL)
    assert "the nodata value -999 can't occur in the scene's uint16 pixels and is ignored" in caplog.text


def test_fill_value_in_the_encoding_of_integers_is_nodata() -> None:
    scene = xr.DataArray(np.stack([A, B]), dims=("band", "y", "x"), coords={"y": Y, "x": X}).rio.write_crs(32633)
    value = int(A[7, 7])
    scene.encoding["_FillValue"] = value
    labels = label(scene, fit(scene, k=3))
    np.testing.assert_array_equal(labels.values == 0, (value == A) | (value == B))


@pytest.mark.filterwarnings("ignore:variable 'a' has multiple fill values")
@pytest.mark.parametrize("mask_and_scale", [True, False])
def test_several_nodata_values_are_all_applied(tmp_path: Path, *, mask_and_scale: bool) -> None:
    values = np.array([A[3, 3], A[9, 9]])
    assert values[0] != values[1]
    other = np.uint16(B[1, 1])
    path = store(tmp_path / "s.nc", a={"missing_value": values}, b={"_FillValue": other})
    check_same(path, ~np.isin(A, values) & ~np.isin(B, other), mask_and_scale=mask_and_scale)


def test_variables_decoded_to_several_types_are_bands_of_one_scene(tmp_path: Path) -> None:
    """xarray decodes integers to floats only if they have a nodata value."""
    path = store(tmp_path / "s.nc", a={"_FillValue": np.uint16(A[5, 5])})
    opened = xr.open_dataset(path)
    assert opened.a.dtype != opened.b.dtype
    scene, labels = check_same(path, A[5, 5] != A)
    np.testing.assert_array_equal(labels.values, label(scene, fit(scene, k=3)).values)


def test_times_and_booleans_are_not_bands(tmp_path: Path) -> None:
    made = xr.open_dataset(store(tmp_path / "s.nc"), decode_coords="all").load()
    made["seen"] = (("y", "x"), np.full(SHAPE, np.datetime64("2020-01-01", "ns")))
    made["water"] = (("y", "x"), A > 900)
    made.to_netcdf(tmp_path / "t.nc", engine="h5netcdf")
    scene, _ = check_same(tmp_path / "t.nc", ALL)
    assert scene.band.values.tolist() == ["a", "b"]


def test_crs_stated_by_one_variable_applies_to_all(tmp_path: Path) -> None:
    made = xr.Dataset(
        {"a": (("y", "x"), A, {"crs": "+init=epsg:32633"}), "b": (("y", "x"), B)}, coords={"y": Y, "x": X}
    )
    made.to_netcdf(tmp_path / "s.nc", engine="h5netcdf")
    scene, _ = check_same(tmp_path / "s.nc")
    assert rasterio.CRS.from_wkt(grid_of(scene).crs or "").to_epsg() == 32633


LATITUDES = 50 - 0.25 * np.arange(SHAPE[0]) - 0.125
LONGITUDES = 5 + 0.25 * np.arange(SHAPE[1]) + 0.125
GAUSSIAN = np.degrees(np.arcsin(np.polynomial.legendre.leggauss(SHAPE[0])[0]))[::-1]


def geographic(path: Path, latitudes: Any, longitudes: Any, dims: tuple[str, str] = ("lat", "lon")) -> Path:
    lat, lon = (
        (dim, values, {"standard_name": name})
        for dim, values, name in zip(dims, (latitudes, longitudes), ("latitude", "longitude"), strict=True)
    )
    xr.Dataset({"a": (dims, A), "b": (dims, B)}, coords={"lat": lat, "lon": lon}).to_netcdf(path, engine="h5netcdf")
    return path


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("digits", [2, 3])
def test_coordinates_rounded_to_few_decimals_are_evenly_spaced(tmp_path: Path, digits: int, kind: str) -> None:
    rounded = (np.round(values, digits).astype(kind) for values in (LATITUDES, LONGITUDES))
    scene, _ = check_same(geographic(tmp_path / "s.nc", *rounded))
    t = grid_of(scene).transform
    np.testing.assert_allclose([t.a, t.e, t.c, t.f], [0.25, -0.25, 5, 50], atol=0.02)


@pytest.mark.parametrize("digits", [3, 9])
def test_latitudes_of_a_gaussian_grid_are_rejected(tmp_path: Path, digits: int) -> None:
    path = geographic(tmp_path / "s.nc", np.round(GAUSSIAN, digits), LONGITUDES)
    with pytest.raises(SceneError, match="lat are not evenly spaced"):
        open_scene(path)
    with pytest.raises(ConfigError, match="lat are not evenly spaced"):
        fit(xr.open_dataset(path), k=3)


def test_longitudes_may_cross_the_antimeridian(tmp_path: Path) -> None:
    wrapped = (LONGITUDES + 170 + 180) % 360 - 180
    assert wrapped.min() < 0 < wrapped.max()
    scene, _ = check_same(geographic(tmp_path / "s.nc", LATITUDES, wrapped))
    assert grid_of(scene).transform.c == pytest.approx(175)


def test_coordinates_may_be_named_differently_from_their_dimensions(tmp_path: Path) -> None:
    scene, labels = check_same(geographic(tmp_path / "s.nc", LATITUDES, LONGITUDES, dims=("j", "i")))
    np.testing.assert_array_equal(labels.lat.values, LATITUDES)
    assert grid_of(scene).transform.almost_equals(rasterio.Affine(0.25, 0, 5, 0, -0.25, 50))


def test_gaps_within_coordinates_are_rejected() -> None:
    scene = xr.DataArray(np.stack([A, B]), dims=("band", "y", "x"), coords={"y": Y, "x": X}).rio.write_crs(32633)
    broken = X.copy()
    broken[5] = np.nan
    with pytest.raises(ConfigError, match="x are not evenly spaced"):
        fit(scene.assign_coords(x=broken), k=3)
