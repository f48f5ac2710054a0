"""A table of numbers as a scene: its rows are pixels, those with NaN are not valid."""

import pickle
from typing import Any

import numpy as np
import pytest
import xarray as xr

from pipeline.dataarrays.source import ArraySource
from pipeline.pixels import table
from pipeline.pixels.table import PixelTable


@pytest.mark.parametrize("dtype", ["bool", "u1", ">i2", "i8", "f2", "f4", ">f8"])
def test_its_blocks_are_those_of_an_array_of_one_column(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "_ROWS", 70)
    rows: Any = np.random.default_rng(2).integers(0, 2 if dtype == "bool" else 100, (300, 3)).astype(dtype)
    if rows.dtype.kind == "f":
        rows[::11, 1] = np.nan
    made = PixelTable(np.asfortranarray(rows), ("band1", "band2", "band3"))
    data = (rows.astype("u1") if dtype == "bool" else rows).T[:, :, np.newaxis]
    array = ArraySource(xr.DataArray(data, dims=("band", "y", "x")).chunk({"y": 70}))
    assert (made.info.dtype, made.info.grid.shape) == (array.info.dtype, array.info.grid.shape)
    assert (made.info.bands, made.info.units) == (array.info.bands, array.info.units)
    assert list(made.blocks) == list(array.blocks)
    copy = pickle.loads(pickle.dumps(made))  # noqa: S301 (made here)
    for block in made.blocks:
        pixels, fitted = copy.read_for_fit(block)
        expected = array.read(block)
        np.testing.assert_array_equal(pixels.data, expected.data)
        np.testing.assert_array_equal(pixels.valid, expected.valid)
        np.testing.assert_array_equal(fitted, expected.valid)
        assert pixels.data.dtype == made.info.dtype
