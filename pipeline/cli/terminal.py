"""Standard output and standard error of the command: what is said there, and what becomes of it where it can't be."""

import errno
import io
import logging
import os
import sys
from collections.abc import Iterable
from typing import Any

from pipeline.core.errors import TerrazzoError
from pipeline.core.text import finite, json_text, printable

logger = logging.getLogger(__name__)


class UnprintedError(TerrazzoError):
    """What was asked for can't be printed."""


class _AboveBars(logging.StreamHandler[Any]):
    """Writes lines on standard error, above the bar that is shown there, if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        bars = sys.modules.get("tqdm")
        if bars and sys.stderr is not None and sys.stderr.isatty():
            try:
                bars.tqdm.write(self.format(record), file=sys.stderr)
            except OSError:  # a terminal that is gone; no reason to stop
                self.handleError(record)
        else:
            super().emit(record)


class _OneLine(logging.Formatter):
    """Shows a message in one line, whatever stands in the names and numbers from outside."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return printable(record.getMessage())


def set_up_streams() -> None:
    """Show our own warnings on standard error, and let characters that an encoding lacks be escaped."""
    handler = _AboveBars()
    handler.setFormatter(_OneLine())
    logging.getLogger("pipeline").addHandler(handler)
    logging.getLogger("rasterio").addHandler(logging.NullHandler())  # errors carry what libraries say
    logging.getLogger("rasterio").propagate = False
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not sys.flags.dev_mode:
        sys.unraisablehook = _log_unraisable


def _log_unraisable(what: "sys.UnraisableHookArgs") -> None:
    """Keep off the terminal what objects of libraries say as they go, such as those of a file that never opened."""
    logger.debug("%s: %r", what.err_msg or "ignored as an object went", what.exc_value)


def encoding_of_output() -> str:
    """The encoding of standard output."""
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def output_json(record: dict[str, Any]) -> str:
    """Write a record as JSON that standard output can encode."""
    return json_text(finite(record), encoding_of_output(), indent=2, allow_nan=False)


def print_answer(text: str, *, nl: bool = True) -> None:
    """Print what was asked for.

    Raises
    ------
    UnprintedError
        When standard output is full or closed.
    BrokenPipeError
        When nobody reads on, as of `terrazzo inspect scene.tif | head -1`.
    """
    reason = _print(text, nl=nl)
    if reason is None:
        return
    if reason.errno == errno.EPIPE:
        raise reason
    raise UnprintedError(unprinted(reason))


def unprinted(reason: OSError) -> str:
    """Say that an answer was lost."""
    return f"standard output can't be written ({reason.strerror}), so the answer was not printed as a whole"


def print_summary(text: str, written: Iterable[object], *, asked: bool = False) -> None:
    """Print what is said of files that are whole.

    Where it can't be printed, the work is done all the same: that is said, and is no failure, but where the text
    itself was asked for.

    Parameters
    ----------
    text : str
        To be printed.
    written : iterable
        The files.
    asked : bool
        Whether the caller wants the text, as of `--json`.

    Raises
    ------
    UnprintedError
        When a text that was asked for can't be printed as a whole.
    """
    reason = _print(text)
    if reason is None:
        return
    what = "the report" if asked else "the summary"
    msg = (
        f"standard output can't be written ({reason.strerror}), so {what} was not printed as a whole; all outputs are "
        f"written: {', '.join(map(str, written))}"
    )
    if asked:
        raise UnprintedError(msg)
    logger.warning("%s", msg)


def _print(text: str, *, nl: bool = True) -> OSError | None:
    """Print, or give the reason why that failed."""
    if sys.stdout is None:
        return OSError(errno.EBADF, "it is closed")
    try:
        print(text, end="\n" if nl else "", flush=True)  # noqa: T201 (click writes UTF-8 where the encoding is ASCII)
    except OSError as error:
        drop_output()
        return error
    return None


def drop_output() -> OSError | None:
    """Let what standard output can't take go nowhere: Python would try to write it once more as it ends.

    Returns
    -------
    OSError or None
        Why it takes nothing; None where it does, or is closed.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError) as error:
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        except (OSError, ValueError):  # no stream of the system
            sys.stdout = None
        return error if isinstance(error, OSError) else None
    return None
