"""The Python functions: lazy in, lazy out, and the same labels as one numpy call."""

import inspect
import re
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import xarray as xr
from conftest import WriteRaster, patches
from fakes import CountingSource
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import pairwise_distances
from sources import described, model_of

from pipeline import ClusterModel, fit, label, load_config, open_scene, predict, run_config, write
from pipeline.config.record import Record, parse_record
from pipeline.config.schema import FeaturesConfig, FitConfig, OutputSection, ResourceConfig, SceneConfig
from pipeline.core.errors import ConfigError, ModelError, OutputError
from pipeline.dataarrays import lazy
from pipeline.dataarrays.grids import grid_of
from pipeline.engine.progress import Progress
from pipeline.jobs.config import FIT
from pipeline.methods.estimators import SklearnSettings
from pipeline.methods.gmm import GaussianSettings
from pipeline.methods.histogram import HistogramSettings
from pipeline.methods.isodata import IsodataSettings
from pipeline.methods.kmeans import KMeansSettings
from pipeline.methods.ranges import RangesSettings
from pipeline.scenes.raster_source import RasterSource
from pipeline.sinks.registry import OutputConfig

pytestmark = pytest.mark.lowest


@pytest.fixture
def scene_file(write_raster: WriteRaster) -> Path:
    pixels = patches(4)
    pixels[:, 40:60, 100:130] = 0
    return write_raster(
        "scene.tif", pixels, bands=["B02", "B03", "B04", "B08"], nodata=0, tiled=True, blockxsize=64, blockysize=64
    )


def test_the_three_lines_of_the_readme(scene_file: Path, tmp_path: Path) -> None:
    scene = open_scene(scene_file, bands=["B04", "B03", "B08"])
    model = fit(scene, k=6)
    write(label(scene, model), tmp_path / "classes.tif")
    with rasterio.open(tmp_path / "classes.tif") as file, rasterio.open(scene_file) as original:
        labels, pixels = file.read(1), original.read([3, 2, 4])
        assert (file.crs, file.transform, file.shape) == (original.crs, original.transform, original.shape)
    invalid = (pixels == 0).any(axis=0)
    np.testing.assert_array_equal(labels == 0, invalid)
    distances = pairwise_distances(pixels[:, ~invalid].T.astype("float64"), model.centres)
    np.testing.assert_array_equal(labels[~invalid], distances.argmin(axis=1) + 1)


def test_opening_reads_no_pixel(scene_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RasterSource, "read", lambda *_: pytest.fail("a block was read"))
    scene = open_scene(scene_file)
    assert scene.dims == ("band", "y", "x")
    assert scene.dtype == np.uint16
    assert scene.chunks is not None
    model_free = scene.sel(band=["B04"]).isel(x=slice(0, 10))
    assert model_free.sizes == {"band": 1, "y": 200, "x": 10}


def test_the_lazy_scene_is_what_rasterio_reads(scene_file: Path) -> None:
    scene = open_scene(scene_file, chunk=48)
    with rasterio.open(scene_file) as file:
        np.testing.assert_array_equal(scene.values, file.read())
        np.testing.assert_array_equal(scene.coords["valid"].values, (file.read() != 0).all(axis=0))
        assert scene.rio.transform() == file.transform
        assert scene.rio.crs == file.crs
        assert scene.rio.nodata == 0
        x, y = file.xy(7, 11)
    assert (float(scene.x[11]), float(scene.y[7])) == (x, y)


def test_pixels_and_validity_of_a_block_come_from_one_read(scene_file: Path) -> None:
    source = CountingSource(RasterSource(described([str(scene_file)]), (64, 64)))
    scene = lazy.to_dataarray(source)
    model = fit(open_scene(scene_file), k=3)
    label(scene, model).compute()
    assert set(source.reads.values()) == {1}
    assert len(source.reads) == len(source.blocks)


def test_fitting_reads_each_block_once(scene_file: Path) -> None:
    source = CountingSource(RasterSource(described([str(scene_file)]), (64, 64)))
    fit(lazy.to_dataarray(source), k=3)
    assert set(source.reads.values()) == {1}
    assert len(source.reads) == len(source.blocks)


