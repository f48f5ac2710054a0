"""Draw and write the quick-look: the scene in true colour next to its classes, with a legend. A picture, not data."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core import libraries
from pipeline.core.grid import Block
from pipeline.core.text import printable
from pipeline.labels.classify import Labels
from pipeline.models.classes import UNCLASSIFIED
from pipeline.sinks.base import Job, Summary, Writer
from pipeline.sinks.palette import Colour, unclassified_colour
from pipeline.sinks.quicklook import ENTRY_WIDTH, LINE, MARGIN, PICTURE, Layout, Thinning

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

_STRETCH: Final = (5, 95)
"""Percentiles of the valid pixels shown as black and white."""

_CHANNELS: Final = {1: ("",), 3: ("red:", "green:", "blue:")}
"""Prefixes of the band names in the title, by the number of bands shown."""

_NO_DATA: Final = (215, 215, 215)
_PAPER: Final = (255, 255, 255)
_INK: Final = (30, 30, 30)


class PictureWriter(Writer):
    """Collects the thinned pixels and labels of a scene, then draws them side by side above a legend."""

    def __init__(self, path: Path, job: Job) -> None:
        self._path, self._bands, self._colours = path, job.info.bands, job.colours
        self._layout = Layout.of(job.info.grid, job.model.k + 1 + job.model.leaves_unclassified)
        self.part: Thinning = Thinning.of(self._layout, job.info.bands, job.info.common_names)
        shape = self.part.shape(job.info.grid)
        self._pixels = np.zeros((len(self.part.bands), *shape), job.info.dtype)
        """Thinned pixels, shape (shown bands, rows, columns)."""
        self._labels = np.zeros(shape, np.uint8)
        """Thinned labels, 0 for nodata, shape (rows, columns)."""

    def add(self, block: Block, part: tuple[npt.NDArray[Any], Labels]) -> None:
        """Add the thinned pixels and labels of a block."""
        window = self.part.thinned_window(block)
        self._pixels[(slice(None), *window)], self._labels[window] = part

    def prepare(self, summary: Summary) -> None:
        """Draw the picture, with the shares of the classes and of nodata in the legend."""
        statistics = summary.statistics
        original = stretch(self._pixels, self._labels > 0)  # before the page is allocated: both need memory
        del self._pixels
        grey = unclassified_colour(self._colours)
        colours = np.full((UNCLASSIFIED + 1, 3), grey, np.uint8)
        colours[: 1 + len(self._colours)] = [_NO_DATA, *self._colours]
        classes = colours[self._labels]
        del self._labels
        shown = ", ".join(
            f"{colour} {self._bands[band]}" if colour else self._bands[band]
            for colour, band in zip(_CHANNELS[len(self.part.bands)], self.part.bands, strict=True)
        )
        panels = ((shown, original), (f"{len(self._colours)} classes", classes))
        entries = [
            (colour, f"{i}   {share:.1%}")
            for i, (colour, share) in enumerate(zip(self._colours, statistics.shares, strict=True), 1)
        ]
        if statistics.unclassified:
            entries.append((grey, f"other   {statistics.share(UNCLASSIFIED):.1%}"))
        if nodata := statistics.counts[0]:
            entries.append((_NO_DATA, f"no data   {nodata / (nodata + statistics.valid):.1%} of all"))
        self._page = draw_page(self._layout, panels, entries)

    def finish(self, _summary: Summary) -> None:
        """Write the picture as PNG, with a note that it is not data; raise OutputError if it can't be written."""
        note = libraries.png.PngInfo()
        note.add_text("Description", "A picture of a Terrazzo map, not data: use the GeoTIFF for any calculation.")
        try:
            self._page.save(self._path, format="PNG", pnginfo=note, compress_level=1)  # 1.5 times as fast as level 6
        except OSError as error:
            raise PICTURE.failure(self._path, error) from error


def draw_page(
    layout: Layout, panels: Iterable[tuple[str, npt.NDArray[np.uint8]]], entries: Sequence[tuple[Colour, str]]
) -> "Image":
    """Draw the two panels, each an array of shape (rows, columns, 3) below its title, and the legend."""
    page = libraries.image.new("RGB", layout.page, _PAPER)
    draw, font = libraries.image_draw.Draw(page), libraries.image_font.load_default(15)
    width = max(layout.panel[0], ENTRY_WIDTH)
    for left, (title, pixels) in zip((MARGIN, 2 * MARGIN + width), panels, strict=True):
        draw.text((left, MARGIN), _fitted(printable(title), font, width), _INK, font)
        panel = libraries.image.fromarray(pixels).resize(layout.panel, libraries.image.Resampling.NEAREST)
        page.paste(panel, (left, MARGIN + LINE))
    _draw_legend(draw, font, layout, entries)
    return page


def _draw_legend(draw: "ImageDraw", font: Any, layout: Layout, entries: Sequence[tuple[Colour, str]]) -> None:
    """Draw the entries of the legend, a colour box and its text, row by row below the panels."""
    top = 2 * MARGIN + LINE + layout.panel[1]
    for i, (colour, text) in enumerate(entries):
        row, column = divmod(i, layout.legend_columns)
        x, y = MARGIN + column * ENTRY_WIDTH, top + row * LINE
        draw.rectangle((x, y, x + 24, y + 18), fill=colour, outline=_INK)
        draw.text((x + 32, y), text, _INK, font)


def _fitted(text: str, font: Any, width: int) -> str:
    """Shorten a text so that it is at most `width` pixels wide."""
    if font.getlength(text) <= width:
        return text
    length = next(n for n in range(len(text), -1, -1) if font.getlength(text[:n] + "...") <= width or n == 0)
    return text[:length] + "..."


def stretch(bands: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Stretch the contrast of each band, shape (3 or 1, rows, columns), between its 5th and 95th percentile.

    Percentiles are those of the valid pixels. Returns shape (rows, columns, 3), grey where not valid.
    """
    picture = np.full((*valid.shape, 3), _NO_DATA, np.uint8)
    if valid.any():
        for channel in range(3):
            band = bands[channel % len(bands)][valid]
            # in place, because the map's overviews need memory at the same time
            low, high = np.percentile(band.astype(np.float64), _STRETCH, overwrite_input=True)
            bright = band - low
            bright /= ((high - low) or 1) / 255
            picture[..., channel][valid] = np.clip(bright, 0, 255, out=bright).round(out=bright)
    return picture
