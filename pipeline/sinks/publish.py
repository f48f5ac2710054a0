"""Rename finished files, and folders, to their final names as one set: all of them, or none after an error."""

import errno
import os
import stat
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.core.errors import OutputError
from pipeline.core.regular_files import special_kind
from pipeline.engine.leftovers import ONLY_COPY
from pipeline.engine.work_folder import write_fix
from pipeline.sinks.store_folders import folders_in, names_in, store_fault

SIDECARS: Final = (".msk", ".ovr", ".aux.xml", ".MSK", ".OVR", ".AUX.XML")
"""Endings of the sidecar files that GDAL reads as part of a map."""

_NO_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.ENOSYS})
"""Errors of file systems that don't support `fsync`, for folders or at all."""


@dataclass(frozen=True)
class StagedFile:
    """A finished file, or folder of files, under its temporary name, and its final name."""

    temporary: Path
    """Temporary path, in a temporary folder of the run on the same disk."""
    target: Path
    """Final path."""


def sync_files(staged_files: Sequence[StagedFile]) -> None:
    """Write finished files through to the disk, so that a power cut leaves no empty file under a final name.

    Raises OutputError if the disk is full or failing.
    """
    for file in staged_files:
        try:
            _sync_output(file.temporary)
        except OSError as error:
            fix = write_fix(error, "choose another disk")
            msg = f"{file.target}: the finished file can't be written to the disk ({error.strerror}); {fix}"
            raise OutputError(msg) from error


def rename_together(
    staged_files: Sequence[StagedFile], *, overwrite: bool, outdated: Sequence[StagedFile] = ()
) -> None:
    """Rename files to their final names, in the order given; undo all renames if one fails.

    What has the final name of an `outdated` file is removed if it may be overwritten, because it is not of this run.
    What is replaced has another name until all renames are done. Sidecar files of a map that is replaced are
    removed unless they are among the files, because GDAL would read them as part of the new map. At the end the folders
    are written through to the disk. Raises OutputError if a file can't be renamed.
    """
    stuck: list[Path] = []
    own = [file.target for file in staged_files]
    with ExitStack() as undo:
        for file in outdated if overwrite else ():
            try:
                _set_aside(file, [file.target], undo, stuck)
            except OSError as error:
                msg = f"{file.target}: this file of an earlier run can't be removed ({error.strerror})"
                raise _failure(msg, undo, stuck) from error
        for file in staged_files:
            foreign = foreign_sidecars(file.target, own)
            try:
                _name(file, foreign, undo, stuck, overwrite=overwrite)
            except FileExistsError as error:
                path = error.filename or file.target
                msg = f"{path}: another program wrote this file during the run, and it was not replaced; run again"
                raise _failure(msg, undo, stuck) from error
            except OSError as error:
                msg = f"{file.target}: the finished file can't be renamed to this ({error.strerror})"
                raise _failure(msg, undo, stuck) from error
        try:
            _sync_folders(file.target.parent for file in staged_files)
        except OSError as error:
            msg = f"{staged_files[0].target}: the folder of this file can't be written to the disk ({error.strerror})"
            raise _failure(msg, undo, stuck) from error
        undo.pop_all()
    for file in staged_files:
        with suppress(OSError):  # it is removed with its temporary folder in any case
            _give_up(_aside(file), file.temporary)


def sidecars(target: Path) -> list[Path]:
    """Return the paths of files that GDAL would read as part of a map of this name; none for other outputs."""
    return [Path(f"{target}{ending}") for ending in SIDECARS] if target.suffix.lower() in {".tif", ".tiff"} else []


def foreign_sidecars(target: Path, own: Collection[Path]) -> list[Path]:
    """Return existing files that GDAL would read as part of a map, except the run's own."""
    return [
        path for path in sidecars(target) if os.path.lexists(path) and not any(_is_same(path, other) for other in own)
    ]


def _is_same(path: Path, other: Path) -> bool:
    """Return True if two paths are one, or differ in case only and lead to one file, as on disks that ignore case."""
    if path == other:
        return True
    alike = str(path).lower() == str(other).lower()
    return alike and path.exists() and other.exists() and path.samefile(other)


def _give_up(replaced: Path, temporary: Path) -> None:
    """Remove what was replaced; a folder gets a name by which it is removed with the temporary folder of the run."""
    if os.path.lexists(replaced) and _is_folder(replaced):
        replaced.rename(temporary)
    else:
        replaced.unlink(missing_ok=True)


def _aside(file: StagedFile) -> Path:
    """Return the name for a replaced folder, or a replaced file on file systems without hard links."""
    return file.temporary.with_name(f"{ONLY_COPY}{file.temporary.name}")


def _failure(msg: str, undo: ExitStack, stuck: Sequence[Path]) -> OutputError:
    """Undo the renames, and return the error; it lists files whose rename could not be undone."""
    undo.close()
    if stuck:
        msg += f"; these files are already those of the new run, unlike the others: {', '.join(map(str, stuck))}"
    return OutputError(msg)


