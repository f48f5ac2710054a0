"""Write outputs under temporary names, and rename them when all are complete."""

import os
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pipeline.core.errors import ConfigError, OutputError
from pipeline.core.regular_files import lookup_fault, special_kind
from pipeline.engine.leftovers import STORE
from pipeline.engine.signals import defer_signals, raise_pending_signal
from pipeline.engine.work_folder import temporary_folder
from pipeline.sinks.publish import SIDECARS, StagedFile, foreign_sidecars, rename_together, sidecars, sync_files
from pipeline.sinks.store_folders import is_store_path, store_fault
from pipeline.stores.locate import is_zarr_group

_LONGEST_NAME: Final = 255
"""Longest file name in bytes that file systems allow."""

_WORLD_FILES: Final = (".tfw", ".tifw", ".tiffw", ".wld", ".jgw", ".j2w", ".pgw")
"""Endings of files beside a raster that place it, instead of its own."""

_OTHER_FOLDER: Final = "choose another"
"""Fix that a message names if a folder can't be written to."""


class Staging:
    """Temporary names for a set of outputs, each in a temporary folder next to its target.

    On leaving the context without an error the files are renamed to their targets as a set, the first target last.
    After an error, or Ctrl-C, they are removed and no target is changed.
    """

    def __init__(self, targets: Iterable[str | Path], *, overwrite: bool) -> None:
        self._targets = [Path(target) for target in targets]
        self._overwrite = overwrite
        self._context = ExitStack()
        self._staged_files: dict[Path, StagedFile] = {}
        self._outdated: list[StagedFile] = []

    def __enter__(self) -> Self:
        """Check every target before any work is done.

        Raises
        ------
        ConfigError
            If two targets have one path, or a path can't be that of a file.
        OutputError
            If a target exists and may not be replaced, or its folder does not exist or is read-only.
        """
        checked: set[str] = set()
        for target in self._targets:
            real = os.path.realpath(target)
            if real in checked:
                msg = f"{target}: two outputs have this name; give them different names"
                raise ConfigError(msg)
            checked.add(real)
            check_name(target, self._targets, overwrite=self._overwrite)
        with ExitStack() as context:
            # links are resolved once, because they may change before the run ends
            folders = {target.parent: Path(os.path.realpath(target.parent)) for target in self._targets}
            temporary = {
                folder: context.enter_context(temporary_folder(folder, _OTHER_FOLDER))
                for folder in dict.fromkeys(folders.values())
            }
            for number, target in enumerate(self._targets):
                folder = folders[target.parent]
                prefix = STORE if is_store_path(target) else ""
                staged = temporary[folder] / f"{prefix}{number}{target.suffix}"
                self._staged_files[target] = StagedFile(staged, folder / target.name)
            self._context = context.pop_all()
        return self

    def path(self, target: str | Path) -> Path:
        """Return the temporary path of a target. Its name is short: the target's may be as long as allowed."""
        return self._staged_files[Path(target)].temporary

    def leave_out(self, target: str | Path) -> None:
        """Leave out a target: what an earlier run wrote there is removed when the others are renamed."""
        self._outdated.append(self._staged_files[Path(target)])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._context:
            if kind is None:
                raise_pending_signal()
                staged_files = [file for file in self._staged_files.values() if file.temporary.exists()]
                sync_files(staged_files)  # may take long, so signals can end it
                with defer_signals():
                    rename_together(staged_files[::-1], overwrite=self._overwrite, outdated=self._outdated)


