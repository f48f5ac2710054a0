"""Signal handling of the command: it reports the signal, ends cleanly and removes temporary files.

Python runs signal handlers only on the main thread, between two bytecodes. If that thread stays inside a library call
for longer than the grace period, another thread, which reads signals from a pipe, removes temporary files and exits.
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

TYPE_CHECKING = False  # as in `typing`, whose import would delay the installation of the handlers
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Final, NoReturn

    Handler = Callable[[int, FrameType | None], None]

_GRACE_SECONDS: Final = 2.5
"""Grace period in seconds for a run to end cleanly. Removing its files takes longer; 5 seconds are promised in all."""

STOPPED: Final = "terrazzo: stopped; no output was left half-written"
"""Message at the exit of a command that a signal has ended."""

_SIGNAL_STATUS: Final = 128
"""Exit status of a process ended by a signal, minus the number of the signal."""


class _Ending:
    """State of the end of the process that a signal has requested."""

    def __init__(self) -> None:
        self.reason: BaseException | None = None
        """Exception raised by the signal; None if there was none."""
        self.status: int | None = None
        """Exit status; None if there was no signal."""
        self.deferred = False
        """True while signals are deferred."""
        self.lock = threading.RLock()
        """Lock held while signals are deferred, and finally by the thread that exits."""
        self.cleanups: list[Callable[[], None]] = []
        """Functions that remove temporary files before an exit from another thread."""
        self.watched = False
        """True if the thread that watches for signals was started."""
        self.show_unraisable: Callable[[Any], object] = sys.__unraisablehook__
        """Hook for unraisable exceptions that was installed before ours."""


_ending = _Ending()


def handle_signals() -> None:
    """Install handlers: a signal ends the run cleanly or, after a grace period, exits the process."""
    _handle(_on_terminate, _on_interrupt)
    if sys.platform != "win32" and not _ending.watched:
        _ending.watched = True
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # a child must not write to our pipe
        threading.Thread(target=_watch, args=(reader,), name="signals-terrazzo", daemon=True).start()
        _ending.show_unraisable, sys.unraisablehook = sys.unraisablehook, _show_unraisable


def exit_at_signals() -> None:
    """Install handlers that exit at once, for the time when there are no temporary files."""
    _handle(_exit_now, _exit_now)


def raise_pending_signal() -> None:
    """Raise the exception of a received signal again: libraries may swallow it while they are imported."""
    if _ending.reason and not _ending.deferred:
        raise _ending.reason


def signal_exit_status() -> int | None:
    """Exit status for the received signal; None if there was none."""
    return _ending.status


def call_before_exit(cleanup: Callable[[], None]) -> None:
    """Register a function, such as the removal of files, to call before an exit from another than the main thread."""
    _ending.cleanups.append(cleanup)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Defer signals until the context ends, for operations that must not be interrupted."""
    outer, _ending.deferred = _ending.deferred, True
    try:
        with _ending.lock:
            yield
    finally:
        _ending.deferred = outer
    raise_pending_signal()


def _handle(on_terminate: Handler, on_interrupt: Handler) -> None:
    """Install handlers for the signals that end a process, except for those that the parent process made it ignore."""
    replaced = (signal.SIG_DFL, signal.default_int_handler, *_OURS)
    for name in {"SIGINT", "SIGTERM", "SIGHUP"} & set(dir(signal)):  # Windows has no SIGHUP
        number = signal.Signals[name]
        if signal.getsignal(number) in replaced:  # nohup ignores SIGHUP, a shell's background job SIGINT
            signal.signal(number, on_interrupt if name == "SIGINT" else on_terminate)


def _begin_ending(reason: BaseException, number: int, hint: str = "") -> None:
    if _ending.reason:  # the clean-up is not interrupted by a second signal
        return
    _ending.reason, _ending.status = reason, _SIGNAL_STATUS + number
    _write_error(f"terrazzo: stopping after the work in progress{hint}")
    raise_pending_signal()


def _on_terminate(number: int, _frame: FrameType | None) -> None:
    _begin_ending(SystemExit(_SIGNAL_STATUS + number), number)


def _on_interrupt(number: int, _frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; the default action of a third Ctrl-C ends the process without clean-up."""
    if _ending.reason or sys.platform == "win32":  # the watching thread handles the second one
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _begin_ending(KeyboardInterrupt(), number, "; press Ctrl-C again to stop at once")


def _exit_now(number: int, _frame: FrameType | None) -> None:
    _write_error(STOPPED)
    os._exit(_SIGNAL_STATUS + number)


_OURS: Final = (_on_terminate, _on_interrupt, _exit_now)
"""Signal handlers of this module."""


def _watch(reader: int) -> None:
    """Exit the process if it has not ended within the grace period after a signal, or at a second Ctrl-C."""
    received: int | None = None
    end = 0.0
    while received is None or time.monotonic() < end:
        ready, _, _ = select.select([reader], [], [], None if received is None else max(0.0, end - time.monotonic()))
        number = os.read(reader, 1)[0] if ready else 0
        if received is not None and number == signal.SIGINT:
            break
        if received is None and signal.getsignal(number) in _OURS:
            received, end = number, time.monotonic() + _GRACE_SECONDS
    _exit_with_cleanup(received)


def _exit_with_cleanup(number: int) -> NoReturn:
    """Remove temporary files and exit, without waiting for other threads."""
    _ending.lock.acquire()  # never released: deferring operations have finished, and no other begins
    try:
        for cleanup in _ending.cleanups:
            cleanup()
        _write_error(STOPPED)
    finally:
        os._exit(_SIGNAL_STATUS + number)


def _write_error(line: str) -> None:
    with suppress(OSError, ValueError):  # not through sys.stderr, which may be locked by a write
        if sys.platform == "win32" or select.select([], [2], [], 0)[1]:  # writing to a full pipe would block
            os.write(2, f"{line}\n".encode())


def _show_unraisable(unraisable: Any) -> None:
    """Show unraisable exceptions, except for that of a signal, which is raised again."""
    if unraisable.exc_value is None or unraisable.exc_value is not _ending.reason:
        _ending.show_unraisable(unraisable)
