"""Colours of the classes: as `output.palette` says, by a rule, a colour map, a list or a file."""

import logging
from collections.abc import Sequence
from typing import Final

from pipeline.config.fields import Colour, is_palette_file
from pipeline.core.band_names import find_rgb, listed_names
from pipeline.core.errors import ConfigError
from pipeline.models.base import ClusterModel
from pipeline.models.colours import auto_colours
from pipeline.sinks.colour_difference import least_difference
from pipeline.sinks.colour_maps import colours_of_map, warn_of_cyclic_map
from pipeline.sinks.natural_colours import natural_colours
from pipeline.sinks.palette_files import read_palette

__all__ = ["Colour", "check_palette", "class_colours", "model_colours", "unclassified_colour", "warn_of_palette"]

logger = logging.getLogger(__name__)

Palette = str | Sequence[Colour]
"""Value of `output.palette`: a word, the name of a colour map, the path of a file, or the colour of each class."""

_DARK_GREY: Final = 75
"""Red, green and blue of unclassified pixels, unless a class has this colour."""

_CLEAR: Final = 5.0
"""Difference of colours (CIEDE2000) below which they are hard to tell apart on a map."""


def class_colours(k: int, palette: Palette = "auto") -> tuple[Colour, ...]:
    """Return the colours of classes 1 to k (at most 254).

    Those of 'auto' and of colour maps (continuous ones are sampled evenly) are all different.

    Raises
    ------
    ConfigError
        If the palette is no colour map, its file can't be read, it has another number of colours, or it takes a model.
    """
    if palette == "auto":
        return auto_colours(k)
    if palette == "natural":
        msg = "output.palette: natural: these colours are those of a model's classes; use 'auto' or a colour map"
        raise ConfigError(msg)
    listed = listed_colours(palette)
    if listed is None:
        return colours_of_map(str(palette), k)
    _check_length(listed, palette, k, k)
    return listed


def listed_colours(palette: Palette) -> tuple[Colour, ...] | None:
    """Return the colours that a list or a file gives to classes one by one; None if the palette is of another kind.

    Raises ConfigError if the file can't be read.
    """
    if isinstance(palette, str):
        return read_palette(palette) if is_palette_file(palette) else None
    return tuple(palette)


def check_palette(palette: Palette, least: int, most: int) -> None:
    """Raise ConfigError if a palette can't be that of a number of classes between these two.

    A list may be too short for the largest number: a fit that finds fewer classes needs fewer colours.
    """
    if palette == "natural":
        return
    listed = listed_colours(palette)
    if listed is not None:
        _check_length(listed, palette, least, most)
    else:
        class_colours(most, palette)


def warn_of_palette(palette: Palette, most: int) -> None:
    """Warn if two of the colours of a palette for a number of classes, at most, look alike by design."""
    if palette in ("auto", "natural"):
        return
    listed = listed_colours(palette)
    if listed is None:
        warn_of_cyclic_map(str(palette), most)
        return
    for label, colour in enumerate(listed, 1):
        if (first := listed.index(colour) + 1) < label:
            logger.warning("output.palette: classes %d and %d have the same colour", first, label)


def _check_length(listed: Sequence[Colour], palette: Palette, least: int, most: int) -> None:
    if not least <= len(listed) <= most:
        origin = f"output.palette: {palette}" if isinstance(palette, str) else "output.palette"
        classes = f"{most} classes" if least == most else f"{least} to {most} classes"
        fix = "give one for each class, or use 'auto'"
        msg = f"{origin}: there are {len(listed)} colours for {classes}; {fix}"
        raise ConfigError(msg)


def unclassified_colour(colours: Sequence[Colour]) -> Colour:
    """Return a grey that no class has, for unclassified pixels: dark, as nodata is light in pictures."""
    greys = ((n % 256, n % 256, n % 256) for n in range(_DARK_GREY, _DARK_GREY + 256))
    return next(grey for grey in greys if grey not in colours)


def model_colours(
    model: ClusterModel,
    palette: Palette = "auto",
    shown: Sequence[int] | None = None,
    stretch: tuple[float, float] = (5, 95),
) -> tuple[Colour, ...]:
    """Return the colours of a model's classes: those chosen for them if the palette is 'auto', else the palette's.

    Parameters
    ----------
    model : ClusterModel
        The model.
    palette : str or sequence of Colour
        As in the config. Of a list or file, colours of classes that the fit has not found are left out, and missing
        ones are filled from 'auto', with a warning: the time that the fit took is not lost.
    shown : sequence of int
        Positions of the bands that the picture shows in red, green and blue, or in grey, for 'natural'; those that
        are so by their names by default.
    stretch : tuple of float
        Percentiles of these bands that are black and white, for 'natural'.
    """
    if palette == "natural":
        shown = shown or find_rgb(model.bands)
        if not shown:
            bands = listed_names(model.bands)
            msg = f"palette: natural: which of {bands} are red, green and blue is not known; use 'auto'"
            raise ConfigError(msg)
        colours = natural_colours(model, shown, stretch, [unclassified_colour(())] if model.leaves_unclassified else [])
        _say_difference(colours)
        return colours
    listed = listed_colours(palette)
    if listed is not None and len(listed) != model.k:
        return _adapted(listed, model.k)
    chosen = [each.colour if palette == "auto" else None for each in model.classes]
    return tuple(one or other for one, other in zip(chosen, listed or class_colours(model.k, palette), strict=True))


def with_colours(model: ClusterModel, colours: Sequence[Colour]) -> ClusterModel:
    """Return a model whose classes have colours, which maps have unless another palette is chosen."""
    pairs = zip(model.classes, colours, strict=True)
    return model.model_copy(update={"classes": tuple(each.model_copy(update={"colour": one}) for each, one in pairs)})


def _adapted(listed: tuple[Colour, ...], k: int) -> tuple[Colour, ...]:
    """Return the first k of listed colours, with further ones of 'auto' if they are fewer."""
    numbers = f"output.palette: there are {len(listed)} colours for the {k} classes that the fit found"
    if len(listed) > k:
        logger.warning("%s; the last %d are not used", numbers, len(listed) - k)
        return listed[:k]
    logger.warning("%s; classes %d to %d have colours of 'auto'", numbers, len(listed) + 1, k)
    more = [colour for colour in auto_colours(k) if colour not in listed]
    return (*listed, *more[: k - len(listed)])


def _say_difference(colours: Sequence[Colour]) -> None:
    """Log the smallest difference between two of the colours, as a warning if it is small."""
    if len(colours) < 2:  # noqa: PLR2004 (one class differs from none)
        return
    least, one, other = least_difference(colours)
    logger.log(
        logging.INFO if least >= _CLEAR else logging.WARNING,
        "output.palette: natural: the colours of classes %d and %d differ least: by %.1f, also for the colour-blind "
        "(CIEDE2000; about 1 can just be seen)",
        *sorted((one + 1, other + 1)),
        least,
    )
