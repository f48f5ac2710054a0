"""The workers of a run on a dask cluster: the run is opened on those that come, and those that go are noticed."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.core import libraries
from pipeline.core.errors import ClusterError
from pipeline.engine.parcels import Packer
from pipeline.engine.shards import Shard
from pipeline.engine.signals import raise_pending_signal
from pipeline.engine.worker import Opening, close_run, facts_of, is_here, open_run

logger = logging.getLogger(__name__)

FAILURES: Final = 4
"""Number of times that a worker may end while it works on a shard, or opens the run; then the work is at fault."""

NO_WORKER_SECONDS: Final = 60.0
"""Time to wait for a worker while there is none."""

TRANSFER_SECONDS: Final = 5.0
"""Time to wait for results that are finished before workers are counted again."""

LOOK_SECONDS: Final = 1.0
"""Interval at which workers are counted."""

_POLL_SECONDS: Final = 0.05
"""Interval at which a run that waits for its workers looks whether they are ready."""

_PAUSE_SECONDS: Final = 5.0
"""Time after which a worker to which the scheduler gives no tasks is not waited for: it ends, or is short of memory."""

_ANSWER_SECONDS: Final = 10.0
"""Time to wait for workers to answer that they can take part, or have closed the run."""


@dataclass(eq=False)
class Order:
    """Shards that a worker works on in one task, and the future of their results."""

    shards: list[Shard]
    future: Any
    seconds: float = TRANSFER_SECONDS
    """Time to wait for the results once they are finished; doubled each time."""
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


@dataclass(eq=False)
class Worker:
    """A worker of the cluster."""

    address: str
    threads: int
    """Number of its threads that are used."""
    lease: Any
    """Future of the `Lease`; while it is held, the run is open there."""
    facts: Any
    """Future of what the worker said when it opened the run."""
    is_open: bool = False
    is_late: bool = False
    """Whether it came after the run had begun."""
    paused: float | None = None
    """Since when the scheduler gives it no tasks, because it is short of memory, or about to end; None if it does."""
    sent: dict[str, Order] = field(default_factory=dict)
    """Orders in progress, the first sent first, by the key of their future."""
    given: set[str] = field(default_factory=set)
    """Names of the inputs that it was given with orders that are finished."""

    @property
    def has_suspect(self) -> bool:
        """Whether it works on a shard that may have ended another worker."""
        return any(shard.failures for order in self.sent.values() for shard in order.shards)

    @property
    def is_cut_off(self) -> bool:
        """Whether its futures were cancelled: the cluster was restarted, or the client has connected anew."""
        return bool(self.lease.cancelled() or self.facts.cancelled())

    def release(self) -> None:
        """Let go of all that the worker holds for the run."""
        for future in (self.facts, self.lease, *(order.future for order in self.sent.values())):
            future.release()


class ClusterWorkers:
    """The workers on which a run is open, or is being opened; any number may come and go.

    Parameters
    ----------
    client : distributed.Client
        Of the cluster.
    opening : Opening
        What each worker is told of the run.
    check : callable
        Called with the address of each worker and the facts that `opening.begin` returned there; raises if the worker
        can't take part. A worker that comes later is left out then.
    most : int or None
        Largest number of workers; None for all.
    on_lost : callable
        Called with each worker that can't be relied on any more, and whether it has ended.
    """

    def __init__(
        self,
        client: Any,
        opening: Opening,
        *,
        check: Callable[[str, Any], None],
        most: int | None,
        on_lost: Callable[[Worker, bool], None],
    ) -> None:
        self._client = client
        self._killed_error: type[Exception] = libraries.distributed.KilledWorker
        self._opening = opening
        self._check = check
        self._most = most
        self._on_lost = on_lost
        self._workers: dict[str, Worker] = {}
        self._left_out: set[str] = set()
        """Addresses of workers that can't take part."""
        self._asked: dict[str, Future[Any]] = {}
        """Answers of new workers to the question whether they can take part."""
        self._has_begun = False
        self._failed_openings = 0
        """Number of workers that ended while they opened the run, since one did open it."""
        self._looked: float | None = None
        """When workers were last counted; None to count them at once."""

    @property
    def all(self) -> list[Worker]:
        """All workers."""
        return list(self._workers.values())

    @property
    def open(self) -> list[Worker]:
        """Workers on which the run is open."""
        return [worker for worker in self._workers.values() if worker.is_open]

    def begin(self) -> None:
        """Open the run on the workers that the cluster has; raise ClusterError if there is none, or one can't."""
        self._wait()
        self._has_begun = True

    def close(self) -> None:
        """Close the run on all workers, and wait for them, but not long: one that hangs closes it when it goes on."""
        addresses = list(self._workers)

        async def close() -> None:
            await self._client.run(close_run, self._opening.run, workers=addresses, on_error="ignore")

        try:
            if addresses:
                self._client.sync(close, callback_timeout=_ANSWER_SECONDS)
        except Exception as failure:  # noqa: BLE001 (the leases are released all the same)
            logger.debug("close_run: %s", failure)
        finally:
            for answer in self._asked.values():
                answer.cancel()
            for worker in self._workers.values():
                worker.release()
            self._workers.clear()

    def look(self) -> None:
        """Notice workers that have gone, and new ones, which open the run; wait if it is open on none."""
        self._look()
        if not self.open:
            self._wait()

    def look_again(self) -> None:
        """Let the next look be at once."""
        self._looked = None

    def lose(self, worker: Worker, what: str, *, has_ended: bool = False) -> None:
        """Rely on a worker no more; if it is still there, the run is opened again."""
        logger.warning("the worker %s %s; what it was working on is done by others", worker.address, what)
        del self._workers[worker.address]
        try:
            self._on_lost(worker, has_ended)
        finally:
            worker.release()
            self.look_again()

    def submit(self, address: str | None, function: Callable[..., Any], *args: Any, priority: int = 0) -> Any:
        """Return the future of a call on a worker, or on any."""
        try:
            return self._client.submit(function, *args, workers=address, pure=False, retries=0, priority=priority)
        except Exception as error:
            raise self._lost_scheduler(error) from error

    def _wait(self) -> None:
        """Wait until the run is open on all workers that the cluster has now; after a while, on one of them."""
        end, has_waited = time.monotonic() + NO_WORKER_SECONDS, False
        while True:
            self.look_again()
            self._look()
            if (ready := len(self.open)) and ((ready == len(self._workers) and not self._asked) or has_waited):
                return
            if not has_waited and time.monotonic() > end:
                has_waited = True
                if self._workers:
                    logger.warning("%s: waiting for the workers, which are busy", self._name)
            if has_waited and not self._workers:
                msg = f"{self._name}: no worker within {NO_WORKER_SECONDS:g} s; start workers, then run again"
                raise ClusterError(msg)
            time.sleep(_POLL_SECONDS)
            raise_pending_signal()

    @property
    def _name(self) -> str:
        return str(self._client.scheduler.address if self._client.scheduler else "the cluster")

    def _look(self) -> None:
        """Lose workers that have gone, and ask new ones to open the run; look at intervals only."""
        now = time.monotonic()
        if self._looked is not None and now < self._looked + LOOK_SECONDS:
            return
        self._looked = now
        threads, running = self._count("ncores"), self._count("ncores_running")
        for worker in self.all:
            worker.paused = None if worker.address in running else worker.paused or now
            if worker.address not in threads:
                self._note_end(worker)
            elif worker.is_cut_off:
                self.lose(worker, "has closed the run, as the cluster was restarted, or the connection to it was lost")
            elif worker.paused and now > worker.paused + _PAUSE_SECONDS:
                self.lose(worker, "takes no tasks, because it is about to end, or short of memory")
        for address in self._able(running.keys() - self._workers.keys() - self._left_out):
            if not self._is_full:
                self._open(address, running[address])
        for worker in self.all:
            if not worker.is_open and worker.facts.done():
                self._begin(worker)

    def _count(self, which: str) -> dict[str, int]:
        """Threads of workers of the cluster, by address: of all (`ncores`), or of those that are given tasks."""
        try:
            return dict(self._client.sync(getattr(self._client.scheduler, which)))
        except Exception as error:
            raise self._lost_scheduler(error) from error

    def _lost_scheduler(self, error: Exception) -> ClusterError:
        return ClusterError(f"{self._name}: the connection to the scheduler is lost ({error}); run again")

    @property
    def _is_full(self) -> bool:
        return len(self._workers) == self._most

    def _able(self, addresses: set[str]) -> list[str]:
        """Return new workers that have answered and have this package: a task would end one that lacks it.

        None is waited for, as others may have work to be given.
        """
        if self._is_full:
            self._asked.clear()
            return []

        async def ask(address: str) -> Any:
            asked = self._client.run(is_here, workers=[address], on_error="return")
            return (await asyncio.wait_for(asked, _ANSWER_SECONDS)).get(address)

        self._asked = {address: answer for address, answer in self._asked.items() if address in addresses}
        for address in addresses - self._asked.keys():
            self._asked[address] = asyncio.run_coroutine_threadsafe(ask(address), self._client.loop.asyncio_loop)
        answers = {address: self._asked.pop(address) for address in sorted(addresses) if self._asked[address].done()}
        return [address for address, answer in answers.items() if self._is_able(address, answer)]

    def _is_able(self, address: str, answer: "Future[Any]") -> bool:
        """Whether a worker has answered that it has this package; one that did not answer is asked again."""
        try:
            found = answer.result()
        except (CancelledError, OSError):  # which includes a TimeoutError
            return False
        except Exception as error:  # noqa: BLE001 (it is an answer, too)
            found = error
        if isinstance(found, Exception) and not isinstance(found, OSError):
            self._refuse(address, _unable(address, found))
        return found is True

    def _refuse(self, address: str, error: Exception) -> None:
        """Raise the error of a worker that can't take part; if the run has begun without it, leave it out."""
        if not self._has_begun:
            raise error
        logger.warning("the worker %s is not used: %s", address, error)
        self._left_out.add(address)

    def _open(self, address: str, threads: int) -> None:
        """Ask a worker to open the run."""
        # before tasks of a graph, which workers give back while the run is not open there
        lease = self.submit(address, open_run, Packer().pack(self._opening).content, priority=1)
        facts = self.submit(address, facts_of, lease, priority=1)
        self._workers[address] = Worker(address, min(threads, self._opening.threads or threads), lease, facts)

    def _begin(self, worker: Worker) -> None:
        """Check a worker on which the run was opened; raise an error if it can't take part."""
        try:
            self._check(worker.address, self._facts(worker))
        except TimeoutError as error:
            if worker.facts.status != "error":
                return  # its answer is under way, or it has gone: the next look drops it
            failure: Exception = error
        except Exception as error:  # noqa: BLE001 (raised again)
            failure = error
        else:
            worker.is_open, worker.is_late, self._failed_openings = True, self._has_begun, 0
            return
        self._refuse(worker.address, failure)
        self._workers.pop(worker.address).release()

    def _facts(self, worker: Worker) -> Any:
        """Return what a worker said when it opened the run; raise TimeoutError if that is not here."""
        if worker.facts.status not in {"finished", "error"}:
            raise TimeoutError
        try:
            return worker.facts.result(timeout=TRANSFER_SECONDS)
        except ModuleNotFoundError as error:
            raise _unable(worker.address, error) from error
        except self._killed_error as error:
            raise _openings_failed(worker.address) from error
        except RuntimeError as error:
            if "deserialization of the task graph" not in str(error):
                raise
            msg = (
                f"{self._name}: the scheduler can't read the tasks ({error.__cause__ or 'another environment'}); it "
                "needs the same versions of terrazzo and dask as this machine"
            )
            raise ClusterError(msg) from error

    def _note_end(self, worker: Worker) -> None:
        """Lose a worker that has ended; raise ClusterError if none can open the run."""
        self.lose(worker, "has gone", has_ended=True)
        self._failed_openings += not worker.is_open
        if self._failed_openings >= FAILURES and not self.open:
            raise _openings_failed(worker.address)


def _unable(address: str, error: Exception) -> ClusterError:
    """Return the error of a worker that lacks this package, or one that it needs."""
    return ClusterError(f"the worker {address} can't load terrazzo ({error}); install the same versions there as here")


def _openings_failed(address: str) -> ClusterError:
    which = f"the last at {address}; see their logs"
    return ClusterError(f"{FAILURES} workers ended while they opened the run, {which}")
