"""Computes parts of dask arrays: with the scheduler that is in force, else on the calling thread."""

import sys
from dataclasses import dataclass
from typing import Any

import dask
import dask.array as da
import numpy.typing as npt


@dataclass(frozen=True)
class Computer:
    """Computes parts of dask arrays with the scheduler that was in force when it was made."""

    scheduler: Any
    """A dask scheduler, or its name."""

    @classmethod
    def in_force(cls) -> "Computer":
        """The scheduler that a client, dask's config or a context names; else the calling thread computes.

        Inside a task of a dask worker the calling thread does, too: waiting there for other tasks could be for ever.
        """
        distributed = sys.modules.get("distributed")
        if distributed and _in_a_task(distributed):
            return cls("synchronous")
        named = distributed or dask.config.get("scheduler", None)  # without it no client is in force
        return cls((dask.base.get_scheduler() if named else None) or "synchronous")

    def __call__(self, *parts: da.Array) -> tuple[npt.NDArray[Any], ...]:
        """Compute parts of arrays together."""
        computed: tuple[npt.NDArray[Any], ...] = dask.compute(*parts, scheduler=self.scheduler)
        return computed


def _in_a_task(distributed: Any) -> bool:
    try:
        distributed.get_worker()
    except ValueError:
        return False
    return True
