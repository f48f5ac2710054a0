"""Cache of decoded file blocks: each block is decoded once, however often and by whichever thread it is read."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from hashlib import sha256
from typing import Any

import numpy as np

from pipeline.core.arrays import Planes, Validity
from pipeline.core.grid import Block
from pipeline.engine.cache import Cache, Entry
from pipeline.raster.file_parts import FilePart
from pipeline.raster.readers import WindowReader


class FileCache:
    """Cached readers of the file parts of scenes. Pickled with its cache: other processes find the blocks in it."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._readers: dict[FilePart, CachedReader] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return FileCache, (self._cache,)

    def cached_reader(self, part: FilePart, reader: WindowReader) -> "CachedReader":
        """Return a reader that caches the decoded blocks of a part; one and the same for each part."""
        if part not in self._readers:
            self._readers[part] = CachedReader(part, reader, self._cache)
        return self._readers[part]


class CachedReader:
    """Reads windows of a part whose blocks are decoded at first use, then cached; a `WindowReader`.

    The bands of a block are one array in the cache, its validity mask, if the part has one, another.
    Blocks are those of the file, so that none is decoded twice in a process and no more is decoded than needed.
    """

    def __init__(self, part: FilePart, reader: WindowReader, cache: Cache) -> None:
        self._part = part
        self._reader = reader
        self._cache = cache
        self._name = sha256(repr(part).encode()).hexdigest()[:16]  # the same in every process
        self._guard = threading.Lock()
        self._blocks: dict[tuple[int, int], Future[None]] = {}
        """Blocks that this process has looked for in the cache or is decoding."""

    def read(self, window: Block, out: Planes, valid: Validity) -> None:
        """Read a window.

        Raises
        ------
        SceneError
            If the file is damaged or cut short.
        OutputError
            If the disk is full, or a cached block was deleted.
        """
        (top, bottom), (left, right) = window.window
        for block in self._overlapping(window):
            rows = slice(max(top, block.top), min(bottom, block.top + block.height))
            columns = slice(max(left, block.left), min(right, block.left + block.width))
            target = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
            own_columns = slice(columns.start - block.left, columns.stop - block.left)
            data, block_valid = self._rows(block, slice(rows.start - block.top, rows.stop - block.top))
            out[(slice(None), *target)] = data[:, :, own_columns]
            if block_valid is not None:
                valid[target] &= block_valid[:, own_columns]

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

    def _rows(self, block: Block, rows: slice) -> tuple[Planes, Validity | None]:
        """Return rows of a block, which is decoded if this is its first use, and their validity if the part has any."""
        with self._guard:
            first = (block.row, block.column) not in self._blocks
            decoded = self._blocks.setdefault((block.row, block.column), Future())
        if first:
            try:
                fresh = self._decode(block)
            except BaseException as error:
                with self._guard:  # so that the next reader tries again
                    del self._blocks[block.row, block.column]
                decoded.set_exception(error)
                raise
            decoded.set_result(None)
            if fresh:
                return fresh[0][:, rows], fresh[1][rows]
        decoded.result()
        data, valid = self._entries(block)
        rows_valid = self._cache.read(valid, (rows,)) if self._part.has_validity_mask else None
        return self._cache.read(data, (slice(None), rows)), rows_valid

    def _decode(self, block: Block) -> tuple[Planes, Validity] | None:
        """Decode a block and cache it, its pixels last, as they show that it is complete; None if it is cached."""
        entry, valid_entry = self._entries(block)
        if self._cache.holds(entry):
            return None
        data, valid = np.empty(entry.shape, entry.dtype), np.ones(block.shape, np.bool_)
        self._reader.read(block, data, valid)
        if self._part.has_validity_mask:
            self._cache.write(valid_entry, valid)
        self._cache.write(entry, data)
        return data, valid

    def _entries(self, block: Block) -> tuple[Entry, Entry]:
        """Pixels and validity of a block in the cache."""
        name, bands = f"{self._name}-{block.row}-{block.column}", len(self._part.indexes)
        data = Entry(name, np.dtype(self._part.dtype), (bands, *block.shape))
        return data, Entry(f"{name}-valid", np.dtype(np.bool_), block.shape)
