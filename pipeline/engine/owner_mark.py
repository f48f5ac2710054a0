"""The mark of a temporary folder: which process created the folder, and whether that process is alive."""

import errno
import json
import os
import platform
import sys
from contextlib import ExitStack
from dataclasses import asdict, astuple, dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Final, Self

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

MARK: Final = "lock"
"""Name of the file that marks a temporary folder."""

_PROGRAM: Final = "terrazzo: temporary files of a run, removed when it ends or by the next run"
MARK_START: Final = json.dumps({"program": _PROGRAM}).encode()[:-1]
"""First bytes of every mark."""

_LOCK_HELD_ERRORS: Final = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK})
"""Error numbers of locking a file that another process has locked."""

_LOCKED_BYTE: Final = 2**30
"""Offset of the byte locked on Windows: beyond the end of the file, because locked bytes can't be read."""


@dataclass(frozen=True)
class Owner:
    """The process that created a temporary folder."""

    host: str
    """Name of the machine."""
    session: str
    """Identifier of the boot of the machine; empty if unknown."""
    container: str
    """Namespace of the process number; empty if unknown."""
    process: int
    """Number of the process."""
    started: str
    """Start time of the process, in clock ticks since boot; empty if unknown."""
    locks: bool
    """True if the process locks the mark while it lives."""

    @classmethod
    def current(cls, *, locks: bool) -> Self:
        """Describe the current process."""
        process = os.getpid()
        return cls(platform.node(), _session(), _container(), process, _start_time(process), locks)

    @classmethod
    def read(cls, text: bytes) -> "Owner | None":
        """Parse the content of a mark; None if it is not a mark of this program."""
        try:
            fields = json.loads(text)
            if fields.pop("program") != _PROGRAM:
                return None
            owner = cls(**fields)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        return owner if [type(value) for value in astuple(owner)] == [str, str, str, int, str, bool] else None

    def text(self) -> bytes:
        """Content of the mark."""
        return json.dumps({"program": _PROGRAM, **asdict(self)}).encode()

    @property
    def is_on_this_machine(self) -> bool:
        """Whether the process ran on this machine, so that its locks are visible here."""
        return self.host == platform.node() or (self.session != "" and self.session == _session())

    @property
    def is_visible_here(self) -> bool:
        """Whether this process can check if the other one is alive."""
        here = (platform.node(), _session(), _container())
        is_here = (self.host, self.session, self.container) == here
        return is_here and sys.platform != "win32"  # where os.kill would end the other process

    @property
    def is_gone(self) -> bool:
        """Whether the process has certainly ended."""
        if not self.is_visible_here:
            return False
        try:
            os.kill(self.process, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except OSError:
            return False
        return self.started != _start_time(self.process)


def write_mark(folder: Path) -> FileIO:
    """Create the mark of a new folder, lock it if the file system allows, and write the current process to it.

    Raises
    ------
    OSError
        If it can't be written, or another run has just taken the folder for a leftover.
    """
    with ExitStack() as context:
        # unbuffered, so that closing it does not fail on a full disk
        file = context.enter_context(FileIO(folder / MARK, "x"))
        locked = take_lock(file)
        text = Owner.current(locks=bool(locked)).text()
        if locked is False:
            raise BlockingIOError(errno.EAGAIN, "another run has locked it")
        if file.write(text) < len(text):  # a nearly full disk writes only a part
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        (folder / MARK).stat()  # fails if it was removed before it was locked
        context.pop_all()
        return file


def take_lock(file: BinaryIO | FileIO) -> bool | None:
    """Lock a file; the system releases the lock when the process ends, even if it is killed.

    Returns
    -------
    bool or None
        False if another process has locked it; None if the file system has no locks.
    """
    try:
        if sys.platform == "win32":
            file.seek(_LOCKED_BYTE)
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            finally:
                file.seek(0)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in _LOCK_HELD_ERRORS else None
    return True


def _session() -> str:
    """Identifier of the current boot of the machine; empty if unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _container() -> str:
    """Identifier of the namespace of process numbers; empty if unknown."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _start_time(process: int) -> str:
    """Start time of a process in clock ticks since boot; empty if unknown."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return fields.rpartition(")")[2].split()[19]  # field 22; field 2, a name in brackets, may contain spaces
