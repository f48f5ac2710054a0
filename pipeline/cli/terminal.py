"""Standard output and standard error of the command line, and what happens when they can't be written."""

import errno
import io
import logging
import os
import sys
import traceback
from collections.abc import Iterable
from typing import Any

from pipeline.core.errors import TerrazzoError
from pipeline.core.text import json_text, printable, replace_non_finite

logger = logging.getLogger(__name__)


class UnprintedError(TerrazzoError):
    """An answer can't be printed."""


class _AboveBars(logging.StreamHandler[Any]):
    """Writes log messages to standard error, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a message."""
        bars = sys.modules.get("tqdm")
        if bars and sys.stderr is not None and sys.stderr.isatty():
            try:
                bars.tqdm.write(self.format(record), file=sys.stderr)
            except OSError:  # the terminal is closed, which is no reason to stop
                self.handleError(record)
        else:
            super().emit(record)


class _OneLine(logging.Formatter):
    """Formats a message as one line, with control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return printable(record.getMessage())


def set_up_streams() -> None:
    """Show our own log messages on standard error, and escape characters that a stream can't encode."""
    handler = _AboveBars()
    handler.setFormatter(_OneLine())
    logging.getLogger("pipeline").addHandler(handler)
    logging.getLogger("rasterio").addHandler(logging.NullHandler())  # our errors include what GDAL says
    logging.getLogger("rasterio").propagate = False
    logging.getLogger("distributed.client").disabled = True  # of a lost connection it logs a traceback
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not sys.flags.dev_mode:
        sys.unraisablehook = _log_unraisable


def _log_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Log, instead of print, errors in finalizers of libraries, such as those of a file that could not be opened."""
    logger.debug("%s: %r", unraisable.err_msg or "ignored in a finalizer", unraisable.exc_value)


def output_json(record: dict[str, Any]) -> str:
    """Write a record as JSON that standard output can encode."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return json_text(replace_non_finite(record), encoding, indent=2, allow_nan=False)


def print_answer(text: str, *, nl: bool = True) -> None:
    """Print the answer of a command that writes no files, and a newline unless `nl` is False.

    Raises
    ------
    UnprintedError
        If standard output is full or closed.
    BrokenPipeError
        If the reader has closed the pipe, as in `terrazzo inspect scene.tif | head -1`.
    """
    error = _print(text, nl=nl)
    if error and error.errno == errno.EPIPE:
        raise error
    if error:
        raise UnprintedError(unprinted(error))


def unprinted(error: OSError) -> str:
    """Return the message for an answer that could not be printed."""
    return f"standard output can't be written ({error.strerror}); the answer is incomplete"


def print_summary(text: str, written: Iterable[object], *, asked: bool = False) -> None:
    """Print a summary of output files, the paths in `written`, that are complete.

    If it can't be printed, the work is done all the same: that is a warning, unless the caller `asked` for the text
    itself, by `--json`.

    Raises
    ------
    UnprintedError
        If a text that the caller asked for can't be printed.
    """
    error = _print(text)
    if error is None:
        return
    what = "the report" if asked else "the summary"
    msg = (
        f"standard output can't be written ({error.strerror}); {what} is incomplete, but all outputs are written: "
        f"{', '.join(map(str, written))}"
    )
    if asked:
        raise UnprintedError(msg)
    logger.warning("%s", msg)


def _print(text: str, *, nl: bool = True) -> OSError | None:
    """Print a text; return the error if that fails."""
    if sys.stdout is None:
        return OSError(errno.EBADF, "it is closed")
    try:
        print(text, end="\n" if nl else "", flush=True)  # noqa: T201 (click writes UTF-8 where the encoding is ASCII)
    except OSError as error:
        drop_output()
        return error
    return None


def drop_output() -> OSError | None:
    """Discard what standard output can't take, as Python would try to write it again when it exits.

    Returns the error of writing; None if there is none, or the stream is closed.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError) as error:
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        except (OSError, ValueError):  # the stream has no file descriptor
            sys.stdout = None
        return error if isinstance(error, OSError) else None
    return None


def error_of_printing(error: Exception) -> OSError | None:
    """Return an error if click raised it when it printed help, so that it is of standard output and names no file."""
    steps = [frame.f_globals.get("__name__") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return error if isinstance(error, OSError) and steps[-1:] == ["click.utils"] else None
