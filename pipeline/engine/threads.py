"""Parallel processing on threads: one result per block in order (`stream`), or one per thread (`run_on_threads`)."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from threading import Event, Lock
from typing import TypeVar

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
    """Largest number of blocks that `stream` holds: one in progress and one finished per worker."""
    return 2 * workers


def stream(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, stopped: Event | None = None
) -> Iterator[tuple[Item, Result]]:
    """Apply a function to items on threads; yield (item, result) in the order of the items.

    At most `blocks_in_flight(workers)` items are in progress or waiting to be consumed, so memory does not grow with
    the number of items. Because of the order, sums of the results are the same for any number of workers. The first
    error ends the work: items not yet started are dropped, those in progress are finished, except for remote requests,
    and the error is raised. Before that the event `stopped` is set, which long-running functions should check.
    """
    stopped = stopped or Event()
    queue = iter(items)
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    pool = ThreadPoolExecutor(workers, "terrazzo", initializer=wait_until, initargs=(stopped,))
    try:
        for item in islice(queue, blocks_in_flight(workers)):
            waiting.append((item, pool.submit(function, item)))
        while waiting:
            item, future = waiting.popleft()
            result = future.result()
            raise_pending_signal()
            for following in islice(queue, 1):
                waiting.append((following, pool.submit(function, following)))
            yield item, result
    finally:
        stopped.set()
        pool.shutdown(wait=True, cancel_futures=True)


def run_on_threads(work: Callable[[Iterator[Item]], Result], items: Iterable[Item], workers: int) -> list[Result]:
    """Call a function on several threads that share the items; return the result of each thread.

    Each thread takes the next item when it has finished one. For results that may be merged in any order: one result
    per thread instead of one per item avoids waking the main thread, which would compete for the GIL and a core. Items
    are generated on the threads, one at a time. An error or a signal ends the work: no more items are taken, those in
    progress are finished, and the (first) error is raised.
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

    def work_until_stopped(_: int) -> Result:
        try:
            return work(take())
        except BaseException:
            stopped.set()
            raise

    return [made for _, made in stream(work_until_stopped, range(workers), workers, stopped)]
