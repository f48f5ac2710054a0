"""Swaps of centroids: a better optimum with many classes, never a worse one, and the same bits for any workers."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from pipeline.methods import starts
from pipeline.methods.kmeans import KMeansSettings
from pipeline.methods.lloyd import Clustering, lloyd, plus_plus
from pipeline.methods.starts import fit_sample
from pipeline.methods.swaps import LEAST_SWAPPED, SWAP_STEPS, merging_costs, swap_centroids


def blobs(k: int, count: int = 6000, dtype: str = "u2") -> npt.NDArray[Any]:
    """Points around k means, some of which are near each other, shape (band, point)."""
    rng = np.random.default_rng(k)
    means = rng.uniform(1000, 9000, (3, k))
    return np.ascontiguousarray((means[:, rng.integers(0, k, count)] + rng.normal(0, 150, (3, count))).astype(dtype))


def test_many_classes_reach_the_best_of_many_starts_of_scikit_learn() -> None:
    points = blobs(30, 3000)
    best = KMeans(30, n_init=10, random_state=0).fit(points.T.astype(np.float64)).inertia_
    found = [fit_sample(points, KMeansSettings(k=30, seed=seed), 2).inertia for seed in range(2)]
    assert max(found) <= 1.002 * best


@given(seed=st.integers(0, 2**32 - 1), dtype=st.sampled_from(["u1", "u2", "f4"]), stretched=st.booleans())
@settings(max_examples=6, deadline=None)
def test_swaps_never_raise_the_inertia(seed: int, dtype: str, *, stretched: bool) -> None:
    points = np.ascontiguousarray((blobs(25, 1500, "f8") / 40).astype(dtype))
    stretch = np.array([1, 0.5, 2]) if stretched else None
    few = partial(lloyd, max_iter=SWAP_STEPS, tolerance=0, stretch=stretch)
    generator = np.random.default_rng(seed)
    start = plus_plus(points, 25, generator, stretch)
    swapped = swap_centroids(points, start, few, generator, stretch)
    assert swapped.shape == start.shape
    after = lloyd(points, swapped, max_iter=1, tolerance=0, stretch=stretch)
    assert after.inertia <= few(points, start).inertia


def test_swaps_give_the_same_bits_for_any_workers_and_another_seed_others() -> None:
    points, config = blobs(40), KMeansSettings(k=40, starts=3)
    one, two = (fit_sample(points, config, workers) for workers in (1, 2))
    np.testing.assert_array_equal(one.centres, two.centres)
    assert one.inertia == two.inertia
    assert not np.array_equal(one.centres, fit_sample(points, KMeansSettings(k=40, starts=3, seed=1), 1).centres)


@pytest.mark.parametrize("count", [1, 2])
def test_points_with_as_many_values_as_classes_have_no_error(count: int) -> None:
    points = np.arange(LEAST_SWAPPED, dtype=np.uint8)[np.newaxis].repeat(50, axis=1)
    assert fit_sample(points, KMeansSettings(k=LEAST_SWAPPED, starts=count), 1).inertia == 0


@pytest.mark.parametrize("max_iter", [1, 300])
def test_a_swap_is_followed_by_a_few_iterations_and_no_more_than_max_iter(
    monkeypatch: pytest.MonkeyPatch, max_iter: int
) -> None:
    allowed: list[int] = []

    def recorded(*args: Any, max_iter: int, **more: Any) -> Clustering:
        allowed.append(max_iter)
        return lloyd(*args, max_iter=max_iter, **more)

    monkeypatch.setattr(starts, "lloyd", recorded)
    fit_sample(blobs(30), KMeansSettings(k=30, starts=1, max_iter=max_iter, tol=0), 1)
    assert allowed == [min(SWAP_STEPS, max_iter)] * 11 + [max_iter]


def test_merging_costs_are_the_rise_of_the_inertia() -> None:
    rng = np.random.default_rng(0)
    points, labels = rng.normal(size=(200, 4)), rng.integers(0, 6, 200)

    def inertia(classes: npt.NDArray[np.intp]) -> float:
        return sum(
            float(np.square(part - part.mean(axis=0)).sum()) for part in (points[classes == c] for c in set(classes))
        )

    means = np.stack([points[labels == label].mean(axis=0) for label in range(6)])
    wanted = [
        min(inertia(np.where(labels == label, other, labels)) for other in range(6) if other != label) - inertia(labels)
        for label in range(6)
    ]
    np.testing.assert_allclose(merging_costs(np.bincount(labels), means), wanted)
