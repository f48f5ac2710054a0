"""Frozen results: labels, model and table of small runs, bit for bit as they were when `golden.json` was written.

The file changes only together with a line in CHANGELOG.md that says which results differ now, and why. The entries of
the selected tests are rewritten by

    TERRAZZO_WRITE_GOLDEN=1 python -m pytest tests/test_golden.py

in one process (no `-n`). Floats of the model are stored as hexadecimal digits, columns of the table as text, labels
as SHA-256 (uint8, row by row) with their transform, EPSG code and counts; a failed test prints old and new values.
New fields of a model and new columns of a table are not a change.

The same entries are meant for every machine and Python, and for the lowest versions of the libraries (decision 3):

- Generated scenes are random integers; floats are made by one division each, so they depend on no mathematical library.
  JPEG 2000 is lossless.
- Bands of other resolutions are resampled by nearest neighbour. Others (bilinear, average, ...) are GDAL's, whose
  versions may round differently: they are not frozen here.
- dask-ml does not promise the last digits and is left out.
"""

import csv
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import xarray as xr
import zarr
from affine import Affine
from conftest import UTM
from rasterio.crs import CRS

from benchmarks.safe import SafeRecipe, write_jp2, write_safe
from pipeline import ClusterModel, fit, label, load_config, open_scene, predict, run_config, write

pytestmark = pytest.mark.lowest

GOLDEN = Path(__file__).with_name("golden.json")
WRITING = "TERRAZZO_WRITE_GOLDEN"
LEFT, TOP = 300_000, 5_900_040
Settings = dict[str, Any]
Record = dict[str, Any]


# Scenes


