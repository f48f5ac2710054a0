"""An executor on a dask cluster: tasks are pure, so they may run anywhere, twice or late, and workers come and go.

Items are taken in shards of neighbours. Whoever works on an item owns it from then on and is asked for it first, as
its caches hold the pixels; the items of a worker that has gone are anyone's. What workers remember only saves time.
"""

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
from pipeline.engine.cluster_workers import FAILURES, LOOK_SECONDS, ClusterWorkers, Order, Worker
from pipeline.engine.executor import PerProcess
from pipeline.engine.inputs import Inputs, NotGivenError
from pipeline.engine.parcels import Packer, Parcel, unpack
from pipeline.engine.shards import Shard, ShardQueue
from pipeline.engine.signals import raise_pending_signal
from pipeline.engine.worker import Answer, LazyTask, NotOpenError, Opening, no_part, run_task

Item = TypeVar("Item")
Result = TypeVar("Result")

TASKS_PER_THREAD: Final = 4
"""Most tasks per thread of a worker and pass, so that a scheduler has little to do."""

_AT_ONCE: Final = 2
"""Tasks of a thread: one in progress, and one that waits for it to end."""

_AHEAD: Final = 2
"""Tasks per task in progress whose results may wait for earlier ones, if results are in order."""

_POLL_SECONDS: Final = 0.2
"""Interval at which signals are checked while nothing is finished."""


