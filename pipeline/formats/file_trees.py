"""The files of a product: in a folder, or in a zip that is never unpacked."""

import os
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from pipeline.core.errors import SceneError
from pipeline.core.regular_files import read_regular
from pipeline.core.strict_xml import MAX_XML_BYTES

_MOST_FILES: Final = 100_000
_MOST_SHRUNK: Final = 200
"""Images hardly shrink in a zip; what is so many times larger than its packed bytes is a trap."""


class Tree(Protocol):
    """Files below a root."""

    @property
    def origin(self) -> str:
        """What the user named, for messages."""

    @property
    def names(self) -> tuple[str, ...]:
        """Paths of all files, relative, with forward slashes."""

    def read(self, name: str) -> bytes:
        """Content of a small file."""

    def path(self, name: str) -> str:
        """Path by which GDAL opens a file."""

    @property
    def files(self) -> tuple[str, ...]:
        """What must not be written over."""


def read_small(path: Path) -> bytes:
    """Content of a small file, such as metadata.

    Raises
    ------
    SceneError
        When it is no file or can't be read.
    """
    try:
        return read_regular(path, MAX_XML_BYTES)
    except OSError as error:
        msg = f"{path}: this can't be read ({error.strerror or error})"
        raise SceneError(msg) from error


class FolderTree:
    """A folder; a `Tree`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.origin = str(root)
        self.files = (str(root),)
        self.names = tuple(sorted(self._walk()))

    def _walk(self) -> list[str]:
        names: list[str] = []
        for folder, _, files in os.walk(self._root):
            below = Path(folder).relative_to(self._root)
            names += [(below / file).as_posix() for file in files]
            if len(names) > _MOST_FILES:
                msg = f"{self.origin}: the folder holds more than {_MOST_FILES} files; name the product's own folder"
                raise SceneError(msg)
        return names

    def read(self, name: str) -> bytes:
        """Content of a small file."""
        return read_small(self._root / name)

    def path(self, name: str) -> str:
        """Path by which GDAL opens a file."""
        return str(self._root / name)


def _check_names(names: Sequence[str], origin: str) -> None:
    """Raise SceneError where the names of an archive's files climb out of it, or are endless."""
    if len(names) > _MOST_FILES:
        msg = f"{origin}: the archive lists {len(names)} files; no product has so many"
        raise SceneError(msg)
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if ".." in parts or name.startswith(("/", "\\")) or ":" in name or "\0" in name:
            msg = f"{origin}: the archive holds a file that lies outside of it ({name!r}); it is not opened"
            raise SceneError(msg)


class ZipTree:
    """A zip archive, read where it lies; a `Tree`."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self.origin = str(archive)
        self.files = (str(archive),)
        try:
            with zipfile.ZipFile(archive) as opened:
                self._entries = {entry.filename: entry for entry in opened.infolist() if not entry.is_dir()}
        except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
            msg = f"{archive}: this zip can't be read ({error}); it is damaged or cut short: download it again"
            raise SceneError(msg) from error
        self._check()
        self.names = tuple(sorted(self._entries))

    def _check(self) -> None:
        """Refuse archives made to do harm: names that climb out, endless lists, and bombs."""
        _check_names(list(self._entries), self.origin)
        for name, entry in self._entries.items():
            if entry.file_size > _MOST_SHRUNK * (entry.compress_size + 2**20):
                msg = (
                    f"{self.origin}: {name} claims {entry.file_size} bytes out of {entry.compress_size} in the zip; "
                    "it is not opened"
                )
                raise SceneError(msg)

    def read(self, name: str) -> bytes:
        """Content of a small file."""
        try:
            with zipfile.ZipFile(self._archive) as opened, opened.open(name) as file:
                return file.read(MAX_XML_BYTES + 1)
        except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            msg = f"{self.origin}: {name} can't be read ({error}); the zip is damaged or locked: download it again"
            raise SceneError(msg) from error

    def path(self, name: str) -> str:
        """Path by which GDAL opens a file: braces keep its own guesses at where the archive's name ends out."""
        return f"/vsizip/{{{self._archive.absolute().as_posix()}}}/{name}"


def _plain(name: str) -> str:
    """Name of a file in a tar archive, as GDAL has it: without the `./` that `tar -cf x.tar .` puts before it."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


class TarTree:
    """A tar archive that is not compressed, read where it lies; a `Tree`."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive
        self.origin = str(archive)
        self.files = (str(archive),)
        try:
            with tarfile.open(archive, "r:") as opened:
                members = {_plain(entry.name): entry.name for entry in opened.getmembers() if entry.isreg()}
        except (OSError, ValueError, tarfile.TarError) as error:
            msg = f"{archive}: this tar archive can't be read ({error}); it is damaged or cut short: download it again"
            raise SceneError(msg) from error
        _check_names(list(members.values()), self.origin)
        self._members = members
        self.names = tuple(sorted(members))

    def read(self, name: str) -> bytes:
        """Content of a small file."""
        try:
            with tarfile.open(self._archive, "r:") as opened:
                file = opened.extractfile(self._members[name])
                return file.read(MAX_XML_BYTES + 1) if file else b""
        except (OSError, ValueError, KeyError, RecursionError, tarfile.TarError) as error:  # a link may name itself
            msg = f"{self.origin}: {name} can't be read ({error}); the archive is damaged: download it again"
            raise SceneError(msg) from error

    def path(self, name: str) -> str:
        """Path by which GDAL opens a file: braces keep its own guesses at where the archive's name ends out."""
        return f"/vsitar/{{{self._archive.absolute().as_posix()}}}/{name}"
