"""How a raster file stores a band: what is decoded as one, and what an open file keeps of that."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import rasterio

from pipeline.core.scene_info import NO_OPEN_FILES, OpenFiles
from pipeline.core.units import PIXEL_TYPES
from pipeline.geo.gdal import is_remote, is_service

EXPENSIVE_DRIVERS: Final = frozenset({"JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID"})
"""Formats so dear to decode that pixels needed twice are kept decoded in between."""


@dataclass(frozen=True, kw_only=True)
class StoredBand:
    """What is decoded to read a band, of its own file or of the files behind a virtual one."""

    shape: tuple[int, int]
    """Rows and columns of the file."""
    block_shape: tuple[int, int]
    """(rows, columns) that are decoded as one."""
    block_bytes: int
    """Size of what is decoded at once to read a block of this band."""
    interleaved: bool = False
    """Whether a block holds the pixels of several bands."""
    strip_bytes: int = 0
    """Size of compressed strips that hold all rows of a file, which GDAL keeps in memory."""
    held_bytes: int = 0
    """What an open file keeps of the block that was read last: as it is stored, and decoded where it is interleaved."""
    overviews: tuple[int, ...] = ()
    expensive: bool = False
    """Whether decoding is dear, or the file on another machine."""
    remote: bool = False
    """Whether the file, or one behind it, is on another machine."""
    straddles: bool = False
    """Whether blocks of files behind it lie across its own, so that several are decoded for one."""
    open_files: OpenFiles = NO_OPEN_FILES
    """Behind the whole of a virtual file."""


def stored_bands(path: str, file: rasterio.DatasetReader) -> list[StoredBand]:
    """Describe how each band of an open file is stored, by what the file itself says."""
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
    """Size of a band's only strip, where GDAL hands it on row by row: those have no places of their own."""
    if file.driver != "GTiff" or file.height == 1 or block != (1, file.width):
        return 0
    rows = [file.get_tag_item(f"BLOCK_SIZE_0_{row}", "TIFF", bidx=index) for row in (0, file.height - 1)]
    return int(rows[0]) if rows[0] and not rows[1] else 0


def _bytes_of(dtype: str) -> int:
    return np.dtype(dtype).itemsize if dtype in PIXEL_TYPES else 8
