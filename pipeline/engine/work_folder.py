"""The temporary folder of a run: removed when the run ends, or by the next run if this one is killed."""

import errno
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
from pipeline.engine.owner_mark import write_mark
from pipeline.engine.signals import call_before_exit, defer_signals

logger = logging.getLogger(__name__)

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers of a full disk or an exhausted quota."""

_ATTEMPTS: Final = 5
"""Number of attempts to create a temporary folder."""

_folders: dict[Path, FileIO] = {}
"""Existing temporary folders of this process, each with its lock."""


@contextmanager
def temporary_folder(parent: Path, fix: str) -> Iterator[Path]:
    """Create a temporary folder that is removed when the context ends; first remove those of killed runs.

    Parameters
    ----------
    parent : Path
        Folder in which it is created.
    fix : str
        What the user can do if that fails, for the error message.

    Raises
    ------
    OutputError
        If no folder can be created.
    """
    remove_leftovers(parent)
    created: tuple[Path, FileIO] | None = None
    try:
        with defer_signals():  # otherwise a signal could leave a folder that is not registered
            created = _make_folder(parent, fix)
            _folders[created[0]] = created[1]
        yield created[0]
    finally:
        if created:
            folder, lock = created
            with defer_signals():
                note = _remove(folder, lock)
                del _folders[folder]
                if note:
                    logger.warning("%s", note)


def remove_temporary_folders() -> None:
    """Remove all temporary folders of this process before it exits."""
    for folder, lock in list(_folders.items()):
        _remove(folder, lock)


def _remove(folder: Path, lock: FileIO) -> str:
    """Remove a temporary folder of this process; return why that failed, or an empty string."""
    renamed = folder
    with suppress(OSError):  # so that other threads, which still run, create no more files in it
        renamed = folder.rename(folder.with_name(f"{folder.name}-gone"))
    lock.close()  # first: Windows does not remove open files, and network drives rename them
    return remove_folder(renamed)


call_before_exit(remove_temporary_folders)


def folder_of(path: Path) -> Path:
    """Folder of a file, to name in messages: for one in a temporary folder, the folder that contains that."""
    return path.parent.parent if path.parent.name.startswith(PREFIX) else path.parent


def output_error(path: Path, what: str, key: str, error: OSError) -> OutputError:
    """Build the error of an output that can't be written, with the config key that sets its path."""
    fix = write_fix(error, f"set {key} to a path on another disk")
    return OutputError(f"{folder_of(path)}: {what} can't be written ({error.strerror or error}); {fix}")


def write_fix(error: OSError, elsewhere: str) -> str:
    """Fix for a file that can't be written: elsewhere; or where it is, if the reason of the system allows that."""
    if error.errno in _FULL:
        return f"make room there, or {elsewhere}"
    return f"is the disk failing? If so, {elsewhere}" if error.errno == errno.EIO else elsewhere


def _make_folder(parent: Path, fix: str) -> tuple[Path, FileIO]:
    """Create a folder with a mark of this process in it.

    Before it is marked another run may take it for a leftover and remove it: then another one is created.
    """
    if not parent.is_dir():
        msg = f"{parent}: not a folder, or does not exist; create it, or {fix}"
        raise OutputError(msg)
    reason = ""
    for _ in range(_ATTEMPTS):
        try:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        except OSError as error:
            reason = str(error.strerror)
            continue
        try:
            return folder, write_mark(folder)
        except OSError as error:  # another run has just removed the folder as a leftover, or the disk is full
            reason = str(error.strerror)
            shutil.rmtree(folder, ignore_errors=True)
    msg = f"{parent}: can't create a temporary folder here ({reason}); {fix}"
    raise OutputError(msg)
