"""What a quick-look shows, and where: every n-th pixel of a scene and its class, side by side above a legend."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from pipeline.core.band_names import find_rgb
from pipeline.core.grid import Block, Grid
from pipeline.labels.classify import LabelledBlock, Thinning

LARGEST_SIDE: Final = 2048
"""Of the picture, in pixels."""

MARGIN: Final = 16
"""Around whatever stands in the picture."""

LINE: Final = 26
"""Height of a line of text."""

ENTRY_WIDTH: Final = 140
"""Of an entry of the legend."""

_LONGEST_COLUMN: Final = 20
"""Entries of the legend that may stand above each other."""

_WISHED_PANEL: Final = 400
"""Small scenes are shown larger than they are, at least so many pixels wide or high."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where things stand in a picture, in pixels."""

    panel: tuple[int, int]
    """(width, height) of each of the two pictures side by side."""
    page: tuple[int, int]
    """(width, height) of the whole."""
    step: int
    """Every how many pixels of the scene one is shown."""
    legend_columns: int

    @classmethod
    def of(cls, grid: Grid, entries: int) -> Self:
        """Lay out a picture of a scene with so many entries in its legend."""
        most_columns = (LARGEST_SIDE - 2 * MARGIN) // ENTRY_WIDTH
        legend_rows = max(-(-entries // most_columns), min(entries, _LONGEST_COLUMN))
        widest = (LARGEST_SIDE - 3 * MARGIN) // 2
        highest = LARGEST_SIDE - 3 * MARGIN - (1 + legend_rows) * LINE
        rows, columns = grid.shape
        step = max(1, -(-columns // widest), -(-rows // highest))
        shown = (-(-columns // step), -(-rows // step))
        zoom = max(1, min(-(-_WISHED_PANEL // max(shown)), widest // shown[0], highest // shown[1]))
        panel = (shown[0] * zoom, shown[1] * zoom)
        panels_width = 2 * max(panel[0], ENTRY_WIDTH) + MARGIN
        legend_columns = max(panels_width // ENTRY_WIDTH, -(-entries // _LONGEST_COLUMN))
        legend_rows = -(-entries // legend_columns)
        width = max(panels_width, legend_columns * ENTRY_WIDTH) + 2 * MARGIN
        height = 3 * MARGIN + (1 + legend_rows) * LINE + panel[1]
        return cls(panel=panel, page=(width, height), step=step, legend_columns=legend_columns)


def thinning_for(layout: Layout, bands: tuple[str, ...], common: tuple[str | None, ...] = ()) -> Thinning:
    """Which pixels and bands of a scene its picture needs: red, green, blue, else the first three bands, or one."""
    rgb = find_rgb(bands, common) or ((0, 1, 2) if len(bands) >= 3 else (0,))  # noqa: PLR2004
    return Thinning(layout.step, rgb)


def most_disk(grid: Grid, entries: int) -> int:
    """Bytes that a picture with so many entries in its legend takes at most."""
    width, height = Layout.of(grid, entries).page
    return 3 * width * height


class QuickLook:
    """Collects thinned blocks of a scene."""

    def __init__(self, grid: Grid, layout: Layout, thinning: Thinning, dtype: np.dtype[Any]) -> None:
        self.layout = layout
        """Where things stand."""
        self.thinning = thinning
        """Which pixels are shown."""
        shape = thinning.shape(grid)
        self.bands = np.zeros((len(thinning.bands), *shape), dtype)
        """Pixels, shape (kept band, row, column)."""
        self.labels = np.zeros(shape, np.uint8)
        """Their classes, 0 for nodata, shape (row, column)."""

    def add(self, block: Block, labelled: LabelledBlock) -> None:
        """Take over a block's kept pixels."""
        place = self.thinning.onto(block)
        self.bands[(slice(None), *place)] = labelled.thinned
        self.labels[place] = labelled.labels[self.thinning.inside(block)]
