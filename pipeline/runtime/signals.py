"""What a signal does to the command: it says so and ends in order, so that temporary files go."""

import os
import signal
from contextlib import suppress
from types import FrameType


def heed_signals() -> None:
    """Let signals that end a process end what is under way first."""
    for name in {"SIGTERM", "SIGHUP"} & set(dir(signal)):  # Windows has no SIGHUP
        number = signal.Signals[name]
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background job ignores it
        signal.signal(signal.SIGINT, _interrupt)


def _say_stopping(more: str = "") -> None:
    with suppress(OSError):  # not through sys.stderr: it may just be writing
        os.write(2, f"terrazzo: stopping, once what is under way has ended{more}\n".encode())


def _stop(number: int, _frame: FrameType | None) -> None:
    _say_stopping()
    raise SystemExit(128 + number)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """End as Python does at Ctrl-C; a second one ends the process at once, whatever it is in the middle of."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _say_stopping("; Ctrl-C again ends it at once")
    raise KeyboardInterrupt
