"""Finished files get their names as one set: all, or, after an error, none."""

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.core.errors import OutputError
from pipeline.core.regular_files import special_kind
from pipeline.engine.leftovers import ONLY_COPY

SIDECARS: Final = (".msk", ".ovr", ".aux.xml", ".MSK", ".OVR", ".AUX.XML")
"""Endings of the files beside a map that GDAL takes for part of it."""

_NO_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS})
"""What systems answer that can't write a folder, or anything, through to the disk."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True)
class Naming:
    """A finished file and the name that it is to have."""

    staged: Path
    """Its temporary name, in a folder of the run's own on the same disk."""
    target: Path
    """The name it gets."""
    is_map: bool = False
    """Whether GDAL reads files beside it as part of it."""


def write_through(namings: Sequence[Naming]) -> None:
    """Have the system write finished files to the disk, so that a power cut leaves no empty file under a final name.

    Raises
    ------
    OutputError
        When the disk is full or failing.
    """
    for naming in namings:
        try:
            _sync_file(naming.staged)
        except OSError as error:
            fix = "make room there" if error.errno in _FULL else "is the disk failing?"
            msg = f"{naming.target}: the finished file can't be written to the disk ({error.strerror}); {fix}"
            raise OutputError(msg) from error


def name_together(namings: Sequence[Naming], *, overwrite: bool) -> None:
    """Give files their names, in the order given; take all names back where one can't be given.

    A file that is replaced is kept under another name until all is done. Files beside a map that is replaced go, as
    GDAL would take them for the new one's. The names are written to the disk in the end.

    Raises
    ------
    OutputError
        When a file can't be given its name.
    """
    stuck: list[Path] = []
    with ExitStack() as undo:
        for naming in namings:
            try:
                _name(naming, undo, stuck, overwrite=overwrite)
            except FileExistsError as error:
                msg = (
                    f"{error.filename or naming.target}: somebody else wrote this file meanwhile; it was left as it is"
                )
                raise _failure(msg, undo, stuck) from error
            except OSError as error:
                msg = f"{naming.target}: the finished file can't be given its name ({error.strerror})"
                raise _failure(msg, undo, stuck) from error
        try:
            _sync_folders(naming.target.parent for naming in namings)
        except OSError as error:
            msg = f"{namings[0].target}: the names can't be written to the disk ({error.strerror})"
            raise _failure(msg, undo, stuck) from error
        undo.pop_all()
    for naming in namings:
        with suppress(OSError):  # the folder goes, and this with it
            _aside(naming).unlink(missing_ok=True)


def sidecars(target: Path) -> list[Path]:
    """Files that GDAL would take for part of a map of this name."""
    return [Path(f"{target}{ending}") for ending in SIDECARS]


def _aside(naming: Naming) -> Path:
    """Name of a replaced file where it has no other."""
    return naming.staged.with_name(f"{ONLY_COPY}{naming.staged.name}")


def _failure(msg: str, undo: ExitStack, stuck: Sequence[Path]) -> OutputError:
    """Take back what was named, and say what could not be."""
    undo.close()
    if stuck:
        msg += f"; these are new already, and don't belong to the others: {', '.join(map(str, stuck))}"
    return OutputError(msg)


def _name(naming: Naming, undo: ExitStack, stuck: list[Path], *, overwrite: bool) -> None:
    """Give a file its name, and remember how to take it back."""
    staged, target = naming.staged, naming.target
    if naming.is_map and not os.path.lexists(target):
        for sidecar in filter(os.path.lexists, sidecars(target)):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(sidecar))
    if not overwrite:
        _name_new(staged, target)
        undo.callback(_take_back, target, _stamp(target), stuck)
        return
    if os.path.lexists(target):
        if naming.is_map:
            _set_sidecars_aside(naming, undo, stuck)
        undo.callback(_put_back, _keep(naming), target, stuck)
        staged.replace(target)
    else:
        staged.replace(target)
        undo.callback(_take_back, target, _stamp(target), stuck)


def _set_sidecars_aside(naming: Naming, undo: ExitStack, stuck: list[Path]) -> None:
    for number, sidecar in enumerate(sidecars(naming.target)):
        if os.path.lexists(sidecar) and not _is_folder(sidecar):
            aside = naming.staged.with_name(f"beside-{number}-{naming.staged.name}")
            sidecar.rename(aside)
            undo.callback(_put_back, aside, sidecar, stuck)


def _keep(naming: Naming) -> Path:
    """Give a file that is to be replaced a second name; where there are no links, another one."""
    target, before = naming.target, naming.staged.with_name(f"old-{naming.staged.name}")
    if _is_folder(target):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if special_kind(target):  # since it was looked at
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    try:
        os.link(target, before, follow_symlinks=False)
    except (OSError, NotImplementedError):
        return target.rename(_aside(naming))
    return before


def _name_new(path: Path, target: Path) -> None:
    """Give a file one more name, or raise FileExistsError: of two at once only one can succeed."""
    try:
        target.hardlink_to(path)
    except FileExistsError as error:
        raise FileExistsError(error.errno, error.strerror, str(target)) from None
    except OSError:  # a file system without links (FAT, some network drives): look, then rename
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        path.replace(target)


def _put_back(before: Path, target: Path, stuck: list[Path]) -> None:
    """Give a file its name again."""
    try:
        before.replace(target)
    except OSError:
        stuck.append(target)


def _take_back(target: Path, stamp: tuple[int, int], stuck: list[Path]) -> None:
    """Remove a new file, unless another has taken its name."""
    try:
        if _stamp(target) == stamp:
            target.unlink()
    except FileNotFoundError:
        pass
    except OSError:
        stuck.append(target)


def _stamp(path: Path) -> tuple[int, int]:
    """Numbers of a file's disk and of the file on it."""
    found = path.lstat()
    return found.st_dev, found.st_ino


def _is_folder(path: Path) -> bool:
    """Whether a path is a folder itself, not a link to one."""
    return stat.S_ISDIR(path.lstat().st_mode)


def _sync_file(path: Path) -> None:
    """Have the system write a file to the disk."""
    with path.open("r+b") as file:  # Windows writes through only what may be written
        try:
            os.fsync(file.fileno())
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise


def _sync_folders(folders: Iterable[Path]) -> None:
    """Have the system write the names in folders to the disk; Windows does so by itself."""
    if os.name == "nt":
        return
    for folder in dict.fromkeys(folders):
        try:
            number = os.open(folder, os.O_RDONLY)
        except PermissionError:  # of a folder that may be written to, but not listed
            continue
        try:
            os.fsync(number)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise
        finally:
            os.close(number)
