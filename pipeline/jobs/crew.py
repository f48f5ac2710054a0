"""The cluster that a run uses (`run.cluster`): a client of its scheduler, and how many workers it has."""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from pipeline.config.schema import ResourceConfig
from pipeline.core import libraries
from pipeline.core.errors import ClusterError, ConfigError
from pipeline.engine.cluster_workers import NO_WORKER_SECONDS
from pipeline.engine.executor import count_workers
from pipeline.engine.signals import raise_pending_signal
from pipeline.engine.worker import WorkerCache
from pipeline.methods.registry import method_of
from pipeline.methods.settings import SampleSettings

_CONNECT_SECONDS: Final = 30.0
"""Time limit for the connection to a scheduler."""

_POLL_SECONDS: Final = 0.2
"""Interval at which workers are looked for."""


@dataclass(frozen=True)
class Crew:
    """The processes that a run uses besides its own."""

    processes: int
    """Number of workers that there are when the run begins."""
    threads: int
    """Number of threads of each; the largest, if they differ."""
    client: Any = field(default=None, repr=False)
    """Client of the cluster; None if it is not started, but only planned for."""
    is_local: bool = False
    """Whether the workers were started on this machine."""
    most_processes: int | None = None
    """Largest number of workers that are used, with those that come later; None for all."""
    run: str = field(default_factory=lambda: uuid4().hex[:12])
    """Name of the run on the workers."""

    @property
    def cache(self) -> WorkerCache:
        """The cache of each worker."""
        return WorkerCache(self.run)


@contextmanager
def open_crew(resources: ResourceConfig, *, start: bool = True) -> Iterator[Crew | None]:
    """Connect to the cluster of a config, or start one that ends with the context; None to use threads alone.

    Parameters
    ----------
    resources : ResourceConfig
        `cluster`, `workers` and `cache_dir` are used.
    start : bool
        Whether processes are started; otherwise their number is known, and there is no client.

    Raises
    ------
    ClusterError
        If the scheduler can't be reached, or processes can't be started.
    ConfigError
        If the scheduler file does not exist.
    """
    which = resources.cluster
    with ExitStack() as context:
        if which == "none":
            yield None
        elif which == "auto":
            client = _client_in_force()
            yield crew_of(client, resources, start=start) if client else None
        elif which == "processes":
            count = count_workers(resources.workers)
            client = context.enter_context(_processes(count)) if start else None
            yield Crew(count, 1, client, is_local=True)
        else:
            yield crew_of(context.enter_context(_connected(which)), resources, start=start)


def _client_in_force() -> Any:
    """Return the client that the program has made current; None without one, and inside a task of a worker."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        distributed.get_worker()
    except ValueError:
        pass
    else:
        return None
    try:
        return distributed.Client.current()
    except ValueError:
        return None


def crew_of(client: Any, resources: ResourceConfig, *, start: bool) -> Crew:
    """Count the workers of a client's cluster; wait for the first, if there are none and a run is to start."""
    end, asked = time.monotonic() + (NO_WORKER_SECONDS if start else 0), None
    while not (threads := _threads_of(client)):
        if time.monotonic() >= end:
            msg = f"run.cluster: {client.scheduler.address} has no workers; start some, then run again"
            raise ClusterError(msg)
        asked = asked or client.submit(int, pure=False)  # an adaptive cluster starts workers for tasks only
        time.sleep(_POLL_SECONDS)
        raise_pending_signal()
    most = None if resources.workers == "auto" else resources.workers
    return Crew(min(len(threads), most or len(threads)), max(threads), client, most_processes=most)


def _threads_of(client: Any) -> list[int]:
    """Return the number of threads of each worker of a client's cluster."""
    for state, is_so in (("asynchronous", client.asynchronous), ("closed", client.status == "closed")):
        if is_so:
            msg = f"the current dask client is {state}; use one that is open and not asynchronous, or threads"
            raise ClusterError(msg)
    try:
        return list(client.nthreads().values())
    except Exception as error:  # as a client raises many kinds when its scheduler has gone
        msg = f"the scheduler of the dask client has gone ({error}); connect again, or use threads"
        raise ClusterError(msg) from error


