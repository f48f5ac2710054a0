"""The pixel grid of a scene, and the blocks it is split into. Geometry only, no pixel values."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, overload

from affine import Affine

_SAME_PIXEL: Final = 1e-3
"""Largest distance between corners of grids that count as equal, as a fraction of a pixel."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A rectangle of pixels that is read, processed and written as one."""

    row: int
    """Row index of the block in the grid of blocks, from 0 at the top."""
    column: int
    """Column index of the block in the grid of blocks, from 0 at the left."""
    top: int
    """Index of the first pixel row."""
    left: int
    """Index of the first pixel column."""
    height: int
    """Number of pixel rows."""
    width: int
    """Number of pixel columns."""

    @property
    def window(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Pixel window as rasterio takes it: ((first row, last row + 1), (first column, last column + 1))."""
        return (self.top, self.top + self.height), (self.left, self.left + self.width)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of pixels as (rows, columns)."""
        return self.height, self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the block's pixels in an array of the whole scene, shape (rows, columns)."""
        (top, bottom), (left, right) = self.window
        return slice(top, bottom), slice(left, right)

    def widened(self, margin: int, shape: tuple[int, int]) -> "Block":
        """Return the rectangle with a margin of pixels, as far as it is inside a raster of shape (rows, columns)."""
        if not margin:
            return self
        top, left = max(0, self.top - margin), max(0, self.left - margin)
        bottom, right = (min(stop + margin, side) for (_, stop), side in zip(self.window, shape, strict=True))
        return replace(self, top=top, left=left, height=bottom - top, width=right - left)

    def common(self, other: "Block") -> "Block":
        """Return the rectangle that two overlapping ones have in common."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = (min(own[1], its[1]) for own, its in zip(self.window, other.window, strict=True))
        return replace(self, top=top, left=left, height=bottom - top, width=right - left)

    def within(self, outer: "Block") -> tuple[slice, slice]:
        """Index of the block's pixels in an array of a rectangle around it, shape (rows, columns)."""
        top, left = self.top - outer.top, self.left - outer.left
        return slice(top, top + self.height), slice(left, left + self.width)

    def __str__(self) -> str:
        (top, bottom), (left, right) = self.window
        return f"rows {top}-{bottom - 1}, columns {left}-{right - 1}"


@dataclass(frozen=True)
class Blocks(Sequence[Block]):
    """The blocks that a raster is split into, row by row; each is computed from its number, none is stored."""

    row_edges: tuple[int, ...]
    """First pixel row of each row of blocks, and the number of pixel rows."""
    column_edges: tuple[int, ...]
    """First pixel column of each column of blocks, and the number of pixel columns."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of blocks as (rows, columns)."""
        return len(self.row_edges) - 1, len(self.column_edges) - 1

    @property
    def heights(self) -> tuple[int, ...]:
        """Number of pixel rows of each row of blocks."""
        return tuple(stop - start for start, stop in pairwise(self.row_edges))

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of pixel columns of each column of blocks."""
        return tuple(stop - start for start, stop in pairwise(self.column_edges))

    def at(self, row: int, column: int) -> Block:
        """Return the block in a row and column of blocks, both from 0."""
        top, bottom = self.row_edges[row : row + 2]
        left, right = self.column_edges[column : column + 2]
        return Block(row=row, column=column, top=top, left=left, height=bottom - top, width=right - left)

    def touching(self, block: Block) -> Iterator["Block"]:
        """Yield the blocks that share pixels with a rectangle, row by row."""
        (top, bottom), (left, right) = block.window
        last = bisect_left(self.row_edges, bottom), bisect_left(self.column_edges, right)
        for row in range(bisect_right(self.row_edges, top) - 1, last[0]):
            for column in range(bisect_right(self.column_edges, left) - 1, last[1]):
                yield self.at(row, column)

    def __len__(self) -> int:
        rows, columns = self.shape
        return rows * columns

    @overload
    def __getitem__(self, number: int) -> Block: ...
    @overload
    def __getitem__(self, number: slice) -> tuple[Block, ...]: ...
    def __getitem__(self, number: int | slice) -> Block | tuple[Block, ...]:
        numbers = range(len(self))[number]
        if isinstance(numbers, range):
            return tuple(self[each] for each in numbers)
        return self.at(*divmod(numbers, self.shape[1]))


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Pixel grid of a raster: shape, transform and coordinate reference system."""

    shape: tuple[int, int]
    """Number of pixels as (rows, columns)."""
    transform: Affine
    """Affine transform from (column, row) of a pixel corner to coordinates in the units of `crs`."""
    crs: str | None
    """Coordinate reference system as WKT, or None if the file states none."""

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            msg = f"a grid needs at least one row and one column, not {self.shape[0]} x {self.shape[1]}"
            raise ValueError(msg)

    @property
    def resolution(self) -> tuple[float, float]:
        """Pixel width and height in the units of `crs`, both positive."""
        t = self.transform
        return (t.a**2 + t.d**2) ** 0.5, (t.b**2 + t.e**2) ** 0.5

    def crop(self, block: Block) -> "Grid":
        """Grid of a rectangle of pixels, which may extend beyond this grid."""
        return Grid(
            shape=block.shape, transform=self.transform @ Affine.translation(block.left, block.top), crs=self.crs
        )

    def same_pixels(self, other: "Grid") -> bool:
        """Whether both grids have the same shape and, up to rounding, the same corners; CRS is not compared."""
        if self.shape != other.shape:
            return False
        tolerance = _SAME_PIXEL * min(self.resolution)
        rows, columns = self.shape
        for corner in ((0, 0), (columns, 0), (0, rows), (columns, rows)):
            (x0, y0), (x1, y1) = self.transform @ corner, other.transform @ corner
            if abs(x0 - x1) > tolerance or abs(y0 - y1) > tolerance:
                return False
        return True

    def blocks(self, chunk: tuple[int, int]) -> Blocks:
        """Split the grid into blocks of at most `chunk` (rows, columns) pixels."""
        return split_into_blocks(self.shape, chunk)

    def describe(self) -> str:
        """Size and resolution as text for messages."""
        width, height = self.resolution
        size = f"{self.shape[1]} x {self.shape[0]} pixels of {width:g}"
        return size if width == height else f"{size} x {height:g}"


def split_into_blocks(shape: tuple[int, int], chunk: tuple[int, int]) -> Blocks:
    """Split a shape (rows, columns) into blocks of at most `chunk` (rows, columns) pixels."""
    rows, columns = ((*range(0, count, side), count) for count, side in zip(shape, chunk, strict=True))
    return Blocks(rows, columns)
