"""Layout and pixels of the quick-look: every n-th pixel of a scene and its class, side by side above a legend."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from pipeline.core.band_names import find_rgb
from pipeline.core.grid import Block, Grid
from pipeline.labels.classify import LabelledBlock, Thinning

LARGEST_SIDE: Final = 2048
"""Longest side of the picture in pixels."""

MARGIN: Final = 16
"""Space around each element of the picture in pixels."""

LINE: Final = 26
"""Height of a line of text in pixels."""

ENTRY_WIDTH: Final = 140
"""Width of a legend entry in pixels."""

_LONGEST_COLUMN: Final = 20
"""Largest number of legend entries in a column, unless the picture is too narrow."""

_MIN_PANEL: Final = 400
"""Longest side of a panel that small scenes are enlarged to, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Sizes of the elements of a picture, in pixels."""

    panel: tuple[int, int]
    """Size of each of the two panels, (width, height)."""
    page: tuple[int, int]
    """Size of the whole picture, (width, height)."""
    step: int
    """Thinning: every `step`-th row and column of the scene is shown."""
    legend_columns: int
    """Number of columns of the legend."""

    @classmethod
    def of(cls, grid: Grid, entries: int) -> Self:
        """Compute the layout for a scene and a number of legend entries."""
        most_columns = (LARGEST_SIDE - 2 * MARGIN) // ENTRY_WIDTH
        legend_rows = max(-(-entries // most_columns), min(entries, _LONGEST_COLUMN))
        widest = (LARGEST_SIDE - 3 * MARGIN) // 2
        highest = LARGEST_SIDE - 3 * MARGIN - (1 + legend_rows) * LINE
        rows, columns = grid.shape
        step = max(1, -(-columns // widest), -(-rows // highest))
        shown = (-(-columns // step), -(-rows // step))
        zoom = max(1, min(-(-_MIN_PANEL // max(shown)), widest // shown[0], highest // shown[1]))
        panel = (shown[0] * zoom, shown[1] * zoom)
        panels_width = 2 * max(panel[0], ENTRY_WIDTH) + MARGIN
        legend_columns = max(panels_width // ENTRY_WIDTH, -(-entries // _LONGEST_COLUMN))
        legend_rows = -(-entries // legend_columns)
        width = max(panels_width, legend_columns * ENTRY_WIDTH) + 2 * MARGIN
        height = 3 * MARGIN + (1 + legend_rows) * LINE + panel[1]
        return cls(panel=panel, page=(width, height), step=step, legend_columns=legend_columns)


def thinning_for(layout: Layout, bands: tuple[str, ...], common: tuple[str | None, ...] = ()) -> Thinning:
    """Choose the pixels and bands for the picture: red, green and blue, else the first three or the first."""
    rgb = find_rgb(bands, common) or ((0, 1, 2) if len(bands) >= 3 else (0,))  # noqa: PLR2004
    return Thinning(layout.step, rgb)


def max_disk_bytes(grid: Grid, entries: int) -> int:
    """Most bytes of disk for the picture of a scene with a number of legend entries."""
    width, height = Layout.of(grid, entries).page
    return 3 * width * height


class QuickLook:
    """Collects the thinned pixels and labels of a scene, block by block."""

    def __init__(self, grid: Grid, layout: Layout, thinning: Thinning, dtype: np.dtype[Any]) -> None:
        self.layout = layout
        """Sizes of the elements of the picture."""
        self.thinning = thinning
        """Pixels and bands that are shown."""
        shape = thinning.shape(grid)
        self.bands = np.zeros((len(thinning.bands), *shape), dtype)
        """Thinned pixels, shape (shown bands, rows, columns)."""
        self.labels = np.zeros(shape, np.uint8)
        """Thinned labels, 0 for nodata, shape (rows, columns)."""

    def add(self, block: Block, labelled: LabelledBlock) -> None:
        """Add the thinned pixels and labels of a block."""
        window = self.thinning.thinned_window(block)
        self.bands[(slice(None), *window)] = labelled.thinned
        self.labels[window] = labelled.labels[self.thinning.inside(block)]
