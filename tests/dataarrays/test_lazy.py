"""xarray objects as scenes: any dimensions, Datasets, derived arrays, saved files, pickles."""

import logging
import pickle
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from conftest import UTM, WriteRaster, patches, raster_file
from sources import described

from pipeline import ClusterModel, fit, label, open_scene, write
from pipeline.core.errors import ConfigError
from pipeline.dataarrays.grids import grid_of
from pipeline.dataarrays.lazy import to_dataarray
from pipeline.kernels.assign import assign
from pipeline.scenes.cut import Cut
from pipeline.scenes.mosaic import make_mosaic
from pipeline.scenes.mosaic_source import open_source

BANDS = ["B02", "B03", "B04", "B08"]
T = UTM["transform"]


@pytest.fixture(scope="module")
def pixels() -> Any:
    made = patches(4, (120, 180))
    made[:, 40:60, 100:130] = 0
    made.flags.writeable = False
    return made


@pytest.fixture(scope="module")
def scene_file(pixels: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    return raster_file(tmp_path_factory.mktemp("scene") / "scene.tif", pixels, bands=BANDS, nodata=0, **tiles)


@pytest.fixture(scope="module")
def scene(scene_file: Path) -> xr.DataArray:
    return open_scene(scene_file, chunk=64)


@pytest.fixture(scope="module")
def model(scene: xr.DataArray) -> ClusterModel:
    return fit(scene, k=4)


@pytest.fixture(scope="module")
def expected(pixels: Any, model: ClusterModel) -> Any:
    """Labels by the kernel, of all pixels at once."""
    return assign(pixels, (pixels != 0).all(axis=0), model.centres)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def by_attributes(scene: xr.DataArray) -> xr.DataArray:
    """Rename dimensions so that only CF attributes identify rows and columns."""
    plain = scene.assign_coords({dim: scene[dim].drop_attrs(deep=False) for dim in ("y", "x")})
    plain = plain.rename(y="a", x="b", band="wavelength")
    return plain.assign_coords(
        a=plain.a.assign_attrs(axis="Y"), b=plain.b.assign_attrs(standard_name="projection_x_coordinate")
    )


SHAPES = {
    "transposed": lambda s: s.transpose("x", "band", "y"),
    "latitude, longitude": lambda s: s.rename(y="latitude", x="longitude"),
    "Lat, Lon": lambda s: s.rename(y="Lat", x="Lon"),
    "yc, xc": lambda s: s.rename(y="yc", x="xc", band="variable"),
    "by CF attributes": by_attributes,
    "one time": lambda s: s.expand_dims(time=[np.datetime64("2020-01-01")]),
    "one time, last": lambda s: s.expand_dims(t=[3]).transpose("y", "x", "band", "t"),
    "float": lambda s: s.astype("float32").where(s.valid),
    "big-endian": lambda s: s.astype(">u2"),
    "in memory": lambda s: s.compute(),
    "other chunks": lambda s: s.chunk({"band": 1, "y": 50, "x": 70}),
}


@pytest.mark.parametrize("make", SHAPES.values(), ids=SHAPES)
def test_dimensions_may_have_any_usual_name_and_order(
    scene: xr.DataArray, model: ClusterModel, expected: Any, tmp_path: Path, make: Any
) -> None:
    shaped = make(scene)
    labels = label(shaped, model if shaped.dtype.kind == "u" else fit(shaped, k=4))
    xr.align(shaped, labels, join="exact")
    assert set(labels.dims) < set(shaped.dims)
    np.testing.assert_array_equal(labels.values, expected)
    write(labels.T, tmp_path / "c.tif")
    with rasterio.open(tmp_path / "c.tif") as file:
        assert (file.transform, file.crs) == (T, rasterio.crs.CRS.from_epsg(32633))
        np.testing.assert_array_equal(file.read(1), expected)


def test_order_and_names_of_dimensions_do_not_change_a_fit(scene: xr.DataArray, model: ClusterModel) -> None:
    for make in (SHAPES["transposed"], SHAPES["yc, xc"], SHAPES["one time"], SHAPES["other chunks"]):
        assert fit(make(scene), k=4) == model


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda s: s.expand_dims(time=3), r"3 steps of time; choose one, such as isel\(time=0\)"),
        (lambda s: s.expand_dims(when=np.array(["2020-01-01", "2020-02-01"], "M8[ns]")), "2 steps of when"),
        (lambda s: s.expand_dims(z=2), r"dimensions z, band, y, x; .*isel\(z=0\)"),
        (lambda s: s.rename(y="up", x="right").drop_vars(["up", "right"]), "dimensions band, up, right; expected"),
        (lambda s: s.isel(y=0), "dimensions band, x; expected"),
        (lambda s: s.isel(x=slice(0, 0)), "no pixels"),
        (lambda s: s.assign_coords(band=["a", "b", "a", "c"]), "two bands of the scene are called a"),
        (lambda s: s.astype("complex64"), "complex64 pixels"),
    ],
)
def test_ambiguous_or_unusable_arrays_are_errors(scene: xr.DataArray, make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        fit(make(scene), k=3)


def test_times_renamed_to_band_are_bands(scene: xr.DataArray) -> None:
    times = np.array(["2020-01-01", "2020-02-01"], "M8[ns]")
    series = xr.concat([scene[0].drop_vars("band"), scene[3].drop_vars("band")], dim="time").assign_coords(time=times)
    model = fit(series.rename(time="band"), k=3)
    assert [name[:14] for name in model.bands] == ["2020-01-01T00:", "2020-02-01T00:"]


def test_single_selected_band_has_its_name_and_scale(scene: xr.DataArray) -> None:
    scaled = scene.assign_coords(scale=("band", [0.1, 0.2, 0.3, 0.4])).assign_attrs(quantity="scaled")
    whole, alone = fit(scaled, k=3), fit(scaled.sel(band="B04"), k=3)
    assert alone.bands == ("B04",)
    assert alone.units.scales == (0.3,)
    assert whole.units.scales[2] == 0.3


def dataset_of(scene_file: Path) -> xr.Dataset:
    opened = rioxarray.open_rasterio(scene_file)
    assert isinstance(opened, xr.DataArray)
    return xr.Dataset({name: opened[i].drop_vars("band") for i, name in enumerate(BANDS)})


DATASETS = {
    "of rioxarray's": lambda _, d: d,
    "of a scene": lambda s, _: s.to_dataset("band"),
    "with valid a variable": lambda s, _: s.to_dataset("band").reset_coords("valid"),
    "with a grid mapping a variable": lambda _, d: d.reset_coords("spatial_ref"),
    "of one time each": lambda _, d: d.expand_dims(time=[0]),
    "of one band each": lambda _, d: d.expand_dims(band=[1]),
    "of one variable": lambda s, _: s.to_dataset(name="scene"),
    "chunked": lambda _, d: d.chunk({"x": 50}),
}


@pytest.mark.parametrize("make", DATASETS.values(), ids=DATASETS)
def test_dataset_of_bands_is_a_scene(
    scene_file: Path, scene: xr.DataArray, model: ClusterModel, expected: Any, make: Any
) -> None:
    dataset = make(scene, dataset_of(scene_file))
    assert fit(dataset, k=4).centroids == model.centroids
    labels = label(dataset, model)
    xr.align(dataset, labels, join="exact")
    np.testing.assert_array_equal(labels.values, expected)
    assert grid_of(labels) == grid_of(scene)


def test_masks_in_a_dataset_are_left_out_with_a_warning(
    scene_file: Path, model: ClusterModel, expected: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bands = dataset_of(scene_file)
    more = bands.assign(
        SCL=bands.B02.astype("uint8"),
        cloud=bands.B02 > 5,
        quality=bands.B02.assign_attrs(flag_values=[0, 1], flag_meanings="good bad"),
        place=("n", [1, 2]),
    )
    np.testing.assert_array_equal(label(more, model).values, expected)
    (words,) = warnings_of(caplog)
    assert all(name in words for name in ("SCL", "cloud", "quality"))


def test_quality_layers_of_a_dataset_are_not_bands(
    scene_file: Path, model: ClusterModel, expected: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """They have the type of the bands; a layer whose name the model has is used as a band."""
    bands = dataset_of(scene_file)
    more = bands.assign(
        QA_PIXEL=bands.B02 * 3,
        solar_zenith=bands.B03 + 1,
        LST=bands.B03.assign_attrs(units="K"),
        coarse_scl=(("lat", "lon"), np.ones((2, 3), "u2")),
    )
    assert fit(more, k=4).centroids == model.centroids
    assert all(name in warnings_of(caplog)[0] for name in ("QA_PIXEL", "solar_zenith", "LST", "coarse_scl"))
    np.testing.assert_array_equal(label(more, model).values, expected)
    alone = bands[["B02"]].assign(QA_PIXEL=bands.B03)
    both = fit(alone.to_dataarray("band"), k=3)
    assert both.bands == ("B02", "QA_PIXEL")
    assert label(alone, both).shape == expected.shape
    assert fit(more[["QA_PIXEL"]], k=3).bands == ("QA_PIXEL",)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda d: d[["B02"]].assign(B03=d.B03.astype("u1")), "several types"),
        (lambda _: xr.Dataset(), "without bands"),
        (lambda _: xr.Dataset({"a": ("n", [1])}), "without bands: .* a int64"),
        (lambda d: d.assign(c=(("lat", "lon"), np.ones((2, 3), "u2"))), r"several grids \(B02: 180 x 120.*c: 3 x 2"),
        (lambda d: d.assign(c=d.B02.expand_dims(z=2)), "differ in their dimensions"),
        (lambda d: d.expand_dims(time=2), "2 steps of time"),
    ],
)
def test_dataset_that_is_not_a_scene_is_an_error(scene_file: Path, make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        fit(make(dataset_of(scene_file)), k=3)


def test_each_variable_has_its_own_nodata(scene_file: Path, pixels: Any, model: ClusterModel) -> None:
    odd = int(pixels[1, 5, 5])
    dataset = dataset_of(scene_file)
    dataset["B03"] = dataset.B03.assign_attrs(_FillValue=odd)
    valid = (pixels[[0, 2, 3]] != 0).all(axis=0) & (pixels[1] != odd)
    np.testing.assert_array_equal(label(dataset, model).values != 0, valid)


def test_scales_of_a_dataset_are_used_only_if_unambiguous(
    scene: xr.DataArray, caplog: pytest.LogCaptureFixture
) -> None:
    same = scene.assign_coords(scale=("band", [0.1] * 4)).assign_attrs(quantity="scaled")
    units = fit(same.to_dataset("band"), k=3).units
    assert (units.quantities, units.scales) == (("scaled",) * 4, (0.1,) * 4)
    assert warnings_of(caplog) == []
    units = fit(same.to_dataset("band")[["B08", "B02"]], k=3).units
    assert (units.quantities, units.scales) == (("numbers",) * 2, (1, 1))
    assert "'scale' and 'offset' are missing" in warnings_of(caplog)[0]
    differ = scene.assign_coords(scale=("band", [0.1, 0.2, 0.1, 0.1])).assign_attrs(quantity="scaled")
    with pytest.raises(ConfigError, match="scale that differs by band"):
        fit(differ.to_dataset("band"), k=3)


@pytest.mark.parametrize(
    "make",
    [
        lambda s: s.coarsen(x=3, y=4).mean(),
        lambda s: s.pad(x=3, y=2),
        lambda s: s.astype("float32").pad(x=(0, 5), constant_values=np.nan),
        lambda s: s.rolling(x=3, center=True).construct("w").mean("w"),
        lambda s: s.where(s > 60),
        lambda s: s * 2 + 1,
    ],
    ids=["coarsen", "pad", "pad with NaN", "rolling", "where", "arithmetic"],
)
def test_arrays_derived_from_a_scene_are_scenes(scene: xr.DataArray, make: Any) -> None:
    made = make(scene)
    labels = label(made, fit(made, k=3))
    xr.align(made, labels, join="exact")
    numbers = np.asarray(made.values, np.float64)
    whole = np.array(made.valid.values, np.float64) == 1  # None and NaN are not valid
    np.testing.assert_array_equal(labels.values != 0, whole & np.isfinite(numbers).all(axis=0))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32", "float64", "object"])
def test_coordinate_valid_may_be_numeric(scene: xr.DataArray, pixels: Any, model: ClusterModel, dtype: str) -> None:
    share = np.ones((120, 180), np.float64)
    share[:30] = 0
    if np.dtype(dtype).kind in "fO":
        share[50, 50], share[51, 50] = 0.999, np.nan
    given = scene.assign_coords(valid=(("y", "x"), share.astype(dtype)))
    valid = (share == 1) & (pixels != 0).all(axis=0)
    np.testing.assert_array_equal(label(given, model).values != 0, valid)


@pytest.mark.parametrize(
    ("valid", "words"),
    [
        (("y", np.ones(120)), r"'valid' is float64 \('y',\); expected"),
        (("band", np.ones(4, bool)), r"'valid' is bool \('band',\); expected"),
        ((("y", "x"), np.full((120, 180), "yes")), "'valid' is <U3"),
    ],
)
def test_coordinate_valid_of_wrong_type_or_shape_is_an_error(
    scene: xr.DataArray, model: ClusterModel, valid: Any, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        label(scene.drop_vars("valid").assign_coords(valid=valid), model)


@pytest.mark.parametrize("number", [255, -1, 1.5])
def test_coordinate_valid_outside_0_to_1_is_an_error(scene: xr.DataArray, model: ClusterModel, number: float) -> None:
    given = scene.assign_coords(valid=(("y", "x"), np.full((120, 180), number)))
    with pytest.raises(ConfigError, match=f"'valid' holds {number:g}"):
        label(given, model).compute()


def test_zero_pixels_without_nodata_are_warned_of(write_raster: WriteRaster, caplog: pytest.LogCaptureFixture) -> None:
    pixels = patches(3)
    pixels[:, :50] = 0
    scene = open_scene(write_raster("z.tif", pixels))
    fit(scene, k=3)
    (words,) = warnings_of(caplog)
    assert "are 0 in every band, and no nodata value is set: if 0 means nodata, set open_scene's nodata=0" in words
    caplog.clear()
    fit(scene.assign_coords(valid=(("y", "x"), np.ones((200, 300), bool))), k=3)
    (words,) = warnings_of(caplog)
    assert "in addition to masked pixels" in words


OTHERS = {
    "list": ([1, 2], "of type list"),
    "list of arrays": ([xr.DataArray([1])], "xr.concat"),
    "numpy": (np.ones((3, 9, 9)), r"numpy\.ndarray.*wrap the array as xr\.DataArray\("),
    "dask": (dask.array.ones((3, 9, 9)), r"dask\.Array.*wrap the array as xr\.DataArray\("),
    "None": (None, "NoneType.*open_scene"),
    "path": ("s.tif", r"open_scene\('s\.tif'\)"),
    "Path": (Path("s.tif"), r"open_scene\('s\.tif'\)"),
    "number": (3, "of type int"),
}


@pytest.mark.parametrize(("given", "words"), OTHERS.values(), ids=OTHERS)
def test_values_that_are_not_xarray_objects_are_errors(
    model: ClusterModel, given: Any, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        fit(given)
    with pytest.raises(ConfigError, match=words):
        label(given, model)
    with pytest.raises(ConfigError, match="expected labels from label"):
        write(given, tmp_path / "c.tif")


def test_labels_that_lost_attributes_or_dtype_are_errors(
    scene: xr.DataArray, model: ClusterModel, tmp_path: Path
) -> None:
    labels, path = label(scene, model), tmp_path / "c.tif"
    with pytest.raises(ConfigError, match=r"lost their attribute k, the number of classes.*k=8"):
        write(labels.drop_attrs(), path)
    with pytest.raises(ConfigError, match=r"uint8 again: labels\.fillna"):
        write(labels.where(labels > 1), path)
    with pytest.raises(ConfigError, match="not a Dataset of class"):
        write(labels.to_dataset(), path)
    with pytest.raises(ConfigError, match=r"the labels hold 4 at rows .*, but k is 3"):
        write(labels, path, k=3)
    for k in (0, 255, True, 3.5):
        with pytest.raises(ConfigError, match=f"k: {k!r} is not allowed"):
            write(labels, path, k=k)  # type: ignore[arg-type]
    assert not path.exists()
    write(labels.drop_attrs(deep=False), path, k=4)
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), labels.values)
        assert file.crs == rasterio.crs.CRS.from_epsg(32633)
        assert set(file.colormap(1)) >= set(range(5))


SUBSETS = {
    "whole": (lambda s: s, T),
    "cut before": (lambda s: s[:, 20:, 40:].chunk(64), T @ T.translation(40, 20)),
    "other names": (lambda s: s.rename(y="yc", x="xc"), T),
}


@pytest.fixture(
    params=[
        pytest.param("netcdf", marks=pytest.mark.lowest),
        "zarr 2",  # GDAL can't read what zarr compresses before rasterio 1.4.4
        pytest.param("zarr 3", marks=pytest.mark.lowest),
    ]
)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Function that saves labels and reads them back; returns them and the path, None if this GDAL can't read it."""

    def save(labels: xr.DataArray) -> tuple[xr.DataArray, Path | None]:
        if request.param == "netcdf":
            labels.to_netcdf(tmp_path / "labels.nc")
            return xr.open_dataarray(tmp_path / "labels.nc"), tmp_path / "labels.nc"
        path = tmp_path / "labels.zarr"
        labels.to_zarr(path, zarr_format=int(request.param[-1]))
        return xr.open_zarr(path)["class"], path if request.param == "zarr 2" else None  # from GDAL 3.11 on

    return save


@pytest.mark.parametrize("subset", SUBSETS.values(), ids=SUBSETS)
@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_saved_labels_have_all_metadata(
    scene: xr.DataArray, model: ClusterModel, saved: Any, tmp_path: Path, subset: Any
) -> None:
    make, transform = subset
    labels = label(make(scene), model)
    back, path = saved(labels)
    crs = rasterio.crs.CRS.from_epsg(32633)
    assert back.dtype == np.uint8
    assert "_FillValue" not in {**back.attrs, **back.encoding}
    xr.testing.assert_equal(back, labels)
    assert (back.rio.crs, back.rio.transform(), back.rio.nodata) == (crs, transform, 0)
    assert (back.attrs["nodata"], back.attrs["k"], back.attrs["model"]) == (0, 4, model.digest)
    assert back.attrs["flag_meanings"].split() == [f"class_{number}" for number in back.attrs["flag_values"]]
    written = write(back, tmp_path / "c.tif")
    for name in (written, path) if path else (written,):
        with rasterio.open(name) as file:
            assert (file.crs, file.transform) == (crs, transform)
            np.testing.assert_array_equal(file.read(1), labels.values)


@pytest.mark.lowest
def test_saved_subset_of_labels_has_the_right_transform(
    scene: xr.DataArray, model: ClusterModel, tmp_path: Path
) -> None:
    part = label(scene, model)[30:, 50:]
    part.to_netcdf(tmp_path / "part.nc")
    with rasterio.open(tmp_path / "part.nc") as file:
        assert file.transform == T @ T.translation(50, 30)


@pytest.mark.lowest
def test_saved_scene_gives_the_same_model_and_labels(
    scene: xr.DataArray, model: ClusterModel, expected: Any, tmp_path: Path
) -> None:
    scene.to_netcdf(tmp_path / "s.nc")
    for back in (xr.open_dataarray(tmp_path / "s.nc"), xr.open_dataset(tmp_path / "s.nc")):
        found = fit(back, k=4)
        assert found.centroids == model.centroids
        assert found.provenance.sources == model.provenance.sources
        np.testing.assert_array_equal(label(back, found).values, expected)


def test_scenes_and_labels_can_be_pickled(scene: xr.DataArray, model: ClusterModel, expected: Any) -> None:
    for _ in range(2):
        copy = pickle.loads(pickle.dumps(scene))  # noqa: S301
        xr.testing.assert_identical(copy, scene)
        assert fit(copy, k=4) == model
    labels = pickle.loads(pickle.dumps(label(scene, model)))  # noqa: S301
    np.testing.assert_array_equal(labels.values, expected)


def test_mosaics_can_be_pickled(scene_file: Path) -> None:
    alone = described([scene_file])
    mosaic = make_mosaic([alone, alone], [alone.info.grid] * 2, Cut(whole=alone.info.grid, grid=alone.info.grid))
    scene = to_dataarray(open_source(mosaic, (64, 64)))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(scene)).values, scene.values)  # noqa: S301


