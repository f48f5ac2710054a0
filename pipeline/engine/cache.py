"""Bytes kept while a run lasts: on disk or in memory, by name, gone at the end however the run ends."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import OutputError
from pipeline.engine.work_folder import temporary_folder

Array = npt.NDArray[Any]

_AT_ONCE: Final = 2**18
"""Bytes of a new file written at once. Of larger pieces Linux makes pages of megabytes, for which no memory may be at
hand."""


class Cache(Protocol):
    """Arrays by name, whose bytes are kept in C order. Different names may be used from several threads at once."""

    def put(self, name: str, *arrays: Array) -> None:
        """Keep arrays, one after the other. They belong to the cache from then on."""

    def take(self, name: str, *parts: tuple[int, Array]) -> None:
        """Fill C-contiguous arrays with what is kept, each from a byte on, and from one of the arrays put."""

    def change(self, name: str, start: int, array: Array) -> None:
        """Write an array over what is kept, from a byte on."""

    def drop(self, name: str) -> None:
        """Let go of what is kept, or was half kept, under a name."""


def _bytes(array: Array) -> npt.NDArray[np.uint8]:
    """The bytes of a C-contiguous array, or of a copy that is."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


class MemoryCache:
    """A `Cache` in memory."""

    def __init__(self) -> None:
        self._kept: dict[str, list[npt.NDArray[np.uint8]]] = {}

    def put(self, name: str, *arrays: Array) -> None:
        """Keep arrays themselves, not copies: nobody may change them any more."""
        # a part of an array is copied: it would keep the whole, and somebody else may own that
        self._kept[name] = [_bytes(array if array.base is None else array.copy()) for array in arrays]

    def take(self, name: str, *parts: tuple[int, Array]) -> None:
        """Fill arrays with what is kept."""
        for start, out in parts:
            _bytes(out)[...] = self._within(name, start, out.nbytes)

    def change(self, name: str, start: int, array: Array) -> None:
        """Write an array over what is kept."""
        self._within(name, start, array.nbytes)[...] = _bytes(array)

    def drop(self, name: str) -> None:
        """Let go of arrays."""
        self._kept.pop(name, None)

    def _within(self, name: str, start: int, size: int) -> npt.NDArray[np.uint8]:
        """Some bytes of one of the arrays kept."""
        for kept in self._kept[name]:
            if start < kept.nbytes:
                return kept[start : start + size]
            start -= kept.nbytes
        msg = f"{name}: there is no byte {start}"
        raise IndexError(msg)


class DiskCache:
    """A `Cache` of plain files in a folder, one for each name.

    Raises
    ------
    OutputError
        From each method, when the disk is full or what was written is gone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, *arrays: Array) -> None:
        """Keep the bytes of arrays."""
        with self._file(name, "wb", "written") as file:
            for array in arrays:
                room = _bytes(array).data
                for start in range(0, room.nbytes, _AT_ONCE):
                    file.write(room[start : start + _AT_ONCE])

    def take(self, name: str, *parts: tuple[int, Array]) -> None:
        """Fill arrays with what is kept."""
        with self._file(name, "rb", "read back") as file:
            for start, out in parts:
                file.seek(start)
                room = _bytes(out).data
                while room.nbytes:  # systems give some 2 GB at once
                    read = file.readinto(room)  # type: ignore[attr-defined]
                    if not read:
                        raise OSError(errno.EIO, "it was cut short")
                    room = room[read:]

    def change(self, name: str, start: int, array: Array) -> None:
        """Write an array over what is kept."""
        with self._file(name, "r+b", "written") as file:
            file.seek(start)
            file.write(_bytes(array).data)

    def drop(self, name: str) -> None:
        """Remove a file."""
        with suppress(OSError):  # the folder goes at the end, and this with it
            (self._folder / name).unlink(missing_ok=True)

    @contextmanager
    def _file(self, name: str, mode: str, done: str) -> Iterator[BinaryIO]:
        try:
            # buffered where something is written: a raw write may write less than it was given
            with (self._folder / name).open(mode, buffering=0 if mode == "rb" else -1) as file:
                yield file  # type: ignore[misc]
        except OSError as error:
            why = f"the cache file {name} can't be {done} ({error.strerror or error})"
            fix = (
                "make room there, or set" if "w" in mode or "+" in mode else "did something touch it? Run again, or set"
            )
            msg = f"{self._folder.parent}: {why}; {fix} run.cache_dir to a folder of another disk"
            raise OutputError(msg) from error


@contextmanager
def open_cache(kind: Literal["memory", "disk"], folder: Path) -> Iterator[Cache]:
    """Make a cache that is gone when the context ends.

    Parameters
    ----------
    kind : 'memory' or 'disk'
        Where the bytes are.
    folder : Path
        Where a cache on disk makes a folder of its own.

    Raises
    ------
    OutputError
        When no folder can be made.
    """
    if kind == "memory":
        yield MemoryCache()
        return
    with temporary_folder(folder, "set run.cache_dir to another") as own:
        yield DiskCache(own)
