"""The quick-look as a sink, its layout and its pixels: every n-th pixel of a scene, and its class."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy.typing as npt

from pipeline.core.band_names import find_rgb
from pipeline.core.grid import Block, Grid
from pipeline.core.needs import Needs
from pipeline.core.pixels import Pixels
from pipeline.core.scene_info import SceneInfo
from pipeline.labels.classify import Labels
from pipeline.sinks.base import Sink

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


@dataclass(frozen=True)
class Thinning:
    """Takes every n-th pixel of some bands, and its label, from each block of a scene."""

    step: int
    """Distance between selected pixels: those whose row and column are multiples of it."""
    bands: tuple[int, ...]
    """Positions of the selected bands."""

    @classmethod
    def of(cls, layout: Layout, bands: tuple[str, ...], common: tuple[str | None, ...] = ()) -> Self:
        """Choose the pixels and bands for a layout: red, green and blue, else the first three or the first."""
        rgb = find_rgb(bands, common) or ((0, 1, 2) if len(bands) >= 3 else (0,))  # noqa: PLR2004
        return cls(layout.step, rgb)

    def __call__(self, block: Block, pixels: Pixels, labels: Labels) -> tuple[npt.NDArray[Any], Labels]:
        """Return pixels, shape (selected bands, selected rows, selected columns), and their labels."""
        rows, columns = slice(-block.top % self.step, None, self.step), slice(-block.left % self.step, None, self.step)
        return pixels.data[list(self.bands), rows, columns], labels[rows, columns]

    def shape(self, grid: Grid) -> tuple[int, int]:
        """(rows, columns) of the thinned scene."""
        return -(-grid.shape[0] // self.step), -(-grid.shape[1] // self.step)

    def thinned_window(self, block: Block) -> tuple[slice, slice]:
        """Slices of a block's selected pixels in the thinned scene."""
        (top, bottom), (left, right) = block.window
        n = self.step
        return slice(-(-top // n), -(-bottom // n)), slice(-(-left // n), -(-right // n))


def picture_needs(info: SceneInfo, classes: int) -> Needs:
    """Needs of the picture of a scene and a number of classes."""
    width, height = Layout.of(info.map_grid, classes + 1).page
    return Needs(disk=3 * width * height)


PICTURE: Final = Sink(
    key="picture",
    what="the picture",
    ending="_quicklook.png",
    writer="pipeline.sinks.picture:PictureWriter",
    endings=(".png",),
    form="a PNG",
    needs=picture_needs,
)
"""The scene next to its classes: a picture, not data."""
