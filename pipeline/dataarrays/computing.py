"""Computes parts of dask arrays: with the scheduler that is in force, else on the calling thread."""

import sys
from dataclasses import dataclass
from typing import Any

import dask
import dask.array as da
import numpy.typing as npt
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph


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

    def __call__(self, *parts: Any) -> tuple[npt.NDArray[Any], ...]:
        """Compute parts of arrays together; numpy's stay as they are."""
        if self.scheduler != "synchronous":
            parts = tuple(map(_alone, parts))
        computed: tuple[npt.NDArray[Any], ...] = dask.compute(*parts, scheduler=self.scheduler)
        return computed


def _alone(part: Any) -> Any:
    """A part of an array with no more of its graph than it needs: clients send graphs as they are."""
    graph = part.__dask_graph__() if isinstance(part, da.Array) else None
    if not isinstance(graph, HighLevelGraph):
        return part
    needed = graph.cull(set(flatten(part.__dask_keys__()))).to_dict()
    return da.Array(needed, part.name, part.chunks, meta=part)


def _in_a_task(distributed: Any) -> bool:
    try:
        distributed.get_worker()
    except ValueError:
        return False
    return True
