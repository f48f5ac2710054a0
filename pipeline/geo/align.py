"""Nearest-neighbour alignment of two grids: which row and column of a file each pixel of the scene takes."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.core.grid import Grid
from pipeline.geo.overlap import same_crs
from pipeline.kernels.gather import Indices

_EDGE_TOLERANCE: Final = 1e-6
"""Tolerance for rounding at the edge between two pixels, as a fraction of a pixel."""

_SIZE_TOLERANCE: Final = 1e-6
"""Relative tolerance within which two pixel sizes are equal."""


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Nearest-neighbour lookup between two grids whose rows and columns are parallel.

    Row i of the scene's grid takes row floor((i + 0.5) * step + start) of the file, and columns likewise. The result
    does not depend on which rows are read together.
    """

    steps: tuple[float, float]
    """File rows per scene row, and file columns per scene column."""
    starts: tuple[float, float]
    """Fractional (row, column) of the file at the scene's upper left corner."""
    shape: tuple[int, int]
    """Size of the file, (rows, columns)."""

    @classmethod
    def of(cls, grid: Grid, file: Grid) -> "Alignment | None":
        """Align a scene's grid with a file's; None unless both are parallel and in the same CRS."""
        if not same_crs(grid.crs, file.crs):
            return None
        t = ~file.transform @ grid.transform
        if abs(t.b) > _SIZE_TOLERANCE * abs(t.a) or abs(t.d) > _SIZE_TOLERANCE * abs(t.e) or t.a <= 0 or t.e <= 0:
            return None
        return cls(steps=(t.e, t.a), starts=(t.f, t.c), shape=file.shape)

    def indices_along(self, axis: int, start: int, stop: int) -> Indices:
        """File rows (axis 0) or columns (axis 1) of the scene's rows or columns start to stop; -1 outside the file."""
        centres = (np.arange(start, stop) + 0.5) * self.steps[axis] + self.starts[axis]
        indices = np.floor(centres + _EDGE_TOLERANCE).astype(np.int64)
        return np.where((indices >= 0) & (indices < self.shape[axis]), indices, -1)

    @property
    def aligned(self) -> bool:
        """Whether every edge of a coarser pixel is also an edge of finer pixels."""
        finer = [min(step, 1.0) for step in self.steps]
        ratios = [step if step >= 1 else 1 / step for step in self.steps]
        offsets = [start / size for start, size in zip(self.starts, finer, strict=True)]
        return all(abs(number - round(number)) < _EDGE_TOLERANCE**0.5 for number in (*ratios, *offsets))

    @property
    def is_identity(self) -> bool:
        """Whether both grids have the same pixels and differ in extent at most."""
        return self.aligned and all(math.isclose(step, 1, rel_tol=_SIZE_TOLERANCE) for step in self.steps)
