"""Vectors in compiled code: each operation is numpy's on the numbers of a vector."""

from typing import Any

import numpy as np
import pytest
from numba import njit

from pipeline.kernels import machine  # noqa: F401 (implements the operations)
from pipeline.kernels.arithmetic import fma
from pipeline.kernels.vectors import (
    VECTOR_BYTES,
    address,
    all_of,
    any_of,
    load,
    repeat,
    root,
    spread,
    store,
    sum_of,
    where,
    zeros,
)

pytestmark = pytest.mark.lowest


@njit
def calculate(given: Any, out: Any, number: Any) -> Any:
    numbers, results, length = address(given), address(out), out.shape[1]
    one, two = load(numbers, 1), load(numbers, 3)
    store(one + two, results, 0)
    store(one - two, results, length)
    store(one * two, results, 2 * length)
    store(one / two, results, 3 * length)
    store(fma(one, two, repeat(numbers, 5)), results, 4 * length)
    store(where(one > two, one, spread(number)), results, 5 * length)
    store(root(one), results, 6 * length)
    store(zeros(numbers), results, 7 * length)
    return any_of(one > two), all_of(one > two), any_of(one - two > one), all_of(one + spread(number) > one)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_operations_are_those_of_numpy(dtype: type[np.floating]) -> None:
    length = VECTOR_BYTES // np.dtype(dtype).itemsize
    given = np.random.default_rng(0).integers(1, 100, length + 3).astype(dtype)
    out, number = np.full((9, length), -1, dtype), dtype(7)
    found = calculate(given, out, number)
    one, two = given[1 : length + 1], given[3:]
    expected = [
        one + two, one - two, one * two, one / two, one * two + given[5], np.where(one > two, one, number),
        np.sqrt(one), np.zeros(length), np.full(length, -1),
    ]  # fmt: skip
    np.testing.assert_array_equal(out, np.stack(expected).astype(dtype))
    assert found == (True, False, False, True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_comparisons_with_nan_are_false(dtype: type[np.floating]) -> None:
    given, out = np.full(40, np.nan, dtype), np.empty((8, VECTOR_BYTES // np.dtype(dtype).itemsize), dtype)
    assert calculate(given, out, dtype(7)) == (False, False, False, False)
    assert (out[5] == 7).all()


@njit
def added(given: Any) -> Any:
    return sum_of(load(address(given), 0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_of_a_vector_are_added_one_after_the_other(dtype: type[np.floating]) -> None:
    """In pairs, the sum would have other bits."""
    given = (np.random.default_rng(1).random(VECTOR_BYTES // np.dtype(dtype).itemsize) * 1e3).astype(dtype)
    assert added(given) == np.add.accumulate(given)[-1]


def test_vectors_outside_of_a_kernel_are_refused() -> None:
    calls = [
        lambda: load(0, 0), lambda: store(0, 0, 0), lambda: repeat(0, 0), lambda: spread(0.0), lambda: zeros(0),
        lambda: address(0), lambda: where(0, 0, 0), lambda: root(0), lambda: sum_of(0),
        lambda: any_of(0), lambda: all_of(0),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(NotImplementedError, match="only in compiled code"):
            call()
