"""Check whether the local files of a scene changed while they were in use, by size, time and inode."""

import os
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Protocol, Self

from pipeline.config.schema import SceneConfig
from pipeline.core.errors import SceneError
from pipeline.core.regular_files import special_kind
from pipeline.core.scene_info import SceneInfo
from pipeline.geo.gdal import is_remote
from pipeline.stores.locate import is_zarr_group

_MOST_CHUNKS: Final = 20_000
"""Largest number of chunk files of a store that are checked (about 5 MB); of the others, their folders are checked."""

_METADATA: Final = re.compile(r"zarr\.json|\.z[a-z]+")
"""Names of the metadata files of Zarr stores."""

_BEFORE_A_PATH: Final = re.compile(r"(/vsi[a-z0-9_]+/|[A-Za-z][A-Za-z0-9+._-]+:(//|\d+:)?)+")
"""Prefixes of GDAL and rasterio before a path: /vsizip/, zip://, GTIFF_DIR:1:, NETCDF:"""

_ENDS: Final = re.compile(r"""[/:!"}?]""")
"""Characters between the path of a file and a name inside it: NETCDF:"file.nc":red, zip://file.zip!red.tif."""


class Stamp(NamedTuple):
    """Size, time and inode of a file, which change when it is modified or replaced."""

    size: int
    """Size of the file, bytes."""
    modified: int
    """Time of the last modification, nanoseconds."""
    inode: int
    """Inode number: it differs if another file has taken the same name."""

    @classmethod
    def of(cls, path: str) -> "Stamp | None":
        """Return the stamp of a file; None if there is no such file.

        Raises
        ------
        SceneError
            If the path is a pipe, a device or a socket.
        """
        try:
            found = os.stat(path)  # noqa: PTH116 (of many files)
        except (OSError, ValueError):
            return None
        if kind := special_kind(path):
            msg = f"{path}: this is {kind}; give a regular file"
            raise SceneError(msg)
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


class FileStamps:
    """Stamps of files when they were added, to be compared with their later stamps.

    As a context manager it checks the files on exit; SceneError for a changed file replaces another SceneError.

    Parameters
    ----------
    paths : iterable of str
        Files and Zarr stores, in any form that GDAL accepts. Remote ones are skipped.
    deep : bool
        If True, all files of a store are checked; else only the metadata in its root folder, which is fast.
    """

    def __init__(self, paths: Iterable[str] = (), *, deep: bool = True) -> None:
        self._deep = deep
        self._files: dict[str, Stamp] = {}
        self._stores: dict[str, dict[str, Stamp]] = {}
        self.add(paths)

    def add(self, paths: Iterable[str]) -> None:
        """Record the stamps of further files; those recorded earlier are not replaced."""
        for path in paths:
            file = local_file(path)
            if file is None or file in self._files or file in self._stores:
                continue
            if is_zarr_group(Path(file)):
                self._stores[file] = self._stamps_in(file)
            elif not os.path.isdir(file) and (stamp := Stamp.of(file)):  # noqa: PTH112 (of many files)
                self._files[file] = stamp

    def check(self) -> None:
        """Compare all files with their recorded stamps.

        Raises
        ------
        SceneError
            If a file changed: names the first one, and whether its size, time or inode changed.
        """
        for file, stamp in self._files.items():
            _compare(file, stamp, Stamp.of(file))
        for store, stamps in self._stores.items():
            now = self._stamps_in(store)
            for file in dict.fromkeys([*stamps, *now]):
                _compare(file, stamps.get(file), now.get(file))

    def _stamps_in(self, store: str) -> dict[str, Stamp]:
        return dict(_stamps_in(store) if self._deep else _metadata_stamps(store, os.listdir(store)))  # noqa: PTH208

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or isinstance(error, SceneError):
            self.check()


def local_file(path: str) -> str | None:
    """Return the local file or folder that a GDAL path reads, e.g. the archive of /vsizip/; None if there is none."""
    if os.path.lexists(path):
        return path
    if is_remote(path):
        return None
    rest = path[match.end() :] if (match := _BEFORE_A_PATH.match(path)) else path
    rest = rest.lstrip('"{')
    if is_remote(rest):
        return None
    ends = [len(rest), *(match.start() for match in reversed(list(_ENDS.finditer(rest))))]
    return next((rest[:end] for end in ends if end and _exists(rest[:end])), None)


def _exists(path: str) -> bool:
    return os.path.isfile(path) or is_zarr_group(Path(path))  # noqa: PTH113 (of many files)


def _stamps_in(store: str) -> Iterator[tuple[str, Stamp]]:
    """Stamps of all files of a store; of a very large one, of some of its chunks and of its folders."""
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


def _metadata_stamps(store: str, names: Iterable[str]) -> Iterator[tuple[str, Stamp]]:
    """Stamps of the metadata files among `names` in a store."""
    for path in (os.path.join(store, name) for name in names if _METADATA.fullmatch(name)):  # noqa: PTH118
        if stamp := Stamp.of(path):
            yield path, stamp


def _compare(file: str, then: Stamp | None, now: Stamp | None) -> None:
    """Raise SceneError if two stamps of a file differ."""
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
        f"{file}: the file changed while the scene was in use ({what}), so nothing is written: pixels of both versions "
        "would be mixed; run again, or open the scene again, when no other program writes to the file"
    )
    raise SceneError(msg)


def _when(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9).astimezone().isoformat(" ", "milliseconds")


class NamesFiles(Protocol):
    """A section of the config that names input files."""

    @property
    def paths(self) -> dict[str, str]:
        """Key of each input file that the section names, by its path."""


def named_inputs(scene: SceneConfig, *sections: NamesFiles | None) -> dict[str, str]:
    """Return the key of each input path and address that a config names, by the path."""
    layers = {"scene.mask": scene.mask, "scene.aoi": scene.aoi}
    named = {layer.path: key for key, layer in layers.items() if layer and layer.path}
    for section in filter(None, sections):
        named |= section.paths
    return named | dict.fromkeys(scene.source, "scene.source")


def named_files(scene: SceneConfig, *sections: NamesFiles | None) -> dict[str, str]:
    """Return the key of each local file that a config names, by its path; of a folder, its files are found later."""
    local = {local_file(path): key for path, key in named_inputs(scene, *sections).items()}
    return {path: key for path, key in local.items() if path and not os.path.isdir(path)}  # noqa: PTH112 (never raises)


def files_of(info: SceneInfo) -> dict[str, str]:
    """Return what the files of a scene are, by their paths, as `named_files` does for those that a config names."""
    return dict.fromkeys(info.files, "the scene")


def stamp_inputs(scene: SceneConfig, *sections: NamesFiles | None) -> FileStamps:
    """Record the stamps of the files that a config names, before any is read; files they refer to are added later."""
    return FileStamps(named_inputs(scene, *sections))
