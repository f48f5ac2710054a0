"""Sums of numbers turned into whole ones: exact, whatever the order; means and inertia as numpy finds them."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kernels.fixed import LIMB, FixedPoint, Ledger, squares
from pipeline.kernels.mover import Mover

DTYPES = ["uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]


def points_of(dtype: str, count: int, seed: int, scale: float = 1.0) -> Any:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return (rng.normal(0, scale, (3, count)) * 10.0 ** rng.integers(-3, 4, (3, 1))).astype(dtype)
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -(2**40)), min(limits.max, 2**40)
    return rng.integers(low, high, (3, count), dtype=np.int64, endpoint=True).astype(dtype)


def ledger_of(points: Any, centres: Any, parts: int) -> Ledger:
    """Account of points that come in parts."""
    k, count = len(centres), points.shape[1]
    fixed = FixedPoint.of(points.dtype, points.min(axis=1), points.max(axis=1))
    ledger, mover = Ledger(k, fixed), Mover(points.dtype, None, fixed.scaling, 1.0)
    mover.aim(centres)
    for part in np.array_split(np.arange(count), parts):
        some = np.ascontiguousarray(points[:, part])
        counts, sums = np.zeros(k + 1, np.int64), np.zeros((k + 1, fixed.columns), np.int64)
        labels, bounds = np.zeros((2, len(part)), np.uint8)
        mover.move(some, labels, bounds, counts, sums)
        ledger.add(counts, sums)
        ledger.squares += squares(some, np.ones(len(part), bool), fixed)
    return ledger


@settings(max_examples=40, deadline=None)
@given(dtype=st.sampled_from(DTYPES), seed=st.integers(0, 999), parts=st.integers(1, 9))
def test_the_order_of_points_changes_no_bit(dtype: str, seed: int, parts: int) -> None:
    points = points_of(dtype, 700, seed)
    centres = points[:, :4].T.astype(np.float64)
    one = ledger_of(points, centres, 1)
    shuffled = np.ascontiguousarray(points[:, np.random.default_rng(seed + 1).permutation(700)])
    other = ledger_of(shuffled, centres, parts)
    assert one.sums.tolist()[1:] == other.sums.tolist()[1:]
    assert one.squares.tolist() == other.squares.tolist()
    assert one.means(centres).tobytes() == other.means(centres).tobytes()
    assert one.inertia(centres, np.ones(3)) == other.inertia(centres, np.ones(3))


@pytest.mark.parametrize("dtype", DTYPES)
def test_means_variances_and_inertia_are_numpys(dtype: str) -> None:
    points = points_of(dtype, 5000, 3)
    centres = points[:, :5].T.astype(np.float64)
    ledger = ledger_of(points, centres, 3)
    rows = points.T.astype(np.float64)
    labels = ((rows[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    means = np.array([rows[labels == c].mean(axis=0) for c in range(5)])
    spread = rows.max(axis=0) - rows.min(axis=0)
    assert (np.abs(ledger.means(centres) - means) < 1e-12 * spread).all()
    np.testing.assert_allclose(ledger.variances(), rows.var(axis=0), rtol=1e-8)
    weights = np.array([1, 0.5, 2.0])
    expected = ((rows - centres[labels]) ** 2 * weights).sum()
    assert ledger.inertia(centres, weights) == pytest.approx(expected, rel=1e-8)


def test_a_band_of_one_value_is_no_trouble() -> None:
    points = np.full((2, 50), 7.25, np.float32)
    points[1, :25] = 9
    ledger = ledger_of(points, np.array([[7.25, 7.25], [7.25, 9.0]]), 2)
    assert ledger.means(np.zeros((2, 2))).tolist() == [[7.25, 7.25], [7.25, 9]]
    assert ledger.variances().tolist() == [0, pytest.approx(0.875**2)]


def test_sums_of_a_whole_block_of_extremes_fit() -> None:
    """2**26 pixels at the end of their range, by the sums of 2**16 of them."""
    points = np.empty((1, 2**16), np.float32)
    points[0, ::2], points[0, 1::2] = -3e4, 3e4
    fixed = FixedPoint.of(points.dtype, points.min(axis=1), points.max(axis=1))
    most = 2**26 * int(max(np.abs(fixed.split(points[:, 0])).max(), np.abs(fixed.split(points[:, 1])).max()))
    assert most < 2**63
    squared = points.astype(np.float64) ** 2 * fixed.factor[0] ** 2 / LIMB  # the first of the three numbers
    assert 0 < squared.max() * 2**26 < 2**63
    total = squares(points, np.ones(2**16, bool), fixed)[0]
    assert total * fixed.square_steps[0] == 2**16 * 30_000**2


@pytest.mark.parametrize("dtype", ["int32", "uint32", "float32", "float64"])
def test_sums_and_squares_are_those_of_fractions(dtype: str) -> None:
    """Numbers of a million to one, and a part of them left out: float32 and whole numbers exactly, float64 nearly."""
    rng = np.random.default_rng(1)
    points = (rng.normal(0, 1, (2, 400)) * 10.0 ** rng.uniform(3, 9, (2, 400))).clip(0, 2**31 - 1).astype(dtype)
    takes_part = rng.random(400) < 0.7
    fixed = FixedPoint.of(points.dtype, points.min(axis=1), points.max(axis=1))
    total = squares(points, takes_part, fixed)
    whole = fixed.join(np.array([fixed.split(point) for point in points.T]))
    for band in range(2):
        exact = [Fraction(float(number)) for number in points[band]]
        added = sum(number**2 for number, holds in zip(exact, takes_part, strict=True) if holds)
        few = Fraction(0) if dtype != "float64" else added / 10**25
        assert abs(total[band] * fixed.square_steps[band] - added) <= few
        step = Fraction(float(fixed.step[band]))
        assert [int(number) * step for number in whole[:, band]] == exact or dtype == "float64"
