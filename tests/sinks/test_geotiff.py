"""The map as a file, checked with rasterio and rio-cogeo."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from rio_cogeo.cogeo import cog_validate

from pipeline.core.errors import OutputError
from pipeline.core.grid import Grid
from pipeline.kernels.checksum import checksum
from pipeline.kernels.majority import halve
from pipeline.sinks.geotiff import MapWriter
from pipeline.sinks.overviews import window_reader
from pipeline.sinks.palette import class_colours
from pipeline.sinks.verify import verify_map

pytestmark = pytest.mark.lowest

CRS = rasterio.CRS.from_epsg(32633).to_wkt()


def make_grid(shape: tuple[int, int], **changes: Any) -> Grid:
    return Grid(**{"shape": shape, "transform": Affine(10, 0, 300_000, 0, -10, 5_900_000), "crs": CRS, **changes})


def some_labels(shape: tuple[int, int], k: int = 8) -> npt.NDArray[np.uint8]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, k + 1, (-(-shape[0] // 23), -(-shape[1] // 23)))
    labels = np.kron(coarse, np.ones((23, 23), int))[: shape[0], : shape[1]].astype("uint8")
    noise = rng.random(shape) < 0.05
    labels[noise] = rng.integers(1, k + 1, noise.sum())
    return labels


def write_labels(path: Path, labels: npt.NDArray[np.uint8], grid: Grid, chunk: tuple[int, int] = (512, 512)) -> Path:
    with MapWriter(path, grid, class_colours(8), {"TERRAZZO_MODEL_SHA256": "abc"}) as writer:
        for block in grid.blocks(chunk):
            writer.add(block, labels[block.slices])
        writer.prepare()
        writer.finish()
    return path


@pytest.mark.parametrize("shape", [(1, 1), (511, 300), (512, 512), (1300, 1047), (3, 2500)])
@pytest.mark.parametrize("chunk", [(512, 512), (100, 77), (4000, 4000)])
def test_blocks_of_any_shape_make_the_same_valid_cog(
    tmp_path: Path, shape: tuple[int, int], chunk: tuple[int, int]
) -> None:
    labels, grid = some_labels(shape), make_grid(shape)
    path = write_labels(tmp_path / "map.tif", labels, grid, chunk)
    valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
    assert (valid, errors, warnings) == (True, [], [])
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(1), labels)
        levels = len(file.overviews(1))
    for level in range(levels):
        labels = halve(labels)
        with rasterio.open(path, overview_level=level) as file:
            np.testing.assert_array_equal(file.read(1), labels)
    assert max(labels.shape) <= 512 < (2 * max(labels.shape) if levels else 513)
    assert [entry.name for entry in tmp_path.iterdir()] == ["map.tif"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are read from Linux's /proc")
def test_many_threads_read_a_map_with_at_most_16_open_files(tmp_path: Path) -> None:
    labels, grid = some_labels((700, 600)), make_grid((700, 600))
    path = write_labels(tmp_path / "map.tif", labels, grid)
    blocks = list(grid.blocks((64, 64)))
    with window_reader(path, 500) as read, ThreadPoolExecutor(40) as pool:
        for block, found in zip(blocks, pool.map(read, blocks), strict=True):
            np.testing.assert_array_equal(found, labels[block.slices])
        assert 1 <= [file.resolve() for file in Path("/proc/self/fd").iterdir()].count(path) <= 16
    assert path not in [file.resolve() for file in Path("/proc/self/fd").iterdir()]


def test_the_map_has_the_dtype_nodata_tags_and_palette_it_should(tmp_path: Path) -> None:
    path = write_labels(tmp_path / "map.tif", some_labels((700, 600)), make_grid((700, 600)))
    with rasterio.open(path) as file:
        assert file.dtypes == ("uint8",)
        assert file.nodata == 0
        assert file.descriptions == ("class",)
        assert file.block_shapes == [(512, 512)]
        assert file.compression.name == "deflate"
        assert file.tags()["TERRAZZO_MODEL_SHA256"] == "abc"
        assert file.tags()["AREA_OR_POINT"] == "Area"
        assert file.colorinterp[0].name == "palette"
        palette = file.colormap(1)
        assert [palette[i][:3] for i in range(1, 9)] == list(class_colours(8))


@pytest.mark.parametrize(
    "transform",
    [
        Affine(10, 0, 362612.19685932994, 0, -10, 1987088.206431803),
        Affine(8.983152841195214e-05, 0, 12.3456789012345, 0, -8.983152841195214e-05, 51.98765432109876),
        Affine(7.1, 2.3, 100_000.1, 2.2, -7.3, 200_000.2),
    ],
)
def test_the_transform_is_written_to_the_last_digit(tmp_path: Path, transform: Affine) -> None:
    grid = make_grid((600, 520), transform=transform)
    with rasterio.open(write_labels(tmp_path / "map.tif", some_labels((600, 520)), grid)) as file:
        assert file.transform == transform
        assert file.crs == rasterio.CRS.from_wkt(CRS)


def test_a_scene_without_crs_makes_a_map_without_crs(tmp_path: Path) -> None:
    grid = make_grid((600, 520), crs=None, transform=Affine.identity())
    with rasterio.open(write_labels(tmp_path / "map.tif", some_labels((600, 520)), grid)) as file:
        assert file.crs is None
        assert file.transform == Affine.identity()


def test_overviews_are_majorities_and_never_averages(tmp_path: Path) -> None:
    labels = some_labels((1024, 1024))
    labels[:300] = 0
    path = write_labels(tmp_path / "map.tif", labels, make_grid((1024, 1024)))
    with rasterio.open(path, overview_level=0) as file:
        half = file.read(1)
    quads = labels.reshape(512, 2, 512, 2).transpose(0, 2, 1, 3).reshape(512, 512, 4)
    for value in range(9):
        votes = (quads == value).sum(axis=2)
        if value:
            assert (half[votes >= 3] == value).all()
    assert (half[(quads == 0).all(axis=2)] == 0).all()
    assert (half[(quads != 0).any(axis=2)] != 0).all(), "nodata never wins over data"
    assert (half[..., None] == quads).any(axis=2).all()


def test_blocks_that_are_not_written_are_nodata(tmp_path: Path) -> None:
    labels, grid = some_labels((1100, 1100)), make_grid((1100, 1100))
    path = tmp_path / "map.tif"
    with MapWriter(path, grid, class_colours(8), {}) as writer:
        first = grid.blocks((512, 512))[0]
        writer.add(first, labels[first.slices])
        writer.prepare()
        writer.finish()
    with rasterio.open(path) as file:
        found = file.read(1)
    expected = np.zeros_like(labels)
    expected[first.slices] = labels[first.slices]
    np.testing.assert_array_equal(found, expected)


def test_an_error_leaves_no_file(tmp_path: Path) -> None:
    grid = make_grid((600, 600))

    def stop() -> None:
        with MapWriter(tmp_path / "map.tif", grid, class_colours(8), {}) as writer:
            for block in grid.blocks((256, 256)):
                writer.add(block, np.ones(block.shape, np.uint8))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop()
    assert list(tmp_path.iterdir()) == []


def all_checksums(labels: npt.NDArray[np.uint8]) -> list[int]:
    sums = [checksum(labels, (0, 0))]
    while max(labels.shape) > 512:
        labels = halve(labels)
        sums.append(checksum(labels, (0, 0)))
    return sums


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("pixels", [(slice(0, 1), slice(0, 1)), (slice(100, 275), slice(0, 100))])
def test_verification_finds_a_level_that_differs_from_what_was_written(
    tmp_path: Path, level: int, pixels: tuple[slice, slice]
) -> None:
    """The levels are written by the test, so that one at a time can be wrong."""
    labels = np.maximum(some_labels((1100, 1100)), 1)
    path, levels = tmp_path / "map.tif", [labels, halve(labels), halve(halve(labels))]
    levels[level][pixels] = 0
    name = path
    for array in levels:
        profile = {"dtype": "uint8", "count": 1, "height": len(array), "width": len(array), "nodata": 0}
        with rasterio.open(name, "w", driver="GTiff", transform=Affine.scale(2), **profile) as file:
            file.write(array, 1)
        name = Path(f"{name}.ovr")
    correct = np.maximum(some_labels((1100, 1100)), 1)
    if level == 0:
        with pytest.raises(OutputError, match="the map read back differs from what was written"):
            verify_map(path, all_checksums(correct))
    else:
        verify_map(path, all_checksums(correct)[:level])
        with pytest.raises(OutputError, match=f"overview {level} read back differs"):
            verify_map(path, all_checksums(correct))


@pytest.mark.parametrize("free", [0, 10**5, 10**12])
def test_room_is_asked_for_only_if_the_disk_has_too_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    """GDAL fails as there is no folder; what the disk has free is set."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    labels, grid = np.ones((100, 100), np.uint8), make_grid((100, 100))
    with pytest.raises(
        OutputError, match=rf"the map can't be written \(.+\); {free / 1e6:.0f} MB are free there; "
    ) as caught:
        write_labels(tmp_path / "none" / "map.tif", labels, grid)
    assert ("make room, or" in str(caught.value)) is (free < 512**2)
    assert str(caught.value).endswith("write the map to another disk")


def test_verification_finds_a_truncated_map(tmp_path: Path) -> None:
    labels, grid = np.maximum(some_labels((1100, 1100)), 1), make_grid((1100, 1100))
    path = write_labels(tmp_path / "map.tif", labels, grid)
    verify_map(path, all_checksums(labels))
    path.write_bytes(path.read_bytes()[:-20_000])
    with pytest.raises(OutputError, match="can't be read back"):
        verify_map(path, all_checksums(labels))