def numbers(bands: int, shape: tuple[int, int] = (200, 300), seed: int = 0, noise: int = 40) -> npt.NDArray[np.int64]:
    """Pixels of five spectra in patches, shape (band, rows, columns), 10 to 270; classes overlap from a noise of 22."""
    rng = np.random.default_rng(seed)
    spectra = np.stack([rng.permutation([50, 95, 140, 185, 230]) for _ in range(bands)], axis=1)
    coarse = rng.integers(0, 5, (-(-shape[0] // 16), -(-shape[1] // 16)))
    classes = coarse.repeat(16, axis=0).repeat(16, axis=1)[: shape[0], : shape[1]]
    return spectra[classes].transpose(2, 0, 1) + rng.integers(-noise, noise + 1, (bands, *shape))


def typed(pixels: npt.NDArray[np.int64], dtype: str) -> npt.NDArray[Any]:
    """The pixels in the usual range of a data type, with two areas of nodata."""
    unsigned = np.clip(pixels, 1, 255)
    made = {
        "uint8": unsigned,
        "uint16": 30 * unsigned + pixels,
        "int16": 30 * (pixels - 150),
        "int32": 70_000 * (pixels - 100),
        "float32": pixels.astype("float32") / np.float32(300),
        "float64": pixels / 300,
    }[dtype].astype(dtype)
    empty = np.nan if made.dtype.kind == "f" else {"int16": -32_768, "int32": -(2**31)}.get(dtype, 0)
    made[:, 30:70, 100:180] = empty
    made[0, 150:160, 20:40] = empty
    return made


def geotiff(path: Path, pixels: npt.NDArray[Any], **profile: Any) -> str:
    """Write a tiled GeoTIFF, shape (band, rows, columns)."""
    count, height, width = pixels.shape
    shape = {"count": count, "height": height, "width": width, "dtype": pixels.dtype}
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    with rasterio.open(path, "w", **{"driver": "GTiff", **UTM, **shape, **tiles, **profile}) as file:
        file.write(pixels)
    return str(path)


def raster(folder: Path, dtype: str, bands: int = 4, **how: Any) -> str:
    """A GeoTIFF of a type, with nodata."""
    nodata = {"float32": None, "float64": None, "int16": -32_768, "int32": -(2**31)}.get(dtype, 0)
    return geotiff(folder / f"{dtype}.tif", typed(numbers(bands, **how), dtype), nodata=nodata)


def layers(seed: int = 0, base: int = 1000) -> dict[str, npt.NDArray[Any]]:
    """Layers of a small Sentinel-2 product: bands of three resolutions and a scene classification.

    `base` is the number of reflectance 0.
    """
    made: dict[str, npt.NDArray[Any]] = {}
    for resolution, bands in {10: ("B02", "B03", "B04", "B08"), 20: ("B05", "B8A", "B11"), 60: ("B01", "B09")}.items():
        side = 3600 // resolution
        stack = base + 30 * numbers(len(bands), (side, side), seed + resolution)
        made |= dict(zip(bands, stack.astype("uint16"), strict=True))
    scl = np.full((180, 180), 4, "uint8")
    scl[:20, :30], scl[60:, 140:], scl[40, 40] = 9, 0, 3
    made["B04"][100:150, 200:260] = 0
    return made | {"SCL": scl}


def safe(folder: Path, seed: int = 0, **says: Any) -> Path:
    """A SAFE folder of images of several tiles."""
    folder.mkdir(exist_ok=True)
    recipe = SafeRecipe(**says)
    made = layers(seed, base=1000 if recipe.offsets else 0)
    return write_safe(folder, made, recipe, tile_sides={10: 128, 20: 80, 60: 32})


def zipped(product: Path, archive: Path) -> str:
    """A SAFE folder as a zip."""
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(product.rglob("*")):
            file.write(path, Path(product.name) / path.relative_to(product))
    return str(archive)


def stac_item(folder: Path) -> str:
    """A STAC item of three GeoTIFFs, with scale and offset."""
    assets = {}
    for name, plane in zip(("red", "nir", "swir16"), typed(numbers(3), "uint16"), strict=True):
        geotiff(folder / f"{name}.tif", plane[np.newaxis])
        band = {"nodata": 0, "data_type": "uint16", "scale": 1e-4, "offset": -0.1}
        assets[name] = {
            "href": f"./{name}.tif",
            "type": "image/tiff; application=geotiff",
            "roles": ["data"],
            "eo:bands": [{"name": name, "common_name": name}],
            "raster:bands": [band],
        }
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
            "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
        ],
        "id": "made-up",
        "geometry": None,
        "properties": {"datetime": "2020-02-19T10:00:00Z"},
        "links": [],
        "assets": assets,
    }
    path = folder / "item.json"
    path.write_text(json.dumps(item))
    return str(path)


def add(group: zarr.Group, name: str, values: npt.NDArray[Any], chunk: int, **attrs: Any) -> None:
    """An array of a Zarr group, with values; `create_array` takes them only since zarr 3.1."""
    chunks = tuple(min(chunk, side) for side in values.shape)
    array = group.create_array(name, shape=values.shape, dtype=values.dtype, chunks=chunks, fill_value=0)
    array[:] = values
    array.attrs.update(attrs)


def eopf(folder: Path) -> str:
    """An EOPF Zarr product of bands of three resolutions and a scene classification."""
    path = folder / "S2A_MSIL2A_20251008.zarr"
    root, made = zarr.create_group(path, zarr_format=2), layers(seed=3)
    scl = made.pop("SCL")
    for name, plane in [*made.items(), ("scl", scl)]:
        size = 3600 // len(plane)
        where = "conditions/mask/l2a_classification" if name == "scl" else "measurements/reflectance"
        group = root.require_group(f"{where}/r{size}m")
        scaled = {} if name == "scl" else {"scale_factor": 1e-4, "add_offset": -0.1, "fill_value": 0}
        add(group, name.lower(), plane, 100, **scaled, **{"_ARRAY_DIMENSIONS": ["y", "x"], "proj:epsg": 32632})
        for axis, start, step in (("x", 699_960, size), ("y", 4_700_040, -size)):
            if axis not in group:
                add(group, axis, start + step * (np.arange(len(plane)) + 0.5), 360, _ARRAY_DIMENSIONS=[axis])
    return str(path)


def cube(dtype: str, attrs: Mapping[str, Any]) -> xr.Dataset:
    """Two bands in UTM, for NetCDF and Zarr."""
    planes = typed(numbers(2), dtype)
    placed = {
        "y": TOP - 10 * (np.arange(200) + 0.5),
        "x": LEFT + 10 * (np.arange(300) + 0.5),
        "spatial_ref": xr.DataArray(0, attrs={"crs_wkt": CRS.from_epsg(32633).to_wkt()}),
    }
    bands = {name: (("y", "x"), plane, dict(attrs)) for name, plane in zip(("red", "nir"), planes, strict=True)}
    return xr.Dataset(bands, placed)


def netcdf(folder: Path) -> str:
    path = folder / "scene.nc"
    stated = {"_FillValue": np.int16(-32_768), "scale_factor": 1e-4, "add_offset": 0.5}
    cube("int16", stated).to_netcdf(path, engine="h5netcdf")
    return str(path)


def zarr_store(folder: Path) -> str:
    path = folder / "scene.zarr"
    cube("float32", {}).chunk({"y": 70, "x": 90}).to_zarr(path, zarr_format=2, consolidated=False)
    return str(path)


def vrt(folder: Path) -> str:
    """A VRT of two GeoTIFFs side by side."""
    pixels = typed(numbers(3), "uint16")
    west = geotiff(folder / "west.tif", pixels[:, :, :170])
    east = geotiff(folder / "east.tif", pixels[:, :, 170:], transform=UTM["transform"] * Affine.translation(170, 0))
    bands = ""
    for band in (1, 2, 3):
        parts = "".join(
            f"<SimpleSource><SourceFilename>{path}</SourceFilename><SourceBand>{band}</SourceBand>"
            f'<SrcRect xOff="0" yOff="0" xSize="{wide}" ySize="200"/>'
            f'<DstRect xOff="{left}" yOff="0" xSize="{wide}" ySize="200"/></SimpleSource>'
            for path, left, wide in ((west, 0, 170), (east, 170, 130))
        )
        bands += f'<VRTRasterBand dataType="UInt16" band="{band}"><NoDataValue>0</NoDataValue>{parts}</VRTRasterBand>'
    place = "<SRS>EPSG:32633</SRS><GeoTransform>300000, 10, 0, 5900000, 0, -10</GeoTransform>"
    path = folder / "scene.vrt"
    path.write_text(f'<VRTDataset rasterXSize="300" rasterYSize="200">{place}{bands}</VRTDataset>')
    return str(path)


def triangle(folder: Path) -> str:
    """A vector file of a triangle in UTM whose edges meet no pixel centre."""
    ring = [[300_201.3, 5_899_803.1], [302_604.7, 5_899_403.9], [301_102.1, 5_898_107.7], [300_201.3, 5_899_803.1]]
    named = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    shape = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": {}, "geometry": shape}
    path = folder / "area.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": named, "features": [feature]}))
    return str(path)