def keep_apart(targets: Mapping[str, Path], inputs: Mapping[str, str]) -> None:
    """Raise ConfigError if a target is an input file (by any path or link), or in an input folder.

    The same holds if GDAL would read an input file as part of the map.

    Parameters
    ----------
    targets : mapping of str to Path
        Path of each target by its name in messages, such as 'output.table'.
    inputs : mapping of str to str
        What each input is, such as 'scene.source', by its path.
    """
    read = {os.path.realpath(path): what for path, what in inputs.items()}
    for name, target in targets.items():
        real = Path(os.path.realpath(target))
        if found := next((path for path in map(str, (real, *real.parents)) if path in read), None):
            where = "is" if found == str(real) else "would be inside"
            rest = "which is never replaced" if found == str(real) else "where nothing is written"
            msg = f"{name}: {target}: this file {where} an input ({read[found]}), {rest}; use another name"
            raise ConfigError(msg)
        if is_store_path(target) and (inside := next((path for path in read if real in Path(path).parents), None)):
            msg = f"{name}: {target}: this folder contains an input ({read[inside]}: {inside}); use another name"
            raise ConfigError(msg)
        if owner := next((path for path in read if str(real) in _read_with(path)), None):
            reason = f"GDAL would read this file as part of {owner}, an input ({read[owner]})"
            msg = f"{name}: {target}: {reason}; use another name"
            raise ConfigError(msg)
        for sidecar in sidecars(target):
            if what := read.get(os.path.realpath(sidecar)):
                reason = f"GDAL would read {sidecar}, which is an input ({what}), as part of this map"
                msg = f"{name}: {target}: {reason}; use another name"
                raise ConfigError(msg)


def _read_with(path: str) -> set[str]:
    """Paths of files that GDAL would read as part of an input file, whether they exist or not."""
    stem = os.path.splitext(path)[0]  # noqa: PTH122 (may be any text)
    return {*(path + ending for ending in SIDECARS), *(stem + ending for ending in _WORLD_FILES)}


def check_free_space(folder: Path, needed: int, fix: str) -> None:
    """Raise OutputError with a fix unless the disk of a folder has the number of bytes needed free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        available = f"{free / 1e6:,.2f} MB are free"
        msg = f"{folder}: the run needs {needed / 1e6:,.2f} MB of disk space, but {available}; {fix}"
        raise OutputError(msg)


def check_writable(targets: Sequence[Path]) -> None:
    """Raise OutputError or ConfigError unless these files can be written, replacing existing ones."""
    for target in targets:
        check_name(target, targets, overwrite=True)
    for parent in dict.fromkeys(target.parent for target in targets):
        with temporary_folder(parent, _OTHER_FOLDER):
            pass


def check_name(target: Path, targets: Collection[Path] = (), *, overwrite: bool) -> None:
    """Check that a path can be that of an output, as far as that is possible without writing.

    `targets` are the outputs of the run, which are checked by themselves where they are sidecars of this one.

    Raises
    ------
    ConfigError
        If it can't be the path of a file.
    OutputError
        If the file exists and may not be replaced, or its folder does not exist.
    """
    folder = target.parent
    if fault := path_fault(target):
        msg = f"{target}: {fault}"
        raise ConfigError(msg)
    if os.path.lexists(target):
        if not overwrite:
            fix = "allow overwriting (--overwrite, overwrite=True) or use another name"
            msg = f"{target}: the {'folder' if is_store_path(target) else 'file'} exists already; {fix}"
            raise OutputError(msg)
    elif foreign := foreign_sidecars(target, targets):
        msg = f"{target}: GDAL would read {foreign[0]} as part of this map; remove it, or use another name"
        raise OutputError(msg)
    if not folder.is_dir():
        msg = f"{target}: the folder {folder} does not exist; create it first"
        raise OutputError(msg)


def _inside_store(path: Path) -> str:
    """Describe that a path is inside a Zarr store; empty if it is not."""
    folders = Path(os.path.realpath(path.parent), path.name).parents
    store = next(filter(is_zarr_group, folders), None)
    return f"this is inside a Zarr store ({store}), where only its own files belong; use another name" if store else ""


def path_fault(path: Path) -> str:
    """Describe why a path can't be that of an output, whatever may be replaced; empty if it can.

    By its ending it is that of a file, or of a Zarr store, which is a folder.
    """
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts):
        return f"the name is longer than {_LONGEST_NAME} bytes, more than file systems allow; shorten it"
    if fault := lookup_fault(path):
        return f"this path can't be looked up ({fault}); use another one"
    inside = _inside_store(path)
    if inside or is_store_path(path):
        return inside or store_fault(path)
    if path.is_dir():
        return "this is a folder; give the path of a file in it"
    if kind := special_kind(path):
        return f"this is {kind} and is not replaced; use another name"
    return ""
