"""File trees of products: a folder, or a zip or tar archive that is read without unpacking."""

import os
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, Final

from pipeline.core.errors import SceneError
from pipeline.core.strict_xml import MAX_XML_BYTES
from pipeline.formats.fetch import read_small_file

_MOST_FILES: Final = 100_000
"""Largest number of files of a product."""
_LARGEST_RATIO: Final = 200
"""Largest ratio of unpacked to packed size; images hardly shrink in a zip, so a larger one means a zip bomb."""


class Tree(ABC):
    """Files of a folder or an archive."""

    names: tuple[str, ...]
    """Relative paths of all files, with forward slashes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.origin = str(root)
        """Path of the folder or archive, which must not be overwritten."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Read the content of a small file."""

    @abstractmethod
    def path(self, name: str) -> str:
        """Path by which GDAL opens a file."""


class FolderTree(Tree):
    """Files of a folder."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.names = tuple(sorted(self._walk()))

    def _walk(self) -> list[str]:
        """List the relative paths of all files below the folder."""
        names: list[str] = []
        for folder, _, files in os.walk(self._root):
            below = Path(folder).relative_to(self._root)
            names += [(below / file).as_posix() for file in files]
            if len(names) > _MOST_FILES:
                msg = f"{self.origin}: the folder holds more than {_MOST_FILES} files; name the product's own folder"
                raise SceneError(msg)
        return names

    def read(self, name: str) -> bytes:
        """Read the content of a small file."""
        return read_small_file(self._root / name)

    def path(self, name: str) -> str:
        """Path by which GDAL opens a file."""
        return str(self._root / name)


def _check_names(names: Sequence[str], origin: str) -> None:
    """Raise SceneError if files of an archive have paths outside of it, or if there are too many files."""
    if len(names) > _MOST_FILES:
        msg = f"{origin}: the archive lists {len(names)} files, more than {_MOST_FILES}; it is not opened"
        raise SceneError(msg)
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if ".." in parts or name.startswith(("/", "\\")) or ":" in name or "\0" in name:
            msg = f"{origin}: the archive holds a file with a path outside of it ({name!r}); it is not opened"
            raise SceneError(msg)


class _ArchiveTree(Tree):
    """Files of an archive, read without unpacking it."""

    kind: ClassVar[str]
    """Kind of archive in the name of GDAL's file system."""

    def path(self, name: str) -> str:
        """Path by which GDAL opens a file; braces tell GDAL where the archive's path ends."""
        return f"/vsi{self.kind}/{{{self._root.absolute().as_posix()}}}/{name}"


class ZipTree(_ArchiveTree):
    """Files of a zip archive."""

    kind = "zip"

    def __init__(self, archive: Path) -> None:
        super().__init__(archive)
        try:
            with zipfile.ZipFile(archive) as opened:
                self._entries = {entry.filename: entry for entry in opened.infolist() if not entry.is_dir()}
        except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
            msg = f"{archive}: this zip can't be read ({error}); it is damaged or cut short: download it again"
            raise SceneError(msg) from error
        self._check()
        self.names = tuple(sorted(self._entries))

    def _check(self) -> None:
        """Refuse malicious archives: paths outside of the archive, too many files, and zip bombs."""
        _check_names(list(self._entries), self.origin)
        for name, entry in self._entries.items():
            if entry.file_size > _LARGEST_RATIO * (entry.compress_size + 2**20):
                msg = (
                    f"{self.origin}: {name} claims to be {entry.file_size} bytes, packed into {entry.compress_size}; "
                    "the zip is not opened"
                )
                raise SceneError(msg)

    def read(self, name: str) -> bytes:
        """Read the content of a small file."""
        try:
            with zipfile.ZipFile(self._root) as opened, opened.open(name) as file:
                return file.read(MAX_XML_BYTES + 1)
        except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            msg = f"{self.origin}: {name} can't be read ({error}); the zip is damaged or encrypted: download it again"
            raise SceneError(msg) from error


def _without_dot(name: str) -> str:
    """Path of a file in a tar archive as GDAL spells it: without the leading `./` that `tar -cf x.tar .` adds."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


class TarTree(_ArchiveTree):
    """Files of an uncompressed tar archive."""

    kind = "tar"

    def __init__(self, archive: Path) -> None:
        super().__init__(archive)
        try:
            with tarfile.open(archive, "r:") as opened:
                members = {_without_dot(entry.name): entry.name for entry in opened.getmembers() if entry.isreg()}
        except (OSError, ValueError, tarfile.TarError) as error:
            msg = f"{archive}: this tar archive can't be read ({error}); it is damaged or cut short: download it again"
            raise SceneError(msg) from error
        _check_names(list(members.values()), self.origin)
        self._members = members
        self.names = tuple(sorted(members))

    def read(self, name: str) -> bytes:
        """Read the content of a small file."""
        try:
            with tarfile.open(self._root, "r:") as opened:
                file = opened.extractfile(self._members[name])
                return file.read(MAX_XML_BYTES + 1) if file else b""
        except (OSError, ValueError, KeyError, RecursionError, tarfile.TarError) as error:  # such as a link to itself
            msg = f"{self.origin}: {name} can't be read ({error}); the archive is damaged: download it again"
            raise SceneError(msg) from error
