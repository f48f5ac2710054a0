"""Size, time and inode of the local files of a scene: whether they changed while they were read."""

import os
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from pipeline.core.errors import SceneError
from pipeline.core.regular_files import special_kind
from pipeline.geo.gdal import is_remote
from pipeline.stores.locate import is_zarr_group

_MOST_CHUNKS: Final = 20_000
"""Files of one store whose stamps are held, some 5 MB; of a larger one its folders', its metadata's and these."""

_METADATA: Final = re.compile(r"zarr\.json|\.z[a-z]+")

_BEFORE_A_PATH: Final = re.compile(r"(/vsi[a-z0-9_]+/|[A-Za-z][A-Za-z0-9+._-]+:(//|\d+:)?)+")
"""GDAL's and rasterio's prefixes: /vsizip/, zip://, GTIFF_DIR:1:, NETCDF:"""

_ENDS: Final = re.compile(r"""[/:!"}?]""")
"""Where the name of a file may end and what is in it begins: NETCDF:"file.nc":red, zip://file.zip!red.tif."""


class Stamp(NamedTuple):
    """What tells one state of a file from another."""

    size: int
    """Size of the file, bytes."""
    modified: int
    """Time of the last modification, nanoseconds."""
    inode: int
    """Number of the file on its disk: another file of the same name has another one."""

    @classmethod
    def of(cls, path: str) -> "Stamp | None":
        """The stamp of a file; None where there is no such file.

        Raises
        ------
        SceneError
            When it is a pipe, a device or a socket.
        """
        try:
            found = os.stat(path)  # noqa: PTH116 (of many files)
        except (OSError, ValueError):
            return None
        if kind := special_kind(path):
            msg = f"{path}: this is {kind}, not a file"
            raise SceneError(msg)
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


class FileStamps:
    """Stamps of files when they were first named, to be compared with those of the same files later.

    As a context manager it raises SceneError on leaving, also in place of an error that a changed file brought about.

    Parameters
    ----------
    paths : iterable of str
        Files and Zarr stores, in whatever form GDAL takes them. What is on other machines is passed over.
    deep : bool
        Whether every file of a store counts; else the store's own metadata alone, which takes no time to compare.
    """

    def __init__(self, paths: Iterable[str] = (), *, deep: bool = True) -> None:
        self._deep = deep
        self._files: dict[str, Stamp] = {}
        self._stores: dict[str, dict[str, Stamp]] = {}
        self.add(paths)

    def add(self, paths: Iterable[str]) -> None:
        """Record more files; the stamps of those that are known already stay."""
        for path in paths:
            file = local_file(path)
            if file is None or file in self._files or file in self._stores:
                continue
            if is_zarr_group(Path(file)):
                self._stores[file] = self._stamps_in(file)
            elif not os.path.isdir(file) and (stamp := Stamp.of(file)):  # noqa: PTH112 (of many files)
                self._files[file] = stamp

    def check(self) -> None:
        """Compare all files with what was recorded.

        Raises
        ------
        SceneError
            Naming the first file that changed, and whether its size, time or inode did.
        """
        for file, stamp in self._files.items():
            _compare(file, stamp, Stamp.of(file))
        for store, stamps in self._stores.items():
            now = self._stamps_in(store)
            for file in dict.fromkeys([*stamps, *now]):
                _compare(file, stamps.get(file), now.get(file))

    def _stamps_in(self, store: str) -> dict[str, Stamp]:
        return dict(_stamps_in(store) if self._deep else _stamps_of(store, os.listdir(store)))  # noqa: PTH208

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, SceneError):
            self.check()


def local_file(path: str) -> str | None:
    """The file or folder on this machine that a path of GDAL's reads: the zip of a file in a zip, for instance."""
    if os.path.lexists(path):
        return path
    if is_remote(path):
        return None
    rest = path[match.end() :] if (match := _BEFORE_A_PATH.match(path)) else path
    rest = rest.lstrip('"{')
    if is_remote(rest):
        return None
    ends = [len(rest), *(match.start() for match in reversed(list(_ENDS.finditer(rest))))]
    return next((rest[:end] for end in ends if end and _is_there(rest[:end])), None)


def _is_there(path: str) -> bool:
    return os.path.isfile(path) or is_zarr_group(Path(path))  # noqa: PTH113 (of many files)


def _stamps_in(store: str) -> Iterator[tuple[str, Stamp]]:
    """Stamps of the files of a store: of all, or of a part of a very large one and of its folders."""
    count, folders = 0, []
    for folder, below, names in os.walk(store):
        below.sort()
        folders.append(folder)
        for name in sorted(names):
            is_metadata = _METADATA.fullmatch(name)
            count += not is_metadata
            path = os.path.join(folder, name)  # noqa: PTH118 (of many files)
            if (is_metadata or count <= _MOST_CHUNKS) and (stamp := Stamp.of(path)):
                yield path, stamp
    for folder in folders if count > _MOST_CHUNKS else ():
        if stamp := Stamp.of(folder):
            yield folder, stamp


def _stamps_of(store: str, names: Iterable[str]) -> Iterator[tuple[str, Stamp]]:
    """Stamps of the metadata of a store."""
    for path in (os.path.join(store, name) for name in names if _METADATA.fullmatch(name)):  # noqa: PTH118
        if stamp := Stamp.of(path):
            yield path, stamp


def _compare(file: str, then: Stamp | None, now: Stamp | None) -> None:
    """Raise SceneError where two stamps of a file differ."""
    if then == now:
        return
    if now is None:
        what = "it is gone"
    elif then is None:
        what = "it is new"
    else:
        changes = []
        if now.inode != then.inode:
            changes.append("another file has taken its name")
        if now.size != then.size:
            changes.append(f"{then.size} bytes became {now.size}")
        if now.modified != then.modified:
            changes.append(f"modified {_when(now.modified)}, before {_when(then.modified)}")
        what = ", ".join(changes)
    msg = (
        f"{file}: the file changed while the scene was in use ({what}), so nothing is written: pixels of both states "
        "would be mixed; run again, or open the scene again, when nobody writes to it"
    )
    raise SceneError(msg)


def _when(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9).astimezone().isoformat(" ", "milliseconds")
