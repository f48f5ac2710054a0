"""The order of classes."""

import numpy as np
import pytest

from pipeline.models.classes import brightness_order

pytestmark = pytest.mark.lowest


def test_equally_bright_classes_are_ordered_by_their_first_bands() -> None:
    means = np.array([[3.0, 1.0], [1.0, 3.0], [2.0, 2.0], [0.0, 1.0]])
    assert brightness_order(means).tolist() == [3, 1, 2, 0]
