"""The sample: N valid pixels, independent of chunks, workers and cache."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from time import sleep
from typing import Any

import numpy as np
import pytest
from conftest import patches
from fakes import MemorySource
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import OutputError, SceneError
from pipeline.core.pixels import PixelSource
from pipeline.engine.cache import Cache, Entry, MemoryCache
from pipeline.kernels import hashing
from pipeline.methods.sample import draw_sample
from pipeline.pixels.block_cache import CachedSource
from pipeline.pixels.pieces import PixelPieces


def row_and_column_pixels(shape: tuple[int, int]) -> np.ndarray:
    """Two bands that hold the row and column of each pixel."""
    return np.stack(np.mgrid[: shape[0], : shape[1]]).astype("uint16")


def cache_blocks(source: PixelSource, cache: Cache | None = None) -> CachedSource:
    """Cache the blocks of a scene."""
    return CachedSource(source, cache or MemoryCache())


def cache_pieces(source: PixelSource, cache: Cache | None = None) -> PixelPieces:
    """Cache the pieces of a scene, for a fit over all pixels."""
    return PixelPieces(cache_blocks(source, cache))


@settings(max_examples=60, deadline=None)
@given(
    chunk=st.tuples(st.integers(4, 90), st.integers(4, 90)),
    workers=st.integers(1, 4),
    wanted=st.integers(1, 9000),
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(0.01, 1),
    wrap=st.sampled_from([lambda source: source, cache_blocks, cache_pieces]),
)
def test_the_sample_does_not_depend_on_chunks_workers_and_cache(
    *, chunk: tuple[int, int], workers: int, wanted: int, seed: int, share: float, wrap: Callable[[Any], PixelSource]
) -> None:
    data, generator = row_and_column_pixels((83, 97)), np.random.default_rng(seed)
    valid = generator.random((83, 97)) < 0.9
    fitting = valid & (generator.random((83, 97)) < share)
    fitting[0, 0] = valid[0, 0] = True
    whole = draw_sample(MemorySource(data, valid, (83, 97), fitting=fitting), wanted=wanted, seed=seed, workers=1)
    source = MemorySource(data, valid, chunk, fitting=fitting)
    cached_source = wrap(source)
    cut = draw_sample(cached_source, wanted=wanted, seed=seed, workers=workers)
    np.testing.assert_array_equal(cut.points, whole.points)
    assert cut.valid == whole.valid == fitting.sum()
    assert cut.points.shape[1] == min(wanted, fitting.sum())
    assert fitting[tuple(cut.points)].all()
    assert np.unique(cut.points, axis=1).shape == cut.points.shape
    assert set(source.reads.values()) == {1}
    for block in source.blocks:
        for cached, original in zip(cached_source.read(block), source.read(block), strict=True):
            np.testing.assert_array_equal(cached, original)


def test_the_sample_is_spread_evenly() -> None:
    sample = draw_sample(MemorySource(row_and_column_pixels((400, 400))), wanted=16_000, seed=0, workers=2)
    counts, _, _ = np.histogram2d(*sample.points, bins=8, range=[[0, 400], [0, 400]])
    expected = 16_000 / 64
    assert ((counts - expected) ** 2 / expected).sum() < 103.4  # chi-square, 63 degrees of freedom, p = 0.001


def test_another_seed_draws_other_pixels() -> None:
    one, two = (
        draw_sample(MemorySource(row_and_column_pixels((200, 200))), wanted=500, seed=s, workers=1).points.T
        for s in (0, 1)
    )
    shared = {tuple(row) for row in one.tolist()} & {tuple(row) for row in two.tolist()}
    assert len(shared) < 50  # 6 expected by chance


def test_each_block_is_read_once() -> None:
    source = MemorySource(patches(2))
    draw_sample(source, wanted=100, seed=0, workers=2)
    assert len(source.reads) == len(source.blocks)
    assert set(source.reads.values()) == {1}


def test_a_scene_without_valid_pixels_is_refused_by_file_name() -> None:
    source = MemorySource(patches(2), np.zeros((200, 300), bool))
    with pytest.raises(SceneError, match="memory: all 60000 pixels are nodata"):
        draw_sample(source, wanted=100, seed=0, workers=1)


@dataclass(frozen=True)
class CountingCache(MemoryCache):
    """Records the keys of the blocks that are read."""

    taken: list[str] = field(default_factory=list)

    def read(self, entry: Entry, *args: Any) -> Any:
        self.taken.extend([entry.name] if entry.name.startswith("block") else [])
        return super().read(entry, *args)


@pytest.mark.parametrize("wrap", [cache_blocks, cache_pieces])
def test_blocks_read_while_code_is_loaded_are_sampled_later(
    wrap: Callable[[PixelSource, Cache], PixelSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = MemorySource(
        row_and_column_pixels((83, 97)), np.random.default_rng(0).random((83, 97)) < 0.7, chunk=(20, 20)
    )
    expected = draw_sample(source, wanted=900, seed=3, workers=2)
    loading, loaded = Event(), Event()

    def load() -> None:
        loading.set()
        assert loaded.wait(60), "no block is read while code is loaded"

    steps = iter(range(25))

    def step() -> None:
        assert loading.wait(60)
        if next(steps) == 19:
            loaded.set()

    monkeypatch.setattr(hashing, "load_kernel", load)
    cache = CountingCache()
    found = draw_sample(wrap(source, cache), wanted=900, seed=3, workers=2, step=step)
    np.testing.assert_array_equal(found.points, expected.points)
    assert found.valid == expected.valid == source.valid.sum()
    assert set(source.reads.values()) == {2}, "once by each of the two"
    assert len(cache.taken) == len(set(cache.taken)) >= 20


@pytest.mark.parametrize(("share", "rereads"), [(1.0, 0), (0.6, 0), (0.2, 1)])
def test_cached_blocks_are_sampled_again_if_few_pixels_take_part(
    share: float, rereads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "load_kernel", lambda: None)
    source = MemorySource(
        row_and_column_pixels((300, 400)), np.random.default_rng(0).random((300, 400)) < share, chunk=(30, 30)
    )
    cache = CountingCache()
    assert draw_sample(cache_blocks(source, cache), wanted=9000, seed=3, workers=1).points.shape == (2, 9000)
    assert len(cache.taken) // len(source.blocks) == rereads  # and a few blocks that were read while code was loaded
    assert set(source.reads.values()) == {1}


@pytest.mark.parametrize(("share", "reads"), [(0.6, 1), (0.3, 2)])
def test_a_source_with_a_full_cache_is_read_twice_only_if_few_pixels_take_part(
    share: float, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(MemoryCache):
        def write(self, entry: Entry, _array: Any) -> None:
            raise OutputError(entry.name)

    def load() -> None:
        sleep(0.2)

    monkeypatch.setattr(hashing, "load_kernel", load)
    valid = np.random.default_rng(0).random((83, 97)) < share
    source = MemorySource(row_and_column_pixels((83, 97)), valid, chunk=(20, 20))
    assert draw_sample(CachedSource(source, Full(), required=False), wanted=900, seed=3, workers=2).valid == valid.sum()
    assert set(source.reads.values()) == {reads}


def test_an_error_while_code_is_loaded_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        msg = "no machine code"
        raise RuntimeError(msg)

    monkeypatch.setattr(hashing, "load_kernel", load)
    with pytest.raises(RuntimeError, match="no machine code"):
        draw_sample(MemorySource(row_and_column_pixels((9, 9))), wanted=9, seed=0, workers=1)