@pytest.mark.parametrize("origin", ["ESA", b"", 3, [1.5, 2.0], [1, 2, 3], [-1, 0], None])
def test_invalid_origin_attribute_is_ignored(scene: xr.DataArray, model: ClusterModel, origin: Any) -> None:
    assert fit(scene.assign_attrs(origin=origin), k=4) == model


def test_small_coordinates_are_computed_once(scene: xr.DataArray) -> None:
    computed = []

    def numbers(value: float) -> Any:
        computed.append(value)
        return np.full(4, value)

    lazy = {
        name: ("band", dask.array.from_delayed(dask.delayed(numbers)(value), (4,), float))
        for name, value in (("scale", 0.5), ("offset", 2.0))
    }
    model = fit(scene.assign_coords(lazy).assign_attrs(quantity="scaled"), k=3)
    assert (model.units.scales, model.units.offsets) == ((0.5,) * 4, (2.0,) * 4)
    assert sorted(computed) == [0.5, 2.0]


def test_cropped_scenes_can_be_pickled(scene_file: Path) -> None:
    scene = open_scene(scene_file, aoi={"bounds": [300_300, 5_899_300, 300_900, 5_899_700], "crs": "EPSG:32633"})
    copy = pickle.loads(pickle.dumps(scene))  # noqa: S301
    np.testing.assert_array_equal(copy.values, scene.values)
    np.testing.assert_array_equal(copy.valid.values, scene.valid.values)
