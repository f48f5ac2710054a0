"""Inputs of tasks on a cluster: lazy collections, such as blocks of dask arrays, computed where the task runs."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pipeline.engine.executor import PerProcess


class NotGivenError(LookupError):
    """A task was not given an input, because its process was given it before, and has lost it since."""


_task = threading.local()
"""The inputs of the task that a thread runs."""


@contextmanager
def given_inputs(inputs: Mapping[str, Any]) -> Iterator[None]:
    """Make inputs known to what runs on this thread in the context."""
    _task.inputs = inputs
    try:
        yield
    finally:
        _task.inputs = {}


def given_input(name: str) -> Any:
    """Return an input of the task that runs on this thread; raise NotGivenError if it has none of this name."""
    try:
        return _task.inputs[name]
    except (AttributeError, KeyError):
        msg = f"{name}: not given to this task"
        raise NotGivenError(msg) from None


class Inputs:
    """Inputs of a task's items.

    Parameters
    ----------
    parts : iterable of PerProcess
        All parts of the task.
    """

    def __init__(self, parts: Iterable[PerProcess]) -> None:
        self._parts = [part for part in parts if part.has_inputs != "never"]

    def __bool__(self) -> bool:
        return bool(self._parts)

    @property
    def always(self) -> bool:
        """Whether a process must be given inputs each time."""
        return any(part.has_inputs == "always" for part in self._parts)

    def of(self, items: Iterable[Any]) -> dict[str, Callable[[], Any]]:
        """Return the inputs of some items, by name."""
        found: dict[str, Callable[[], Any]] = {}
        for item in items if self else ():
            for part in self._parts:
                found.update(part.inputs(item))
        return found
