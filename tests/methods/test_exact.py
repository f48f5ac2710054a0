"""Exact k-means over all pixels: results of scikit-learn, and identical bits for any blocks, workers and cache."""

import logging
import pickle
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from blocks import fitted, holes, pieces_of, scene, unprepared
from fakes import MemoryPixels, MemorySource, RepeatingExecutor, SerialExecutor
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sources import described

from pipeline.config.schema import FeaturesConfig
from pipeline.core.grid import Block
from pipeline.core.pixels import Pixels, PixelSource
from pipeline.engine.cache import open_cache
from pipeline.engine.executor import Executor, ThreadExecutor
from pipeline.engine.progress import Progress
from pipeline.kernels.assign import assign
from pipeline.kernels.fixed import LIMB
from pipeline.methods import passes
from pipeline.methods.exact import refine
from pipeline.methods.fit import fit_source
from pipeline.methods.kmeans import KMeansSettings
from pipeline.methods.method import FitInput, FitResult
from pipeline.methods.passes import MoveBlock, Passes, PassResult
from pipeline.pixels import pieces
from pipeline.pixels.block_cache import CachedSource
from pipeline.pixels.pieces import PixelPieces
from pipeline.scenes.raster_source import RasterSource

DTYPES = ["uint8", "uint16", "int16", "uint32", "int64", "float32", "float64"]


@contextmanager
def cached_pieces(source: PixelSource, folder: Path | None = None) -> Iterator[PixelPieces]:
    """Cached pieces of a source, each block of which was read for the fit."""
    with open_cache("disk" if folder else "memory", folder or Path()) as cache:
        yield pieces_of(CachedSource(source, cache))


def given_to(config: KMeansSettings, pixels: PixelPieces, points: npt.NDArray[Any], workers: int) -> FitInput[Any]:
    """What k-means is given to fit a scene, with sampled points."""
    return FitInput(
        settings=config,
        info=pixels.info,
        stored=np.ascontiguousarray(points),
        points=np.ascontiguousarray(points),
        valid=pixels.info.pixels,
        pixels=pixels,
        preparation=unprepared(len(points)),
        executor=ThreadExecutor(workers),
        progress=Progress(),
    )


def refine_source(source: MemorySource, start: npt.NDArray[np.float64], workers: int = 2, **settings: Any) -> FitResult:
    config = KMeansSettings(k=len(start), **{"max_iter": 200, "tol": 0, **settings})
    points = source.data[:, source.valid]
    with cached_pieces(source) as pixels:
        return refine(given_to(config, pixels, points[:, ::7], workers), pixels, start)


