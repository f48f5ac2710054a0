"""Clusters for tests: workers that are started one by one, each with its own environment, and tasks that end them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest

from pipeline.engine.cluster import ClusterExecutor
from pipeline.engine.executor import PerProcess
from pipeline.engine.leftovers import PREFIX
from pipeline.engine.worker import Opening, WorkerCache

MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="processes are ended by signals"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore:.*Port 8787"),
]
"""Marks of modules whose tests start workers."""

WAIT = 120.0
"""Seconds after which a hanging test fails."""

KILLED_BY = -signal.SIGKILL if hasattr(signal, "SIGKILL") else -9
"""Status of a process that was killed."""


def wait_for(condition: Callable[[], Any], seconds: float = WAIT) -> bool:
    """Wait until something is true; return whether it came in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


class Cluster:
    """A scheduler in this process without workers, a client of it, and workers in processes of their own.

    Parameters
    ----------
    folder : Path
        Where each worker has its local folder.
    """

    def __init__(self, folder: Path) -> None:
        from distributed import Client, LocalCluster

        self.folder = folder
        self._cluster = LocalCluster(n_workers=0, processes=True, dashboard_address=None)
        self.address: str = self._cluster.scheduler_address
        self.client = Client(self._cluster)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        """Process of each worker, by its name."""

    def start(self, *names: str, threads: int = 1, cwd: Path | None = None, **environment: str) -> list[str]:
        """Start workers, also with other environment variables or in another folder; return their addresses."""
        before = set(self.client.nthreads())
        for name in names:
            self.processes[name] = self._start(name, threads, cwd, environment)
        assert wait_for(lambda: len(set(self.client.nthreads()) - before) >= len(names)), "a worker did not start"
        return [address for name in names for address in self.addresses(name)]

    def _start(
        self, name: str, threads: int, cwd: Path | None, environment: Mapping[str, str]
    ) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "distributed.cli.dask_worker", self.address, "--no-nanny", "--no-dashboard"]
        command += ["--nthreads", str(threads), "--name", name, "--local-directory", str(self.folder / name)]
        variables = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)} | environment
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(command, env=variables, cwd=cwd, stdout=log, stderr=log)

    def addresses(self, name: str) -> list[str]:
        """Addresses of the workers of a name, one or none."""
        found = self.client.scheduler_info(n_workers=-1)["workers"]
        return [address for address, about in found.items() if about["name"] == name]

    def running(self) -> list[str]:
        """Names of the workers that run."""
        return [name for name, process in self.processes.items() if process.poll() is None]

    def call_when(self, condition: Callable[[], Any], call: Callable[..., Any], *args: Any, **how: Any) -> Thread:
        """Call something, on another thread, when something is true; join the thread to be sure that it was."""
        thread = Thread(target=lambda: wait_for(condition) and call(*args, **how), daemon=True)
        thread.start()
        return thread

    def start_when(self, condition: Callable[[], Any], name: str) -> Thread:
        """Start a worker when something is true."""

        def start() -> None:
            self.processes[name] = self._start(name, 1, None, {})

        return self.call_when(condition, start)

    def restore(self, *names: str) -> None:
        """End all workers but those with these names, and start those of them that do not run.

        Folders of workers that have ended are removed, so that no test sees what was killed in another.
        """
        for name in set(self.running()) - set(names):
            process = self.processes.pop(name)
            process.kill()
            process.wait()
        assert wait_for(lambda: len(self.client.nthreads()) <= len(set(self.running()) & set(names)))
        for folder in self.folder.iterdir():
            if folder.is_dir() and folder.name not in self.running():
                shutil.rmtree(folder)
        if missing := [name for name in names if name not in self.running()]:
            self.start(*missing)

    def close(self) -> None:
        """End all."""
        self.client.close()
        for process in self.processes.values():
            process.kill()
            process.wait()
        self._cluster.close()

    def scratch(self) -> list[Path]:
        """Temporary folders of runs on all workers."""
        return [path for path in self.folder.rglob(f"{PREFIX}*") if path.is_dir()]


@contextmanager
def cluster_in(folder: Path, *names: str) -> Iterator[Cluster]:
    """Start a cluster with workers of these names."""
    cluster = Cluster(folder)
    try:
        cluster.start(*names)
        yield cluster
    finally:
        cluster.close()


