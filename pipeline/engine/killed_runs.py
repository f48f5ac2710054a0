"""A process that outlives this one, and removes the temporary folders that it and its workers leave if they are killed.

Otherwise the next run that uses a folder removes them. It is used for workers that end with this process.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pipeline.engine.leftovers import remove_leftovers

_START: Final = f"import sys; sys.path[:] = sys.argv[2:]; from {__name__} import wait; wait(sys.argv[1])"
"""Program of the process: folders as JSON in the first argument, then where modules are found, as in this process."""

_DONE: Final = b"done"
"""What the process reads at the end of the context."""

_SECONDS: Final = 4.0
"""Time in which folders are looked for: workers end within a second after the process that has started them."""

_LOOK_SECONDS: Final = 0.2
"""Interval at which they are looked for."""


@contextmanager
def removed_if_killed(folders: Iterable[Path]) -> Iterator[None]:
    """Have what runs leave in these folders removed if this process is killed within the context."""
    listed = json.dumps(sorted({str(folder.resolve()) for folder in folders}))
    process = subprocess.Popen(  # noqa: S603 (this program alone)
        [sys.executable, "-I", "-c", _START, listed, *sys.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # signals of a terminal are for this process
    )
    try:
        yield
    finally:
        process.communicate(_DONE)


def wait(listed: str) -> None:
    """Wait until the process at the other end of standard input ends; then remove leftovers in folders, given as JSON.

    If it says that it is done, there are none.
    """
    if sys.stdin.buffer.read() == _DONE:
        return
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        for folder in json.loads(listed):
            remove_leftovers(Path(folder))
        time.sleep(_LOOK_SECONDS)
