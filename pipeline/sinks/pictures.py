"""The quick-look: the scene as the eye sees it beside its classes, with a legend. A picture, not data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from pipeline.grid import Block, Grid
from pipeline.labels.classify import LabelledBlock, Thinning
from pipeline.runtime.workfolder import lost
from pipeline.scenes.bands import find_rgb
from pipeline.sinks.palette import Colour

LARGEST_SIDE: Final = 2048
"""Of the picture, in pixels."""

_MARGIN: Final = 16
_LINE: Final = 26
_ENTRY_WIDTH: Final = 140
_LONGEST_COLUMN: Final = 20
"""Entries of the legend that may stand above each other."""

_WISHED_PANEL: Final = 400
"""Small scenes are shown larger than they are, at least so many pixels wide or high."""

_STRETCH: Final = (5, 95)
"""Percentiles of the valid pixels that become black and white."""

_CHANNELS: Final = {1: ("",), 3: ("red:", "green:", "blue:")}
"""What the bands of a picture are shown as."""

_NO_DATA: Final = (215, 215, 215)
_PAPER: Final = (255, 255, 255)
_INK: Final = (30, 30, 30)


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
        most_columns = (LARGEST_SIDE - 2 * _MARGIN) // _ENTRY_WIDTH
        legend_rows = max(-(-entries // most_columns), min(entries, _LONGEST_COLUMN))
        widest = (LARGEST_SIDE - 3 * _MARGIN) // 2
        highest = LARGEST_SIDE - 3 * _MARGIN - (1 + legend_rows) * _LINE
        rows, columns = grid.shape
        step = max(1, -(-columns // widest), -(-rows // highest))
        shown = (-(-columns // step), -(-rows // step))
        zoom = max(1, min(-(-_WISHED_PANEL // max(shown)), widest // shown[0], highest // shown[1]))
        panel = (shown[0] * zoom, shown[1] * zoom)
        panels_width = 2 * max(panel[0], _ENTRY_WIDTH) + _MARGIN
        legend_columns = max(panels_width // _ENTRY_WIDTH, -(-entries // _LONGEST_COLUMN))
        legend_rows = -(-entries // legend_columns)
        width = max(panels_width, legend_columns * _ENTRY_WIDTH) + 2 * _MARGIN
        height = 3 * _MARGIN + (1 + legend_rows) * _LINE + panel[1]
        return cls(panel=panel, page=(width, height), step=step, legend_columns=legend_columns)


def thinning_for(layout: Layout, bands: tuple[str, ...]) -> Thinning:
    """Which pixels and bands of a scene its picture needs: red, green, blue, else the first three bands, or one."""
    rgb = find_rgb(bands) or ((0, 1, 2) if len(bands) >= 3 else (0,))  # noqa: PLR2004
    return Thinning(layout.step, rgb)


def most_disk(grid: Grid, entries: int) -> int:
    """Bytes that a picture with so many entries in its legend takes at most."""
    width, height = Layout.of(grid, entries).page
    return 3 * width * height


class QuickLook:
    """Collects thinned blocks of a scene and draws its picture."""

    def __init__(self, grid: Grid, layout: Layout, thinning: Thinning, dtype: np.dtype[Any]) -> None:
        self._layout = layout
        self._thinning = thinning
        shape = thinning.shape(grid)
        self._bands = np.zeros((len(thinning.bands), *shape), dtype)
        self._labels = np.zeros(shape, np.uint8)

    def add(self, block: Block, labelled: LabelledBlock) -> None:
        """Take over a block's kept pixels."""
        place = self._thinning.onto(block)
        self._bands[(slice(None), *place)] = labelled.thinned
        self._labels[place] = labelled.labels[self._thinning.inside(block)]

    def draw(
        self, bands: tuple[str, ...], colours: tuple[Colour, ...], shares: list[float], nodata: float = 0
    ) -> Image.Image:
        """Draw the picture.

        Parameters
        ----------
        bands : tuple of str
            Names of the scene's bands.
        colours : tuple of (red, green, blue)
            Of classes 1 to k.
        shares : list of float
            Share of the valid pixels in each class, 0 to 1.
        nodata : float
            Share of all pixels that hold no data.
        """
        original = stretch(self._bands, self._labels > 0)  # before there is a page: both take room
        page = Image.new("RGB", self._layout.page, _PAPER)
        draw, font = ImageDraw.Draw(page), ImageFont.load_default(15)
        right = 2 * _MARGIN + max(self._layout.panel[0], _ENTRY_WIDTH)
        palette = np.array([_NO_DATA, *colours], np.uint8)
        shown = ", ".join(
            f"{colour} {bands[band]}" if colour else bands[band]
            for colour, band in zip(_CHANNELS[len(self._thinning.bands)], self._thinning.bands, strict=True)
        )
        for left, picture, title in (
            (_MARGIN, original, shown),
            (right, palette[self._labels], f"{len(colours)} classes"),
        ):
            draw.text((left, _MARGIN), _fitted(title, font, right - 2 * _MARGIN), _INK, font)
            panel = Image.fromarray(picture).resize(self._layout.panel, Image.Resampling.NEAREST)
            page.paste(panel, (left, _MARGIN + _LINE))
        entries = [
            (colour, f"{i}   {share:.1%}") for i, (colour, share) in enumerate(zip(colours, shares, strict=True), 1)
        ]
        self._draw_legend(draw, font, [*entries, *([(_NO_DATA, f"no data   {nodata:.1%} of all")] if nodata else [])])
        return page

    def _draw_legend(self, draw: ImageDraw.ImageDraw, font: Any, entries: list[tuple[Colour, str]]) -> None:
        """Draw a box of a colour and what it stands for, row by row below the panels."""
        top = 2 * _MARGIN + _LINE + self._layout.panel[1]
        for i, (colour, text) in enumerate(entries):
            row, column = divmod(i, self._layout.legend_columns)
            x, y = _MARGIN + column * _ENTRY_WIDTH, top + row * _LINE
            draw.rectangle((x, y, x + 24, y + 18), fill=colour, outline=_INK)
            draw.text((x + 32, y), text, _INK, font)


