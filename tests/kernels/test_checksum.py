"""Checksums add up over blocks of any size, and change with any label."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kernels.checksum import add_checksums, checksum


def scene(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 9, (61, 47)).astype("uint8")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), height=st.integers(1, 70), width=st.integers(1, 50))
def test_checksums_of_blocks_add_up_to_that_of_the_scene(seed: int, height: int, width: int) -> None:
    labels, total = scene(seed), 0
    for top in range(0, 61, height):
        for left in range(0, 47, width):
            total = add_checksums(total, checksum(labels[top : top + height, left : left + width], (top, left)))
    assert total == checksum(labels, (0, 0))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 99), row=st.integers(0, 60), column=st.integers(0, 46), value=st.integers(0, 255))
def test_one_changed_label_changes_the_checksum(seed: int, row: int, column: int, value: int) -> None:
    labels = scene(seed)
    changed = labels.copy()
    changed[row, column] = value
    assert (checksum(changed, (0, 0)) == checksum(labels, (0, 0))) == (value == labels[row, column])


def test_moved_labels_change_the_checksum() -> None:
    labels = scene(1)
    assert checksum(np.roll(labels, 1, axis=0), (0, 0)) != checksum(labels, (0, 0))
    assert checksum(np.roll(labels, 1, axis=1), (0, 0)) != checksum(labels, (0, 0))
