"""Mini-batches over all pixels and dask-ml: inertia near the exact one; batches don't depend on blocks and workers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blocks import holes, scene
from fakes import MemorySource
from sources import described

from pipeline.core.pixels import PixelSource
from pipeline.engine.cache import MemoryCache, open_cache
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.progress import Progress
from pipeline.jobs.config import FIT
from pipeline.methods.fit import fit_source
from pipeline.models.base import ClusterModel
from pipeline.pixels.block_cache import CachedSource
from pipeline.scenes.raster_source import RasterSource

pytestmark = pytest.mark.lowest


def fit_model(source: PixelSource, method: str, workers: int = 2, **settings: Any) -> ClusterModel:
    config = FIT.parse({"pixels": "all", "method": method, **settings}, "test")
    with open_cache("memory", Path()) as cache:
        pixels = source if method == "minibatch" else CachedSource(source, cache)
        return fit_source(pixels, config, executor=ThreadExecutor(workers), progress=Progress()).model


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_batches_do_not_depend_on_blocks_and_workers(dtype: str) -> None:
    data = scene(dtype, (1100, 1300))
    valid = holes((1100, 1300))
    one = fit_model(MemorySource(data, valid, (1100, 1300)), "minibatch", 1, k=5)
    for chunk, workers in (((200, 333), 2), ((512, 512), 3)):
        assert fit_model(MemorySource(data, valid, chunk), "minibatch", workers, k=5) == one


def test_batches_read_each_pixel_once_more() -> None:
    source = MemorySource(scene("uint16", (1024, 1536)), chunk=(512, 512))
    fit_model(source, "minibatch", k=4)
    assert set(source.reads.values()) == {2}


def test_windows_of_batches_are_no_larger_than_planned_blocks() -> None:
    source = MemorySource(scene("uint16", (300, 700)), chunk=(64, 128))
    fit_model(source, "minibatch", k=4)
    assert max(bottom - top for (top, bottom), _ in source.reads) == 64
    assert max(right - left for _, (left, right) in source.reads) == 128


@pytest.mark.parametrize("method", ["kmeans", "minibatch", "dask-ml"])
def test_a_cache_changes_no_bit_of_a_fit_over_all_pixels(method: str) -> None:
    config = FIT.parse({"pixels": "all", "method": method, "k": 4}, "test")
    data, valid = scene("uint16"), holes((120, 150))
    cached = CachedSource(MemorySource(data, valid), MemoryCache())
    models = [
        fit_source(each, config, executor=ThreadExecutor(1), progress=Progress()).model
        for each in (MemorySource(data, valid), cached)
    ]
    assert models[0] == models[1]


@pytest.mark.parametrize("method", ["minibatch", "dask-ml"])
def test_inertia_of_a_real_scene_is_near_the_exact_one(landscape: list[str], method: str) -> None:
    source = RasterSource(described(landscape), (300, 512))
    exact = fit_model(source, "kmeans", k=6, tol=1e-5)
    other = fit_model(source, method, k=6, tol=1e-5)
    inertia = exact.inertia * (
        other.fitting.sampled_pixels / exact.fitting.valid_pixels if method == "minibatch" else 1
    )
    assert other.inertia == pytest.approx(inertia, rel=0.01)
    assert other.fitting.method == method


@pytest.mark.parametrize("pixels", [2000, "all"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_dask_ml_finds_classes_in_any_type_and_scale(dtype: str, pixels: Any) -> None:
    data, valid = scene(dtype, bands=4), holes((120, 150))
    data[:, ~valid] = 200 if dtype == "uint16" else np.nan
    if dtype == "float32":
        data /= 10_000  # reflectance: an absolute tolerance would stop it in the first pass
    exact = fit_model(MemorySource(data, valid, (50, 50)), "kmeans", k=5, tol=1e-6, pixels=pixels)
    dask = fit_model(MemorySource(data, valid, (50, 50)), "dask-ml", k=5, tol=1e-6, pixels=pixels)
    assert dask.inertia == pytest.approx(exact.inertia, rel=0.01)
    assert sum(dask.counts) == sum(exact.counts)
    np.testing.assert_allclose(dask.centres, exact.centres, rtol=0.02)
