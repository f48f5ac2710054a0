"""Raster files in a zip or an uncompressed tar, such as Landsat's, which are read without unpacking."""

import re
from pathlib import Path, PurePosixPath
from typing import Final

from pipeline.core.band_names import band_order
from pipeline.core.errors import SceneError
from pipeline.formats.catalogue import Catalogue
from pipeline.formats.file_sets import files_catalogue
from pipeline.formats.paths import RASTER_SUFFIXES, FoundFile, has_raster_name
from pipeline.formats.product_files import TarTree, Tree, ZipTree
from pipeline.formats.safe import METADATA, open_product

_PACKED: Final = re.compile(r"(?i).*\.(tar\.(gz|bz2|xz|zst)|tgz|tbz2?|txz)")
"""Names of archives that are compressed as a whole, so that no file can be read without decompressing all before it."""


def is_archive(path: Path) -> bool:
    """Whether a path is an archive, judged by the suffix of an existing file."""
    return (path.suffix.lower() in {".zip", ".tar"} or bool(_PACKED.fullmatch(path.name))) and path.is_file()


def open_archive(path: Path) -> Catalogue:
    """Read the catalogue of a zip or tar archive: a Sentinel-2 product, or raster files.

    Raises
    ------
    SceneError
        If the archive can't be read, is compressed as a whole, or holds no raster.
    """
    if _PACKED.fullmatch(path.name):
        msg = (
            f"{path}: this archive is compressed as a whole, so single files in it can't be read; unpack it into a "
            f"folder (mkdir scene && tar -xf {path.name} -C scene), and name that folder"
        )
        raise SceneError(msg)
    tree = TarTree(path) if path.suffix.lower() == ".tar" else ZipTree(path)
    if any(METADATA.fullmatch(PurePosixPath(name).name) for name in tree.names) and isinstance(tree, ZipTree):
        return open_product(path)
    names = sorted((name for name in tree.names if has_raster_name(PurePosixPath(name))), key=band_order)
    if not names:
        listed = ", ".join(tree.names[:3]) or "nothing"
        msg = (
            f"{path}: this archive holds no Sentinel-2 product and no raster file "
            f"({', '.join(sorted(RASTER_SUFFIXES))}), but {listed}; name an archive or folder with raster files"
        )
        raise SceneError(msg)
    return _open_files(tree, names)


def _open_files(tree: Tree, names: list[str]) -> Catalogue:
    """Read the catalogue of an archive's raster files."""
    by_path = {tree.path(name): name for name in tree.names}

    def read(path: str) -> bytes | None:
        return tree.read(by_path[path]) if path in by_path else None

    return files_catalogue(
        [FoundFile(tree.path(name), named=False) for name in names], read, origin=tree.origin, files=(tree.origin,)
    )
