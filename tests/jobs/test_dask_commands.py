"""The commands of docs/cluster.md: a scheduler and workers that were started by hand, and a run on them."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, patches, raster_file

PAGE = (ROOT / "docs" / "cluster.md").read_text()

SECONDS = 60
"""Time limit for a process to start."""

pytestmark = pytest.mark.slow


@contextmanager
def started(*words: object) -> Iterator[None]:
    """Start a command of dask, and end it."""
    command = [sys.executable, "-m", "dask", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(SECONDS)


def wait_for(there: Callable[[], Any]) -> Any:
    """Return what a function finds, when it finds something."""
    end = time.monotonic() + SECONDS
    while not (found := there()):
        assert time.monotonic() < end, "the process did not start"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Scheduler file of a cluster of two processes of two threads, whose folders are beside it."""
    folder = tmp_path_factory.mktemp("dask")
    file = folder / "scheduler.json"
    with ExitStack() as context:
        local = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard")
        context.enter_context(started("scheduler", *local, "--scheduler-file", file))
        wait_for(file.exists)
        size = ("--nworkers", "2", "--nthreads", "2", "--memory-limit", "0", "--no-dashboard")
        for name, how in {"one": ("--scheduler-file", file), "two": (address_of(file),)}.items():
            own = (*size[:1], "1", *size[2:], "--local-directory", folder / name)
            context.enter_context(started("worker", *how, *own))
            wait_for(lambda place=folder / name: [*place.glob("*/worker-*")])
        yield file


def address_of(file: Path) -> str:
    return str(json.loads(file.read_text())["address"])


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A config beside a scene of several shards' blocks."""
    raster_file(tmp_path / "scene.tif", patches(4, (600, 700)), tiled=True, blockxsize=64, blockysize=64)
    path = tmp_path / "job.yaml"
    fit = "{k: 4, pixels: all, starts: 2}"
    path.write_text(f"version: 1\nscene: {{source: scene.tif}}\nfit: {fit}\noutput: {{labels: out.tif}}\n")
    return path


def terrazzo(*words: object) -> str:
    """Run the command in a process of its own, and return what it prints."""
    command = [sys.executable, "-m", "pipeline", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def made(job: Path) -> dict[str, bytes]:
    """Contents of the outputs that are the same in each run."""
    names = ("out.tif", "out.model.json", "out.csv", "out_quicklook.png", "out.qml", "out.tif.aux.xml")
    return {name: job.with_name(name).read_bytes() for name in names}


@pytest.mark.parametrize("by_file", [True, False])
def test_a_run_on_workers_started_by_hand_makes_the_same_bytes(job: Path, scheduler: Path, *, by_file: bool) -> None:
    where = scheduler if by_file else address_of(scheduler)
    terrazzo("run", job, "-q", "--cluster", "none")
    expected = made(job)
    report = json.loads(terrazzo("run", job, "-q", "--json", "--overwrite", "--cluster", where))
    assert made(job) == expected
    assert report["plan"]["cluster"]["processes"] == 2
    assert report["plan"]["workers"] == 2
    assert report["source_passes"] == pytest.approx(1)
    assert report["seconds"]["start"] > 0
    assert not [path for path in scheduler.parent.rglob(".terrazzo-*") if path.is_dir()]


def test_the_plan_counts_the_processes_that_are_there(job: Path, scheduler: Path) -> None:
    said = terrazzo("plan", job, "--cluster", scheduler)
    assert "cluster  2 processes of 2 threads, and this one, the client\n" in said
    assert "on disk, in the folders of the workers\n" in said
    assert max(map(len, said.splitlines())) <= 80


def test_the_page_has_these_commands_and_dask_knows_their_options() -> None:
    lines = [line.strip().split() for line in PAGE.splitlines() if line.startswith("    dask ")]
    assert {words[1] for words in lines} == {"scheduler", "worker"}
    for command in ("scheduler", "worker"):
        helped = subprocess.run(
            [sys.executable, "-m", "dask", command, "--help"], capture_output=True, text=True, check=True
        ).stdout
        options = {word for words in lines if words[1] == command for word in words if word.startswith("--")}
        assert options <= set(re.findall(r"--[a-z-]+", helped))
