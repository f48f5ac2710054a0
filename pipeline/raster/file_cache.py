"""Cache of decoded file blocks: each block is decoded once, however often and by whichever thread it is read."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future

import numpy as np

from pipeline.core.arrays import Planes, Validity
from pipeline.core.grid import Block
from pipeline.engine.cache import Cache
from pipeline.raster.file_parts import FilePart
from pipeline.raster.readers import WindowReader


class FileCache:
    """Cached readers of the file parts of scenes."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._readers: dict[FilePart, CachedReader] = {}

    def cached_reader(self, part: FilePart, reader: WindowReader) -> "CachedReader":
        """Return a reader that caches the decoded blocks of a part; one and the same for each part."""
        if part not in self._readers:
            self._readers[part] = CachedReader(part, reader, self._cache, f"part{len(self._readers)}")
        return self._readers[part]


class CachedReader:
    """Reads windows of a part whose blocks are decoded at first use, then cached; a `WindowReader`.

    A cache entry holds the planes of a block's bands and, if the part has a validity mask, a byte per pixel.
    Blocks are those of the file, so that none is decoded twice and no more is decoded than needed.
    """

    def __init__(self, part: FilePart, reader: WindowReader, cache: Cache, name: str) -> None:
        self._part = part
        self._reader = reader
        self._cache = cache
        self._name = name
        self._dtype = np.dtype(part.dtype)
        self._guard = threading.Lock()
        self._blocks: dict[tuple[int, int], Future[None]] = {}

    def read(self, window: Block, out: Planes, valid: Validity) -> None:
        """Read a window.

        Raises
        ------
        SceneError
            If the file is damaged or cut short.
        OutputError
            If the disk is full, or a cached block was deleted.
        """
        for block in self._overlapping(window):
            (top, bottom), (left, right) = window.window
            rows = slice(max(top, block.top), min(bottom, block.top + block.height))
            columns = slice(max(left, block.left), min(right, block.left + block.width))
            target = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
            block_rows = slice(rows.start - block.top, rows.stop - block.top)
            block_columns = slice(columns.start - block.left, columns.stop - block.left)
            self._copy(block, block_rows, block_columns, out[(slice(None), *target)], valid[target])

    def _overlapping(self, window: Block) -> Iterator[Block]:
        """Yield the blocks of the file that a window overlaps."""
        high, wide = self._part.block_shape
        rows, columns = self._part.grid.shape
        for row in range(window.top // high, -(-(window.top + window.height) // high)):
            for column in range(window.left // wide, -(-(window.left + window.width) // wide)):
                yield Block(
                    row=row,
                    column=column,
                    top=row * high,
                    left=column * wide,
                    height=min(high, rows - row * high),
                    width=min(wide, columns - column * wide),
                )

    def _copy(self, block: Block, rows: slice, columns: slice, out: Planes, valid: Validity) -> None:
        """Copy rows and columns of a block, which is decoded if this is its first use."""
        with self._guard:
            known = self._blocks.get((block.row, block.column))
            decoded = known or self._blocks.setdefault((block.row, block.column), Future())
        if known:
            known.result()
            self._take(block, rows, columns, out, valid)
            return
        try:
            data = np.empty((len(self._part.indexes), *block.shape), self._dtype)
            block_valid = np.ones(block.shape, np.bool_)
            self._reader.read(block, data, block_valid)
            self._put(block, data, block_valid)
        except BaseException as error:
            decoded.set_exception(error)
            raise
        decoded.set_result(None)
        out[...] = data[:, rows, columns]
        valid &= block_valid[rows, columns]

    def _key(self, block: Block) -> str:
        return f"{self._name}-{block.row}-{block.column}"

    def _put(self, block: Block, data: Planes, block_valid: Validity) -> None:
        self._cache.put(self._key(block), data, *([block_valid] if self._part.has_validity_mask else []))

    def _take(self, block: Block, rows: slice, columns: slice, out: Planes, valid: Validity) -> None:
        """Copy rows and columns of a block from the cache."""
        pixels, before = block.height * block.width, rows.start * block.width
        size, shape = self._dtype.itemsize, (rows.stop - rows.start, block.width)
        planes = np.empty((len(out), *shape), self._dtype)
        parts: list[tuple[int, Planes]] = [((b * pixels + before) * size, plane) for b, plane in enumerate(planes)]
        block_valid = np.ones(shape, np.bool_)
        if self._part.has_validity_mask:
            parts.append((len(out) * pixels * size + before, block_valid))
        self._cache.take(self._key(block), *parts)
        out[...] = planes[:, :, columns]
        valid &= block_valid[:, columns]
