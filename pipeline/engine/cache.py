"""Cache of arrays during a run, on disk or in memory; it is removed when the run ends, also after an error."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import product
from math import prod
from operator import mul
from pathlib import Path
from threading import get_ident
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import OutputError
from pipeline.engine.work_folder import temporary_folder, write_fix

Array = npt.NDArray[Any]

Window = tuple[slice, ...]
"""Slices (start, stop), or whole, along the axes of an array; the last axes may have none, and are whole."""

_WRITE_BYTES: Final = 2**18
"""Number of bytes per write to a new file. For larger writes Linux allocates page cache in folios of megabytes, for
which there may be no memory."""


@dataclass(frozen=True)
class Entry:
    """Name and type of an array in a cache."""

    name: str
    """Key of the array."""
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def part_shape(self, window: Window) -> tuple[int, ...]:
        """Return the shape of a part of the array."""
        return np.broadcast_to(np.False_, self.shape)[window].shape


class Cache(Protocol):
    """Arrays stored under entries; threads and processes may use different ones at once.

    It may be dropped: one that is pickled and opened in another process holds what `holds` says, possibly nothing.
    Whoever reads from it must be able to make the array again, unless this process has stored it.
    """

    def holds(self, entry: Entry) -> bool:
        """Whether an array is stored, as a whole."""

    def write(self, entry: Entry, array: Array) -> None:
        """Store an array, which must not change afterwards; if that fails, nothing is stored."""

    def read(self, entry: Entry, window: Window = (), out: Array | None = None) -> Array:
        """Return a part of an array without reading the rest: in `out`, a C-contiguous array, or in a new array."""

    def update(self, entry: Entry, window: Window, part: Array) -> None:
        """Overwrite a part of a stored array with a C-contiguous array."""

    def drop(self, entry: Entry) -> None:
        """Remove an array, if it is stored."""


@dataclass(frozen=True)
class MemoryCache:
    """A `Cache` in memory. Pickles hold no arrays: in another process it is an empty cache."""

    _arrays: dict[str, Array] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return MemoryCache, ()

    def holds(self, entry: Entry) -> bool:
        """Whether an array is stored."""
        return entry.name in self._arrays

    def write(self, entry: Entry, array: Array) -> None:
        """Store an array without copying it, except for a view."""
        # a view would keep its whole base array in memory, and another part of the program may own that
        self._arrays[entry.name] = array if array.base is None else array.copy()

    def read(self, entry: Entry, window: Window = (), out: Array | None = None) -> Array:
        """Return a copy of a part of an array."""
        part = self._arrays[entry.name][window]
        if out is None:
            return part.copy()
        out[...] = part
        return out

    def update(self, entry: Entry, window: Window, part: Array) -> None:
        """Overwrite a part of a stored array."""
        self._arrays[entry.name][window] = part

    def drop(self, entry: Entry) -> None:
        """Remove an array."""
        self._arrays.pop(entry.name, None)


@dataclass(frozen=True)
class DiskCache:
    """A `Cache` of plain files in a folder, one per array. A pickle opens the same folder, with the arrays in it.

    Raises
    ------
    OutputError
        From `write`, `read` and `update`, if the disk is full or a cache file was removed or truncated.
    """

    folder: Path
    """Folder of the files, which whoever created it removes."""

    def holds(self, entry: Entry) -> bool:
        """Whether there is a file of an array; files get their names when they are complete."""
        return (self.folder / entry.name).exists()

    def write(self, entry: Entry, array: Array) -> None:
        """Write an array to a file."""
        unfinished = self.folder / f"{entry.name}.{os.getpid()}-{get_ident()}"
        buffer = np.ascontiguousarray(array).data.cast("B")
        try:
            with self._errors(entry, "written"):
                with unfinished.open("wb") as file:  # buffered, as an unbuffered write may write less than requested
                    for start in range(0, buffer.nbytes, _WRITE_BYTES):
                        file.write(buffer[start : start + _WRITE_BYTES])
                unfinished.replace(self.folder / entry.name)
        except BaseException:
            with suppress(OSError):  # the folder, and this file with it, is removed when the run ends
                unfinished.unlink(missing_ok=True)
            raise

    def read(self, entry: Entry, window: Window = (), out: Array | None = None) -> Array:
        """Read a part of an array from its file."""
        part = np.empty(entry.part_shape(window), entry.dtype) if out is None else out
        self._transfer(entry, window, part, "read back")
        return part

    def update(self, entry: Entry, window: Window, part: Array) -> None:
        """Overwrite a part of an array in its file."""
        self._transfer(entry, window, part, "written")

    def _transfer(self, entry: Entry, window: Window, part: Array, done: Literal["written", "read back"]) -> None:
        """Read or overwrite a part of an array, run by run."""
        mode: Final = "r+b" if done == "written" else "rb"
        with self._errors(entry, done), (self.folder / entry.name).open(mode, buffering=0) as file:
            transfer = file.write if done == "written" else file.readinto
            for start, run in _runs(entry, window, part):
                file.seek(start)
                moved = 0
                while moved < run.nbytes:  # operating systems transfer at most about 2 GB per call
                    count = transfer(run[moved:])
                    if not count:
                        raise OSError(errno.EIO, "the file is truncated")
                    moved += count

    def drop(self, entry: Entry) -> None:
        """Remove the file of an array."""
        with suppress(OSError):
            (self.folder / entry.name).unlink(missing_ok=True)

    @contextmanager
    def _errors(self, entry: Entry, done: Literal["written", "read back"]) -> Iterator[None]:
        """Name in the message of an error the file, and what the user can do."""
        try:
            yield
        except OSError as error:
            reason = f"the cache file {entry.name} can't be {done} ({error.strerror or error})"
            elsewhere = "set run.cache_dir to a folder on another disk"
            fix = write_fix(error, elsewhere) if done == "written" else f"was it changed? Run again, or {elsewhere}"
            msg = f"{self.folder.parent}: {reason}; {fix}"
            raise OutputError(msg) from error


def _runs(entry: Entry, window: Window, part: Array) -> Iterator[tuple[int, memoryview]]:
    """Yield each run of items of a part that are consecutive in the file: its first byte there, and its bytes."""
    cut = max((axis for axis, side in enumerate(entry.shape) if part.shape[axis] != side), default=0)
    strides = [part.itemsize * prod(entry.shape[axis + 1 :]) for axis in range(cut + 1)]
    first = sum(map(mul, (each.start or 0 for each in window), strides))
    for index in product(*map(range, part.shape[:cut])):  # axes after the last one that is cut are whole
        yield first + sum(map(mul, index, strides)), part[index].data.cast("B")


@contextmanager
def open_cache(kind: Literal["memory", "disk"], folder: Path) -> Iterator[Cache]:
    """Create a cache that is removed when the context ends.

    Parameters
    ----------
    kind : 'memory' or 'disk'
        Where the arrays are stored.
    folder : Path
        Folder in which a cache on disk creates its temporary folder.

    Raises
    ------
    OutputError
        If the temporary folder can't be created.
    """
    if kind == "memory":
        yield MemoryCache()
        return
    with temporary_folder(folder, "set run.cache_dir to another folder") as cache_folder:
        yield DiskCache(cache_folder)