def band_files(folder: Path) -> list[str]:
    planes = typed(numbers(3, seed=4), "uint16")
    return [
        geotiff(folder / f"B0{band}.tif", plane[np.newaxis], nodata=0, blockxsize=16 * band)
        for band, plane in zip((2, 3, 4), planes, strict=True)
    ]


def jp2_files(folder: Path) -> list[str]:
    paths = [folder / f"scene_{name}.jp2" for name in ("B03", "B08")]
    for path, plane in zip(paths, numbers(2, (240, 240), seed=5), strict=True):
        write_jp2(path, (40 * plane).astype("uint16"), 10, SafeRecipe(), 64)
    return [str(path) for path in paths]


def two_products(folder: Path) -> list[str]:
    """Two overlapping products of different baselines."""
    moved = {"origin": (LEFT + 1000, TOP - 400), "tile": "T33UVU", "baseline": "02.14", "offsets": None}
    return [str(safe(folder / "one")), str(safe(folder / "two", seed=50, **moved))]


# Runs: the sections of a config, without its output


def settings(source: Any, fit: Settings, *, standardize: str = "none", chunk: int = 64, **scene: Any) -> Settings:
    features = {"standardize": standardize}
    fit = EARLIER_DEFAULTS | fit
    return {"scene": {"source": source, **scene}, "features": features, "fit": fit, "run": {"chunk": chunk}}


def with_features(features: Settings, like: Settings) -> Settings:
    """Settings with other features, and the defaults of `fit`."""
    fit = {key: value for key, value in like["fit"].items() if EARLIER_DEFAULTS.get(key) != value}
    return like | {"features": features, "fit": fit}


EARLIER_DEFAULTS = {"starts": 5, "tol": 1e-4}
"""Results that were frozen before the defaults changed are still those of these settings."""
SAMPLED = {"k": 7, "pixels": 6000}
ALL = {"k": 7, "pixels": "all", "starts": 1, "max_iter": 6}
"""Every pixel of these scenes is sampled; few iterations leave work for the passes over all pixels."""
BATCHES = {"k": 5, "method": "minibatch"}

