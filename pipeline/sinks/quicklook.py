"""The quick-look as a sink, its layout and its pixels: every n-th pixel of a scene, and its class."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy.typing as npt

from pipeline.core.grid import Block, Grid
from pipeline.core.needs import Needs
from pipeline.core.pixels import Pixels
from pipeline.core.scene_info import SceneInfo
from pipeline.labels.classify import Labels
from pipeline.sinks.base import Sink
from pipeline.sinks.picture_options import DEFAULT_OPTIONS, LARGEST_SIDE, PictureOptions, shown_bands

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
    """Size of each of the panels, (width, height)."""
    page: tuple[int, int]
    """Size of the whole picture, (width, height)."""
    step: int
    """Thinning: every `step`-th row and column of the scene is shown."""
    zoom: int
    """Pixels of the picture along each side of a pixel that is shown."""
    legend_columns: int
    """Number of columns of the legend; 0 if there is none."""
    top: int
    """Space above the titles of the panels, with the title of the picture."""

    @classmethod
    def of(cls, grid: Grid, entries: int, options: PictureOptions = DEFAULT_OPTIONS) -> Self:
        """Compute the layout for a scene and a number of legend entries, which are left out without classes or room."""
        if options.bare:
            return cls._of_panel(grid, options.size)
        size, panels = options.size, len(options.shown)
        top = MARGIN + LINE * bool(options.title)
        longest_column = min(_LONGEST_COLUMN, size // 2 // LINE)
        most_columns = (size - 2 * MARGIN) // ENTRY_WIDTH
        if entries > longest_column * most_columns or "classes" not in options.shown:
            entries = 0
        widest = (size - (panels + 1) * MARGIN) // panels
        highest = size - top - 2 * MARGIN - (1 + min(entries, longest_column)) * LINE
        step, zoom, panel = _fit(grid, widest, highest)
        panels_width = panels * max(panel[0], ENTRY_WIDTH) + (panels - 1) * MARGIN
        columns = min(entries, max(panels_width // ENTRY_WIDTH, -(-entries // longest_column)))
        width = max(panels_width, columns * ENTRY_WIDTH) + 2 * MARGIN
        height = top + LINE + panel[1] + MARGIN
        if columns:
            height += -(-entries // columns) * LINE + MARGIN
        return cls(panel=panel, page=(width, height), step=step, zoom=zoom, legend_columns=columns, top=top)

    @classmethod
    def _of_panel(cls, grid: Grid, size: int) -> Self:
        """Compute the layout of a picture that is its panel alone."""
        step, zoom, panel = _fit(grid, size, size)
        return cls(panel=panel, page=panel, step=step, zoom=zoom, legend_columns=0, top=0)


def _fit(grid: Grid, widest: int, highest: int) -> tuple[int, int, tuple[int, int]]:
    """Return the step, the zoom and the size of a panel (width, height) that shows a scene within these limits."""
    rows, columns = grid.shape
    step = max(1, -(-columns // widest), -(-rows // highest))
    shown = (-(-columns // step), -(-rows // step))
    zoom = max(1, min(-(-_MIN_PANEL // max(shown)), widest // shown[0], highest // shown[1]))
    return step, zoom, (shown[0] * zoom, shown[1] * zoom)


@dataclass(frozen=True)
class Thinning:
    """Takes every n-th pixel of some bands, and its label, from each block of a scene."""

    step: int
    """Distance between selected pixels: those whose row and column are multiples of it."""
    bands: tuple[int, ...]
    """Positions of the selected bands."""

    @classmethod
    def of(
        cls,
        layout: Layout,
        bands: tuple[str, ...],
        common: tuple[str | None, ...] = (),
        wanted: tuple[str, ...] = (),
    ) -> Self:
        """Choose the pixels and bands for a layout: the wanted ones, else red, green and blue, else the first."""
        return cls(layout.step, shown_bands(bands, common, wanted))

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


def picture_needs(info: SceneInfo, classes: int, options: PictureOptions = DEFAULT_OPTIONS) -> Needs:
    """Needs of the picture of a scene and a number of classes."""
    layout = Layout.of(info.map_grid, classes + 2, options)  # with no data, and unclassified pixels
    width, height = layout.page
    if options.size <= LARGEST_SIDE:
        return Needs(disk=3 * width * height)  # its memory is within that of the program
    shown = layout.panel[0] * layout.panel[1] // layout.zoom**2
    # thinned pixels and labels, two panels in colour, a band as float64 twice; and the page, before and after encoding
    return Needs(disk=3 * width * height, fixed=shown * (3 * info.dtype.itemsize + 1 + 6 + 16) + 6 * width * height)


PICTURE: Final = Sink(
    key="picture",
    what="the picture",
    ending="_quicklook.png",
    writer="pipeline.sinks.picture:PictureWriter",
    endings=(".png", ".jpg", ".jpeg"),
    form="a PNG or JPEG",
    needs=picture_needs,
    needs_options=True,
)
"""The scene next to its classes: a picture, not data."""

WORLD_FILE: Final = Sink(
    key="world_file",
    what="the world file of the picture",
    ending="_quicklook.pgw",
    writer="pipeline.sinks.world_file:WorldFileWriter",
    follows="picture",
    following={".png": ".pgw", ".jpg": ".jgw", ".jpeg": ".jgw"},
    conditional=True,
)
"""Position and size of the pixels of a picture that shows the scene or its classes alone."""
