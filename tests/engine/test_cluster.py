"""Tasks on the workers of a cluster: who works on what, what is counted, and what happens when workers come and go."""

import logging
import operator
import re
import signal
import time
from collections import Counter as Count
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from crews import (
    MARKS,
    Cached,
    Cluster,
    Failing,
    Square,
    Waiting,
    Where,
    cluster_in,
    end_process,
    forget,
    open_executor,
    open_runs,
    wait_for,
)

from pipeline.core.errors import ClusterError, OutputError, SceneError
from pipeline.engine import cluster_workers as cluster_module
from pipeline.engine.cluster import TASKS_PER_THREAD
from pipeline.engine.worker import WorkerCache

pytestmark = MARKS


def pids(cluster: Cluster) -> set[int]:
    """Process numbers of the workers that run."""
    return {process.pid for process in cluster.processes.values() if process.poll() is None}


@pytest.mark.lowest
def test_results_are_in_order_and_each_item_is_worked_on_once(cluster: Cluster) -> None:
    square = Square()
    with open_executor(cluster.client, shard_items=3) as executor:
        expected = [(number, number * number) for number in range(100)]
        assert list(executor.map(square, range(100))) == expected
        assert executor.tally(square.counter) == 100
        assert sorted(executor.map(square, iter(range(100)), ordered=False)) == expected
        assert executor.fold(square, range(100), operator.add) == sum(result for _, result in expected)
        assert executor.tally(square.counter) == 300
        assert square.counter.tally() == 0, "nothing was counted here"


def test_all_workers_work_and_keep_what_they_own(cluster: Cluster) -> None:
    with open_executor(cluster.client, shard_items=2, items=40) as executor:
        assert executor.workers == 2
        first = dict(executor.map(Where(0.01), range(40), ordered=False))
        assert set(first.values()) == pids(cluster)
        for ordered in (True, False):
            assert dict(executor.map(Where(0.01), range(40), ordered=ordered)) == first
        assert dict(executor.map(Where(), range(7, 33))) == {number: first[number] for number in range(7, 33)}, "a part"


def test_a_pass_is_few_tasks(cluster: Cluster) -> None:
    with open_executor(cluster.client, shard_items=1, items=500) as executor:
        for passes in (1, 2):
            executor.fold(Square(), range(500), operator.add)
            assert executor.tasks <= passes * (TASKS_PER_THREAD * 2 + 2)


def test_large_results_come_a_few_shards_at_a_time(cluster: Cluster) -> None:
    """As many as there is memory for, and not more than make few tasks."""
    for answer, tasks in ((1, 50), (5, 26), (12, 10), (10**6, 10)):
        with open_executor(cluster.client, shard_items=2, answer_items=answer, items=100) as executor:
            found = dict(executor.map(Square(), range(100), ordered=False, window=100))
            assert found == {number: number * number for number in range(100)}
            assert tasks - 2 <= executor.tasks <= tasks


def test_results_in_order_are_a_bounded_number_ahead(cluster: Cluster) -> None:
    taken = []
    items = (taken.append(number) or number for number in range(10**6))
    with open_executor(cluster.client, shard_items=4) as executor:
        results = executor.map(Where(), items)
        for consumed, _ in zip(range(1, 60), results, strict=False):
            assert len(taken) - consumed <= 4 * 2 * 3 * 2 + 4
        results.close()
        assert list(executor.map(Square(), [3])) == [(3, 9)], "what was in progress is not taken for this"


def test_large_results_come_shard_by_shard_and_overtake_each_other_up_to_a_window(
    cluster: Cluster, tmp_path: Path
) -> None:
    """Of the first ten items two are in the shard of the one that waits, and two are sent to its worker after it."""
    marker, found = tmp_path / "marker", list[int]()
    with open_executor(cluster.client, shard_items=2, items=40) as executor:
        for item, _ in executor.map(Waiting(0, str(marker)), range(40), ordered=False, window=10):
            found.append(item)
            if len(found) == 6:
                assert 0 not in found
                assert max(found) < 10
                marker.touch()
        assert sorted(found) == list(range(40))
        assert executor.tasks == 20