def open_executor(
    client: Any, *, cache: Any = "none", begin: Callable[[], Any] = os.getpid, run: str = "", **how: Any
) -> ClusterExecutor:
    """Open an executor without a scene: shards of one item, a hundred items a pass."""
    opening = Opening(
        run=run or uuid4().hex,
        context=nullcontext,
        begin=begin,
        cache=cache,
        cache_dir=how.pop("cache_dir", None),
        threads=how.pop("most_threads", None),
    )
    return ClusterExecutor(client, opening, **{"shard_items": 1, "answer_items": 1, "items": 100, "threads": 1, **how})


def open_runs() -> list[str]:
    """Names of the runs that are open in this process."""
    from pipeline.engine import worker

    return list(worker._runs)


def processes_in(report: Mapping[str, Any]) -> int:
    """Number of processes that a run has used besides its own, by its report; 0 for threads."""
    return int((report["plan"]["cluster"] or {"processes": 0})["processes"])


def once(marker: str) -> bool:
    """Whether this is the first call with this path in any process."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def end_process() -> None:
    """End this process as the system does when it is short of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


async def forget(dask_scheduler: Any, address: str) -> None:
    """Let a scheduler take a worker for dead, as it does when it has not heard of it for long."""
    await dask_scheduler.remove_worker(address, stimulus_id="test", close=False)


class Counter(PerProcess):
    """Counts the items that its copies were given."""

    def __init__(self) -> None:
        self.count = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return Counter, ()

    def tally(self) -> int:
        return self.count


@dataclass(frozen=True)
class Square:
    """Task: the square of a number; may end its process at one of them."""

    counter: Counter = field(default_factory=Counter)
    deadly: int | None = None
    """Number at which the process ends."""
    marker: str = ""
    """Path of a file: the process ends only if it can be made. Empty to end each time."""
    seconds: float = 0.0

    def __call__(self, number: int) -> int:
        time.sleep(self.seconds)
        if number == self.deadly and (not self.marker or once(self.marker)):
            end_process()
        self.counter.count += 1
        return number * number

    def place(self, number: int) -> int:
        return number


@dataclass(frozen=True)
class Waiting:
    """Task: the number itself; one number waits until a file is there."""

    number: int
    marker: str

    def __call__(self, number: int) -> int:
        assert number != self.number or wait_for(lambda: Path(self.marker).exists())
        return number


@dataclass(frozen=True)
class Where:
    """Task: the process in which an item is worked on."""

    seconds: float = 0.0

    def __call__(self, _number: int) -> int:
        time.sleep(self.seconds)
        return os.getpid()

    def place(self, number: int) -> int:
        return number


@dataclass(frozen=True)
class Failing:
    """Task: raises an error at a number."""

    error: Exception
    at: int = 0

    def __call__(self, number: int) -> int:
        if number == self.at:
            raise self.error
        return number


@dataclass(frozen=True)
class Cached:
    """Task: writes an item into the cache of the worker; returns the folder of the cache."""

    cache: WorkerCache
    seconds: float = 0.0

    def __call__(self, number: int) -> str:
        import numpy as np

        from pipeline.engine.cache import Entry

        array = np.full(10_000, number)
        entry = Entry(f"item-{number}", array.dtype, array.shape)
        self.cache.write(entry, array)
        time.sleep(self.seconds)
        assert (self.cache.read(entry) == number).all()
        return str(getattr(self.cache._own, "folder", ""))


STAGES = {
    "sample": "pipeline.methods.sample:DrawFromBlock",
    "refine": "pipeline.methods.passes:MoveBlock",
    "label": "pipeline.labels.classify:LabelTask",
}
"""Task of each stage of a run."""


def end_at(stage: str, nth: int, marker: str) -> None:
    """Let this process, a worker, end when it has begun the nth block of a stage, if no other has (`once`)."""
    from pipeline.core.late_import import load

    task, left = load(STAGES[stage]), [nth]
    work = task.__call__

    def ending(self: Any, item: Any) -> Any:
        left[0] -= 1
        if not left[0] and once(marker):
            end_process()
        return work(self, item)

    task.__call__ = ending
