"""What stages rely on, for every kind of source: the pixels of the scene, also when read again and by many threads."""

import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import numpy.typing as npt
import pytest
import rasterio
import xarray as xr
from affine import Affine
from blocks import pieces_of
from conftest import UTM, WriteRaster, patches
from fakes import MemorySource
from sources import LEFT, TOP, layers, product

from pipeline.config.masks import MaskRecord
from pipeline.config.schema import SceneConfig
from pipeline.core.grid import Block
from pipeline.core.pixels import BlockSource, PixelSource
from pipeline.dataarrays.source import ArraySource
from pipeline.engine.cache import open_cache
from pipeline.kernels.move_points import EXCLUDED
from pipeline.pixels.block_cache import CachedSource
from pipeline.raster.file_cache import FileCache
from pipeline.scenes.crop import cropped
from pipeline.scenes.mosaic_source import open_source
from pipeline.scenes.open import open_scene_config


@dataclass
class Case:
    """A source, and what the scene holds."""

    source: Any
    data: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    fitting: npt.NDArray[np.bool_]


def pixels_with_holes() -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Pixels with nodata 0, which of them are valid, and which take part in the fit; one block is valid as a whole."""
    data, generator = patches(3), np.random.default_rng(1)
    valid = (generator.random((200, 300)) < 0.8) | (np.arange(200) >= 128)[:, np.newaxis]
    fitting = valid & (np.arange(300) < 250)
    data[:, ~valid] = 0
    return data, valid, fitting


def fake(*_: Any) -> Case:
    data, valid, fitting = pixels_with_holes()
    return Case(MemorySource(data, valid, (64, 64), fitting=fitting), data, valid, fitting)


def raster(request: pytest.FixtureRequest, cache: FileCache | None = None) -> Case:
    write_raster: WriteRaster = request.getfixturevalue("write_raster")
    data, valid, fitting = pixels_with_holes()
    mask = np.broadcast_to(np.arange(300) < 250, (1, 200, 300)).astype("uint8")
    path = write_raster("scene.tif", data, nodata=0, tiled=True, blockxsize=64, blockysize=48)
    scene = open_scene_config(
        SceneConfig(source=(str(path),)), fit_mask=MaskRecord(path=str(write_raster("mask.tif", mask)))
    )
    return Case(open_source(scene, (64, 64), cache), data, valid, fitting)


@pytest.fixture(scope="module")
def two_and_mask(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Path]:
    """Two overlapping products, the first with a nodata hole, and a mask of their mosaic."""
    folder = tmp_path_factory.mktemp("products")
    one, other = layers(), layers(seed=50)
    for band in ("B02", "B03", "B04", "B08"):
        one[band][100:150, 200:260] = 0
    beside = product(folder, "two", other, origin=(LEFT + 1000, TOP - 400), tile="T33UVU")
    grid = UTM | {"transform": Affine(10, 0, LEFT, 0, -10, TOP), "height": 400, "width": 460}
    with rasterio.open(folder / "mask.tif", "w", driver="GTiff", count=1, dtype="uint8", **grid) as file:
        file.write(np.broadcast_to(np.arange(460) < 250, (1, 400, 460)).astype("uint8"))
    return [product(folder, "one", one), beside], folder / "mask.tif"


def mosaic(request: pytest.FixtureRequest, cache: FileCache | None = None) -> Case:
    two, mask = request.getfixturevalue("two_and_mask")
    scene = open_scene_config(SceneConfig(source=tuple(map(str, two))), fit_mask=MaskRecord(path=str(mask)))
    one, other = layers(), layers(seed=50)
    data = np.zeros((4, 400, 460), scene.info.dtype)
    for plane, band in zip(data, ("B02", "B03", "B04", "B08"), strict=True):
        one[band][100:150, 200:260] = 0
        plane[40:, 100:] = other[band]
        plane[:360, :360] = np.where(one[band] > 0, one[band], plane[:360, :360])
    valid = data[0] > 0
    return Case(open_source(scene, (100, 128), cache), data, valid, valid & (np.arange(460) < 250))


def array(*_: Any) -> Case:
    data, valid, _fitting = pixels_with_holes()
    y, x = 5_900_000 - 10 * (np.arange(200) + 0.5), 300_000 + 10 * (np.arange(300) + 0.5)
    scene = xr.DataArray(data, dims=("band", "y", "x"), coords={"y": y, "x": x, "valid": (("y", "x"), valid)})
    return Case(ArraySource(scene.chunk({"band": -1, "y": 64, "x": 64})), data, valid, valid)


PLAIN: list[Callable[..., Case]] = [fake, raster, mosaic, array]


@pytest.fixture(params=PLAIN, ids=lambda make: make.__name__)
def plain(request: pytest.FixtureRequest) -> Case:
    """A source that reads its blocks each time."""
    case: Case = request.param(request)
    return case


WRAPS = {
    "plain": lambda source, _: source,
    "in memory": lambda source, cache: CachedSource(source, cache("memory")),
    "on disk": lambda source, cache: CachedSource(source, cache("disk")),
    "optional": lambda source, cache: CachedSource(source, cache("disk"), required=False),
}


@pytest.fixture(params=WRAPS)
def case(request: pytest.FixtureRequest, plain: Case, tmp_path: Path) -> Iterator[Case]:
    """A source of any kind."""
    with ExitStack() as context:
        opened = partial(lambda kind: context.enter_context(open_cache(kind, tmp_path)))
        yield replace(plain, source=WRAPS[request.param](plain.source, opened))


@pytest.fixture(params=[raster, mosaic], ids=lambda make: make.__name__)
def with_file_cache(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    """A source with a cache of file blocks."""
    with open_cache("disk", tmp_path) as cache:
        yield request.param(request, FileCache(cache))


def check_blocks(source: BlockSource, case: Case) -> None:
    """Read all blocks on threads; compare them with the scene."""
    with ThreadPoolExecutor(3) as pool:
        for block, pixels in zip(source.blocks, pool.map(source.read, source.blocks), strict=True):
            assert (pixels.data.dtype, pixels.valid.dtype) == (source.info.dtype, np.bool_)
            np.testing.assert_array_equal(pixels.valid, case.valid[block.slices])
            expected = case.data[(slice(None), *block.slices)]
            np.testing.assert_array_equal(pixels.data[:, pixels.valid], expected[:, pixels.valid])


def check_for_fit(source: PixelSource, case: Case) -> None:
    """Read all blocks for the fit on threads; compare them with the scene."""
    with ThreadPoolExecutor(3) as pool:
        for block, (pixels, fitting) in zip(source.blocks, pool.map(source.read_for_fit, source.blocks), strict=True):
            np.testing.assert_array_equal(pixels.valid, case.valid[block.slices])
            np.testing.assert_array_equal(fitting, case.fitting[block.slices])
            expected = case.data[(slice(None), *block.slices)]
            np.testing.assert_array_equal(pixels.data[:, pixels.valid], expected[:, pixels.valid])


def check_source(case: Case) -> None:
    """Read a source for the fit twice, then for the map, and again."""
    seen = np.zeros(case.valid.shape, int)
    for block in case.source.blocks:
        seen[block.slices] += 1
    assert (seen == 1).all(), "blocks cover the scene, each pixel once"
    for check in (check_for_fit, check_for_fit, check_blocks, check_blocks, check_for_fit):
        check(case.source, case)


def test_a_source_with_a_cache_of_file_blocks_does_so_too(with_file_cache: Case) -> None:
    check_source(with_file_cache)


def test_a_source_and_its_copy_give_the_pixels_of_the_scene_however_often_they_are_read(case: Case) -> None:
    check_for_fit(case.source, case)
    check_source(replace(case, source=cloudpickle.loads(pickle.dumps(case.source))))
    check_source(case)


def test_a_cropped_source_gives_the_pixels_of_its_extent(plain: Case) -> None:
    window = Block(row=0, column=0, top=-30, left=70, height=150, width=160)
    plain.source.info = replace(plain.source.info, map_window=window)
    around = [np.pad(plane, ((30, 0), (0, 0))) for plane in (*plain.data, plain.valid)]
    data, valid = np.stack(around[:-1])[:, :150, 70:230], around[-1][:150, 70:230]
    for _ in range(2):
        check_blocks(cropped(plain.source), replace(plain, data=data, valid=valid.astype(bool)))


def test_pieces_are_the_pixels_of_the_fit_with_the_labels_last_stored(case: Case) -> None:
    pixels = pieces_of(case.source)
    fitted = case.data[:, case.fitting]
    np.testing.assert_array_equal((pixels.fitted.low, pixels.fitted.high), (fitted.min(axis=1), fitted.max(axis=1)))
    assert sum(pixels.fitted.counts.values()) == case.fitting.sum()
    for number in range(3):
        seen = np.zeros(case.valid.shape, int)
        for piece in pixels.pieces(pixels.blocks):
            rows, columns = (
                slice(start + cut.start, start + cut.stop)
                for start, cut in zip((piece.block.top, piece.block.left), piece.window, strict=True)
            )
            chosen = case.fitting[rows, columns].ravel()
            expected = case.data[:, rows, columns].reshape(len(case.data), -1)
            np.testing.assert_array_equal(piece.points[:, chosen], expected[:, chosen])
            np.testing.assert_array_equal(piece.labels == EXCLUDED, ~chosen)
            assert (piece.labels_and_bounds[:, chosen] == (number if pixels.remembers else 0)).all()
            piece.labels_and_bounds[:, chosen] += 1
            pixels.store_labels(piece)
            seen[rows, columns] += 1
        assert (seen[case.fitting] == 1).all()
