"""Folders of temporary files that killed runs left: told from those of living runs and of others, and removed.

A run marks its folder with a file that it holds locked and that says which process made it. Only a folder that has
such a file, both owned by who runs this program, is removed, and no link is followed on the way. Whether the run is
alive the process that the file names tells, if it ran here; else the lock.
"""

import errno
import logging
import os
import stat
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pipeline.engine.owner_mark import HELD, MARK, START, Owner, take_lock

logger = logging.getLogger(__name__)

PREFIX: Final = ".terrazzo-scratch-"
"""How the names of all folders of temporary files begin."""

ONLY_COPY: Final = "only-copy-"
"""How the names of files begin that a run set aside to replace them, and that have no other name."""

_LARGEST_MARK: Final = 4096
_LONGEST_RUN: Final = 30 * 24 * 3600
"""Seconds after which a folder is left over, even if another machine made it, whose locks may not be seen here."""

_NO_LINKS: Final = getattr(os, "O_NOFOLLOW", 0)
_FOLDERS_BY_NUMBER: Final = os.open in os.supports_dir_fd
"""Whether files can be named within an open folder, so that nobody can put another folder in its place: not on Windows.
"""


def remove_leftovers(parent: Path) -> None:
    """Remove the folders of this user's runs that were killed; all else stays, whatever it is called."""
    with suppress(OSError):  # whatever is wrong with this folder is said when one is made in it
        with os.scandir(parent) as entries:
            found = [Path(entry.path) for entry in entries if entry.name.startswith(PREFIX)]
        for folder in found:
            with suppress(OSError):
                _remove_leftover(folder)


def remove_folder(folder: Path) -> str:
    """Remove a folder of temporary files of this run's own, the mark last: the next run knows what a kill leaves.

    Returns
    -------
    str
        Why it still stands, if it does: what is left must not cost the user the map.
    """
    with suppress(OSError), ExitStack() as context:
        opened = _open_folder(folder, context)
        if kept := _only_copies(opened):
            return kept
        _clear(opened)
    with suppress(OSError):
        folder.rmdir()
    if os.path.lexists(folder):
        return f"{folder}: the folder of temporary files can't be removed; remove it by hand"
    return ""


@dataclass(frozen=True)
class _Folder:
    """An open folder."""

    path: Path
    number: int | None
    """Number by which the system knows it; None where files can only be named by their paths."""

    def name(self, name: str) -> str:
        """Name of a file in it, as functions of `os` want it that also take the folder's number."""
        return name if self.number is not None else str(self.path / name)

    def names(self) -> list[str]:
        """Names of all that is in it."""
        return os.listdir(self.path if self.number is None else self.number)  # noqa: PTH208 (by number)


def _open_folder(path: Path, context: ExitStack) -> _Folder:
    """Open a folder, or raise OSError where it is a link, no folder, or somebody else's."""
    if not _FOLDERS_BY_NUMBER:
        found = path.lstat()
        if not stat.S_ISDIR(found.st_mode) or getattr(found, "st_reparse_tag", False):  # a link or a junction
            raise NotADirectoryError(path)
        return _Folder(path, None)
    number = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _NO_LINKS)
    context.callback(os.close, number)
    _check_owner(os.fstat(number), path)
    return _Folder(path, number)


def _check_owner(found: os.stat_result, path: Path) -> None:
    """Raise PermissionError where something is somebody else's."""
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "somebody else's", str(path))


def _open_mark(folder: _Folder, context: ExitStack) -> BinaryIO:
    """Open the mark of a folder, or raise OSError where it is missing, no regular file, or somebody else's."""

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | _NO_LINKS | getattr(os, "O_NONBLOCK", 0), dir_fd=folder.number)

    file = context.enter_context(open(folder.name(MARK), "r+b", opener=opener))  # noqa: SIM115 (the context closes it)
    found = os.fstat(file.fileno())
    _check_owner(found, folder.path / MARK)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        raise PermissionError(errno.EPERM, "no file of this program's", str(folder.path / MARK))
    return file


def _only_copies(folder: _Folder) -> str:
    """Say which files of the user's a folder holds that have no other name, if any."""
    names = sorted(name for name in folder.names() if name.startswith(ONLY_COPY))
    if not names:
        return ""
    return (
        f"{folder.path}: left as it is: it holds {', '.join(names)}, outputs that a run had set aside to replace them "
        "and could not put back; move them back, or remove the folder"
    )


def _remove_leftover(path: Path) -> None:
    """Remove a folder if a run of this program and user made it and lives no more."""
    with ExitStack() as context:
        folder = _open_folder(path, context)
        if not folder.names():
            path.rmdir()  # made, and left, before it was marked
            return
        with ExitStack() as marks:
            if not _is_left_over(folder, _open_mark(folder, marks)):
                return
            if kept := _only_copies(folder):
                logger.warning("%s", kept)
                return
            size = sum(os.lstat(folder.name(name), dir_fd=folder.number).st_size for name in folder.names())
            if sys.platform == "win32":  # where an open file can't be removed
                marks.close()
            _clear(folder)  # still locked elsewhere: whoever is just making it finds that out
        path.rmdir()
        logger.info("%s: what a killed run left is removed (%.1f MB)", path, size / 1e6)


def _is_left_over(folder: _Folder, file: BinaryIO) -> bool:
    """Whether the run that marked a folder has ended."""
    text = file.read(_LARGEST_MARK)
    maker = Owner.read(text)
    if maker is None and not (START.startswith(text[: len(START)]) and folder.names() == [MARK]):
        return False  # not this program's; one cut short, alone, is of a run killed while it wrote who it is
    is_old = time.time() - os.fstat(file.fileno()).st_mtime > _LONGEST_RUN
    if maker is None or maker.locks:
        try:
            take_lock(file)
        except OSError as error:
            if error.errno in HELD or maker is None:
                return False
        else:
            if maker and maker.can_be_asked_for:  # this may be a copy of a living run's folder
                return maker.is_gone
            return maker is None or maker.is_on_this_machine or is_old
    return maker.is_gone or is_old


def _clear(folder: _Folder) -> None:
    """Remove all files in a folder, the mark last; or raise OSError where a folder is in it, which no run makes.

    Another disk may be mounted there.
    """
    names = folder.names()
    if any(stat.S_ISDIR(os.lstat(folder.name(name), dir_fd=folder.number).st_mode) for name in names):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(folder.path))
    for name in sorted(names, key=lambda name: name == MARK):
        os.unlink(folder.name(name), dir_fd=folder.number)
