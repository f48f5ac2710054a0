"""The mark in a folder of temporary files: which process made it, and whether that lives."""

import errno
import json
import logging
import os
import platform
import sys
from dataclasses import asdict, astuple, dataclass
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO, Final, Self

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

logger = logging.getLogger(__name__)

MARK: Final = "lock"
"""Name of the file that marks such a folder."""

_PROGRAM: Final = "terrazzo: temporary files of a run, removed when it ends or by the next run"
START: Final = json.dumps({"program": _PROGRAM}).encode()[:-1]
"""How each mark begins."""

HELD: Final = frozenset({errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK})
"""Errors of a lock that another process holds."""

_LOCKED_BYTE: Final = 2**30
"""What Windows locks: a byte beyond the file's end, as it lets nobody read what is locked."""


@dataclass(frozen=True)
class Owner:
    """The process that made a folder."""

    host: str
    """Name of the machine."""
    session: str
    """Which start of the machine; empty where the system doesn't tell."""
    container: str
    """In which the process has its number; empty where the system doesn't tell."""
    process: int
    """Number of the process."""
    started: str
    """When the process began, in ticks since the machine started; empty where the system doesn't tell."""
    locks: bool
    """Whether its mark is locked while the process lives."""

    @classmethod
    def this(cls, *, locks: bool) -> Self:
        """The process that runs now."""
        process = os.getpid()
        return cls(platform.node(), _session(), _container(), process, _start_of(process), locks)

    @classmethod
    def read(cls, text: bytes) -> "Owner | None":
        """The process that a mark names; None where that is no mark of this program."""
        try:
            said = json.loads(text)
            if said.pop("program") != _PROGRAM:
                return None
            maker = cls(**said)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        as_written = all(type(value) is type(ours) for value, ours in zip(astuple(maker), astuple(_LIKE), strict=True))
        return maker if as_written and 0 < maker.process <= _LARGEST_PROCESS else None

    def text(self) -> bytes:
        """Content of the mark."""
        return json.dumps({"program": _PROGRAM, **asdict(self)}).encode()

    @property
    def is_on_this_machine(self) -> bool:
        """Whether the process ran on this machine, so that its locks are seen here."""
        return self.host == platform.node() or (self.session != "" and self.session == _session())

    @property
    def can_be_asked_for(self) -> bool:
        """Whether this process sees whether that one lives."""
        here = (platform.node(), _session(), _container())
        return (self.host, self.session, self.container) == here and sys.platform != "win32"  # os.kill ends it there

    @property
    def is_gone(self) -> bool:
        """Whether the process certainly lives no more."""
        if not self.can_be_asked_for:
            return False
        if self.process == os.getpid():
            return self.started != _start_of(self.process)
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return self.started != _start_of(self.process)


_LIKE: Final = Owner("", "", "", 0, "", locks=False)
_LARGEST_PROCESS: Final = 2**31 - 1


def mark(file: RawIOBase) -> None:
    """Lock a new mark, where that is possible, and write into it who made it.

    Raises
    ------
    BlockingIOError
        When another run has just locked it.
    OSError
        When it can't be written.
    """
    try:
        take_lock(file)
    except OSError as error:
        if error.errno in HELD:
            raise BlockingIOError(error.errno, error.strerror) from error
        logger.debug("files can't be locked here (%s)", error.strerror)
        maker = Owner.this(locks=False)
    else:
        maker = Owner.this(locks=True)
    text = maker.text()
    if file.write(text) != len(text):  # a disk that is nearly full takes a part
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def take_lock(file: BinaryIO | RawIOBase) -> None:
    """Lock a file, or raise OSError. The system lets it go when the process ends, however it ends."""
    if sys.platform == "win32":
        place = file.tell()
        file.seek(_LOCKED_BYTE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        finally:
            file.seek(place)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _session() -> str:
    """Which start of the machine this process runs in; empty where that isn't told."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _container() -> str:
    """Which set of process numbers this process has one of; empty where that isn't told."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _start_of(process: int) -> str:
    """When a process began, in ticks since the machine started; empty where that isn't told."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return state.rpartition(")")[2].split()[19]  # the 22nd field; the second, a name in brackets, may hold spaces
