"""Draw several maps in one picture: classes in the upper row, the scenes below, and a legend."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core import libraries
from pipeline.core.errors import ConfigError
from pipeline.core.text import printable
from pipeline.sinks.palette import Colour
from pipeline.sinks.picture import INK, PAPER, draw_entry, fitted
from pipeline.sinks.quicklook import ENTRY_WIDTH, LINE, MARGIN

if TYPE_CHECKING:
    from PIL.Image import Image

_MOST_SIDE: Final = 16_384
"""Longest side of the picture in pixels."""

_MOST_PIXELS: Final = 64 * 10**6
"""Largest number of pixels of the picture: about 200 MB while it is drawn."""

_SMALL: Final = 90
"""Width of a legend entry of one column in pixels."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A map and its scene."""

    name: str
    """Name of the scene."""
    classes: npt.NDArray[np.uint8]
    """The map in the colours of its classes, shape (rows, columns, 3)."""
    scene: npt.NDArray[np.uint8]
    """The scene, shape (rows, columns, 3)."""
    shown: str
    """Bands that are shown of the scene."""
    legend: tuple[tuple[Colour, str], ...]
    """Colour and label of each class; empty if the legend is shared."""


@dataclass(frozen=True)
class GridLayout:
    """Sizes of the elements of the picture, in pixels."""

    sizes: tuple[tuple[int, int], ...]
    """Size of both panels of each column, (width, height)."""
    title: bool
    """Whether there is a line of text above."""
    own_entries: tuple[int, ...]
    """Number of legend entries of each column; none if the legend is shared."""
    shared_entries: int
    """Number of entries of the shared legend."""

    @property
    def widths(self) -> list[int]:
        """Width of each column."""
        return [max(width, ENTRY_WIDTH) for width, _ in self.sizes]

    @property
    def lefts(self) -> list[int]:
        """Left edge of each column."""
        return [MARGIN + sum(self.widths[:n]) + n * MARGIN for n in range(len(self.sizes))]

    @property
    def width(self) -> int:
        """Width of the picture."""
        return self.lefts[-1] + self.widths[-1] + MARGIN

    @property
    def tops(self) -> tuple[int, int, int]:
        """Top of the titles of the maps, of those of the scenes, and of the legend."""
        first = MARGIN + self.title * LINE
        row = LINE + max(height for _, height in self.sizes) + MARGIN
        return first, first + row, first + 2 * row

    def legend_columns(self, column: int | None = None) -> int:
        """Number of columns of the shared legend, or of that of a column."""
        if column is None:
            return max(1, (self.width - 2 * MARGIN) // _SMALL)
        return max(1, self.widths[column] // _SMALL)

    @property
    def height(self) -> int:
        """Height of the picture."""
        rows = -(-self.shared_entries // self.legend_columns())
        own = [-(-entries // self.legend_columns(i)) for i, entries in enumerate(self.own_entries)]
        return self.tops[2] + LINE * max(rows, max(own, default=0) + bool(self.own_entries)) + MARGIN

    def check(self, scale: float) -> None:
        """Raise ConfigError if the picture would be too large."""
        width, height = self.width, self.height
        if max(width, height) > _MOST_SIDE or width * height > _MOST_PIXELS:
            largest = f"{_MOST_SIDE:,} pixels per side and {_MOST_PIXELS // 10**6} million in all"
            size = f"--scale {scale:g}: the picture would have {width:,} x {height:,} pixels, of at most {largest}"
            msg = f"{size}; use a smaller scale, or fewer maps"
            raise ConfigError(msg)


def draw_grid(
    layout: GridLayout, columns: Sequence[Column], legend: Sequence[tuple[Colour, str]], note: str, title: str = ""
) -> "Image":
    """Draw the picture; a note stands above the legends of the columns, if each has its own."""
    page = libraries.image.new("RGB", (layout.width, layout.height), PAPER)
    draw, font = libraries.image_draw.Draw(page), libraries.image_font.load_default(15)
    if title:
        large = libraries.image_font.load_default(18)
        draw.text((MARGIN, MARGIN - 4), fitted(printable(title), large, layout.width - 2 * MARGIN), INK, large)
    for number, column in enumerate(columns):
        left, width = layout.lefts[number], layout.widths[number]
        rows = ((layout.tops[0], column.name, column.classes), (layout.tops[1], column.shown, column.scene))
        for top, text, pixels in rows:
            draw.text((left, top), fitted(printable(text), font, width), INK, font)
            page.paste(libraries.image.fromarray(pixels), (left, top + LINE))
        _draw_entries(draw, font, column.legend, (left, layout.tops[2] + LINE), layout.legend_columns(number))
    if note:
        draw.text((MARGIN, layout.tops[2]), fitted(printable(note), font, layout.width - 2 * MARGIN), INK, font)
    _draw_entries(draw, font, legend, (MARGIN, layout.tops[2]), layout.legend_columns())
    return page


def _draw_entries(
    draw: Any, font: Any, entries: Sequence[tuple[Colour, str]], corner: tuple[int, int], columns: int
) -> None:
    for number, (colour, text) in enumerate(entries):
        row, column = divmod(number, columns)
        draw_entry(draw, font, (corner[0] + column * _SMALL, corner[1] + row * LINE), colour, text)
