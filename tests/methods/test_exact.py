"""Exact k-means over all pixels: scikit-learn's answer, and the same bits for any blocks, workers and cache."""

import logging
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from blocks import fitted, holes, scene
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sources import MemorySource, described

from pipeline.config.schema import FeaturesConfig, FitConfig
from pipeline.core.grid import Block
from pipeline.core.pixels import FitSource, Pixels
from pipeline.engine.cache import open_cache
from pipeline.engine.progress import Progress
from pipeline.kernels.assign import assign
from pipeline.kernels.fixed import LIMB
from pipeline.methods import passes
from pipeline.methods.exact import Refined, refine
from pipeline.methods.fit import fit_source
from pipeline.methods.passes import Passes
from pipeline.pixels import pieces
from pipeline.pixels.pieces import CachedPieces, PixelPieces, UncachedPieces
from pipeline.scenes.raster_source import RasterSource

DTYPES = ["uint8", "uint16", "int16", "uint32", "int64", "float32", "float64"]


@contextmanager
def kept(source: FitSource, folder: Path | None = None) -> Iterator[PixelPieces]:
    """A source each block of which was read for the fit already."""
    with open_cache("disk" if folder else "memory", folder or Path()) as cache:
        pixels = CachedPieces(source, cache)
        for block in source.blocks:
            pixels.read_for_fit(block)
        yield pixels


def refined(source: MemorySource, start: npt.NDArray[np.float64], workers: int = 2, **settings: Any) -> Refined:
    config = FitConfig(k=len(start), **{"max_iter": 200, "tol": 0, **settings})
    points = source.data[:, source.valid]
    with kept(source) as pixels:
        return refine(pixels, start, np.ascontiguousarray(points[:, ::7]), config, None, workers)


def starts(data: npt.NDArray[Any], valid: npt.NDArray[np.bool_], k: int, seed: int = 0) -> npt.NDArray[np.float64]:
    """Some pixels, moved a little, so that no pixel lies exactly between two of them."""
    points, rng = np.unique(data[:, valid].T, axis=0), np.random.default_rng(seed)
    return points[rng.choice(len(points), k, replace=False)] + rng.random((k, len(data)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("bands", "k"), [(1, 3), (4, 6), (11, 5)])
def test_from_the_same_start_it_ends_where_scikit_learn_ends(dtype: str, bands: int, k: int) -> None:
    data, valid = scene(dtype, bands=bands), holes((120, 150))
    start = starts(data, valid, k)
    theirs = KMeans(k, init=start, n_init=1, max_iter=200, tol=0).fit(data[:, valid].T.astype(np.float64))
    ours = refined(MemorySource(data, valid, (64, 70)), start)
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-6)
    assert ours.counts.sum() == valid.sum()
    np.testing.assert_allclose(ours.centres, theirs.cluster_centers_, rtol=2e-3)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_stop_by_tolerance_is_scikit_learns(dtype: str) -> None:
    data, valid = scene(dtype, bands=4), holes((120, 150))
    start, tol = starts(data, valid, 8), 3e-3
    theirs = KMeans(8, init=start, n_init=1, max_iter=200, tol=tol).fit(data[:, valid].T.astype(np.float64))
    ours = refined(MemorySource(data, valid), start, tol=tol)
    assert len(ours.passes) == theirs.n_iter_ < 200
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-9)


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
        data = data / data.dtype.type(7)  # no number is round
        data[0, 60, 60] = 3e8  # one that takes most of the range
    start = starts(data, valid, 5)
    whole = refined(MemorySource(data, valid, (120, 150)), start, workers=1)
    source = MemorySource(data, valid, chunk)
    config = FitConfig(k=5, max_iter=200, tol=0)
    points = np.ascontiguousarray(data[:, valid][:, ::7])
    if keep:
        with kept(source) as pixels:
            cut = refine(pixels, start, points, config, None, workers)
    else:
        read = UncachedPieces(source)
        for block in source.blocks:
            read.read_for_fit(block)
        cut = refine(read, start, points, config, None, workers)
    assert cut.centres.tobytes() == whole.centres.tobytes()
    assert cut.counts.tolist() == whole.counts.tolist()
    assert [(p.shift, p.inertia) for p in cut.passes] == [(p.shift, p.inertia) for p in whole.passes][: len(cut.passes)]


