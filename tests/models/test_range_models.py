"""Models of ranges: classes by edges in the quantity, for stored numbers of any type, scale and offset."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sources import content

from pipeline.core.units import Units
from pipeline.models.classes import UNCLASSIFIED
from pipeline.models.ranges import Outside, RangeLabeller, RangeRule, Ranges, range_names

pytestmark = pytest.mark.lowest

OUTSIDE: dict[Outside, tuple[int, int]] = {"unclassified": (255, 255), "nodata": (0, 0)}
"""Labels below and above the edges; `extend` has those of the first and last class."""


def classes_by_digitize(values: npt.NDArray[np.float64], edges: list[float], outside: Outside) -> list[int]:
    """Class of each value, by `numpy.digitize` and one comparison with the last edge."""
    k = len(edges) - 1
    below, above = OUTSIDE.get(outside, (1, k))
    found = np.where(values == edges[-1], k, np.digitize(values, edges))
    return [below if n == 0 else above if n == k + 1 else int(n) for n in found]


def labels_of(
    stored: npt.NDArray[Any], edges: list[float], outside: Outside, scale: float = 1, offset: float = 0
) -> list[int]:
    units = Units(dtype=stored.dtype.name, scales=(scale,), offsets=(offset,), quantity="reflectance")
    labeller = RangeLabeller.of(RangeRule(np.array(edges, np.float64), outside), units)
    found: list[int] = labeller(stored[np.newaxis, np.newaxis], np.ones((1, stored.size), bool)).classes[0].tolist()
    return found


numbers = st.floats(-2, 2, allow_subnormal=False)
rising = st.lists(numbers, min_size=2, max_size=12, unique=True).map(sorted)
scales = st.sampled_from([1e-4, -1e-4, 0.1, -2.75e-5, 1 / 3, 1.0, -1.0, 3.0])
offsets = st.sampled_from([0.0, -0.1, -0.2, 149.0, 1e-17])


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "i8", "f4", "f8"]),
    edges=rising,
    scale=scales,
    offset=offsets,
    on_values=st.booleans(),
    outside=st.sampled_from(["unclassified", "extend", "nodata"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_classes_of_stored_numbers_are_those_of_the_values_that_they_stand_for(
    *, dtype: str, edges: list[float], scale: float, offset: float, on_values: bool, outside: Outside, seed: int
) -> None:
    kind = np.dtype(dtype)
    rng = np.random.default_rng(seed)
    if kind.kind == "f":
        stored = rng.normal(0, 3, 3000).astype(kind)
        stored[::5] = rng.choice((np.array(edges) - offset) / scale, stored[::5].size)
    elif kind.itemsize <= 2:
        stored = np.arange(np.iinfo(kind).min, np.iinfo(kind).max + 1).astype(kind)
    else:
        stored = rng.integers(np.iinfo(kind).min // 2, np.iinfo(kind).max // 2, 3000).astype(kind)
        stored[::2] = rng.integers(-2, 2, stored[::2].size).astype(kind)
    values = stored.astype(np.float64) * scale + offset
    if on_values:  # edges are values of stored numbers, and their neighbours among floats
        chosen = rng.choice(values, 4)
        edges = sorted({*chosen.tolist(), *np.nextafter(chosen, np.inf).tolist(), chosen[0] + 1.0})
    assert labels_of(stored, edges, outside, scale, offset) == classes_by_digitize(values, edges, outside)


def test_the_last_class_is_closed_and_equal_edges_are_those_of_an_empty_class() -> None:
    values = np.array([0.5, 1, 1.5, 2, 2.5, 3, 3.5])
    assert labels_of(values, [1, 2, 3], "unclassified") == [255, 1, 1, 2, 2, 2, 255]
    assert labels_of(values, [1, 2, 3], "extend") == [1, 1, 1, 2, 2, 2, 2]
    assert labels_of(values, [1, 2, 3], "nodata") == [0, 1, 1, 2, 2, 2, 0]
    assert labels_of(values, [1, 1, 2, 3, 3], "unclassified") == [255, 2, 2, 3, 3, 4, 255]
    for edges in ([1, 1, 2, 3, 3], [1, 2, 2, 3]):
        counts = np.bincount(labels_of(values, edges, "unclassified"), minlength=256)[1 : len(edges)]
        np.testing.assert_array_equal(counts, np.histogram(values, edges)[0])


def test_a_pixel_that_is_not_valid_is_0_whatever_it_holds() -> None:
    data = np.array([[[np.nan, 0.5, 9.0, np.inf, 0.5]]])
    units = Units(dtype="float64", scales=(1.0,), offsets=(0.0,))
    labeller = RangeLabeller.of(RangeRule(np.array([0.0, 1.0]), "unclassified"), units)
    assert labeller(data, np.array([[False, True, True, False, False]])).classes.tolist() == [
        [0, 1, UNCLASSIFIED, 0, 0]
    ]


def parts(**changes: Any) -> dict[str, Any]:
    model = {
        **content(bands=("B04",), units={"dtype": "uint16", "scales": (1.0,), "offsets": (0.0,)}),
        "classes": [{"id": n, "name": f"class {n}", "pixels": 1} for n in (1, 2)],
        "edges": (0.0, 1.0, 2.0),
        "outside": "unclassified",
    }
    del model["centroids"], model["counts"]
    return model | changes


def test_a_model_knows_its_order_its_centres_and_whether_it_leaves_pixels_unclassified() -> None:
    model = Ranges.model_validate(parts())
    assert (model.class_order, model.leaves_unclassified) == ("edges", True)
    np.testing.assert_array_equal(model.centres, [[0.5], [1.5]])
    extended = Ranges.model_validate(parts(outside="extend"))
    assert not extended.leaves_unclassified
    assert extended.digest != model.digest


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"edges": (0.0, 1.0)}, "2 edges and 2 classes; expected one edge more than classes"),
        ({"edges": (0.0, 2.0, 1.0)}, "edges: expected ascending numbers"),
        ({"edges": (1.0, 1.0, 1.0)}, "edges: expected ascending numbers, from 1 to a larger one"),
        ({"edges": (0.0, 1.0, float("inf"))}, "finite"),
        ({"outside": "none"}, "outside"),
        (
            {"bands": ("a", "b"), "units": {"dtype": "uint8", "scales": (1.0, 1.0), "offsets": (0.0, 0.0)}},
            "ranges are those of one band; there are 2 bands",
        ),
    ],
)
def test_a_model_with_inconsistent_parts_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Ranges.model_validate(parts(**changes))


@pytest.mark.parametrize(
    ("edges", "names"),
    [
        ([-1.0, 0.2, 0.4, 1.0], ["-1 to 0.2", "0.2 to 0.4", "0.4 to 1"]),
        ([0.0, 1234.5, 1234.6, 3e9], ["0 to 1234.5", "1234.5 to 1234.6", "1234.6 to 3000000000"]),
        ([0.0, 0.0, 1 / 3], ["0 to 0", "0 to 0.333333"]),
        ([np.nextafter(0.5, 0), 0.5, 1], ["0.4999999999999999 to 0.5", "0.5 to 1"]),
    ],
)
def test_names_of_ranges_tell_their_edges_apart(edges: list[float], names: list[str]) -> None:
    assert list(range_names(edges)) == names
