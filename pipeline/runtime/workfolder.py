"""A folder for the temporary files of one run, gone when the run ends; those of killed runs are removed by the next."""

import errno
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from pipeline.errors import OutputError
from pipeline.runtime.signals import before_leaving, signals_wait

logger = logging.getLogger(__name__)

_PREFIX: Final = ".terrazzo-scratch-"
_LOCK: Final = "lock"
_HELD: Final = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK})
_TRIES: Final = 5

_own: dict[Path, BinaryIO] = {}
"""Folders that stand, and their locks."""


@contextmanager
def own_folder(parent: Path, fix: str) -> Iterator[Path]:
    """Make a folder that is gone when the context ends, after those that killed runs left beside it are removed.

    Parameters
    ----------
    parent : Path
        Where it is made.
    fix : str
        What the user can do where that fails, for the message.

    Raises
    ------
    OutputError
        When no folder can be made.
    """
    remove_leftovers(parent)
    made: tuple[Path, BinaryIO] | None = None
    try:
        with signals_wait():  # a folder that nobody knows of would stay
            made = _make_folder(parent, fix)
            _own[made[0]] = made[1]
        yield made[0]
    finally:
        if made:
            own, lock = made
            with signals_wait():
                lock.close()  # first: Windows removes no open file, and network drives give it another name
                _remove(own)
                del _own[own]


def remove_own_folders() -> None:
    """Remove the folders that this process has made and not removed: for a process that is about to be left."""
    for folder, lock in list(_own.items()):
        gone = folder
        with suppress(OSError):  # so that other threads, which go on, make no more files in it
            gone = folder.rename(folder.with_name(f"{folder.name}-gone"))
        lock.close()
        _remove(gone)


before_leaving(remove_own_folders)


def folder_of(path: Path) -> Path:
    """The folder that a user knows a file, temporary or not, to be in."""
    return path.parent.parent if path.parent.name.startswith(_PREFIX) else path.parent


def lost(path: Path, what: str, key: str, error: OSError) -> OutputError:
    """Give the error that says why an output can't be written, and which key of the config puts it elsewhere."""
    reason = error.strerror or error
    return OutputError(
        f"{folder_of(path)}: {what} can't be written ({reason}); make room there, or set {key} elsewhere"
    )


def _make_folder(parent: Path, fix: str) -> tuple[Path, BinaryIO]:
    """Make a folder with a file in it that this process holds locked.

    A run that is just looking for leftovers may take it for one, before it is locked: then another is made.
    """
    if not parent.is_dir():
        msg = f"{parent}: this is no folder, or does not exist; create it, or {fix}"
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
    msg = f"{parent}: no folder for temporary files can be made here ({reason}); {fix}"
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
    """Remove the folders of runs that were killed: those whose lock nobody holds."""
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
                logger.info("%s: what a killed run left is removed (%.1f MB)", folder, size / 1e6)


def _remove(folder: Path) -> None:
    """Remove a folder, the lock last: whoever is killed in between leaves what the next run knows."""
    with suppress(OSError):  # what is left must not cost the user the map
        for file in folder.iterdir():
            if file.name != _LOCK:
                file.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        logger.warning("%s: the folder of temporary files can't be removed; remove it by hand", folder)
