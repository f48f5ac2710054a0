"""Work on blocks in parallel: one by one, results handed on in order; or in shares, one result for each thread."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from threading import Event, Lock
from typing import TypeVar

from pipeline.engine.deadline import wait_until
from pipeline.engine.signals import raise_pending_signal

Item = TypeVar("Item")
Result = TypeVar("Result")


def count_workers(workers: int | str = "auto") -> int:
    """How many blocks to work on at once: as told, or one for each core this process may use."""
    if isinstance(workers, int):
        return workers
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def blocks_in_flight(workers: int) -> int:
    """How many blocks `stream` holds at most: those worked on, and as many finished ones."""
    return 2 * workers


def stream(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, stopped: Event | None = None
) -> Iterator[tuple[Item, Result]]:
    """Apply a function to items on threads; yield (item, result) in the order of the items.

    At most `blocks_in_flight(workers)` items are under way or waiting to be taken, so the memory held does
    not grow with the number of items. The order makes whatever is summed from the results the same for any
    number of workers. The first error ends the work: what has not begun is dropped, what has begun is
    waited for, but for answers of other machines, and the error is raised. `stopped`, if given, is set before:
    functions that take long look at it.
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
    """Let threads work through items, each taking the next one when it is done with the last; give what each made.

    For results that may be added up in any order: none is handed over but the last of each thread, which would wake
    the one that waits for it, and take it the interpreter's lock and a core. Items are made on the threads, one at a
    time. An error, or a signal that ends the process, ends the work: no item is taken any more, what has begun is
    waited for, and the error is raised, or one of them.
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
