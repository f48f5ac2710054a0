"""Results are in order, or merged, for a bounded number of items in progress; no thread goes on after the end."""

import operator
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

import pytest
from crews import cluster_in, open_executor
from fakes import RepeatingExecutor, SerialExecutor
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engine import executor
from pipeline.engine.cluster import ClusterExecutor
from pipeline.engine.executor import Executor, ThreadExecutor, blocks_in_flight, count_workers
from pipeline.engine.time_limits import is_stopped

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore:.*Port 8787"
)  # those of distributed

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

    results = list(ThreadExecutor(workers).map(work, enumerate(items)))
    assert results == [(numbered, -numbered[1]) for numbered in enumerate(items)]
    assert worker_threads() == []


def test_work_in_progress_learns_that_the_work_has_ended_early() -> None:
    begun, seen = threading.Event(), []

    def work(number: int) -> None:
        assert not is_stopped()
        if number == 0:
            assert begun.wait(WAIT)
            raise KeyboardInterrupt
        begun.set()
        end = time.monotonic() + WAIT
        while not is_stopped() and time.monotonic() < end:
            time.sleep(0.001)
        seen.append(is_stopped())

    with pytest.raises(KeyboardInterrupt):
        list(ThreadExecutor(2).map(work, range(2)))
    assert seen == [True]
    assert not is_stopped(), "this thread goes on"
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

    assert len(list(ThreadExecutor(workers).map(work, range(4 * workers)))) == 4 * workers
    assert most == workers


@pytest.mark.parametrize("workers", [1, 3])
def test_items_are_taken_only_as_results_are_consumed(workers: int) -> None:
    items = CountedItems()  # endless: they must not be exhausted
    begun: list[int] = []
    results = ThreadExecutor(workers).map(begun.append, items)
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
        seen.extend(item for item, _ in ThreadExecutor(workers).map(work, items))
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

    monkeypatch.setattr(executor, "ThreadPoolExecutor", Pool)

    def work(item: int) -> None:
        begun[item].set()
        if item == 0:
            begun[1].wait(WAIT)
            msg = "the first"
            raise ValueError(msg)
        proceed.wait(WAIT)
        ended.append(item)

    with pytest.raises(ValueError, match="the first"):
        next(ThreadExecutor(2).map(work, range(8)))
    # item 1 was in progress, and item 2 may have been started when item 0 failed; item 3 never was
    assert {1} <= set(ended) == {item for item in range(1, 8) if begun[item].is_set()} <= {1, 2}


@pytest.mark.parametrize("end", ["close", "throw"])
def test_a_consumer_that_stops_early_stops_the_workers(end: str) -> None:
    begun: list[int] = []
    results = ThreadExecutor(3).map(begun.append, count())
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
        list(ThreadExecutor(2).map(abs, items()))
    assert worker_threads() == []


def test_no_items_give_no_results() -> None:
    assert list(ThreadExecutor(4).map(abs, [])) == []


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


@dataclass(frozen=True)
class Negate:
    """Task: the negative of a number."""

    failing: int | None = None

    def __call__(self, number: int) -> int:
        if number == self.failing:
            msg = f"item {number}"
            raise OSError(msg)
        return -number


class Wrap:
    """Task: a list of the item."""

    def __call__(self, item: int) -> list[int]:
        return [item]


def merge_lists(one: list[int], other: list[int]) -> list[int]:
    one += other  # allowed: the first argument may change
    return one


EXECUTORS: dict[str, Executor] = {
    "serial": SerialExecutor(),
    "repeating": RepeatingExecutor(),
    **{f"{workers} threads": ThreadExecutor(workers) for workers in (1, 2, 5)},
}


@pytest.fixture(scope="module")
def on_a_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    """An executor on two workers in processes."""
    folder = tmp_path_factory.mktemp("workers")
    with cluster_in(folder, "one", "two") as cluster, open_executor(cluster.client, items=40) as executor:
        yield executor


@pytest.fixture(params=[*EXECUTORS, pytest.param("cluster", marks=pytest.mark.slow)])
def each(request: pytest.FixtureRequest) -> Executor:
    """Executors of every kind."""
    executor: Executor = EXECUTORS.get(request.param) or request.getfixturevalue("on_a_cluster")
    return executor


def most_ahead(each: Executor) -> int:
    """Largest number of items that are taken and not consumed: on a cluster more, as results come from far away."""
    threads = blocks_in_flight(each.workers)
    return 3 * 5 * threads if isinstance(each, ClusterExecutor) else threads


@pytest.mark.parametrize("length", [0, 1, 3, 40])
def test_every_executor_gives_the_result_of_each_item(each: Executor, length: int) -> None:
    expected = [(item, -item) for item in range(length)]
    assert list(each.map(Negate(), range(length))) == expected
    assert sorted(each.map(Negate(), range(length), ordered=False)) == expected
    assert sorted(each.map(Negate(), range(length), ordered=False, window=2)) == expected


