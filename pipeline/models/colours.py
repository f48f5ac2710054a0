"""Colours of classes for which none has been chosen: a qualitative palette, colour-blind safe up to nine classes."""

import colorsys
from collections.abc import Iterator
from itertools import count, islice
from typing import Final

from pipeline.config.fields import Colour

_TOL_MUTED: Final[tuple[Colour, ...]] = (
    (51, 34, 136), (136, 204, 238), (17, 119, 51), (221, 204, 119), (204, 102, 119),
    (68, 170, 153), (170, 68, 153), (153, 153, 51), (136, 34, 85),
)  # fmt: skip
"""Paul Tol's 'muted' qualitative scheme, colour-blind safe (Technical Note SRON/EPS/TN/09-002)."""

_GOLDEN_ANGLE: Final = 0.61803398875
"""Step of hue between successive colours, as a share of the circle."""

_LIGHT: Final = 0.179
"""Luminance of a colour, 0 to 1, on which black and white text have the same contrast (WCAG 2)."""


def auto_colours(k: int) -> tuple[Colour, ...]:
    """Return the colours of classes 1 to k (at most 254), all different; that of a class does not depend on k."""
    more = (colour for colour in _more_colours() if colour not in _TOL_MUTED)
    return (*_TOL_MUTED[:k], *islice(more, max(0, k - len(_TOL_MUTED))))


def text_colour(colour: Colour) -> str:
    """Return 'black' or 'white', whichever is easier to read on a colour."""
    red, green, blue = (((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour)  # of sRGB, but for the darkest
    return "black" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > _LIGHT else "white"


def hex_colour(colour: Colour) -> str:
    """Write a colour as #RRGGBB."""
    return "#{:02X}{:02X}{:02X}".format(*colour)


def _more_colours() -> Iterator[Colour]:
    """Yield further colours: hues a golden angle apart, with lightness steps that differ in greyscale, too."""
    for i in count():
        rgb = colorsys.hls_to_rgb((i * _GOLDEN_ANGLE) % 1, (0.35, 0.65, 0.5, 0.8)[i % 4], (0.65, 0.5)[i // 4 % 2])
        yield (round(rgb[0] * 255), round(rgb[1] * 255), round(rgb[2] * 255))
