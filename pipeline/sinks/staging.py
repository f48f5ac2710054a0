"""Outputs under temporary names, renamed together when all are whole."""

import os
import shutil
import uuid
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pipeline.errors import OutputError
from pipeline.runtime.signals import end_if_asked, signals_wait
from pipeline.runtime.workfolder import own_folder

_SIDECARS: Final = (".msk", ".ovr", ".aux.xml")
_LONGEST_NAME: Final = 255
"""Bytes in a file's name that file systems allow."""


class Staging:
    """Temporary names for a set of outputs, each in a folder of the run's own where the output will stand.

    On leaving the context without an error each is renamed to its target, which is atomic for each file on
    every system we know; after an error, or Ctrl-C, they are removed and no target has been touched. Only
    where a rename itself fails may some targets be new and others not; each is whole.
    """

    def __init__(self, targets: Iterable[str | Path], *, overwrite: bool) -> None:
        self._targets = [Path(target) for target in targets]
        self._places = [os.path.realpath(target) for target in self._targets]
        self._overwrite = overwrite
        self._context = ExitStack()
        self._staged: dict[str, Path] = {}

    def __enter__(self) -> Self:
        """Check that every target can be written, before any work is done.

        Raises
        ------
        OutputError
            When a target exists and may not be overwritten, or its folder is missing or read-only.
        """
        for i, target in enumerate(self._targets):
            if self._places[i] in self._places[:i]:
                msg = f"{target}: two outputs have this name; give them different names"
                raise OutputError(msg)
            check_writable(target, overwrite=self._overwrite)
        with ExitStack() as context:
            parents = dict.fromkeys(target.parent for target in self._targets)
            own = {parent: context.enter_context(own_folder(parent, "choose another")) for parent in parents}
            self._staged = {  # found once, as links among the targets may be replaced
                place: own[target.parent] / f"{number}{target.suffix}"
                for number, (place, target) in enumerate(zip(self._places, self._targets, strict=True))
            }
            self._context = context.pop_all()
        return self

    def keep_apart(self, inputs: Iterable[str]) -> None:
        """Raise OutputError when an output would replace a file that is read, overwriting allowed or not."""
        keep_apart(self._targets, inputs)

    def path(self, target: str | Path) -> Path:
        """Temporary name of a target: short, as the target's own may be as long as names can be."""
        return self._staged[os.path.realpath(target)]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._context:
            if kind is None:
                end_if_asked()
                with signals_wait():
                    for target, staged in zip(self._targets, self._staged.values(), strict=True):
                        if staged.exists():
                            self._rename(staged, target)

    def _rename(self, staged: Path, target: Path) -> None:
        try:
            if self._overwrite:
                staged.replace(target)
            else:
                _name_new(staged, target)
            for ending in _SIDECARS:  # of the map that stood here: GDAL would take them for this one's
                sidecar = f"{target}{ending}"
                if os.path.lexists(sidecar):
                    os.unlink(sidecar)  # noqa: PTH108
        except FileExistsError as error:
            msg = f"{target}: somebody else wrote this file meanwhile; it was left as it is"
            raise OutputError(msg) from error
        except OSError as error:
            msg = f"{target}: the finished file can't be given its name ({error.strerror})"
            raise OutputError(msg) from error


def _name_new(path: Path, target: Path) -> None:
    """Give a file one more name, or raise FileExistsError: of two at once only one can succeed."""
    try:
        target.hardlink_to(path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links (FAT, some network drives): look, then rename
        if os.path.lexists(target):
            raise FileExistsError from None
        path.replace(target)


def keep_apart(targets: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """Raise OutputError when a target is, under whatever name, a file that is read, or in a folder that is."""
    taken = {os.path.realpath(path) for path in inputs}
    for target in targets:
        place = Path(os.path.realpath(target))
        if taken.intersection([str(place), *map(str, place.parents)]):
            inside = " in" if str(place) not in taken else ""
            what = f"this file is{inside} part of the scene, or its config or model"
            msg = f"{target}: {what}, and will not be written; choose another name"
            raise OutputError(msg)


def check_room(folder: Path, needed: int, fix: str) -> None:
    """Raise OutputError, and say what mends it, unless a folder's disk has so many bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        has = f"{free / 1e6:,.2f} MB are free"
        msg = f"{folder}: the run needs {needed / 1e6:,.2f} MB of disk while it lasts, and {has}; {fix}"
        raise OutputError(msg)


def check_writable(target: Path, *, overwrite: bool) -> None:
    """Raise OutputError unless a file of this name may and can be written."""
    folder = target.parent
    if len(os.fsencode(target.name)) > _LONGEST_NAME:
        msg = f"{target}: the name is longer than {_LONGEST_NAME} bytes, more than file systems take; shorten it"
        raise OutputError(msg)
    if target.is_dir():
        msg = f"{target}: this is a folder; name a file in it"
        raise OutputError(msg)
    if os.path.lexists(target) and not overwrite:
        msg = (
            f"{target}: the file exists already; allow overwriting (--overwrite, overwrite=True) or choose another name"
        )
        raise OutputError(msg)
    if not folder.is_dir():
        msg = f"{target}: the folder {folder} does not exist; create it first"
        raise OutputError(msg)
    probe = folder / f".terrazzo-{uuid.uuid4().hex[:8]}"
    try:
        with signals_wait():
            probe.touch(exist_ok=False)
            probe.unlink()
    except OSError as error:
        msg = f"{target}: the folder {folder} can't be written to ({error.strerror})"
        raise OutputError(msg) from error
