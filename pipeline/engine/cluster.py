"""An executor on a dask cluster: tasks are pure, so they may run anywhere, twice or late, and workers come and go.

Items are taken in shards of neighbours. Whoever works on a shard owns it from then on and is asked for it first, as
its caches hold the pixels; the shards of a worker that has gone are anyone's. What workers remember only saves time.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from itertools import islice
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from pipeline.core import libraries
from pipeline.core.errors import ClusterError
from pipeline.engine.executor import PerProcess
from pipeline.engine.parcels import Packer, Parcel, unpack
from pipeline.engine.signals import raise_pending_signal
from pipeline.engine.worker import Answer, NotOpenError, Opening, close_run, facts_of, no_part, open_run, run_task

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

TASKS_PER_THREAD: Final = 4
"""Most tasks per thread of a worker and pass, so that a scheduler has little to do."""


_AT_ONCE: Final = 2
"""Tasks of a thread: one in progress, and one that waits for it to end."""

_AHEAD: Final = 2
"""Tasks per task in progress whose results may wait for earlier ones, if results are in order."""

_FAILURES: Final = 4
"""Number of times that a worker may end while it works on a shard; then the shard is at fault."""

_POLL_SECONDS: Final = 0.2
"""Interval at which signals are checked while nothing is finished."""

_LOOK_SECONDS: Final = 1.0
"""Interval at which workers are counted."""

_NO_WORKER_SECONDS: Final = 60.0
"""Time to wait for a worker while there is none."""


def shards_per_task(shards: int, threads: int) -> int:
    """Shards of a task, so that a pass has about `TASKS_PER_THREAD` tasks per thread of all workers, and not more.

    Only if workers own different numbers of shards, there may be one more per worker.
    """
    return max(1, -(-shards // (TASKS_PER_THREAD * threads)))


@dataclass(eq=False)
class _Worker:
    """A worker of the cluster."""

    address: str
    threads: int
    lease: Any
    """Future of the `Lease`; while it is held, the run is open there."""
    is_open: bool = False
    sent: dict[str, "_Order"] = field(default_factory=dict)
    """Orders in progress, the first sent first, by the key of their future."""


@dataclass(eq=False)
class _Order:
    """Shards that a worker works on in one task, and the future of their results."""

    first: int
    """Number of the first item."""
    shards: list["_Shard"]
    future: Any = None


@dataclass(eq=False)
class _Shard:
    """Neighbouring items."""

    number: int
    """Number of the shard in the order of items."""
    first: int
    """Number of its first item."""
    items: list[Any]
    failures: int = 0
    """Number of times that its worker ended while it worked on it."""


class ClusterExecutor:
    """An `Executor` that runs tasks on the workers of a dask cluster.

    Parameters
    ----------
    client : distributed.Client
        Of the cluster. Its workers may change at any time.
    opening : Opening
        What each worker is told of the run.
    shard_items : int
        Number of items of a shard, which depends on the scene and its blocks only.
    items : int
        Number of items of a whole pass.
    threads : int
        Number of threads for work in this process.
    check : callable
        Called with the address of each worker and the facts that `opening.begin` returned there; raises if the worker
        can't take part.
    most_workers, most_threads : int, optional
        Largest number of workers (processes) that are used, and of threads of each.

    Raises
    ------
    ClusterError
        If there is no worker, or one can't open the run.
    """

    def __init__(
        self,
        client: Any,
        opening: Opening,
        *,
        shard_items: int,
        items: int,
        threads: int,
        check: Callable[[str, Any], None] = lambda _address, _facts: None,
        most_workers: int | None = None,
        most_threads: int | None = None,
    ) -> None:
        self._client = client
        self._opening = opening
        self._shard_items = shard_items
        self._shards = -(-items // shard_items)
        self._most_workers = most_workers
        self._packer = Packer()
        self._check = check
        self._most_threads = most_threads
        self._workers: dict[str, _Worker] = {}
        self._owners: dict[int, str] = {}
        self._tallies: dict[tuple[str, str], int] = {}
        self._finished: SimpleQueue[str] = SimpleQueue()
        self._parts: dict[str, Any] = {}
        """Futures of the parcels of parts, by name."""
        self._looked = 0.0
        self.threads = threads
        self.tasks = 0
        """Number of tasks that were sent."""

    def __enter__(self) -> Self:
        self._await_workers()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the run on all workers."""
        try:
            self._client.run(close_run, self._opening.run, workers=list(self._workers), on_error="ignore")
        except Exception as failure:  # noqa: BLE001 (the leases are released all the same)
            logger.debug("close_run: %s", failure)
        for worker in self._workers.values():
            worker.lease.release()
        self._workers.clear()
        self._parts.clear()

    @property
    def workers(self) -> int:
        """Number of threads of all workers on which the run is open."""
        return sum(worker.threads for worker in self._open_workers()) or 1

    def tally(self, part: PerProcess) -> int:
        """Sum of what the copies of a part have counted in all processes, also in those that have ended."""
        name = self._packer.name(part)
        return part.tally() + sum(count for (_, own), count in self._tallies.items() if own == name)

    def map(
        self, task: Callable[[Item], Result], items: Iterable[Item], *, ordered: bool = True
    ) -> Iterator[tuple[Item, Result]]:
        """Yield each item and its result, in the order of the items or, unless `ordered`, as they are finished."""
        for order, results in self._work(task, items, None, ordered=ordered):
            own = (item for shard in order.shards for item in shard.items)
            yield from zip(own, results, strict=True)

    def fold(
        self, task: Callable[[Item], Result], items: Iterable[Item], merge: Callable[[Result, Result], Result]
    ) -> Result:
        """Merge the results of all items, first on the workers, then here."""
        parts = [result for _, result in self._work(task, items, merge, ordered=False)]
        if not parts:
            msg = "fold: there are no items"
            raise ValueError(msg)
        merged: Result = reduce(merge, parts)
        return merged

    def _work(
        self,
        task: Callable[[Any], Any],
        items: Iterable[Any],
        merge: Callable[[Any, Any], Any] | None,
        *,
        ordered: bool,
    ) -> Iterator[tuple[_Order, Any]]:
        """Yield orders and their results."""
        parcel = self._packer.pack((task, merge))
        queue = _Queue(self._shards_of(items), self._owners, 1 if ordered else self._shards_per_order)
        early: dict[int, tuple[_Order, Any]] = {}
        following = 0
        try:
            while True:
                self._look(queue)
                self._send_all(queue, parcel, following + self._window if ordered else None)
                if not self._in_progress and not queue:
                    break
                for order, results in self._collect(queue):
                    if not ordered:
                        yield order, results
                        continue
                    early[order.first] = order, results
                while following in early:
                    order, results = early.pop(following)
                    following += sum(len(shard.items) for shard in order.shards)
                    yield order, results
        finally:
            self._cancel()

    @property
    def _shards_per_order(self) -> int:
        return shards_per_task(self._shards, self.workers)

    @property
    def _window(self) -> int:
        """Number of items from the next one to yield that may be in progress or waiting, if results are in order."""
        return self._shard_items * _AT_ONCE * (1 + _AHEAD) * self.workers

    @property
    def _in_progress(self) -> bool:
        return any(worker.sent for worker in self._workers.values())

    def _shards_of(self, items: Iterable[Any]) -> Iterator[_Shard]:
        """Yield the shards of items, which are taken as they are needed."""
        queue, number, first = iter(items), 0, 0
        while found := list(islice(queue, self._shard_items)):
            yield _Shard(number, first, found)
            number, first = number + 1, first + len(found)

    def _open_workers(self) -> list[_Worker]:
        return [worker for worker in self._workers.values() if worker.is_open]

    def _await_workers(self) -> None:
        """Wait until the run is open on all workers that the cluster has now."""
        end = time.monotonic() + _NO_WORKER_SECONDS
        self._look()
        while not self._workers or any(not worker.is_open for worker in self._workers.values()):
            if not self._workers and time.monotonic() > end:
                msg = f"{self._name}: no worker within {_NO_WORKER_SECONDS:g} s; start workers, then run again"
                raise ClusterError(msg)
            time.sleep(_POLL_SECONDS / 4)
            raise_pending_signal()
            self._looked = 0.0
            self._look()

    @property
    def _name(self) -> str:
        return str(self._client.scheduler.address if self._client.scheduler else "the cluster")

    def _look(self, queue: "_Queue | None" = None) -> None:
        """Notice workers that have gone, whose shards go back to the queue, and new ones, which open the run."""
        if self._looked and time.monotonic() < self._looked + _LOOK_SECONDS:
            return
        present = self._present()
        for address in self._workers.keys() - present.keys():
            self._lose(self._workers.pop(address), queue)
        for address, threads in present.items():
            if address not in self._workers and len(self._workers) < (self._most_workers or len(present)):
                lease = self._submit(address, open_run, self._packer.pack(self._opening).content)
                self._workers[address] = _Worker(address, min(threads, self._most_threads or threads), lease)
        for worker in self._workers.values():
            if not worker.is_open and worker.lease.done():
                self._begin(worker)
        if not self._workers and queue is not None and self._looked:
            self._await_workers()
        self._looked = time.monotonic()

    def _present(self) -> dict[str, int]:
        """Threads of each worker of the cluster, by address."""
        try:
            return dict(self._client.nthreads())
        except Exception as error:
            msg = f"{self._name}: the connection to the scheduler is lost ({error}); run again"
            raise ClusterError(msg) from error

    def _submit(self, address: str, function: Callable[..., Any], *args: Any) -> Any:
        return self._client.submit(function, *args, workers=[address], pure=False, retries=0)

    def _begin(self, worker: _Worker) -> None:
        """Check a worker on which the run was opened; raise ClusterError if it can't take part."""
        if worker.lease.status == "error":
            error = worker.lease.exception()
            if isinstance(error, ModuleNotFoundError):
                msg = f"the worker {worker.address} has no {error.name}; install the same versions there as here"
                raise ClusterError(msg) from error
            raise error
        if worker.lease.status != "finished":
            return  # it has gone: the next look drops it
        self._check(worker.address, self._submit(worker.address, facts_of, worker.lease).result())
        worker.is_open = True

    def _lose(self, worker: _Worker, queue: "_Queue | None") -> None:
        """Put the shards of a worker that has gone back into the queue."""
        logger.warning("the worker %s has gone; what it was working on is done by others", worker.address)
        for number, owner in list(self._owners.items()):
            if owner == worker.address:
                del self._owners[number]
        for place, order in enumerate(worker.sent.values()):
            order.future.release()
            for shard in order.shards if place < worker.threads else ():  # others were only waiting
                shard.failures += 1
                self._check_failures(shard)
        worker.lease.release()
        if queue is not None:
            queue.put_back((shard for order in worker.sent.values() for shard in order.shards), worker.address)

    def _check_failures(self, shard: _Shard) -> None:
        if shard.failures >= _FAILURES:
            what = f"{shard.items[0]}" if len(shard.items) == 1 else f"{shard.items[0]} to {shard.items[-1]}"
            msg = (
                f"{_FAILURES} workers ended while they worked on the same blocks ({what}); "
                "see their logs: do they have the memory that the plan states?"
            )
            raise ClusterError(msg)

    def _send_all(self, queue: "_Queue", parcel: Parcel, before: int | None) -> None:
        """Keep all workers busy."""
        waiting = True
        while waiting:  # by turns, so that all get their first before any has its second
            waiting = False
            for worker in sorted(self._open_workers(), key=lambda each: len(each.sent) / each.threads):
                if len(worker.sent) < _AT_ONCE * worker.threads and (shards := queue.take(worker.address, before)):
                    self._send(worker, shards, parcel)
                    waiting = True

    def _send(self, worker: _Worker, shards: list[_Shard], parcel: Parcel) -> None:
        """Send a worker the task and shards of its items."""
        items = self._packer.pack([item for shard in shards for item in shard.items]).content
        parts = self._packer.parcels(parcel)
        futures = [self._future_of(name, own) for name, own in parts.items()]
        future = self._submit(
            worker.address, run_task, self._opening.run, parcel.content, items, tuple(parts), *futures
        )
        for shard in shards:
            self._owners[shard.number] = worker.address
        worker.sent[future.key] = _Order(shards[0].first, shards, future)
        self.tasks += 1
        future.add_done_callback(self._on_done)

    def _on_done(self, future: Any) -> None:
        self._finished.put(future.key)

    def _future_of(self, name: str, parcel: Parcel) -> Any:
        """Future of a part's parcel: workers hand it on to each other, and it is made again if those have gone."""
        if name not in self._parts:
            self._parts[name] = self._client.submit(bytes, parcel.content, pure=False)
        return self._parts[name]

    def _collect(self, queue: "_Queue") -> Iterator[tuple[_Order, Any]]:
        """Yield a finished order and its results; wait for one, but not for long."""
        try:
            key = self._finished.get(timeout=_POLL_SECONDS)
        except Empty:
            return
        finally:
            raise_pending_signal()
        worker = next((each for each in self._workers.values() if key in each.sent), None)
        if worker is None:
            return  # that of a worker that has gone
        content = self._content(worker, key, queue)
        if content is None:
            return
        order = worker.sent.pop(key)
        order.future.release()
        answer: Answer = unpack(content, no_part)
        for name, count in answer.tallies.items():
            place = answer.process, name
            self._tallies[place] = max(count, self._tallies.get(place, 0))
        yield order, answer.results

    def _content(self, worker: _Worker, key: str, queue: "_Queue") -> bytes | None:
        """Return the results of a finished order as they were packed; None if they are lost, or not here yet."""
        future = worker.sent[key].future
        try:
            content: bytes = future.result(timeout=_NO_WORKER_SECONDS)
        except NotOpenError:  # the scheduler took the worker for dead, and it came back
            self._lose(self._workers.pop(worker.address), queue)
        except (libraries.distributed.CancelledError, libraries.distributed.KilledWorker):
            queue.put_back(worker.sent.pop(key).shards)
        except TimeoutError:
            self._finished.put(key)
        else:
            return content
        self._looked = 0.0
        return None

    def _cancel(self) -> None:
        """Take back what is in progress."""
        futures = [order.future for worker in self._workers.values() for order in worker.sent.values()]
        for worker in self._workers.values():
            worker.sent.clear()
        if futures:
            self._client.cancel(futures, force=True)


