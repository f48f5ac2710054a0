"""A time limit for what waits for other machines: it is done on a thread beside, which is left behind when time is up.

A thread inside a library's call can't be stopped. Whoever waits for it can stop waiting, at a signal, too.
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
from pipeline.core.time_limits import DEFAULT_TIMEOUT
from pipeline.engine.signals import raise_pending_signal

Result = TypeVar("Result")


_LOOK: Final = 0.2
"""Seconds after which a thread that waits looks whether a signal, or an error elsewhere, has ended the run."""

_MOST_LEFT: Final = 32
"""Threads that are left behind at most, before nothing more is asked of other machines; each holds a connection."""


@dataclass(frozen=True)
class _Limit:
    seconds: float = DEFAULT_TIMEOUT
    end: float | None = None
    """When it is reached, once it runs."""


_limit: ContextVar[_Limit] = ContextVar("limit", default=_Limit())  # noqa: B039 (it is frozen)
_local = threading.local()
_left: set[threading.Thread] = set()


def current_limit() -> float:
    """Seconds that an open, or the reading of a block, may take."""
    return _limit.get().seconds


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Set the limit for each open, and each source that is made, in the context."""
    before = _limit.set(_Limit(seconds))
    try:
        yield
    finally:
        _limit.reset(before)


@contextmanager
def _one_limit(seconds: float) -> Iterator[None]:
    """Let all that is waited for in the context share one limit, or an outer one that runs already."""
    outer = _limit.get()
    running = outer if outer.end is not None else _Limit(seconds, time.monotonic() + seconds)
    before = _limit.set(running)
    try:
        yield
    finally:
        _limit.reset(before)


def limits_for_blocks(*, remote: bool) -> Callable[[], AbstractContextManager[None]]:
    """Give what makes, on any thread, a context in which a block is read: with the limit that is in force now."""
    return partial(_one_limit, current_limit()) if remote else nullcontext


def wait_until(stopped: threading.Event) -> None:
    """Let this thread wait for other machines only until an event, besides the limit: when nobody wants the answer."""
    _local.stopped = stopped


def within_limit(work: Callable[[], Result], what: str) -> Result:
    """Do work on a thread beside and wait for it, as long as the limit says.

    Parameters
    ----------
    work : callable
        What may wait for another machine, with all its retries. What it holds stays as long as it runs, and so must
        not be given back or closed by the caller when this fails.
    what : str
        What the work does to which file, for the message: "a.tif: rows 0-9 can't be read".

    Raises
    ------
    StalledError
        When time is up. The work goes on, and nobody hears of it.
    """
    if getattr(_local, "is_beside", False):  # the work of one thread is not divided further
        return work()
    limit = _limit.get()
    end = limit.end or time.monotonic() + limit.seconds
    running, context = replace(limit, end=end), copy_context()
    context.run(_limit.set, running)
    stopped: threading.Event | None = getattr(_local, "stopped", None)
    future = _beside().submit(partial(context.run, work), what)
    try:
        while not future.done():
            if time.monotonic() >= end:
                msg = (
                    f"{what}: there was no full answer within {limit.seconds:g} s, the limit that run.timeout sets; "
                    "look whether the server is well, or set run.timeout higher"
                )
                raise StalledError(msg)
            if stopped and stopped.is_set():
                msg = f"{what}: not waited for, as the work has ended"
                raise StalledError(msg)
            wait([future], min(_LOOK, max(0.0, end - time.monotonic())))
            raise_pending_signal()
    finally:
        if not future.done():
            _left.add(_local.beside.thread)
            del _local.beside
    return future.result()


def has_abandoned_threads() -> bool:
    """Whether threads were left behind that have not ended yet."""
    _left.difference_update([thread for thread in list(_left) if not thread.is_alive()])
    return bool(_left)


class _Beside:
    """A thread that works for another one, and ends with it."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self.thread = threading.Thread(target=_serve, args=(self._jobs,), name="beside-terrazzo", daemon=True)
        self.thread.start()

    def submit(self, work: Callable[[], Result], what: str) -> "Future[Result]":
        if has_abandoned_threads() and len(_left) >= _MOST_LEFT:
            msg = f"{what}: nothing is asked any more: {len(_left)} earlier requests still wait for an answer"
            raise StalledError(msg)
        future: Future[Result] = Future()
        self._jobs.put((future, work))
        return future

    def __del__(self) -> None:
        self._jobs.put(None)


def _beside() -> _Beside:
    """The thread beside this one."""
    if not (hasattr(_local, "beside") and _local.beside.thread.is_alive()):  # threads are not forked
        _local.beside = _Beside()
    found: _Beside = _local.beside
    return found


def _serve(jobs: "SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]") -> None:
    _local.is_beside = True
    while job := jobs.get():
        future, work = job
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 (raised where the result is waited for)
            future.set_exception(error)
        del job, future, work  # while nothing is to be done
