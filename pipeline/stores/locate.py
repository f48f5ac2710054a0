"""Which paths are Zarr groups, in a folder or a zip, or NetCDF files. Opens no store."""

import zipfile
from pathlib import Path
from typing import Final

_ZARR_MARKS: Final = ("zarr.json", ".zgroup", ".zmetadata", ".zattrs")


_NETCDF_SUFFIXES: Final = frozenset({".nc", ".nc4", ".cdf", ".netcdf"})


def is_store(path: str) -> bool:
    """Whether a path is a Zarr group, in a folder or a zip, or a NetCDF file."""
    place = Path(path)
    if place.suffix.lower() == ".zip":
        return place.is_file() and zarr_in_zip(path) is not None
    return is_zarr_group(place) or (place.suffix.lower() in _NETCDF_SUFFIXES and place.is_file())


def is_zarr_group(folder: Path) -> bool:
    """Whether a folder is a Zarr group."""
    return folder.is_dir() and any((folder / mark).is_file() for mark in _ZARR_MARKS)


def zarr_in_zip(path: str) -> str | None:
    """The folder of a zip that is a Zarr group, '' where the whole zip is; None where there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):  # told by who opens it as a product
        return None
    marked = [name.rpartition("/")[0] for name in names if name.rpartition("/")[2] in _ZARR_MARKS]
    return min(marked, key=lambda folder: (folder.count("/") + bool(folder), folder), default=None)
