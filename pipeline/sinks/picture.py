"""Draw and write the quick-look: the scene in true colour next to its classes, with a legend. A picture, not data."""

import logging
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core import libraries
from pipeline.core.grid import Block
from pipeline.core.text import printable
from pipeline.labels.classify import ClassStatistics, Labels
from pipeline.models.classes import UNCLASSIFIED
from pipeline.sinks.base import Job, Summary, Writer
from pipeline.sinks.natural_colours import NO_DATA
from pipeline.sinks.palette import Colour, unclassified_colour
from pipeline.sinks.quicklook import ENTRY_WIDTH, LINE, MARGIN, PICTURE, Layout, Thinning

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

_STRETCH: Final = (5, 95)
"""Percentiles of the valid pixels shown as black and white, unless the config says others."""

_NOTE: Final = "A picture of a Terrazzo map, not data: use the GeoTIFF for any calculation."

logger = logging.getLogger(__name__)

_CHANNELS: Final = ("red", "green", "blue")
"""Colours of the channels of a picture."""

_NO_DATA: Final = NO_DATA
PAPER: Final = (255, 255, 255)
"""Colour of the page."""
INK: Final = (30, 30, 30)
"""Colour of text."""


class PictureWriter(Writer):
    """Collects the thinned pixels and labels of a scene, then draws them side by side above a legend."""

    def __init__(self, path: Path, job: Job) -> None:
        self._path, self._bands, self._colours, self._options = path, job.info.bands, job.colours, job.picture
        self._layout = Layout.of(job.info.grid, job.model.k + 1 + job.model.leaves_unclassified, job.picture)
        self.part: Thinning = Thinning.of(self._layout, job.info.bands, job.info.common_names, job.picture.rgb)
        if len(self.part.bands) < len(self._bands) and len(self.part.bands) == 1 and not job.picture.rgb:
            reason = "as it is not known which bands are red, green and blue; choose three with output.rgb"
            logger.info("output.picture: the scene is shown in grey, by band %s, %s", self._bands[0], reason)
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
        drawn = {"scene": self._draw_scene, "classes": self._draw_classes}
        panels = [drawn[panel]() for panel in self._options.shown]
        self._page = draw_page(self._layout, panels, self._legend(summary.statistics), self._options.title)

    def _draw_scene(self) -> tuple[str, npt.NDArray[np.uint8]]:
        """Return the bands that are shown, and the scene in their colours; its pixels are released for the page."""
        original = stretch(self._pixels, self._labels > 0, self._options.stretch)
        del self._pixels
        title = bands_in_words([self._bands[band] for band in self.part.bands])
        return title, original

    def _draw_classes(self) -> tuple[str, npt.NDArray[np.uint8]]:
        """Return the number of classes, and the map in their colours."""
        colours = np.full((UNCLASSIFIED + 1, 3), unclassified_colour(self._colours), np.uint8)
        colours[: 1 + len(self._colours)] = [_NO_DATA, *self._colours]
        return f"{len(self._colours)} classes", colours[self._labels]

    def _legend(self, statistics: ClassStatistics) -> list[tuple[Colour, str]]:
        """Return the entries of the legend: the shares of the classes and of nodata."""
        entries = [
            (colour, f"{i}   {share:.1%}")
            for i, (colour, share) in enumerate(zip(self._colours, statistics.shares, strict=True), 1)
        ]
        if statistics.unclassified:
            entries.append((unclassified_colour(self._colours), f"other   {statistics.share(UNCLASSIFIED):.1%}"))
        if nodata := statistics.counts[0]:
            entries.append((_NO_DATA, f"no data   {nodata / (nodata + statistics.valid):.1%} of all"))
        return entries

    def finish(self, _summary: Summary) -> None:
        """Write the picture, with a note that it is not data; raise OutputError if it can't be written."""
        try:
            save_picture(self._page, self._path, _NOTE)
        except OSError as error:
            raise PICTURE.failure(self._path, error) from error


def save_picture(page: "Image", path: Path, note: str) -> None:
    """Write a picture as PNG or JPEG, as its ending says, with a note in the file."""
    if path.suffix.lower() == ".png":
        text = libraries.png.PngInfo()
        text.add_text("Description", note)
        page.save(path, format="PNG", pnginfo=text, compress_level=1)  # 1.5 times as fast as level 6
    else:
        page.save(path, format="JPEG", quality=92, subsampling=0, comment=note)  # edges between classes keep colours


def bands_in_words(names: Sequence[str]) -> str:
    """Return how bands are shown: the names of red, green and blue, or that of one in grey."""
    if len(names) == 1 or tuple(names) == _CHANNELS:
        return ", ".join(names)
    return ", ".join(f"{channel}: {name}" for channel, name in zip(_CHANNELS, names, strict=True))


