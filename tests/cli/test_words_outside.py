"""Messages for odd surroundings and input: one sentence each, without control characters."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
from commands import terrazzo
from conftest import ROOT, UTM, WriteRaster, patches
from rasterio.crs import CRS

from benchmarks.safe import write_safe
from pipeline.cli.faults import fault_sentence
from pipeline.config.schema import SceneConfig
from pipeline.core.errors import ModelError, TerrazzoError
from pipeline.jobs.inspect import inspect_scene
from pipeline.jobs.predict import predict
from pipeline.models.base import ClusterModel
from pipeline.sinks.registry import OutputConfig

DEVELOPMENT = ("-X", "dev", "-W", "error")
"""Arguments that make Python report unclosed files, and turn warnings into errors."""

BIDI = "a\u202eb\x1b[31m\x9bc"
"""Reverses the text that follows in a terminal, and colours it."""


def in_surroundings(*words: object, stdout: Any = subprocess.PIPE, python: tuple[str, ...] = (), **env: str) -> Any:
    """Start the command with a standard output, arguments of Python, or an environment of its own."""
    command = [sys.executable, *python, "-m", "pipeline", *map(str, words)]
    path = os.pathsep.join(filter(None, [env.pop("FIRST", ""), str(ROOT), os.environ.get("PYTHONPATH", "")]))
    environ = {**os.environ, "PYTHONPATH": path, **env}
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environ, check=False, timeout=300
    )


def assert_one_sentence(done: Any, *words: str, status: int = 1) -> None:
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("terrazzo: ")
    assert "bug in Terrazzo" not in lines[0]
    assert done.returncode == status
    for word in words:
        assert word in lines[0]


@pytest.fixture
def job(write_raster: WriteRaster, tmp_path: Path) -> Path:
    """A config next to a small scene."""
    write_raster("scene.tif", patches(3, (60, 80)))
    path = tmp_path / "job.yaml"
    path.write_text(
        "version: 1\nscene: {source: scene.tif}\nfit: {k: 3, pixels: 1000, starts: 1}\noutput: {labels: out.tif}\n"
    )
    return path


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_outputs_are_complete_if_the_summary_can_not_be_printed(job: Path) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = in_surroundings("run", job, "-q", stdout=full)
        asked = in_surroundings("run", job, "-q", "--json", "--overwrite", stdout=full)
        inspected = in_surroundings("inspect", job.with_name("scene.tif"), stdout=full)
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1
    for word in ("No space left on device", "all outputs are written", str(job.with_name("out.tif"))):
        assert word in done.stderr
    assert_one_sentence(asked, "the report is incomplete", "all outputs are written", str(job.with_name("out.tif")))
    assert_one_sentence(inspected, "No space left on device", "the answer is incomplete")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"]])
def test_help_that_can_not_be_printed_is_one_sentence(words: list[str]) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = in_surroundings(*words, stdout=full)
    assert_one_sentence(done, "standard output can't be written (No space left on device)")


def test_closed_standard_output_is_reported(job: Path) -> None:
    code = "import sys; sys.stdout = None; sys.argv = sys.argv[1:]; from pipeline.cli.main import main; main()"
    for words, status in ((["run", str(job), "-q"], 0), (["inspect", str(job.with_name("scene.tif"))], 1)):
        command = [sys.executable, "-c", code, "terrazzo", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, len(done.stderr.splitlines())) == (status, 1), done.stderr
        assert "it is closed" in done.stderr


def test_control_characters_are_escaped_wherever_they_come_from(job: Path, tmp_path: Path) -> None:
    scene = job.with_name("scene.tif")
    with rasterio.open(scene, "r+") as file:
        file.set_band_description(1, BIDI)
    bad = tmp_path / "bad.yaml"
    bad.write_text(f"version: 1\nscene: {{source: scene.tif}}\n{json.dumps(BIDI)}: 1\noutput: {{labels: out.tif}}\n")
    item = {"type": "Feature", "stac_version": "1.0.0", "id": BIDI, "geometry": None, "links": [], "assets": {}}
    item |= {"properties": {"datetime": "2020-01-01T00:00:00Z"}}
    (tmp_path / "item.json").write_text(json.dumps(item))
    runs = [
        terrazzo("validate", bad),
        terrazzo("run", job, "--set", "scene.bands=[" + json.dumps(BIDI) + "]", "--set", f"fit.k={json.dumps(BIDI)}"),
        terrazzo("run", tmp_path / f"{BIDI}.yaml"),
        terrazzo("inspect", tmp_path / f"{BIDI}.tif"),
        terrazzo("inspect", tmp_path / "item.json"),
        terrazzo(BIDI),
        terrazzo("inspect", scene),
        terrazzo("inspect", scene, "--json"),
        terrazzo("init", scene),
    ]
    for done in runs:
        text = done.stdout + done.stderr
        assert "\\u202e" in text, done.args
        assert not set(text) & {"\u202e", "\x1b", "\x9b"}, done.args
    name = json.loads(runs[-2].stdout)["bands"][0]["name"]
    assert "\u202e" in name, "JSON escapes, but changes nothing"


@pytest.mark.skipif(sys.platform == "win32", reason="names are UTF-16 there")
def test_names_that_the_locale_can_not_encode_are_one_sentence(job: Path, tmp_path: Path) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    scene = job.with_name("scene.tif")
    with rasterio.open(scene, "r+") as file:
        file.set_band_description(1, "grün")
    shutil.copy(scene, tmp_path / "szene_ü.tif")
    other = tmp_path / "other.yaml"
    other.write_text(job.read_text().replace("scene.tif", "szene_ü.tif"), encoding="utf-8")
    assert_one_sentence(in_surroundings("inspect", tmp_path / "szene_ü.tif", **ascii_only), "PYTHONUTF8=1")
    assert_one_sentence(in_surroundings("run", other, "-q", **ascii_only), "PYTHONUTF8=1", status=2)
    assert_one_sentence(
        in_surroundings("run", job, "-q", "--set", "output.labels=ö.tif", **ascii_only), "PYTHONUTF8=1", status=2
    )
    shown = in_surroundings("inspect", scene, **ascii_only)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "gr\\xfcn" in shown.stdout
    assert json.loads(in_surroundings("inspect", scene, "--json", **ascii_only).stdout)["bands"][0]["name"] == "grün"


@pytest.mark.skipif(sys.platform in {"win32", "darwin"}, reason="names are UTF-8 or UTF-16 there")
def test_a_file_name_that_is_not_utf8_is_one_sentence(job: Path, tmp_path: Path) -> None:
    folder = tmp_path / "latin"
    folder.mkdir()
    shutil.copy(job.with_name("scene.tif"), os.fsdecode(os.fsencode(folder) + b"/\xfc.tif"))
    assert_one_sentence(in_surroundings("inspect", folder, PYTHONUTF8="1"), "not UTF-8", "rename", "\\udcfc.tif")


def test_a_vrt_that_is_not_utf8_is_one_sentence(job: Path) -> None:
    vrt = job.with_name("scene.vrt")
    rasterio.shutil.copy(job.with_name("scene.tif"), vrt, driver="VRT")
    vrt.write_bytes(vrt.read_bytes().replace(b"scene.tif", b"\xfc.tif"))
    with pytest.raises(TerrazzoError):
        inspect_scene([str(vrt)])


def _empty(folder: Path) -> None:
    (folder / "readme").touch()


def _damaged(folder: Path) -> None:
    (folder / "proj.db").write_text("no database")


def _older(folder: Path) -> None:
    shutil.copy(next(Path(rasterio.__file__).parent.glob("proj_data/proj.db")), folder)
    with sqlite3.connect(folder / "proj.db") as base:
        base.execute("UPDATE metadata SET value = '0' WHERE key = 'DATABASE.LAYOUT.VERSION.MINOR'")
    base.close()


@pytest.mark.skipif(
    not list(Path(rasterio.__file__).parent.glob("proj_data/proj.db")), reason="rasterio has no database of its own"
)
@pytest.mark.parametrize(("make", "name"), [(_empty, "PROJ_LIB"), (_damaged, "PROJ_DATA"), (_older, "PROJ_DATA")])
def test_proj_data_of_another_installation_is_one_sentence(
    job: Path, tmp_path: Path, make: Callable[[Path], None], name: str
) -> None:
    folder = tmp_path / "proj"
    folder.mkdir()
    make(folder)
    done = in_surroundings("inspect", job.with_name("scene.tif"), **{name: str(folder)})
    assert_one_sentence(done, f"{name} is {folder}: unset it")


def _netcdf(folder: Path) -> Path:
    pixels = patches(2, (40, 50), dtype="int16")
    axes = {"y": 5_900_000 - 5 - 10.0 * np.arange(40), "x": 300_000 + 5 + 10.0 * np.arange(50)}
    dataset = xr.Dataset(
        {
            name: (("y", "x"), plane, {"grid_mapping": "crs"})
            for name, plane in zip(("red", "nir"), pixels, strict=True)
        },
        coords={**axes, "crs": ((), 0, {"crs_wkt": CRS.from_user_input(UTM["crs"]).to_wkt()})},
    )
    dataset.to_netcdf(folder / "scene.nc", engine="h5netcdf")
    return folder / "scene.nc"


@pytest.mark.parametrize(
    ("package", "how"),
    [
        *(("matplotlib", "missing"), ("dask_ml", "broken"), ("pyogrio", "broken"), ("h5netcdf", "missing")),
        *(("h5netcdf", "broken"), ("pystac", "broken")),
    ],
)
def test_a_package_that_can_not_be_imported_is_one_sentence(job: Path, tmp_path: Path, package: str, how: str) -> None:
    broken = tmp_path / "packages" / package
    broken.mkdir(parents=True)
    error = f"ModuleNotFoundError('nothing', name='{package}')" if how == "missing" else "AttributeError('_ARRAY_API')"
    (broken / "__init__.py").write_text(f"raise {error}\n")
    (tmp_path / "item.json").write_text('{"type": "Feature", "stac_version": "1.0.0"}')
    (tmp_path / "area.geojson").write_text("{}")
    words = {
        "matplotlib": ["run", job, "-q", "--set", "output.palette=viridis"],
        "dask_ml": ["run", job, "-q", "--set", "fit.method=dask-ml"],
        "pyogrio": ["run", job, "-q", "--set", f"scene.aoi={tmp_path / 'area.geojson'}"],
        "h5netcdf": ["inspect", _netcdf(tmp_path)],
        "pystac": ["inspect", tmp_path / "item.json"],
    }[package]
    done = in_surroundings(*words, FIRST=str(broken.parent))
    assert_one_sentence(done, f"the package {package} can't be imported", "pip install")
    assert not list(tmp_path.glob("out*"))


def test_an_unexpected_error_of_the_system_names_its_file_and_reason(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as caught:
        (tmp_path / "a\nb").read_bytes()
    assert fault_sentence(caught.value) == f"{tmp_path}/a\\nb: No such file or directory"
    assert fault_sentence(OSError("something else")) == "something else"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits the address space as Linux does")
@pytest.mark.parametrize("room", [14, 18, 40])
def test_too_little_memory_to_load_libraries_is_not_a_broken_package(job: Path, room: int) -> None:
    """The address space is limited to what Python takes before it imports a library, a thread, and a few MB."""
    code = (
        "import resource, sys; from pathlib import Path; import pipeline.cli.main as cli\n"
        "taken = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        f"resource.setrlimit(resource.RLIMIT_AS, (taken + {room} * 2**20,) * 2)\n"
        f"sys.argv = ['terrazzo', 'validate', {str(job)!r}]\n"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert_one_sentence(done, "there is not enough memory to load the libraries", "ulimit -v")


def _model(**changes: Any) -> str:
    """A model of two bands as JSON, with some of its content replaced."""
    fitting = {"method": "kmeans", "seed": 0, "starts": 1, "max_iter": 9, "tol": 0.0, "iterations": 1}
    content: dict[str, Any] = {
        "format": "terrazzo-model",
        "bands": ["a", "b"],
        "units": {"dtype": "uint16", "scales": [1e-4, 1e-4], "offsets": [0.0, 0.0], "quantity": "reflectance"},
        "preparation": {"standardize": "zscore", "centre": [0.0, 0.0], "spread": [1.0, 1.0]},
        "nodata": "auto",
        "centroids": [[0.1, 0.2], [0.3, 0.4]],
        "counts": [1, 1],
        "inertia": 1.0,
        "fitting": {**fitting, "sampled_pixels": 2, "valid_pixels": 2, "scene_pixels": 2},
        "provenance": {"software": "terrazzo", "version": "0", "sources": ["s"], "crs": None},
    }
    for key, value in changes.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    return json.dumps(content)


@pytest.mark.parametrize(
    "changes",
    [
        {"centroids": [[1e308, 1.0], [0.3, 0.4]]},
        {"centroids": [[-1e99, 1.0], [0.3, 0.4]]},
        {"preparation": {"spread": [5e-324, 1.0]}},
    ],
)
def test_a_model_with_numbers_out_of_range_is_refused(job: Path, changes: dict[str, Any]) -> None:
    """Without numpy's warnings, which pytest turns into errors."""
    if "centroids" in changes:
        with pytest.raises(
            ModelError, match=r"^m\.json: centroids: 1e\+\d+ is too large for float32; .*; the file was"
        ):
            ClusterModel.from_json(_model(**changes), "m.json")
        return
    model = ClusterModel.from_json(_model(**changes))
    scene = SceneConfig.model_validate({"source": [str(job.with_name("scene.tif"))], "names": {1: "a", 2: "b"}})
    with rasterio.open(job.with_name("scene.tif"), "r+") as file:
        file.scales = (1e-4,) * 3
    files = OutputConfig(labels=str(job.with_name("out.tif")))
    with pytest.raises(ModelError, match="distances to them exceed"):
        predict(scene, model, files)
    assert not list(job.parent.glob("out*"))


