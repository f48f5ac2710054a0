"""Files that are named from outside: that each is a regular file, and no larger than what it should be."""

import os
import stat
from functools import cache
from pathlib import Path
from typing import Final

_KINDS: Final = {
    stat.S_IFIFO: "a named pipe (FIFO)",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


_ENDLESS: Final = "a file that the system makes up as it is read"


class NotRegularError(OSError):
    """A path is no regular file: reading it may never end."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"this is {kind}, not a file; save what it holds as a file, and name that")
        self.strerror = str(self)


class TooLargeError(OSError):
    """A file is larger than what is expected there."""

    def __init__(self, most: int) -> None:
        super().__init__(f"it is larger than {most / 2**20:g} MB")
        self.strerror = str(self)


def special_kind(path: str | Path) -> str | None:
    """What a path, its links followed, is in words, if neither a file nor a folder; None where nothing is there."""
    try:
        found = os.stat(path)  # noqa: PTH116 (of many files)
    except (OSError, ValueError):
        return None
    return _kind_of(found)


def _kind_of(found: os.stat_result) -> str | None:
    if stat.S_ISREG(found.st_mode) and found.st_dev in _system_disks():
        return _ENDLESS
    return _KINDS.get(stat.S_IFMT(found.st_mode))


@cache
def _system_disks() -> frozenset[int]:
    """Numbers of the file systems of what only looks like files."""
    return frozenset(Path(place).stat().st_dev for place in ("/proc", "/sys") if Path(place).is_mount())


def read_regular(path: str | Path, most: int) -> bytes:
    """Read a file whole.

    Parameters
    ----------
    path : str or Path
        The file.
    most : int
        Bytes above which it is refused.

    Raises
    ------
    NotRegularError, TooLargeError
        When it is a pipe, a device or a socket, or larger.
    OSError
        When it can't be read.
    """
    content = read_start(path, most + 1)
    if len(content) > most:
        raise TooLargeError(most)
    return content


def read_start(path: str | Path, most: int) -> bytes:
    """Read so many bytes of a file, or all where it has fewer.

    Raises
    ------
    NotRegularError
        When it is a pipe, a device or a socket.
    OSError
        When it can't be read.
    """
    if kind := special_kind(path):
        raise NotRegularError(kind)
    # a pipe that has taken the file's place meanwhile is opened without waiting for who writes into it
    with open(path, "rb", opener=_open_at_once) as file:
        if kind := _kind_of(os.fstat(file.fileno())):
            raise NotRegularError(kind)
        content: bytes | None = file.read(most)
    if content is None:  # what looks like a file, such as a trace of the kernel's, and has nothing to give yet
        raise NotRegularError(_ENDLESS)
    return content


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
