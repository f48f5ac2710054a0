"""What careless and unlucky users do to runs on a cluster: the bytes of threads, or one sentence, and nothing left."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from conftest import patches, raster_file
from runs import config, contents, without_report

import pipeline.jobs.crew as crew_module
from pipeline import fit, open_scene
from pipeline.core.errors import ClusterError, ConfigError, TerrazzoError
from pipeline.engine.leftovers import PREFIX
from pipeline.jobs.run import plan_config, run_config

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="as other tests of clusters"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore:.*Port 8787"),
]

CHUNK = 64


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene in a folder with a space and letters that are not ASCII."""
    folder = tmp_path_factory.mktemp("scenes") / "été 2"
    folder.mkdir()
    tiles = {"tiled": True, "blockxsize": CHUNK, "blockysize": CHUNK}
    return raster_file(folder / "ein Bild.tif", patches(2, (200, 260)), nodata=0, **tiles)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of two workers in threads of this process, without a client."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=3, processes=False, dashboard_address=None) as started:
        yield started


def job(scene: Path, folder: Path, *, cluster: str = "auto", pixels: Any = 2000) -> Any:
    fitting = {"k": 3, "pixels": pixels, "starts": 1}
    folder.mkdir(exist_ok=True)
    return config(scene, folder / "classes.tif", fit=fitting, run={"cluster": cluster, "chunk": CHUNK})


def refusal(scene: Path, folder: Path, cluster: str = "auto", kind: type[TerrazzoError] = ClusterError) -> str:
    """Message of a run, and of its plan, that is refused; nothing is left of it."""
    messages = []
    for call in (plan_config, run_config):
        with pytest.raises(kind) as raised:
            call(job(scene, folder, cluster=cluster))
        messages.append(str(raised.value))
    assert not list(folder.iterdir())
    assert messages[0] == messages[1]
    assert "\n" not in messages[0]
    return messages[0]


@pytest.fixture(params=["silent", "web server"])
def other_port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port where no scheduler listens, but something else: nothing that answers, or such as dask's dashboard."""
    if request.param == "silent":
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield server.getsockname()[1]
        return
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as web:
        thread = Thread(target=web.serve_forever, daemon=True)
        thread.start()
        yield web.server_port
        web.shutdown()


def test_something_else_listens_at_the_address(
    scene: Path, tmp_path: Path, other_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew_module, "_CONNECT_SECONDS", 1.0)
    address = f"tcp://127.0.0.1:{other_port}"
    assert refusal(scene, tmp_path / "out", address) == (
        f"run.cluster: {address}: no scheduler answers (something else listens there); start one with dask "
        "scheduler, or mend the address"
    )


@pytest.mark.parametrize("protocol", ["tls", "ucx", "ws", "http", "inproc"])
def test_protocols_that_are_not_set_up_or_unknown(
    scene: Path, tmp_path: Path, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew_module, "_CONNECT_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"{protocol}://127.0.0.1:{server.getsockname()[1]}"
        assert refusal(scene, tmp_path / "out", address).startswith(f"run.cluster: {address}: no scheduler answers (")


@pytest.mark.parametrize("content", [b"", b'{"type": "Sched', b"\xff\xfe\x00"])
def test_a_scheduler_file_that_is_not_whole_is_told_with_the_fix(scene: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scheduler.json"
    path.write_bytes(content)
    message = refusal(scene, tmp_path / "out", str(path), ConfigError)
    assert message.startswith(f"run.cluster: {path}: can't be read as a scheduler file (")
    assert message.endswith("); name the file of a scheduler")


def test_a_closed_client_that_is_still_current_is_refused(scene: Path, tmp_path: Path, cluster: Any) -> None:
    from distributed import Client

    client = Client(cluster, set_as_default=False)
    with client.as_current():
        client.close()
        assert refusal(scene, tmp_path / "out") == (
            "the current dask client is closed; use one that is open and not asynchronous, or threads"
        )


def test_an_asynchronous_client_is_refused(scene: Path, tmp_path: Path, cluster: Any) -> None:
    from distributed import Client

    async def run() -> tuple[str, str]:
        async with Client(cluster.scheduler_address, asynchronous=True):
            with pytest.raises(ConfigError) as raised:
                fit(open_scene(scene, chunk=CHUNK), k=3)
            return refusal(scene, tmp_path / "out"), str(raised.value)

    of_run, of_fit = asyncio.run(run())
    assert of_run.startswith("the current dask client is asynchronous; use one that is open and not")
    assert of_fit.startswith("dask has no scheduler for the blocks (")
    assert of_fit.endswith("use a client that is open and not asynchronous")


def test_a_client_whose_cluster_has_gone_is_refused(scene: Path, tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=0, processes=False, dashboard_address=None) as started:
        client = Client(started, set_as_default=False)
    with client.as_current():
        assert refusal(scene, tmp_path / "out").startswith("the ")
    client.close()


LOST = """
import logging
from pipeline.cli.terminal import set_up_streams
set_up_streams()
from distributed import Client

logging.getLogger(Client.__module__).exception("lost")
"""


def test_a_command_prints_no_traceback_of_a_client_that_has_lost_its_scheduler() -> None:
    done = subprocess.run([sys.executable, "-c", LOST], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_runs_at_the_same_time_in_threads_on_one_client(scene: Path, tmp_path: Path, cluster: Any) -> None:
    """Workers that are threads of this process have several runs open at once, and each run its own cache."""
    from distributed import Client

    kinds = {"one": 2000, "two": "all", "three": "all"}
    for name, pixels in kinds.items():
        run_config(job(scene, tmp_path / f"{name}-threads", cluster="none", pixels=pixels))
    with Client(cluster):
        threads = [
            Thread(target=run_config, args=(job(scene, tmp_path / name, pixels=pixels),))
            for name, pixels in kinds.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for name in kinds:
        found, expected = (without_report(contents(tmp_path / each)) for each in (name, f"{name}-threads"))
        assert found == expected
        assert expected
    assert not list(tmp_path.rglob(f"{PREFIX}*"))


def test_a_run_in_an_event_loop_uses_the_current_client(scene: Path, tmp_path: Path, cluster: Any) -> None:
    """As in a notebook, whose thread has an event loop that runs; also with the address of a scheduler."""
    from distributed import Client

    run_config(job(scene, tmp_path / "threads", cluster="none"))

    async def run(name: str, where: str) -> Any:
        return run_config(job(scene, tmp_path / name, cluster=where))["plan"]["cluster"]

    with Client(cluster):
        assert asyncio.run(run("current", "auto"))["processes"] == 2
    assert asyncio.run(run("address", cluster.scheduler_address))["processes"] == 2
    expected = without_report(contents(tmp_path / "threads"))
    assert without_report(contents(tmp_path / "current")) == expected
    assert without_report(contents(tmp_path / "address")) == expected
