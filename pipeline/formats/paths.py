"""From what the user names (files, a glob, a folder) to a list of raster files."""

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

from pipeline.config.yaml import is_address
from pipeline.core.band_names import band_order
from pipeline.core.errors import SceneError
from pipeline.core.regular_files import special_kind
from pipeline.core.text import unreadable_name
from pipeline.stores.locate import is_store

RASTER_SUFFIXES: Final = frozenset({".tif", ".tiff", ".jp2", ".j2k", ".vrt", ".img", ".png", ".jpg", ".bil", ".bsq"})
"""What counts as a raster in a folder; a file named outright may have any suffix."""


@dataclass(frozen=True)
class FoundFile:
    """A raster file of a source."""

    path: str
    """By which GDAL opens it."""
    named: bool
    """Whether it was named itself, not found in a folder, an archive or by a pattern."""

    @property
    def stem(self) -> str:
        """Name without folder and suffix."""
        return PurePath(self.path).stem


def find_files(source: str | Path | Sequence[str | Path], excluded: Iterable[str | Path] = ()) -> list[FoundFile]:
    """List the files that a source stands for.

    Parameters
    ----------
    source : str, Path or sequence of them
        Files, folders (their raster files), globs, or GDAL's virtual paths (`/vsi...`), which are handed on.
    besides : iterable of str or Path
        Files that no folder or glob stands for: a run's own outputs, left there by an earlier run.

    Returns
    -------
    list of FoundFile
        In the order named; the files of one folder or glob sorted with numbers by value.

    Raises
    ------
    SceneError
        When a file, folder or match is missing, or a file comes twice.
    """
    items = [source] if isinstance(source, str | Path) else list(source)
    own = {os.path.realpath(path) for path in excluded}
    files: list[FoundFile] = []
    for item in items:
        found = [FoundFile(file, named=file == str(item)) for file in _expand(str(item))]
        files += [file for file in found if file.named or os.path.realpath(file.path) not in own]
    check_names(file.path for file in files)
    seen: dict[str, str] = {}
    for file in files:
        place = file.path if is_handed_on(file.path) else os.path.abspath(file.path)  # noqa: PTH100 (as it is spelled)
        if place in seen:
            msg = f"scene.source: {seen[place]} is named twice; name each file once"
            raise SceneError(msg)
        seen[place] = file.path
    if not files:
        msg = "scene.source: no file is named"
        raise SceneError(msg)
    return files


def check_names(names: Iterable[str]) -> None:
    """Raise SceneError where Python and GDAL would not mean the same file by a name."""
    if why := next(filter(None, map(unreadable_name, names)), ""):
        raise SceneError(why)


def _is_raster(file: Path) -> bool:
    return file.suffix.lower() in RASTER_SUFFIXES and not file.name.startswith(".") and file.is_file()


def stores_in(folder: Path) -> list[str]:
    """Zarr and NetCDF stores that lie in a folder itself, sorted with numbers by value."""
    inside = (str(file) for file in folder.iterdir() if not file.name.startswith("."))
    return sorted((file for file in inside if is_store(file)), key=band_order)


def rasters_in(folder: Path, excluded: Iterable[str | Path] = ()) -> list[str]:
    """Raster files that lie in a folder itself, sorted with numbers by value."""
    own = {os.path.realpath(path) for path in excluded}
    inside = (str(file) for file in folder.iterdir() if _is_raster(file))
    return sorted((file for file in inside if os.path.realpath(file) not in own), key=band_order)


def is_handed_on(item: str) -> bool:
    """Whether an item is no file but something that GDAL knows."""
    return is_address(item) and (item.startswith("/vsi") or not os.path.lexists(item))


def _expand(item: str) -> list[str]:
    """List the files one item stands for."""
    if is_handed_on(item):
        return [item]
    if not item:
        msg = "scene.source: no file is named"
        raise SceneError(msg)
    try:
        return _look_up(item)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        msg = f"{item}: this can't be looked up ({reason})"
        raise SceneError(msg) from error


def _look_up(item: str) -> list[str]:
    """List the files of a folder or glob, or the file itself."""
    path = Path(item)
    if path.is_dir():
        inside = rasters_in(path)
        if not inside:
            below = next((folder for folder in sorted(path.iterdir()) if folder.is_dir() and rasters_in(folder)), None)
            hint = f"; {below} does: name the folder or the files to take" if below else ""
            msg = f"{item}: the folder holds no product and no raster file ({', '.join(sorted(RASTER_SUFFIXES))}){hint}"
            raise SceneError(msg)
        return inside
    if kind := special_kind(path):
        msg = f"{item}: this is {kind}, not a file"
        raise SceneError(msg)
    if path.exists():
        return [str(path)]
    if glob.has_magic(item):
        matches = [match for match in glob.glob(item, recursive=True) if Path(match).is_file()]  # noqa: PTH207 (keeps absolute patterns)
        if not matches:
            msg = f"{item}: no file matches; check the pattern, or name the files one by one"
            raise SceneError(msg)
        return sorted(matches, key=band_order)
    msg = f"{item}: no such file or folder"
    raise SceneError(msg)
