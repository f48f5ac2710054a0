"""Checksums add up over any blocks, and see any change."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kernels.checksum import add_checksums, checksum


def scene(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 9, (61, 47)).astype("uint8")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), high=st.integers(1, 70), wide=st.integers(1, 50))
def test_blocks_add_up_to_the_scene(seed: int, high: int, wide: int) -> None:
    labels, total = scene(seed), 0
    for top in range(0, 61, high):
        for left in range(0, 47, wide):
            total = add_checksums(total, checksum(labels[top : top + high, left : left + wide], (top, left)))
    assert total == checksum(labels, (0, 0))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 99), row=st.integers(0, 60), column=st.integers(0, 46), value=st.integers(0, 255))
def test_one_changed_label_changes_the_sum(seed: int, row: int, column: int, value: int) -> None:
    labels = scene(seed)
    changed = labels.copy()
    changed[row, column] = value
    assert (checksum(changed, (0, 0)) == checksum(labels, (0, 0))) == (value == labels[row, column])


def test_moved_labels_change_the_sum() -> None:
    labels = scene(1)
    assert checksum(np.roll(labels, 1, axis=0), (0, 0)) != checksum(labels, (0, 0))
    assert checksum(np.roll(labels, 1, axis=1), (0, 0)) != checksum(labels, (0, 0))
