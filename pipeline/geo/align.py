"""Bands of several grids on one: the grid of a scene, and where on a file's grid each of its pixels lies."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from pipeline.core.grid import Grid
from pipeline.geo.overlap import same_crs
from pipeline.kernels.gather import Indices

_ON_AN_EDGE: Final = 1e-6
"""Share of a pixel by which a centre may miss the edge between two pixels through rounding."""

_SAME_SIZE: Final = 1e-6


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Nearest neighbours between two grids whose rows and columns are parallel.

    The pixel in row i of the scene's grid takes the one in row floor((i + 0.5) * step + start) of the file's: so it
    does not matter which rows are read together.
    """

    steps: tuple[float, float]
    """(rows, columns) of the file for one of the scene."""
    starts: tuple[float, float]
    """(row, column) of the file at the scene's upper left corner."""
    shape: tuple[int, int]
    """(rows, columns) of the file."""

    @classmethod
    def of(cls, grid: Grid, file: Grid) -> "Alignment | None":
        """Place a scene's grid on a file's; None where they aren't parallel, or not in one CRS."""
        if not same_crs(grid.crs, file.crs):
            return None
        t = ~file.transform @ grid.transform
        if abs(t.b) > _SAME_SIZE * abs(t.a) or abs(t.d) > _SAME_SIZE * abs(t.e) or t.a <= 0 or t.e <= 0:
            return None
        return cls(steps=(t.e, t.a), starts=(t.f, t.c), shape=file.shape)

    def along(self, axis: int, start: int, stop: int) -> Indices:
        """For the scene's rows (axis 0) or columns (axis 1) from start to stop: those of the file, -1 outside it."""
        centres = (np.arange(start, stop) + 0.5) * self.steps[axis] + self.starts[axis]
        places = np.floor(centres + _ON_AN_EDGE).astype(np.int64)
        return np.where((places >= 0) & (places < self.shape[axis]), places, -1)

    @property
    def aligned(self) -> bool:
        """Whether edges of the coarser pixels are edges of the finer ones everywhere."""
        finer = [min(step, 1.0) for step in self.steps]
        ratios = [step if step >= 1 else 1 / step for step in self.steps]
        offsets = [start / size for start, size in zip(self.starts, finer, strict=True)]
        return all(abs(number - round(number)) < _ON_AN_EDGE**0.5 for number in (*ratios, *offsets))

    @property
    def is_identity(self) -> bool:
        """Whether pixels of both grids are the same, but for the extent."""
        return self.aligned and all(math.isclose(step, 1, rel_tol=_SAME_SIZE) for step in self.steps)
