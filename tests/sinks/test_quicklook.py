"""The pixels of the quick-look: each is taken from exactly one block."""

import numpy as np
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.grid import Grid
from pipeline.core.pixels import Pixels
from pipeline.sinks.quicklook import Thinning

ROWS, COLUMNS = 37, 53


@settings(max_examples=100, deadline=None)
@given(
    chunk=st.tuples(st.integers(1, ROWS + 3), st.integers(1, COLUMNS + 3)),
    step=st.integers(1, 70),
    bands=st.sampled_from([(0,), (2, 0, 1), (1, 1)]),
)
def test_every_thinned_pixel_is_from_exactly_one_block(
    chunk: tuple[int, int], step: int, bands: tuple[int, ...]
) -> None:
    grid = Grid(shape=(ROWS, COLUMNS), transform=Affine.identity(), crs=None)
    data = np.arange(3 * ROWS * COLUMNS).reshape(3, ROWS, COLUMNS)
    labels, thinning = (data[0] % 251).astype(np.uint8), Thinning(step, bands)
    shown = np.full((len(bands), *thinning.shape(grid)), -1)
    classes = np.zeros(thinning.shape(grid), np.uint8)
    for block in grid.blocks(chunk):
        rows, columns = block.slices
        window = thinning.thinned_window(block)
        assert (shown[(slice(None), *window)] == -1).all()
        pixels = Pixels(data[:, rows, columns], np.ones(block.shape, np.bool_))
        shown[(slice(None), *window)], classes[window] = thinning(block, pixels, labels[rows, columns])
    np.testing.assert_array_equal(shown, data[list(bands)][:, ::step, ::step])
    np.testing.assert_array_equal(classes, labels[::step, ::step])
