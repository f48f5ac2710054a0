"""Ticks are round and inside, labels do not overlap, and axes keep order."""

from itertools import pairwise
from math import log10

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.sinks.chart_axes import Axis, Plot, spread_out, ticks

numbers = st.floats(-1e9, 1e9)


@settings(max_examples=200, deadline=None)
@given(low=numbers, length=st.floats(1e-6, 1e9), most=st.integers(3, 8))
def test_ticks_are_even_round_and_inside(low: float, length: float, most: int) -> None:
    high = low + length
    if high <= low + 1e-9 * abs(low):
        return
    found = ticks(low, high, most)
    assert 1 <= len(found) <= most + 1
    assert all(low - 1e-6 * length <= tick <= high + 1e-6 * length for tick in found)
    steps = np.diff(found)
    if len(steps):
        assert np.allclose(steps, steps[0], rtol=1e-3, atol=0)
        step = (found[-1] - found[0]) / len(steps)
        assert round(step / 10 ** np.floor(log10(step) + 1e-6), 2) in {1, 2, 2.5, 5}


@settings(max_examples=200, deadline=None)
@given(places=st.lists(st.floats(0, 400), min_size=1, max_size=30).map(sorted))
def test_labels_are_moved_apart_in_order_and_stay_on_the_chart(places: list[float]) -> None:
    found = spread_out(places, 15, 0, 400)
    room = min(15, 400 / max(len(places) - 1, 1))
    assert all(after - before >= room - 1e-6 for before, after in pairwise(found))
    assert -1e-6 <= found[0] <= found[-1] <= 400 + 1e-6
    if all(after - before >= 15 for before, after in pairwise(places)):
        assert found == pytest.approx(places)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_an_axis_has_all_numbers_in_order(logarithmic: bool) -> None:  # noqa: FBT001
    values = [1e-6, 0.5, 2.0, 3e7]
    axis = Axis.around([*values, float("nan")], "", logarithmic=logarithmic)
    shares = [axis.share(value) for value in values]
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] < 1
    assert all(0 <= axis.share(position) <= 1 for position, _ in axis.marks(5))
    assert len(axis.marks(5)) >= 2


def test_close_labels_stand_upright_below_and_leave_room_for_them() -> None:
    y = Axis(low=0, high=1, title="")
    close = Plot(x=Axis(low=0, high=100, title="", ticks=((1, "B02 490"), (2, "B03 560"), (99, "B12 2200"))), y=y)
    apart = Plot(x=Axis(low=0, high=100, title="", ticks=((1, "B02 490"), (50, "B03 560"), (99, "B12 2200"))), y=y)
    assert (close.upright, apart.upright) == (True, False)
    assert close.bottom < apart.bottom < close.height
