"""What runs on the workers of a cluster: opening of a run, its tasks, and its end. No state but what saves time."""

import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Final, Literal
from uuid import uuid4

from pipeline.core import libraries
from pipeline.core.errors import ClusterError, TerrazzoError
from pipeline.engine.cache import Array, Cache, Entry, MemoryCache, Window, open_cache
from pipeline.engine.executor import PerProcess
from pipeline.engine.inputs import given_inputs
from pipeline.engine.leftovers import remove_leftovers
from pipeline.engine.parcels import Packer, unpack
from pipeline.engine.time_limits import wait_until

_GIVE_BACK_SECONDS: Final = 0.1
"""Time after which a task is given back to the scheduler, so that it is not sent to and fro all the time."""


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What a worker needs to know of a run before its first task."""

    run: str
    """Name of the run."""
    context: Callable[[], AbstractContextManager[Any]]
    """Context of each task, entered on its thread: settings that a library has per thread."""
    begin: Callable[[], Any]
    """Called once on each worker: gets it ready for tasks, and returns picklable facts about it."""
    cache: Literal["none", "memory", "disk"]
    """Kind of the cache of each worker."""
    cache_dir: str | None
    """Folder on each worker for a cache on disk; None for the local folder of the worker."""
    threads: int | None = None
    """Largest number of tasks in progress on a worker, as memory is planned; None for all of its threads."""


class NotOpenError(LookupError):
    """A run, of this name, is not open on this worker, as it was when the task was sent."""


class RunOnWorker:
    """A run on this worker: its cache, and this process's copies of the parts of tasks."""

    def __init__(self, opening: Opening, folder: Path) -> None:
        self.opening = opening
        self.name = uuid4().hex
        """Name of this opening: a worker on which the run is opened again has another, and counts from 0."""
        self.closed = threading.Event()
        self._turns: AbstractContextManager[Any] = (
            threading.Semaphore(opening.threads) if opening.threads else nullcontext()
        )
        self._guard = threading.RLock()
        self._parts: dict[str, PerProcess] = {}
        self._closing = ExitStack()
        self.cache: Cache = MemoryCache()
        if opening.cache == "disk":
            self._closing.callback(remove_leftovers, folder)  # those of workers of this run that were killed, too
            self.cache = self._closing.enter_context(open_cache("disk", folder))

    def part(self, name: str, contents: Mapping[str, Any]) -> PerProcess:
        """Return this process's copy of a part, which is made when it is first needed."""
        with self._guard:
            if name not in self._parts:
                self._parts[name] = unpack(contents[name], lambda other: self.part(other, contents))
            return self._parts[name]

    def tallies(self) -> dict[str, int]:
        """What the copies of parts have counted so far, by name."""
        with self._guard:
            return {name: part.tally() for name, part in self._parts.items()}

    @contextmanager
    def task(self, inputs: Mapping[str, Any]) -> Iterator[None]:
        """Context of a task with its inputs, for the thread that enters it; waits while enough others are in progress.

        dask gives a worker tasks for each of its threads, also where memory is planned for fewer.
        """
        with self._turns, self.opening.context(), _named(), _stopping(self.closed), given_inputs(inputs):
            yield

    def each(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yield items until the run is closed; then raise NotOpenError, as nobody waits for the results."""
        for item in items:
            if self.closed.is_set():
                raise NotOpenError(self.opening.run)
            yield item

    def close(self) -> None:
        """End the tasks in progress and remove the cache."""
        self.closed.set()
        with self._guard:
            self._parts.clear()
        self._closing.close()


_runs: dict[str, RunOnWorker] = {}
"""Runs that are open on this worker, by name."""


class Lease:
    """Keeps a run open on a worker: the run is closed when the future of this object is released.

    A client's futures are released at its end, however that comes about, and a worker's objects go with the worker.
    """

    def __init__(self, opening: Opening, folder: Path) -> None:
        self.facts = opening.begin()
        run = RunOnWorker(opening, folder)
        _runs[opening.run] = run
        self._close = weakref.finalize(self, _close, run)


def _close(run: RunOnWorker) -> None:
    if _runs.get(run.opening.run) is run:
        del _runs[run.opening.run]
    run.close()


def is_here() -> bool:
    """Return True: a worker that can call this has the package."""
    return True


def open_run(content: bytes) -> Lease:
    """Open a run on this worker; the result stays here."""
    worker = libraries.distributed.get_worker()
    opening: Opening = unpack(content, no_part)
    with _named():
        return Lease(opening, Path(opening.cache_dir or worker.local_directory))


def facts_of(lease: Lease) -> Any:
    """Return what a worker said when the run was opened."""
    return lease.facts


def close_run(name: str) -> None:
    """Close a run on this worker, if it is open."""
    if run := _runs.get(name):
        _close(run)


@dataclass(frozen=True)
class Answer:
    """Result of a task on some items."""

    results: Any
    """Results of all items in their order, or all merged into one."""
    tallies: Mapping[str, int]
    """What the worker has counted since it opened the run, by name of the part."""
    process: str
    """Name of the opening: `RunOnWorker.name`."""


def run_task(run: str, content: bytes, items: bytes, names: tuple[str, ...], *values: Any) -> bytes:
    """Apply a task to items, and return the `Answer` in a parcel.

    Parameters
    ----------
    run : str
        Name of the run, which is open on this worker.
    content : bytes
        Parcel of the task, and the function that merges two results, or None.
    items : bytes
        Parcel of the items.
    names, values
        Names of the parts and inputs that the task needs, parcels of the parts, and the inputs.
    """
    opened = _runs.get(run)
    if opened is None:
        raise NotOpenError(run)
    contents = dict(zip(names, values, strict=True))
    with opened.task(contents):
        task, merge = unpack(content, lambda name: opened.part(name, contents))
        results = map(task, opened.each(unpack(items, no_part)))
        done = list(results) if merge is None else reduce(merge, results)
    return Packer().pack(Answer(done, opened.tallies(), opened.name)).content


@dataclass(frozen=True)
class LazyTask:
    """A task of a run for a graph of dask's: its result is computed, and stays, on some worker."""

    run: str
    """Name of the run."""
    content: bytes
    """Parcel of the task."""
    parts: Mapping[str, bytes]
    """Parcels of the parts that the task needs, by name."""


def run_lazily(lazy: LazyTask, item: Any, names: Sequence[str], *inputs: Any) -> Any:
    """Apply a task to an item, whose inputs have these names; a worker on which its run is not open gives it back.

    So it does if the run was closed meanwhile, with the cache that the task needs.
    """
    opened = _runs.get(lazy.run)
    if opened is None:
        time.sleep(_GIVE_BACK_SECONDS)
        raise libraries.distributed.Reschedule
    given = dict(zip(names, inputs, strict=True))
    try:
        with opened.task(given):
            return unpack(lazy.content, lambda name: opened.part(name, lazy.parts))(item)
    except Exception as error:
        if opened.closed.is_set():
            raise libraries.distributed.Reschedule from error
        raise


def no_part(name: str) -> PerProcess:
    """Raise LookupError: of a parcel without parts."""
    msg = f"{name}: this parcel has no parts"
    raise LookupError(msg)


@contextmanager
def _stopping(stopped: threading.Event) -> Iterator[None]:
    """Let this thread stop waiting for remote requests at an event."""
    wait_until(stopped)
    try:
        yield
    finally:
        wait_until(threading.Event())


@contextmanager
def _named() -> Iterator[None]:
    """Name this worker in errors, because files and disks differ from machine to machine."""
    try:
        yield
    except TerrazzoError as error:
        here = f" (on the worker {libraries.distributed.get_worker().address})"
        message, *others = error.args
        if not message.endswith(here):  # threads that wait for the same block raise the same error
            error.args = (message + here, *others)
        raise _without_cause(error)  # noqa: B904
    except Exception as error:  # noqa: BLE001 (raised again)
        error.add_note(f"on the worker {libraries.distributed.get_worker().address}")
        raise _without_cause(error)  # noqa: B904


def _without_cause(error: Exception) -> Exception:
    """Return an error with its cause in words: those of GDAL can't be pickled, nor can then what they have led to."""
    if cause := error.__cause__ or error.__context__:
        error.add_note(f"caused by {cause!r}")
    error.__cause__ = error.__context__ = None
    return error


@dataclass(frozen=True)
class WorkerCache:
    """A `Cache` on each worker, of which this is the name: in a task it is that of the worker."""

    run: str
    """Name of the run."""

    @property
    def _own(self) -> Cache:
        run: RunOnWorker | None = _runs.get(self.run)
        if run is None:
            msg = f"run {self.run}: its cache is on workers only"
            raise ClusterError(msg)
        return run.cache

    def holds(self, entry: Entry) -> bool:
        """Whether this worker has an array."""
        return self._own.holds(entry)

    def write(self, entry: Entry, array: Array) -> None:
        """Store an array on this worker."""
        self._own.write(entry, array)

    def read(self, entry: Entry, window: Window = (), out: Array | None = None) -> Array:
        """Return a part of an array from this worker."""
        return self._own.read(entry, window, out)

    def update(self, entry: Entry, window: Window, part: Array) -> None:
        """Overwrite a part of an array on this worker."""
        self._own.update(entry, window, part)

    def drop(self, entry: Entry) -> None:
        """Remove an array from this worker."""
        self._own.drop(entry)