def _name(file: StagedFile, foreign: Sequence[Path], undo: ExitStack, stuck: list[Path], *, overwrite: bool) -> None:
    """Rename one file, and register how to undo it; `foreign` are sidecars that are not of this run."""
    temporary, target = file.temporary, file.target
    if _is_folder(temporary):
        _name_folder(file, undo, stuck, overwrite=overwrite)
        return
    if not os.path.lexists(target):
        for sidecar in foreign:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(sidecar))
    if not overwrite:
        _name_new(temporary, target)
        undo.callback(_take_back, target, _stamp(target), stuck)
        return
    if os.path.lexists(target):
        _set_aside(file, foreign, undo, stuck)
        undo.callback(_put_back, _save_replaced(file), target, stuck)
        temporary.replace(target)
    else:
        temporary.replace(target)
        undo.callback(_take_back, target, _stamp(target), stuck)


def _name_folder(file: StagedFile, undo: ExitStack, stuck: list[Path], *, overwrite: bool) -> None:
    """Rename a folder, and register how to undo it; only a store of this program is replaced."""
    temporary, target = file.temporary, file.target
    if os.path.lexists(target):
        if not overwrite or store_fault(target):  # made since the targets were checked
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        undo.callback(_put_back, target.rename(_aside(file)), target, stuck)
    temporary.rename(target)
    undo.callback(_take_back_folder, temporary, target, _stamp(target), stuck)


def _set_aside(file: StagedFile, foreign: Sequence[Path], undo: ExitStack, stuck: list[Path]) -> None:
    """Move files such as sidecars of a map into the temporary folder, and register how to undo it."""
    for number, sidecar in enumerate(foreign):
        if os.path.lexists(sidecar) and not _is_folder(sidecar):
            aside = file.temporary.with_name(f"sidecar-{number}-{file.temporary.name}")
            sidecar.rename(aside)
            undo.callback(_put_back, aside, sidecar, stuck)


def _save_replaced(file: StagedFile) -> Path:
    """Give a file that is to be replaced a second name by a hard link; rename it where links are not supported."""
    target, before = file.target, file.temporary.with_name(f"old-{file.temporary.name}")
    if _is_folder(target):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if special_kind(target):  # made since the targets were checked
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    try:
        os.link(target, before, follow_symlinks=False)
    except (OSError, NotImplementedError):
        return target.rename(_aside(file))
    return before


def _name_new(path: Path, target: Path) -> None:
    """Hard-link a file to its final name, or raise FileExistsError: only one of two processes can succeed."""
    try:
        target.hardlink_to(path)
    except FileExistsError as error:
        raise FileExistsError(error.errno, error.strerror, str(target)) from None
    except OSError:  # a file system without hard links (FAT, some network drives): check, then rename
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        path.replace(target)


def _put_back(before: Path, target: Path, stuck: list[Path]) -> None:
    """Rename a replaced file back."""
    try:
        before.replace(target)
    except OSError:
        stuck.append(target)


def _take_back(target: Path, stamp: tuple[int, int], stuck: list[Path]) -> None:
    """Remove a new file, unless another one has its name by now."""
    try:
        if _stamp(target) == stamp:
            target.unlink()
    except FileNotFoundError:
        pass
    except OSError:
        stuck.append(target)


def _take_back_folder(temporary: Path, target: Path, stamp: tuple[int, int], stuck: list[Path]) -> None:
    """Rename a new folder back, unless another one has its name by now."""
    try:
        if _stamp(target) == stamp:
            target.rename(temporary)
    except FileNotFoundError:
        pass
    except OSError:
        stuck.append(target)


def _stamp(path: Path) -> tuple[int, int]:
    """Return the numbers of a file's device and inode."""
    found = path.lstat()
    return found.st_dev, found.st_ino


def _is_folder(path: Path) -> bool:
    """Return True if a path is a folder and not a link to one."""
    return stat.S_ISDIR(path.lstat().st_mode)


def _sync_output(path: Path) -> None:
    """Write a file, or all files and folders in a folder, through to the disk."""
    folder = path.is_dir()
    for file in (path / name for name in names_in(path)) if folder else [path]:
        with file.open("r+b") as opened:  # Windows syncs only files that are open for writing
            _sync(opened.fileno())
    if folder:
        _sync_folders(folders_in(path))


def _sync(number: int) -> None:
    """Write an open file or folder through to the disk (fsync), if the file system supports it."""
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _sync_folders(folders: Iterable[Path]) -> None:
    """Write folders, and so the names in them, through to the disk; Windows needs no such call."""
    if os.name == "nt":
        return
    for folder in dict.fromkeys(folders):
        try:
            number = os.open(folder, os.O_RDONLY)
        except PermissionError:  # a folder that may be written to, but not listed
            continue
        try:
            _sync(number)
        finally:
            os.close(number)