def _fitted(text: str, font: Any, width: int) -> str:
    """Cut a text short so that it is no wider than so many pixels."""
    if font.getlength(text) <= width:
        return text
    kept = next(n for n in range(len(text), -1, -1) if font.getlength(text[:n] + "...") <= width or n == 0)
    return text[:kept] + "..."


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture as PNG, with a note that it is not data.

    Raises
    ------
    OutputError
        When the file can't be written.
    """
    note = PngInfo()
    note.add_text("Description", "A picture of a Terrazzo map, not data: use the GeoTIFF for any calculation.")
    try:
        picture.save(path, format="PNG", pnginfo=note, compress_level=1)  # half again as fast as 6, and hardly larger
    except OSError as error:
        raise lost(path, "the picture", "output.picture", error) from error


def stretch(bands: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Stretch each band between its 5th and 95th percentile.

    Parameters
    ----------
    bands : ndarray, shape (3 or 1, rows, columns)
        Pixels in any units.
    valid : ndarray of bool, shape (rows, columns)
        Pixels that count, and are shown.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)
        Grey where not valid.
    """
    picture = np.full((*valid.shape, 3), _NO_DATA, np.uint8)
    if valid.any():
        for channel in range(3):
            band = bands[channel % len(bands)][valid]
            # each step in place: the map's overviews are made meanwhile, in the same memory
            low, high = np.percentile(band.astype(np.float64), _STRETCH, overwrite_input=True)
            bright = band - low
            bright /= ((high - low) or 1) / 255
            picture[..., channel][valid] = np.clip(bright, 0, 255, out=bright).round(out=bright)
    return picture
