"""Workers of a run that come, pause, are restarted or end in any way: nothing is lost, and nobody waits for ever."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dask
import pytest
from crews import MARKS, Cached, Cluster, Square, end_process, open_executor, open_runs, wait_for

from pipeline.core.errors import ClusterError
from pipeline.engine import cluster_workers as module
from pipeline.engine.cluster import ClusterExecutor
from pipeline.engine.executor import PerProcess
from pipeline.engine.inputs import given_input
from pipeline.engine.worker import WorkerCache, run_lazily

pytestmark = MARKS

ITEMS = 80
SQUARES = [(number, number**2) for number in range(ITEMS)]
SECONDS = 60.0
"""Time for a pass that takes some seconds, and does not end if somebody waits for what does not come."""


def rest(results: Iterator[Any]) -> list[Any]:
    """Consume results on another thread; raise TimeoutError if that takes too long."""
    found: list[Any] = []
    failed: list[BaseException] = []

    def consume() -> None:
        try:
            found.extend(results)
        except BaseException as error:  # noqa: BLE001 (raised again)
            failed.append(error)

    thread = threading.Thread(target=consume, daemon=True)
    thread.start()
    thread.join(SECONDS)
    if failed:
        raise failed[0]
    if thread.is_alive():
        raise TimeoutError
    return found


def squares_while(executor: ClusterExecutor, happens: Callable[[], Any]) -> list[Any]:
    """Give the results of a pass during which something happens, sorted."""
    results = executor.map(Square(seconds=0.05), range(ITEMS), ordered=False)
    found = [next(results) for _ in range(10)]
    happens()
    return sorted(found + rest(results))


def test_a_cluster_that_is_restarted_begins_again(cluster: Cluster) -> None:
    """Without nannies its workers end; others come."""

    def restart() -> None:
        cluster.client.restart(wait_for_workers=False)
        cluster.start("three")

    with open_executor(cluster.client, cache="disk", items=ITEMS) as executor:
        assert squares_while(executor, restart) == SQUARES
        assert executor.workers == 1


def test_a_client_that_has_connected_anew_opens_the_run_again(cluster: Cluster) -> None:
    """Its scheduler has forgotten all of it meanwhile: tasks, and what holds the run open."""
    with open_executor(cluster.client, cache="disk", items=ITEMS) as executor:
        cut = cluster.client.scheduler_comm.comm.abort
        assert squares_while(executor, lambda: cluster.client.loop.add_callback(cut)) == SQUARES
        assert executor.workers == 2
        assert len(cluster.scratch()) == 2, "what was opened before is closed"
    assert set(map(tuple, cluster.client.run(open_runs).values())) == {()}


def test_passes_of_dask_end_with_a_sentence_when_the_client_connects_anew(cluster: Cluster) -> None:
    graph = {"slow": (time.sleep, 5)}
    with open_executor(cluster.client) as executor:
        cut = cluster.client.scheduler_comm.comm.abort
        cluster.call_when(lambda: any(cluster.client.processing().values()), cluster.client.loop.add_callback, cut)
        with pytest.raises(
            ClusterError, match=r"^the workers could not finish the tasks of the fit \(.*\); run again$"
        ):
            executor.compute_graph(graph, "slow")


class Sent(PerProcess):
    """Numbers that were sent to the cluster, as inputs of items."""

    has_inputs: Literal["always"] = "always"

    def __init__(self, futures: list[Any]) -> None:
        self._futures = futures

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def inputs(self, item: Any) -> Mapping[str, Callable[[], Any]]:
        return {f"number-{item}": lambda: dask.delayed(self._futures[item])}


@dataclass(frozen=True)
class Take:
    """Task: the input of an item."""

    sent: Sent

    def __call__(self, item: int) -> Any:
        time.sleep(0.05)
        return given_input(f"number-{item}")


def test_an_input_that_is_lost_for_good_ends_the_run(cluster: Cluster) -> None:
    futures = cluster.client.scatter(list(range(100, 120)), hash=False)
    with open_executor(cluster.client, items=20) as executor:
        results = executor.map(Take(Sent(futures)), range(20), ordered=False)
        assert next(results)[1] >= 100
        cluster.client.cancel(futures[10:])
        sentence = (
            r"^tasks on the same blocks \(1\d\) were cancelled 4 times \(.*lost dependencies.*\); are the data still"
        )
        with pytest.raises(ClusterError, match=sentence):
            rest(results)


def test_a_worker_that_is_to_end_gets_nothing_more(cluster: Cluster) -> None:
    """One that is retired stays for as long as it takes to move its data elsewhere, or for good."""
    cluster.restore("one", "two", "three")
    with open_executor(cluster.client, cache="disk", items=ITEMS) as executor:
        retire = lambda: cluster.client.retire_workers(names=["one"], close_workers=False, remove=False)  # noqa: E731
        assert squares_while(executor, retire) == SQUARES
    cluster.restore()


def test_workers_that_are_retired_one_after_the_other_do_not_end_the_run(cluster: Cluster) -> None:
    cluster.restore("one", "two", "three", "four", "five", "six")
    retired = ["one", "two", "three", "four", "five"]
    with open_executor(cluster.client, cache="disk", items=ITEMS) as executor:
        assert squares_while(executor, lambda: cluster.client.retire_workers(names=retired)) == SQUARES
        assert executor.workers == 1


def pause(dask_worker: Any) -> None:
    """Let a worker take no tasks, as if it were short of memory."""
    from distributed.core import Status

    dask_worker.memory_manager.memory_pause_fraction = False
    dask_worker.status = Status.paused


def go_on(dask_worker: Any) -> None:
    """Let a worker take tasks again."""
    from distributed.core import Status

    dask_worker.status = Status.running


def test_a_worker_that_is_paused_for_long_is_left_alone_until_it_goes_on(cluster: Cluster) -> None:
    (address,) = cluster.addresses("one")
    with open_executor(cluster.client, cache="disk", items=ITEMS) as executor:
        assert squares_while(executor, lambda: cluster.client.run(pause, workers=[address])) == SQUARES
        assert executor.workers == 1
        assert len(cluster.scratch()) == 1, "what it has in memory or on disk is released"
        cluster.client.run(go_on, workers=[address])
        assert wait_for(lambda: list(executor.map(Square(), [1])) and executor.workers == 2)


def test_a_worker_that_is_paused_for_a_moment_keeps_what_it_has(cluster: Cluster) -> None:
    (address,) = cluster.addresses("one")

    def pause_shortly() -> None:
        cluster.client.run(pause, workers=[address])
        time.sleep(1.5)
        cluster.client.run(go_on, workers=[address])

    with open_executor(cluster.client, cache="disk", items=ITEMS) as executor:
        folders = set(cluster.scratch())
        assert squares_while(executor, pause_shortly) == SQUARES
        assert set(cluster.scratch()) == folders


def test_a_task_of_dask_whose_run_is_closed_meanwhile_is_done_again(cluster: Cluster) -> None:
    """Its worker is paused, so that its cache is gone when the task reads from it."""
    (address,) = cluster.addresses("one")
    with open_executor(cluster.client, cache="disk") as executor:
        lazy, _ = executor.lazy(Cached(WorkerCache(executor._run), 9.0))
        graph = {"cached": (run_lazily, lazy, 1, [])}
        is_busy = lambda: cluster.client.processing()[address]  # noqa: E731
        pausing = cluster.call_when(is_busy, cluster.client.run, pause, workers=[address])
        folder = executor.compute_graph(graph, "cached", workers=[address], allow_other_workers=True)
        pausing.join()
        assert Path(folder).is_relative_to(cluster.folder / "two")


class Many(PerProcess):
    """Counts the tasks in progress."""

    def __init__(self) -> None:
        self.guard, self.count = threading.Lock(), 0

    def __reduce__(self) -> tuple[Any, ...]:
        return Many, ()


@dataclass(frozen=True)
class AtOnce:
    """Task: the number of tasks that are in progress in this process."""

    many: Many

    def __call__(self, _number: int) -> int:
        with self.many.guard:
            self.many.count += 1
            found = self.many.count
        time.sleep(0.1)
        with self.many.guard:
            self.many.count -= 1
        return found


@pytest.mark.parametrize(("allowed", "expected"), [(None, 4), (3, 3), (1, 1)])
def test_no_more_tasks_are_in_progress_than_threads_are_planned(
    cluster: Cluster, allowed: int | None, expected: int
) -> None:
    """A worker with more threads than there is memory for would begin each task that it is sent."""
    cluster.restore()
    cluster.start("many", threads=4)
    with open_executor(cluster.client, most_threads=allowed) as executor:
        assert executor.workers == expected
        assert max(dict(executor.map(AtOnce(Many()), range(40))).values()) == expected


def end_if_told() -> None:
    """End this process if its environment says so."""
    if os.environ.get("END"):
        end_process()


def test_newcomers_that_end_while_they_open_the_run_do_not_end_it(cluster: Cluster) -> None:
    with open_executor(cluster.client, begin=end_if_told, items=ITEMS) as executor:

        def four_come() -> None:
            for name in ("a", "b", "c", "d"):
                cluster.processes[name] = cluster._start(name, 1, None, {"END": "1"})
            assert wait_for(lambda: len(cluster.running()) == 6)

        results = executor.map(Square(seconds=0.2), range(2 * ITEMS), ordered=False)
        next(results)
        four_come()
        assert len(rest(results)) == 2 * ITEMS - 1
        assert wait_for(lambda: len(list(executor.map(Square(), [1]))) and len(cluster.running()) == 2), (
            "all have ended"
        )


def stop(seconds: float) -> None:
    """Let a worker answer nothing for some time."""
    time.sleep(seconds)


def test_a_newcomer_that_does_not_answer_holds_up_nobody(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.1)
    with open_executor(cluster.client, items=ITEMS) as executor:
        (address,) = cluster.start("late")
        hanging = threading.Thread(target=cluster.client.run, args=(stop, 20), kwargs={"workers": [address]})
        hanging.start()
        assert sorted(executor.map(Square(seconds=0.02), range(ITEMS), ordered=False)) == SQUARES
        assert hanging.is_alive()
        hanging.join()
        assert wait_for(lambda: list(executor.map(Square(), [1])) and executor.workers == 3)


def time_out() -> None:
    msg = "of a network drive"
    raise TimeoutError(msg)


@pytest.mark.lowest
def test_an_error_of_a_worker_that_opens_the_run_is_raised_whatever_it_is(cluster: Cluster) -> None:
    begin = time.monotonic()
    with pytest.raises(TimeoutError, match="of a network drive"), open_executor(cluster.client, begin=time_out):
        pass
    assert time.monotonic() - begin < SECONDS


def test_an_end_that_is_interrupted_leaves_nothing_either(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    earlier = set(cluster.client.who_has())
    executor = open_executor(cluster.client, cache="disk").__enter__()
    list(executor.map(Square(), range(10)))
    assert set(cluster.client.who_has()) - earlier
    monkeypatch.setattr(cluster.client, "sync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        executor.__exit__(None, None, None)
    monkeypatch.undo()
    assert wait_for(lambda: not cluster.scratch(), 10)
    assert wait_for(lambda: set(cluster.client.who_has()) <= earlier), "no future is left"
