"""Time limits for remote requests: they run on a worker thread, which is abandoned at the time limit.

A thread inside a library call can't be stopped, but the thread that waits for it can stop waiting, also at a signal.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from pipeline.core.errors import StalledError
from pipeline.core.timeouts import DEFAULT_TIMEOUT
from pipeline.engine.signals import raise_pending_signal

Result = TypeVar("Result")

_POLL_SECONDS: Final = 0.2
"""Interval, in seconds, at which a waiting thread checks whether a signal or another error has ended the run."""

_MAX_ABANDONED: Final = 32
"""Largest number of abandoned threads, each with an open connection; with more, remote requests are refused."""


@dataclass(frozen=True)
class _Limit:
    """A time limit, set for an open or for the reading of a block."""

    seconds: float = DEFAULT_TIMEOUT
    """Duration in seconds."""
    end: float | None = None
    """Time of `time.monotonic` at which it is reached; None until it starts."""


_limit: ContextVar[_Limit] = ContextVar("limit", default=_Limit())  # noqa: B039 (it is frozen)
_local = threading.local()
_abandoned: set[threading.Thread] = set()


def current_limit() -> float:
    """Time limit in seconds for an open or for the reading of a block."""
    return _limit.get().seconds


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Set the time limit for each open, and for each source created, in the context."""
    before = _limit.set(_Limit(seconds))
    try:
        yield
    finally:
        _limit.reset(before)


@contextmanager
def _shared_limit(seconds: float) -> Iterator[None]:
    """Apply one time limit to all requests in the context together, or the outer one if it has already started."""
    outer = _limit.get()
    running = outer if outer.end is not None else _Limit(seconds, time.monotonic() + seconds)
    before = _limit.set(running)
    try:
        yield
    finally:
        _limit.reset(before)


def limits_for_blocks(*, remote: bool) -> Callable[[], AbstractContextManager[None]]:
    """Return a factory of contexts in which blocks are read, on any thread, each with the current time limit."""
    return partial(_shared_limit, current_limit()) if remote else nullcontext


def wait_until(stopped: threading.Event) -> None:
    """Let this thread also stop waiting for remote requests at an event, after which the answer is not needed."""
    _local.stopped = stopped


def is_stopped() -> bool:
    """Whether the result of what this thread does is not needed any more: see `wait_until`."""
    stopped: threading.Event | None = getattr(_local, "stopped", None)
    return stopped is not None and stopped.is_set()


def within_limit(work: Callable[[], Result], what: str) -> Result:
    """Call a function on a worker thread and wait for its result up to the time limit.

    Parameters
    ----------
    work : callable
        Function that may wait for a server, including retries. It may go on after the time limit, so the caller must
        not close or reuse what it uses.
    what : str
        Beginning of the error message, with the file and the operation: "a.tif: rows 0-9 can't be read".

    Raises
    ------
    StalledError
        At the time limit. The function goes on, and its result is ignored.
    """
    if getattr(_local, "is_worker", False):  # a worker calls nested functions directly
        return work()
    limit = _limit.get()
    end = limit.end or time.monotonic() + limit.seconds
    running, context = replace(limit, end=end), copy_context()
    context.run(_limit.set, running)
    future = _worker().submit(partial(context.run, work), what)
    try:
        while not future.done():
            if time.monotonic() >= end:
                msg = (
                    f"{what}: no complete answer within {limit.seconds:g} s, the time limit set by run.timeout; "
                    "check the server, or set run.timeout higher"
                )
                raise StalledError(msg)
            if is_stopped():
                msg = f"{what}: cancelled, because the run has ended"
                raise StalledError(msg)
            wait([future], min(_POLL_SECONDS, max(0.0, end - time.monotonic())))
            raise_pending_signal()
    finally:
        if not future.done():
            _abandoned.add(_local.worker.thread)
            del _local.worker
    return future.result()


def has_abandoned_threads() -> bool:
    """Whether abandoned threads are still running."""
    _abandoned.difference_update([thread for thread in list(_abandoned) if not thread.is_alive()])
    return bool(_abandoned)


class _Worker:
    """A thread that calls functions for another thread, and ends with it."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self.thread = threading.Thread(target=_serve, args=(self._jobs,), name="request-terrazzo", daemon=True)
        self.thread.start()

    def submit(self, work: Callable[[], Result], what: str) -> "Future[Result]":
        if has_abandoned_threads() and len(_abandoned) >= _MAX_ABANDONED:
            msg = f"{what}: not requested, because {len(_abandoned)} earlier requests are unanswered; check the server"
            raise StalledError(msg)
        future: Future[Result] = Future()
        self._jobs.put((future, work))
        return future

    def __del__(self) -> None:
        self._jobs.put(None)


def _worker() -> _Worker:
    """Worker thread of this thread."""
    if not (hasattr(_local, "worker") and _local.worker.thread.is_alive()):  # a forked process has no worker threads
        _local.worker = _Worker()
    found: _Worker = _local.worker
    return found


def _serve(jobs: "SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]") -> None:
    _local.is_worker = True
    while job := jobs.get():
        future, work = job
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 (raised in the waiting thread)
            future.set_exception(error)
        del job, future, work  # release them while the thread is idle
