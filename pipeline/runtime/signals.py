"""What a signal does to the command: it says so and ends in order, so that temporary files go."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class _Ending:
    """Why the process is to end, once a signal has asked for it; and whether that has to wait."""

    def __init__(self) -> None:
        self.reason: BaseException | None = None
        self.waits = False


_ending = _Ending()


def heed_signals() -> None:
    """Let signals that end a process end what is under way first."""
    for name in {"SIGTERM", "SIGHUP"} & set(dir(signal)):  # Windows has no SIGHUP
        number = signal.Signals[name]
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background job ignores it
        signal.signal(signal.SIGINT, _interrupt)


def end_if_asked() -> None:
    """Raise what a signal raised, once more: libraries that are just being imported may swallow it."""
    if _ending.reason and not _ending.waits:
        raise _ending.reason


@contextmanager
def signals_wait() -> Iterator[None]:
    """Let signals wait until the context ends, for what must not be left half-done."""
    outer, _ending.waits = _ending.waits, True
    try:
        yield
    finally:
        _ending.waits = outer
    end_if_asked()


def _end(reason: BaseException, more: str = "") -> None:
    if _ending.reason:  # what cleans up is not to be disturbed
        return
    _ending.reason = reason
    with suppress(OSError):  # not through sys.stderr: it may just be writing
        os.write(2, f"terrazzo: stopping, once what is under way has ended{more}\n".encode())
    end_if_asked()


def _stop(number: int, _frame: FrameType | None) -> None:
    _end(SystemExit(128 + number))


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """End as Python does at Ctrl-C; a second one ends the process at once, whatever it is in the middle of."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _end(KeyboardInterrupt(), "; Ctrl-C again ends it at once")