GENERATED: dict[str, Callable[[Path], Settings]] = {
    "geotiff uint8": lambda to: settings(raster(to, "uint8"), SAMPLED),
    "geotiff uint8 all": lambda to: settings(raster(to, "uint8"), ALL),
    "geotiff uint8 robust": lambda to: settings(raster(to, "uint8"), SAMPLED, standardize="robust"),
    "geotiff uint16": lambda to: settings(raster(to, "uint16"), SAMPLED | {"seed": 7}),
    "geotiff uint16 zscore": lambda to: settings(raster(to, "uint16"), SAMPLED, standardize="zscore"),
    "geotiff uint16 all zscore": lambda to: settings(raster(to, "uint16"), ALL, standardize="zscore"),
    "geotiff uint16 all, many classes": lambda to: settings(raster(to, "uint16", 2), ALL | {"k": 30, "max_iter": 3}),
    "geotiff uint8 all, larger than its sample": lambda to: settings(
        raster(to, "uint8", 2, shape=(800, 700)), {"k": 7, "pixels": "all", "tol": 0}, chunk=256
    ),
    "geotiff uint16 defaults": lambda to: with_features({}, settings(raster(to, "uint16"), SAMPLED)),
    "geotiff float32 defaults all": lambda to: with_features(
        {}, settings(raster(to, "float32"), {"k": 7, "pixels": "all", "max_iter": 6})
    ),
    "geotiff uint16 with an index, all": lambda to: with_features(
        {"indices": ["(band1 - band2) / (band1 + band2)"]},
        settings(raster(to, "uint16"), {"k": 7, "pixels": "all", "max_iter": 6}),
    ),
    "geotiff uint16 one band": lambda to: settings(raster(to, "uint16", 1), SAMPLED | {"k": 3, "starts": 2}),
    "geotiff float32": lambda to: settings(raster(to, "float32"), SAMPLED),
    "geotiff float32 zscore": lambda to: settings(raster(to, "float32"), SAMPLED, standardize="zscore"),
    "geotiff float32 all": lambda to: settings(raster(to, "float32"), ALL),
    "geotiff float32 all minmax": lambda to: settings(raster(to, "float32"), ALL, standardize="minmax"),
    "geotiff float64 all": lambda to: settings(raster(to, "float64", 2), ALL),
    "geotiff int32": lambda to: settings(raster(to, "int32", 2), SAMPLED),
    "minibatch uint8": lambda to: settings(raster(to, "uint8", noise=12), BATCHES),
    "minibatch uint16 all": lambda to: settings(raster(to, "uint16", noise=12), BATCHES | {"pixels": "all"}),
    "minibatch float32 zscore": lambda to: settings(raster(to, "float32", noise=12), BATCHES, standardize="zscore"),
    "file per band": lambda to: settings(band_files(to), SAMPLED, chunk=100),
    "jp2": lambda to: settings(jp2_files(to), ALL | {"k": 4}),
    "safe folder, all bands, scl": lambda to: settings(
        str(safe(to)), SAMPLED, bands="all", mask={"scl": [9, 3], "dilate": 40}, chunk=100
    ),
    "safe folder, 20 m": lambda to: settings(str(safe(to)), ALL, bands=["B05", "B8A"], mask="scl"),
    "safe folder, mask of the fit": lambda to: settings(str(safe(to)), SAMPLED | {"mask": "scl"}, chunk=100),
    "safe zip, level 1C": lambda to: settings(
        zipped(safe(to, level="L1C", baseline="02.06", offsets=None), to / "product.zip"), SAMPLED, chunk=128
    ),
    "stac item": lambda to: settings(stac_item(to), SAMPLED),
    "eopf zarr": lambda to: settings(eopf(to), SAMPLED, bands="all", mask="scl", chunk=100),
    "zarr float32": lambda to: settings(zarr_store(to), ALL),
    "netcdf int16": lambda to: settings(netcdf(to), SAMPLED),
    "mosaic": lambda to: settings(two_products(to), SAMPLED, chunk=100),
    "area by bounds": lambda to: settings(
        raster(to, "uint16"), SAMPLED, aoi={"bounds": [300_503, 5_898_507, 302_211, 5_899_602], "crs": "EPSG:32633"}
    ),
    "area by a vector, blocks": lambda to: settings(raster(to, "uint8"), ALL, aoi=triangle(to), crop="blocks"),
    "area by a vector, whole": lambda to: settings(raster(to, "float32"), SAMPLED, aoi=triangle(to), crop="none"),
    "vrt": lambda to: settings(vrt(to), SAMPLED, chunk=100),
}

