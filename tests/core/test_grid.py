"""Grids and blocks: blocks tile a grid, and grids are compared by their corners."""

import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.io import MemoryFile

from pipeline.core.grid import Grid

sides = st.integers(1, 150)
shapes = st.tuples(sides, sides)


def grid_of(shape: tuple[int, int], transform: Affine | None = None) -> Grid:
    return Grid(shape=shape, transform=transform or Affine(10, 0, 500_000, 0, -10, 5_000_000), crs=None)


@settings(max_examples=100, deadline=None)
@given(shape=shapes, chunk=shapes)
def test_blocks_cover_every_pixel_once_row_by_row(shape: tuple[int, int], chunk: tuple[int, int]) -> None:
    grid = grid_of(shape)
    blocks = list(grid.blocks(chunk))
    owner = np.full(shape, -1)
    for number, block in enumerate(blocks):
        assert owner[block.slices].shape == block.shape
        assert (owner[block.slices] == -1).all()
        assert max(block.height - chunk[0], block.width - chunk[1]) <= 0
        owner[block.slices] = number
    assert (owner >= 0).all()
    assert [(block.row, block.column) for block in blocks] == sorted((b.row, b.column) for b in blocks)
    # all blocks are full except those in the last row and column
    full = {(block.row, block.column) for block in blocks if block.shape == chunk}
    assert len(full) == (shape[0] // chunk[0]) * (shape[1] // chunk[1])


@settings(max_examples=50, deadline=None)
@given(shape=shapes, chunk=shapes, data=st.data())
def test_blocks_are_a_sequence_computed_from_numbers(
    shape: tuple[int, int], chunk: tuple[int, int], data: st.DataObject
) -> None:
    blocks = grid_of(shape).blocks(chunk)
    listed = [
        (row, column, top, left, min(chunk[0], shape[0] - top), min(chunk[1], shape[1] - left))
        for row, top in enumerate(range(0, shape[0], chunk[0]))
        for column, left in enumerate(range(0, shape[1], chunk[1]))
    ]
    assert [(b.row, b.column, b.top, b.left, *b.shape) for b in blocks] == listed
    count = blocks.shape[0] * blocks.shape[1]
    assert len(blocks) == len(listed) == count
    assert list(reversed(blocks)) == list(blocks)[::-1]
    part = data.draw(st.slices(count))
    assert blocks[part] == tuple(blocks)[part]
    number = data.draw(st.integers(-count, count - 1))
    block = blocks[number]
    assert block == list(blocks)[number] == blocks.at(block.row, block.column)
    assert block in blocks
    assert (sum(blocks.heights), sum(blocks.widths)) == shape
    for outside in (count, -count - 1):
        with pytest.raises(IndexError):
            blocks[outside]


def test_blocks_are_small_records() -> None:
    blocks = grid_of((10_000_000, 10_000_000)).blocks((10_000, 10_000))
    assert len(blocks) == 10**6
    assert len(pickle.dumps(blocks)) < 20_000
    copy = pickle.loads(pickle.dumps(blocks))  # noqa: S301 (pickled here)
    assert copy == blocks
    assert copy[-1] == blocks.at(999, 999)
    with pytest.raises(FrozenInstanceError):
        blocks.row_edges = ()  # type: ignore[misc]


def test_window_and_slices_select_the_same_pixels_in_rasterio_and_numpy() -> None:
    pixels = np.arange(23 * 31, dtype=np.int32).reshape(1, 23, 31)
    profile = {"driver": "GTiff", "height": 23, "width": 31, "count": 1, "dtype": "int32"}
    with MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.write(pixels)
        with memory.open() as file:
            for block in grid_of((23, 31)).blocks((7, 10)):
                np.testing.assert_array_equal(file.read(1, window=block.window), pixels[0][block.slices])


def test_block_text_names_its_first_and_last_row_and_column() -> None:
    last = list(grid_of((23, 31)).blocks((7, 10)))[-1]
    rows, columns = np.mgrid[:23, :31]
    inside = rows[last.slices], columns[last.slices]
    expected = f"rows {inside[0].min()}-{inside[0].max()}, columns {inside[1].min()}-{inside[1].max()}"
    assert str(last) == expected


@settings(max_examples=50, deadline=None)
@given(
    width=st.floats(1e-5, 1e4), height=st.floats(1e-5, 1e4), angle=st.floats(-180, 180), flip=st.sampled_from([1, -1])
)
def test_resolution_is_the_pixel_size_of_a_rotated_or_flipped_grid(
    width: float, height: float, angle: float, flip: int
) -> None:
    rotated = grid_of((2, 3), Affine.rotation(angle) @ Affine.scale(width, flip * height))
    assert rotated.resolution == pytest.approx((width, height))


@settings(max_examples=100, deadline=None)
@given(shape=shapes, right=st.floats(-1, 1), down=st.floats(-1, 1))
def test_grids_are_equal_if_shifted_by_less_than_a_thousandth_of_a_pixel(
    shape: tuple[int, int], right: float, down: float
) -> None:
    grid = grid_of(shape)
    shifted = grid_of(shape, grid.transform @ Affine.translation(right, down))
    distance = max(abs(right), abs(down))
    if distance < 0.9e-3:
        assert grid.same_pixels(shifted)
    if distance > 1.1e-3:
        assert not grid.same_pixels(shifted)


@pytest.mark.parametrize(("side", "same"), [(100, True), (10_980, False)])
def test_tiny_difference_of_pixel_size_matters_only_for_a_large_grid(side: int, *, same: bool) -> None:
    grid = grid_of((side, side))
    scaled = grid_of((side, side), grid.transform @ Affine.scale(1 + 1e-6))
    assert 100 * 1e-6 < 1e-3 < 10_980 * 1e-6  # distance of the far corners in pixels
    assert grid.same_pixels(scaled) is same


def test_rotated_grid_with_the_same_first_corner_is_not_equal() -> None:
    grid = grid_of((50, 50))
    assert not grid.same_pixels(grid_of((50, 50), grid.transform @ Affine.rotation(1)))


def test_grids_of_different_shape_are_not_equal() -> None:
    assert not grid_of((50, 50)).same_pixels(grid_of((50, 51)))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (-1, 5)])
def test_grid_without_pixels_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least one row and one column"):
        grid_of(shape)


def test_grid_is_described_by_columns_rows_and_pixel_size() -> None:
    assert grid_of((20, 30)).describe() == "30 x 20 pixels of 10"
    assert grid_of((20, 30), Affine(0.25, 0, 0, 0, -0.5, 0)).describe() == "30 x 20 pixels of 0.25 x 0.5"
