"""Removal of the temporary folders of killed runs; those of living runs and all other folders stay.

A run marks its temporary folder with a file that states its process and that it keeps locked. A folder is removed only
if it contains such a mark and if folder and mark are owned by the current user; links are not followed. If the process
ran on this machine it decides whether the run is alive, otherwise the lock.
"""

import errno
import logging
import os
import stat
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pipeline.engine.owner_mark import MARK, MARK_START, Owner, take_lock

logger = logging.getLogger(__name__)

# not renamed with the cache: it is how folders of earlier versions are found
PREFIX: Final = ".terrazzo-scratch-"
"""Prefix of the names of temporary folders."""

ONLY_COPY: Final = "only-copy-"
"""Prefix of the names of earlier outputs that a run moved to its temporary folder, and that are the only copy."""

STORE: Final = "store-"
"""Prefix of the names of folders that a run makes in its temporary folder: unfinished outputs that are folders."""

_MOST_LEVELS: Final = 8
"""Largest number of folders within each other that are removed; an output has fewer."""

_MAX_MARK_BYTES: Final = 4096
"""Number of bytes read of a mark; a mark of this program is shorter."""

_MAX_RUN_SECONDS: Final = 30 * 24 * 3600
"""Age in seconds from which the folder of another machine, whose locks may be invisible here, counts as left over."""

_NO_FOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)
_HAS_DIR_FD: Final = os.open in os.supports_dir_fd
"""Whether files can be opened relative to an open folder, so that it can't be swapped meanwhile; not on Windows."""


def remove_leftovers(parent: Path) -> None:
    """Remove the temporary folders of killed runs of this user; everything else stays, even with the same prefix."""
    with suppress(OSError):  # a problem of this folder is reported when a temporary folder is created in it
        with os.scandir(parent) as entries:
            found = [Path(entry.path) for entry in entries if entry.name.startswith(PREFIX)]
        for folder in found:
            with suppress(OSError):
                _remove_leftover(folder)


def remove_folder(folder: Path) -> str:
    """Remove a temporary folder of this run, its mark last, so that the next run recognises what a kill leaves.

    Returns
    -------
    str
        Why the folder could not be removed, or an empty string. This must not fail the run.
    """
    with suppress(OSError), ExitStack() as context:
        opened = _open_folder(folder, context)
        if note := _only_copies_note(opened):
            return note
        _clear(opened)
    with suppress(OSError):
        folder.rmdir()
    if os.path.lexists(folder):
        return f"{folder}: this temporary folder can't be removed; remove it by hand"
    return ""


@dataclass(frozen=True)
class _Folder:
    """An open folder."""

    path: Path
    """Path of the folder."""
    descriptor: int | None
    """File descriptor of the folder; None if files can only be opened by their paths."""

    def name(self, name: str) -> str:
        """Name of a file in the folder for functions of `os` that take `dir_fd`."""
        return name if self.descriptor is not None else str(self.path / name)

    def names(self) -> list[str]:
        """Names of all entries of the folder."""
        return os.listdir(self.path if self.descriptor is None else self.descriptor)  # noqa: PTH208 (by descriptor)


def _open_folder(path: Path, context: ExitStack, parent: _Folder | None = None) -> _Folder:
    """Open a folder, by its name in an open parent; raise OSError if it can't be one of this user's runs.

    So if it is a link, not a folder, owned by another user, or on another disk than its parent.
    """
    if not _HAS_DIR_FD:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or getattr(found, "st_reparse_tag", False):  # a link or a junction
            raise NotADirectoryError(path)
        return _Folder(path, None)
    above = None if parent is None else parent.descriptor
    name = path if parent is None else path.name
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | _NO_FOLLOW, dir_fd=above)
    context.callback(os.close, descriptor)
    found = os.fstat(descriptor)
    _check_owner(found, path)
    if above is not None and found.st_dev != os.fstat(above).st_dev:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(path))
    return _Folder(path, descriptor)


