"""The sample: N valid pixels, independent of chunks, workers and cache."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from conftest import patches
from fakes import MemorySource, RepeatingExecutor, SerialExecutor
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.schema import FeaturesConfig
from pipeline.core.errors import ConfigError, FitError, OutputError, SceneError
from pipeline.core.grid import Block
from pipeline.core.needs import Work
from pipeline.core.pixels import PixelSource
from pipeline.engine.cache import Cache, Entry, MemoryCache
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.progress import Progress
from pipeline.jobs.config import FIT
from pipeline.kernels.hashing import smallest_keys
from pipeline.methods import strata
from pipeline.methods.fit import fit_source
from pipeline.methods.kmeans import KMeansSettings
from pipeline.methods.sample import draw_sample, draw_sample_by_cell
from pipeline.methods.settings import sampling_needs
from pipeline.pixels.block_cache import CachedSource


def row_and_column_pixels(shape: tuple[int, int]) -> np.ndarray:
    """Two bands that hold the row and column of each pixel."""
    return np.stack(np.mgrid[: shape[0], : shape[1]]).astype("uint16")


def cache_blocks(source: PixelSource, cache: Cache | None = None) -> CachedSource:
    """Cache the blocks of a scene."""
    return CachedSource(source, cache or MemoryCache())


@settings(max_examples=60, deadline=None)
@given(
    chunk=st.tuples(st.integers(4, 90), st.integers(4, 90)),
    workers=st.integers(1, 4),
    wanted=st.integers(1, 9000),
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(0.01, 1),
    wrap=st.sampled_from([lambda source: source, cache_blocks]),
)
def test_the_sample_does_not_depend_on_chunks_workers_and_cache(
    *, chunk: tuple[int, int], workers: int, wanted: int, seed: int, share: float, wrap: Callable[[Any], PixelSource]
) -> None:
    data, generator = row_and_column_pixels((83, 97)), np.random.default_rng(seed)
    valid = generator.random((83, 97)) < 0.9
    fitting = valid & (generator.random((83, 97)) < share)
    fitting[0, 0] = valid[0, 0] = True
    whole = draw_sample(
        MemorySource(data, valid, (83, 97), fitting=fitting), wanted=wanted, seed=seed, executor=ThreadExecutor(1)
    )
    source = MemorySource(data, valid, chunk, fitting=fitting)
    cached_source = wrap(source)
    cut = draw_sample(cached_source, wanted=wanted, seed=seed, executor=ThreadExecutor(workers))
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
    sample = draw_sample(
        MemorySource(row_and_column_pixels((400, 400))), wanted=16_000, seed=0, executor=ThreadExecutor(2)
    )
    counts, _, _ = np.histogram2d(*sample.points, bins=8, range=[[0, 400], [0, 400]])
    expected = 16_000 / 64
    assert ((counts - expected) ** 2 / expected).sum() < 103.4  # chi-square, 63 degrees of freedom, p = 0.001


def test_another_seed_draws_other_pixels() -> None:
    one, two = (
        draw_sample(
            MemorySource(row_and_column_pixels((200, 200))), wanted=500, seed=s, executor=ThreadExecutor(1)
        ).points.T
        for s in (0, 1)
    )
    shared = {tuple(row) for row in one.tolist()} & {tuple(row) for row in two.tolist()}
    assert len(shared) < 50  # 6 expected by chance


def test_each_block_is_read_once() -> None:
    source = MemorySource(patches(2))
    draw_sample(source, wanted=100, seed=0, executor=ThreadExecutor(2))
    assert len(source.reads) == len(source.blocks)
    assert set(source.reads.values()) == {1}


def test_a_scene_without_valid_pixels_is_refused_by_file_name() -> None:
    source = MemorySource(patches(2), np.zeros((200, 300), bool))
    with pytest.raises(SceneError, match="memory: all 60000 pixels are nodata"):
        draw_sample(source, wanted=100, seed=0, executor=ThreadExecutor(1))


@dataclass(frozen=True)
class CountingCache(MemoryCache):
    """Records the keys of the blocks that are read."""

    taken: list[str] = field(default_factory=list)

    def read(self, entry: Entry, *args: Any) -> Any:
        self.taken.extend([entry.name] if entry.name.startswith("block") else [])
        return super().read(entry, *args)


@pytest.mark.parametrize(("share", "rereads"), [(1.0, 0), (0.6, 0), (0.2, 1)])
def test_cached_blocks_are_sampled_again_if_few_pixels_take_part(share: float, rereads: int) -> None:
    source = MemorySource(
        row_and_column_pixels((300, 400)), np.random.default_rng(0).random((300, 400)) < share, chunk=(30, 30)
    )
    cache = CountingCache()
    assert draw_sample(cache_blocks(source, cache), wanted=9000, seed=3, executor=ThreadExecutor(1)).points.shape == (
        2,
        9000,
    )
    assert len(cache.taken) // len(source.blocks) == rereads
    assert set(source.reads.values()) == {1}


@pytest.mark.parametrize(("share", "reads"), [(0.6, 1), (0.3, 2)])
def test_a_source_with_a_full_cache_is_read_twice_only_if_few_pixels_take_part(share: float, reads: int) -> None:
    class Full(MemoryCache):
        def write(self, entry: Entry, _array: Any) -> None:
            raise OutputError(entry.name)

    valid = np.random.default_rng(0).random((83, 97)) < share
    source = MemorySource(row_and_column_pixels((83, 97)), valid, chunk=(20, 20))
    assert (
        draw_sample(CachedSource(source, Full(), required=False), wanted=900, seed=3, executor=ThreadExecutor(2)).valid
        == valid.sum()
    )
    assert set(source.reads.values()) == {reads}


@pytest.mark.parametrize("share", [1.0, 0.3])
@pytest.mark.parametrize("cheap_again", [True, False])
def test_the_sample_does_not_depend_on_the_executor(share: float, cheap_again: bool) -> None:  # noqa: FBT001
    valid = np.random.default_rng(0).random((83, 97)) < share
    source = MemorySource(row_and_column_pixels((83, 97)), valid, chunk=(20, 20))
    expected = draw_sample(source, wanted=900, seed=3, executor=ThreadExecutor(2))
    source.cheap_again = cheap_again
    for executor in (SerialExecutor(), RepeatingExecutor(), RepeatingExecutor(5), ThreadExecutor(1)):
        found = draw_sample(source, wanted=900, seed=3, executor=executor)
        np.testing.assert_array_equal(found.points, expected.points)
        assert found.valid == expected.valid
        assert found.fitted is None


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize("executor", [SerialExecutor(), RepeatingExecutor(), ThreadExecutor(3)])
def test_counts_and_limits_of_the_fitted_pixels_come_back_with_the_sample(dtype: str, executor: Any) -> None:
    """From any executor: a copy of the source in another process must not keep them for itself."""
    generator = np.random.default_rng(1)
    data, valid = generator.integers(5, 900, (3, 83, 97)).astype(dtype), generator.random((83, 97)) < 0.3
    valid[:20, :40] = False  # two blocks without pixels
    source = MemorySource(data, valid, chunk=(20, 20))
    found = draw_sample(source, wanted=900, seed=3, executor=executor, limits=True).fitted
    assert found is not None
    assert dict(found.counts) == {block: int(valid[block.slices].sum()) for block in source.blocks}
    np.testing.assert_array_equal(found.low, data[:, valid].min(axis=1))
    np.testing.assert_array_equal(found.high, data[:, valid].max(axis=1))
    assert found.low.dtype == found.high.dtype == data.dtype


def test_few_pixels_are_drawn_from_a_block_whatever_the_number_of_threads() -> None:
    """The memory for pixels that wait to be merged is not multiplied by the threads."""
    source = MemorySource(row_and_column_pixels((400, 500)), chunk=(100, 100))
    drawn: list[int] = []

    class Noting(SerialExecutor):
        def map(self, task: Any, items: Any, **options: Any) -> Any:
            for item, result in super().map(task, list(items), **options):  # as if all were worked on at once
                drawn.append(result.keys.size)
                yield item, result

    draw_sample(cache_blocks(source), wanted=10_000, seed=0, executor=Noting())
    assert len(drawn) == 20
    assert sum(drawn) < 2.2 * 10_000


@pytest.mark.parametrize(("share", "expected"), [("5%", 403), ("0.1 %", 9), ("100%", 8051), ("0.000000001%", 1)])
def test_a_share_is_that_of_the_valid_pixels(share: str, expected: int) -> None:
    """The pixels are the first ones of any larger sample."""
    valid = np.ones((83, 97), bool)
    source = MemorySource(row_and_column_pixels((83, 97)), valid, chunk=(20, 20))
    config = KMeansSettings(k=2, starts=1, pixels=share)
    assert config.sampled_of(source.info) == expected
    valid[:, 48:] = False
    half = MemorySource(row_and_column_pixels((83, 97)), valid, chunk=(20, 20))
    model = fit_source(
        half, KMeansSettings(k=2, starts=1, pixels="50%"), executor=ThreadExecutor(2), progress=Progress()
    ).model
    assert model.fitting.sampled_pixels == 83 * 48 // 2
    larger = draw_sample(half, wanted=3000, seed=0, executor=SerialExecutor())
    few = draw_sample(half, wanted=700, seed=0, executor=SerialExecutor())
    np.testing.assert_array_equal(larger.first(700).points, few.points)


@pytest.mark.parametrize("share", ["101%", "%", "0%", "0.0 %", "-1%", "5 percent", "nan%", "1e1%", "\u0665%"])
def test_what_is_no_share_is_refused(share: str) -> None:
    with pytest.raises(ConfigError, match=r"pixels: .* is not allowed; expected .* such as 5%"):
        FIT.parse({"pixels": share}, "fit")


def test_a_share_of_fewer_pixels_than_classes_is_told_as_that() -> None:
    source = MemorySource(row_and_column_pixels((83, 97)), chunk=(20, 20))
    config = KMeansSettings(k=5, starts=1, pixels="0.02%")
    with pytest.raises(FitError, match=r"^fit.pixels: 2 sampled pixels are too few for 5 classes; raise fit.pixels"):
        fit_source(source, config, FeaturesConfig(), executor=ThreadExecutor(1), progress=Progress())


def sampled_by_cell(fitting: np.ndarray, wanted: int, seed: int, side: int) -> list[tuple[int, int]]:
    """Rows and columns of a sample with as many pixels of each cell, cell by cell: one pixel of each at a time."""
    keys, index = smallest_keys(fitting, (0, 0), seed, fitting.size)
    cells: dict[tuple[int, int], list[Any]] = {}
    for key, position in sorted(zip(keys.tolist(), index.tolist(), strict=True)):
        row, column = divmod(position, fitting.shape[1])
        cells.setdefault((row // side, column // side), []).append((key, (row, column)))
    sample: list[tuple[int, int]] = []
    while cells and len(sample) < wanted:
        sample += [pixel for _, pixel in sorted(of_cell.pop(0) for of_cell in cells.values())]
        cells = {cell: rest for cell, rest in cells.items() if rest}
    return sample[:wanted]


@settings(max_examples=25, deadline=None)
@given(
    chunk=st.tuples(st.integers(4, 90), st.integers(4, 90)),
    workers=st.integers(1, 4),
    wanted=st.integers(1, 9000),
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(0.01, 1),
)
def test_a_sample_by_cell_has_as_many_pixels_of_each_for_any_chunks_and_workers(
    *, chunk: tuple[int, int], workers: int, wanted: int, seed: int, share: float
) -> None:
    generator = np.random.default_rng(seed)
    fitting = generator.random((83, 97)) < share
    fitting[:30, :60] = fitting[:30, :60] & (generator.random((30, 60)) < 0.1)
    fitting[0, 0] = True
    source = MemorySource(row_and_column_pixels((83, 97)), np.ones((83, 97), np.bool_), chunk, fitting=fitting)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strata, "CELL", 16)
        sample = draw_sample_by_cell(source, wanted=wanted, seed=seed, executor=ThreadExecutor(workers), limits=True)
    assert [(row, column) for row, column in sample.points.T.tolist()] == sampled_by_cell(fitting, wanted, seed, 16)
    assert sample.valid == fitting.sum()
    assert sample.fitted
    assert sample.fitted.high.tolist() == [axis.max() for axis in np.nonzero(fitting)]
    assert set(source.reads.values()) == {1}


def test_cells_are_those_of_the_scene_before_it_was_cropped() -> None:
    cells = strata.Cells((500, 1030), (40, 600))
    assert cells.counts == (2, 2)
    block = Block(row=0, column=0, top=5, left=100, height=20, width=500)
    found = [(part.cell, part.rows, part.columns) for part in cells.parts(block)]
    assert found == [
        (0, slice(0, 7), slice(0, 406)),
        (1, slice(0, 7), slice(406, 500)),
        (2, slice(7, 20), slice(0, 406)),
        (3, slice(7, 20), slice(406, 500)),
    ]


def test_few_pixels_are_drawn_from_later_blocks_of_a_sample_by_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strata, "CELL", 50)
    drawn = []

    class Noting(SerialExecutor):
        def map(self, task: Any, items: Any, **options: Any) -> Any:
            for item, found in super().map(task, items, **options):
                drawn.append(found.keys.size)
                yield item, found

    source = MemorySource(row_and_column_pixels((600, 600)), chunk=(60, 60))
    draw_sample_by_cell(source, wanted=9000, seed=0, executor=Noting())
    assert sum(drawn[50:]) < 30_000  # of half of the blocks, which have 180,000


def test_strata_change_the_sample_of_a_fit_and_what_is_needed_for_it() -> None:
    data = np.random.default_rng(0).integers(0, 255, (2, 600, 700)).astype("uint8")
    source, work = MemorySource(data), Work(chunk=(300, 350), blocks=4, workers=2)
    plain, by_cell = (KMeansSettings(k=3, starts=1, pixels=4000, stratify=way) for way in ("none", "blocks"))
    fits = [
        fit_source(source, each, executor=ThreadExecutor(2), progress=Progress()).model for each in (plain, by_cell)
    ]
    assert fits[0].centres.tolist() != fits[1].centres.tolist()
    assert fits[1].fitting.sampled_pixels == 4000
    assert (fits[0].fitting.stratify, fits[1].fitting.stratify) == (None, "blocks")
    needs = [sampling_needs(source.info, each, work) for each in (plain, by_cell)]
    assert needs[0].fixed < needs[1].fixed
    assert needs[0].per_block < needs[1].per_block
