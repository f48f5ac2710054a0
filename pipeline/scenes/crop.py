"""Crop a scene to the extent of its map: the bounds of the area of interest, or the scene's whole grid."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pipeline.core.grid import Block
from pipeline.core.pixels import BlockSource, Pixels
from pipeline.core.scene_info import SceneInfo


def cropped(source: BlockSource) -> BlockSource:
    """Crop or pad a source to the extent of its map; return the source itself if that is the same."""
    return CroppedSource(source) if source.info.map_window else source


class _Piece(NamedTuple):
    """Rows, or columns, of a block of the map, counted on the grid that is read."""

    start: int
    """First row or column; negative before the first one that is read."""
    stop: int
    """Row or column after the last one."""
    number: int | None
    """Row or column number of the source block that holds them; None if nothing is read."""


class CroppedSource:
    """Blocks of a source, cut at the edges of the map, and nodata blocks around them; a `BlockSource`.

    Each block of the map is a part of one block of the source, or holds nodata only and is not read.
    """

    def __init__(self, source: BlockSource) -> None:
        self._source = source
        map_window = source.info.map_window
        if map_window is None:
            msg = "the scene is not cropped: use its source, or call `cropped`"
            raise TypeError(msg)
        self.info = _info(source.info, map_window)
        self._read = {(block.row, block.column): block for block in source.blocks}
        rows = [block.window[0] for block in source.blocks if block.column == 0]
        columns = [block.window[1] for block in source.blocks if block.row == 0]
        (top, bottom), (left, right) = map_window.window
        self._rows = tuple(_pieces(rows, top, bottom))
        self._columns = tuple(_pieces(columns, left, right))
        self.blocks: Sequence[Block] = tuple(
            Block(
                row=i,
                column=j,
                top=down.start - top,
                left=across.start - left,
                height=down.stop - down.start,
                width=across.stop - across.start,
            )
            for i, down in enumerate(self._rows)
            for j, across in enumerate(self._columns)
        )

    def read(self, block: Block) -> Pixels:
        """Read a block of the map.

        Raises
        ------
        SceneError
            If the source block can't be read.
        """
        down, across = self._rows[block.row], self._columns[block.column]
        if down.number is None or across.number is None:
            bands = (len(self.info.bands), *block.shape)
            return Pixels(np.zeros(bands, self.info.dtype), np.zeros(block.shape, np.bool_))
        inner = self._read[down.number, across.number]
        pixels = self._source.read(inner)
        if inner.shape == block.shape:
            return pixels
        rows = slice(down.start - inner.top, down.stop - inner.top)
        columns = slice(across.start - inner.left, across.stop - inner.left)
        data, valid = pixels.data[:, rows, columns], pixels.valid[rows, columns]
        return Pixels(np.ascontiguousarray(data), np.ascontiguousarray(valid))


def _info(info: SceneInfo, map_window: Block) -> SceneInfo:
    """Metadata of the cropped scene."""
    down, across = info.origin
    return replace(info, grid=info.map_grid, origin=(down + map_window.top, across + map_window.left), map_window=None)


def _pieces(spans: Sequence[tuple[int, int]], start: int, stop: int) -> Iterator[_Piece]:
    """Divide rows, or columns, from start to stop at the edges of the source's blocks, and outside of them."""
    side = spans[0][1] - spans[0][0]
    yield from _empty(start, min(stop, 0), side)
    for number, (first, last) in enumerate(spans):
        if max(first, start) < min(last, stop):
            yield _Piece(max(first, start), min(last, stop), number)
    yield from _empty(max(start, spans[-1][1]), stop, side)


def _empty(start: int, stop: int, side: int) -> Iterator[_Piece]:
    """Divide rows, or columns, that are not read into parts no larger than a block."""
    if start < stop:
        for first, last in pairwise([*range(start, stop, side), stop]):
            yield _Piece(first, last, None)
