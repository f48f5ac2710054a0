"""Passes that skip points and add only changes equal plain ones: the class of every point, and all sums anew."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.kernels.assign import assign
from pipeline.kernels.fixed import FixedPoint
from pipeline.kernels.move_points import EXCLUDED
from pipeline.kernels.mover import Mover


class PlainPass(NamedTuple):
    """A pass without bounds and without memory of the last one: the twin that `Mover` is compared with."""

    labels: npt.NDArray[np.uint8]
    """Class of each point, shape (point,); 0 for one that takes no part."""
    counts: list[int]
    """Points per class, length k."""
    sums: list[list[int]]
    """Sum of the points per class and band, in units of `FixedPoint.step`."""

    @classmethod
    def of(
        cls,
        points: npt.NDArray[Any],
        takes_part: npt.NDArray[np.bool_],
        centres: npt.NDArray[np.float64],
        stretch: npt.NDArray[np.float64] | None,
        fixed: FixedPoint,
    ) -> "PlainPass":
        """Assign points, shape (band, point), to centroids, shape (k, band), and add up each class."""
        labels = assign(points[:, np.newaxis], takes_part[np.newaxis], centres, stretch)[0]
        classes = [points[:, labels == label].T for label in range(1, len(centres) + 1)]
        whole = [np.array([fixed.split(point) for point in members], np.int64) for members in classes]
        sums = [fixed.join(numbers.reshape(-1, fixed.columns).sum(axis=0)).tolist() for numbers in whole]
        return cls(labels, [len(members) for members in classes], sums)


@settings(max_examples=40, deadline=None)
@given(
    dtype=st.sampled_from(["uint8", "uint16", "int32", "float32"]),
    bands=st.integers(1, 9), k=st.integers(2, 12), seed=st.integers(0, 10**6), count=st.integers(1, 1500),
    excluded=st.booleans(), stretched=st.booleans(), width=st.sampled_from([0.0, 0.3, 40.0, 1e5]),
    moves=st.lists(st.sampled_from([0.0, 1e-3, 0.1, 3.0, 500.0]), min_size=2, max_size=5),
)  # fmt: skip
def test_labels_counts_and_sums_after_every_pass_are_those_of_a_plain_pass(  # noqa: PLR0917
    dtype: str, bands: int, k: int, seed: int, count: int, width: float, moves: list[float],
    *, excluded: bool, stretched: bool,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    clusters = rng.integers(0, 250, (bands, 5))[:, rng.integers(0, 5, count)]
    points = np.ascontiguousarray((clusters + rng.integers(-4, 5, clusters.shape)).clip(0, 255).astype(dtype))
    takes_part = rng.random(count) < (0.8 if excluded else 1)
    stretch = rng.uniform(0.1, 3, bands) if stretched else None
    fixed = FixedPoint.of(points.dtype, points.min(axis=1), points.max(axis=1))
    mover, (counts, sums) = Mover(points.dtype, stretch, fixed.scaling, width), fixed.zero_sums(k)
    labels, bounds = np.where(takes_part, 0, np.full((2, count), EXCLUDED)).astype(np.uint8)
    centres = points[:, rng.integers(0, count, k)].T.astype(np.float64)
    for step in moves:
        mover = mover.to(centres)
        mover.move(points, labels, bounds, counts, sums)
        plain = PlainPass.of(points, takes_part, centres, stretch, fixed)
        np.testing.assert_array_equal(labels, np.where(takes_part, plain.labels, EXCLUDED))
        assert counts[1:].tolist() == plain.counts
        assert fixed.join(sums)[1:].tolist() == plain.sums
        centres = centres + rng.normal(0, 1, centres.shape) * step * (rng.random((k, 1)) < 0.7)
