"""Progress display: bars in a terminal or a notebook, lines elsewhere, or nothing; and the time of each stage."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, Protocol

from pipeline.core import libraries
from pipeline.core.errors import ConfigError
from pipeline.core.text import shown

logger = logging.getLogger("pipeline.progress")

_LINES_PER_STAGE: Final = 4
"""Number of log lines per stage."""


class Step(Protocol):
    """Callable that reports one finished step of a stage."""

    def __call__(self) -> None:
        """Advance by one."""


class Progress:
    """Measures the time of each stage of a run and shows nothing."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        """Seconds per stage, by name; stages of the same name are added."""

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Step]:
        """Measure a stage of `total` steps (None if unknown), and show its progress."""
        start = time.perf_counter()
        try:
            with self._show(name, total) as step:
                yield step
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    @contextmanager
    def _show(self, name: str, total: int | None) -> Iterator[Step]:  # noqa: ARG002 (for subclasses)
        yield lambda: None


class BarProgress(Progress):
    """Shows each stage as a bar with the time left, on standard error; in a notebook it may be a widget."""

    def __init__(self, *, notebook: bool = False) -> None:
        super().__init__()
        self._notebook = notebook

    @contextmanager
    def _show(self, name: str, total: int | None) -> Iterator[Step]:
        bar_format = "{desc:<8} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"
        bar_format = bar_format if total else "{desc:<8} {n_fmt} passes [{elapsed}]"
        bars: Any = libraries.tqdm_auto if self._notebook else libraries.tqdm
        with bars.tqdm(total=total, desc=name, bar_format=bar_format, file=sys.stderr, dynamic_ncols=True) as bar:

            def step() -> None:
                bar.update()

            yield step


class LineProgress(Progress):
    """Tells a few lines per stage, with the time left: logs them, or calls `tell` with each."""

    def __init__(self, tell: Callable[[str], None] | None = None) -> None:
        super().__init__()
        self._tell = tell or _log

    @contextmanager
    def _show(self, name: str, total: int | None) -> Iterator[Step]:
        start, done = time.perf_counter(), 0

        def step() -> None:
            nonlocal done
            done += 1
            if total is None:
                return  # each pass logs its own result
            if done * _LINES_PER_STAGE // total > (done - 1) * _LINES_PER_STAGE // total:
                elapsed = time.perf_counter() - start
                left = elapsed / done * (total - done)
                self._tell(f"{name}: {done} of {total}, {elapsed:.1f} s, {left:.0f} s left")

        yield step


def console_progress() -> Progress:
    """Choose the progress display for standard error: bars in a terminal, otherwise log lines."""
    return BarProgress() if sys.stderr is not None and sys.stderr.isatty() else LineProgress()


def progress_of(wanted: object, function: str) -> Progress:
    """Return the progress display for the argument `progress` of a Python function.

    False or None shows nothing, True shows bars in a notebook or a terminal, and elsewhere lines on standard error; any
    `Progress` is itself. Raises ConfigError, which names the function, for anything else.
    """
    if isinstance(wanted, Progress):
        return wanted
    if wanted is None or wanted is False:
        return Progress()
    if wanted is not True:
        msg = f"{function}: progress: {shown(wanted)} is not allowed; expected True, False or a Progress"
        raise ConfigError(msg)
    if _in_notebook():
        return BarProgress(notebook=True)
    return BarProgress() if sys.stderr is not None and sys.stderr.isatty() else LineProgress(_print)


def _in_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return "IPKernelApp" in getattr(shell, "config", ())


def _log(line: str) -> None:
    logger.info("%s", line)


def _print(line: str) -> None:
    """Print a line on standard error; a stream that is closed is no reason to stop."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
