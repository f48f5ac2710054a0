"""Sources of scenes: they go to another process whole, and those of many scenes on a large grid are small."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
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
from scene_kinds import KINDS, Files, Scene, file_of_all_bands, stac_collection
from sources import (
    described,
    whole,
)

from pipeline.core.grid import Block
from pipeline.geo.align import Alignment
from pipeline.scenes.crop import CroppedSource, cropped
from pipeline.scenes.cut import Cut
from pipeline.scenes.mosaic import Extents, Mosaic, make_mosaic
from pipeline.scenes.mosaic_source import MosaicSource, open_source
from pipeline.scenes.raster_scene import RasterScene


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
