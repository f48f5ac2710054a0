"""Mini-batches of sampled points: compared with numpy, with scikit-learn's mini-batches and with exact k-means."""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from blocks import scene
from fakes import MemorySource
from sklearn.cluster import MiniBatchKMeans
from sources import described

from pipeline.core.needs import Work
from pipeline.methods import sample_batches
from pipeline.methods.lloyd import lloyd, plus_plus
from pipeline.methods.minibatch import MINIBATCH, MiniBatchSettings
from pipeline.methods.sample_batches import fit_sample_by_batches, mini_batches
from pipeline.methods.starts import fit_sample
from pipeline.scenes.raster_source import RasterSource

pytestmark = pytest.mark.lowest


def shuffled(planes: npt.NDArray[Any], count: int | None = None) -> npt.NDArray[Any]:
    """Pixels in random order, shape (band, point)."""
    points = planes.reshape(len(planes), -1)
    return np.ascontiguousarray(points[:, np.random.default_rng(0).permutation(points.shape[1])[:count]])


def inertia(points: npt.NDArray[Any], centres: npt.NDArray[np.float64]) -> float:
    rows = points.T.astype(np.float64)
    return float(((rows[:, np.newaxis] - centres) ** 2).sum(axis=2).min(axis=1).sum())


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("stretched", [False, True])
def test_a_pass_moves_centroids_by_the_share_of_each_batch(
    dtype: str, monkeypatch: pytest.MonkeyPatch, *, stretched: bool
) -> None:
    monkeypatch.setattr(sample_batches, "BATCH", 500)
    points = shuffled(scene(dtype, (40, 60)))
    stretch = np.array([1.0, 2.0, 0.5]) if stretched else None
    factors = np.ones(3) if stretch is None else stretch
    centres = start = plus_plus(points, 5, np.random.default_rng(1), stretch)
    seen = np.zeros(5)
    for first in range(0, points.shape[1], 500):
        batch = points[:, first : first + 500].T.astype(np.float64)
        nearest = (((batch[:, np.newaxis] - centres) * factors) ** 2).sum(axis=2).argmin(axis=1)
        centres = centres.copy()
        for label in np.unique(nearest):
            own = batch[nearest == label]
            seen[label] += len(own)
            centres[label] += (own.mean(axis=0) - centres[label]) * len(own) / seen[label]
    expected = lloyd(points, centres, max_iter=1, tolerance=0, stretch=stretch)
    found = mini_batches(points, start, max_iter=1, tolerance=0, stretch=stretch)
    np.testing.assert_allclose(found.centres, expected.centres, rtol=1e-9)
    assert found.inertia == pytest.approx(expected.inertia, rel=1e-9)
    assert found.inertia == pytest.approx(inertia(points * factors[:, np.newaxis], found.centres * factors), rel=1e-6)


@pytest.mark.parametrize("k", [8, 60])
def test_inertia_on_a_real_scene_is_near_that_of_kmeans_and_no_worse_than_scikit_learns(
    landscape: list[str], k: int
) -> None:
    source = RasterSource(described(landscape), (300, 512))
    points = shuffled(
        np.concatenate([source.read(block).data.reshape(4, -1) for block in source.blocks], axis=1), 60_000
    )
    settings = MiniBatchSettings(method="minibatch", k=k, starts=2)
    ours = fit_sample_by_batches(points, settings, 2)
    assert ours.inertia <= 1.02 * fit_sample(points, settings, 2).inertia
    theirs = MiniBatchKMeans(k, n_init=2, random_state=0).fit(points.T.astype(np.float32))
    assert ours.inertia <= 1.01 * inertia(points, theirs.cluster_centers_)


def test_the_order_of_integers_within_a_batch_and_workers_change_no_bit() -> None:
    points = shuffled(scene("uint16", (90, 100)))
    ends = np.r_[np.arange(0, points.shape[1], sample_batches.BATCH), points.shape[1]]
    rng = np.random.default_rng(2)
    order = np.concatenate([rng.permutation(np.arange(*each)) for each in pairwise(ends)])
    start = plus_plus(points, 6, np.random.default_rng(1))
    one, other = (
        mini_batches(np.ascontiguousarray(each), start, max_iter=9, tolerance=0) for each in (points, points[:, order])
    )
    assert (one.centres == other.centres).all()
    settings = MiniBatchSettings(method="minibatch", k=6, starts=4)
    fits = [fit_sample_by_batches(points, settings, workers) for workers in (1, 3)]
    assert (fits[0].centres == fits[1].centres).all()
    assert fits[0].inertia == fits[1].inertia


def test_a_class_that_gets_no_point_is_restarted() -> None:
    points = shuffled(scene("uint8"))
    start = plus_plus(points, 6, np.random.default_rng(1))
    start[3] = 1e6
    found = mini_batches(points, start, max_iter=50, tolerance=0)
    assert found.centres.max() < 256
    distances = ((points.T[:, np.newaxis].astype(float) - found.centres) ** 2).sum(axis=2)
    assert np.bincount(distances.argmin(axis=1), minlength=6).all()


def test_passes_end_when_centroids_stand_still_or_inertia_hardly_falls() -> None:
    points = shuffled(scene("uint8"))
    start = plus_plus(points, 6, np.random.default_rng(1))
    assert mini_batches(points, start, max_iter=50, tolerance=np.inf).iterations == 1
    assert mini_batches(points, start, max_iter=2, tolerance=0).iterations == 2
    assert mini_batches(points, start, max_iter=50, tolerance=0).iterations < 50


def test_no_library_is_needed() -> None:
    info, work = MemorySource(scene("uint8")).info, Work(chunk=(64, 64), blocks=4, workers=2)
    for pixels in (5000, "all"):
        assert not MINIBATCH.needs(info, MiniBatchSettings(method="minibatch", pixels=pixels), work).libraries
