"""Sources of scenes: they go to another process whole, and those of many scenes on a large grid are small."""

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import numpy.typing as npt
import pytest
from affine import Affine
from conftest import ROOT, WriteRaster, patches
from hypothesis import given, settings
from hypothesis import strategies as st
from sources import (
    LEFT,
    TOP,
    TRIANGLE,
    dataset,
    described,
    layers,
    product,
    whole,
    write_eopf,
    write_vector,
)

from pipeline.config.masks import MaskRecord
from pipeline.config.schema import SceneConfig
from pipeline.core.grid import Block
from pipeline.geo.align import Alignment
from pipeline.scenes.crop import CroppedSource, cropped
from pipeline.scenes.cut import Cut
from pipeline.scenes.mosaic import Extents, Mosaic, make_mosaic
from pipeline.scenes.mosaic_source import MosaicSource, open_source
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
    import shutil

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
    import json

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


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[ProcessPoolExecutor]:
    """Another process that shares nothing with this one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


def read_all(pickled: bytes) -> list[npt.NDArray[Any]]:
    """Read a pickled source: its pixels, validity, and which pixels take part in the fit."""
    source = pickle.loads(pickled)  # noqa: S301 (pickled by the test)
    fitting = [source.read_for_fit(block)[1].ravel() for block in source.blocks if hasattr(source, "read_for_fit")]
    return [*whole(source), np.concatenate(fitting) if fitting else np.empty(0)]


def open_pickled(pickled: bytes, chunk: tuple[int, int]) -> list[npt.NDArray[Any]]:
    """Open a pickled scene and read it."""
    return read_all(pickle.dumps(open_source(pickle.loads(pickled), chunk)))  # noqa: S301


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_another_process_reads_the_same_pixels(
    kind: Callable[[Files], Scene],
    data: Path,
    tmp_path: Path,
    write_raster: WriteRaster,
    elsewhere: ProcessPoolExecutor,
) -> None:
    scene = kind(Files(data, tmp_path, write_raster))
    chunk = (90, 130)
    source = open_source(scene, chunk)
    here = read_all(pickle.dumps(source))
    assert here[1].any()
    for dumps in (pickle.dumps, cloudpickle.dumps):
        for found in (
            elsewhere.submit(read_all, dumps(source)).result(),
            elsewhere.submit(open_pickled, dumps(scene), chunk).result(),
        ):
            for mine, theirs in zip(here, found, strict=True):
                np.testing.assert_array_equal(mine, theirs)
        assert pickle.loads(dumps(scene)) == scene  # noqa: S301
    view = cropped(source)
    if isinstance(view, CroppedSource):
        mine, theirs = whole(view), elsewhere.submit(read_all, cloudpickle.dumps(view)).result()
        np.testing.assert_array_equal(mine[0], theirs[0])
        np.testing.assert_array_equal(mine[1], theirs[1])


class Doubling:
    """Stands for a cache that can be pickled: pixels that come from it are doubled."""

    def cached_reader(self, _part: Any, reader: Any) -> Any:
        return DoublingReader(reader)


class DoublingReader:
    """Doubles what another reader reads."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, window: Block, out: Any, valid: Any) -> None:
        self._reader.read(window, out, valid)
        out *= 2


@pytest.mark.parametrize("kind", [file_of_all_bands, stac_collection])
def test_a_pickled_source_carries_its_cache_and_counts_anew(
    kind: Callable[[Files], Scene], data: Path, tmp_path: Path, write_raster: WriteRaster
) -> None:
    scene = kind(Files(data, tmp_path, write_raster))
    source = open_source(scene, (64, 64), Doubling())  # type: ignore[arg-type]
    doubled, _ = whole(source)
    np.testing.assert_array_equal(doubled, 2 * whole(open_source(scene, (64, 64)))[0])
    passes = source.passes
    assert passes > 0
    copy = pickle.loads(pickle.dumps(source))  # noqa: S301
    assert copy.passes == 0
    np.testing.assert_array_equal(whole(copy)[0], doubled)
    assert copy.passes == passes == source.passes


def test_a_pickled_source_keeps_the_time_limit_under_which_it_was_opened(
    write_raster: WriteRaster, tmp_path: Path, data: Path
) -> None:
    from pipeline.engine.time_limits import current_limit, time_limit

    scene = file_of_all_bands(Files(data, tmp_path, write_raster))
    remote = replace(scene, parts=tuple(replace(part, remote=True) for part in scene.parts))
    with time_limit(7):
        source = open_source(remote, (64, 64))
    for each in (source, pickle.loads(pickle.dumps(source))):  # noqa: S301
        with each._time_limit():
            assert current_limit() == 7