def _zarr(folder: Path) -> Path:
    with xr.open_dataset(_netcdf(folder), engine="h5netcdf") as dataset:
        dataset.to_zarr(folder / "scene.zarr", zarr_format=2, consolidated=True)
    return folder / "scene.zarr"


def _zipped_zarr(folder: Path) -> Path:
    return Path(shutil.make_archive(str(folder / "scene.zarr"), "zip", _zarr(folder)))


def _item(folder: Path) -> Path:
    asset = {"href": "./scene.tif", "type": "image/tiff; application=geotiff", "roles": ["data"]}
    item = {"type": "Feature", "stac_version": "1.0.0", "id": "x", "geometry": None, "bbox": [0, 0, 1, 1], "links": []}
    item |= {"properties": {"datetime": "2020-01-01T00:00:00Z"}, "assets": {"data": asset}}
    (folder / "item.json").write_text(json.dumps(item))
    return folder / "item.json"


def _safe(folder: Path) -> Path:
    layers = {band: patches(1, (96, 96))[0] for band in ("B02", "B03", "B04", "B08")}
    return write_safe(folder, layers)


def _safe_zip(folder: Path) -> Path:
    (folder / "safe").mkdir()
    root = _safe(folder / "safe")
    return Path(shutil.make_archive(str(folder / root.stem), "zip", root.parent))


