"""Run a command as a fresh process and measure it.

Measures wall seconds from start to exit, and the peak resident memory of the
process as the kernel counted it.  On Linux a child's peak starts from what its
parent held when it was started, so whoever imports this module should stay
small: no numpy, no rasterio.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class RunFailedError(RuntimeError):
    """A measured command exited with an error or printed no JSON."""


@dataclass(frozen=True)
class Measured:
    """One run of a command.

    Attributes
    ----------
    seconds : float
        Wall time from start to exit.
    status : int
        Exit status.
    peak_bytes : int or None
        Peak resident memory of the largest process; None where the platform
        does not tell.
    report : dict
        What the command printed as JSON.

    """

    seconds: float
    status: int
    peak_bytes: int | None
    report: dict[str, Any]


def run_fresh(command: Sequence[str], folder: Path, most: float | None = None) -> Measured:
    """Run a command that prints one JSON object, and measure it.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments.
    folder : Path
        Where it runs.
    most : float, optional
        Seconds after which it is stopped.

    Returns
    -------
    Measured
        The times, the memory, and the printed object.

    Raises
    ------
    TimeoutError
        Where it took too long.
    RunFailedError
        Where the exit status is not 0, or the output is not a JSON object.

    """
    # Files rather than pipes: nobody has to read while the command runs.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        child = subprocess.Popen(
            list(command),
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        timer = threading.Timer(most, child.kill) if most else None
        if timer:
            timer.start()
        status, peak = _wait(child)
        seconds = time.perf_counter() - start
        if timer:
            timer.cancel()
        printed, complaint = _text(out), _text(err)
    if status != 0 and most and seconds >= most:
        message = f"{_shown(command)} was stopped after {most:.0f} s"
        raise TimeoutError(message)
    if status != 0:
        message = f"{_shown(command)} exited with status {status}:\n{complaint}"
        raise RunFailedError(message)
    return Measured(seconds, status, peak, _parse(command, printed))


def _environment() -> dict[str, str]:
    """Give a run what this process has, but let it keep Python's compiled modules, as an install does."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def _wait(child: subprocess.Popen[bytes]) -> tuple[int, int | None]:
    """Wait for a child; give its exit status and peak memory in bytes."""
    try:
        if sys.platform == "win32":
            return child.wait(), None
        _, raw, usage = os.wait4(child.pid, 0)
    except BaseException:
        # Interrupted: a run of minutes must not go on unseen.
        child.kill()
        child.wait()
        raise
    status = os.waitstatus_to_exitcode(raw)
    child.returncode = status
    # Linux and the BSDs count KiB, macOS counts bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return status, usage.ru_maxrss * unit


def _text(stream: Any) -> str:
    """Give all that was written to a file."""
    stream.seek(0)
    return str(stream.read().decode("utf-8", "replace"))


def _parse(command: Sequence[str], printed: str) -> dict[str, Any]:
    """Read the one JSON object that a command printed."""
    try:
        report = json.loads(printed)
    except json.JSONDecodeError as error:
        message = f"{_shown(command)} printed no JSON: {printed[:500]!r}"
        raise RunFailedError(message) from error
    if not isinstance(report, dict):
        message = f"{_shown(command)} printed JSON that is no object"
        raise RunFailedError(message)
    return report


def _shown(command: Sequence[str]) -> str:
    """Give the command as a message names it."""
    return " ".join(command)
