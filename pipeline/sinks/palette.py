"""Colours of the classes: a colour-blind safe palette, or a matplotlib colour map."""

import difflib
from collections.abc import Sequence
from typing import Final

from pipeline.core import libraries
from pipeline.core.errors import ConfigError
from pipeline.models.base import ClusterModel
from pipeline.models.colours import Colour as Colour  # noqa: PLC0414 (for all that draws with these)
from pipeline.models.colours import auto_colours

_CYCLIC: Final = ("hsv", "twilight", "twilight_shifted")
"""Colour maps, also reversed, with the same colour at both ends."""

_DARK_GREY: Final = 75
"""Red, green and blue of unclassified pixels, unless a class has this colour."""


def class_colours(k: int, palette: str = "auto") -> tuple[Colour, ...]:
    """Return the colours of classes 1 to k (at most 254), all different.

    The palette 'auto' is a qualitative one, colour-blind safe up to 9 classes (no palette is beyond that). Others are
    matplotlib colour maps: continuous ones are sampled evenly, listed ones must have enough colours. Raises ConfigError
    if the colour map is unknown, or has too few colours.
    """
    if palette != "auto":
        return _matplotlib_colours(k, palette)
    return auto_colours(k)


def unclassified_colour(colours: Sequence[Colour]) -> Colour:
    """Return a grey that no class has, for unclassified pixels: dark, as nodata is light in pictures."""
    greys = ((n % 256, n % 256, n % 256) for n in range(_DARK_GREY, _DARK_GREY + 256))
    return next(grey for grey in greys if grey not in colours)


def model_colours(model: ClusterModel, palette: str = "auto") -> tuple[Colour, ...]:
    """Return the colours of a model's classes: those chosen for them if the palette is 'auto', else the palette's."""
    chosen = [each.colour if palette == "auto" else None for each in model.classes]
    return tuple(one or other for one, other in zip(chosen, class_colours(model.k, palette), strict=True))


def _matplotlib_colours(k: int, palette: str) -> tuple[Colour, ...]:
    matplotlib = libraries.matplotlib
    colormaps = matplotlib.colormaps
    if palette not in colormaps:
        near = difflib.get_close_matches(palette, list(colormaps), n=1)
        hint = f"did you mean {near[0]}?" if near else "use 'auto', tab10, tab20, Set3, viridis, ..."
        msg = f"output.palette: {palette!r} is not a matplotlib colour map; {hint}"
        raise ConfigError(msg)
    colours = colormaps[palette]
    listed = isinstance(colours, matplotlib.colors.ListedColormap) and colours.N < 256  # noqa: PLR2004 (the others are continuous)
    if listed and k > colours.N:
        msg = f"output.palette: {palette} has {colours.N} colours for {k} classes; use 'auto' or a colour map with more"
        raise ConfigError(msg)
    ends = k if palette.removesuffix("_r") in _CYCLIC else max(k - 1, 1)
    shades = colours(range(k)) if listed else colours([i / ends for i in range(k)])
    chosen: list[Colour] = [(round(r * 255), round(g * 255), round(b * 255)) for r, g, b, _ in shades]
    if len(set(chosen)) < k:
        msg = f"output.palette: {palette} gives {len(set(chosen))} different colours for {k} classes; use 'auto'"
        raise ConfigError(msg)
    return tuple(chosen)