@pytest.fixture
def in_one_block(scene_file: Path) -> tuple[ClusterModel, npt.NDArray[np.uint8]]:
    """Model and labels of the scene as a single block on one thread."""
    whole = open_scene(scene_file, chunk=400)
    model = fit(whole, k=5, pixels=5000, starts=2, workers=1)
    return model, label(whole, model).values


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chunk=st.integers(16, 300), workers=st.integers(1, 4))
def test_chunks_and_workers_do_not_change_model_or_labels(
    scene_file: Path, in_one_block: tuple[ClusterModel, npt.NDArray[np.uint8]], chunk: int, workers: int
) -> None:
    model, labels = in_one_block
    cut = open_scene(scene_file, chunk=chunk)
    assert fit(cut, k=5, pixels=5000, starts=2, workers=workers) == model
    np.testing.assert_array_equal(label(cut, model).values, labels)


def test_a_plain_rioxarray_scene_works(scene_file: Path) -> None:
    import rioxarray

    ours = open_scene(scene_file)
    opened = rioxarray.open_rasterio(scene_file, chunks={"x": 100, "y": 50})
    assert isinstance(opened, xr.DataArray)
    model = fit(ours, k=4)
    unnamed = model.model_copy(update={"bands": ("band1", "band2", "band3", "band4")})
    assert fit(opened, k=4).centroids == model.centroids
    np.testing.assert_array_equal(label(opened, unnamed).values, label(ours, model).values)


def test_an_array_in_memory_works() -> None:
    pixels = patches(1, dtype="float32")[0]
    pixels[:20] = np.nan
    scene = xr.DataArray(pixels, dims=("y", "x"))
    labels = label(scene, fit(scene, k=4))
    np.testing.assert_array_equal(labels.values == 0, np.isnan(pixels))


def test_band_order_of_the_scene_does_not_matter(scene_file: Path) -> None:
    model = fit(open_scene(scene_file, bands=["B02", "B03", "B04", "B08"]), k=5)
    other = open_scene(scene_file, bands=["B08", "B02", "B04", "B03"])
    np.testing.assert_array_equal(label(other, model).values, label(open_scene(scene_file), model).values)


def test_labels_are_lazy_uint8_with_crs_transform_and_nodata(scene_file: Path) -> None:
    scene = open_scene(scene_file)
    labels = label(scene, fit(scene, k=5))
    assert labels.chunks == scene.chunks[1:]
    assert labels.dtype == np.uint8
    assert labels.rio.crs == scene.rio.crs
    assert labels.rio.transform() == scene.rio.transform()
    assert labels.rio.nodata == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bands": ("B02", "B03", "B04", "B11")}, "B11"),
        ({"units": {"dtype": "float32", "scales": [1] * 4, "offsets": [0] * 4}}, "uint16"),
        ({"units": {"dtype": "uint16", "scales": [0.0001] * 4, "offsets": [0] * 4}}, "0.0001"),
    ],
)
def test_a_scene_that_does_not_fit_the_model_is_refused(scene_file: Path, change: dict[str, Any], words: str) -> None:
    scene = open_scene(scene_file)
    model = fit(scene, k=3)
    other = type(model).model_validate({**model.model_dump(), **change})
    with pytest.raises(ModelError, match=words):
        label(scene, other)


def test_writing_twice_needs_permission(scene_file: Path, tmp_path: Path) -> None:
    scene = open_scene(scene_file)
    labels = label(scene, fit(scene, k=3))
    path = write(labels, tmp_path / "classes.tif")
    before = path.read_bytes()
    with pytest.raises(OutputError, match=r"classes\.tif: the file exists already"):
        write(labels, path)
    assert path.read_bytes() == before
    write(labels, path, overwrite=True)


def test_write_takes_colours_of_classes_and_never_replaces_their_file(scene_file: Path, tmp_path: Path) -> None:
    scene = open_scene(scene_file)
    labels = label(scene, fit(scene, k=3))
    colours: list[Any] = [(1, 2, 3), "#0a0b0c", [250, 240, 230]]
    with rasterio.open(write(labels, tmp_path / "a.tif", palette=colours)) as file:
        assert [file.colormap(1)[i][:3] for i in (1, 2, 3)] == [(1, 2, 3), (10, 11, 12), (250, 240, 230)]
    for palette, message in (
        (colours[:2], "^palette: there are 2 colours for 3 classes"),
        ([(1, 2, 300)] * 3, "a list with a colour for each class"),
        ("natural", "natural: these colours are those of a model's classes"),
    ):
        with pytest.raises(ConfigError, match=message):
            write(labels, tmp_path / "b.tif", palette=palette)
    (tmp_path / "c.txt").write_text("1 red\n2 lime\n")
    with pytest.raises(ConfigError, match=r"c\.txt: this file is an input"):
        write(labels, tmp_path / "c.txt", palette=str(tmp_path / "c.txt"), overwrite=True)
    assert not (tmp_path / "b.tif").exists()