RUNS = """
import gc, sys
from pipeline.cli.main import main
job, *sources = sys.argv[1:]
for source in sources:
    sys.argv = ["terrazzo", "run", job, "-q", "--overwrite", "--set", f"scene.source={source}"]
    try:
        main()
    except SystemExit as ended:
        gc.collect()
        print("status", ended.code, file=sys.stderr)
"""


def test_nothing_stays_open_when_a_run_ends(job: Path, tmp_path: Path) -> None:
    """Python's development mode reports each unclosed file and socket on standard error."""
    sources = [job.with_name("scene.tif"), _item(tmp_path)]
    for make in (_netcdf, _zarr, _zipped_zarr, _safe, _safe_zip):
        folder = tmp_path / make.__name__
        folder.mkdir()
        sources.append(make(folder))
    command = [sys.executable, *DEVELOPMENT, "-c", RUNS, str(job), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # asyncio, which zarr uses, then also reports every step that takes a tenth of a second
    lines = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert (done.returncode, lines) == (0, ["status 0"] * len(sources))


@pytest.mark.parametrize("damage", [lambda raw: raw[:3000], lambda raw: raw[:200] + b"\0" * 500 + raw[700:]])
def test_a_damaged_netcdf_file_is_one_sentence(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = _netcdf(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    # development mode would also show errors in h5netcdf's finalizers
    assert_one_sentence(in_surroundings("inspect", path, PYTHONDEVMODE=""), "scene.nc")


SINGULAR = [
    (300_000, 0, 0, 5_900_000, 0, -10),
    (300_000, 10, 5, 5_900_000, 10, 5),
    (300_000, 1e-320, 0, 5_900_000, 0, -10),
    (300_000, 1e-12, 0, 5_900_000, 0, -1e-12),
    (300_000, 1e200, 0, 5_900_000, 0, -10),
    (float("nan"), 10, 0, 5_900_000, 0, -10),
    (300_000, 10, 0, float("inf"), 0, -10),
]
"""GDAL geotransforms that can't be inverted."""


@pytest.mark.parametrize("numbers", SINGULAR)
@pytest.mark.parametrize("kind", ["vrt", "zarr", "netcdf", "world"])
def test_a_singular_geotransform_is_refused(job: Path, tmp_path: Path, numbers: tuple[float, ...], kind: str) -> None:
    source = job.with_name(f"odd.{kind}")
    if kind == "vrt":
        rasterio.shutil.copy(job.with_name("scene.tif"), source, driver="VRT")
        text = source.read_text()
        start, stop = text.index("<GeoTransform>"), text.index("</GeoTransform>")
        source.write_text(text[:start] + "<GeoTransform>" + ", ".join(map(str, numbers)) + text[stop:])
    elif kind == "world":
        source = job.with_name("odd.png")
        with rasterio.open(source, "w", driver="PNG", count=1, dtype="uint8", width=80, height=60) as file:
            file.write(patches(1, (60, 80), dtype="uint8"))
        left, across, skewed, top, down, high = numbers
        centre = (left + across / 2 + skewed / 2, top + down / 2 + high / 2)
        source.with_suffix(".pgw").write_text("\n".join(map(repr, (across, down, skewed, high, *centre))) + "\n")
    else:
        source = _netcdf(tmp_path)
        with xr.open_dataset(source) as dataset:
            bare = dataset.load().drop_vars(["x", "y"])
        bare["crs"].attrs["GeoTransform"] = " ".join(map(str, numbers))
        source = job.with_name("odd.nc" if kind == "netcdf" else "odd.zarr")
        bare.to_netcdf(source, engine="h5netcdf") if kind == "netcdf" else bare.to_zarr(source, consolidated=False)
    if kind == "world" and not (all(map(np.isfinite, numbers)) and numbers[1]):
        pytest.skip("GDAL ignores such a world file")
    with pytest.raises(TerrazzoError):
        inspect_scene([str(source)])


ODD: list[Any] = [
    *(None, "", "x", 0, -1, 2.5, True, 10**30, 10**400, 1e308, float("nan"), float("inf")),
    *([], [[]], [1], [[1, 2], [3]], ["a", "b"], {}, {"a": 1}, [None], [{}], [{"name": []}], BIDI, [0] * 6, ["1"] * 9),
]
"""Values that no metadata field expects."""

FIELDS = [
    *("proj:shape", "proj:transform", "proj:epsg", "proj:code", "proj:bbox", "gsd", "eo:bands", "raster:bands"),
    *("bands", "roles", "type", "unit", "nodata", "raster:scale", "raster:offset", "classification:classes", "href"),
]


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("field", FIELDS)
def test_no_field_of_an_item_is_trusted(tmp_path: Path, field: str) -> None:
    path = _item(tmp_path)
    item = json.loads(path.read_text())
    item["properties"] |= {"platform": "sentinel-2a"} if FIELDS.index(field) % 2 else {}
    for value in ODD[FIELDS.index(field) // 2 % 2 :: 2]:
        asset = item["assets"]["data"]
        for fields, known in ((asset, field), (asset, "eo:bands"), (item["properties"], field)):
            before = dict(fields)
            fields[known] = [{"name": "B04", "common_name": "red", field: value}] if known != field else value
            path.write_text(json.dumps(item))
            _inspect(path)
            fields.clear()
            fields.update(before)


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("where", ["type", "stac_version", "id", "properties", "links", "assets", "collection", "bbox"])
def test_no_part_of_an_item_is_trusted(tmp_path: Path, where: str) -> None:
    path = _item(tmp_path)
    item = json.loads(path.read_text())
    for value in ODD:
        path.write_text(json.dumps({**item, where: value}))
        _inspect(path)


ATTRIBUTES = {
    **dict.fromkeys(("_FillValue", "missing_value", "scale_factor", "add_offset", "valid_min"), ("red", "x")),
    **dict.fromkeys(("valid_range", "_Unsigned", "units", "long_name"), ("red", "x")),
    **dict.fromkeys(("grid_mapping", "coordinates", "nodata", "nodatavals", "flag_values", "crs"), ("red", "")),
    **dict.fromkeys(("proj", "proj:epsg", "proj:transform", "proj:shape", "spatial:shape"), ("red", "")),
    **dict.fromkeys(("spatial:transform", "stac_discovery"), ("red", "")),
    **dict.fromkeys(("GeoTransform", "crs_wkt"), ("crs", "red")),
}
"""Attributes of a store, and two places where each may be: a band, a coordinate, the grid mapping, or the root."""


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_no_attribute_of_a_store_is_trusted(tmp_path: Path, name: str) -> None:
    root = _zarr(tmp_path)
    (root / ".zmetadata").unlink()
    for group in ATTRIBUTES[name]:
        attributes = root / group / ".zattrs"
        before = attributes.read_text() if attributes.exists() else "{}"
        for value in ODD[list(ATTRIBUTES).index(name) % 2 :: 2]:
            attributes.write_text(json.dumps({**json.loads(before), name: value}))
            _inspect(root)
        attributes.write_text(before)


def _inspect(path: Path) -> None:
    """Inspect a scene; any error must be a `TerrazzoError` of one line."""
    try:
        inspect_scene([str(path)])
    except TerrazzoError as error:
        assert str(error).isprintable()  # noqa: PT017 (no error is fine, too)
