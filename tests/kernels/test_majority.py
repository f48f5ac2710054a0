"""Overviews are majorities of 2 x 2 labels: compared with counting them one by one."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kernels.majority import halve


def majority(quad: np.ndarray) -> int:
    """Most frequent label, ignoring 0; the first of equally frequent ones."""
    votes = Counter(label for label in quad.ravel().tolist() if label)
    return max(votes, key=votes.__getitem__, default=0)


@settings(max_examples=200, deadline=None)
@given(
    rows=st.integers(1, 9), columns=st.integers(1, 9), most=st.sampled_from([1, 2, 4, 254]), seed=st.integers(0, 10**6)
)
def test_each_label_is_the_majority_of_the_four_below_it(rows: int, columns: int, most: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, most + 1, (rows, columns)).astype(np.uint8)
    expected = [[majority(labels[i : i + 2, j : j + 2]) for j in range(0, columns, 2)] for i in range(0, rows, 2)]
    assert halve(labels).tolist() == expected


@pytest.mark.parametrize("shape", [(4, 6), (5, 7), (64, 33)])
def test_memory_layout_does_not_matter(shape: tuple[int, int]) -> None:
    labels = np.random.default_rng(1).integers(0, 5, shape).astype(np.uint8)
    plain = halve(labels)
    labels.flags.writeable = False
    for other in (np.asfortranarray(labels), np.ascontiguousarray(labels[:, ::-1])[:, ::-1], labels):
        np.testing.assert_array_equal(halve(other), plain)
