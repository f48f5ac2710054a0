"""Outputs under temporary names until all are whole."""

import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pipeline.core.errors import OutputError
from pipeline.core.regular_files import special_kind
from pipeline.engine.signals import defer_signals, raise_pending_signal
from pipeline.engine.work_folder import temporary_folder
from pipeline.sinks.naming import Naming, name_together, sidecars, write_through

_LONGEST_NAME: Final = 255
"""Bytes in a file's name that file systems allow."""

_OTHER: Final = "choose another"
"""What helps where a folder can't be written to."""


class Staging:
    """Temporary names for a set of outputs, each in a folder of the run's own where the output will stand.

    On leaving the context without an error they get their names as a set, the first target last; after an error, or
    Ctrl-C, they are removed and no target has been touched.
    """

    def __init__(self, targets: Iterable[str | Path], *, overwrite: bool) -> None:
        self._targets = [Path(target) for target in targets]
        self._overwrite = overwrite
        self._context = ExitStack()
        self._namings: dict[Path, Naming] = {}

    def __enter__(self) -> Self:
        """Check that every target can be written, before any work is done.

        Raises
        ------
        OutputError
            When a target exists and may not be overwritten, or its folder is missing or read-only.
        """
        places: set[str] = set()
        for target in self._targets:
            place = os.path.realpath(target)
            if place in places:
                msg = f"{target}: two outputs have this name; give them different names"
                raise OutputError(msg)
            places.add(place)
            check_name(target, overwrite=self._overwrite)
        with ExitStack() as context:
            # found once: links on the way may lead elsewhere when the run ends
            folders = {target.parent: Path(os.path.realpath(target.parent)) for target in self._targets}
            own = {
                folder: context.enter_context(temporary_folder(folder, _OTHER))
                for folder in dict.fromkeys(folders.values())
            }
            for number, target in enumerate(self._targets):
                folder = folders[target.parent]
                staged = own[folder] / f"{number}{target.suffix}"
                self._namings[target] = Naming(staged, folder / target.name, _is_map(target))
            self._context = context.pop_all()
        return self

    def keep_apart(self, inputs: Iterable[str]) -> None:
        """Raise OutputError when an output would replace a file that is read, overwriting allowed or not."""
        keep_apart(self._targets, inputs)

    def path(self, target: str | Path) -> Path:
        """Temporary name of a target: short, as the target's own may be as long as names can be."""
        return self._namings[Path(target)].staged

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._context:
            if kind is None:
                raise_pending_signal()
                namings = [naming for naming in self._namings.values() if naming.staged.exists()]
                write_through(namings)  # which may take long, and be ended by a signal
                with defer_signals():
                    name_together(namings[::-1], overwrite=self._overwrite)


def keep_apart(targets: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """Raise OutputError when a target is, under whatever name, a file that is read, or in a folder that is.

    So it is where such a file would be taken for part of a map.
    """
    taken = {os.path.realpath(path) for path in inputs}
    for target in map(Path, targets):
        place = Path(os.path.realpath(target))
        if taken.intersection([str(place), *map(str, place.parents)]):
            inside = " in" if str(place) not in taken else ""
            what = f"this file is{inside} part of the scene, or its config or model"
            msg = f"{target}: {what}, and will not be written; choose another name"
            raise OutputError(msg)
        for sidecar in _sidecars(target):
            if os.path.realpath(sidecar) in taken:
                msg = f"{target}: GDAL would take {sidecar}, which is read, for part of this map; choose another name"
                raise OutputError(msg)


def check_room(folder: Path, needed: int, fix: str) -> None:
    """Raise OutputError, and say what mends it, unless a folder's disk has so many bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        has = f"{free / 1e6:,.2f} MB are free"
        msg = f"{folder}: the run needs {needed / 1e6:,.2f} MB of disk while it lasts, and {has}; {fix}"
        raise OutputError(msg)


def check_writable(targets: Sequence[Path]) -> None:
    """Raise OutputError unless files of these names can be written, in place of some that are there or not."""
    for target in targets:
        check_name(target, overwrite=True)
    for parent in dict.fromkeys(target.parent for target in targets):
        with temporary_folder(parent, _OTHER):
            pass


def check_name(target: Path, *, overwrite: bool) -> None:
    """Raise OutputError unless an output may have a name, as far as that can be seen without writing anything."""
    folder = target.parent
    if len(os.fsencode(target.name)) > _LONGEST_NAME:
        msg = f"{target}: the name is longer than {_LONGEST_NAME} bytes, more than file systems take; shorten it"
        raise OutputError(msg)
    if target.is_dir():
        msg = f"{target}: this is a folder; name a file in it"
        raise OutputError(msg)
    if kind := special_kind(target):
        msg = f"{target}: this is {kind}, and will not be replaced by a file; name a file"
        raise OutputError(msg)
    if os.path.lexists(target):
        if not overwrite:
            how = "allow overwriting (--overwrite, overwrite=True) or choose another name"
            msg = f"{target}: the file exists already; {how}"
            raise OutputError(msg)
    elif sidecar := next((path for path in _sidecars(target) if os.path.lexists(path)), None):
        msg = f"{target}: GDAL would take {sidecar} for part of this map; remove it, or choose another name"
        raise OutputError(msg)
    if not folder.is_dir():
        msg = f"{target}: the folder {folder} does not exist; create it first"
        raise OutputError(msg)


def _is_map(target: Path) -> bool:
    return target.suffix.lower() in {".tif", ".tiff"}


def _sidecars(target: Path) -> list[Path]:
    """Files that GDAL would take for part of a map; none of another output."""
    return sidecars(target) if _is_map(target) else []
