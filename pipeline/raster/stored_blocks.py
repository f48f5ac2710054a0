"""How a raster file stores its bands: blocks, strips, and the memory that an open file holds."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import rasterio

from pipeline.core.units import PIXEL_TYPES
from pipeline.geo.gdal import is_remote, is_service

EXPENSIVE_DRIVERS: Final = frozenset({"JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID"})
"""Formats so expensive to decode that pixels needed twice are cached."""


@dataclass(frozen=True)
class OpenFiles:
    """Files that virtual files refer to, which GDAL leaves open after reading."""

    count: int = 0
    """Number of files."""
    held_bytes: int = 0
    """Memory that one open file holds, in bytes, at most."""


NO_OPEN_FILES: Final = OpenFiles()
"""Value for scenes without virtual files."""


def combine_open_files(files: Iterable[OpenFiles]) -> OpenFiles:
    """Combine the open files of several bands: counts add up, memory per file is the largest."""
    counts, held = zip(*((group.count, group.held_bytes) for group in files), strict=True)
    return OpenFiles(sum(counts), max(held))


@dataclass(frozen=True, kw_only=True)
class StoredBand:
    """How a band is stored, in its own file or in the source files of a virtual one."""

    shape: tuple[int, int]
    """Size of the file, (rows, columns)."""
    block_shape: tuple[int, int]
    """Size of a block that is decoded as one, (rows, columns)."""
    block_bytes: int
    """Bytes decoded at once to read a block of this band."""
    interleaved: bool = False
    """Whether a block contains pixels of several bands."""
    strip_bytes: int = 0
    """Compressed bytes of strips that span all rows of a file, which GDAL keeps in memory; 0 otherwise."""
    held_bytes: int = 0
    """Bytes an open file holds of the block read last: the stored block and, if interleaved, the decoded one."""
    overviews: tuple[int, ...] = ()
    """Reduction factors of the overviews."""
    expensive: bool = False
    """Whether decoding is expensive, or the file is remote."""
    remote: bool = False
    """Whether the file or one of its source files is remote."""
    straddles: bool = False
    """Whether blocks of the source files straddle those of the virtual file, so that several are decoded for one."""
    open_files: OpenFiles = NO_OPEN_FILES
    """Source files of the whole virtual file that GDAL keeps open."""


def stored_bands(path: str, file: rasterio.DatasetReader) -> list[StoredBand]:
    """Describe how each band of an open file is stored, from the file's own metadata."""
    by_pixel = file.interleaving is not None and file.interleaving.name == "pixel"
    together = file.count if by_pixel else 1
    packed = "COMPRESSION" in file.tags(ns="IMAGE_STRUCTURE")
    remote = is_remote(path) or is_service(file.driver)
    bands = []
    for index, dtype, shape in zip(file.indexes, file.dtypes, file.block_shapes, strict=True):
        size = shape[0] * shape[1] * together * _bytes_of(dtype)
        bands.append(
            StoredBand(
                shape=file.shape,
                block_shape=shape,
                block_bytes=size,
                interleaved=together > 1,
                strip_bytes=_strip_bytes(file, index, shape),
                held_bytes=size * packed + size * (together > 1),
                expensive=remote or file.driver in EXPENSIVE_DRIVERS,
                remote=remote,
            )
        )
    return bands


def _strip_bytes(file: rasterio.DatasetReader, index: int, block: tuple[int, int]) -> int:
    """Bytes of a band's only strip if GDAL presents it as one block per row: only the first row states a size then."""
    if file.driver != "GTiff" or file.height == 1 or block != (1, file.width):
        return 0
    rows = [file.get_tag_item(f"BLOCK_SIZE_0_{row}", "TIFF", bidx=index) for row in (0, file.height - 1)]
    return int(rows[0]) if rows[0] and not rows[1] else 0


def _bytes_of(dtype: str) -> int:
    """Bytes per pixel; 8 for unsupported types."""
    return np.dtype(dtype).itemsize if dtype in PIXEL_TYPES else 8
