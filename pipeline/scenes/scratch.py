"""Decoded pixels kept on disk: each block of a file is decoded once, whoever asks for it and how often."""

import logging
import shutil
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from pipeline.errors import OutputError
from pipeline.grid import Block
from pipeline.scenes.parts import FilePart
from pipeline.scenes.readers import Planes, Validity, WindowReader

logger = logging.getLogger(__name__)


class Scratch:
    """A folder of decoded pixels, gone when the context ends."""

    def __init__(self, folder: str | Path) -> None:
        self._parent = Path(folder)
        self._folder = self._parent
        self._kept: dict[FilePart, KeptReader] = {}

    def __enter__(self) -> Self:
        try:
            self._folder = Path(tempfile.mkdtemp(prefix=".terrazzo-scratch-", dir=self._parent))
        except OSError as error:
            msg = f"{self._parent}: no scratch folder can be made here ({error.strerror})"
            raise OutputError(msg) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)  # what is left must not cost the user the map
        if self._folder.exists():
            logger.warning("%s: the scratch folder can't be removed; remove it by hand", self._folder)

    def keep(self, part: FilePart, reader: WindowReader) -> "KeptReader":
        """Put the scratch between a part and its reader; the same for all who read this part."""
        if part not in self._kept:
            self._kept[part] = KeptReader(part, reader, self._folder / str(len(self._kept)))
        return self._kept[part]


class KeptReader:
    """Windows of a part, each of whose blocks is decoded when it is first asked for; a `WindowReader`.

    One file a block: the planes of its bands as plain numbers, then, where the part tells it, a byte of validity
    for each pixel. Blocks have the size the source's have, so that none is decoded twice and none is enlarged.
    """

    def __init__(self, part: FilePart, reader: WindowReader, folder: Path) -> None:
        self._part = part
        self._reader = reader
        self._folder = folder
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

    def _path(self, block: Block) -> Path:
        return self._folder.with_name(f"{self._folder.name}-{block.row}-{block.column}")

    def _put(self, block: Block, data: Planes, holds: Validity) -> None:
        try:
            with self._path(block).open("wb") as file:
                data.tofile(file)
                if self._part.tells_validity:
                    holds.tofile(file)
        except OSError as error:
            msg = f"{self._folder.parent}: the scratch copy of {block} can't be written ({error.strerror or error})"
            raise OutputError(msg) from error

    def _take(self, block: Block, rows: slice, columns: slice, out: Planes, valid: Validity) -> None:
        """Read back some rows and columns of a block."""
        planes = block.height * block.width * self._dtype.itemsize
        try:
            with self._path(block).open("rb") as file:
                for band, plane in enumerate(out):
                    plane[...] = _rows_of(file, band * planes, block, rows, self._dtype)[:, columns]
                if self._part.tells_validity:
                    valid &= _rows_of(file, len(out) * planes, block, rows, np.dtype(bool))[:, columns]
        except (OSError, ValueError) as error:
            msg = f"{self._folder.parent}: the scratch copy of {block} can't be read back ({error})"
            raise OutputError(msg) from error


def _rows_of(file: BinaryIO, start: int, block: Block, rows: slice, dtype: np.dtype[np.generic]) -> Planes:
    """Read whole rows of a plane that starts at a byte of a file."""
    file.seek(start + rows.start * block.width * dtype.itemsize)
    count = (rows.stop - rows.start) * block.width
    return np.fromfile(file, dtype, count).reshape(-1, block.width)
