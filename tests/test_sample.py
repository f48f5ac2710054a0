"""The sample: N valid pixels, the same for any chunking and any number of workers."""

from threading import Event
from time import sleep
from typing import Any

import numpy as np
import pytest
from conftest import patches
from hypothesis import given, settings
from hypothesis import strategies as st
from sources import MemorySource

from pipeline.errors import OutputError, SceneError
from pipeline.fitting.sample import draw_sample
from pipeline.kernels import hashing
from pipeline.runtime.scratch import MemoryScratch
from pipeline.scenes.blockstore import SparedBlocks


def placed(shape: tuple[int, int]) -> np.ndarray:
    """Pixels that tell where they are: two bands, row and column."""
    return np.stack(np.mgrid[: shape[0], : shape[1]]).astype("uint16")


@settings(max_examples=40, deadline=None)
@given(
    chunk=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    workers=st.integers(1, 4),
    wanted=st.integers(1, 9000),
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(0.01, 1),
)
def test_any_chunks_and_workers_draw_the_same_pixels(
    chunk: tuple[int, int], workers: int, wanted: int, seed: int, share: float
) -> None:
    data = placed((83, 97))
    valid = np.random.default_rng(seed).random((83, 97)) < share
    valid[0, 0] = True
    whole = draw_sample(MemorySource(data, valid, (83, 97)), wanted=wanted, seed=seed, workers=1)
    cut = draw_sample(MemorySource(data, valid, chunk), wanted=wanted, seed=seed, workers=workers)
    np.testing.assert_array_equal(cut.points, whole.points)
    assert cut.valid == whole.valid == valid.sum()
    assert cut.points.shape[1] == min(wanted, valid.sum())
    assert valid[tuple(cut.points)].all()
    assert np.unique(cut.points, axis=1).shape == cut.points.shape


def test_the_sample_is_spread_evenly() -> None:
    sample = draw_sample(MemorySource(placed((400, 400))), wanted=16_000, seed=0, workers=2)
    counts, _, _ = np.histogram2d(*sample.points, bins=8, range=[[0, 400], [0, 400]])
    expected = 16_000 / 64
    assert ((counts - expected) ** 2 / expected).sum() < 103.4  # chi-square, 63 degrees of freedom, p = 0.001


def test_another_seed_draws_other_pixels() -> None:
    one, two = (draw_sample(MemorySource(placed((200, 200))), wanted=500, seed=s, workers=1).points.T for s in (0, 1))
    shared = {tuple(row) for row in one.tolist()} & {tuple(row) for row in two.tolist()}
    assert len(shared) < 50  # 6 expected by chance


def test_each_block_is_read_once() -> None:
    source = MemorySource(patches(2))
    draw_sample(source, wanted=100, seed=0, workers=2)
    assert len(source.reads) == len(source.blocks)
    assert set(source.reads.values()) == {1}


def test_no_valid_pixel_is_an_error_that_names_the_file() -> None:
    source = MemorySource(patches(2), np.zeros((200, 300), bool))
    with pytest.raises(SceneError, match="memory: all 60000 pixels are nodata"):
        draw_sample(source, wanted=100, seed=0, workers=1)


def test_blocks_are_read_while_machine_code_is_loaded_and_looked_at_later(monkeypatch: pytest.MonkeyPatch) -> None:
    source = MemorySource(placed((83, 97)), np.random.default_rng(0).random((83, 97)) < 0.7, chunk=(20, 20))
    expected = draw_sample(source, wanted=900, seed=3, workers=2)
    loading, loaded = Event(), Event()

    def load() -> None:
        loading.set()
        assert loaded.wait(60), "no block is read meanwhile"

    steps = iter(range(25))

    def step() -> None:
        assert loading.wait(60)
        if next(steps) == 19:
            loaded.set()

    monkeypatch.setattr(hashing, "load", load)
    taken = []

    class Watched(MemoryScratch):
        def take(self, name: str, *parts: tuple[int, Any]) -> None:
            taken.append(name)
            super().take(name, *parts)

    spared = SparedBlocks(source, Watched(), needed=True)
    found = draw_sample(spared, wanted=900, seed=3, workers=2, step=step)
    np.testing.assert_array_equal(found.points, expected.points)
    assert found.valid == expected.valid == source.valid.sum()
    assert set(source.reads.values()) == {2}, "once by each of the two"
    assert len(taken) == len(set(taken)) >= 20


def test_a_source_that_keeps_nothing_any_more_is_not_read_twice_for_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(MemoryScratch):
        def put(self, name: str, *_arrays: Any) -> None:
            raise OutputError(name)

    def load() -> None:
        sleep(0.2)

    monkeypatch.setattr(hashing, "load", load)
    source = MemorySource(placed((83, 97)), chunk=(20, 20))
    draw_sample(SparedBlocks(source, Full(), needed=False), wanted=900, seed=3, workers=2)
    assert set(source.reads.values()) == {1}


def test_an_error_of_loading_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        msg = "no machine code"
        raise RuntimeError(msg)

    monkeypatch.setattr(hashing, "load", load)
    with pytest.raises(RuntimeError, match="no machine code"):
        draw_sample(MemorySource(placed((9, 9))), wanted=9, seed=0, workers=1)
