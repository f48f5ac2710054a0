"""Lloyd's k-means: compared with scikit-learn and numpy, exact for integers."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from pipeline.kernels.distances import own_distances, update_nearest_distances
from pipeline.methods.lloyd import PointPartition, lloyd, plus_plus
from pipeline.methods.starts import mean_variance

DTYPES = ["u1", "u2", "i2", "i4", "f4", "f8"]
COUNT = 3001  # more points than a kernel processes at once, and not a multiple of it


def blobs(dtype: str, bands: int, seed: int = 0) -> npt.NDArray[Any]:
    """Points around seven means, shape (band, point)."""
    rng = np.random.default_rng([seed, bands])
    means = rng.uniform(40, 210, (bands, 7))
    points = means[:, rng.integers(0, 7, COUNT)] + rng.normal(0, 12, (bands, COUNT))
    return np.ascontiguousarray(points.clip(0, 255).astype(dtype))


def inertia(points: npt.NDArray[Any], centres: npt.NDArray[np.float64]) -> float:
    rows = points.T.astype(np.float64)
    return float(((rows[:, np.newaxis] - centres) ** 2).sum(axis=2).min(axis=1).sum())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("bands", "k"), [(1, 2), (4, 8), (13, 20)])
def test_result_from_the_same_start_is_scikit_learns(dtype: str, bands: int, k: int) -> None:
    points = blobs(dtype, bands)
    start = plus_plus(points, k, np.random.default_rng(3))
    rows = points.T.astype(np.float64)
    sklearn = KMeans(k, init=start, n_init=1, max_iter=500, tol=0).fit(rows)
    ours = lloyd(points, start, max_iter=500, tolerance=0)
    assert ours.inertia == pytest.approx(sklearn.inertia_, rel=1e-6)
    assert ours.inertia == pytest.approx(inertia(points, ours.centres), rel=1e-9)
    np.testing.assert_allclose(ours.centres, sklearn.cluster_centers_, rtol=1e-3)


def test_iterations_end_when_stopped_returns_true() -> None:
    points = blobs("f8", 3)
    start = plus_plus(points, 20, np.random.default_rng(3))
    asked = iter([False, False, True])
    assert lloyd(points, start, max_iter=500, tolerance=0, stopped=lambda: next(asked)).iterations == 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_tolerance_stops_after_as_many_iterations_as_scikit_learn(dtype: str) -> None:
    points = blobs(dtype, 4)
    start = plus_plus(points, 8, np.random.default_rng(5))
    tol = 1e-3
    sklearn = KMeans(8, init=start, n_init=1, max_iter=500, tol=tol).fit(points.T.astype(np.float64))
    ours = lloyd(points, start, max_iter=500, tolerance=tol * mean_variance(points))
    assert ours.iterations == sklearn.n_iter_
    assert ours.inertia == pytest.approx(sklearn.inertia_, rel=1e-6)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2"])
def test_the_order_of_integer_points_changes_no_bit(dtype: str) -> None:
    points = blobs(dtype, 4)
    start = plus_plus(points, 8, np.random.default_rng(1))
    shuffled = np.ascontiguousarray(points[:, np.random.default_rng(2).permutation(COUNT)])
    one, other = (lloyd(order, start, max_iter=50, tolerance=0) for order in (points, shuffled))
    np.testing.assert_array_equal(one.centres, other.centres)
    assert one.iterations == other.iterations


@settings(max_examples=30, deadline=None)
@given(dtype=st.sampled_from(DTYPES), k=st.integers(2, 30), seed=st.integers(0, 10**6), moves=st.integers(1, 6))
def test_counts_and_means_follow_the_labels(dtype: str, k: int, seed: int, moves: int) -> None:
    points = blobs(dtype, 3)
    partition = PointPartition(points, k)
    centres = points[:, np.random.default_rng(seed).integers(0, COUNT, k)].T.astype(np.float64)
    for _ in range(moves):
        partition.assign(centres)
        centres = partition.means(centres)
        assert partition.counts.tolist() == np.bincount(partition.labels, minlength=k + 1).tolist()
        assert (partition.counts[1:] > 0).all(), "two equal centroids leave a class empty, which is filled"
        for label in range(1, k + 1):
            members = points[:, partition.labels == label].astype(np.float64)
            np.testing.assert_allclose(centres[label - 1], members.mean(axis=1), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["u2", "f4"])
def test_initially_empty_classes_are_filled(dtype: str) -> None:
    points = blobs(dtype, 2)
    start = np.concatenate([np.full((4, 2), 1e4), points[:, :3].T.astype(np.float64)])
    found = lloyd(points, start, max_iter=300, tolerance=0)
    labels = np.argmin(((points.T[:, np.newaxis].astype(np.float64) - found.centres) ** 2).sum(axis=2), axis=1)
    assert set(labels.tolist()) == set(range(7))
    best = KMeans(7, n_init=10, random_state=0).fit(points.T.astype(np.float64)).inertia_
    assert found.inertia < 1.6 * best


def test_a_converged_start_does_not_move() -> None:
    points = np.array([[0, 2, 100, 102]], np.uint8)
    found = lloyd(points, np.array([[1.0], [101.0]]), max_iter=10, tolerance=0)
    assert (found.centres.tolist(), found.inertia, found.iterations) == ([[1.0], [101.0]], 4.0, 1)


def test_iterations_do_not_exceed_max_iter() -> None:
    points = blobs("u2", 4)
    start = plus_plus(points, 12, np.random.default_rng(1))
    assert lloyd(points, start, max_iter=3, tolerance=0).iterations == 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_initial_centroids_are_distinct_points(dtype: str) -> None:
    points = blobs(dtype, 2)
    centres = plus_plus(points, 60, np.random.default_rng(0))
    there = {tuple(point) for point in points.T.astype(np.float64).tolist()}
    chosen = [tuple(centre) for centre in centres.tolist()]
    assert len(set(chosen)) == 60
    assert set(chosen) <= there


def test_initial_centroids_have_less_inertia_than_random_points() -> None:
    points = blobs("u2", 4)
    rng = np.random.default_rng(0)
    ours = [inertia(points, plus_plus(points, 7, rng)) for _ in range(20)]
    blind = [inertia(points, points[:, rng.choice(COUNT, 7, replace=False)].T.astype(np.float64)) for _ in range(20)]
    assert np.median(ours) < 0.7 * np.median(blind)


@pytest.mark.parametrize("dtype", DTYPES)
def test_distances_equal_numpy(dtype: str) -> None:
    points = blobs(dtype, 5)
    rows = points.T.astype(np.float64)
    first, total = update_nearest_distances(points, 17, np.full(COUNT, np.inf))
    np.testing.assert_allclose(first, ((rows - rows[17]) ** 2).sum(axis=1), rtol=1e-5)
    both, _ = update_nearest_distances(points, 99, first)
    np.testing.assert_allclose(both, np.minimum(first, ((rows - rows[99]) ** 2).sum(axis=1)), rtol=1e-5)
    assert total == pytest.approx(first.astype(np.float64).sum())
    labels = np.random.default_rng(0).integers(1, 5, COUNT).astype(np.uint8)
    centres = rows[:4] + 0.25
    each, whole = own_distances(points, labels, centres)
    np.testing.assert_allclose(each, ((rows - centres[labels - 1]) ** 2).sum(axis=1), rtol=1e-12)
    assert whole == pytest.approx(each.sum())


def test_mean_variance_equals_numpy() -> None:
    points = blobs("u2", 6)
    assert mean_variance(points) == pytest.approx(points.var(axis=1).mean())
