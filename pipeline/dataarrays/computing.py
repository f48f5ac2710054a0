"""Computes parts of dask arrays with the current scheduler, else on the calling thread."""

import sys
from dataclasses import dataclass
from typing import Any

import dask
import dask.array as da
import numpy.typing as npt
from dask.core import flatten
from dask.highlevelgraph import HighLevelGraph

from pipeline.core.errors import ConfigError


@dataclass(frozen=True)
class Computer:
    """Computes parts of dask arrays with the scheduler that was current when this object was created."""

    scheduler: Any
    """A dask scheduler, or the name of one."""

    @classmethod
    def in_force(cls) -> "Computer":
        """Use the scheduler set by a client, dask's config or a context manager; without one, the calling thread.

        Inside a task of a dask worker the calling thread computes, too: waiting there for other tasks could deadlock.
        """
        distributed = sys.modules.get("distributed")
        if distributed and _in_task(distributed):
            return cls("synchronous")
        may_be_set = distributed or dask.config.get("scheduler", None)  # without `distributed` there is no client
        try:
            return cls((dask.base.get_scheduler() if may_be_set else None) or "synchronous")
        except RuntimeError as error:  # of an asynchronous client, or where a closed one has set itself as default
            msg = f"dask has no scheduler for the blocks ({error}); use a client that is open and not asynchronous"
            raise ConfigError(msg) from error

    @property
    def client(self) -> Any:
        """The client of a cluster whose scheduler this is; None if it is another scheduler."""
        distributed, owner = sys.modules.get("distributed"), getattr(self.scheduler, "__self__", None)
        return owner if distributed and isinstance(owner, distributed.Client) else None

    def __call__(self, *parts: Any) -> tuple[npt.NDArray[Any], ...]:
        """Compute parts of dask arrays in one call; numpy arrays are returned unchanged."""
        if self.scheduler != "synchronous":
            parts = tuple(map(_culled, parts))
        # by name, early versions of dask warn if there is a client
        scheduler = dask.get if self.scheduler == "synchronous" else self.scheduler
        computed: tuple[npt.NDArray[Any], ...] = dask.compute(*parts, scheduler=scheduler)
        return computed


def _culled(part: Any) -> Any:
    """Reduce the graph of a part of an array to the tasks it needs: clients send whole graphs to their scheduler."""
    graph = part.__dask_graph__() if isinstance(part, da.Array) else None
    if not isinstance(graph, HighLevelGraph):
        return part
    needed = graph.cull(set(flatten(part.__dask_keys__()))).to_dict()
    return da.Array(needed, part.name, part.chunks, meta=part)


def _in_task(distributed: Any) -> bool:
    """Whether this thread runs a task of a dask worker."""
    try:
        distributed.get_worker()
    except ValueError:
        return False
    return True
