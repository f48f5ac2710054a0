"""Scenes of every kind, each small, for tests of what holds for all of them; and another process to try it in."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affine import Affine
from conftest import WriteRaster, patches
from sources import LEFT, TOP, TRIANGLE, dataset, described, layers, product, write_eopf, write_vector

from pipeline.config.masks import MaskRecord
from pipeline.config.schema import SceneConfig
from pipeline.scenes.mosaic import Mosaic
from pipeline.scenes.open import open_scene_config
from pipeline.scenes.raster_scene import RasterScene

Scene = RasterScene | Mosaic


@dataclass
class Files:
    """Where the scenes of a test come from."""

    data: Path
    folder: Path
    write: WriteRaster

    def tiled(self, name: str = "scene.tif", **profile: Any) -> Path:
        """A raster file of three bands in tiles."""
        return self.write(name, patches(3), tiled=True, blockxsize=64, blockysize=64, **profile)


def file_of_all_bands(files: Files) -> Scene:
    return described(files.tiled())


def file_per_band_resampled(files: Files) -> Scene:
    coarse = Affine(20, 0, 300_000, 0, -20, 5_900_000)
    paths = [
        files.write("s_B02.tif", patches(1)),
        files.write("s_B11.tif", patches(1, (100, 150)), transform=coarse),
    ]
    return described(paths, resampling="bilinear")


def safe_with_masks_and_area(files: Files) -> Scene:
    aoi = {"bounds": (LEFT + 300, TOP - 3300, LEFT + 2500, TOP - 150), "crs": "EPSG:32633"}
    mask = {"layer": "scl", "dilate": 60}
    return described(product(files.folder, "one", layers()), bands=["B02", "B05", "B01"], mask=mask, aoi=aoi)


def safe_with_a_mask_of_the_fit(files: Files) -> Scene:
    path = product(files.folder, "one", layers())
    return open_scene_config(SceneConfig(source=(str(path),)), fit_mask=MaskRecord(layer="scl", drop=(9,)))


def safe_in_an_archive(files: Files) -> Scene:
    path = product(files.folder, "one", layers())
    return described(shutil.make_archive(str(files.folder / "zipped"), "zip", path.parent, path.name))


def stac_item(files: Files) -> Scene:
    return described(item(files, [files.tiled()]))


def stac_collection(files: Files) -> Scene:
    return described(
        item(files, [files.tiled(), files.tiled("other.tif", transform=Affine(10, 0, 301_000, 0, -10, 5_900_500))])
    )


def item(files: Files, paths: list[Path]) -> Path:
    """Write STAC items, one per file."""
    features = [
        {
            "type": "Feature", "stac_version": "1.1.0", "id": path.stem, "geometry": None, "links": [],
            "properties": {"datetime": "2023-06-25T10:20:21Z"},
            "assets": {"cover": {"href": str(path), "type": "image/tiff", "roles": ["data"]}},
        }
        for path in paths
    ]  # fmt: skip
    made: Any = features[0] if len(features) == 1 else {"type": "FeatureCollection", "features": features}
    path = files.folder / "items.json"
    path.write_text(json.dumps(made))
    return path


def eopf_store_with_a_mask(files: Files) -> Scene:
    return described(write_eopf(files.data, files.folder), mask="scl")


def netcdf_store(files: Files) -> Scene:
    path = files.folder / "s.nc"
    dataset("south up")[0].to_netcdf(path, engine="h5netcdf")
    return described(path)


def zarr_store(files: Files) -> Scene:
    path = files.folder / "s.zarr"
    dataset("bands")[0].to_zarr(path, zarr_format=2, consolidated=False)
    return described(path)


def area_of_interest_of_a_polygon(files: Files) -> Scene:
    return described(files.tiled(), aoi=write_vector(files.folder / "a.geojson", TRIANGLE))


def mosaic_of_two(files: Files) -> Scene:
    return described(two_products(files), mask="scl")


def mosaic_cut_to_an_area(files: Files) -> Scene:
    bounds = (LEFT + 1230, TOP - 2770, LEFT + 3990, TOP - 1010)
    return described(two_products(files), aoi={"bounds": bounds, "crs": "EPSG:32633"})


def two_products(files: Files) -> list[Path]:
    """Two overlapping products of different units, in another zone."""
    old = layers(seed=50)
    return [
        product(files.folder, "one", layers()),
        product(
            files.folder, "two", old, origin=(LEFT + 1000, TOP - 400), tile="T33UVU", baseline="02.14", offsets=None
        ),
    ]


KINDS: list[Callable[[Files], Scene]] = [
    file_of_all_bands,
    file_per_band_resampled,
    safe_with_masks_and_area,
    safe_with_a_mask_of_the_fit,
    safe_in_an_archive,
    stac_item,
    stac_collection,
    eopf_store_with_a_mask,
    netcdf_store,
    zarr_store,
    area_of_interest_of_a_polygon,
    mosaic_of_two,
    mosaic_cut_to_an_area,
]
