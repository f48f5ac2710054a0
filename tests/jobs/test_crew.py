"""The cluster of a run: how it is found, what its workers must have and are told, and what is left when it ends."""

import json
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import numpy as np
import psutil
import pytest
import yaml
from commands import terrazzo
from conftest import patches, raster_file
from crews import MARKS, WAIT, Cluster, processes_in, wait_for
from runs import config, contents, without_report

import pipeline.jobs.cluster as cluster_module
import pipeline.jobs.crew as crew_module
from pipeline.config.schema import ResourceConfig
from pipeline.core.errors import ClusterError, ConfigError, SceneError
from pipeline.engine.cluster import ClusterExecutor
from pipeline.engine.leftovers import PREFIX
from pipeline.jobs.crew import open_crew
from pipeline.jobs.run import plan_config, run_config

pytestmark = MARKS
WORKERS = ("one",)

CHUNK = 64


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    pixels = patches(2, (200, 200))
    return raster_file(tmp_path / "scene.tif", pixels, nodata=0, tiled=True, blockxsize=CHUNK, blockysize=CHUNK)


def job(scene: object, folder: Path, cluster: str, **run: Any) -> Any:
    fit = {"k": 3, "pixels": 2000, "starts": 1}
    return config(scene, folder / "classes.tif", fit=fit, run={"cluster": cluster, "chunk": CHUNK, **run})


def fails(cluster: str, scene: object, folder: Path, kind: type[Exception] = ClusterError) -> str:
    """Run a job that fails, and return its message; it leaves no output."""
    with pytest.raises(kind) as raised:
        run_config(job(scene, folder, cluster))
    assert not list(folder.glob("classes*"))
    assert not list(folder.glob(f"{PREFIX}*"))
    return str(raised.value)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def test_no_scheduler_at_the_address(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "_CONNECT_SECONDS", 1.0)
    address = f"tcp://127.0.0.1:{free_port()}"
    message = fails(address, scene, tmp_path)
    assert message.startswith(f"run.cluster: {address}: no scheduler answers (")
    assert message.endswith("; start one with dask scheduler, or mend the address")


@pytest.mark.parametrize("address", ["tpc://127.0.0.1:1234", "tcp://no.such.host.invalid:8786", "tcp://"])
def test_an_address_that_is_none(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(crew_module, "_CONNECT_SECONDS", 1.0)
    assert fails(address, scene, tmp_path).startswith(f"run.cluster: {address}: no scheduler answers (")
    assert dask.config.get("scheduler", None) is None, "the program's own arrays are computed as before"


def test_a_scheduler_file_that_is_not_there(scene: Path, tmp_path: Path) -> None:
    message = fails(str(tmp_path / "scheduler.json"), scene, tmp_path, ConfigError)
    assert message.startswith(
        f"run.cluster: {tmp_path}/scheduler.json: not a file; expected auto, none, processes, the"
    )


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"address": 5}'])
def test_a_scheduler_file_of_something_else(scene: Path, tmp_path: Path, content: str) -> None:
    path = tmp_path / "scheduler.json"
    path.write_text(content)
    message = fails(str(path), scene, tmp_path, ConfigError)
    assert re.match(f"run.cluster: {path}: (can't be read as|not) a scheduler file", message)


def test_a_scheduler_file_of_a_scheduler_that_has_ended(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew_module, "_CONNECT_SECONDS", 1.0)
    (tmp_path / "scheduler.json").write_text(json.dumps({"address": f"tcp://127.0.0.1:{free_port()}"}))
    assert "scheduler.json: no scheduler answers (" in fails(str(tmp_path / "scheduler.json"), scene, tmp_path)


def test_a_scheduler_file_names_the_scheduler(cluster: Cluster, scene: Path, tmp_path: Path) -> None:
    (tmp_path / "scheduler.json").write_text(json.dumps({"address": cluster.address}))
    report = run_config(job(scene, tmp_path, str(tmp_path / "scheduler.json")))
    assert processes_in(report) == 1