def test_a_pass_ends_one_that_was_not_consumed(cluster: Cluster) -> None:
    with open_executor(cluster.client) as executor:
        first = executor.map(Where(), range(50))
        next(first)
        assert list(executor.map(Square(), range(5))) == [(number, number**2) for number in range(5)]
        with pytest.raises(RuntimeError, match="another pass"):
            list(first)
        assert list(executor.map(Square(), range(5)))[-1] == (4, 16)


def test_an_error_of_the_items_themselves_is_raised(cluster: Cluster) -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        msg = "no more blocks"
        raise RuntimeError(msg)

    with open_executor(cluster.client) as executor, pytest.raises(RuntimeError, match="no more blocks"):
        list(executor.map(Square(), items()))


@pytest.mark.lowest
@pytest.mark.parametrize("error", [SceneError("a.tif: row 3 is damaged"), OutputError("/data: the disk is full")])
def test_errors_that_a_user_can_fix_name_the_worker(cluster: Cluster, error: Exception) -> None:
    with open_executor(cluster.client) as executor:
        for work in (partial(executor.map), partial(executor.fold, merge=operator.add)):
            with pytest.raises(type(error)) as raised:
                list(work(Failing(error, at=5), range(20)))  # type: ignore[operator]
            where = re.fullmatch(rf"{error} \(on the worker (tcp://.*)\)", str(raised.value))
            assert where
            assert where[1] in cluster.client.nthreads()


@pytest.mark.parametrize(
    "error", [ValueError("a bug"), TimeoutError("of a network drive"), MemoryError(), KeyError("left")]
)
def test_other_errors_have_a_note_that_names_the_worker_and_end_the_work(cluster: Cluster, error: Exception) -> None:
    begin = time.monotonic()
    with open_executor(cluster.client) as executor, pytest.raises(type(error)) as raised:
        executor.fold(Failing(error, at=5), range(20), operator.add)
    assert raised.value.args == error.args
    assert re.fullmatch(r"on the worker tcp://.*", raised.value.__notes__[-1])
    assert time.monotonic() - begin < 30


def test_nothing_is_left_of_a_run(cluster: Cluster) -> None:
    names = set()
    with open_executor(cluster.client, cache="disk") as executor:
        cache = WorkerCache(executor._run)
        folders = set(dict(executor.map(Cached(cache, 0.05), range(20))).values())
        assert len(folders) == 2
        assert set(map(str, cluster.scratch())) == folders
        names = {name for runs in cluster.client.run(open_runs).values() for name in runs}
    assert names == {executor._run}
    assert cluster.scratch() == []
    assert set(map(tuple, cluster.client.run(open_runs).values())) == {()}
    assert wait_for(lambda: not cluster.client.who_has()), "no future is left"


def test_nothing_is_left_of_a_run_that_fails(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match="a bug"), open_executor(cluster.client, cache="disk") as executor:
        executor.fold(Failing(ValueError("a bug")), range(50), operator.add)
    assert cluster.scratch() == []
    assert set(map(tuple, cluster.client.run(open_runs).values())) == {()}


def test_a_task_in_progress_at_the_end_makes_no_folder_again(cluster: Cluster) -> None:
    """It goes on for as long as an item takes, then it is ended; its folder goes before."""
    with open_executor(cluster.client, cache="disk", shard_items=20) as executor:
        results = executor.map(Cached(WorkerCache(executor._run), 0.1), range(100))
        next(results)
        assert wait_for(lambda: len(cluster.scratch()) == 2)
    assert cluster.scratch() == []
    time.sleep(1)
    assert cluster.scratch() == []
    begin = time.monotonic()
    with open_executor(cluster.client) as executor:
        assert next(executor.map(Square(), [2])) == (2, 4)
    assert time.monotonic() - begin < 20, "the workers are free again"


