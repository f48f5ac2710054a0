"""Scenes and labels under dask's schedulers: the current scheduler computes, and results are the same bits."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from conftest import patches, raster_file
from fakes import MemorySource

from pipeline import ClusterModel, fit, label, open_scene, write
from pipeline.dataarrays.lazy import to_dataarray
from pipeline.dataarrays.source import ArraySource

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore:Port 8787 is already in use"
)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> xr.DataArray:
    pixels = patches(3, (130, 200))
    pixels[:, :20, :50] = 0
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    path = raster_file(tmp_path_factory.mktemp("scene") / "scene.tif", pixels, nodata=0, **tiles)
    return open_scene(path, chunk=64)


@pytest.fixture(scope="module")
def model(scene: xr.DataArray) -> ClusterModel:
    return fit(scene, k=4, pixels=4000, starts=2)


@pytest.fixture
def map_of(tmp_path: Path) -> Callable[[xr.DataArray], bytes]:
    return lambda labels: write(labels, tmp_path / "c.tif", overwrite=True).read_bytes()


def client(**options: Any) -> Iterator[Any]:
    """Start a local cluster and yield a client of it."""
    from dask.distributed import Client, LocalCluster

    with (
        dask.config.set({"distributed.scheduler.work-stealing": True}),
        LocalCluster(dashboard_address=None, **options) as cluster,
        Client(cluster) as made,
    ):
        yield made


@pytest.fixture
def threads_of_a_client() -> Iterator[Any]:
    yield from client(processes=False, n_workers=1, threads_per_worker=2)


@pytest.fixture
def processes_of_a_client() -> Iterator[Any]:
    yield from client(processes=True, n_workers=2, threads_per_worker=1)


def check(scene: xr.DataArray, model: ClusterModel, expected: bytes, map_of: Callable[[xr.DataArray], bytes]) -> None:
    """Compare results under a scheduler, of a lazy and of a persisted scene, with those of Terrazzo's own threads."""
    persisted = scene.persist()
    for variant in (scene, persisted, persisted.to_dataset("band")):
        assert fit(variant, k=4, pixels=4000, starts=2) == model
    assert map_of(label(scene, model)) == expected
    assert map_of(label(persisted, model).persist()) == expected


@pytest.mark.lowest
def test_results_under_a_threaded_client_are_the_same_bits(
    scene: xr.DataArray, model: ClusterModel, map_of: Any, request: pytest.FixtureRequest
) -> None:
    expected = map_of(label(scene, model))
    over_all = fit(scene, k=4, pixels="all", starts=2)
    batches = fit(scene, k=4, pixels="all", starts=2, method="minibatch")
    request.getfixturevalue("threads_of_a_client")
    check(scene, model, expected, map_of)
    assert fit(scene.persist(), k=4, pixels="all", starts=2) == over_all
    assert fit(scene.persist(), k=4, pixels="all", starts=2, method="minibatch") == batches


@pytest.mark.slow
def test_results_under_a_client_of_processes_are_the_same_bits(
    scene: xr.DataArray, model: ClusterModel, map_of: Any, request: pytest.FixtureRequest
) -> None:
    expected = map_of(label(scene, model))
    workers = request.getfixturevalue("processes_of_a_client")
    check(scene, model, expected, map_of)
    inside = workers.submit(fit, scene, k=4, pixels=4000, starts=2)
    assert inside.result(timeout=300) == model


def test_fit_inside_a_task_does_not_deadlock_on_its_own_worker(
    scene: xr.DataArray, model: ClusterModel, request: pytest.FixtureRequest
) -> None:
    workers = request.getfixturevalue("threads_of_a_client")
    work = partial(fit, k=4, pixels=4000, starts=2, workers=2)
    tasks = [workers.submit(work, scene, pure=False) for _ in range(2)]
    assert [task.result(timeout=300) for task in tasks] == [model, model]


def test_graphs_sent_to_a_client_contain_one_block_each(scene: xr.DataArray, threads_of_a_client: Any) -> None:
    persisted = scene.persist().to_dataset("band")
    tasks = []
    get = threads_of_a_client.get

    def counted(graph: Any, keys: Any, **how: Any) -> Any:
        tasks.append(len(graph.__dask_graph__()))
        return get(graph, keys, **how)

    threads_of_a_client.get = counted
    fit(persisted, k=3, pixels=1000, starts=1, workers=1)
    blocks = len(scene.chunks[1]) * len(scene.chunks[2]) if scene.chunks else 0
    assert len(tasks) == blocks == 12
    assert max(tasks) < 30  # a few per band, for three bands and validity


class CountingScheduler:
    """A scheduler that counts its calls and computes as dask's synchronous one."""

    def __init__(self) -> None:
        self.calls = 0
        self._guard = threading.Lock()

    def __call__(self, graph: Any, keys: Any, **how: Any) -> Any:
        with self._guard:
            self.calls += 1
        return dask.get(graph, keys, **how)


def test_configured_scheduler_is_used(scene: xr.DataArray, model: ClusterModel, map_of: Any) -> None:
    expected = map_of(label(scene, model))
    scheduler = CountingScheduler()
    with dask.config.set(scheduler=scheduler):
        assert fit(scene, k=4, pixels=4000, starts=2) == model
        assert scheduler.calls == 12
        assert map_of(label(scene, model)) == expected
        assert scheduler.calls == 24
    fit(scene, k=4, pixels=4000, starts=2)
    assert scheduler.calls == 24


@pytest.mark.parametrize("name", ["threads", "synchronous"])
def test_results_under_named_schedulers_are_the_same_bits(
    scene: xr.DataArray, model: ClusterModel, map_of: Any, name: str
) -> None:
    expected = map_of(label(scene, model))
    with dask.config.set(scheduler=name):
        check(scene, model, expected, map_of)


@pytest.mark.slow
def test_results_under_the_process_scheduler_are_the_same_bits(scene: xr.DataArray, model: ClusterModel) -> None:
    labels = label(scene, model)
    np.testing.assert_array_equal(labels.compute(scheduler="processes", num_workers=2), labels.compute())


def test_own_threads_compute_without_a_configured_scheduler() -> None:
    seen: Counter[str] = Counter()

    class Source(MemorySource):
        def read(self, block: Any) -> Any:
            seen[threading.current_thread().name.split("_")[0]] += 1
            return super().read(block)

    scene = to_dataarray(Source(patches(2)))
    fit(scene, k=3, pixels=2000, starts=1)
    assert set(seen) == {"terrazzo"}


@pytest.mark.usefixtures("threads_of_a_client")
def test_persisted_arrays_have_the_same_pixels(scene: xr.DataArray) -> None:
    source, persisted = ArraySource(scene), ArraySource(scene.persist())
    for block in source.blocks:
        for one, other in zip(source.read(block), persisted.read(block), strict=True):
            np.testing.assert_array_equal(one, other)