@contextmanager
def _processes(count: int) -> Iterator[Any]:
    """Start processes of one thread each on this machine, and yield a client of them."""
    distributed = libraries.distributed
    settings = {
        "distributed.worker.memory.terminate": False,
        "distributed.worker.memory.pause": False,
        # dask sets a threshold of malloc, too, with which each array takes fresh pages: more processor time
        "distributed.nanny.pre-spawn-environ": {"OMP_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1},
    }
    with ExitStack() as context:
        context.enter_context(libraries.dask_config.set(settings))
        try:
            with _keyboard_signals_held():
                cluster = distributed.LocalCluster(
                    n_workers=count,
                    threads_per_worker=1,
                    dashboard_address="127.0.0.1:0",  # with None the usual port is tried, which may be in use
                    memory_limit=0,
                    silence_logs=40,
                )
        except RuntimeError as error:
            msg = (
                f"run.cluster: processes: they can't be started ({error}); a script that runs Terrazzo needs the line "
                "if __name__ == '__main__': above the call, as each process imports it"
            )
            raise ClusterError(msg) from error
        context.enter_context(cluster)
        yield context.enter_context(distributed.Client(cluster, set_as_default=False))


@contextmanager
def _keyboard_signals_held() -> Iterator[None]:
    """Hold back Ctrl-C until the context ends; processes that are started in it never get it from their terminal.

    This process ends them, in order; else each would print that it was interrupted.
    """
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    resource_tracker.ensure_running()  # its start would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _connected(where: str) -> Iterator[Any]:
    """Connect to a scheduler by its address, or by its file."""
    address = where if "://" in where else _address_in(Path(where))
    try:
        with ThreadPoolExecutor(1) as other:  # this thread may have an event loop that runs, as in a notebook
            other.submit(asyncio.run, _greet(address)).result()
        # not the default of the program: a client that fails to connect would stay that
        client = libraries.distributed.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except Exception as error:  # each of dask's protocols has errors of its own
        reason = str(error) or "something else listens there"
        msg = (
            f"run.cluster: {where}: no scheduler answers ({reason}); start one with dask scheduler, or mend the address"
        )
        raise ClusterError(msg) from error
    with client:
        yield client


async def _greet(address: str) -> None:
    """Connect to a scheduler and disconnect; raise TimeoutError, without a text, if something else listens there.

    A client waits for ever for the first answer, for instance of the dashboard.
    """
    distributed: Any = libraries.distributed
    how = distributed.Security().get_connection_args("client")
    connecting = distributed.comm.connect(address, timeout=_CONNECT_SECONDS, **how)
    connection = await asyncio.wait_for(connecting, _CONNECT_SECONDS + 1)
    connection.abort()


def _address_in(path: Path) -> str:
    """Return the address of the scheduler that has written a file."""
    if not path.is_file():
        msg = (
            f"run.cluster: {path}: not a file; expected auto, none, processes, the address of a scheduler such as "
            "tcp://host:8786, or the path of a scheduler file"
        )
        raise ConfigError(msg)
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        msg = f"run.cluster: {path}: can't be read as a scheduler file ({error}); name the file of a scheduler"
        raise ConfigError(msg) from error
    address = found.get("address") if isinstance(found, dict) else None
    if not isinstance(address, str):
        msg = f"run.cluster: {path}: not a scheduler file, because it holds no address; name the file of a scheduler"
        raise ConfigError(msg)
    return address


def check_spreads(crew: Crew | None, fit: SampleSettings) -> None:
    """Raise ConfigError if a crew is used for a fit whose blocks depend on each other."""
    if crew and method_of(fit).streams(fit):
        msg = (
            f"fit.pixels: all: each batch of {fit.method} depends on the one before, so it can't be spread over a "
            "cluster; use fit.method: kmeans, a sample, or run.cluster: none"
        )
        raise ConfigError(msg)