def shards_per_task(shards: int, threads: int) -> int:
    """Shards of a task, so that a pass has about `TASKS_PER_THREAD` tasks per thread of all workers, and not more.

    Only if workers own different numbers of shards, there may be one more per worker.
    """
    return max(1, -(-shards // (TASKS_PER_THREAD * threads)))


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

    def note(self, order: Order) -> None:
        """Note that the items of an order are finished."""
        self._finished.update((shard.first, len(shard.items)) for shard in order.shards)
        while self.complete in self._finished:
            self.complete += self._finished.pop(self.complete)


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
        Called with the address of each worker and the facts that `opening.begin` returned there: see `ClusterWorkers`.
    most_workers : int, optional
        Largest number of workers (processes) that are used.

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
    ) -> None:
        self._client = client
        self._killed_error: type[Exception] = libraries.distributed.KilledWorker
        self._cancelled_error: type[Exception] = libraries.distributed.CancelledError
        self._run = opening.run
        self._shard_items = shard_items
        self._answer_items = answer_items
        self._shards = -(-items // shard_items)
        self._packer = Packer()
        self._workers = ClusterWorkers(client, opening, check=check, most=most_workers, on_lost=self._on_lost)
        self._owners: dict[Hashable, str] = {}
        """Address of the worker that owns what is kept under a key."""
        self._tallies: dict[tuple[str, str], int] = {}
        self._finished: SimpleQueue[str] = SimpleQueue()
        self._parts: dict[str, Any] = {}
        """Futures of the parcels of parts, by name."""
        self._pass: _Pass | None = None
        """The pass that has begun last."""
        self.threads = threads
        self.tasks = 0
        """Number of tasks that were sent."""

    def __enter__(self) -> Self:
        try:
            self._workers.begin()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the run on all workers."""
        self._close()

    def _close(self) -> None:
        self._owners.clear()
        self._parts.clear()
        self._workers.close()

    @property
    def workers(self) -> int:
        """Number of threads of all workers on which the run is open."""
        return sum(worker.threads for worker in self._workers.open) or 1

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
        lazy = LazyTask(self._run, packed.content, {name: own.content for name, own in parts.items()})
        return lazy, Inputs(self._packer.parts(packed))

    def owner(self, place: Hashable) -> str | None:
        """Address of the worker whose cache has the pixels of this key; None if there is none."""
        return self._owners.get(place)

    def compute_graph(self, graph: Any, keys: Any, **how: Any) -> Any:
        """Compute a graph, as a scheduler of dask does; meanwhile the run is opened on workers that come."""
        packed = self._client.get(graph, keys, sync=False, **how)
        waiting = libraries.distributed.futures_of(packed)
        try:
            while waiting:
                raise_pending_signal()
                self._workers.look()
                with suppress(TimeoutError):
                    waiting = libraries.distributed.wait(waiting, timeout=LOOK_SECONDS).not_done
            return self._client.gather(packed)
        except (self._cancelled_error, self._killed_error) as error:
            msg = f"the workers could not finish the tasks of the fit ({error}); run again"
            raise ClusterError(msg) from error

    def _work(
        self,
        task: Callable[[Any], Any],
        items: Iterable[Any],
        merge: Callable[[Any, Any], Any] | None,
        *,
        ordered: bool,
        window: int | None = None,
    ) -> Iterator[tuple[Order, Any]]:
        """Yield orders and their results."""
        self._cancel()  # what a pass has left that was not consumed to its end
        parcel = self._packer.pack((task, merge))
        inputs = Inputs(self._packer.parts(parcel))
        together = self._together(alone=ordered or inputs.always, streamed=window is not None)
        work = _Pass(task, parcel, inputs, self._queue(task, items, together, apart=bool(inputs)))
        self._pass = work
        early: dict[int, tuple[Order, bytes]] = {}
        try:
            while self._goes_on(work):
                self._workers.look()
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
        return any(worker.sent for worker in self._workers.all) or bool(work.queue)

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

    def _on_lost(self, worker: Worker, has_ended: bool) -> None:  # noqa: FBT001 (a callback)
        """Put the shards of a worker back into the queue."""
        for key in [key for key, owner in self._owners.items() if owner == worker.address]:
            del self._owners[key]
        orders = list(worker.sent.values())
        for order in orders:
            if has_ended and order.future.status == "pending":  # it may only have waited: next time it is alone
                self._count_failure(order)
        if self._pass:
            self._pass.queue.put_back((shard for order in orders for shard in order.shards), worker.address)

    def _count_failure(self, order: Order) -> None:
        """Count that a worker has ended while it worked on an order; raise ClusterError after too many times."""
        for shard in order.shards:
            shard.failures += 1
            if shard.failures >= FAILURES:
                msg = (
                    f"{FAILURES} workers ended while they worked on the same blocks ({shard}); "
                    "see their logs: do they have the memory that the plan states?"
                )
                raise ClusterError(msg)

    def _count_cancelled(self, order: Order, error: Exception) -> None:
        """Count that an order was cancelled by others; raise ClusterError after too many times."""
        for shard in order.shards:
            shard.cancelled += 1
            if shard.cancelled >= FAILURES:
                msg = (
                    f"tasks on the same blocks ({shard}) were cancelled {FAILURES} times ({error}); are the data still "
                    "there that the program has sent to the cluster?"
                )
                raise ClusterError(msg) from error

    def _send_all(self, work: _Pass, before: int | None) -> None:
        """Keep all workers busy."""
        waiting = True
        while waiting:  # by turns, so that all get their first before any has its second
            waiting = False
            for worker in sorted(self._workers.open, key=lambda each: len(each.sent) / each.threads):
                if worker.paused or worker.has_suspect or len(worker.sent) >= _AT_ONCE * worker.threads:
                    continue
                if shards := work.queue.take(
                    worker.address, before, from_others=worker.is_late, is_idle=not worker.sent
                ):
                    self._send(worker, shards, work)
                    waiting = True

    def _send(self, worker: Worker, shards: list[Shard], work: _Pass) -> None:
        """Send a worker the task and shards of its items, which it owns from then on, with inputs that it lacks."""
        order = Order(shards, None)
        parts = self._packer.parcels(work.parcel)
        futures = [self._future_of(name, own) for name, own in parts.items()]
        inputs = work.inputs.of(order.items)
        order.inputs = tuple(name for name in inputs if work.inputs.always or name not in worker.given)
        order.is_complete = len(order.inputs) == len(inputs)
        futures += self._compute([inputs[name]() for name in order.inputs], worker.address)
        items, names = self._packer.pack(order.items).content, (*parts, *order.inputs)
        order.future = self._workers.submit(
            worker.address, run_task, self._run, work.parcel.content, items, names, *futures
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
            self._parts[name] = self._workers.submit(None, bytes, parcel.content)
        return self._parts[name]

    def _compute(self, collections: list[Any], address: str) -> list[Any]:
        """Futures of lazy collections, computed on a worker, or on others if that has gone."""
        if not collections:
            return []
        futures: list[Any] = self._client.compute(
            collections, workers=[address], allow_other_workers=True, traverse=False
        )
        return futures

    def _collect(self, work: _Pass) -> tuple[Order, bytes] | None:
        """Return a finished order and its results as they were packed; wait for one, but not for long."""
        try:
            key = self._finished.get(timeout=_POLL_SECONDS)
        except Empty:
            return None
        finally:
            raise_pending_signal()
        worker = next((each for each in self._workers.all if key in each.sent), None)
        if worker is None:
            return None  # that of a worker that has gone
        content = self._content(worker, worker.sent[key], work)
        if content is None:
            self._workers.look_again()
            return None
        order = worker.sent.pop(key)
        order.future.release()
        worker.given.update(order.inputs)
        return order, content

    def _content(self, worker: Worker, order: Order, work: _Pass) -> bytes | None:
        """Return the results of a finished order; None if they are lost, or not here yet."""
        try:
            content: bytes = order.future.result(timeout=order.seconds)
        except NotOpenError:  # the scheduler took the worker for dead, and it came back
            self._workers.lose(worker, "has closed the run")
        except NotGivenError:
            if order.is_complete:
                raise
            worker.given.clear()
            self._take_back(worker, order, work)
        except self._killed_error:
            self._count_failure(order)
            self._take_back(worker, order, work)
        except self._cancelled_error as error:  # maybe with the parts that it needs: they are sent again
            self._parts.clear()
            self._count_cancelled(order, error)
            self._take_back(worker, order, work)
        except TimeoutError:
            if order.future.status == "error":
                raise  # by the task
            order.seconds *= 2
            self._finished.put(order.future.key)
        else:
            return content
        return None

    def _take_back(self, worker: Worker, order: Order, work: _Pass) -> None:
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
        futures = [order.future for worker in self._workers.all for order in worker.sent.values()]
        for worker in self._workers.all:
            worker.sent.clear()
        if futures:
            with suppress(Exception):  # of a lost scheduler, which the next look tells
                self._client.cancel(futures, force=True)