def test_no_workers(cluster: Cluster, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.restore()
    monkeypatch.setattr(crew_module, "NO_WORKER_SECONDS", 1.0)
    message = fails(cluster.address, scene, tmp_path)
    assert message == f"run.cluster: {cluster.address} has no workers; start some, then run again"


def test_workers_that_come_a_little_later_are_awaited(cluster: Cluster, scene: Path, tmp_path: Path) -> None:
    cluster.restore()
    cluster.processes["slow"] = cluster._start("slow", 1, None, {})
    assert processes_in(run_config(job(scene, tmp_path, cluster.address))) == 1


def test_a_plan_does_not_wait_for_workers_and_starts_none(cluster: Cluster, scene: Path, tmp_path: Path) -> None:
    begin = time.monotonic()
    _, plan = plan_config(job(scene, tmp_path, "processes", workers=7))
    assert getattr(plan.cluster, "processes", 0) == 7
    _, plan = plan_config(job(scene, tmp_path, cluster.address))
    assert getattr(plan.cluster, "processes", 0) == 1
    cluster.restore()
    with pytest.raises(ClusterError, match="has no workers"):
        plan_config(job(scene, tmp_path, cluster.address))
    assert time.monotonic() - begin < 20


def test_the_client_of_the_program_is_used_unless_threads_are_asked_for(
    cluster: Cluster, scene: Path, tmp_path: Path
) -> None:
    """In a task of a worker there is a client, too, but the threads of the worker are used."""
    with cluster.client.as_current():
        assert processes_in(run_config(job(scene, tmp_path, "auto"))) == 1
        assert processes_in(run_config(job(scene, tmp_path, "none"), overwrite=True)) == 0
    inside = cluster.client.submit(processes_of, job(scene, tmp_path, "auto"))
    assert inside.result(timeout=WAIT) == 0


def processes_of(settings: Any) -> int:
    report: dict[str, Any] = run_config(settings, overwrite=True)
    return processes_in(report)


def test_no_more_workers_than_run_workers_says(cluster: Cluster) -> None:
    cluster.start("two")
    for workers, expected in (("auto", 2), (1, 1), (5, 2)):
        with open_crew(ResourceConfig(cluster=cluster.address, workers=workers)) as crew:
            assert crew
            assert crew.processes == expected


@pytest.mark.parametrize(("workers", "used"), [("auto", 2), (2, 2), (1, 1)])
def test_workers_that_come_during_a_run_are_used_as_far_as_run_workers_says(
    cluster: Cluster, scene: Path, tmp_path: Path, workers: Any, used: int
) -> None:
    with opened(job(scene, tmp_path, cluster.address, workers=workers), tmp_path) as executor:
        assert executor.workers == 1
        cluster.start("late")
        seconds = WAIT if used == 2 else 4
        assert wait_for(lambda: list(executor.map(settings_on, [0])) and executor.workers == 2, seconds) is (used == 2)


def set_version(name: str, version: str) -> None:
    """Let this process, a worker, have another version of terrazzo, numpy or GDAL."""
    import rasterio

    if name == "numpy":  # not its own, which other libraries check
        cluster_module.np = SimpleNamespace(__version__=version)  # type: ignore[attr-defined]
    elif name == "gdal":
        rasterio.__gdal_version__ = version
    else:
        cluster_module.__version__ = version  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["terrazzo", "numpy", "gdal"])
def test_versions_differ_on_a_worker(cluster: Cluster, scene: Path, tmp_path: Path, name: str) -> None:
    (address,) = cluster.start("other")
    cluster.client.run(set_version, name, "0.0.7", workers=[address])
    here = cluster_module._versions()[name]
    assert fails(cluster.address, scene, tmp_path) == (
        f"the worker {address} has other versions: {name} 0.0.7 there, {here} here; install the same versions on all "
        "machines"
    )


def path_without_terrazzo(folder: Path) -> str:
    """Python's path with a module in front that can't be found, as Python says it."""
    (folder / "path").mkdir()
    (folder / "path" / "pipeline.py").write_text("raise ModuleNotFoundError('No module', name='pipeline')")
    return os.pathsep.join([str(folder / "path"), *filter(None, sys.path)])


def test_terrazzo_is_missing_on_a_worker(cluster: Cluster, scene: Path, tmp_path: Path) -> None:
    (address,) = cluster.start("bare", cwd=tmp_path, PYTHONPATH=path_without_terrazzo(tmp_path))
    message = fails(cluster.address, scene, tmp_path)
    assert message.startswith(f"the worker {address} can't load terrazzo (ModuleNotFoundError(")
    assert message.endswith("; install the same versions there as here")
    assert "bare" in cluster.running(), "a task would have ended it"


def test_terrazzo_is_missing_on_the_scheduler(scene: Path, tmp_path: Path) -> None:
    paths = path_without_terrazzo(tmp_path)
    address = f"tcp://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", address, "--no-dashboard"]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--no-dashboard"]
    here = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = [
        subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths}, cwd=tmp_path, stderr=subprocess.DEVNULL),
        subprocess.Popen(worker, env=here, cwd=tmp_path, stderr=subprocess.DEVNULL),
    ]
    try:
        message = fails(address, scene, tmp_path)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert message.startswith(f"{address}: the scheduler can't read the tasks (")
    assert message.endswith("it needs the same versions of terrazzo and dask as this machine")