def test_a_cache_in_memory_is_each_workers_own(cluster: Cluster) -> None:
    with open_executor(cluster.client, cache="memory") as executor:
        assert set(dict(executor.map(Cached(WorkerCache(executor._run)), range(10))).values()) == {""}


def test_a_cache_of_workers_is_not_here() -> None:
    with pytest.raises(ClusterError, match="its cache is on workers only"):
        WorkerCache("no-run").drop(Any)  # type: ignore[arg-type]


def test_threads_of_a_worker_are_all_used_but_no_more_than_allowed(cluster: Cluster) -> None:
    cluster.restore()
    cluster.start("many", threads=3)
    with open_executor(cluster.client) as executor:
        assert executor.workers == 3
        assert sorted(executor.map(Square(), range(50))) == [(number, number**2) for number in range(50)]
    with open_executor(cluster.client, most_threads=2) as executor:
        assert executor.workers == 2


def test_no_more_workers_are_used_than_allowed(cluster: Cluster) -> None:
    with open_executor(cluster.client, most_workers=1) as executor:
        assert executor.workers == 1
        assert len(set(dict(executor.map(Where(), range(20))).values())) == 1


@pytest.mark.parametrize("kind", ["in order", "as finished", "merged"])
def test_a_worker_is_killed_and_another_does_its_work(
    cluster: Cluster, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    square = Square(deadly=17, marker=str(tmp_path / "marker"), seconds=0.01)
    with open_executor(cluster.client, cache="disk", items=40) as executor:
        if kind == "merged":
            assert executor.fold(square, range(40), operator.add) == sum(number**2 for number in range(40))
        else:
            results = list(executor.map(square, range(40), ordered=kind == "in order"))
            assert sorted(results) == [(number, number**2) for number in range(40)]
            assert results == sorted(results) or kind != "in order"
        assert executor.workers == 1
        assert len(cluster.running()) == 1
        assert any("has gone" in message for message in caplog.messages)
        own = dict(executor.map(Where(), range(40)))
        assert set(own.values()) == pids(cluster), "all is the survivor's now"


@pytest.mark.lowest
def test_only_what_a_killed_worker_had_is_done_again(cluster: Cluster, tmp_path: Path) -> None:
    """Counted: what both have done, and what the dead one owned and the survivor has done again."""
    marker = str(tmp_path / "marker")
    with open_executor(cluster.client, items=40) as executor:
        first = Square(marker=marker, seconds=0.01)
        owners = dict(executor.map(Where(0.01), range(40), ordered=False))
        list(executor.map(first, range(40)))
        assert executor.tally(first.counter) == 40
        deadly = Square(first.counter, deadly=20, marker=marker, seconds=0.01)
        assert [result for _, result in executor.map(deadly, range(40))] == [number**2 for number in range(40)]
        lost = Count(owners.values())[owners[20]]
        assert 80 - lost <= executor.tally(first.counter) <= 80


def test_all_workers_are_killed_and_a_newcomer_does_the_work(cluster: Cluster) -> None:
    square = Square(seconds=0.05)
    with open_executor(cluster.client, cache="disk", items=60) as executor:
        results = executor.map(square, range(60))
        found = [next(results) for _ in range(10)]
        for process in cluster.processes.values():
            process.send_signal(signal.SIGKILL)
        cluster.processes["three"] = cluster._start("three", 1, None, {})
        found += results
        assert found == [(number, number**2) for number in range(60)]
        assert executor.workers == 1
    folders = cluster.scratch()
    assert {path.relative_to(cluster.folder).parts[0] for path in folders} <= {"one", "two"}, "those of the killed"


def test_a_newcomer_gets_a_share(cluster: Cluster) -> None:
    with open_executor(cluster.client, items=40) as executor:
        dict(executor.map(Where(0.01), range(40)))
        cluster.start("late")
        newcomer = cluster.processes["late"].pid
        assert wait_for(lambda: newcomer in dict(executor.map(Where(0.05), range(40), ordered=False)).values())
        assert executor.workers == 3
        shares = Count(dict(executor.map(Where(0.05), range(40), ordered=False)).values())
        assert shares[newcomer] <= 10, "no more than half of a fair share is taken from others"


@pytest.mark.lowest
def test_the_scheduler_takes_a_worker_for_dead_that_goes_on(cluster: Cluster) -> None:
    square = Square(seconds=0.05)
    with open_executor(cluster.client, cache="disk", items=60) as executor:
        results = executor.map(square, range(60))
        found = [next(results) for _ in range(10)]
        (address,) = cluster.addresses("one")
        cluster.client.run_on_scheduler(forget, address=address)
        found += results
        assert found == [(number, number**2) for number in range(60)]
    assert wait_for(lambda: not cluster.scratch()), "it closes, and takes its folder with it"


def test_a_shard_that_ends_each_worker_ends_the_run_and_is_named(cluster: Cluster) -> None:
    cluster.restore("one", "two", "three", "four", "five", "six")
    with (
        pytest.raises(
            ClusterError, match=r"^4 workers ended while they worked on the same blocks \(7\); see their logs"
        ),
        open_executor(cluster.client, items=40) as executor,
    ):
        executor.fold(Square(deadly=7), range(40), operator.add)
    assert len(cluster.running()) == 2, "four were lost"


def test_workers_that_end_while_they_open_the_run_end_it(cluster: Cluster) -> None:
    cluster.restore("one", "two", "three", "four")
    with (
        pytest.raises(ClusterError, match=r"^4 workers ended while they opened the run, the last at tcp://.*; see"),
        open_executor(cluster.client, begin=end_process),
    ):
        pass


def test_the_run_ends_if_no_worker_comes(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "NO_WORKER_SECONDS", 2.0)
    with open_executor(cluster.client) as executor:
        results = executor.map(Square(seconds=0.1), range(100))
        next(results)
        cluster.restore()
        with pytest.raises(ClusterError, match=r"^tcp://.*: no worker within 2 s; start workers"):
            list(results)


def test_a_worker_that_hangs_does_not_hold_up_the_end(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "_ANSWER_SECONDS", 1.0)
    with open_executor(cluster.client) as executor:
        list(executor.map(Square(), range(10)))
        cluster.processes["one"].send_signal(signal.SIGSTOP)
        begin = time.monotonic()
    assert time.monotonic() - begin < 15
    cluster.processes["one"].send_signal(signal.SIGCONT)


def check(wrong: str, address: str, facts: Any) -> None:
    """Refuse the worker with a process number."""
    if str(facts) in wrong.split():
        msg = f"the worker {address} has other versions"
        raise ClusterError(msg)


def test_a_worker_that_does_not_fit_is_refused_at_the_beginning_and_left_out_later(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = [f"{cluster.processes['two'].pid}"]
    refuse: Callable[[str, Any], None] = lambda address, facts: check(wrong[0], address, facts)  # noqa: E731
    with pytest.raises(ClusterError, match="has other versions"), open_executor(cluster.client, check=refuse):
        pass
    assert set(map(tuple, cluster.client.run(open_runs).values())) == {()}
    wrong[0] = ""
    with open_executor(cluster.client, check=refuse) as executor:
        list(executor.map(Square(), range(10)))
        cluster.start("late")
        wrong[0] = f"{cluster.processes['late'].pid}"
        assert wait_for(
            lambda: list(executor.map(Where(0.1), range(20))) and any("is not used" in m for m in caplog.messages)
        )
        assert executor.workers == 2


def test_a_lost_scheduler_is_a_sentence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import dask

    caplog.set_level(logging.CRITICAL, "distributed")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "2s"}),
        cluster_in(tmp_path, "one") as cluster,
        open_executor(cluster.client) as executor,
    ):
        results = executor.map(Square(seconds=0.1), range(100))
        next(results)
        cluster._cluster.close()
        with pytest.raises(ClusterError, match=r"the connection to the scheduler is lost .*; run again$"):
            list(results)
