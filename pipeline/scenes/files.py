"""From what the user names (files, a glob, a folder) to a list of raster files."""

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from pipeline.errors import SceneError
from pipeline.scenes.bands import band_order
from pipeline.settings import is_address

_ZARR_MARKS: Final = ("zarr.json", ".zgroup", ".zmetadata", ".zattrs")
_NETCDF_SUFFIXES: Final = frozenset({".nc", ".nc4", ".cdf", ".netcdf"})
RASTER_SUFFIXES: Final = frozenset({".tif", ".tiff", ".jp2", ".j2k", ".vrt", ".img", ".png", ".jpg", ".bil", ".bsq"})
"""What counts as a raster in a folder; a file named outright may have any suffix."""


def find_files(source: str | Path | Sequence[str | Path], besides: Iterable[str | Path] = ()) -> list[str]:
    """List the files that a source stands for.

    Parameters
    ----------
    source : str, Path or sequence of them
        Files, folders (their raster files), globs, or GDAL's virtual paths (`/vsi...`), which are handed on.
    besides : iterable of str or Path
        Files that no folder or glob stands for: a run's own outputs, left there by an earlier run.

    Returns
    -------
    list of str
        In the order named; the files of one folder or glob sorted with numbers by value.

    Raises
    ------
    SceneError
        When a file, folder or match is missing, or a file comes twice.
    """
    items = [source] if isinstance(source, str | Path) else list(source)
    own = {os.path.realpath(path) for path in besides}
    files = []
    for item in items:
        found = _expand(str(item))
        files += [file for file in found if file == str(item) or os.path.realpath(file) not in own]
    places = [file if is_handed_on(file) else os.path.abspath(file) for file in files]  # noqa: PTH100 (as it is spelled)
    for i, place in enumerate(places):
        if place in places[:i]:
            msg = f"scene.source: {files[places.index(place)]} is named twice; name each file once"
            raise SceneError(msg)
    if not files:
        msg = "scene.source: no file is named"
        raise SceneError(msg)
    return files


def _is_raster(file: Path) -> bool:
    return file.suffix.lower() in RASTER_SUFFIXES and not file.name.startswith(".") and file.is_file()


def is_store(path: str) -> bool:
    """Whether a path is a Zarr group or a NetCDF file."""
    place = Path(path)
    return is_zarr(place) or (place.suffix.lower() in _NETCDF_SUFFIXES and place.is_file())


def is_zarr(place: Path) -> bool:
    """Whether a folder is a Zarr group or array."""
    return place.is_dir() and any((place / mark).is_file() for mark in _ZARR_MARKS)


def rasters_in(folder: Path, besides: Iterable[str | Path] = ()) -> list[str]:
    """Raster files that lie in a folder itself, sorted with numbers by value."""
    own = {os.path.realpath(path) for path in besides}
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
            msg = f"{item}: the folder holds no product and no raster file ({', '.join(sorted(RASTER_SUFFIXES))})"
            raise SceneError(msg)
        return inside
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