def test_an_outlier_costs_the_other_pixels_no_digit() -> None:
    data = scene("float32", bands=2) / np.float32(255)
    data[:, 5, 5] = 1e10
    valid = np.ones(data.shape[1:], bool)
    start = np.vstack([starts(data[:, 10:], valid[10:], 4), [[1e10, 1e10]]])
    found = refined(MemorySource(data), start)
    assert found.counts[4] == 1
    rest = data.reshape(2, -1).T.astype(np.float64)
    rest = rest[rest[:, 0] < 10]
    theirs = KMeans(4, init=start[:4], n_init=1, max_iter=200, tol=0).fit(rest)
    np.testing.assert_allclose(found.centres[:4], theirs.cluster_centers_, rtol=1e-9)
    assert found.inertia == pytest.approx(theirs.inertia_, rel=1e-7)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("odd", [-9999, -32768, 65535, 1e6])
def test_inertia_is_numpys_beside_numbers_that_no_tag_calls_nodata(dtype: str, odd: float) -> None:
    data = (scene("float64", bands=2) / 25500).astype(dtype)
    data[:, :, :15] = odd
    start = np.vstack([starts(data[:, :, 15:], np.ones((120, 135), bool), 4), [[odd, odd]]])
    found = refined(MemorySource(data), start, tol=0)
    rows = data.reshape(2, -1).T.astype(np.float64)
    expected = ((rows[:, None] - found.centres) ** 2).sum(axis=2).min(axis=1).sum()
    assert found.inertia == pytest.approx(expected, rel=1e-9)
    assert found.passes[-1].inertia == pytest.approx(expected, rel=1e-9)


def test_the_account_of_a_pass_is_numpys() -> None:
    data, valid = scene("int16", bands=2), holes((120, 150))
    start = starts(data, valid, 4)
    found = refined(MemorySource(data, valid, (50, 40)), start, max_iter=2)
    rows = data[:, valid].T.astype(np.float64)
    before: npt.NDArray[Any] | None = None
    centres = start
    for done in found.passes:
        squared = ((rows[:, None] - centres) ** 2).sum(axis=2)
        labels = squared.argmin(axis=1)
        means = np.array([rows[labels == c].mean(axis=0) for c in range(4)])
        assert done.inertia == pytest.approx(squared.min(axis=1).sum(), rel=1e-12)
        assert done.changed == (None if before is None else (labels != before).mean())
        assert done.shift == pytest.approx(((means - centres) ** 2).sum() / rows.var(axis=0).mean(), rel=1e-9)
        before, centres = labels, means
    np.testing.assert_allclose(found.centres, centres, rtol=1e-13)


@pytest.mark.parametrize("seed", [39, 46, 105, 125, 128])
def test_a_pixel_midway_between_two_classes_is_in_the_same_one_in_the_model_and_in_the_map(seed: int) -> None:
    """Forty classes of some hundred whole numbers: centres come to lie on halves, and pass each other on the way."""
    rng = np.random.default_rng(seed)
    data = rng.normal(60, 20, (1, 60, 60)).clip(0, 120).astype("uint32")
    source = MemorySource(data)
    config, features = FitConfig(k=40, pixels="all", starts=1, seed=seed), FeaturesConfig(standardize="minmax")
    with kept(source) as pixels:
        model = fit_source(pixels, config, features, workers=2, progress=Progress()).model
    labels = assign(data, source.valid, model.centres_in(source.info.units), model.stretch_in(source.info.units))
    assert np.bincount(labels.ravel(), minlength=41)[1:].tolist() == list(model.counts)


def test_a_class_without_pixels_begins_anew_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    data = scene("uint16", bands=2)
    valid = np.ones(data.shape[1:], bool)
    start = np.vstack([starts(data, valid, 4), [[60_000.0, 60_000.0]]])
    with caplog.at_level(logging.INFO, "pipeline"):
        found = refined(MemorySource(data), start)
    assert "1 empty classes restart at the sampled pixels farthest" in caplog.text
    assert (found.counts > 0).all()
    best = KMeans(5, n_init=5, random_state=0).fit(data.reshape(2, -1).T.astype(np.float64)).inertia_
    assert found.inertia < 1.5 * best