def draw_page(
    layout: Layout,
    panels: Sequence[tuple[str, npt.NDArray[np.uint8]]],
    entries: Sequence[tuple[Colour, str]],
    title: str = "",
) -> "Image":
    """Draw the panels, each an array of shape (rows, columns, 3) below its title, the title and the legend.

    If the layout has room for nothing else, the panel is the picture.
    """
    drawn = [libraries.image.fromarray(pixels).resize(layout.panel, _nearest()) for _, pixels in panels]
    if layout.page == layout.panel:
        return drawn[0]
    page = libraries.image.new("RGB", layout.page, PAPER)
    draw, font = libraries.image_draw.Draw(page), libraries.image_font.load_default(15)
    if title:
        shown = fitted(printable(title), libraries.image_font.load_default(18), layout.page[0] - 2 * MARGIN)
        draw.text((MARGIN, MARGIN - 4), shown, INK, libraries.image_font.load_default(18))
    width = max(layout.panel[0], ENTRY_WIDTH)
    for number, (name, panel) in enumerate(zip((name for name, _ in panels), drawn, strict=True)):
        left = MARGIN + number * (MARGIN + width)
        draw.text((left, layout.top), fitted(printable(name), font, width), INK, font)
        page.paste(panel, (left, layout.top + LINE))
    if layout.legend_columns:
        _draw_legend(draw, font, layout, entries)
    return page


def _nearest() -> Any:
    return libraries.image.Resampling.NEAREST


def _draw_legend(draw: "ImageDraw", font: Any, layout: Layout, entries: Sequence[tuple[Colour, str]]) -> None:
    """Draw the entries of the legend, a colour box and its text, row by row below the panels."""
    top = layout.top + LINE + layout.panel[1] + MARGIN
    for i, (colour, text) in enumerate(entries):
        row, column = divmod(i, layout.legend_columns)
        x, y = MARGIN + column * ENTRY_WIDTH, top + row * LINE
        draw_entry(draw, font, (x, y), colour, text)


def draw_entry(draw: "ImageDraw", font: Any, corner: tuple[int, int], colour: Colour, text: str) -> None:
    """Draw an entry of a legend: a colour box and its text."""
    x, y = corner
    draw.rectangle((x, y, x + 24, y + 18), fill=colour, outline=INK)
    draw.text((x + 32, y), text, INK, font)


def fitted(text: str, font: Any, width: int) -> str:
    """Shorten a text so that it is at most `width` pixels wide."""
    if font.getlength(text) <= width:
        return text
    fits = bisect_right(range(len(text)), width, key=lambda length: font.getlength(text[:length] + "..."))
    return text[: max(0, fits - 1)] + "..."


def stretch(
    bands: npt.NDArray[Any], valid: npt.NDArray[np.bool_], percentiles: tuple[float, float] = _STRETCH
) -> npt.NDArray[np.uint8]:
    """Stretch the contrast of each band, shape (3 or 1, rows, columns), between two percentiles of its valid pixels.

    Returns shape (rows, columns, 3), grey where not valid.
    """
    return stretch_between(bands, valid, limits_of(bands, valid, percentiles))


def limits_of(
    bands: npt.NDArray[Any], valid: npt.NDArray[np.bool_], percentiles: tuple[float, float] = _STRETCH
) -> list[tuple[float, float]]:
    """Return two percentiles of the valid pixels of each band, shape (band, rows, columns); 0 and 1 without any."""
    limits = []
    for band in bands:
        # in place, because the map's overviews need memory at the same time
        values = band[valid].astype(np.float64)
        low, high = np.percentile(values, percentiles, overwrite_input=True) if values.size else (0.0, 1.0)
        limits.append((float(low), float(high)))
    return limits


def stretch_between(
    bands: npt.NDArray[Any], valid: npt.NDArray[np.bool_], limits: Sequence[tuple[float, float]]
) -> npt.NDArray[np.uint8]:
    """Show bands, shape (3 or 1, rows, columns), between the values that are black and white in each.

    Returns shape (rows, columns, 3), grey where not valid.
    """
    picture = np.full((*valid.shape, 3), _NO_DATA, np.uint8)
    for channel in range(3):
        low, high = limits[channel % len(bands)]
        bright = bands[channel % len(bands)][valid].astype(np.float64)
        bright -= low
        bright /= ((high - low) or 1) / 255
        picture[..., channel][valid] = np.clip(bright, 0, 255, out=bright).round(out=bright)
    return picture
