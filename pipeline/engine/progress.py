"""What is shown while a run works: bars in a terminal, plain lines elsewhere, or nothing."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from pipeline.core import libraries

logger = logging.getLogger("pipeline.progress")

_LINES_PER_STAGE: Final = 4


class Step(Protocol):
    """Say that one more unit of the stage is done."""

    def __call__(self) -> None:
        """Advance by one."""


class Progress:
    """Times the stages of a run and shows nothing."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, total: int | None) -> Iterator[Step]:
        """Time a stage of `total` steps, None where nobody knows, and show how far it is."""
        start = time.perf_counter()
        try:
            with self._shown(name, total) as step:
                yield step
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    @contextmanager
    def _shown(self, name: str, total: int | None) -> Iterator[Step]:  # noqa: ARG002 (for those that show something)
        yield lambda: None


class BarProgress(Progress):
    """Shows each stage as a bar with the time left, on standard error."""

    @contextmanager
    def _shown(self, name: str, total: int | None) -> Iterator[Step]:
        shape = "{desc:<8} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"
        shape = shape if total else "{desc:<8} {n_fmt} passes [{elapsed}]"
        with libraries.tqdm.tqdm(total=total, desc=name, bar_format=shape, file=sys.stderr, dynamic_ncols=True) as bar:

            def step() -> None:
                bar.update()

            yield step


class LineProgress(Progress):
    """Logs a few plain lines for each stage, with the time left."""

    @contextmanager
    def _shown(self, name: str, total: int | None) -> Iterator[Step]:
        start, done = time.perf_counter(), 0

        def step() -> None:
            nonlocal done
            done += 1
            if total is None:
                return  # each says what it brought
            if done * _LINES_PER_STAGE // total > (done - 1) * _LINES_PER_STAGE // total:
                passed = time.perf_counter() - start
                left = passed / done * (total - done)
                logger.info("%s: %d of %d, %.1f s, %.0f s left", name, done, total, passed, left)

        yield step


def console_progress() -> Progress:
    """Progress as fits standard error: bars in a terminal, else lines."""
    return BarProgress() if sys.stderr is not None and sys.stderr.isatty() else LineProgress()