def test_flags_name_the_classes_of_a_written_map(tmp_path: Path) -> None:
    flags = {"flag_values": [0, 1, 2, 3], "flag_meanings": "nodata water dry_land x"}
    array = xr.DataArray(np.ones((20, 30), np.uint8), dims=("y", "x"), attrs={"k": 4, **flags})
    write(array, tmp_path / "m.tif")
    style = (tmp_path / "m.qml").read_text()
    assert re.findall(r'label="([^"]*)"', style)[:4] == ["water", "dry land", "x", "class 4"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: predict("s.tif", model, "x.tif"), "predict: scene: expected a SceneConfig.*; not a str"),
        (
            lambda model: predict(SceneConfig(source=("s.tif",)), model, "x.tif"),
            "predict: output: expected an OutputConfig.*; not a str",
        ),
        (
            lambda _: predict(SceneConfig(source=("s.tif",)), "m.json", OutputConfig(labels="x.tif")),
            "predict: model: expected a ClusterModel.*; not a str",
        ),
        (lambda _: run_config("my.yaml"), r"run_config: config: expected a RunConfig, from load_config.*; not a str"),
        (lambda _: run_config({}), "run_config: config: expected a RunConfig.*; not a dict"),
        (lambda _: load_config(None), "load_config: path: expected the path of a YAML file.*; not None"),
        (lambda model: model.save(None), "save: path: expected the path of a file.*; not None"),
        (lambda _: write(xr.DataArray(np.ones((2, 2), "u1")), None), "write: path: expected the path.*; not None"),
    ],
)
def test_arguments_of_other_types_are_refused_in_a_sentence(call: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{message}$"):
        call(model_of(np.array([[1.0], [2.0]])))


def test_write_refuses_an_array_that_is_not_labels(scene_file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected labels"):
        write(open_scene(scene_file), tmp_path / "classes.tif")


def test_isodata_and_clusterers_of_scikit_learn_are_methods_of_fit(scene_file: Path, tmp_path: Path) -> None:
    scene = open_scene(scene_file)
    few = {"k_min": 2, "k_max": 6, "min_size": "1%", "max_std": 0.2, "min_distance": 0.1, "max_iter": 9}
    birch = {"estimator": "cluster.Birch", "options": {"threshold": 0.1}, "k": 4, "pixels": 2000}
    for method, own in {"isodata": few, "sklearn": birch}.items():
        model = fit(scene, method=method, **own)
        (tmp_path / "m.json").write_text(model.to_json())
        labels = label(scene, ClusterModel.load(tmp_path / "m.json"))
        assert set(np.unique(labels).tolist()) - {0} == set(range(1, model.k + 1))
        np.testing.assert_array_equal(label(scene.chunk({"y": 37, "x": 51}), model).values, labels.values)
    with pytest.raises(ConfigError, match=r"^fit: starts: an argument of kmeans, minibatch, "):
        fit(scene, method="isodata", starts=7)


@pytest.mark.parametrize(
    ("setting", "words"),
    [({"k": 1}, "k: 1 is"), ({"tol": -1}, "tol: -1 is"), ({"method": "mean"}, "method: 'mean' is")],
)
def test_wrong_settings_of_fit_are_named(scene_file: Path, setting: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        fit(open_scene(scene_file), **setting)


def test_what_is_given_counts_although_another_method_has_it_as_its_default(scene_file: Path) -> None:
    scene = open_scene(scene_file)
    model = fit(scene, method="isodata", max_iter=300, k_min=2, k_max=4, pixels=1000)
    assert model.fitting.max_iter == 300
    assert fit(scene, method="isodata", k_min=2, k_max=4, pixels=1000).fitting.max_iter == 20
    for method, own in (("isodata", {"k": 8}), ("isodata", {"starts": 10}), ("kmeans", {"bins": 20})):
        with pytest.raises(ConfigError, match=rf"^fit: {next(iter(own))}: an argument of "):
            fit(scene, method=method, **own)
    with pytest.raises(ConfigError, match=r"^fit: pixels: 500000 is not allowed"):
        fit(scene.isel(band=[0]), method="histogram", pixels=500_000)


def test_the_documentation_of_fit_says_the_defaults_of_the_methods() -> None:
    entries = re.findall(r"\n    (\w[\w, ]*) : (.*(?:\n {8}.*)+)", str(inspect.getdoc(fit)).replace("\n", "\n    "))
    text = {name: words for names, words in entries for name in names.split(", ")}
    for record in FIT.records.values():
        for name, field in record.model_fields.items():
            if isinstance(field.default, int | float):
                assert str(field.default).replace("e-0", "e-") in text[name], name


@pytest.mark.parametrize(
    ("setting", "words"),
    [({"kk": 3}, "'kk'; did you mean k? it takes: scene, k,"), ({"xyz": "m.tif"}, "'xyz'; it takes: scene, k,")],
)
def test_unknown_arguments_are_refused_with_the_nearest_known_one(
    scene_file: Path, setting: dict[str, Any], words: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(f"fit() got an unexpected keyword argument {words}")):
        fit(open_scene(scene_file), **setting)
    with pytest.raises(TypeError, match=r"open_scene\(\) got an unexpected keyword argument 'kk'; it takes: source"):
        open_scene(scene_file, kk=3)  # type: ignore[call-arg]


def test_progress_is_told_on_request_only(scene_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = open_scene(scene_file, chunk=64)
    labels = label(scene, fit(scene, k=3, starts=2))
    write(labels, tmp_path / "quiet.tif")
    assert capsys.readouterr().err == ""
    fit(scene, k=3, starts=2, progress=True)
    write(labels, tmp_path / "classes.tif", progress=True)
    done = [line.split(",")[0] for line in capsys.readouterr().err.splitlines()]
    last = {line.split(":")[0]: line for line in done}
    assert list(last) == ["sample", "fit", "label", "write"]
    assert list(last.values()) == ["sample: 20 of 20", "fit: 2 of 2", "label: 20 of 20", "write: 2 of 2"]
    own = Progress()
    fit(scene, k=3, starts=2, progress=own)
    assert set(own.seconds) == {"sample", "fit"}
    with pytest.raises(ConfigError, match=r"^write: progress: 1 is not allowed; expected True, False or a Progress$"):
        write(labels, tmp_path / "other.tif", progress=1)  # type: ignore[arg-type]
    assert not (tmp_path / "other.tif").exists()


@pytest.mark.parametrize(
    ("function", "records", "left_out"),
    [
        (open_scene, {SceneConfig: None, ResourceConfig: {"chunk", "timeout"}}, {"source"}),
        (
            fit,
            {
                KMeansSettings: None,
                GaussianSettings: {"ridge", "covariance", "steps"},
                HistogramSettings: {"bins", "by"},
                IsodataSettings: {"k_min", "k_max", "max_std", "min_distance"},
                SklearnSettings: {"estimator"},
                RangesSettings: {"outside"},
                FeaturesConfig: None,
                ResourceConfig: {"workers", "cache_dir"},
            },
            {"scene", "mask", "edges", "options", "progress"},
        ),
        (
            write,
            {OutputSection: {"palette", "zarr_format", "zarr_overviews"}, ResourceConfig: {"workers"}},
            {"labels", "path", "k", "overwrite", "progress"},
        ),
    ],
    ids=["open_scene", "fit", "write"],
)
def test_arguments_and_their_defaults_are_those_of_the_config(
    function: Any, records: dict[type[Record], set[str] | None], left_out: set[str]
) -> None:
    parameters = inspect.signature(function).parameters
    fields = {
        name: record.model_fields[name] for record, names in records.items() for name in names or record.model_fields
    }
    shared = {name for record, names in records.items() for name in names or record.model_fields}
    assert set(parameters) - left_out == shared - left_out
    methods_own = {name for record in records if issubclass(record, FitConfig) for name in record.model_fields}
    assert {name: parameters[name].default for name in shared - left_out} == {
        name: None if name in methods_own - {"method", "seed"} else fields[name].default for name in shared - left_out
    }
    for record, names in records.items():
        given = {name: parameters[name].default for name in (names or set(record.model_fields)) - left_out}
        given = {name: value for name, value in given.items() if name not in methods_own or value is not None}
        required = {"source": ("a.tif",)} if record is SceneConfig else {}
        required |= {"labels": "a.tif"} if record is OutputSection else {}
        required |= {"method": "gmm"} if record is GaussianSettings else {}
        required |= {"method": "isodata"} if record is IsodataSettings else {}
        required |= {"method": "sklearn"} if record is SklearnSettings else {}
        required |= {"method": "histogram"} if record is HistogramSettings else {}
        required |= {"method": "ranges", "edges": (0.0, 1.0)} if record is RangesSettings else {}
        assert parse_record(record, required | given, "test") == record(**required), "Python's defaults are accepted"


def test_the_date_goes_from_the_scene_through_saved_labels_into_the_map(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    path = write_raster("s_20250714.tif", patches(2))
    for chosen, expected in (({}, "2025-07-14"), ({"date": date(2025, 7, 15)}, "2025-07-15")):
        scene = open_scene(path, **chosen)
        label(scene, fit(scene, k=3, starts=1)).to_netcdf(tmp_path / "labels.nc")
        with xr.open_dataset(tmp_path / "labels.nc") as saved:
            write(saved["class"], tmp_path / "map.tif", overwrite=True)
        with rasterio.open(tmp_path / "map.tif") as file:
            assert file.tags()["TERRAZZO_ACQUIRED"] == expected
    assert "acquired" not in open_scene(write_raster("s.tif", patches(2))).attrs


def test_the_nodata_rule_goes_into_the_model(write_raster: WriteRaster, tmp_path: Path) -> None:
    pixels = patches(2)
    pixels[:, :30] = 77
    path = write_raster("s.tif", pixels)
    model = fit(open_scene(path, nodata=77), k=3)
    assert model.nodata == 77
    predict(SceneConfig(source=(str(path),)), model, OutputConfig(labels=str(tmp_path / "p.tif")))
    with rasterio.open(tmp_path / "p.tif") as file:
        np.testing.assert_array_equal(file.read(1) == 0, (pixels == 77).any(axis=0))


def test_the_coordinate_valid_may_be_replaced_by_a_cloud_mask(scene_file: Path) -> None:
    scene = open_scene(scene_file, chunk=64)
    model = fit(scene, k=3)
    clear = np.zeros((200, 300), bool)
    clear[50:, 20:] = True
    masked = scene.assign_coords(valid=(("y", "x"), clear))
    expected = clear & (scene.values != 0).all(axis=0)
    np.testing.assert_array_equal(label(masked, model).values != 0, expected)
    transposed = scene.assign_coords(valid=(("x", "y"), clear.T))
    np.testing.assert_array_equal(label(transposed, model).values != 0, expected)
    halves = scene.assign_coords(valid=(("y", "x"), clear * 0.5))
    assert not label(halves, model).values.any()
    with pytest.raises(ConfigError, match="'valid' is bool \\('y',\\)"):
        label(scene.drop_vars("valid").assign_coords(valid=("y", clear[:, 0])), model)


def test_nan_put_into_a_scene_is_nodata(scene_file: Path) -> None:
    scene = open_scene(scene_file).astype("float32")
    scene = scene.where(scene > 100)
    labels = label(scene, fit(scene, k=3))
    np.testing.assert_array_equal(labels.values == 0, np.isnan(scene.values).any(axis=0))


def test_slices_keep_their_georeference(scene_file: Path) -> None:
    scene = open_scene(scene_file)
    part = scene.isel(y=slice(17, 120), x=slice(30, 200))
    with rasterio.open(scene_file) as file:
        expected = rasterio.windows.transform(rasterio.windows.Window(30, 17, 170, 103), file.transform)
    assert grid_of(part).transform == expected
    thinned = grid_of(scene.isel(y=slice(None, None, 2), x=slice(None, None, 2)))
    assert thinned.resolution == (20, 20)
    order = np.r_[0:100, 150:200, 100:150, 200:300]
    with pytest.raises(ConfigError, match="not evenly spaced"):
        grid_of(scene.isel(x=order))


def test_opening_a_scene_does_not_change_the_size_of_gdal_s_cache(scene_file: Path) -> None:
    from rasterio.env import get_gdal_config

    before = get_gdal_config("GDAL_CACHEMAX")
    fit(open_scene(scene_file), k=3)
    assert get_gdal_config("GDAL_CACHEMAX") == before
