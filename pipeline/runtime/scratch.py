"""Bytes kept while a run lasts: on disk or in memory, by name, gone at the end however the run ends."""

import errno
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.errors import OutputError

logger = logging.getLogger(__name__)

_PREFIX: Final = ".terrazzo-scratch-"
_LOCK: Final = "lock"
_HELD: Final = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK})
_TRIES: Final = 5

Array = npt.NDArray[Any]


class Scratch(Protocol):
    """Arrays by name, whose bytes are kept in C order. Different names may be used from several threads at once."""

    def put(self, name: str, *arrays: Array) -> None:
        """Keep arrays, one after the other. They belong to the scratch from then on."""

    def take(self, name: str, *parts: tuple[int, Array]) -> None:
        """Fill C-contiguous arrays with what is kept, each from a byte on, and from one of the arrays put."""

    def change(self, name: str, start: int, array: Array) -> None:
        """Write an array over what is kept, from a byte on."""


def _bytes(array: Array) -> npt.NDArray[np.uint8]:
    """The bytes of a C-contiguous array, or of a copy that is."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


class MemoryScratch:
    """A `Scratch` in memory."""

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

    def _within(self, name: str, start: int, size: int) -> npt.NDArray[np.uint8]:
        """Some bytes of one of the arrays kept."""
        for kept in self._kept[name]:
            if start < kept.nbytes:
                return kept[start : start + size]
            start -= kept.nbytes
        msg = f"{name}: there is no byte {start}"
        raise IndexError(msg)


class DiskScratch:
    """A `Scratch` of plain files in a folder, one for each name.

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
                file.write(_bytes(array).data)

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

    @contextmanager
    def _file(self, name: str, mode: str, done: str) -> Iterator[BinaryIO]:
        try:
            # buffered where something is written: a raw write may write less than it was given
            with (self._folder / name).open(mode, buffering=0 if mode == "rb" else -1) as file:
                yield file  # type: ignore[misc]
        except OSError as error:
            msg = f"{self._folder}: the scratch file {name} can't be {done} ({error.strerror or error})"
            raise OutputError(msg) from error


@contextmanager
def open_scratch(kind: Literal["memory", "disk"], folder: Path) -> Iterator[Scratch]:
    """Make a scratch that is gone when the context ends.

    Parameters
    ----------
    kind : 'memory' or 'disk'
        Where the bytes are.
    folder : Path
        Where a scratch on disk makes a folder of its own. What earlier runs that were killed left there is removed.

    Raises
    ------
    OutputError
        When no folder can be made.
    """
    if kind == "memory":
        yield MemoryScratch()
        return
    remove_leftovers(folder)
    own, lock = _make_folder(folder)
    try:
        yield DiskScratch(own)
    finally:
        lock.close()
        _remove(own)


def _make_folder(parent: Path) -> tuple[Path, BinaryIO]:
    """Make a folder with a file in it that this process holds locked.

    A run that is just looking for leftovers may take it for one, before it is locked: then another is made.
    """
    if not parent.is_dir():
        msg = f"{parent}: this folder does not exist; create it, or set run.scratch_dir to one that does"
        raise OutputError(msg)
    reason = "it goes again at once"
    for _ in range(_TRIES):
        try:
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        except OSError as error:
            reason = str(error.strerror)
            continue
        try:
            lock = (folder / _LOCK).open("wb")
        except OSError as error:  # another run has just taken the folder for a leftover, or the disk is full
            reason = str(error.strerror)
            shutil.rmtree(folder, ignore_errors=True)
            continue
        try:
            _take_lock(lock)
        except OSError as error:
            if error.errno not in _HELD:
                logger.debug("%s: files can't be locked here (%s)", parent, error.strerror)
                return folder, lock
        else:
            if (folder / _LOCK).exists():
                return folder, lock
        lock.close()
        shutil.rmtree(folder, ignore_errors=True)
    msg = f"{parent}: no scratch folder can be made here ({reason}); set run.scratch_dir to another"
    raise OutputError(msg)


def _take_lock(file: BinaryIO) -> None:
    """Lock a file, or raise OSError. The system lets it go when the process ends, however it ends."""
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 (Windows)

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl  # noqa: PLC0415 (all others)

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_leftovers(parent: Path) -> None:
    """Remove the scratch folders of runs that were killed: those whose lock nobody holds."""
    with suppress(OSError):  # whatever is wrong with this folder is said when one is made in it
        for folder in parent.glob(_PREFIX + "*"):
            with suppress(OSError):
                if not (folder / _LOCK).exists():
                    folder.rmdir()  # made, and left, before it was locked; fails where anything is in it
                    continue
                with (folder / _LOCK).open("r+b") as lock:
                    _take_lock(lock)
                    size = sum(file.stat().st_size for file in folder.iterdir())
                    if sys.platform != "win32":
                        _remove(folder)  # still locked: whoever is just making it finds that out
                if sys.platform == "win32":  # where an open file can't be removed
                    _remove(folder)
                logger.info("%s: %.0f MB that a killed run left are removed", folder, size / 1e6)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # what is left must not cost the user the map
    if folder.exists():
        logger.warning("%s: the scratch folder can't be removed; remove it by hand", folder)
