"""Runs with a dask client in force: its workers are used without any setting, and not inside their own tasks."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import patches, raster_file
from runs import config

from pipeline import ClusterModel, predict, run_config
from pipeline.engine.cluster import ClusterExecutor
from pipeline.engine.executor import ThreadExecutor
from pipeline.jobs.config import RunConfig
from pipeline.methods import settings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore:Port 8787 is already in use"
    ),
]

FIT = {"k": 4, "starts": 2, "pixels": 3000}
RUN = {"chunk": 64}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = patches(3, (330, 410))
    pixels[:, :70, :50] = 0
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    return raster_file(tmp_path_factory.mktemp("scene") / "scene.tif", pixels, nodata=0, **tiles)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster without a client in force."""
    from dask.distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as workers:
        yield workers


@pytest.fixture
def client(cluster: Any) -> Iterator[Any]:
    from dask.distributed import Client

    with Client(cluster) as made:
        yield made


def run_of(scene: Path, labels: Path, **sections: Any) -> RunConfig:
    return config(scene, labels, **{"fit": FIT, "run": RUN, **sections})


def outputs(labels: Path) -> dict[str, bytes]:
    """What a run writes besides its report and page, which state how long it took."""
    model = ClusterModel.load(labels.with_suffix(".model.json"))
    return {
        "map": labels.read_bytes(),
        "table": labels.with_suffix(".csv").read_bytes(),
        "digest": model.digest.encode(),
    }


def executors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the executors that work on blocks."""
    used: list[str] = []
    for kind in (ClusterExecutor, ThreadExecutor):
        original = kind.map

        def noted(self: Any, task: Any, *args: Any, _map: Any = original, **how: Any) -> Any:
            if "Draw" in type(task).__name__ or "Label" in type(task).__name__:
                used.append(f"{type(self).__name__}: {type(task).__name__}")
            return _map(self, task, *args, **how)

        monkeypatch.setattr(kind, "map", noted)
    return used


def test_a_run_uses_the_client_in_force(
    scene: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = executors(monkeypatch)
    run_config(run_of(scene, tmp_path / "threads.tif"))
    assert used == ["ThreadExecutor: DrawFromBlock", "ThreadExecutor: LabelTask"]
    request.getfixturevalue("client")
    used.clear()
    run_config(run_of(scene, tmp_path / "workers.tif"))
    assert used == ["ClusterExecutor: DrawFromBlock", "ClusterExecutor: LabelTask"]
    expected = outputs(tmp_path / "threads.tif")
    assert outputs(tmp_path / "workers.tif") == expected
    used.clear()
    run_config(run_of(scene, tmp_path / "none.tif", run={**RUN, "cluster": "none"}))
    assert set(used) == {"ThreadExecutor: DrawFromBlock", "ThreadExecutor: LabelTask"}


def test_a_prediction_uses_the_client_in_force(
    scene: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_of(scene, tmp_path / "fitted.tif")
    run_config(first)
    model = ClusterModel.load(tmp_path / "fitted.model.json")
    predict(first.scene, model, run_of(scene, tmp_path / "threads.tif").output)
    request.getfixturevalue("client")
    used = executors(monkeypatch)
    predict(first.scene, model, run_of(scene, tmp_path / "workers.tif").output)
    assert used == ["ClusterExecutor: LabelTask"]
    assert (tmp_path / "workers.tif").read_bytes() == (tmp_path / "threads.tif").read_bytes()


def work(scene: Path, labels: Path) -> dict[str, Any]:
    """A run inside of a task: a batch of scenes, one scene per task."""
    from distributed import get_worker

    with pytest.MonkeyPatch.context() as monkeypatch:
        used = executors(monkeypatch)
        run_config(run_of(scene, labels))
    return {"worker": get_worker().address, "used": used}


def test_a_run_inside_of_a_task_uses_threads(scene: Path, tmp_path: Path, client: Any) -> None:
    tasks = [client.submit(work, scene, tmp_path / f"{number}.tif", pure=False) for number in range(3)]
    for number, task in enumerate(tasks):
        assert task.result(timeout=300)["used"] == ["ThreadExecutor: DrawFromBlock", "ThreadExecutor: LabelTask"]
        assert outputs(tmp_path / f"{number}.tif") == outputs(tmp_path / "0.tif")


@pytest.mark.lowest
@pytest.mark.usefixtures("client")
def test_passes_of_dask_ml_agree_with_threads(
    scene: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "DEFAULT_SAMPLE", 500)  # so that there are several passes
    fit = {**FIT, "method": "dask-ml", "pixels": "all", "k": 7, "max_iter": 4}
    run_config(run_of(scene, tmp_path / "threads.tif", fit=fit, run={**RUN, "cluster": "none"}))
    with caplog.at_level(logging.WARNING):
        report = run_config(run_of(scene, tmp_path / "workers.tif", fit=fit))
    one, other = (ClusterModel.load(tmp_path / f"{name}.model.json") for name in ("threads", "workers"))
    assert report["model"]["iterations"] == one.fitting.iterations == 4
    np.testing.assert_allclose(other.centres, one.centres, rtol=1e-6)
    np.testing.assert_allclose(other.counts, one.counts, rtol=1e-3)
    assert sum("last digits" in record.message for record in caplog.records) == 1
    assert not [record for record in caplog.records if "run_spec" in record.message]
    # each chunk is read from the cache of its owner, unless a worker takes over a task of another
    assert report["plan"]["cache"] == "disk"
    assert 1 <= report["source_passes"] < 1.3
