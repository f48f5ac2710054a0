"""Draw and write the quick-look: the scene in true colour next to its classes, with a legend. A picture, not data."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from pipeline.core.text import printable
from pipeline.engine.work_folder import output_error
from pipeline.sinks.palette import Colour
from pipeline.sinks.quicklook import ENTRY_WIDTH, LINE, MARGIN, Layout, QuickLook

_STRETCH: Final = (5, 95)
"""Percentiles of the valid pixels shown as black and white."""

_CHANNELS: Final = {1: ("",), 3: ("red:", "green:", "blue:")}
"""Prefixes of the band names in the title, by the number of bands shown."""

_NO_DATA: Final = (215, 215, 215)
_PAPER: Final = (255, 255, 255)
_INK: Final = (30, 30, 30)


def draw_picture(
    look: QuickLook, bands: tuple[str, ...], colours: tuple[Colour, ...], shares: list[float], nodata: float = 0
) -> Image.Image:
    """Draw the quick-look.

    Parameters
    ----------
    look : QuickLook
        Pixels, labels and layout.
    bands : tuple of str
        Names of the scene's bands.
    colours : tuple of (red, green, blue)
        Colours of classes 1 to k.
    shares : list of float
        Share of the valid pixels per class, 0 to 1.
    nodata : float
        Share of nodata among all pixels, 0 to 1.

    Returns
    -------
    Image
        RGB image of the layout's size.
    """
    layout = look.layout
    original = stretch(look.bands, look.labels > 0)  # before the page is allocated: both need memory
    page = Image.new("RGB", layout.page, _PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    right = 2 * MARGIN + max(layout.panel[0], ENTRY_WIDTH)
    palette = np.array([_NO_DATA, *colours], np.uint8)
    shown = ", ".join(
        f"{colour} {bands[band]}" if colour else bands[band]
        for colour, band in zip(_CHANNELS[len(look.thinning.bands)], look.thinning.bands, strict=True)
    )
    for left, picture, title in (
        (MARGIN, original, shown),
        (right, palette[look.labels], f"{len(colours)} classes"),
    ):
        draw.text((left, MARGIN), _fitted(printable(title), font, right - 2 * MARGIN), _INK, font)
        panel = Image.fromarray(picture).resize(layout.panel, Image.Resampling.NEAREST)
        page.paste(panel, (left, MARGIN + LINE))
    entries = [(colour, f"{i}   {share:.1%}") for i, (colour, share) in enumerate(zip(colours, shares, strict=True), 1)]
    _draw_legend(draw, font, layout, [*entries, *([(_NO_DATA, f"no data   {nodata:.1%} of all")] if nodata else [])])
    return page


def _draw_legend(draw: ImageDraw.ImageDraw, font: Any, layout: Layout, entries: list[tuple[Colour, str]]) -> None:
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


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a picture as PNG, with a note that it is not data.

    Raises
    ------
    OutputError
        If the file can't be written.
    """
    note = PngInfo()
    note.add_text("Description", "A picture of a Terrazzo map, not data: use the GeoTIFF for any calculation.")
    try:
        picture.save(path, format="PNG", pnginfo=note, compress_level=1)  # 1.5 times as fast as level 6
    except OSError as error:
        raise output_error(path, "the picture", "output.picture", error) from error


def stretch(bands: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Stretch the contrast of each band between its 5th and 95th percentile.

    Parameters
    ----------
    bands : ndarray, shape (3 or 1, rows, columns)
        Pixels in any units.
    valid : ndarray of bool, shape (rows, columns)
        Pixels to compute the percentiles from, and to show.

    Returns
    -------
    ndarray of uint8, shape (rows, columns, 3)
        Grey where not valid.
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
