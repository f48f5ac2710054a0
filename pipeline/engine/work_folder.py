"""A folder for the temporary files of one run, gone when the run ends; those of killed runs are removed by the next."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Final

from pipeline.core.errors import OutputError
from pipeline.engine.leftovers import PREFIX, remove_folder, remove_leftovers
from pipeline.engine.owner_mark import MARK, mark
from pipeline.engine.signals import call_before_exit, defer_signals

logger = logging.getLogger(__name__)

_TRIES: Final = 5

_own: dict[Path, FileIO] = {}
"""Folders that stand, and their locks."""


@contextmanager
def temporary_folder(parent: Path, fix: str) -> Iterator[Path]:
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
    made: tuple[Path, FileIO] | None = None
    try:
        with defer_signals():  # a folder that nobody knows of would stay
            made = _make_folder(parent, fix)
            _own[made[0]] = made[1]
        yield made[0]
    finally:
        if made:
            own, lock = made
            with defer_signals():
                lock.close()  # first: Windows removes no open file, and network drives give it another name
                left = remove_folder(own)
                del _own[own]
                if left:
                    logger.warning("%s", left)


def remove_temporary_folders() -> None:
    """Remove the folders that this process has made and not removed: for a process that is about to be left."""
    for folder, lock in list(_own.items()):
        gone = folder
        with suppress(OSError):  # so that other threads, which go on, make no more files in it
            gone = folder.rename(folder.with_name(f"{folder.name}-gone"))
        lock.close()
        remove_folder(gone)


call_before_exit(remove_temporary_folders)


def folder_of(path: Path) -> Path:
    """The folder that a user knows a file, temporary or not, to be in."""
    return path.parent.parent if path.parent.name.startswith(PREFIX) else path.parent


def output_error(path: Path, what: str, key: str, error: OSError) -> OutputError:
    """Give the error that says why an output can't be written, and which key of the config puts it elsewhere."""
    reason = error.strerror or error
    return OutputError(
        f"{folder_of(path)}: {what} can't be written ({reason}); make room there, or set {key} elsewhere"
    )


def _make_folder(parent: Path, fix: str) -> tuple[Path, FileIO]:
    """Make a folder with a file in it that marks it as this process's.

    A run that is just looking for leftovers may take it for one, before it is marked: then another is made.
    """
    if not parent.is_dir():
        msg = f"{parent}: this is no folder, or does not exist; create it, or {fix}"
        raise OutputError(msg)
    reason = "it goes again at once"
    for _ in range(_TRIES):
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        except OSError as error:
            reason = str(error.strerror)
            continue
        try:
            lock = FileIO(folder / MARK, "x")  # unbuffered: on a full disk it must close
        except OSError as error:  # another run has just taken the folder for a leftover, or the disk is full
            reason = str(error.strerror)
            shutil.rmtree(folder, ignore_errors=True)
            continue
        try:
            mark(lock)
        except BlockingIOError:
            pass
        except OSError as error:
            reason = str(error.strerror)
        else:
            if (folder / MARK).exists():
                return folder, lock
        lock.close()
        shutil.rmtree(folder, ignore_errors=True)
    msg = f"{parent}: no folder for temporary files can be made here ({reason}); {fix}"
    raise OutputError(msg)