def by_brightness(centres: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Centroids in the order of a model: by their mean over the bands."""
    return centres[centres.mean(axis=1).argsort()]


def centres_of(found: FitResult) -> npt.NDArray[np.float64]:
    """Centroids that a fit found."""
    return np.array(found.content["centroids"])


def initial_centres(
    data: npt.NDArray[Any], valid: npt.NDArray[np.bool_], k: int, seed: int = 0
) -> npt.NDArray[np.float64]:
    """Initial centroids: pixels moved slightly, so that no pixel is exactly midway between two of them."""
    points, rng = np.unique(data[:, valid].T, axis=0), np.random.default_rng(seed)
    return points[rng.choice(len(points), k, replace=False)] + rng.random((k, len(data)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("bands", "k"), [(1, 3), (4, 6), (11, 5)])
def test_result_from_the_same_start_is_scikit_learns(dtype: str, bands: int, k: int) -> None:
    data, valid = scene(dtype, bands=bands), holes((120, 150))
    start = initial_centres(data, valid, k)
    expected = KMeans(k, init=start, n_init=1, max_iter=200, tol=0).fit(data[:, valid].T.astype(np.float64))
    found = refine_source(MemorySource(data, valid, (64, 70)), start)
    assert found.inertia == pytest.approx(expected.inertia_, rel=1e-6)
    assert found.counts.sum() == valid.sum()
    np.testing.assert_allclose(centres_of(found), by_brightness(expected.cluster_centers_), rtol=2e-3)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_tol_stops_after_as_many_passes_as_scikit_learn(dtype: str) -> None:
    data, valid = scene(dtype, bands=4), holes((120, 150))
    start, tol = initial_centres(data, valid, 8), 3e-3
    expected = KMeans(8, init=start, n_init=1, max_iter=200, tol=tol).fit(data[:, valid].T.astype(np.float64))
    found = refine_source(MemorySource(data, valid), start, tol=tol)
    assert len(found.log) == expected.n_iter_ < 200
    assert found.inertia == pytest.approx(expected.inertia_, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES), chunk=st.tuples(st.integers(7, 150), st.integers(7, 160)),
    workers=st.integers(1, 4), keep=st.booleans(),
)  # fmt: skip
def test_blocks_workers_and_cache_change_no_bit(
    dtype: str, chunk: tuple[int, int], workers: int, *, keep: bool
) -> None:
    data, valid = scene(dtype), holes((120, 150))
    if dtype.startswith("float"):
        data = data / data.dtype.type(7)  # no whole numbers
        data[0, 60, 60] = 3e8  # an outlier that takes most of the range
    start = initial_centres(data, valid, 5)
    whole = refine_source(MemorySource(data, valid, (120, 150)), start, workers=1)
    source = MemorySource(data, valid, chunk)
    config = KMeansSettings(k=5, max_iter=200, tol=0)
    with cached_pieces(source) if keep else nullcontext(pieces_of(source)) as pixels:
        cut = refine(given_to(config, pixels, data[:, valid][:, ::7], workers), pixels, start)
    assert centres_of(cut).tobytes() == centres_of(whole).tobytes()
    assert cut.counts.tolist() == whole.counts.tolist()
    assert [(p.shift, p.inertia) for p in cut.log] == [(p.shift, p.inertia) for p in whole.log][: len(cut.log)]


def test_an_outlier_costs_other_pixels_no_digits() -> None:
    data = scene("float32", bands=2) / np.float32(255)
    data[:, 5, 5] = 1e10
    valid = np.ones(data.shape[1:], bool)
    start = np.vstack([initial_centres(data[:, 10:], valid[10:], 4), [[1e10, 1e10]]])
    found = refine_source(MemorySource(data), start)
    assert found.counts[4] == 1
    rest = data.reshape(2, -1).T.astype(np.float64)
    rest = rest[rest[:, 0] < 10]
    expected = KMeans(4, init=start[:4], n_init=1, max_iter=200, tol=0).fit(rest)
    np.testing.assert_allclose(centres_of(found)[:4], by_brightness(expected.cluster_centers_), rtol=1e-9)
    assert found.inertia == pytest.approx(expected.inertia_, rel=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("odd", [-9999, -32768, 65535, 1e6])
def test_inertia_equals_numpy_with_untagged_fill_values(dtype: str, odd: float) -> None:
    data = (scene("float64", bands=2) / 25500).astype(dtype)
    data[:, :, :15] = odd
    start = np.vstack([initial_centres(data[:, :, 15:], np.ones((120, 135), bool), 4), [[odd, odd]]])
    found = refine_source(MemorySource(data), start, tol=0)
    rows = data.reshape(2, -1).T.astype(np.float64)
    expected = ((rows[:, None] - centres_of(found)) ** 2).sum(axis=2).min(axis=1).sum()
    assert found.inertia == pytest.approx(expected, rel=1e-9)
    assert found.log[-1].inertia == pytest.approx(expected, rel=1e-9)


def test_counts_sums_and_variance_of_a_pass_equal_numpy() -> None:
    data, valid = scene("int16", bands=2), holes((120, 150))
    start = initial_centres(data, valid, 4)
    found = refine_source(MemorySource(data, valid, (50, 40)), start, max_iter=2)
    rows = data[:, valid].T.astype(np.float64)
    before: npt.NDArray[Any] | None = None
    centres = start
    for done in found.log:
        squared = ((rows[:, None] - centres) ** 2).sum(axis=2)
        labels = squared.argmin(axis=1)
        means = np.array([rows[labels == c].mean(axis=0) for c in range(4)])
        assert done.inertia == pytest.approx(squared.min(axis=1).sum(), rel=1e-12)
        assert done.changed == (None if before is None else (labels != before).mean())
        assert done.shift == pytest.approx(((means - centres) ** 2).sum() / rows.var(axis=0).mean(), rel=1e-9)
        before, centres = labels, means
    np.testing.assert_allclose(centres_of(found), by_brightness(centres), rtol=1e-13)


@pytest.mark.parametrize("seed", [39, 46, 105, 125, 128])
def test_a_pixel_midway_between_two_centroids_has_the_same_class_in_model_and_map(seed: int) -> None:
    """Forty classes of about a hundred integers: centroids are on halves, and their order changes between passes."""
    rng = np.random.default_rng(seed)
    data = rng.normal(60, 20, (1, 60, 60)).clip(0, 120).astype("uint32")
    source = MemorySource(data)
    config, features = KMeansSettings(k=40, pixels="all", starts=1, seed=seed), FeaturesConfig(standardize="minmax")
    model = fitted(source, config, features).model
    labels = assign(
        data, source.valid, model.centres_in(source.info.units), model.preparation.bind(source.info.units).stretch
    )
    assert np.bincount(labels.ravel(), minlength=41)[1:].tolist() == list(model.counts)


def test_an_empty_class_restarts_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    data = scene("uint16", bands=2)
    valid = np.ones(data.shape[1:], bool)
    start = np.vstack([initial_centres(data, valid, 4), [[60_000.0, 60_000.0]]])
    with caplog.at_level(logging.INFO, "pipeline"):
        found = refine_source(MemorySource(data), start)
    assert "1 empty classes restart at the sampled pixels farthest" in caplog.text
    assert (found.counts > 0).all()
    best = KMeans(5, n_init=5, random_state=0).fit(data.reshape(2, -1).T.astype(np.float64)).inertia_
    assert found.inertia < 1.5 * best


def test_each_pass_is_logged_and_never_raises_the_inertia(caplog: pytest.LogCaptureFixture) -> None:
    data = scene("uint16", bands=3)
    with caplog.at_level(logging.INFO, "pipeline"):
        found = refine_source(MemorySource(data), initial_centres(data, np.ones((120, 150), bool), 7))
    lines = [line for line in caplog.messages if line.startswith("pass ")]
    assert len(lines) == len(found.log) > 3
    assert "changed class" in lines[-1]
    inertias = [done.inertia for done in found.log]
    assert inertias == sorted(inertias, reverse=True)
    assert found.log[-1].shift == 0


@pytest.mark.slow
@pytest.mark.parametrize("k", [3, 8])
def test_result_of_a_real_scene_is_scikit_learns(landscape: list[str], k: int) -> None:
    data = np.stack([rasterio.open(path).read(1) for path in landscape])
    valid = np.ones(data.shape[1:], bool)
    start = initial_centres(data, valid, k)
    rows = data.reshape(len(data), -1).T.astype(np.float64)
    expected = KMeans(k, init=start, n_init=1, max_iter=300, tol=1e-6).fit(rows)
    found = refine_source(MemorySource(data, valid, (256, 300)), start, max_iter=300, tol=1e-6)
    assert len(found.log) == expected.n_iter_
    assert found.inertia == pytest.approx(expected.inertia_, rel=1e-6)


def test_all_pixels_of_a_real_scene_are_counted_and_inertia_is_below_that_of_a_sample(landscape: list[str]) -> None:
    source = RasterSource(described(landscape), (512, 512))
    plain = FeaturesConfig(standardize="none")
    exact = fitted(source, KMeansSettings(k=6, pixels="all", tol=0), plain).model
    sampled = fit_source(
        source, KMeansSettings(k=6, pixels=2000), plain, executor=ThreadExecutor(2), progress=Progress()
    ).model
    data = np.stack([rasterio.open(path).read(1) for path in landscape])
    everywhere = np.ones(data.shape[1:], bool)

    def inertia(centres: npt.NDArray[np.float64]) -> float:
        labels = assign(data, everywhere, centres)
        return float(sum(((band - centres[labels - 1, b]) ** 2).sum() for b, band in enumerate(data.astype(float))))

    assert exact.inertia == pytest.approx(inertia(exact.centres), rel=1e-12)
    assert exact.counts == tuple(np.bincount(assign(data, everywhere, exact.centres).ravel(), minlength=7)[1:].tolist())
    assert inertia(exact.centres) < inertia(sampled.centres)
    assert (exact.fitting.pixels, exact.fitting.sampled_pixels) == ("all", min(500_000, data[0].size))


def test_pixels_left_out_of_the_fit_do_not_affect_it() -> None:
    data = scene("uint16", bands=3)
    data[:, :40] += 5000

    class LeftOut(MemorySource):
        def read_for_fit(self, block: Any) -> Any:
            pixels = self.read(block)
            return pixels, pixels.valid & (np.arange(block.top, block.top + block.height) >= 40)[:, None]

    found = fitted(LeftOut(data, chunk=(64, 64)), KMeansSettings(k=4, pixels="all")).model
    expected = fitted(MemorySource(data[:, 40:].copy()), KMeansSettings(k=4, pixels="all")).model
    assert sum(found.counts) == 80 * 150
    assert found.inertia == pytest.approx(expected.inertia, rel=0.2)
    assert found.centres.max() < 1000


@pytest.mark.parametrize("count", [10, 500_000, 120_000_000])
def test_values_whose_squares_overflow_are_refused(count: int) -> None:
    from pipeline.core.errors import FitError
    from pipeline.methods.pixel_checks import check_magnitude

    check_magnitude(np.array([1e15] * 2, np.float32), np.array([6e15] * 2, np.float32), count)
    with pytest.raises(FitError, match="may be a nodata value"):
        check_magnitude(np.array([0], np.float32), np.array([2e19], np.float32), count)


def test_scales_too_far_apart_are_refused() -> None:
    from pipeline.core.errors import FitError
    from pipeline.methods.pixel_checks import check_magnitude

    low, high = np.array([0, 0], np.uint16), np.array([999, 999], np.uint16)
    check_magnitude(low, high, 1000, np.array([1, 1e3]))
    with pytest.raises(FitError, match="too far apart"):
        check_magnitude(low, high, 1000, np.array([1, 1e18]))


@pytest.mark.parametrize("keep", [True, False])
def test_pieces_are_small_enough_for_64_bit_sums(keep: bool) -> None:  # noqa: FBT001
    source = MemorySource(np.zeros((1, 700, 1100), np.uint8), chunk=(700, 1100))
    (block,) = source.blocks
    with cached_pieces(source) as labelled:
        pixels = labelled if keep else pieces_of(source)
        sizes = [piece.points.shape[1] for piece in pixels.pieces([block])]
    assert sum(sizes) == 700 * 1100
    assert max(sizes) <= pieces.PIECE_PIXELS
    assert len(sizes) == 3
    assert passes._PIECES_TOGETHER * pieces.PIECE_PIXELS * LIMB < 2**63


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_sums_of_a_block_of_many_pieces_are_exact(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = scene(dtype, (900, 1000), 2)
    start = initial_centres(data, np.ones((900, 1000), bool), 5)
    in_one_part = refine_source(MemorySource(data, chunk=(900, 1000)), start)
    monkeypatch.setattr(pieces, "PIECE_PIXELS", 2**16)
    monkeypatch.setattr(passes, "_PIECES_TOGETHER", 3)  # 14 pieces: four groups of three, and two more
    in_several_parts = refine_source(MemorySource(data, chunk=(900, 1000)), start)
    np.testing.assert_array_equal(centres_of(in_several_parts), centres_of(in_one_part))
    np.testing.assert_array_equal(in_several_parts.counts, in_one_part.counts)
    assert in_several_parts.inertia == in_one_part.inertia


@pytest.mark.parametrize("keep", [True, False])
def test_64_bit_sums_hold_no_more_pieces_than_allowed(
    keep: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passes, "_PIECES_TOGETHER", 3)
    source = MemorySource(scene("float32"), chunk=(90, 100))
    monkeypatch.setattr(pieces, "PIECE_PIXELS", 1000)  # nine, five, three and two pieces of the blocks
    used: list[npt.NDArray[np.int64]] = []
    move = passes.Mover.move

    def note_sums(mover: passes.Mover, *arrays: npt.NDArray[Any]) -> int:
        used.append(arrays[3])  # the counts; referenced, so that their memory is not reused
        return move(mover, *arrays)

    monkeypatch.setattr(passes.Mover, "move", note_sums)
    with cached_pieces(source) as labelled:
        pixels = labelled if keep else pieces_of(source)
        Passes(pixels, 5, None, ThreadExecutor(1), 1.0).assign(initial_centres(source.data, source.valid, 5))
    assert [sum(other is counts for other in used) for counts in used] == [3] * 12 + [2] * 2 + [3] * 3 + [2] * 2


@pytest.mark.parametrize(("bands", "shape"), [(3, (64, 64)), (3, (600, 700)), (1, (600, 700))])
def test_an_uncached_block_is_freed_before_the_next_is_read(bands: int, shape: tuple[int, int]) -> None:
    alive: list[weakref.ref[npt.NDArray[Any]]] = []
    held: list[int] = []

    class Watched(MemorySource):
        def read(self, block: Block) -> Pixels:
            held.append(sum(other() is not None for other in alive))
            pixels = super().read(block)
            data = pixels.data.copy()
            alive.append(weakref.ref(data))
            return Pixels(data, pixels.valid)

    source = Watched(scene("uint16", (3 * shape[0], shape[1]), bands), chunk=shape)
    pixels = pieces_of(source)
    Passes(pixels, 5, None, ThreadExecutor(1), 1.0).assign(initial_centres(source.data, source.valid, 5))
    assert held == [0] * 6


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("lost", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("executor", [SerialExecutor(), ThreadExecutor(3), RepeatingExecutor()])
def test_lost_labels_and_repeated_tasks_change_no_bit(dtype: str, lost: float, executor: Executor) -> None:
    """Each pass over a block gives absolute counts and sums, whatever is remembered of the pass before."""
    source = MemorySource(scene(dtype), holes((120, 150)), (40, 50))
    rng, centres = np.random.default_rng(0), initial_centres(source.data, source.valid, 5)
    pixels, whole = (MemoryPixels(source, 700, lost=share) for share in (lost, 0.0))
    ours, expected = Passes(pixels, 5, None, executor, 3.0), Passes(whole, 5, None, SerialExecutor(), 3.0)
    points = np.ascontiguousarray(source.data[:, source.valid])
    before = np.zeros(points.shape[1], np.uint8)
    for step in (0.0, 20.0, 3.0, 0.1, 0.0, 500.0, 1.0):
        centres = centres + rng.normal(0, 1, centres.shape) * step
        pixels.forget()
        labels = assign(points[:, np.newaxis], np.ones((1, points.shape[1]), bool), centres)[0]
        assert ours.assign(centres) == expected.assign(centres) == (labels != before).sum()
        assert ours.counts.tolist() == np.bincount(labels, minlength=6)[1:].tolist()
        assert ours.totals.sums[1:].tolist() == expected.totals.sums[1:].tolist()
        assert ours.totals.means(centres).tobytes() == expected.totals.means(centres).tobytes()
        assert ours.inertia(centres) == expected.inertia(centres)
        before = labels
    assert (pixels.times_lost > 0) == (lost > 0)


def test_a_task_that_comes_late_or_again_gives_the_same_result() -> None:
    source = MemorySource(scene("uint16"), chunk=(120, 150))
    pixels, (block,) = MemoryPixels(source, 4000), source.blocks
    passes_seen = Passes(pixels, 4, None, SerialExecutor(), 3.0)
    tasks, results = list[MoveBlock](), list[PassResult]()

    class Noting(SerialExecutor):
        def fold(self, task: Any, items: Any, merge: Any) -> Any:
            tasks.append(pickle.loads(pickle.dumps(task)))  # noqa: S301
            results.append(super().fold(task, items, merge))
            return results[-1]

    passes_seen._executor = Noting()
    centres = initial_centres(source.data, source.valid, 4)
    for shift in (0, 5, 9, 20):
        passes_seen.assign(centres + shift)
    for late in (2, 0, 3, 3, 1):
        again = replace(tasks[late], pixels=pixels)(block)  # the labels are those of another pass
        for found in (again, tasks[late](block)):
            assert found.moves == results[late].moves
            assert found.totals.counts.tolist()[1:] == results[late].totals.counts.tolist()[1:]
            assert found.totals.sums.tolist()[1:] == results[late].totals.sums.tolist()[1:]
            assert found.totals.squares.tolist() == results[late].totals.squares.tolist()


@pytest.mark.parametrize("remembers", [True, False])
def test_an_error_half_way_through_a_block_loses_its_account(remembers: bool) -> None:  # noqa: FBT001
    source = MemorySource(scene("uint16"), chunk=(60, 80))
    centres = initial_centres(source.data, source.valid, 4)
    pixels = MemoryPixels(source, 1000)
    pixels.remembers = remembers
    some, expected = (
        Passes(pixels, 4, None, SerialExecutor(), 3.0),
        Passes(MemoryPixels(source, 1000), 4, None, SerialExecutor(), 3.0),
    )
    some.assign(centres)
    expected.assign(centres)
    store, stored = pixels.store_labels, []

    def fail_later(piece: Any) -> None:
        stored.append(piece)
        if len(stored) == 7:
            msg = "disk full"
            raise OSError(msg)
        store(piece)

    pixels.store_labels = fail_later  # type: ignore[method-assign]
    with pytest.raises(OSError, match="disk full"):
        some.assign(centres + 7)
    pixels.store_labels = store  # type: ignore[method-assign]
    some.assign(centres + 7)
    expected.assign(centres + 7)
    assert some.totals.sums[1:].tolist() == expected.totals.sums[1:].tolist()


def test_a_memory_cache_holds_copies_of_arrays() -> None:
    data = scene("uint16")
    with cached_pieces(MemorySource(data)) as pixels:
        before = data[:, :64, :64].copy()
        data[:] = 0  # the user's array, read without a copy
        (piece,) = pixels.pieces(pixels.blocks[:1])
        np.testing.assert_array_equal(piece.points, before.reshape(3, -1))


def test_a_fit_ended_by_max_iter_warns(caplog: pytest.LogCaptureFixture) -> None:
    data = scene("uint16", bands=3)
    start = initial_centres(data, np.ones((120, 150), bool), 7)
    refine_source(MemorySource(data), start, max_iter=2)
    assert "fit.max_iter: centroids still move after pass 2; allow more passes" in caplog.text
    caplog.clear()
    refine_source(MemorySource(data), start, max_iter=2, tol=1e9)
    assert "max_iter" not in caplog.text
