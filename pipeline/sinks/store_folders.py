"""Outputs that are folders: Zarr stores. Which ones may be replaced, the files in them, and their digest."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pipeline.core.regular_files import read_regular
from pipeline.core.strict_json import parse_json

STORE_MARK: Final = "TERRAZZO_VERSION"
"""Attribute of the root group of each store that this program wrote."""

_SUFFIX: Final = ".zarr"

_LARGEST_METADATA: Final = 16 * 2**20
"""Bytes of the metadata of a group, at most: those of a map list the files of its scene."""

_ENTRIES: Final = re.compile(
    r"\.zgroup|\.zattrs|\.zmetadata|zarr\.json|class|x|y|spatial_ref|overview_\d+"
    r"|pam\.aux\.xml"  # statistics that GDAL adds
)
"""Names of what is in such a store."""

_FOLDERS: Final = re.compile(r"class|x|y|spatial_ref|overview_\d+|c|\d+")
"""Names of those that are folders: groups, arrays, and parts of the keys of chunks in format 3."""

_BELOW: Final = re.compile(_ENTRIES.pattern + r"|\.zarray|c|\d+(\.\d+)*")
"""Names of what is in its groups and arrays."""


def is_store_path(path: Path) -> bool:
    """Whether an output of this path is a folder."""
    return path.suffix.lower() == _SUFFIX


def store_fault(path: Path) -> str:
    """Describe why a store can't have a path, whatever may be replaced; empty if it can, also if it exists already."""
    if not os.path.lexists(path):
        return ""
    fix = "and is not replaced; use another name"
    if path.is_symlink():
        return f"this is a link, {fix}"
    if not path.is_dir():
        return f"this is no folder, {fix}"
    if not _has_mark(path):
        return f"this folder is not a Zarr store that Terrazzo wrote, {fix}"
    foreign = next(_foreign(path, _ENTRIES), None)
    return f"this folder contains {foreign}, which Terrazzo did not write, {fix}" if foreign else ""


def _foreign(folder: Path, known: re.Pattern[str], inside: str = "") -> Iterator[str]:
    """Yield the names of what is in a store, at any depth, and is not of this program: also links, pipes and others."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda each: each.name):
            name, is_folder = f"{inside}{entry.name}", entry.is_dir(follow_symlinks=False)
            of_kind = is_folder if _FOLDERS.fullmatch(entry.name) else entry.is_file(follow_symlinks=False)
            chunk = entry.name.isdecimal() and entry.is_file(follow_symlinks=False)  # of an array of one dimension
            if not (known.fullmatch(entry.name) and (of_kind or chunk)):
                yield name
            elif is_folder:
                yield from _foreign(Path(entry.path), _BELOW, f"{name}/")


def _has_mark(folder: Path) -> bool:
    """Whether the root group of a store, in either format, has the attribute of this program."""
    for name in (".zattrs", "zarr.json"):
        try:
            record = parse_json(read_regular(folder / name, _LARGEST_METADATA))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(record, dict) and name == "zarr.json":
            record = record.get("attributes")
        if isinstance(record, dict) and isinstance(record.get(STORE_MARK), str):
            return True
    return False


def names_in(folder: Path) -> Iterator[str]:
    """Yield the names of all files in a folder and its folders, relative to it and with slashes.

    Links to folders are not followed. A large map has a million files, so names are texts, not paths.
    """
    for parent, _, names in os.walk(folder, onerror=_raise):
        inside = Path(parent).relative_to(folder).as_posix()
        yield from (name if inside == "." else f"{inside}/{name}" for name in names)


def folders_in(folder: Path) -> list[Path]:
    """A folder and all folders in it, each after those that it contains."""
    return [Path(parent) for parent, _, _ in os.walk(folder, topdown=False, onerror=_raise)]


def _raise(error: OSError) -> None:
    raise error


def output_digest(path: Path) -> str:
    """SHA-256 digest of an output as hexadecimal text.

    That of a folder is the digest of a list of its files, sorted by name, as `sha256sum` writes it: a line for each,
    with its digest, two spaces and its name relative to the folder.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    listing = hashlib.sha256()
    for name in sorted(names_in(path)):
        listing.update(f"{output_digest(path / name)}  {name}\n".encode(errors="surrogateescape"))
    return listing.hexdigest()