THUMBNAILS = "s2-safe/esa_S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500.SAFE"
COGS = "scenes/29rkh_20200219_l2a_cog"


def real_jp2(data: Path) -> list[str]:
    found = sorted((data / "scenes/t33uuu_20170216_l1c").glob("*_B0[2348].jp2"))
    assert len(found) == 4
    return [str(path) for path in found]


def real_item(data: Path, folder: Path) -> str:
    """The STAC item of the decimated granule, next to its files."""
    content = json.loads((data / COGS / "S2A_29RKH_20200219_0_L2A.json").read_text())
    for asset in content["assets"].values():
        name = asset["href"].rsplit("/", 1)[-1]
        if name.endswith(".tif") and (data / COGS / name).exists():
            asset["href"] = f"./{name}"
            (folder / name).exists() or shutil.copy(data / COGS / name, folder / name)
    path = folder / "item.json"
    path.write_text(json.dumps(content))
    return str(path)


def real_bands(data: Path, *bands: str) -> list[str]:
    return [str(data / "scenes/t48que_20200223_l2a" / f"{band}.tif") for band in bands]


REAL: dict[str, Callable[[Path, Path], Settings]] = {
    "real aerial uint8": lambda data, _: settings(str(data / "scenes/rgbn_5m/rgbn.tif"), {"k": 6}, chunk=128),
    "real landsat in strips, all zscore": lambda data, _: settings(
        str(data / "scenes/landsat7_olinda/L7_ETMs.tif"), {"k": 8, "pixels": "all"}, standardize="zscore"
    ),
    "real float32 reflectance zscore": lambda data, _: settings(
        str(data / "scenes/rstoolbox_s2/rstoolbox_sen2.tif"), {"k": 4}, standardize="zscore"
    ),
    "real jp2": lambda data, _: settings(real_jp2(data), {"k": 8, "pixels": 50_000}, chunk=256),
    "real file per band, mixed resolutions, all": lambda data, _: settings(
        real_bands(data, "B04", "B08", "B11", "B09"), {"k": 8, "pixels": "all"}, chunk=256
    ),
    "real stac item": lambda data, to: settings(
        real_item(data, to), {"k": 8, "pixels": 50_000}, bands=["red", "nir", "swir16"], mask="scl", chunk=512
    ),
    "real safe folder": lambda data, _: settings(str(data / THUMBNAILS), {"k": 5, "pixels": "all"}, mask="scl"),
    "real safe zip": lambda data, to: settings(
        zipped(data / THUMBNAILS, to / "product.zip"), {"k": 5}, bands=["B02", "B8A", "B01"]
    ),
}


# What is frozen


def run(sections: Settings, folder: Path) -> Path:
    """Run a config and return the path of its map."""
    labels = folder / "out" / "classes.tif"
    labels.parent.mkdir()
    run_config(load_config(config_file(sections, labels)))
    return labels


def config_file(sections: Settings, labels: Path) -> Path:
    path = labels.with_suffix(".yaml")
    path.write_text(json.dumps({"version": 1, "output": {"labels": str(labels)}, **sections}))
    return path


def record(labels: Path) -> Record:
    """Frozen values of a run, from its map and the files next to it."""
    model = labels.with_suffix(".model.json")
    frozen = {"labels": frozen_labels(labels), "table": frozen_table(labels.with_suffix(".csv"))}
    return frozen | ({"model": frozen_model(model)} if model.exists() else {})


def frozen_labels(path: Path) -> Record:
    with rasterio.open(path) as file:
        assert file.dtypes == ("uint8",)
        pixels, transform, epsg = np.ascontiguousarray(file.read(1)), file.transform, file.crs.to_epsg()
    return {
        "shape": spaced(pixels.shape),
        "transform": hexed(transform[:6]),
        "epsg": epsg,
        "counts": spaced(np.bincount(pixels.ravel())),
        "sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
    }


