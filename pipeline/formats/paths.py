"""List the raster files of a source: files, folders and glob patterns."""

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from pipeline.config.yaml import is_address
from pipeline.core.band_names import band_order
from pipeline.core.errors import SceneError
from pipeline.core.regular_files import lookup_fault, special_kind
from pipeline.core.text import unreadable_name
from pipeline.stores.locate import is_store

RASTER_SUFFIXES: Final = frozenset({".tif", ".tiff", ".jp2", ".j2k", ".vrt", ".img", ".png", ".jpg", ".bil", ".bsq"})
"""Suffixes of raster files in folders and archives, in lower case; a file named by the user may have any suffix."""


@dataclass(frozen=True)
class FoundFile:
    """A raster file of a source."""

    path: str
    """Path by which GDAL opens the file."""
    named: bool
    """Whether the user named the file itself, rather than a folder, archive or pattern."""

    @property
    def stem(self) -> str:
        """File name without folder and suffix."""
        return PurePath(self.path).stem


def find_files(source: str | Path | Sequence[str | Path], excluded: Iterable[str | Path] = ()) -> list[FoundFile]:
    """List the raster files of a source as named; those of one folder or glob sorted by name, with numbers by value.

    Parameters
    ----------
    source : str, Path or sequence of them
        Files, folders (all raster files in them), globs, or GDAL paths (`/vsi...`, URLs), which are not looked up.
    excluded : iterable of str or Path
        Files to ignore in folders and globs, such as outputs of an earlier run; files named themselves are listed.

    Raises
    ------
    SceneError
        If a file or folder does not exist, nothing matches, or a file is named twice.
    """
    items = [source] if isinstance(source, str | Path) else list(source)
    ignored = {os.path.realpath(path) for path in excluded}
    files: list[FoundFile] = []
    for item in items:
        found = [FoundFile(file, named=file == str(item)) for file in _expand(str(item))]
        files += [file for file in found if file.named or os.path.realpath(file.path) not in ignored]
    check_names(file.path for file in files)
    seen: dict[str, str] = {}
    for file in files:
        path = file.path if is_gdal_path(file.path) else os.path.abspath(file.path)  # noqa: PTH100 (keeps symlinks)
        if path in seen:
            msg = f"scene.source: {seen[path]} is named twice; name each file once"
            raise SceneError(msg)
        seen[path] = file.path
    if not files:
        msg = "scene.source: no file is named; name a file, a folder or a pattern"
        raise SceneError(msg)
    return files


def check_names(names: Iterable[str]) -> None:
    """Raise SceneError if Python and GDAL would open different files for a name."""
    if reason := next(filter(None, map(unreadable_name, names)), ""):
        raise SceneError(reason)


def check_lookup(names: Iterable[str]) -> None:
    """Raise SceneError if the system can't look up a path, such as one that is too long."""
    for name in names:
        if not is_gdal_path(name) and (fault := lookup_fault(name)):
            msg = f"{name}: this path can't be looked up ({fault})"
            raise SceneError(msg)


def has_raster_name(file: PurePath) -> bool:
    """Whether a file is a raster by its suffix, but not a hidden `._` file, which macOS adds for each file."""
    return file.suffix.lower() in RASTER_SUFFIXES and not file.name.startswith(".")


def stores_in(folder: Path, excluded: Iterable[str | Path] = ()) -> list[str]:
    """Zarr and NetCDF stores directly in a folder, without excluded ones, sorted by name, with numbers by value."""
    inside = (str(file) for file in folder.iterdir() if not file.name.startswith("."))
    return sorted((file for file in without(inside, excluded) if is_store(file)), key=band_order)


def rasters_in(folder: Path, excluded: Iterable[str | Path] = ()) -> list[str]:
    """Raster files directly in a folder, without excluded ones, sorted by name, with numbers by value."""
    inside = (str(file) for file in folder.iterdir() if has_raster_name(file) and file.is_file())
    return sorted(without(inside, excluded), key=band_order)


def without(paths: Iterable[str], excluded: Iterable[str | Path]) -> list[str]:
    """Paths without excluded ones, by whatever path or link these are named."""
    ignored = {os.path.realpath(path) for path in excluded}
    return [path for path in paths if os.path.realpath(path) not in ignored]


def is_gdal_path(item: str) -> bool:
    """Whether a path is known to GDAL only: `/vsi...`, a URL, or a part of a file such as `GTIFF_DIR:1:a.tif`."""
    return is_address(item) and (item.startswith("/vsi") or not os.path.lexists(item))


def _expand(item: str) -> list[str]:
    """List the files of a path, folder or pattern."""
    if is_gdal_path(item):
        return [item]
    if not item:
        msg = "scene.source: no file is named; name a file, a folder or a pattern"
        raise SceneError(msg)
    try:
        return _look_up(item)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        msg = f"{item}: this path can't be looked up ({reason})"
        raise SceneError(msg) from error


def _look_up(item: str) -> list[str]:
    """List the files of a folder or glob, or the file itself."""
    path = Path(item)
    if path.is_dir():
        inside = rasters_in(path)
        if not inside:
            below = next((folder for folder in sorted(path.iterdir()) if folder.is_dir() and rasters_in(folder)), None)
            hint = f"; {below} does: name that folder or its files" if below else ""
            msg = f"{item}: the folder holds no product and no raster file ({', '.join(sorted(RASTER_SUFFIXES))}){hint}"
            raise SceneError(msg)
        return inside
    if kind := special_kind(path):
        msg = f"{item}: this is {kind}, not a file; name a raster file or a folder"
        raise SceneError(msg)
    if path.exists():
        return [str(path)]
    if glob.has_magic(item):
        matches = [match for match in glob.glob(item, recursive=True) if Path(match).is_file()]  # noqa: PTH207 (keeps absolute patterns)
        if not matches:
            msg = f"{item}: no file matches; check the pattern, or name the files one by one"
            raise SceneError(msg)
        return sorted(matches, key=band_order)
    msg = f"{item}: no such file or folder; check the path"
    raise SceneError(msg)
