"""Labels and class statistics from blocks equal those from the whole scene."""

import pickle
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Any

import cloudpickle
import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from fakes import MemorySource
from hypothesis import given, settings
from hypothesis import strategies as st
from sources import model_of

from pipeline.core.grid import Block
from pipeline.core.pixels import BlockSource, Pixels
from pipeline.core.scene_info import SceneInfo
from pipeline.dataarrays.source import ArraySource
from pipeline.engine.executor import ThreadExecutor
from pipeline.geo.pixel_areas import PixelAreas
from pipeline.labels import classify
from pipeline.labels.classify import ClassStatistics, Labels, LabelTask, SumsInOrder
from pipeline.models.base import ClusterModel

CENTROIDS = [[10, 20, 10], [60, 50, 55], [120, 90, 130], [200, 210, 190], [255, 0, 0]]
ROWS, COLUMNS = 37, 53

Scene = tuple[npt.NDArray[np.generic], npt.NDArray[np.bool_]]


def scene(dtype: str = "u1") -> Scene:
    rng = np.random.default_rng(11)
    data = rng.integers(0, 201, (3, ROWS, COLUMNS)).astype(dtype)  # rarely close to the last centroid
    return data, rng.random((ROWS, COLUMNS)) < 0.9


def nearest(data: npt.NDArray[np.generic], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Oracle for labels, in integers over the whole scene: the first of the nearest centroids, 0 for nodata."""
    distances = [sum((data[b].astype(np.int64) - row[b]) ** 2 for b in range(3)) for row in CENTROIDS]
    return np.where(valid, np.argmin(distances, axis=0) + 1, 0)


def labels_of(_block: Block, _pixels: Pixels, labels: Labels) -> Labels:
    """Part of an output that takes all labels."""
    return labels


def first_pixel(block: Block, pixels: Pixels, _labels: Labels) -> tuple[int, int, float]:
    """Part of an output that takes the first pixel of each block, and where it is."""
    return block.top, block.left, float(pixels.data[0, 0, 0])


def gather(
    source: BlockSource, model: ClusterModel, workers: int = 2
) -> tuple[npt.NDArray[np.uint8], ClassStatistics, list[tuple[int, int, float]]]:
    """Label all blocks of a scene; return labels, statistics and the first pixel of each block."""
    labels = np.full(source.info.grid.shape, 255, np.uint8)
    statistics, firsts = ClassStatistics(model, source.info.units, PixelAreas()), []
    task = LabelTask.of(source, model, PixelAreas(), (labels_of, first_pixel))
    for block, labelled in ThreadExecutor(workers).map(task, source.blocks):
        statistics.add(labelled)
        labels[block.slices], first = labelled.parts
        firsts.append(first)
    return labels, statistics, firsts


chunks = st.tuples(st.integers(1, ROWS + 3), st.integers(1, COLUMNS + 3))


@settings(max_examples=60, deadline=None)
@given(chunk=chunks, workers=st.integers(1, 4))
def test_labels_counts_and_parts_equal_those_of_the_whole_scene(chunk: tuple[int, int], workers: int) -> None:
    data, valid = scene()
    source = MemorySource(data, valid, chunk)
    labels, statistics, firsts = gather(source, model_of(CENTROIDS), workers)
    expected = nearest(data, valid)
    np.testing.assert_array_equal(labels, expected)
    assert statistics.counts == np.bincount(expected.ravel(), minlength=len(CENTROIDS) + 1).tolist()
    assert firsts == [(b.top, b.left, float(data[0, b.top, b.left])) for b in source.blocks]
    assert set(source.reads.values()) == {1}


@dataclass(frozen=True, eq=False)
class PlainSource:
    """Source without a lock, which travels."""

    data: npt.NDArray[Any]
    info: SceneInfo
    blocks: tuple[Block, ...]

    def read(self, block: Block) -> Pixels:
        rows, columns = block.slices
        return Pixels(self.data[:, rows, columns], np.ones(block.shape, np.bool_))


@pytest.mark.parametrize("library", [pickle, cloudpickle])
@pytest.mark.parametrize("areas", [PixelAreas(hectares=0.01), PixelAreas(rows=np.linspace(1, 2, ROWS))])
def test_a_task_gives_the_same_results_after_it_has_travelled(library: Any, areas: PixelAreas) -> None:
    data = scene("f4")[0]
    like = MemorySource(data, None, (16, 16))
    task = LabelTask.of(PlainSource(data, like.info, like.blocks), model_of(CENTROIDS), areas, (labels_of, first_pixel))
    travelled = library.loads(library.dumps(task))
    for block in like.blocks:
        here, there = task(block), library.loads(library.dumps(travelled(block)))
        for name in ("counts", "sums", "squares"):
            np.testing.assert_array_equal(getattr(here, name), getattr(there, name))
        assert here.areas == there.areas
        np.testing.assert_array_equal(here.parts[0], there.parts[0])
        assert here.parts[1] == there.parts[1]


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
def test_means_and_deviations_equal_those_of_the_pixels_per_class(dtype: str) -> None:
    data, valid = scene(dtype)
    if data.dtype.kind == "f":
        data[:, ~valid] = np.nan  # values of nodata pixels must not affect any class
    labels, statistics, _ = gather(MemorySource(data, valid, (10, 7)), model_of(CENTROIDS), 2)
    present = set(labels.ravel().tolist()) - {0}
    assert len(present) >= 4
    for label in range(1, len(CENTROIDS) + 1):
        means, stds = statistics.means(label), statistics.stds(label)
        for band in range(3):
            pixels = data[band][labels == label].astype(float).tolist()  # all are whole numbers
            found = (means[band], stds[band])
            expected = (fmean(pixels), pstdev(pixels)) if pixels else (np.nan, np.nan)
            np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_mean_and_deviation_of_an_empty_class_are_nan() -> None:
    data, valid = scene()
    far = model_of([*CENTROIDS, [1000, 1000, 1000]])
    _, statistics, _ = gather(MemorySource(data, valid), far, 1)
    assert statistics.counts[-1] == 0
    assert np.isnan([statistics.means(6), statistics.stds(6)]).all()


@pytest.mark.parametrize("dtype", ["u2", "i4", "f8"])
def test_small_deviation_of_large_numbers_is_exact(dtype: str) -> None:
    base = 65_000 if dtype == "u2" else 2_000_000_000
    data = (base + np.random.default_rng(4).integers(0, 4, (1, 60, 60))).astype(dtype)
    _, statistics, _ = gather(MemorySource(data, None, (16, 16)), model_of([[0], [base]]), 1)
    pixels = data.ravel().tolist()
    assert statistics.counts == [0, 0, len(pixels)]
    assert statistics.means(2)[0] == pytest.approx(fmean(pixels), rel=1e-15)
    assert statistics.stds(2)[0] == pytest.approx(pstdev(pixels), rel=1e-6)


@pytest.mark.parametrize("dtype", ["u4", "f4", "f8"])
def test_statistics_far_from_the_centroid_do_not_depend_on_blocks(dtype: str) -> None:
    low, high = 4_000_000_000, 4_294_966_272  # float32 holds both
    noise = np.random.default_rng(6).random((1, 60, 60))
    data = np.concatenate([np.full((1, 60, 60), high), low + 1e6 * noise, high * (noise < 1e-3)]).astype(dtype)
    model = model_of([[0, 0, 1e12], [1.0, 2.0, 3.0]])
    found = set()
    for chunk in ((60, 60), (16, 16), (7, 60)):
        _, statistics, _ = gather(MemorySource(data, None, chunk), model, 2)
        found.add((*statistics.means(2), *statistics.stds(2)))
    assert len(found) == 1
    pixels = [band.ravel().tolist() for band in data.astype(float)]
    expected = (*map(fmean, pixels), *map(pstdev, pixels))
    np.testing.assert_allclose(found.pop(), expected, rtol=1e-12)
    assert statistics.stds(2)[0] == 0


def test_deviation_that_overflows_is_nan_not_zero() -> None:
    data = np.array([[[1e200, -1e200]]])
    _, statistics, _ = gather(MemorySource(data, None), model_of([[0.0], [1.0]]), 1)
    assert statistics.counts == [0, 1, 1]
    assert np.isnan([statistics.stds(1), statistics.stds(2)]).all()


def test_scene_without_valid_pixels_has_empty_classes() -> None:
    data, valid = scene()
    labels, statistics, _ = gather(MemorySource(data, valid & False), model_of(CENTROIDS), 2)
    assert not labels.any()
    assert statistics.counts == [ROWS * COLUMNS] + [0] * len(CENTROIDS)


@pytest.mark.parametrize("dtype", [">u2", ">f4", "f2", "i1"])
def test_arrays_of_uncommon_dtypes_are_labelled(dtype: str) -> None:
    data, valid = scene()
    data = (data // 2).astype(np.int16)
    array = xr.DataArray(data.astype(dtype), dims=("band", "y", "x"), coords={"valid": (("y", "x"), valid)})
    array = array.chunk({"y": 16, "x": 16})
    labels, *_ = gather(ArraySource(array), model_of(CENTROIDS), 2)
    np.testing.assert_array_equal(labels, nearest(data, valid))


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
def test_sums_do_not_depend_on_the_order_in_which_blocks_come(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit, as it is that of blocks in order; also those beyond the digits of means and deviations."""
    rng = np.random.default_rng(3)
    data = (rng.normal(100, 1, (3, ROWS, COLUMNS)) * rng.choice([1, 1e-3], (3, ROWS, COLUMNS))).astype(dtype)
    source, model, areas = MemorySource(data, chunk=(5, 6)), model_of(CENTROIDS), PixelAreas(hectares=0.01)
    task = LabelTask.of(source, model, areas, (labels_of,))
    labelled = [(block, task(block)) for block in source.blocks]
    expected = ClassStatistics(model, source.info.units, areas)
    for _, each in labelled:
        expected.add(each)
    monkeypatch.setattr(classify, "_MOST_WAITING", 10 * expected.block_bytes)
    for order in (range(len(labelled)), range(len(labelled))[::-1], rng.permutation(len(labelled)).tolist()):
        found = ClassStatistics(model, source.info.units, areas)
        sums = SumsInOrder(found, source.blocks)
        assert sums.window == (len(labelled) if found.are_exact else 10)
        for number in order:
            sums.add(*labelled[number])
            assert all(each.parts == () for each in sums._waiting.values())
        assert found.counts == expected.counts
        for name in ("_sums", "_squares", "_extremes"):
            assert getattr(found, name).tolist() == getattr(expected, name).tolist()


@pytest.mark.parametrize("dtype", ["u2", "f4", "f8"])
@pytest.mark.parametrize(("k", "bands"), [(2, 1), (254, 13)])
def test_the_sums_of_a_block_are_no_larger_than_is_planned(dtype: str, k: int, bands: int) -> None:
    data = np.random.default_rng(0).integers(0, 200, (bands, 20, 30)).astype(dtype)
    source, model = MemorySource(data), model_of(np.random.default_rng(1).integers(0, 200, (k, bands)))
    areas = PixelAreas(rows=np.linspace(1, 2, 20))
    found = LabelTask.of(source, model, areas)(source.blocks[0])
    held = sum(part.nbytes for part in (found.counts, found.sums, found.squares, found.extremes)) + 8 * len(found.areas)
    assert held < ClassStatistics(model, source.info.units, areas).block_bytes < held + 2048
