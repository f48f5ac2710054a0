"""Square cells of a scene, from each of which the same number of pixels is sampled: ranks of pixels in their cells."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Validity
from pipeline.core.grid import Block
from pipeline.core.scene_info import SceneInfo
from pipeline.kernels.hashing import LARGEST_KEY, smallest_keys

CELL: Final = 512
"""Side of a cell, in pixels."""

Keys = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.int64]


class Part(NamedTuple):
    """Part of a block that is in one cell."""

    cell: int
    """Number of the cell."""
    rows: slice
    """Rows of the block."""
    columns: slice
    """Columns of the block."""


@dataclass(frozen=True)
class Cells:
    """Cells of a scene: squares of `CELL` pixels, from the upper left pixel of its grid before it was cropped."""

    origin: tuple[int, int]
    """Row and column of the scene's upper left pixel in that grid."""
    shape: tuple[int, int]
    """Rows and columns of the scene."""

    @classmethod
    def of(cls, info: SceneInfo) -> Self:
        """Return the cells of a scene."""
        return cls(info.origin, info.grid.shape)

    @property
    def counts(self) -> tuple[int, int]:
        """Number of cells down and across."""
        ends = [(o + n - 1) // CELL - o // CELL + 1 for o, n in zip(self.origin, self.shape, strict=True)]
        return ends[0], ends[1]

    @property
    def count(self) -> int:
        """Number of cells."""
        return self.counts[0] * self.counts[1]

    def parts(self, block: Block) -> Iterator[Part]:
        """Yield the parts of a block by cell."""
        down = _cut(self.origin[0], block.top, block.shape[0])
        across = list(_cut(self.origin[1], block.left, block.shape[1]))
        for i, rows in down:
            for j, columns in across:
                yield Part(i * self.counts[1] + j, rows, columns)


def _cut(origin: int, start: int, length: int) -> Iterator[tuple[int, slice]]:
    """Yield the cells that a range of pixels is in, counted from that of pixel 0, and the part of the range in each."""
    first = origin + start
    for cell in range(first // CELL, (first + length - 1) // CELL + 1):
        part = slice(max(cell * CELL - first, 0), min((cell + 1) * CELL - first, length))
        yield cell - origin // CELL, part


class Candidates(NamedTuple):
    """Pixels of which some are in the sample."""

    keys: Keys
    """Hashes of their positions, shape (point,)."""
    cells: Numbers
    """Number of the cell of each, shape (point,)."""

    def first(self, wanted: int) -> tuple[Numbers, Numbers]:
        """Order the pixels by their rank in their cell, and by key within a rank: the first are sampled.

        Returns
        -------
        chosen : ndarray of int64, shape (at most wanted,)
            Indices of the sampled pixels, in order. Of each cell there are as many as of any other, as far as it has
            them, but for one more of some cells. A pixel that is not chosen is not chosen among more pixels either.
        others : ndarray of int64
            Indices of the other pixels, in order.
        """
        ranks = self.ranks()
        order = np.lexsort((self.keys, ranks))
        return order[:wanted], order[wanted:]

    def ranks(self) -> Numbers:
        """Rank of each pixel by key among those of its cell, from 0, shape (point,)."""
        order = np.lexsort((self.keys, self.cells))
        cells = self.cells[order]
        begins = np.flatnonzero(np.diff(cells, prepend=-1))
        ranks = np.empty(order.size, np.int64)
        ranks[order] = np.arange(order.size) - np.repeat(begins, np.diff(begins, append=order.size))
        return ranks


@dataclass(frozen=True)
class CellLimits:
    """Which pixels of a block may be in a sample, as far as is known before it is read."""

    most: int
    """Largest number of pixels of a cell that may be in the sample."""
    keys: tuple[int, ...]
    """Largest key that may be, for each part of the block."""


def draw_by_cell(
    fitting: Validity, block: Block, cells: Cells, seed: int, limits: CellLimits
) -> tuple[Candidates, Numbers]:
    """Return the pixels of a block that may be in the sample, and their positions in the flattened block."""
    keys, index, numbers = [], [], []
    for (cell, rows, columns), largest in zip(cells.parts(block), limits.keys, strict=True):
        part = np.ascontiguousarray(fitting[rows, columns])
        corner = cells.origin[0] + block.top + rows.start, cells.origin[1] + block.left + columns.start
        found, inside = smallest_keys(part, corner, seed, limits.most, largest)
        row, column = np.divmod(inside, part.shape[1])
        keys.append(found)
        index.append((row + rows.start) * fitting.shape[1] + column + columns.start)
        numbers.append(np.full(found.size, cell))
    return Candidates(np.concatenate(keys), np.concatenate(numbers)), np.concatenate(index)


class Limits:
    """Limits of all cells, which fall while pixels are collected."""

    def __init__(self, cells: Cells, wanted: int) -> None:
        self._cells = cells
        self.most = wanted
        """Largest number of pixels of a cell that may be in the sample."""
        self._keys = np.full(cells.count, LARGEST_KEY, np.uint64)

    def of(self, block: Block) -> CellLimits:
        """Limits for the parts of a block."""
        numbers = [part.cell for part in self._cells.parts(block)]
        return CellLimits(self.most, tuple(self._keys[numbers].tolist()))

    def lower(self, candidates: Candidates, chosen: Numbers, others: Numbers) -> None:
        """Take into account that of the pixels so far some were chosen, in order, and others were not."""
        self.most = int(np.bincount(candidates.cells[chosen]).max()) + 1
        cells, first = np.unique(candidates.cells[others], return_index=True)
        self._keys[cells] = candidates.keys[others[first]]