def test_a_file_that_only_the_client_sees(
    cluster: Cluster, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is named from the folder in which the client runs."""
    (tmp_path / "away").mkdir()
    (address,) = cluster.start("away", cwd=tmp_path / "away")
    monkeypatch.chdir(tmp_path)
    message = fails(cluster.address, scene.name, tmp_path, SceneError)
    assert message.startswith(
        "scene.tif: can't be opened (scene.tif: No such file or directory); all workers need the "
    )
    workers = {*cluster.addresses("one"), address}
    assert any(message.endswith(f"on a shared disk (on the worker {one})") for one in workers)


def test_batches_that_depend_on_each_other_are_refused(cluster: Cluster, scene: Path, tmp_path: Path) -> None:
    fit = {"k": 3, "method": "minibatch", "pixels": "all"}
    with pytest.raises(ConfigError, match=r"^fit\.pixels: all: each batch of minibatch depends on the one before"):
        run_config(config(scene, tmp_path / "c.tif", fit=fit, run={"cluster": cluster.address}))


SETTINGS = {
    "GDAL_HTTP_USERPWD": "me:hunter2",
    "AWS_SECRET_ACCESS_KEY": "hunter2",
    "AWS_REQUEST_PAYER": "requester",
    "CPL_VSIL_CURL_CHUNK_SIZE": "65536",
    "GDAL_HTTP_PROXY": "http://hunter2@proxy",
    "VSI_CACHE": "TRUE",
    "GDAL_DATA": "/opt/hunter2/gdal",
}


def settings_on(_number: int) -> tuple[dict[str, Any], dict[str, str]]:
    """GDAL's settings in a task, and the environment of the worker."""
    from rasterio.env import getenv

    return dict(getenv()), dict(os.environ)


@contextmanager
def opened(settings: Any, folder: Path) -> Iterator[ClusterExecutor]:
    """Open the executor of a job."""
    scene, plan = plan_config(settings)
    with (
        open_crew(settings.run) as crew,
        cluster_module.open_executor(crew, scene, plan, settings.run, folder) as executor,
    ):
        assert isinstance(executor, ClusterExecutor)
        yield executor


def test_settings_of_gdal_go_with_the_run_and_credentials_never(
    cluster: Cluster, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.start("two")
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    with opened(job(scene, tmp_path, cluster.address), tmp_path) as executor:
        ((_, (options, environment)),) = executor.map(settings_on, [0])
        assert b"hunter2" not in pickle.dumps(executor._workers._opening)
    assert "hunter2" not in options.pop("GDAL_DATA", ""), "rasterio sets it to its own"
    assert {name: options.get(name) for name in SETTINGS} == {
        **dict.fromkeys(SETTINGS), "VSI_CACHE": "TRUE", "CPL_VSIL_CURL_CHUNK_SIZE": "65536"
    }  # fmt: skip
    assert options["GDAL_NUM_THREADS"] == "1"
    assert int(options["GDAL_CACHEMAX"]) > 10**6
    assert not SETTINGS.keys() & environment.keys()
    warnings = [message for message in caplog.messages if "are not sent" in message]
    assert len(warnings) == 1, "once for all workers"
    listed = "AWS_REQUEST_PAYER, AWS_SECRET_ACCESS_KEY, GDAL_HTTP_PROXY, GDAL_HTTP_USERPWD"
    assert warnings[0].endswith(f"as they may be secret: {listed}; if the scene's files need them, set them there, too")


def test_a_workers_own_settings_are_left_as_they_are(
    cluster: Cluster, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.restore()
    environment = {"VSI_CACHE": "FALSE", "AWS_SECRET_ACCESS_KEY": "its own"}
    cluster.start("own", **environment)
    monkeypatch.setenv("VSI_CACHE", "TRUE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    with opened(job(scene, tmp_path, cluster.address), tmp_path) as executor:
        ((_, (options, environment)),) = executor.map(settings_on, [0])
    assert "VSI_CACHE" not in options
    assert (environment["VSI_CACHE"], environment["AWS_SECRET_ACCESS_KEY"]) == ("FALSE", "its own")
    assert not [message for message in caplog.messages if "are not sent" in message]


def test_distributed_is_imported_only_where_a_cluster_is_asked_for(scene: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from pipeline.jobs.config import load_config\n"
        "from pipeline.jobs.run import plan_config, run_config\n"
        "job = load_config(Path(sys.argv[1]), ())\n"
        "plan_config(job)\n"
        "run_config(job)\n"
        "print(sorted({'distributed', 'dask', 'tornado', 'xarray'} & set(sys.modules)))\n"
    )
    path = written(scene, tmp_path)
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def written(scene: Path, folder: Path, **sections: Any) -> Path:
    """Write a config; return its path."""
    path = folder / "job.yaml"
    fit = {"k": 3, "pixels": 2000, "starts": 1}
    text = {"version": 1, "scene": {"source": str(scene)}, "fit": fit, "output": {"labels": "classes.tif"}} | sections
    path.write_text(yaml.safe_dump(text))
    return path


def test_the_command_starts_processes_and_ends_them(scene: Path, tmp_path: Path) -> None:
    path = written(scene, tmp_path)
    assert terrazzo("run", path, "-q").returncode == 0
    expected = without_report(contents(tmp_path))
    done = terrazzo("run", path, "-q", "--overwrite", "--cluster", "processes", "--set", "run.workers=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert without_report(contents(tmp_path)) == expected
    assert processes_in(json.loads((tmp_path / "classes.run.json").read_text())) == 2


WITHOUT_GUARD = """
import sys
from pipeline import run_config
from pipeline.jobs.config import load_config
from pathlib import Path
run_config(load_config(Path(sys.argv[1]), ["run.cluster=processes", "run.workers=1"]))
"""


def test_a_script_without_a_guard_is_told_of_it(scene: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(WITHOUT_GUARD)
    command = [sys.executable, str(tmp_path / "script.py"), str(written(scene, tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WAIT)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "ClusterError: run.cluster: processes: they can't be started" in last
    assert "needs the line if __name__ == '__main__': above the call" in last
    assert not list(tmp_path.glob("classes*"))


def large(folder: Path) -> Path:
    """A scene whose fit over all pixels takes long."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 60_000, (3, 1500, 1500), np.uint16)
    tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    return raster_file(folder / "large.tif", pixels, **tiles)


LONG = {"k": 60, "pixels": "all", "starts": 1, "max_iter": 1000, "tol": 0}


def in_session(leader: int) -> list[psutil.Process]:
    """Processes of a session."""
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.mark.parametrize("whole_group", [True, False])
def test_ctrl_c_ends_the_command_and_its_processes(tmp_path: Path, *, whole_group: bool) -> None:
    """A terminal sends the signal to all processes of the command."""
    path = written(large(tmp_path), tmp_path, fit=LONG, run={"cluster": "processes", "workers": 2, "chunk": 256})
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", str(path)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert process.stderr is not None
    assert any(line.startswith("pass 3: ") for line in process.stderr)
    assert len(list(tmp_path.glob(f"{PREFIX}*"))) == 3, "one of its outputs, and one for each worker"
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=WAIT)
    assert process.returncode == 130, said
    assert "terrazzo: stopping after the work in progress" in said
    assert "Traceback" not in said
    assert "KeyboardInterrupt" not in said
    assert not list(tmp_path.glob(f"{PREFIX}*"))
    assert {name.name for name in tmp_path.iterdir()} <= {"job.yaml", "large.tif", "dask-scratch-space"}
    assert not list(tmp_path.glob("dask-scratch-space/worker-*"))
    assert wait_for(lambda: not in_session(process.pid), 10)


def test_when_the_client_is_killed_no_folder_is_left_on_any_worker(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start("two")
    path = written(large(tmp_path), tmp_path, fit=LONG, run={"cluster": cluster.address, "chunk": 256})
    process = subprocess.Popen([sys.executable, "-m", "pipeline", "run", str(path)], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert any(line.startswith("pass 3: ") for line in process.stderr)
    assert len(cluster.scratch()) == 2
    process.kill()
    process.communicate()
    assert wait_for(lambda: not cluster.scratch(), 5)
    assert wait_for(lambda: not any(cluster.client.processing().values()))
    assert set(cluster.running()) == {"one", "two"}


def test_when_a_run_with_processes_is_killed_neither_folder_nor_process_is_left(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    limits = {"cluster": "processes", "workers": 2, "chunk": 256, "cache_dir": str(cache)}
    path = written(large(tmp_path), tmp_path, fit=LONG, run=limits)
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", str(path)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert process.stderr is not None
    assert any(line.startswith("pass 3: ") for line in process.stderr)
    assert [len(list(folder.glob(f"{PREFIX}*"))) for folder in (tmp_path, cache)] == [1, 2]
    process.kill()
    process.communicate()
    assert wait_for(lambda: not [*tmp_path.glob(f"{PREFIX}*"), *cache.iterdir()], 5)
    assert wait_for(lambda: not in_session(process.pid), 10)