def _check_owner(found: os.stat_result, path: Path) -> None:
    """Raise PermissionError if a file or folder is owned by another user."""
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "owned by another user", str(path))


def _open_mark(folder: _Folder, context: ExitStack) -> BinaryIO:
    """Open the mark of a folder; raise OSError if it is missing, not a regular file, or owned by another user."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | _NO_FOLLOW | getattr(os, "O_NONBLOCK", 0), dir_fd=folder.descriptor)

    file = context.enter_context(open(folder.name(MARK), "r+b", opener=opener))  # noqa: SIM115 (the context closes it)
    found = os.fstat(file.fileno())
    _check_owner(found, folder.path / MARK)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise PermissionError(errno.EPERM, "not a file of this program", str(folder.path / MARK))
    return file


def _only_copies_note(folder: _Folder) -> str:
    """Return a warning that lists earlier outputs of which a folder contains the only copy; empty if there are none."""
    names = sorted(name for name in folder.names() if name.startswith(ONLY_COPY))
    if not names:
        return ""
    return (
        f"{folder.path}: not removed: it contains {', '.join(names)}, earlier outputs that a run moved here before "
        "replacing them and could not move back; move them back, or remove the folder"
    )


def _remove_leftover(path: Path) -> None:
    """Remove a folder if it was created by a run of this program and user that has ended."""
    with ExitStack() as context:
        folder = _open_folder(path, context)
        if not folder.names():
            path.rmdir()  # the run was killed before it marked the folder
            return
        with ExitStack() as marks:
            if not _is_left_over(folder, _open_mark(folder, marks)):
                return
            if note := _only_copies_note(folder):
                logger.warning("%s", note)
                return
            if sys.platform == "win32":  # an open file can't be removed
                marks.close()
            _clear(folder)  # while locked: a run that is just creating the folder notices
        path.rmdir()
        logger.info("%s: removed the temporary files of a killed run", path)


def _is_left_over(folder: _Folder, file: BinaryIO) -> bool:
    """Whether the run that created a folder has ended."""
    text = file.read(_MAX_MARK_BYTES)
    owner = Owner.read(text)
    if owner is None and not (MARK_START.startswith(text[: len(MARK_START)]) and folder.names() == [MARK]):
        return False  # not of this program; a truncated mark alone is of a run killed while it wrote the mark
    locked = take_lock(file)
    if owner is None or locked is False:
        return bool(locked)
    if owner.is_visible_here:  # also if the lock is free: the folder may be a copy of that of a living run
        return owner.is_gone
    is_old = time.time() - os.fstat(file.fileno()).st_mtime > _MAX_RUN_SECONDS
    return is_old or bool(locked and owner.locks and owner.is_on_this_machine)


def _clear(folder: _Folder) -> None:
    """Remove all files in a folder, the mark last; raise OSError if it contains a folder that no run creates there.

    Such a folder may be the mount point of another disk.
    """
    names = folder.names()
    if any(_is_folder(folder, name) and not name.startswith(STORE) for name in names):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(folder.path))
    _remove_all(folder, sorted(names, key=lambda name: name == MARK), _MOST_LEVELS)


def _remove_all(folder: _Folder, names: Sequence[str], levels: int) -> None:
    """Remove files and folders in a folder; links are removed, not followed. Raise OSError at another disk."""
    for name in names:
        if not _is_folder(folder, name):
            os.unlink(folder.name(name), dir_fd=folder.descriptor)
            continue
        if not levels:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder.path / name))
        with ExitStack() as context:
            inner = _open_folder(folder.path / name, context, folder)
            _remove_all(inner, inner.names(), levels - 1)
        os.rmdir(folder.name(name), dir_fd=folder.descriptor)


def _is_folder(folder: _Folder, name: str) -> bool:
    """Whether a name in a folder is that of a folder, not of a link to one."""
    return stat.S_ISDIR(os.lstat(folder.name(name), dir_fd=folder.descriptor).st_mode)
