"""Recognises paths of Zarr groups, in a folder or a zip, and of NetCDF files, without opening them."""

import os
import zipfile
from pathlib import Path
from typing import Final

_ZARR_FILES: Final = ("zarr.json", ".zgroup", ".zmetadata", ".zattrs")
"""Metadata files that mark a folder as a Zarr group."""

_NETCDF_SUFFIXES: Final = frozenset({".nc", ".nc4", ".cdf", ".netcdf"})


def is_store(path: str) -> bool:
    """Whether a path is a Zarr group, in a folder or a zip, or a NetCDF file."""
    location = Path(path)
    if location.suffix.lower() == ".zip":
        return _is_file(location) and zarr_in_zip(path) is not None
    return is_zarr_group(location) or (location.suffix.lower() in _NETCDF_SUFFIXES and _is_file(location))


def is_zarr_group(folder: Path) -> bool:
    """Whether a folder is a Zarr group."""
    is_folder = os.path.isdir(folder)  # noqa: PTH112 (as below)
    return is_folder and any(_is_file(folder / name) for name in _ZARR_FILES)


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # noqa: PTH113 (of any path, also of one that pathlib raises an error for)


def zarr_in_zip(path: str) -> str | None:
    """Folder of the outermost Zarr group in a zip, '' for its root; None if it contains none or can't be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):  # reported when it is opened as a product
        return None
    groups = [name.rpartition("/")[0] for name in names if name.rpartition("/")[2] in _ZARR_FILES]
    return min(groups, key=lambda folder: (folder.count("/") + bool(folder), folder), default=None)
