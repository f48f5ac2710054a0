"""Crop a scene to the extent of its map: the bounds of the area of interest, or the scene's whole grid."""

from bisect import bisect_right
from collections.abc import Hashable
from dataclasses import replace

import numpy as np

from pipeline.core.grid import Block, Blocks
from pipeline.core.pixels import BlockSource, Pixels
from pipeline.core.scene_info import SceneInfo


def cropped(source: BlockSource) -> BlockSource:
    """Crop or pad a source to the extent of its map; return the source itself if that is the same."""
    return CroppedSource(source, source.info.map_window) if source.info.map_window else source


def place_of(source: object, block: Block) -> Hashable:
    """Key of the pixels of a block of a source, the same for the parts of a block that is cut at the edges of the map.

    None for a block outside of the scene.
    """
    inner = source.source_block(block) if isinstance(source, CroppedSource) else block
    return (inner.top, inner.left) if inner else None


class CroppedSource:
    """Blocks of a source, cut at the edges of the map, and nodata blocks around them; a `BlockSource`.

    Each block of the map is a part of one block of the source, or holds nodata only and is not read.
    """

    def __init__(self, source: BlockSource, map_window: Block) -> None:
        self._source = source
        self._map_window = map_window
        self.info = _info(source.info, map_window)
        (top, bottom), (left, right) = map_window.window
        self.blocks = Blocks(
            _edges(source.blocks.row_edges, top, bottom), _edges(source.blocks.column_edges, left, right)
        )

    def read(self, block: Block) -> Pixels:
        """Read a block of the map.

        Raises
        ------
        SceneError
            If the source block can't be read.
        """
        inner = self.source_block(block)
        if inner is None:
            bands = (len(self.info.bands), *block.shape)
            return Pixels(np.zeros(bands, self.info.dtype), np.zeros(block.shape, np.bool_))
        pixels = self._source.read(inner)
        if inner.shape == block.shape:
            return pixels
        top, left = self._corner(block)
        rows = slice(top - inner.top, top - inner.top + block.height)
        columns = slice(left - inner.left, left - inner.left + block.width)
        data, valid = pixels.data[:, rows, columns], pixels.valid[rows, columns]
        return Pixels(np.ascontiguousarray(data), np.ascontiguousarray(valid))

    def _corner(self, block: Block) -> tuple[int, int]:
        """First row and column of a block of the map, counted from those of the source."""
        return block.top + self._map_window.top, block.left + self._map_window.left

    def source_block(self, block: Block) -> Block | None:
        """Return the block of the source that a block of the map is a part of; None outside of it."""
        (top, left), blocks = self._corner(block), self._source.blocks
        row, column = bisect_right(blocks.row_edges, top) - 1, bisect_right(blocks.column_edges, left) - 1
        inside = 0 <= row < blocks.shape[0] and 0 <= column < blocks.shape[1]
        return blocks.at(row, column) if inside else None


def _info(info: SceneInfo, map_window: Block) -> SceneInfo:
    """Metadata of the cropped scene."""
    down, across = info.origin
    return replace(info, grid=info.map_grid, origin=(down + map_window.top, across + map_window.left), map_window=None)


def _edges(edges: tuple[int, ...], start: int, stop: int) -> tuple[int, ...]:
    """Divide rows, or columns, from start to stop at the edges of the source's blocks; return edges from 0.

    Outside of the source they are divided into parts no larger than a block.
    """
    side, end = edges[1], edges[-1]
    inside = (edge for edge in edges if start < edge < stop)
    outside = (*range(start, min(stop, 0), side), *range(max(start, end), stop, side))
    return tuple(edge - start for edge in sorted({start, *inside, *outside, stop}))
