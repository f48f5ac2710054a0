"""What a signal does to the command: it says so and ends in order, so that temporary files go.

Python handles signals on the main thread alone, between two steps of its own. Where that thread is inside a library for
longer than is bearable, another thread, which the system tells of signals as they come, removes what is temporary and
leaves.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

TYPE_CHECKING = False  # that of `typing`, whose import takes most of the time until the command heeds signals
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Final, NoReturn

    Handler = Callable[[int, FrameType | None], None]

_PATIENCE: Final = 2.5
"""Seconds that a run has to end in order; what it takes to remove its files comes on top, and 5 are promised."""

STOPPED: Final = "terrazzo: stopped; no output was left half-written"

_BY_SIGNAL: Final = 128
"""What exit statuses are above that tell of a signal."""


class _Ending:
    """Why the process is to end, once a signal has asked for it; and whether that has to wait."""

    def __init__(self) -> None:
        self.reason: BaseException | None = None
        self.status: int | None = None
        self.waits = False
        self.guard = threading.RLock()
        """Held while signals wait, and for good by the thread that leaves."""
        self.removals: list[Callable[[], None]] = []
        self.watched = False
        self.show_unraisable: Callable[[Any], object] = sys.__unraisablehook__


_ending = _Ending()


def handle_signals() -> None:
    """Let signals that end a process end what is under way first, or else, after some seconds, the process."""
    _handle(_stop, _interrupt)
    if sys.platform != "win32" and not _ending.watched:
        _ending.watched = True
        told, tell = os.pipe()
        os.set_blocking(tell, False)
        signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # its signals are not ours
        threading.Thread(target=_watch, args=(told,), name="signals-terrazzo", daemon=True).start()
        _ending.show_unraisable, sys.unraisablehook = sys.unraisablehook, _say_unraisable


def exit_at_signals() -> None:
    """Let signals that end a process end it at once: there is nothing yet, or nothing any more, to be removed."""
    _handle(_leave_now, _leave_now)


def raise_pending_signal() -> None:
    """Raise what a signal raised, once more: libraries that are just being imported may swallow it."""
    if _ending.reason and not _ending.waits:
        raise _ending.reason


def signal_exit_status() -> int | None:
    """Exit status of a process that a signal ends; None where none has come."""
    return _ending.status


def call_before_exit(remove: Callable[[], None]) -> None:
    """Have something done before the process is left from beside the main thread, such as files removed."""
    _ending.removals.append(remove)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Let signals wait until the context ends, for what must not be left half-done."""
    outer, _ending.waits = _ending.waits, True
    try:
        with _ending.guard:
            yield
    finally:
        _ending.waits = outer
    raise_pending_signal()


def _handle(stop: Handler, interrupt: Handler) -> None:
    """Handle the signals that end a process, but for those that whoever started it has it ignore."""
    replaced = (signal.SIG_DFL, signal.default_int_handler, *_OURS)
    for name in {"SIGINT", "SIGTERM", "SIGHUP"} & set(dir(signal)):  # Windows has no SIGHUP
        number = signal.Signals[name]
        if signal.getsignal(number) in replaced:  # nohup ignores SIGHUP, a shell's background job SIGINT
            signal.signal(number, interrupt if name == "SIGINT" else stop)


def _end(reason: BaseException, number: int, more: str = "") -> None:
    if _ending.reason:  # what cleans up is not to be disturbed
        return
    _ending.reason, _ending.status = reason, _BY_SIGNAL + number
    _say(f"terrazzo: stopping, once what is under way has ended{more}")
    raise_pending_signal()


def _stop(number: int, _frame: FrameType | None) -> None:
    _end(SystemExit(_BY_SIGNAL + number), number)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    """End as Python does at Ctrl-C; a third one ends the process at once, whatever it is in the middle of."""
    if _ending.reason or sys.platform == "win32":  # the second one is seen by the thread that watches
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _end(KeyboardInterrupt(), number, "; Ctrl-C again ends it at once")


def _leave_now(number: int, _frame: FrameType | None) -> None:
    _say(STOPPED)
    os._exit(_BY_SIGNAL + number)


_OURS: Final = (_stop, _interrupt, _leave_now)


def _watch(told: int) -> None:
    """Leave some seconds after a signal, at a second Ctrl-C at once, if the process has not ended until then."""
    asked: int | None = None
    end = 0.0
    while asked is None or time.monotonic() < end:
        ready, _, _ = select.select([told], [], [], None if asked is None else max(0.0, end - time.monotonic()))
        number = os.read(told, 1)[0] if ready else 0
        if asked is not None and number == signal.SIGINT:
            break
        if asked is None and signal.getsignal(number) in _OURS:
            asked, end = number, time.monotonic() + _PATIENCE
    _leave(asked)


def _leave(number: int) -> NoReturn:
    """End the process, with its files removed, whatever its other threads do."""
    _ending.guard.acquire()  # for good: what must not be half-done is done, and no more of it begins
    try:
        for remove in _ending.removals:
            remove()
        _say(STOPPED)
    finally:
        os._exit(_BY_SIGNAL + number)


def _say(line: str) -> None:
    with suppress(OSError, ValueError):  # not through sys.stderr: it may just be writing
        if sys.platform == "win32" or select.select([], [2], [], 0)[1]:  # a pipe that nobody reads may be full
            os.write(2, f"{line}\n".encode())


def _say_unraisable(what: Any) -> None:
    """Show what Python can't raise, but not what a signal raised: that is raised again."""
    if what.exc_value is None or what.exc_value is not _ending.reason:
        _ending.show_unraisable(what)