@st.composite
def rectangles(draw: st.DrawFn) -> Block:
    top, left = draw(st.tuples(st.integers(0, 90), st.integers(0, 90)))
    height, width = draw(st.tuples(st.integers(1, 30), st.integers(1, 30)))
    return Block(row=0, column=0, top=top, left=left, height=height, width=width)


@settings(max_examples=200, deadline=None)
@given(extents=st.lists(rectangles(), min_size=1, max_size=12), block=rectangles())
def test_scenes_are_found_by_place_in_their_order(extents: list[Block], block: Block) -> None:
    canvas = np.zeros((len(extents), 120, 120), bool)
    for own, extent in zip(canvas, extents, strict=True):
        own[extent.slices] = True
    shared = canvas[(slice(None), *block.slices)].any(axis=(1, 2))
    assert Extents(tuple(extents)).touching(block) == np.flatnonzero(shared).tolist()


MEASURE = """
import pickle, resource, sys, time, tracemalloc
from pathlib import Path
from pipeline.scenes.mosaic_source import open_source
from sources import whole
mosaic, warm_up = pickle.loads(Path(sys.argv[1]).read_bytes())
whole(open_source(warm_up, (600, 600)))  # loads compiled kernels and GDAL's drivers
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before, start = peak(), time.perf_counter()
source = open_source(mosaic, (1000, 1000))
pixels = source.read(source.blocks.at(150, 60))
seconds, kilobytes = time.perf_counter() - start, peak() - before
print(len(source.blocks), len(mosaic.scenes), int(pixels.valid.sum()), int(pixels.data.sum()), seconds, kilobytes)
"""


def test_the_source_of_2000_scenes_on_58000_blocks_is_set_up_at_once(write_raster: WriteRaster, tmp_path: Path) -> None:
    """Scenes of 500 x 500 pixels, 50 rows of 40 of them, on a grid of 290,000 x 200,000 pixels."""
    pixels = patches(4, (500, 500))
    alone = described(write_raster("scene.tif", pixels, tiled=True, blockxsize=256, blockysize=256))
    own = alone.info.grid
    grid = replace(own, shape=(290_000, 200_000))
    info = replace(alone.info, grid=grid)
    scenes, grids = [], []
    for row in range(50):
        for column in range(40):
            top, left = 5800 * row, 5000 * column
            if (row, column) == (26, 12):  # in the block that is read: partly behind the scene before it
                top, left = 5800 * 25 + 5250, 5000 * 12 + 250
            if (row, column) == (25, 12):
                top = 5800 * 25 + 5000
            moved = replace(own, transform=own.transform @ Affine.translation(left, top))
            parts = tuple(replace(part, grid=moved, alignment=Alignment.of(grid, moved)) for part in alone.parts)
            scenes.append(replace(alone, info=info, parts=parts))
            grids.append(moved)
    mosaic = make_mosaic(scenes, grids, Cut(whole=grid, grid=grid))
    (tmp_path / "mosaic").write_bytes(pickle.dumps((mosaic, mosaic_of_corner(alone))))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "mosaic")],
        capture_output=True, text=True, check=True, cwd=tmp_path, env=environment(),
    )  # fmt: skip
    *counts, seconds, kilobytes = done.stdout.split()
    expected = np.zeros((4, 1000, 1000), np.int64)
    expected[:, 250:750, 250:750] = pixels
    expected[:, :500, :500] = pixels
    covered = np.zeros((1000, 1000), bool)
    covered[250:750, 250:750] = covered[:500, :500] = True
    assert [int(count) for count in counts] == [58_000, 2000, covered.sum(), expected.sum()]
    assert float(seconds) < 1
    assert int(kilobytes) < 100_000
    assert isinstance(open_source(mosaic, (1000, 1000)), MosaicSource)


def mosaic_of_corner(scene: RasterScene) -> Mosaic:
    """A mosaic of one scene, on a grid that is larger."""
    grid = replace(scene.info.grid, shape=(600, 600))
    parts = tuple(replace(part, alignment=Alignment.of(grid, part.grid)) for part in scene.parts)
    scenes = [replace(scene, info=replace(scene.info, grid=grid), parts=parts)]
    return make_mosaic(scenes, [scene.info.grid], Cut(whole=grid, grid=grid))


def environment() -> dict[str, str]:
    """Environment in which the package and the helpers of tests are found."""
    import os

    return os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
