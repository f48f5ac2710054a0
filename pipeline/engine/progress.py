"""Progress display: bars in a terminal, log lines elsewhere, or nothing; and the time of each stage."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from pipeline.core import libraries

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
    """Shows each stage as a bar with the time left, on standard error."""

    @contextmanager
    def _show(self, name: str, total: int | None) -> Iterator[Step]:
        bar_format = "{desc:<8} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"
        bar_format = bar_format if total else "{desc:<8} {n_fmt} passes [{elapsed}]"
        with libraries.tqdm.tqdm(
            total=total, desc=name, bar_format=bar_format, file=sys.stderr, dynamic_ncols=True
        ) as bar:

            def step() -> None:
                bar.update()

            yield step


class LineProgress(Progress):
    """Logs a few lines per stage, with the time left."""

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
                logger.info("%s: %d of %d, %.1f s, %.0f s left", name, done, total, elapsed, left)

        yield step


def console_progress() -> Progress:
    """Choose the progress display for standard error: bars in a terminal, otherwise log lines."""
    return BarProgress() if sys.stderr is not None and sys.stderr.isatty() else LineProgress()
