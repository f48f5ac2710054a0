"""Outputs under temporary names, renamed together when all are whole."""

import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import OutputError


class Staging:
    """Temporary names for a set of outputs, in the folders where they will stand.

    On leaving the context without an error each is renamed to its target, which is atomic on every system
    we know; after an error, or Ctrl-C, they are removed and no target has been touched.
    """

    def __init__(self, targets: Iterable[str | Path], *, overwrite: bool) -> None:
        self._targets = [Path(target) for target in targets]
        self._overwrite = overwrite
        self._token = uuid.uuid4().hex[:8]

    def __enter__(self) -> Self:
        """Check that every target can be written, before any work is done.

        Raises
        ------
        OutputError
            When a target exists and may not be overwritten, or its folder is missing or read-only.
        """
        for i, target in enumerate(self._targets):
            if target in self._targets[:i]:
                msg = f"{target}: two outputs have this name; give them different names"
                raise OutputError(msg)
            check_writable(target, overwrite=self._overwrite)
        return self

    def path(self, target: str | Path) -> Path:
        """Temporary name of a target."""
        target = Path(target)
        return target.with_name(f".{target.stem}.{self._token}.part{target.suffix}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        staged = [target for target in self._targets if self.path(target).exists()]
        try:
            if kind is None:
                for target in staged:
                    os.replace(self.path(target), target)  # noqa: PTH105 (says what it does: overwrites)
        finally:
            for target in self._targets:
                self.path(target).unlink(missing_ok=True)


def check_room(folder: Path, needed: int) -> None:
    """Raise OutputError unless a folder's disk has so many bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        has = f"{free / 1e6:.0f} MB are free"
        msg = f"{folder}: the run needs {needed / 1e6:.0f} MB of disk while it lasts, and {has}; make room"
        raise OutputError(msg)


def check_writable(target: Path, *, overwrite: bool) -> None:
    """Raise OutputError unless a file of this name may and can be written."""
    folder = target.parent
    if target.is_dir():
        msg = f"{target}: this is a folder; name a file in it"
        raise OutputError(msg)
    if target.exists() and not overwrite:
        msg = f"{target}: the file exists already; allow overwriting with --overwrite, or choose another name"
        raise OutputError(msg)
    if not folder.is_dir():
        msg = f"{target}: the folder {folder} does not exist; create it first"
        raise OutputError(msg)
    probe = folder / f".terrazzo-{uuid.uuid4().hex[:8]}"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        msg = f"{target}: the folder {folder} can't be written to ({error.strerror})"
        raise OutputError(msg) from error
