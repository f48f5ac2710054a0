"""Sums per class: compared with numpy and Python integers."""

import numpy as np
import pytest
from blocks import COLUMNS, DTYPES, ROWS, make

from pipeline.kernels.assign import assign
from pipeline.kernels.sums import class_sums


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_equal_numpy_for_each_class_and_are_exact_for_16_bit_integers(dtype: str) -> None:
    data, _ = make(dtype, 5, 2)
    data[:, 0] = data.max()
    k = 7
    labels = np.random.default_rng(3).integers(0, k, (ROWS, COLUMNS)).astype(np.uint8)  # class k stays empty
    centres = np.array(
        [data[:, labels == label].mean(axis=1) if label < k else data[:, 0, 0] for label in range(1, k + 1)]
    )
    counts, sums, squares, extremes = class_sums(data, labels, centres)
    assert counts.tolist() == np.bincount(labels.ravel(), minlength=k + 1).tolist()
    sums, squares = sums.sum(axis=0), squares.sum(axis=0)
    exact = data.dtype.kind in "iu" and data.dtype.itemsize <= 2
    for label in range(1, k + 1):
        members = data[:, labels == label]
        if label < k:
            np.testing.assert_array_equal(extremes[:, label, 0], members.min(axis=1).astype(extremes.dtype))
            np.testing.assert_array_equal(extremes[:, label, 1], members.max(axis=1).astype(extremes.dtype))
        else:
            assert (extremes[:, label, 0] > extremes[:, label, 1]).all()
        if exact:  # as Python integers
            integers = [band.tolist() for band in members]
            assert sums[label].tolist() == [sum(band) for band in integers]
            assert squares[label].tolist() == [sum(value**2 for value in band) for band in integers]
        else:  # minus the centroid, so that sums of large pixels stay small
            differences = members.astype(np.longdouble) - centres[label - 1][:, None]
            spread = (differences**2).sum(axis=1)
            np.testing.assert_allclose(squares[label], spread, 1e-12)
            np.testing.assert_allclose(
                sums[label], differences.sum(axis=1), 0, 1e-11 * spread.max(initial=0) ** 0.5 + 1e-300
            )


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
@pytest.mark.parametrize("bands", [3, 4, 8, 11])
def test_sums_of_the_smallest_and_largest_integers_are_exact(dtype: str, bands: int) -> None:
    limits = np.iinfo(dtype)
    for value in (limits.min, limits.max):
        data, labels = np.full((bands, 90, 111), value, dtype), np.full((90, 111), 2, np.uint8)
        labels[-1] = 254  # the largest class
        counts, sums, squares, extremes = class_sums(data, labels, np.zeros((254, bands)))
        assert extremes[:, [2, 254]].tolist() == [[[value, value]] * 2] * bands
        for label, count in ((0, 0), (1, 0), (2, 89 * 111), (254, 111)):
            assert counts[label] == count
            assert sums[0, label].tolist() == [int(value) * count] * bands
            assert squares[0, label].tolist() == [int(value) ** 2 * count] * bands


def test_sums_do_not_depend_on_memory_layout() -> None:
    data, centres = make("u2", 3, 9)
    labels = assign(data, np.ones((ROWS, COLUMNS), np.bool_), centres)
    plain = class_sums(data, labels, centres)
    strided = class_sums(np.asfortranarray(data), np.asfortranarray(labels), np.asfortranarray(centres))
    for one, other in zip(plain, strided, strict=True):
        np.testing.assert_array_equal(one, other)


def test_values_of_invalid_pixels_do_not_affect_any_class() -> None:
    data = np.array([[[np.nan, 4.0, -np.inf, -1.7e308, 6.0, -1.7e308]], [[1.0, np.inf, 1e308, np.inf, 8.0, -np.inf]]])
    counts, sums, squares, extremes = class_sums(data, np.array([[0, 0, 0, 0, 1, 0]], np.uint8), np.array([[5.0, 7.0]]))
    assert counts.tolist() == [5, 1]
    assert extremes[:, 1].tolist() == [[6.0, 6.0], [8.0, 8.0]]
    assert sums[:, 1].tolist() == squares[:, 1].tolist() == [[1.0, 1.0], [0.0, 0.0]]
