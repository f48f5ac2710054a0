"""Scenes for tests: described and opened files, Zarr groups and products, models."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from affine import Affine
from conftest import patches

from benchmarks import safe
from benchmarks.safe import SafeRecipe
from pipeline.config.schema import SceneConfig
from pipeline.core.pixels import BlockSource
from pipeline.models.base import ClusterModel
from pipeline.scenes.mosaic import Mosaic
from pipeline.scenes.mosaic_source import MosaicSource
from pipeline.scenes.open import open_scene_config
from pipeline.scenes.raster_scene import RasterScene
from pipeline.scenes.raster_source import RasterSource


def described(files: Sequence[str | Path] | str | Path, **settings: Any) -> RasterScene:
    """Describe the scene of some files: read their metadata."""
    source = [str(files)] if isinstance(files, str | Path) else [str(file) for file in files]
    return open_scene_config(SceneConfig.model_validate({"source": source, **settings}))


def add_array(group: zarr.Group, name: str, values: npt.NDArray[Any], **how: Any) -> zarr.Array:
    """Add an array with values to a Zarr group; `create_array` takes values only from zarr 3.1 on."""
    array = group.create_array(name, shape=values.shape, dtype=values.dtype, **how)
    array[:] = values
    return array


FULL = "S2A_MSIL2A_20221005T115411_N0400_R023_T29UNU_20221005T164454.SAFE"

SIDES = {10: 128, 20: 80, 60: 32}
"""Side of JPEG 2000 tiles per resolution in metres."""

ROWS = 360
"""Rows and columns of a small product at 10 m."""


def layers(seed: int = 0) -> dict[str, npt.NDArray[Any]]:
    """Generated pixels of a small product: a few bands per resolution and a scene classification."""
    made: dict[str, npt.NDArray[Any]] = {}
    for resolution, bands in {10: ("B02", "B03", "B04", "B08"), 20: ("B05", "B8A", "B11"), 60: ("B01", "B09")}.items():
        rows = ROWS * 10 // resolution
        stack = 1000 + 30 * patches(len(bands), (rows, rows), seed=seed + resolution).astype("uint16")
        made |= dict(zip(bands, stack, strict=True))
    scl = np.full((ROWS // 2, ROWS // 2), 4, "uint8")
    scl[:20, :30], scl[60:, 70:], scl[40, 40] = 9, 0, 3
    return made | {"SCL": scl}


_made: dict[object, tuple[str, dict[str, bytes]]] = {}
"""Names and files of the products made so far, by what they were made from."""


def once(made_from: object, folder: Path, make: Callable[[Path], Path]) -> Path:
    """Make a product in a folder, or write again what was made from the same before, which is quicker than encoding."""
    if made_from not in _made:
        path = make(folder)
        files = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
        _made[made_from] = path.name, files
        return path
    name, files = _made[made_from]
    for relative, content in files.items():
        (folder / name / relative).parent.mkdir(parents=True, exist_ok=True)
        (folder / name / relative).write_bytes(content)
    return folder / name


def write_safe(
    folder: Path,
    pixels: Mapping[str, npt.NDArray[Any]],
    recipe: SafeRecipe | None = None,
    *,
    tile_sides: Mapping[int, int] = SIDES,
) -> Path:
    """Write a SAFE product of small tiles, as `benchmarks.safe` does."""
    hashed = [
        (name, plane.dtype, plane.shape, hashlib.sha256(plane.tobytes()).hexdigest()) for name, plane in pixels.items()
    ]
    made_from = repr((hashed, recipe, tile_sides))
    return once(made_from, folder, lambda to: safe.write_safe(to, pixels, recipe, tile_sides=tile_sides))


METADATA = "S2A_MSIL2A_20251008T100041_N0511_R122_T32TQM_20251008T122613.json"


def write_eopf(data: Path, folder: Path, chunk: int = 180) -> Path:
    """Write a small EOPF product with the groups and attributes of a real one and generated pixels."""
    return once(("EOPF", data, chunk), folder, lambda to: _make_eopf(data, to, chunk))


def _make_eopf(data: Path, folder: Path, chunk: int) -> Path:
    tree = json.loads((data / "eopf-zarr-metadata" / METADATA).read_text())
    path = folder / "S2A_MSIL2A_20251008.zarr"
    root = zarr.create_group(path, zarr_format=2, attributes=tree["attributes"])
    made = layers()

    def add(where: str, name: str, pixels: npt.NDArray[Any], size: int) -> None:
        node = tree
        for part in [*where.split("/"), name]:
            node = node["members"][part]
        attributes = {key: value for key, value in node["attributes"].items() if key not in {"proj:bbox", "proj:shape"}}
        group = root.require_group(where)
        chunks = tuple(min(chunk, side) for side in pixels.shape)
        add_array(group, name, pixels, chunks=chunks, fill_value=node["fill_value"]).attrs.update(attributes)
        for axis, start, step in (("x", 699_960, size), ("y", 4_700_040, -size)):
            if axis not in group:
                centres = start + step * (np.arange(len(pixels)) + 0.5)
                made_axis = add_array(group, axis, centres.astype("int64"), chunks=(len(pixels),))
                made_axis.attrs.update({"_ARRAY_DIMENSIONS": [axis]})

    for size in (10, 20, 60):
        for band, pixels in made.items():
            native = len(pixels) * {10: 1, 20: 2, 60: 6}[size] == 360
            if native and band != "SCL":
                add(f"measurements/reflectance/r{size}m", band.lower(), pixels, size)
    add("conditions/mask/l2a_classification/r20m", "scl", made["SCL"], 20)
    return path


def whole(source: BlockSource) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Read all blocks of a source; return pixels (band, rows, columns) and validity (rows, columns)."""
    info = source.info
    data = np.zeros((len(info.bands), *info.grid.shape), info.dtype)
    valid = np.zeros(info.grid.shape, bool)
    for block in source.blocks:
        pixels = source.read(block)
        data[(slice(None), *block.slices)] = pixels.data
        valid[block.slices] = pixels.valid
    return data, valid


