"""Fixed-point sums: exact for any order of pixels; means and inertia equal to those of numpy."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kernels.fixed import LIMB, ClassTotals, FixedPoint, squares
from pipeline.kernels.mover import Mover

DTYPES = ["uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]


def points_of(dtype: str, count: int, seed: int, scale: float = 1.0) -> Any:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return (rng.normal(0, scale, (3, count)) * 10.0 ** rng.integers(-3, 4, (3, 1))).astype(dtype)
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -(2**40)), min(limits.max, 2**40)
    return rng.integers(low, high, (3, count), dtype=np.int64, endpoint=True).astype(dtype)


def totals_of(points: Any, centres: Any, parts: int) -> ClassTotals:
    """Totals of points that are added in parts."""
    k, count = len(centres), points.shape[1]
    fixed = FixedPoint.of(points.dtype, points.min(axis=1), points.max(axis=1))
    totals, mover = ClassTotals(k, fixed), Mover(points.dtype, None, fixed.scaling, 1.0).to(centres)
    for part in np.array_split(np.arange(count), parts):
        part_points = np.ascontiguousarray(points[:, part])
        counts, sums = np.zeros(k + 1, np.int64), np.zeros((k + 1, fixed.columns), np.int64)
        labels, bounds = np.zeros((2, len(part)), np.uint8)
        mover.move(part_points, labels, bounds, counts, sums)
        totals.add(counts, sums)
        totals.squares += squares(part_points, np.ones(len(part), bool), fixed)
    return totals


@settings(max_examples=40, deadline=None)
@given(dtype=st.sampled_from(DTYPES), seed=st.integers(0, 999), parts=st.integers(1, 9))
def test_totals_do_not_depend_on_the_order_of_points(dtype: str, seed: int, parts: int) -> None:
    points = points_of(dtype, 700, seed)
    centres = points[:, :4].T.astype(np.float64)
    one = totals_of(points, centres, 1)
    shuffled = np.ascontiguousarray(points[:, np.random.default_rng(seed + 1).permutation(700)])
    other = totals_of(shuffled, centres, parts)
    assert one.sums.tolist()[1:] == other.sums.tolist()[1:]
    assert one.squares.tolist() == other.squares.tolist()
    assert one.means(centres).tobytes() == other.means(centres).tobytes()
    assert one.inertia(centres, np.ones(3)) == other.inertia(centres, np.ones(3))


@pytest.mark.parametrize("dtype", DTYPES)
def test_means_variances_and_inertia_equal_those_of_numpy(dtype: str) -> None:
    points = points_of(dtype, 5000, 3)
    centres = points[:, :5].T.astype(np.float64)
    totals = totals_of(points, centres, 3)
    rows = points.T.astype(np.float64)
    labels = ((rows[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
    means = np.array([rows[labels == c].mean(axis=0) for c in range(5)])
    ranges = rows.max(axis=0) - rows.min(axis=0)
    assert (np.abs(totals.means(centres) - means) < 1e-12 * ranges).all()
    np.testing.assert_allclose(totals.variances(), rows.var(axis=0), rtol=1e-8)
    weights = np.array([1, 0.5, 2.0])
    expected = ((rows - centres[labels]) ** 2 * weights).sum()
    assert totals.inertia(centres, weights) == pytest.approx(expected, rel=1e-8)


def test_a_band_of_one_value_has_exact_means_and_no_variance() -> None:
    points = np.full((2, 50), 7.25, np.float32)
    points[1, :25] = 9
    totals = totals_of(points, np.array([[7.25, 7.25], [7.25, 9.0]]), 2)
    assert totals.means(np.zeros((2, 2))).tolist() == [[7.25, 7.25], [7.25, 9]]
    assert totals.variances().tolist() == [0, pytest.approx(0.875**2)]


def test_sums_of_2_to_26_extreme_pixels_fit_64_bits() -> None:
    """2**26 pixels at the ends of their range, extrapolated from 2**16 of them."""
    points = np.empty((1, 2**16), np.float32)
    points[0, ::2], points[0, 1::2] = -3e4, 3e4
    fixed = FixedPoint.of(points.dtype, points.min(axis=1), points.max(axis=1))
    most = 2**26 * int(max(np.abs(fixed.split(points[:, 0])).max(), np.abs(fixed.split(points[:, 1])).max()))
    assert most < 2**63
    squared = points.astype(np.float64) ** 2 * fixed.factor[0] ** 2 / LIMB  # the first of the three limbs
    assert 0 < squared.max() * 2**26 < 2**63
    total = squares(points, np.ones(2**16, bool), fixed)[0]
    assert total * fixed.square_steps[0] == 2**16 * 30_000**2


@pytest.mark.parametrize("dtype", ["int32", "uint32", "float32", "float64"])
def test_sums_and_squares_equal_those_of_fractions(dtype: str) -> None:
    """Magnitudes of a million to one, some points excluded: float32 and integers exactly, float64 nearly."""
    rng = np.random.default_rng(1)
    points = (rng.normal(0, 1, (2, 400)) * 10.0 ** rng.uniform(3, 9, (2, 400))).clip(0, 2**31 - 1).astype(dtype)
    is_included = rng.random(400) < 0.7
    fixed = FixedPoint.of(points.dtype, points.min(axis=1), points.max(axis=1))
    total = squares(points, is_included, fixed)
    integers = fixed.join(np.array([fixed.split(point) for point in points.T]))
    for band in range(2):
        exact = [Fraction(float(number)) for number in points[band]]
        added = sum(number**2 for number, included in zip(exact, is_included, strict=True) if included)
        tolerance = Fraction(0) if dtype != "float64" else added / 10**25
        assert abs(total[band] * fixed.square_steps[band] - added) <= tolerance
        step = Fraction(float(fixed.step[band]))
        assert [int(number) * step for number in integers[:, band]] == exact or dtype == "float64"
