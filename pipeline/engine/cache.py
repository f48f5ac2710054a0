"""Cache for arrays during a run, on disk or in memory; it is removed when the run ends, also after an error."""

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

_WRITE_BYTES: Final = 2**18
"""Number of bytes per write to a new file. For larger writes Linux allocates page cache in folios of megabytes, for
which there may be no memory."""


class Cache(Protocol):
    """Arrays stored by name, as bytes in C order. Several threads may use different names at the same time."""

    def put(self, name: str, *arrays: Array) -> None:
        """Store arrays, one after the other, under a name. The caller must not change them afterwards."""

    def take(self, name: str, *parts: tuple[int, Array]) -> None:
        """Fill C-contiguous arrays with stored bytes.

        Each part is the offset of its first byte and the array to fill; it must be within one of the stored arrays.
        """

    def change(self, name: str, start: int, array: Array) -> None:
        """Overwrite stored bytes with an array, beginning at byte `start`."""

    def drop(self, name: str) -> None:
        """Remove what is stored under a name, also if `put` failed half-way."""


def _bytes(array: Array) -> npt.NDArray[np.uint8]:
    """View an array as bytes; one that is not C-contiguous is copied."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


class MemoryCache:
    """A `Cache` in memory."""

    def __init__(self) -> None:
        self._arrays: dict[str, list[npt.NDArray[np.uint8]]] = {}

    def put(self, name: str, *arrays: Array) -> None:
        """Store arrays without copying them, except for views."""
        # a view would keep its whole base array in memory, and another part of the program may own that
        self._arrays[name] = [_bytes(array if array.base is None else array.copy()) for array in arrays]

    def take(self, name: str, *parts: tuple[int, Array]) -> None:
        """Fill arrays with stored bytes."""
        for start, out in parts:
            _bytes(out)[...] = self._part(name, start, out.nbytes)

    def change(self, name: str, start: int, array: Array) -> None:
        """Overwrite stored bytes with an array."""
        self._part(name, start, array.nbytes)[...] = _bytes(array)

    def drop(self, name: str) -> None:
        """Remove the arrays stored under a name."""
        self._arrays.pop(name, None)

    def _part(self, name: str, start: int, size: int) -> npt.NDArray[np.uint8]:
        """Return `size` bytes from byte `start` on, all within one stored array."""
        for cached in self._arrays[name]:
            if start < cached.nbytes:
                return cached[start : start + size]
            start -= cached.nbytes
        msg = f"{name}: byte {start} is beyond the end of the cached arrays"
        raise IndexError(msg)


class DiskCache:
    """A `Cache` of plain files in a folder, one file per name.

    Raises
    ------
    OutputError
        From each method, if the disk is full or a cache file was removed or truncated.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, *arrays: Array) -> None:
        """Write the bytes of arrays to a file."""
        with self._file(name, "wb", "written") as file:
            for array in arrays:
                buffer = _bytes(array).data
                for start in range(0, buffer.nbytes, _WRITE_BYTES):
                    file.write(buffer[start : start + _WRITE_BYTES])

    def take(self, name: str, *parts: tuple[int, Array]) -> None:
        """Fill arrays with stored bytes."""
        with self._file(name, "rb", "read back") as file:
            for start, out in parts:
                file.seek(start)
                buffer = _bytes(out).data
                while buffer.nbytes:  # operating systems read at most about 2 GB per call
                    read = file.readinto(buffer)  # type: ignore[attr-defined]
                    if not read:
                        raise OSError(errno.EIO, "the file is truncated")
                    buffer = buffer[read:]

    def change(self, name: str, start: int, array: Array) -> None:
        """Overwrite stored bytes with an array."""
        with self._file(name, "r+b", "written") as file:
            file.seek(start)
            file.write(_bytes(array).data)

    def drop(self, name: str) -> None:
        """Remove the file of a name."""
        with suppress(OSError):  # the folder, and this file with it, is removed when the run ends
            (self._folder / name).unlink(missing_ok=True)

    @contextmanager
    def _file(self, name: str, mode: str, done: str) -> Iterator[BinaryIO]:
        try:
            # buffered for writing: an unbuffered write may write less than requested
            with (self._folder / name).open(mode, buffering=0 if mode == "rb" else -1) as file:
                yield file  # type: ignore[misc]
        except OSError as error:
            reason = f"the cache file {name} can't be {done} ({error.strerror or error})"
            fix = "make room there, or set" if "w" in mode or "+" in mode else "was it changed? Run again, or set"
            msg = f"{self._folder.parent}: {reason}; {fix} run.cache_dir to a folder on another disk"
            raise OutputError(msg) from error


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