def test_each_pass_is_logged_and_never_raises_the_inertia(caplog: pytest.LogCaptureFixture) -> None:
    data = scene("uint16", bands=3)
    with caplog.at_level(logging.INFO, "pipeline"):
        found = refined(MemorySource(data), starts(data, np.ones((120, 150), bool), 7))
    lines = [line for line in caplog.messages if line.startswith("pass ")]
    assert len(lines) == len(found.passes) > 3
    assert "changed class" in lines[-1]
    inertias = [done.inertia for done in found.passes]
    assert inertias == sorted(inertias, reverse=True)
    assert found.passes[-1].shift == 0


@pytest.mark.slow
@pytest.mark.parametrize("k", [3, 8])
def test_a_real_scene_ends_where_scikit_learn_ends(landscape: list[str], k: int) -> None:
    data = np.stack([rasterio.open(path).read(1) for path in landscape])
    valid = np.ones(data.shape[1:], bool)
    start = starts(data, valid, k)
    rows = data.reshape(len(data), -1).T.astype(np.float64)
    theirs = KMeans(k, init=start, n_init=1, max_iter=300, tol=1e-6).fit(rows)
    ours = refined(MemorySource(data, valid, (256, 300)), start, max_iter=300, tol=1e-6)
    assert len(ours.passes) == theirs.n_iter_
    assert ours.inertia == pytest.approx(theirs.inertia_, rel=1e-6)


def test_on_a_real_scene_all_pixels_are_counted_and_lie_closer_than_from_a_sample(landscape: list[str]) -> None:
    source = RasterSource(described(landscape), (512, 512))
    exact = fitted(source, FitConfig(k=6, pixels="all", tol=0)).model
    sampled = fit_source(source, FitConfig(k=6, pixels=2000), workers=2, progress=Progress()).model
    data = np.stack([rasterio.open(path).read(1) for path in landscape])
    everywhere = np.ones(data.shape[1:], bool)

    def inertia(centres: npt.NDArray[np.float64]) -> float:
        labels = assign(data, everywhere, centres)
        return float(sum(((band - centres[labels - 1, b]) ** 2).sum() for b, band in enumerate(data.astype(float))))

    assert exact.inertia == pytest.approx(inertia(exact.centres), rel=1e-12)
    assert exact.counts == tuple(np.bincount(assign(data, everywhere, exact.centres).ravel(), minlength=7)[1:].tolist())
    assert inertia(exact.centres) < inertia(sampled.centres)
    assert (exact.fitting.pixels, exact.fitting.sampled_pixels) == ("all", min(500_000, data[0].size))


def test_pixels_left_out_of_the_fit_have_no_say() -> None:
    data = scene("uint16", bands=3)
    data[:, :40] += 5000

    class LeftOut(MemorySource):
        def read_for_fit(self, block: Any) -> Any:
            pixels = self.read(block)
            return pixels, pixels.valid & (np.arange(block.top, block.top + block.height) >= 40)[:, None]

    ours = fitted(LeftOut(data, chunk=(64, 64)), FitConfig(k=4, pixels="all")).model
    theirs = fitted(MemorySource(data[:, 40:].copy()), FitConfig(k=4, pixels="all")).model
    assert sum(ours.counts) == 80 * 150
    assert ours.inertia == pytest.approx(theirs.inertia, rel=0.2)
    assert ours.centres.max() < 1000


@pytest.mark.parametrize("count", [10, 500_000, 120_000_000])
def test_large_numbers_are_refused_for_their_squares_however_many_there_are(count: int) -> None:
    from pipeline.core.errors import FitError
    from pipeline.methods.kmeans import check_magnitude

    check_magnitude(np.array([1e15] * 2, np.float32), np.array([6e15] * 2, np.float32), count)
    with pytest.raises(FitError, match="may be a nodata value"):
        check_magnitude(np.array([0], np.float32), np.array([2e19], np.float32), count)