class _Queue:
    """The shards of a pass that no worker works on.

    Parameters
    ----------
    shards : iterator of _Shard
        All shards of the pass. They are taken as they are needed, if none has an owner.
    owners : mapping
        Address of the worker that owns a shard, by number.
    together : int
        Number of shards taken at once.
    """

    def __init__(self, shards: Iterator[_Shard], owners: Mapping[int, str], together: int) -> None:
        self._shards = shards
        self._together = together
        self._free: deque[_Shard] = deque()
        self._owned: dict[str, deque[_Shard]] = {}
        if owners:
            for shard in shards:
                owner = owners.get(shard.number)
                (self._owned.setdefault(owner, deque()) if owner else self._free).append(shard)

    def __bool__(self) -> bool:
        if not self._free:
            self._free.extend(islice(self._shards, 1))
        return bool(self._free) or any(self._owned.values())

    def take(self, address: str, before: int | None) -> list[_Shard]:
        """Return shards for a worker, those it owns first, that begin before an item; none if there are none."""
        taken: list[_Shard] = []
        while len(taken) < self._together:
            shards = self._for(address)
            if not shards or (before is not None and shards[0].first >= before):
                break
            if shards[0].failures and taken:
                break  # one that may be at fault is worked on alone
            taken.append(shards.popleft())
            if taken[-1].failures:
                break
        return taken

    def _for(self, address: str) -> deque[_Shard] | None:
        """Shards from which a worker takes its next: its own, those of none, or, if it came late, another's."""
        if own := self._owned.get(address):
            return own
        if self:
            if self._free:
                return self._free
            if address not in self._owned:
                longest = max(self._owned.values(), key=len)
                return longest if len(longest) > 1 else None
        return None

    def put_back(self, shards: Iterable[_Shard], owner: str = "") -> None:
        """Give back shards, and those that are left of an owner that has gone."""
        self._free = deque(sorted([*self._free, *shards, *self._owned.pop(owner, ())], key=lambda each: each.number))