@pytest.mark.parametrize("length", [1, 2, 3, 40])
def test_every_executor_merges_the_result_of_each_item_once(each: Executor, length: int) -> None:
    assert each.fold(Negate(), iter(range(length)), operator.add) == -sum(range(length))
    assert sorted(each.fold(Wrap(), range(length), merge_lists)) == list(range(length))


def test_every_executor_refuses_to_merge_nothing(each: Executor) -> None:
    with pytest.raises(ValueError, match="no items"):
        each.fold(Negate(), (), operator.add)


@pytest.mark.parametrize("ordered", [True, False])
def test_every_executor_takes_items_as_results_are_consumed(each: Executor, ordered: bool) -> None:  # noqa: FBT001
    items = CountedItems()  # endless
    results = each.map(Negate(), items, ordered=ordered)
    for consumed, _ in zip(range(1, 30), results, strict=False):
        assert items.taken - consumed <= most_ahead(each)
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("failing", [0, 7])
def test_every_executor_raises_the_error_of_a_task(each: Executor, failing: int) -> None:
    for ordered in (True, False):
        with pytest.raises(OSError) as raised:  # noqa: PT011 (its notes may name a worker)
            list(each.map(Negate(failing), range(20), ordered=ordered))
        assert str(raised.value) == f"item {failing}"
    with pytest.raises(OSError) as raised:  # noqa: PT011
        each.fold(Negate(failing), range(20), operator.add)
    assert str(raised.value) == f"item {failing}"
    assert worker_threads() == []


def test_results_are_yielded_as_they_are_finished_unless_in_order() -> None:
    proceed = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert proceed.wait(WAIT)
        return item

    found = []
    for item, _ in ThreadExecutor(2).map(work, range(10), ordered=False):
        found.append(item)
        if len(found) == 9:
            proceed.set()
    assert found[-1] == 0
    assert sorted(found) == list(range(10))


@pytest.mark.parametrize("window", [1, 3, 100])
def test_no_item_is_begun_that_is_too_far_from_the_first_unfinished_one(window: int) -> None:
    begun, proceed = list[int](), threading.Event()

    def work(item: int) -> int:
        begun.append(item)
        if item == 5:
            assert proceed.wait(WAIT)
        return item

    found, others = list[int](), min(5 + window - 1, 39)  # items that may be done without item 5
    for item, _ in ThreadExecutor(3).map(work, range(40), ordered=False, window=window):
        found.append(item)
        if len(found) == others:
            assert max(begun) <= 5 + window - 1
            proceed.set()
    assert sorted(found) == list(range(40))
    assert found.index(5) == others


def test_a_thread_takes_items_while_another_is_blocked() -> None:
    done, proceed = [], threading.Event()

    def work(item: int) -> None:
        if item == 0:
            assert proceed.wait(WAIT)
        done.append(item)
        if len(done) == 9:  # all others, by the other thread
            proceed.set()

    ThreadExecutor(2).fold(work, range(10), lambda *_: None)
    assert done[-1] == 0
    assert sorted(done) == list(range(10))


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_on_one_thread_ends_the_others_after_their_current_item(failing: int) -> None:
    both, items = threading.Barrier(2), CountedItems(10**7)

    def work(item: int) -> None:
        if item < 2:
            both.wait(WAIT)
        if item == failing:
            msg = f"item {item}"
            raise OSError(msg)

    with pytest.raises(OSError, match=f"^item {failing}$"):
        ThreadExecutor(2).fold(work, items, lambda *_: None)
    assert items.taken < 10**7
    assert worker_threads() == []


def test_a_signal_whose_exception_was_swallowed_ends_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    def raise_pending_signal() -> None:
        if len(taken) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(executor, "raise_pending_signal", raise_pending_signal)
    with pytest.raises(KeyboardInterrupt):
        ThreadExecutor(1).fold(taken.append, range(10**6), lambda *_: None)
    assert taken == [0, 1, 2]


@pytest.mark.skipif(os.name == "nt", reason="on Windows a process can't send itself a signal")
def test_ctrl_c_without_our_handlers_ends_all_threads() -> None:
    items = CountedItems(10**7)

    def work(item: int) -> None:
        if item == 100:
            time.sleep(0.1)  # until both threads have started and the main thread waits for them
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            ThreadExecutor(2).fold(work, items, lambda *_: None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert items.taken < 10**7
    assert worker_threads() == []


def test_items_to_fold_are_generated_by_one_thread_at_a_time() -> None:
    def items() -> Iterator[int]:
        for number in range(100):
            time.sleep(0.0005)  # another thread would interfere
            yield number

    assert sorted(ThreadExecutor(3).fold(Wrap(), items(), merge_lists)) == list(range(100))


def test_an_error_among_the_items_to_fold_is_raised() -> None:
    def items() -> Iterator[int]:
        yield from range(10)
        msg = "no more blocks"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="no more blocks"):
        ThreadExecutor(2).fold(Wrap(), items(), merge_lists)
    assert worker_threads() == []