def test_scales_that_are_too_far_apart_for_the_numbers_are_told() -> None:
    from pipeline.core.errors import FitError
    from pipeline.methods.kmeans import check_magnitude

    low, high = np.array([0, 0], np.uint16), np.array([999, 999], np.uint16)
    check_magnitude(low, high, 1000, np.array([1, 1e3]))
    with pytest.raises(FitError, match="too far apart"):
        check_magnitude(low, high, 1000, np.array([1, 1e18]))


@pytest.mark.parametrize("keep", [True, False])
def test_no_piece_is_too_large_for_sums_of_64_bits(keep: bool) -> None:  # noqa: FBT001
    source = MemorySource(np.zeros((1, 700, 1100), np.uint8), chunk=(700, 1100))
    (block,) = source.blocks
    with kept(source) as labelled:
        pixels: PixelPieces = labelled if keep else UncachedPieces(source)
        pixels.read_for_fit(block)
        sizes = [(piece.start, piece.points.shape[1]) for piece in pixels.pieces([block])]
    assert sum(size for _, size in sizes) == 700 * 1100
    assert [start for start, _ in sizes] == list(range(0, 700 * 1100, pieces.PIECE_PIXELS))
    assert passes._PIECES_TOGETHER * pieces.PIECE_PIXELS * LIMB < 2**63


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_block_of_many_pieces_is_added_up_in_parts(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = scene(dtype, (900, 1000), 2)
    start = starts(data, np.ones((900, 1000), bool), 5)
    together = refined(MemorySource(data, chunk=(900, 1000)), start)
    monkeypatch.setattr(pieces, "PIECE_PIXELS", 2**16)
    monkeypatch.setattr(passes, "_PIECES_TOGETHER", 3)  # 14 pieces: four threes, and two that are left
    apart = refined(MemorySource(data, chunk=(900, 1000)), start)
    np.testing.assert_array_equal(apart.centres, together.centres)
    np.testing.assert_array_equal(apart.counts, together.counts)
    assert apart.inertia == together.inertia


@pytest.mark.parametrize("keep", [True, False])
def test_no_sums_of_64_bits_hold_more_pieces_than_they_have_room_for(
    keep: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passes, "_PIECES_TOGETHER", 3)
    source = MemorySource(scene("float32"), chunk=(30, 30))  # of one piece each
    used: list[npt.NDArray[np.int64]] = []
    move = passes.Mover.move

    def noted(mover: passes.Mover, *arrays: npt.NDArray[Any]) -> int:
        used.append(arrays[3])  # the counts; kept, so that no other ones come to lie there
        return move(mover, *arrays)

    monkeypatch.setattr(passes.Mover, "move", noted)
    with kept(source) as labelled:
        pixels: PixelPieces = labelled if keep else UncachedPieces(source)
        for block in source.blocks:
            pixels.read_for_fit(block)
        Passes(pixels, 5, None, 1, 1.0).run(starts(source.data, source.valid, 5))
    assert [sum(other is counts for other in used) for counts in used] == [3] * 18 + [2] * 2


@pytest.mark.parametrize(("bands", "shape"), [(3, (64, 64)), (3, (600, 700)), (1, (600, 700))])
def test_a_block_that_is_read_anew_is_let_go_before_the_next_one(bands: int, shape: tuple[int, int]) -> None:
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
    pixels = UncachedPieces(source)
    for block in source.blocks:
        pixels.read_for_fit(block)
    Passes(pixels, 5, None, 1, 1.0).run(starts(source.data, source.valid, 5))
    assert held == [0] * 6


def test_arrays_a_cache_in_memory_keeps_are_nobody_elses() -> None:
    data = scene("uint16")
    with kept(MemorySource(data)) as pixels:
        before = pixels.read(pixels.blocks[0]).data.copy()
        data[:] = 0  # the user's own array, read without a copy
        np.testing.assert_array_equal(pixels.read(pixels.blocks[0]).data, before)


def test_a_fit_that_may_not_go_on_says_so(caplog: pytest.LogCaptureFixture) -> None:
    data = scene("uint16", bands=3)
    start = starts(data, np.ones((120, 150), bool), 7)
    refined(MemorySource(data), start, max_iter=2)
    assert "fit.max_iter: centroids still move after pass 2; allow more passes" in caplog.text
    caplog.clear()
    refined(MemorySource(data), start, max_iter=2, tol=1e9)
    assert "max_iter" not in caplog.text