def opened(files: list[str] | str | Path, chunk: int = 64, **settings: Any) -> RasterSource:
    """Open the scene of some files as a source with square blocks."""
    paths = [str(file) for file in files] if isinstance(files, list) else [str(files)]
    return RasterSource(described(paths, **settings), (chunk, chunk))


def content(**changes: Any) -> dict[str, Any]:
    """Content of a model file of version 1, of two bands and three classes, with changes."""
    return {
        "bands": ("B04", "B08"),
        "units": {"dtype": "uint16", "scales": (1e-4, 1e-4), "offsets": (-0.1, 0.0)},
        "nodata": 0.0,
        "centroids": ((100.5, 2000.25), (1000.1, 1500.0), (3000.0, 3100.7)),
        "counts": (10, 20, 30),
        "inertia": 12.5,
        "fitting": {
            "method": "kmeans", "seed": 0, "starts": 5, "max_iter": 300, "tol": 1e-4, "iterations": 17,
            "sampled_pixels": 60, "valid_pixels": 80, "scene_pixels": 100,
        },
        "provenance": {"software": "terrazzo", "version": "0.1.0", "sources": ("a.tif",), "crs": None},
        **changes,
    }  # fmt: skip


def changed(path: str, value: object) -> dict[str, Any]:
    """Content of a model with a changed value at a dotted path."""
    parts: dict[str, Any] = json.loads(json.dumps(content()))
    *sections, key = path.split(".")
    inner = parts
    for section in sections:
        inner = inner[section]
    inner[key] = value
    return parts


def build(parts: dict[str, Any]) -> ClusterModel:
    """Build a model from the content of its file."""
    return ClusterModel.from_json(json.dumps({"format": "terrazzo-model", **parts}))


def model_of(
    centres: npt.ArrayLike,
    bands: Sequence[str] = (),
    dtype: str = "uint8",
    classes: Sequence[int] | None = None,
) -> ClusterModel:
    """Build a model with centroids of shape (k, band), or with points, shape (point, band), of these classes."""
    rows = np.asarray(centres, np.float64).tolist()
    names = tuple(bands) or tuple(f"band{n}" for n in range(1, len(rows[0]) + 1))
    units = {"dtype": dtype, "scales": (1.0,) * len(names), "offsets": (0.0,) * len(names)}
    counts = (1,) * (max(classes) if classes else len(rows))
    parts = content(bands=names, units=units, centroids=rows, counts=counts)
    return build(parts if classes is None else {**parts, "classes_of_points": list(classes)})


