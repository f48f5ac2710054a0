"""Blocks of files kept decoded: each is decoded once, whoever asks for it and how often."""

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
    """What is kept of the parts of scenes."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._readers: dict[FilePart, CachedReader] = {}

    def keep(self, part: FilePart, reader: WindowReader) -> "CachedReader":
        """Put the cache between a part and its reader; the same for all who read this part."""
        if part not in self._readers:
            self._readers[part] = CachedReader(part, reader, self._cache, f"part{len(self._readers)}")
        return self._readers[part]


class CachedReader:
    """Windows of a part, each of whose blocks is decoded when it is first asked for; a `WindowReader`.

    Of a block are kept the planes of its bands, then, where the part tells it, a byte of validity for each pixel.
    Blocks have the size the source's have, so that none is decoded twice and none is enlarged.
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
            When the file is damaged or cut short.
        OutputError
            When the disk is full, or what was written is gone.
        """
        for block in self._under(window):
            (top, bottom), (left, right) = window.window
            rows = slice(max(top, block.top), min(bottom, block.top + block.height))
            columns = slice(max(left, block.left), min(right, block.left + block.width))
            here = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
            inside = slice(rows.start - block.top, rows.stop - block.top)
            across = slice(columns.start - block.left, columns.stop - block.left)
            self._copy(block, inside, across, out[(slice(None), *here)], valid[here])

    def _under(self, window: Block) -> Iterator[Block]:
        """Blocks of the source that a window lies on."""
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
        """Copy some rows and columns of a block, which is decoded now unless that has been done."""
        with self._guard:
            known = self._blocks.get((block.row, block.column))
            done = known or self._blocks.setdefault((block.row, block.column), Future())
        if known:
            known.result()
            self._take(block, rows, columns, out, valid)
            return
        try:
            data = np.empty((len(self._part.indexes), *block.shape), self._dtype)
            holds = np.ones(block.shape, np.bool_)
            self._reader.read(block, data, holds)
            self._put(block, data, holds)
        except BaseException as error:
            done.set_exception(error)
            raise
        done.set_result(None)
        out[...] = data[:, rows, columns]
        valid &= holds[rows, columns]

    def _key(self, block: Block) -> str:
        return f"{self._name}-{block.row}-{block.column}"

    def _put(self, block: Block, data: Planes, holds: Validity) -> None:
        self._cache.put(self._key(block), data, *([holds] if self._part.tells_validity else []))

    def _take(self, block: Block, rows: slice, columns: slice, out: Planes, valid: Validity) -> None:
        """Read back some rows and columns of a block."""
        pixels, before = block.height * block.width, rows.start * block.width
        size, shape = self._dtype.itemsize, (rows.stop - rows.start, block.width)
        planes = np.empty((len(out), *shape), self._dtype)
        parts: list[tuple[int, Planes]] = [((b * pixels + before) * size, plane) for b, plane in enumerate(planes)]
        holds = np.ones(shape, np.bool_)
        if self._part.tells_validity:
            parts.append((len(out) * pixels * size + before, holds))
        self._cache.take(self._key(block), *parts)
        out[...] = planes[:, :, columns]
        valid &= holds[:, columns]
