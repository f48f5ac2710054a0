"""From what the user names (files, a glob, a folder) to a list of raster files."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pipeline.errors import SceneError
from pipeline.scenes.bands import band_order

RASTER_SUFFIXES: Final = frozenset({".tif", ".tiff", ".jp2", ".j2k", ".vrt", ".img", ".png", ".jpg", ".bil", ".bsq"})
"""What counts as a raster in a folder; a file named outright may have any suffix."""


def find_files(source: str | Path | Sequence[str | Path]) -> list[str]:
    """List the files that a source stands for.

    Parameters
    ----------
    source : str, Path or sequence of them
        Files, folders (their raster files), globs, or GDAL's virtual paths (`/vsi...`), which are handed on.

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
    files = [file for item in items for file in _expand(str(item))]
    for i, file in enumerate(files):
        if file in files[:i]:
            msg = f"scene.source: {file} is named twice; name each file once"
            raise SceneError(msg)
    if not files:
        msg = "scene.source: no file is named"
        raise SceneError(msg)
    return files


def _expand(item: str) -> list[str]:
    """List the files one item stands for."""
    if item.startswith("/vsi"):
        return [item]
    path = Path(item)
    if path.is_dir():
        inside = [str(file) for file in path.iterdir() if file.suffix.lower() in RASTER_SUFFIXES and file.is_file()]
        if not inside:
            msg = f"{item}: the folder holds no raster file ({', '.join(sorted(RASTER_SUFFIXES))})"
            raise SceneError(msg)
        return sorted(inside, key=band_order)
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