def gaussians_of(
    means: npt.ArrayLike, covariances: npt.ArrayLike, weights: npt.ArrayLike, **changes: Any
) -> ClusterModel:
    """Build a model of Gaussians of shapes (k, band), (k, band, band) and (k,), with changes of its content."""
    rows, matrices, shares = (np.asarray(each, np.float64).tolist() for each in (means, covariances, weights))
    names, counts = tuple(f"band{n}" for n in range(1, len(rows[0]) + 1)), [1] * len(rows)
    units = {"dtype": "uint8", "scales": (1.0,) * len(names), "offsets": (0.0,) * len(names)}
    classes = [{"id": label, "name": f"class {label}", "pixels": 1} for label in range(1, len(rows) + 1)]
    parts = content(bands=names, units=units, counts=counts, means=rows, covariances=matrices, weights=shares)
    del parts["centroids"]
    return build({**parts, "schema_version": 2, "kind": "gaussians", "classes": classes, **changes})


ORIGIN = Affine(10, 0, 300_000, 0, -10, 5_900_000)


def polygon(*corners: tuple[float, float]) -> dict[str, Any]:
    """GeoJSON polygon with the given corners."""
    return {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}


TRIANGLE = polygon((300_203, 5_899_871), (302_517, 5_899_333), (300_811, 5_898_213))


def write_vector(path: Path, *shapes: dict[str, Any], crs: str = "EPSG:32633") -> str:
    """Write GeoJSON geometries as a vector file; return its path."""
    features = [{"type": "Feature", "properties": {}, "geometry": shape} for shape in shapes]
    named = {"type": "name", "properties": {"name": f"urn:ogc:def:crs:{crs.replace(':', '::')}"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": {"type": "name", **named}, "features": features}))
    return str(path)


LEFT = 300_000
TOP = 5_900_040


def product(folder: Path, name: str, pixels: dict[str, npt.NDArray[Any]], **recipe: Any) -> Path:
    """Write a small SAFE product into a folder of its own."""
    (folder / name).mkdir()
    return write_safe(folder / name, pixels, SafeRecipe(**recipe))


def mosaic(sources: list[Path], chunk: int = 100, **settings: Any) -> MosaicSource:
    """Open several products or stores as a mosaic with square blocks."""
    scene = described(sources, **settings)
    assert isinstance(scene, Mosaic)
    return MosaicSource(scene, (chunk, chunk))


NAMES = ("red", "green", "nir")


def dataset(kind: str) -> tuple[xr.Dataset, npt.NDArray[Any]]:
    """Make a dataset of three bands in a common layout; return it and its pixels, north up."""
    pixels = patches(3, (80, 100))
    y, x = 5_900_000 - 10 * (np.arange(80) + 0.5), 300_000 + 10 * (np.arange(100) + 0.5)
    crs = xr.DataArray(0, attrs={"crs_wkt": "EPSG:32633"})
    if kind == "variables":
        made = xr.Dataset({name: (("y", "x"), plane) for name, plane in zip(NAMES, pixels, strict=True)})
        return made.assign_coords(y=y, x=x, spatial_ref=crs), pixels
    if kind == "bands":
        made = xr.Dataset({"refl": (("band", "y", "x"), pixels)}, {"band": list(NAMES), "y": y, "x": x})
        return made.assign_coords(spatial_ref=crs), pixels
    if kind == "south up":
        made = xr.Dataset({"refl": (("band", "y", "x"), pixels[:, ::-1])}, {"band": [1, 2, 3], "y": y[::-1], "x": x})
        return made.assign_coords(spatial_ref=crs), pixels
    lat, lon = 52 - 1e-4 * np.arange(80), 12 + 1e-4 * np.arange(100)
    made = xr.Dataset(
        {"refl": (("latitude", "longitude", "band"), pixels.transpose(1, 2, 0))},
        {"latitude": lat, "longitude": lon, "band": list(NAMES)},
    )
    return made, pixels
