"""Labels of a map before it has its final format: an uncompressed GeoTIFF that takes blocks of any shape and order.

Blocks need not match the tiles or chunks of the map, whose writer reads them back in the shape it needs. So memory does
not depend on the size of the map.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import rasterio

from pipeline.core.errors import OutputError
from pipeline.core.grid import Block, Grid
from pipeline.core.pixels import Pixels
from pipeline.engine.work_folder import folder_of
from pipeline.geo.gdal import GDAL_ERRORS, gdal_options
from pipeline.kernels.checksum import add_checksums, checksum
from pipeline.labels.classify import Labels
from pipeline.sinks.base import LabelWriter
from pipeline.sinks.overviews import level_shapes, overview_paths

TILE_SIDE: Final = 512
"""Side of the tiles of a GeoTIFF in pixels."""

GDAL_CACHE: Final = 12 * 2**20
"""Bytes of GDAL's cache while a map is finished: small, because each tile is read once."""


def stored_bytes(shape: tuple[int, int]) -> int:
    """Most bytes of labels of a shape (rows, columns): tiles at the edges are whole, and noise hardly compresses."""
    rows, columns = shape
    return TILE_SIDE**2 * -(-rows // TILE_SIDE) * -(-columns // TILE_SIDE)


def labels_of(_block: Block, _pixels: Pixels, labels: Labels) -> Labels:
    """Return the labels of a block."""
    return labels


class RawMapWriter(LabelWriter):
    """Writes the labels of a grid to an uncompressed GeoTIFF; what derives from it makes the map of this file.

    As it is not compressed, a tile that is written twice leaves no unused space in the file. Only one thread may write
    at a time.
    """

    part = staticmethod(labels_of)

    def __init__(self, path: Path, grid: Grid, workers: int = 1) -> None:
        self._workers = workers
        self._path = path
        self._raw = path.with_suffix(".raw.tif")
        self._grid = grid
        self._checksum = 0
        """Checksum of the labels written so far."""
        self._profile = {
            "driver": "GTiff",
            "dtype": "uint8",
            "count": 1,
            "height": grid.shape[0],
            "width": grid.shape[1],
            "crs": grid.crs,
            "transform": grid.transform,
            "nodata": 0,
            "tiled": True,
            "blockxsize": TILE_SIDE,
            "blockysize": TILE_SIDE,
            "SPARSE_OK": True,
            "BIGTIFF": "IF_SAFER",
        }

    def __enter__(self) -> Self:
        try:
            with self._gdal():
                self._file = rasterio.open(self._raw, "w", **self._profile)
                self._describe(self._file)
        except BaseException:
            self._raw.unlink(missing_ok=True)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        finally:
            for path in (self._raw, *overview_paths(self._raw, self._grid.shape)):
                path.unlink(missing_ok=True)

    def _describe(self, file: rasterio.io.DatasetWriter) -> None:
        """Write what belongs into the file's header before any pixel."""

    def add(self, block: Block, part: Any) -> None:
        """Write what `part` took from a block: its labels."""
        self.add_labels(block, part)

    def add_labels(self, block: Block, labels: Labels) -> None:
        """Write the labels of a block; raise OutputError if the disk is full."""
        with self._gdal():
            self._file.write(labels, 1, window=block.window)
        self._checksum = add_checksums(self._checksum, checksum(labels, (block.top, block.left)))

    @contextmanager
    def _gdal(self, **ours: Any) -> Iterator[None]:
        """Set GDAL options: all workers are its threads, as no other work runs then. Its errors become OutputError."""
        try:
            with rasterio.Env(**gdal_options(GDAL_NUM_THREADS=str(self._workers), **ours)):
                yield
        except GDAL_ERRORS as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> OutputError:
        cause = error.__cause__ or error
        try:
            free = shutil.disk_usage(self._path.parent).free
        except OSError:
            fix = "its temporary folder was removed; run again, or "
        else:
            needed = sum(map(stored_bytes, level_shapes(self._grid.shape)))
            room = "make room, or " if free < needed else ""  # GDAL gives no error number
            fix = f"{free / 1e6:.0f} MB are free there; {room}"
        return OutputError(
            f"{folder_of(self._path)}: the map can't be written ({cause}); {fix}write the map to another disk"
        )
