"""An executor on a dask cluster: tasks are pure, so they may run anywhere, twice or late, and workers come and go.

Items are taken in shards of neighbours. Whoever works on an item owns it from then on and is asked for it first, as
its caches hold the pixels; the items of a worker that has gone are anyone's. What workers remember only saves time.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import reduce
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from pipeline.core import libraries
from pipeline.core.errors import ClusterError
from pipeline.engine.executor import PerProcess
from pipeline.engine.inputs import Inputs, NotGivenError
from pipeline.engine.parcels import Packer, Parcel, unpack
from pipeline.engine.shards import Shard, ShardQueue
from pipeline.engine.signals import raise_pending_signal
from pipeline.engine.worker import (
    Answer,
    LazyTask,
    NotOpenError,
    Opening,
    close_run,
    facts_of,
    is_here,
    no_part,
    open_run,
    run_task,
)

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
"""Number of times that a worker may end while it works on a shard, or opens the run; then the work is at fault."""

_POLL_SECONDS: Final = 0.2
"""Interval at which signals are checked while nothing is finished."""

_LOOK_SECONDS: Final = 1.0
"""Interval at which workers are counted."""

NO_WORKER_SECONDS: Final = 60.0
"""Time to wait for a worker while there is none."""

_TRANSFER_SECONDS: Final = 5.0
"""Time to wait for results that are finished before workers are counted again; doubled each time."""

_ANSWER_SECONDS: Final = 10.0
"""Time to wait for workers to answer that they can take part, or have closed the run."""


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
    facts: Any
    """Future of what the worker said when it opened the run."""
    is_open: bool = False
    is_late: bool = False
    """Whether it came after the run had begun."""
    sent: dict[str, "_Order"] = field(default_factory=dict)
    """Orders in progress, the first sent first, by the key of their future."""
    given: set[str] = field(default_factory=set)
    """Names of the inputs that it was given with orders that are finished."""

    @property
    def has_suspect(self) -> bool:
        """Whether it works on a shard that may have ended another worker."""
        return any(shard.failures for order in self.sent.values() for shard in order.shards)

    def release(self) -> None:
        """Let go of all that the worker holds for the run."""
        for future in (self.facts, self.lease, *(order.future for order in self.sent.values())):
            future.release()


@dataclass(eq=False)
class _Pass:
    """A pass over all items."""

    task: Callable[[Any], Any]
    parcel: Parcel
    """The task, and the function that merges its results."""
    inputs: Inputs
    """Inputs of its items."""
    queue: ShardQueue
    yielded: int = 0
    """Number of items whose results were yielded."""
    complete: int = 0
    """Number of items before the first one that is not finished."""
    _finished: dict[int, int] = field(default_factory=dict)
    """Numbers of items of finished shards after that one, by the number of their first item."""

    def note(self, order: "_Order") -> None:
        """Note that the items of an order are finished."""
        self._finished.update((shard.first, len(shard.items)) for shard in order.shards)
        while self.complete in self._finished:
            self.complete += self._finished.pop(self.complete)


@dataclass(eq=False)
class _Order:
    """Shards that a worker works on in one task, and the future of their results."""

    shards: list[Shard]
    future: Any
    seconds: float = _TRANSFER_SECONDS
    """Time to wait for the results once they are finished."""
    inputs: tuple[str, ...] = ()
    """Names of the inputs that go with it."""
    is_complete: bool = True
    """Whether all inputs go with it: none was left out because the worker was given it before."""

    @property
    def first(self) -> int:
        """Number of the first item."""
        return self.shards[0].first

    @property
    def items(self) -> list[Any]:
        """All items in their order."""
        return [item for shard in self.shards for item in shard.items]


def _unable(address: str, error: Exception) -> ClusterError:
    """Return the error of a worker that lacks this package, or one that it needs."""
    return ClusterError(f"the worker {address} can't load terrazzo ({error}); install the same versions there as here")


class ClusterExecutor:
    """An `Executor` that runs tasks on the workers of a dask cluster. One pass at a time.

    Parameters
    ----------
    client : distributed.Client
        Of the cluster. Its workers may change at any time.
    opening : Opening
        What each worker is told of the run.
    shard_items : int
        Number of items of a shard, which depends on the scene and its blocks only.
    answer_items : int
        Largest number of items whose results a task may return one by one, but at least a shard: the memory for them.
    items : int
        Number of items of a whole pass.
    threads : int
        Number of threads for work in this process.
    check : callable
        Called with the address of each worker and the facts that `opening.begin` returned there; raises if the worker
        can't take part. A worker that comes later is left out then.
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
        answer_items: int,
        items: int,
        threads: int,
        check: Callable[[str, Any], None] = lambda _address, _facts: None,
        most_workers: int | None = None,
        most_threads: int | None = None,
    ) -> None:
        self._client = client
        self._killed_error: type[Exception] = libraries.distributed.KilledWorker
        self._cancelled_error: type[Exception] = libraries.distributed.CancelledError
        self._opening = opening
        self._shard_items = shard_items
        self._answer_items = answer_items
        self._shards = -(-items // shard_items)
        self._most_workers = most_workers
        self._packer = Packer()
        self._check = check
        self._most_threads = most_threads
        self._workers: dict[str, _Worker] = {}
        self._left_out: set[str] = set()
        """Addresses of workers that can't take part."""
        self._has_begun = False
        self._failed_openings = 0
        """Number of workers that ended while they opened the run, since one did open it."""
        self._owners: dict[Hashable, str] = {}
        """Address of the worker that owns what is kept under a key."""
        self._tallies: dict[tuple[str, str], int] = {}
        self._finished: SimpleQueue[str] = SimpleQueue()
        self._parts: dict[str, Any] = {}
        """Futures of the parcels of parts, by name."""
        self._looked = 0.0
        self._pass: _Pass | None = None
        """The pass that has begun last."""
        self.threads = threads
        self.tasks = 0
        """Number of tasks that were sent."""

    def __enter__(self) -> Self:
        try:
            self._await_workers()
        except BaseException:
            self._close()
            raise
        self._has_begun = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the run on all workers."""
        self._close()

    def _close(self) -> None:
        """Close the run on all workers, and wait for them, but not long: one that hangs closes it when it goes on."""
        addresses = list(self._workers)

        async def close() -> None:
            await self._client.run(close_run, self._opening.run, workers=addresses, on_error="ignore")

        try:
            if addresses:
                self._client.sync(close, callback_timeout=_ANSWER_SECONDS)
        except Exception as failure:  # noqa: BLE001 (the leases are released all the same)
            logger.debug("close_run: %s", failure)
        for worker in self._workers.values():
            worker.release()
        self._workers.clear()
        self._parts.clear()
        self._owners.clear()

    @property
    def workers(self) -> int:
        """Number of threads of all workers on which the run is open."""
        return sum(worker.threads for worker in self._open_workers()) or 1

    def tally(self, part: PerProcess) -> int:
        """Sum of what the copies of a part have counted in all processes, also in those that have ended."""
        name = self._packer.name(part)
        return part.tally() + sum(count for (_, own), count in self._tallies.items() if own == name)

    def map(
        self, task: Callable[[Item], Result], items: Iterable[Item], *, ordered: bool = True, window: int | None = None
    ) -> Iterator[tuple[Item, Result]]:
        """Yield each item and its result, in the order of the items or, unless `ordered`, as they are finished.

        Results stay on the workers until they are consumed; those of few shards at a time if there is a `window`. So
        the memory of this process does not depend on the number of workers, unless results are ordered.
        """
        for order, results in self._work(task, items, None, ordered=ordered, window=window):
            yield from zip(order.items, results, strict=True)

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

    @property
    def client(self) -> Any:
        """The client of the cluster."""
        return self._client

    def lazy(self, task: Callable[[Any], Any]) -> tuple[LazyTask, Inputs]:
        """Return a task for graphs of dask's, where `run_lazily` applies it to an item, and the inputs of its items."""
        packed = self._packer.pack(task)
        parts = self._packer.parcels(packed)
        lazy = LazyTask(self._opening.run, packed.content, {name: own.content for name, own in parts.items()})
        return lazy, Inputs(self._packer.parts(packed))

    def owner(self, place: Hashable) -> str | None:
        """Address of the worker whose cache has the pixels of this key; None if there is none."""
        return self._owners.get(place)

    def compute_graph(self, graph: Any, keys: Any, **how: Any) -> Any:
        """Compute a graph, as a scheduler of dask does; meanwhile the run is opened on workers that come."""
        packed = self._client.get(graph, keys, sync=False, **how)
        waiting = libraries.distributed.futures_of(packed)
        while waiting:
            raise_pending_signal()
            self._look()
            if not self._open_workers():
                self._await_workers()
            try:
                waiting = libraries.distributed.wait(waiting, timeout=_LOOK_SECONDS).not_done
            except TimeoutError:
                continue
        return self._client.gather(packed)

    def _work(
        self,
        task: Callable[[Any], Any],
        items: Iterable[Any],
        merge: Callable[[Any, Any], Any] | None,
        *,
        ordered: bool,
        window: int | None = None,
    ) -> Iterator[tuple[_Order, Any]]:
        """Yield orders and their results."""
        self._cancel()  # what a pass has left that was not consumed to its end
        parcel = self._packer.pack((task, merge))
        inputs = Inputs(self._packer.parts(parcel))
        together = self._together(alone=ordered or inputs.always, streamed=window is not None)
        work = _Pass(task, parcel, inputs, self._queue(task, items, together, apart=bool(inputs)))
        self._pass = work
        early: dict[int, tuple[_Order, bytes]] = {}
        try:
            while self._goes_on(work):
                self._look(work)
                self._send_all(work, None if merge else self._end(work, None if ordered else window, together))
                if found := self._collect(work):
                    work.note(found[0])
                    early[found[0].first if ordered else work.yielded] = found
                while work.yielded in early:
                    order, content = early.pop(work.yielded)
                    work.yielded += sum(len(shard.items) for shard in order.shards)
                    yield order, self._results(content)
        finally:
            if self._pass is work:
                self._cancel()

    def _goes_on(self, work: "_Pass") -> bool:
        """Whether a pass has items that are in progress, or were not sent."""
        if self._pass is not work:
            msg = "the executor has begun another pass"
            raise RuntimeError(msg)
        return any(worker.sent for worker in self._workers.values()) or bool(work.queue)

    def _queue(self, task: Callable[[Any], Any], items: Iterable[Any], together: int, *, apart: bool) -> ShardQueue:
        """Make the queue of a pass, whose items have inputs if shards are taken apart."""
        key_of = getattr(task, "place", None)
        if not key_of or not self._owners:
            return ShardQueue(items, self._shard_items, together=together, apart=apart)
        owners = self._owners
        return ShardQueue(
            items,
            self._shard_items,
            lambda item: owners.get(key_of(item)),
            Counter(owners.values()),
            together,
            apart=apart,
        )

    def _together(self, *, alone: bool, streamed: bool) -> int:
        """Number of shards of an order: many, so that orders are few, as long as their results are small."""
        together = 1 if alone else shards_per_task(self._shards, self.workers)
        return min(together, max(1, self._answer_items // self._shard_items)) if streamed else together

    def _end(self, work: "_Pass", window: int | None, together: int) -> int:
        """Number of items of a pass that may be taken: those that were yielded, and some in progress or waiting."""
        ahead = self._shard_items * together * _AT_ONCE * (1 + _AHEAD) * self.workers
        return work.yielded + ahead if window is None else min(work.yielded + ahead, work.complete + window)

    def _open_workers(self) -> list[_Worker]:
        return [worker for worker in self._workers.values() if worker.is_open]

    def _await_workers(self) -> None:
        """Wait until the run is open on all workers that the cluster has now; after a while, on one of them."""
        end, has_waited = time.monotonic() + NO_WORKER_SECONDS, False
        while True:
            self._looked = 0.0
            self._look()
            ready = self._open_workers()
            if ready and (len(ready) == len(self._workers) or has_waited):
                return
            if not has_waited and time.monotonic() > end:
                has_waited = True
                if self._workers:
                    logger.warning("%s: waiting for the workers, which are busy", self._name)
            if has_waited and not self._workers:
                msg = f"{self._name}: no worker within {NO_WORKER_SECONDS:g} s; start workers, then run again"
                raise ClusterError(msg)
            time.sleep(_POLL_SECONDS / 4)
            raise_pending_signal()

    @property
    def _name(self) -> str:
        return str(self._client.scheduler.address if self._client.scheduler else "the cluster")

    def _look(self, work: "_Pass | None" = None) -> None:
        """Notice workers that have gone, whose shards go back to the queue, and new ones, which open the run."""
        if self._looked and time.monotonic() < self._looked + _LOOK_SECONDS:
            return
        present = self._present()
        for address in self._workers.keys() - present.keys():
            self._lose(address)
        for address in self._able(present.keys() - self._workers.keys() - self._left_out):
            if len(self._workers) < (self._most_workers or len(present)):
                self._open(address, present[address])
        for worker in list(self._workers.values()):
            if not worker.is_open and worker.facts.done():
                self._begin(worker)
        if work and not self._open_workers():
            self._await_workers()
        self._looked = time.monotonic()

    def _present(self) -> dict[str, int]:
        """Threads of each worker of the cluster, by address."""
        try:
            return dict(self._client.nthreads())
        except Exception as error:
            raise self._lost_scheduler(error) from error

    def _submit(self, address: str | None, function: Callable[..., Any], *args: Any, priority: int = 0) -> Any:
        """Return the future of a call on a worker, or on any."""
        try:
            return self._client.submit(function, *args, workers=address, pure=False, retries=0, priority=priority)
        except Exception as error:
            raise self._lost_scheduler(error) from error

    def _lost_scheduler(self, error: Exception) -> ClusterError:
        return ClusterError(f"{self._name}: the connection to the scheduler is lost ({error}); run again")

    def _able(self, addresses: set[str]) -> list[str]:
        """Return the workers that have this package: a task of a package that a worker lacks would end it."""

        async def ask(address: str) -> Any:
            return (await self._client.run(is_here, workers=[address], on_error="return")).get(address)

        async def ask_all() -> list[Any]:
            asked = (asyncio.wait_for(ask(address), _ANSWER_SECONDS) for address in order)
            return await asyncio.gather(*asked, return_exceptions=True)

        order = sorted(addresses)
        if not order or len(self._workers) == self._most_workers:
            return []
        try:
            answers = dict(zip(order, self._client.sync(ask_all), strict=True))
        except Exception as error:
            raise self._lost_scheduler(error) from error
        for address, answer in answers.items():
            if isinstance(answer, Exception) and not isinstance(answer, OSError):  # which includes a TimeoutError
                self._refuse(address, _unable(address, answer))
        return [address for address, answer in answers.items() if answer is True]  # others are asked again

    def _refuse(self, address: str, error: Exception) -> None:
        """Raise the error of a worker that can't take part; if the run has begun without it, leave it out."""
        if not self._has_begun:
            raise error
        logger.warning("the worker %s is not used: %s", address, error)
        self._left_out.add(address)

    def _open(self, address: str, threads: int) -> None:
        """Ask a worker to open the run."""
        # before tasks of a graph, which workers give back while the run is not open there
        lease = self._submit(address, open_run, self._packer.pack(self._opening).content, priority=1)
        facts = self._submit(address, facts_of, lease, priority=1)
        self._workers[address] = _Worker(address, min(threads, self._most_threads or threads), lease, facts)

    def _begin(self, worker: _Worker) -> None:
        """Check a worker on which the run was opened; raise an error if it can't take part."""
        if worker.facts.status == "cancelled":  # by a restart of the cluster: the next look opens the run again
            self._workers.pop(worker.address).release()
            return
        try:
            self._check(worker.address, self._facts(worker))
        except TimeoutError:
            return  # its answer is under way, or it has gone: the next look drops it
        except Exception as error:  # noqa: BLE001 (raised again)
            self._refuse(worker.address, error)
            self._workers.pop(worker.address).release()
            return
        worker.is_open, worker.is_late, self._failed_openings = True, self._has_begun, 0

    def _facts(self, worker: _Worker) -> Any:
        """Return what a worker said when it opened the run; raise TimeoutError if that is not here."""
        if worker.facts.status not in {"finished", "error"}:
            raise TimeoutError
        try:
            return worker.facts.result(timeout=_TRANSFER_SECONDS)
        except ModuleNotFoundError as error:
            raise _unable(worker.address, error) from error
        except self._killed_error as error:
            raise self._openings_failed(worker.address) from error
        except RuntimeError as error:
            if "deserialization of the task graph" not in str(error):
                raise
            msg = (
                f"{self._name}: the scheduler can't read the tasks ({error.__cause__ or 'another environment'}); it "
                "needs the same versions of terrazzo and dask as this machine"
            )
            raise ClusterError(msg) from error

    def _lose(self, address: str) -> None:
        """Put the shards of a worker that has gone back into the queue."""
        worker = self._workers.pop(address)
        logger.warning("the worker %s has gone; what it was working on is done by others", address)
        for key in [key for key, owner in self._owners.items() if owner == address]:
            del self._owners[key]
        orders = list(worker.sent.values())
        for order in orders:
            if order.future.status == "pending":  # it may only have waited: next time it is worked on alone
                self._count_failure(order)
        worker.release()
        if self._pass:
            self._pass.queue.put_back((shard for order in orders for shard in order.shards), address)
        if not worker.is_open:
            self._failed_openings += 1
            if self._failed_openings >= _FAILURES:
                raise self._openings_failed(address)

    def _openings_failed(self, address: str) -> ClusterError:
        which = f"the last at {address}; see their logs"
        return ClusterError(f"{_FAILURES} workers ended while they opened the run, {which}")

    def _count_failure(self, order: _Order) -> None:
        """Count that a worker has ended while it worked on an order; raise ClusterError after too many times."""
        for shard in order.shards:
            shard.failures += 1
            if shard.failures >= _FAILURES:
                msg = (
                    f"{_FAILURES} workers ended while they worked on the same blocks ({shard}); "
                    "see their logs: do they have the memory that the plan states?"
                )
                raise ClusterError(msg)

    def _send_all(self, work: _Pass, before: int | None) -> None:
        """Keep all workers busy."""
        waiting = True
        while waiting:  # by turns, so that all get their first before any has its second
            waiting = False
            for worker in sorted(self._open_workers(), key=lambda each: len(each.sent) / each.threads):
                if len(worker.sent) >= _AT_ONCE * worker.threads or worker.has_suspect:
                    continue
                if shards := work.queue.take(
                    worker.address, before, from_others=worker.is_late, is_idle=not worker.sent
                ):
                    self._send(worker, shards, work)
                    waiting = True

    def _send(self, worker: _Worker, shards: list[Shard], work: _Pass) -> None:
        """Send a worker the task and shards of its items, which it owns from then on, with inputs that it lacks."""
        order = _Order(shards, None)
        parts = self._packer.parcels(work.parcel)
        futures = [self._future_of(name, own) for name, own in parts.items()]
        inputs = work.inputs.of(order.items)
        order.inputs = tuple(name for name in inputs if work.inputs.always or name not in worker.given)
        order.is_complete = len(order.inputs) == len(inputs)
        futures += self._compute([inputs[name]() for name in order.inputs], worker.address)
        items, names = self._packer.pack(order.items).content, (*parts, *order.inputs)
        order.future = self._submit(
            worker.address, run_task, self._opening.run, work.parcel.content, items, names, *futures
        )
        if key_of := getattr(work.task, "place", None):
            keys = {key_of(item) for item in order.items} - {None}
            self._owners.update(dict.fromkeys(keys, worker.address))
        worker.sent[order.future.key] = order
        self.tasks += 1
        order.future.add_done_callback(self._on_done)

    def _on_done(self, future: Any) -> None:
        self._finished.put(future.key)

    def _future_of(self, name: str, parcel: Parcel) -> Any:
        """Future of a part's parcel: workers hand it on to each other, and it is made again if those have gone."""
        if name not in self._parts:
            self._parts[name] = self._submit(None, bytes, parcel.content)
        return self._parts[name]

    def _compute(self, collections: list[Any], address: str) -> list[Any]:
        """Futures of lazy collections, computed on a worker, or on others if that has gone."""
        if not collections:
            return []
        futures: list[Any] = self._client.compute(
            collections, workers=[address], allow_other_workers=True, traverse=False
        )
        return futures

    def _collect(self, work: _Pass) -> tuple[_Order, bytes] | None:
        """Return a finished order and its results as they were packed; wait for one, but not for long."""
        try:
            key = self._finished.get(timeout=_POLL_SECONDS)
        except Empty:
            return None
        finally:
            raise_pending_signal()
        worker = next((each for each in self._workers.values() if key in each.sent), None)
        if worker is None:
            return None  # that of a worker that has gone
        content = self._content(worker, worker.sent[key], work)
        if content is None:
            self._looked = 0.0
            return None
        order = worker.sent.pop(key)
        order.future.release()
        worker.given.update(order.inputs)
        return order, content

    def _content(self, worker: _Worker, order: _Order, work: _Pass) -> bytes | None:
        """Return the results of a finished order; None if they are lost, or not here yet."""
        try:
            content: bytes = order.future.result(timeout=order.seconds)
        except NotOpenError:  # the scheduler took the worker for dead, and it came back
            self._lose(worker.address)
        except NotGivenError:
            if order.is_complete:
                raise
            worker.given.clear()
            self._take_back(worker, order, work)
        except self._killed_error:
            self._count_failure(order)
            self._take_back(worker, order, work)
        except self._cancelled_error:
            self._take_back(worker, order, work)
        except TimeoutError:
            if order.future.status == "error":
                raise  # by the task
            order.seconds *= 2
            self._finished.put(order.future.key)
        else:
            return content
        return None

    def _take_back(self, worker: _Worker, order: _Order, work: _Pass) -> None:
        work.queue.put_back(worker.sent.pop(order.future.key).shards)

    def _results(self, content: bytes) -> Any:
        """Return the results of an answer, and note its tallies."""
        answer: Answer = unpack(content, no_part)
        for name, count in answer.tallies.items():
            counter = answer.process, name
            self._tallies[counter] = max(count, self._tallies.get(counter, 0))
        return answer.results

    def _cancel(self) -> None:
        """Take back what is in progress."""
        futures = [order.future for worker in self._workers.values() for order in worker.sent.values()]
        for worker in self._workers.values():
            worker.sent.clear()
        if futures:
            with suppress(Exception):  # of a lost scheduler, which the next look tells
                self._client.cancel(futures, force=True)
