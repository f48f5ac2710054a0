"""Labels after passes that skip points equal those of computing all distances."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kernels.assign import assign
from pipeline.kernels.fixed import FixedPoint
from pipeline.kernels.move_points import EXCLUDED
from pipeline.kernels.mover import Mover

DTYPES = ["uint8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]


KINDS = [*((dtype, False) for dtype in DTYPES), *((dtype, True) for dtype in ("uint8", "uint16", "float32", "float64"))]
"""Types of points, and whether they are stretched: each pair is compiled, which takes seconds. Every type is in one; so
is a stretch with integers added unchanged, with numbers split into limbs, and with both working types."""


FAR = 2**23
"""From here on float32 represents only integers."""


def clustered_points(dtype: str, bands: int, count: int, seed: int) -> npt.NDArray[Any]:
    """Points in clusters, many of them equal."""
    rng = np.random.default_rng(seed)
    clusters = rng.integers(0, 250, (bands, 5))
    points = clusters[:, rng.integers(0, 5, count)] + rng.integers(-4, 5, (bands, count))
    return np.ascontiguousarray(points.clip(0, 255).astype(dtype) * np.dtype(dtype).type(1 if dtype == "uint8" else 37))


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(KINDS), bands=st.integers(1, 9), k=st.integers(2, 12) | st.just(254),
    seed=st.integers(0, 10**6), count=st.sampled_from([1, 15, 16, 17, 497, 512, 1500, 4001]),
    excluded_bound=st.sampled_from([0, EXCLUDED]), excluded=st.sampled_from(["none", "some", "end"]),
    reset=st.booleans(), far=st.sampled_from([0, 0, FAR]),
    width=st.sampled_from([0.0, 1e-6, 0.3, 40.0, 1e5]),
    moves=st.lists(st.sampled_from([0.0, 1e-7, 1e-3, 0.1, 3.0, 500.0]), min_size=2, max_size=9),
)  # fmt: skip
def test_labels_after_every_pass_equal_those_of_assign(  # noqa: PLR0917
    kind: tuple[str, bool],
    bands: int,
    k: int,
    seed: int,
    count: int,
    excluded_bound: int,
    excluded: str,
    far: int,
    width: float,
    moves: list[float],
    *,
    reset: bool,
) -> None:
    dtype, stretched = kind
    rng = np.random.default_rng(seed)
    points = clustered_points(dtype, bands, count, seed)
    if points.dtype.kind == "f":
        points += points.dtype.type(far)
    fraction = {"none": np.zeros(count), "some": rng.random(count), "end": np.arange(count) / count}[excluded]
    is_included = fraction < 0.85  # "end": beyond whole tiles, too
    stretch = rng.uniform(0.1, 3, bands) if stretched else None
    fixed = FixedPoint.of(points.dtype, points.min(axis=1), points.max(axis=1))
    mover = Mover(points.dtype, stretch, fixed.scaling, width)
    labels, bounds = (np.where(is_included, 0, value).astype(np.uint8) for value in (EXCLUDED, excluded_bound))
    counts, sums = np.zeros(k + 1, np.int64), np.zeros((k + 1, fixed.columns), np.int64)
    centres = points[:, rng.integers(0, count, k)].T.astype(np.float64)  # some may be equal
    if points.dtype.kind == "f":
        points[:, ~is_included] = np.nan
    for step in moves:
        mover = mover.to(centres)
        before = labels.copy()
        moved = mover.move(points, labels, bounds, counts, sums)
        expected = assign(points[:, np.newaxis], np.ones((1, count), bool), centres, stretch)[0]
        np.testing.assert_array_equal(labels, np.where(is_included, expected, EXCLUDED))
        assert moved == (before != labels).sum()
        assert counts[1:].tolist() == np.bincount(labels[is_included], minlength=k + 1)[1:].tolist()
        centres = centres + rng.normal(0, 1, centres.shape) * step * (rng.random((k, 1)) < 0.7)
        for i in rng.choice(np.flatnonzero(is_included), 5) if reset and is_included.any() else ():
            counts[labels[i]] -= 1
            sums[labels[i]] -= fixed.split(points[:, i])
            labels[i] = bounds[i] = 0
            counts[0] += 1
            sums[0] += fixed.split(points[:, i])
    integers = fixed.join(sums)[1:]
    for label in range(1, k + 1):
        members = points[:, labels == label].astype(np.float64)
        np.testing.assert_allclose(
            (integers[label - 1] * fixed.step).astype(float), members.sum(axis=1), rtol=1e-9, atol=1e-4
        )


def test_few_points_are_checked_if_centroids_hardly_move() -> None:
    points = clustered_points("uint16", 4, 100_000, 1)
    mover = Mover(points.dtype, None, None, 1000.0)
    labels, bounds = np.zeros((2, 100_000), np.uint8)
    counts, sums = np.zeros(6, np.int64), np.zeros((6, 4), np.int64)
    centres = points[:, :5].T + np.arange(20).reshape(5, 4) * 300.0
    mover = mover.to(centres)
    assert mover.move(points, labels, bounds, counts, sums) == 100_000
    changed = np.full_like(points, 60_000)  # a point that is checked now changes class
    mover = mover.to(centres + 0.01)
    assert mover.move(changed, labels.copy(), bounds, counts, sums) < 10_000


@pytest.mark.parametrize("value", [1e30, -1e30, 3e38])
def test_points_whose_distances_overflow_have_a_class(value: float) -> None:
    points = np.array([[0, 1, value, 2]], np.float32)
    mover = Mover(points.dtype, None, np.ones(1), 1.0)
    labels, bounds = np.zeros((2, 4), np.uint8)
    for centre in (0.5, 0.75):
        mover = mover.to(np.array([[centre], [2.0]]))
        mover.move(points, labels, bounds, np.zeros(3, np.int64), np.zeros((3, 2), np.int64))
        expected = assign(points[:, np.newaxis], np.ones((1, 4), bool), np.array([[centre], [2.0]]))[0]
        np.testing.assert_array_equal(labels, expected)
