"""CF attributes of labels: each name and colour belongs to the value at its place, whatever their types."""

from typing import Any

import numpy as np
import pytest

from pipeline.labels.flags import Flags

NAMES = {1: "w", 2: "x y", 255: "z"}


@pytest.mark.parametrize(
    "values",
    [
        [0, 1, 2, 255],
        np.array([0, 1, 2, 255], "uint8"),
        np.array([0, 1, 2, 255], "float64"),
        [np.nan, 1, 2, 255],
        [300, 1, 2, 255],
        [-1, 1, 2, 255],
        [0.5, 1, 2, 255],
        [None, 1, 2, 255],
        ["0", "1", "2", "255"],
        "0 1 2 255",
        "{0, 1, 2, 255}",
        "0b, 1b, 2b, 255b",
    ],
)
@pytest.mark.parametrize("meanings", ["nodata w x_y z", ["nodata", "w", "x_y", "z"]])
def test_names_belong_to_the_values_at_their_places(values: Any, meanings: Any) -> None:
    flags = Flags.of(
        {"flag_values": values, "flag_meanings": meanings, "flag_colors": "#000000 010203 #0a0B0C #ffffff"}
    )
    assert flags.names == NAMES
    assert flags.colours == {1: (1, 2, 3), 2: (10, 11, 12), 255: (255, 255, 255)}
    assert flags.unclassified


@pytest.mark.parametrize(
    "attrs",
    [
        {},
        {"flag_values": None, "flag_meanings": None},
        {"flag_values": [1, 2], "flag_meanings": "a b c"},
        {"flag_values": 3, "flag_meanings": 4.5, "flag_colors": "#12345"},
        {"flag_values": [[1], [2, 3]], "flag_meanings": "a b c"},
        {"flag_values": float("inf"), "flag_meanings": "a"},
        {"flag_meanings": "a b"},
    ],
)
def test_what_is_not_well_formed_says_nothing(attrs: dict[str, Any]) -> None:
    flags = Flags.of(attrs)
    assert flags.names in ({}, {3: "4.5"})
    assert not flags.colours
    assert not flags.unclassified
