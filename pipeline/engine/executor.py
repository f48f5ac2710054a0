"""Executors apply a task to items in parallel: one result per item (`map`), or all results merged into one (`fold`)."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from threading import Event, Lock
from typing import Any, Literal, Protocol, TypeVar

from pipeline.engine.signals import raise_pending_signal
from pipeline.engine.time_limits import wait_until

Item = TypeVar("Item")
Result = TypeVar("Result")


def count_workers(workers: int | str = "auto") -> int:
    """Number of worker threads: as configured, or one per core that this process may use."""
    if isinstance(workers, int):
        return workers
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def blocks_in_flight(workers: int) -> int:
    """Largest number of items that `ThreadExecutor.map` holds: one in progress and one finished per worker."""
    return 2 * workers


class PerProcess:
    """Part of a task that remembers something from one call to the next: each process that runs tasks has one copy.

    What it remembers only saves time, or is a number that is added up over all processes.
    """

    has_inputs: Literal["never", "once", "always"] = "never"
    """Whether items have inputs: never; once, if processes remember what they were given; always, if they do not."""

    def inputs(self, item: Any) -> Mapping[str, Callable[[], Any]]:  # noqa: ARG002 (one that has none)
        """Lazy collections of dask that a task needs for an item, by name; each is made when it is called.

        A cluster computes them where the task runs, which takes them by `given_input`. Threads have no use for them.
        """
        return {}

    def tally(self) -> int:
        """Return a number that this copy has counted, such as that of pixels decoded."""
        return 0


class Executor(Protocol):
    """Applies a task to items in parallel.

    The result of a task must depend on its item only: a task may be copied by pickle, and run twice for an item, though
    not at the same time. What it remembers from one call to the next only saves time (`PerProcess`). A task may have a
    method `place`, which returns a key for an item: that of the pixels that it reads. Tasks with the same key are run
    in the process that may have them in its cache.
    """

    @property
    def workers(self) -> int:
        """Number of items worked on at the same time."""

    @property
    def threads(self) -> int:
        """Number of threads for work in this process."""

    def tally(self, part: PerProcess) -> int:
        """Sum of what the copies of a part of tasks have counted in all processes."""

    def map(
        self, task: Callable[[Item], Result], items: Iterable[Item], *, ordered: bool = True, window: int | None = None
    ) -> Iterator[tuple[Item, Result]]:
        """Yield each item and its result, in the order of the items or, unless `ordered`, as they are finished.

        Items are taken as results are consumed, a bounded number ahead. The first error ends the work.

        A `window` says that results are large, and how far they may overtake each other if they are not ordered: of the
        items from the first unfinished one on, only so many are worked on, but for a bounded number.
        """

    def fold(
        self, task: Callable[[Item], Result], items: Iterable[Item], merge: Callable[[Result, Result], Result]
    ) -> Result:
        """Merge the results of all items, in any order and grouping; `merge` may change its first argument.

        The first error ends the work. Without any item there is a ValueError.
        """


@dataclass(frozen=True)
class ThreadExecutor:
    """An `Executor` that runs tasks on threads of this process."""

    workers: int
    """Number of threads."""

    @property
    def threads(self) -> int:
        """Number of threads."""
        return self.workers

    def tally(self, part: PerProcess) -> int:
        """Return what the part has counted."""
        return part.tally()

    def map(
        self, task: Callable[[Item], Result], items: Iterable[Item], *, ordered: bool = True, window: int | None = None
    ) -> Iterator[tuple[Item, Result]]:
        """Yield each item and its result.

        At most `blocks_in_flight(workers)` items are in progress or waiting to be consumed, so memory does not grow
        with the number of items. The first error ends the work: items not yet started are dropped, those in progress
        are finished, except for remote requests, and the error is raised. Long tasks should check `is_stopped`.
        """
        return self._stream(task, items, Event(), ordered=ordered, window=window)

    def fold(
        self, task: Callable[[Item], Result], items: Iterable[Item], merge: Callable[[Result, Result], Result]
    ) -> Result:
        """Merge the results of all items, first on each thread, then those of the threads.

        Each thread takes the next item when it has finished one: this avoids waking the main thread for each result,
        which would compete for the GIL and a core. Items are generated on the threads, one at a time. An error or a
        signal ends the work: no more items are taken, those in progress are finished, and the (first) error is raised.
        """
        queue, guard, stopped = iter(items), Lock(), Event()

        def take() -> Iterator[Item]:
            while not stopped.is_set():
                raise_pending_signal()
                with guard:
                    following = list(islice(queue, 1))
                if not following:
                    return
                yield from following

        def work_until_stopped(_: int) -> list[Result]:
            try:
                own = map(task, take())
                return [reduce(merge, own, first) for first in islice(own, 1)]
            except BaseException:
                stopped.set()
                raise

        parts = [part for _, own in self._stream(work_until_stopped, range(self.workers), stopped) for part in own]
        if not parts:
            msg = "fold: there are no items"
            raise ValueError(msg)
        return reduce(merge, parts)

    def _stream(
        self,
        task: Callable[[Item], Result],
        items: Iterable[Item],
        stopped: Event,
        *,
        ordered: bool = True,
        window: int | None = None,
    ) -> Iterator[tuple[Item, Result]]:
        """Yield items and results as `map` does; `stopped` is set when the work ends."""
        queue, taken = iter(items), 0
        waiting: dict[Future[Result], tuple[int, Item]] = {}
        pool = ThreadPoolExecutor(self.workers, "terrazzo", initializer=wait_until, initargs=(stopped,))

        def begin() -> None:
            """Begin as many items as may be in progress."""
            nonlocal taken
            first = next(iter(waiting.values()))[0] if waiting else taken
            ahead = blocks_in_flight(self.workers) - len(waiting)
            for item in islice(queue, ahead if window is None else min(ahead, first + window - taken)):
                waiting[pool.submit(task, item)] = taken, item
                taken += 1

        try:
            begin()
            while waiting:
                future = next(iter(waiting if ordered else wait(waiting, return_when=FIRST_COMPLETED).done))
                _, item = waiting.pop(future)
                result = future.result()
                del future  # it holds the result
                raise_pending_signal()
                begin()
                yield item, result
        finally:
            stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