def frozen_model(path: Path) -> Record:
    content = json.loads(path.read_text())
    units, preparation, fitting = content["units"], content["preparation"], content["fitting"]
    return {
        "bands": spaced(content["bands"]),
        "units": spaced([units["dtype"], units["quantity"]]),
        "scales": hexed(units["scales"]),
        "offsets": hexed(units["offsets"]),
        "nodata": content["nodata"],
        "standardize": preparation["standardize"],
        "centre": hexed(preparation["centre"]),
        "spread": hexed(preparation["spread"]),
        "centroids": ", ".join(hexed(row) for row in content["centroids"]),
        "counts": spaced(content["counts"]),
        "inertia": hexed([content["inertia"]]),
        "fitted on": spaced(fitting[name] for name in ("sampled_pixels", "valid_pixels", "scene_pixels")),
        "digest": ClusterModel.load(path).digest,
        "iterations": fitting["iterations"],
    }


def frozen_table(path: Path) -> Record:
    """Each column of a table as text."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {column: ",".join(row[column] for row in rows) for column in rows[0]}


def hexed(numbers: Iterable[float]) -> str:
    """Numbers as hexadecimal digits, exact to the last bit."""
    return spaced(float(number).hex() for number in numbers)


def spaced(values: Iterable[Any]) -> str:
    return " ".join(map(str, values))


def check(name: str, found: Record) -> None:
    """Compare a run with its entry, or write the entry if the environment variable asks for it."""
    entries = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get(WRITING):
        GOLDEN.write_text(json.dumps(dict(sorted((entries | {name: found}).items())), indent=1) + "\n")
        pytest.skip(f"written to {GOLDEN.name}, not compared: {WRITING} is set")
    assert name in entries, f"{name} is not frozen yet; see the docstring"
    changed = "\n".join(changes(entries[name], found))
    assert not changed, f"{name}: other results than are frozen; were they meant? see the docstring\n{changed}"


def changes(frozen: Record, found: Record) -> Iterator[str]:
    """Describe the values that differ from the frozen ones; new fields and columns are ignored."""
    for part, values in frozen.items():
        for field, value in values.items():
            if (now := found.get(part, {}).get(field)) != value:
                yield f"{part}, {field}:\n  was {value}\n  is  {now}"


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_scene_gives_the_frozen_bits(name: str, tmp_path: Path) -> None:
    check(name, record(run(GENERATED[name](tmp_path), tmp_path)))


@pytest.mark.parametrize("name", REAL)
def test_a_real_scene_gives_the_frozen_bits(name: str, data: Path, tmp_path: Path) -> None:
    check(name, record(run(REAL[name](data, tmp_path), tmp_path)))


def test_a_model_gives_the_frozen_bits_on_another_scene(tmp_path: Path) -> None:
    """The other product has another baseline, and so another offset to reflectance."""
    one, other = two_products(tmp_path)
    model = run(settings(one, SAMPLED, chunk=100), tmp_path).with_suffix(".model.json")
    labels = tmp_path / "other.tif"
    config = load_config(config_file(settings(other, SAMPLED, chunk=100), labels))
    predict(config.scene, ClusterModel.load(model), config.output, resources=config.run)
    check("predict", record(labels))


@pytest.mark.parametrize("name", ["geotiff uint16 zscore", "predict"])
def test_a_model_file_of_version_1_gives_the_frozen_bits(name: str, tmp_path: Path) -> None:
    """Files that the first version of Terrazzo wrote in these runs."""
    stem = "version_1" if name != "predict" else "version_1_reflectance"
    path = GOLDEN.parent / "models" / f"{stem}.model.json"
    source = raster(tmp_path, "uint16") if name != "predict" else two_products(tmp_path)[1]
    config = load_config(config_file(settings(source, SAMPLED, chunk=100), tmp_path / "map.tif"))
    predict(config.scene, ClusterModel.load(path), config.output, resources=config.run)
    found = record(tmp_path / "map.tif")
    check(name, found if name == "predict" else found | {"model": frozen_model(path)})


def test_the_python_functions_give_the_bits_of_the_command(tmp_path: Path) -> None:
    scene = open_scene(raster(tmp_path, "uint16"), chunk=96)
    model = fit(scene, k=7, pixels=6000, standardize="zscore", **EARLIER_DEFAULTS)
    labels = write(label(scene, model), tmp_path / "classes.tif")
    path = labels.with_suffix(".model.json")
    path.write_text(model.to_json())
    frozen = json.loads(GOLDEN.read_text())["geotiff uint16 zscore"]
    found = {"labels": frozen_labels(labels), "model": frozen_model(path), "table": frozen["table"]}
    assert not list(changes(frozen, found))
