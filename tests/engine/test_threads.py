"""Results are in order, or one per thread, for a bounded number of items; no thread goes on after the end."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engine import threads
from pipeline.engine.threads import blocks_in_flight, count_workers, run_on_threads, stream

WAIT = 30.0
"""Seconds after which a hanging test fails."""


class CountedItems:
    """Numbers from 0 that count how many were taken."""

    def __init__(self, total: int | None = None) -> None:
        self.taken = 0
        self._total = total

    def __iter__(self) -> Iterator[int]:
        for number in count() if self._total is None else range(self._total):
            self.taken += 1
            yield number


def worker_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("terrazzo")]


@settings(max_examples=40, deadline=None)
@given(items=st.lists(st.integers()), workers=st.integers(1, 6), late=st.sets(st.integers(0, 9)))
def test_results_are_in_the_order_of_the_items_whichever_ends_first(
    items: list[int], workers: int, late: set[int]
) -> None:
    turn = threading.Event()

    def work(numbered: tuple[int, int]) -> int:
        if numbered[0] in late:
            turn.wait(0.002)  # others overtake it
        return -numbered[1]

    results = list(stream(work, enumerate(items), workers))
    assert results == [(numbered, -numbered[1]) for numbered in enumerate(items)]
    assert worker_threads() == []


def test_work_in_progress_sees_the_stop_event_if_the_work_ends_early() -> None:
    stopped, begun = threading.Event(), threading.Event()

    def work(number: int) -> bool:
        if number == 0:
            assert begun.wait(WAIT)
            raise KeyboardInterrupt
        begun.set()
        return stopped.wait(WAIT)

    with pytest.raises(KeyboardInterrupt):
        list(stream(work, range(2), 2, stopped))
    assert stopped.is_set()
    assert worker_threads() == []


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_as_many_items_as_workers_are_in_progress_and_never_more(workers: int) -> None:
    together = threading.Barrier(workers)
    lock = threading.Lock()
    busy, most = 0, 0

    def work(_: int) -> None:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        together.wait(WAIT)  # passes only if all workers are here at the same time
        with lock:
            busy -= 1

    assert len(list(stream(work, range(4 * workers), workers))) == 4 * workers
    assert most == workers


@pytest.mark.parametrize("workers", [1, 3])
def test_items_are_taken_only_as_results_are_consumed(workers: int) -> None:
    items = CountedItems()  # endless: they must not be exhausted
    begun: list[int] = []
    results = stream(begun.append, items, workers)
    assert items.taken == 0
    for consumed, _ in zip(range(1, 20), results, strict=False):
        assert items.taken - consumed <= blocks_in_flight(workers)
        assert len(begun) <= items.taken
    results.close()
    assert items.taken <= 20 + blocks_in_flight(workers)


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("failing", [0, 1, 7])
def test_the_first_error_is_raised_after_the_results_before_it_and_ends_the_work(workers: int, failing: int) -> None:
    items = CountedItems(1000)
    begun: list[int] = []
    ended: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        if item >= failing:
            msg = f"item {item}"
            raise OSError(msg)
        ended.append(item)
        return item

    seen = []
    with pytest.raises(OSError, match=f"^item {failing}$"):
        seen.extend(item for item, _ in stream(work, items, workers))
    assert seen == list(range(failing))
    assert items.taken <= failing + blocks_in_flight(workers)
    assert set(begun) <= set(range(items.taken))
    assert sorted(ended) == seen
    assert worker_threads() == []


def test_after_an_error_started_items_are_finished_and_others_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = [threading.Event() for _ in range(8)]
    proceed = threading.Event()
    ended = []

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            proceed.set()  # not before: until then both workers are busy and the other items are queued
            super().shutdown(wait=wait)

    monkeypatch.setattr(threads, "ThreadPoolExecutor", Pool)

    def work(item: int) -> None:
        begun[item].set()
        if item == 0:
            begun[1].wait(WAIT)
            msg = "the first"
            raise ValueError(msg)
        proceed.wait(WAIT)
        ended.append(item)

    with pytest.raises(ValueError, match="the first"):
        next(stream(work, range(8), 2))
    # item 1 was in progress, and item 2 may have been started when item 0 failed; item 3 never was
    assert {1} <= set(ended) == {item for item in range(1, 8) if begun[item].is_set()} <= {1, 2}


@pytest.mark.parametrize("end", ["close", "throw"])
def test_a_consumer_that_stops_early_stops_the_workers(end: str) -> None:
    begun: list[int] = []
    results = stream(begun.append, count(), 3)
    next(results)
    if end == "close":
        results.close()
    else:
        with pytest.raises(KeyboardInterrupt):
            results.throw(KeyboardInterrupt)
    assert worker_threads() == []
    assert len(begun) <= 1 + blocks_in_flight(3)


def test_an_error_among_the_items_themselves_is_raised_and_stops_the_workers() -> None:
    def items() -> Iterator[int]:
        yield from range(10)
        msg = "no more blocks"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="no more blocks"):
        list(stream(abs, items(), 2))
    assert worker_threads() == []


def test_no_items_give_no_results() -> None:
    assert list(stream(abs, [], 4)) == []


def test_an_explicit_number_of_workers_is_used() -> None:
    assert count_workers(7) == 7


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no CPU affinity")
def test_the_default_number_of_workers_is_that_of_the_cores_the_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert count_workers("auto") == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert count_workers() == len(allowed)


@settings(max_examples=40, deadline=None)
@given(items=st.lists(st.integers()), workers=st.integers(1, 6))
def test_threads_share_each_item_once_in_the_order_of_the_items(items: list[int], workers: int) -> None:
    shares = run_on_threads(list, enumerate(items), workers)
    assert len(shares) == workers
    assert all(own == sorted(own) for own in shares)
    assert sorted(item for own in shares for item in own) == list(enumerate(items))
    assert worker_threads() == []


def test_a_thread_takes_items_while_another_is_blocked() -> None:
    done, proceed = [], threading.Event()

    def work(shared: Iterator[int]) -> None:
        for item in shared:
            if item == 0:
                assert proceed.wait(WAIT)
            done.append(item)
            if len(done) == 9:  # all others, by the other thread
                proceed.set()

    run_on_threads(work, range(10), 2)
    assert done[-1] == 0
    assert sorted(done) == list(range(10))


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_on_one_thread_ends_the_others_after_their_current_item(failing: int) -> None:
    both, items, ended = threading.Barrier(2), CountedItems(10**7), []

    def work(shared: Iterator[int]) -> None:
        item = next(shared)
        both.wait(WAIT)
        if item == failing:
            msg = f"item {item}"
            raise OSError(msg)
        for _ in shared:
            pass
        ended.append(item)

    with pytest.raises(OSError, match=f"^item {failing}$"):
        run_on_threads(work, items, 2)
    assert ended == [1 - failing]
    assert items.taken < 10**7
    assert worker_threads() == []


def test_a_signal_whose_exception_was_swallowed_ends_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def raise_pending_signal() -> None:
        if len(taken) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(threads, "raise_pending_signal", raise_pending_signal)

    def work(shared: Iterator[int]) -> None:
        taken.extend(shared)

    with pytest.raises(KeyboardInterrupt):
        run_on_threads(work, range(10**6), 1)
    assert taken == [0, 1, 2]


@pytest.mark.skipif(os.name == "nt", reason="on Windows a process can't send itself a signal")
def test_ctrl_c_without_our_handlers_ends_all_threads() -> None:
    items = CountedItems(10**7)

    def work(shared: Iterator[int]) -> None:
        for item in shared:
            if item == 100:
                time.sleep(0.1)  # until both threads have started and the main thread waits for them
                os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_on_threads(work, items, 2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert items.taken < 10**7
    assert worker_threads() == []


def test_shared_items_are_generated_by_one_thread_at_a_time() -> None:
    def items() -> Iterator[int]:
        for number in range(100):
            time.sleep(0.0005)  # another thread would interfere
            yield number

    assert sorted(item for own in run_on_threads(list, items(), 3) for item in own) == list(range(100))


def test_an_error_among_shared_items_themselves_is_raised() -> None:
    def items() -> Iterator[int]:
        yield from range(10)
        msg = "no more blocks"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="no more blocks"):
        run_on_threads(list, items(), 2)
    assert worker_threads() == []
