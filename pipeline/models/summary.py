"""A model at a glance: one line of text, or a table of its classes in HTML, as notebooks show it."""

from collections.abc import Sequence
from html import escape
from math import floor, log10
from typing import TYPE_CHECKING, Final

from pipeline.config.fields import Colour
from pipeline.core.band_names import listed_names
from pipeline.core.text import printable
from pipeline.models.colours import auto_colours, hex_colour, text_colour

if TYPE_CHECKING:
    from pipeline.models.base import ClusterModel
    from pipeline.models.classes import ClassInfo

_CELL: Final = "padding: 2px 8px; text-align: right; white-space: nowrap"
_LEFT: Final = "text-align: left"
_TABLE: Final = "border-collapse: collapse; font: inherit; color: inherit; font-variant-numeric: tabular-nums"
_NONE: Final = "-"
_DIGITS: Final = 4
"""Significant digits of the largest number of a column."""


def text_summary(model: "ClusterModel") -> str:
    """Return a line with the kind of a model, its method, classes, bands and pixels."""
    return printable(f"<{type(model).__name__}: {_words(model)}>")


def html_summary(model: "ClusterModel") -> str:
    """Return a table with a row per class: label in its colour, name, colour, pixels, share, and mean per band.

    It holds no script, no class and no address, and takes text and background colours from the page.
    """
    total = sum(model.counts)
    means = [f"mean {band}" for band in model.bands]
    columns = ("label", "name", "colour", "pixels", "share", *means)
    head = "".join(_cell("th", name, _LEFT if name == "name" else "") for name in columns)
    colours = (one.colour or other for one, other in zip(model.classes, auto_colours(model.k), strict=True))
    decimals = _decimals(model)
    rows = (_row(each, colour, total, decimals) for each, colour in zip(model.classes, colours, strict=True))
    return (
        f'<div style="overflow-x: auto"><p style="margin: 4px 0"><b>{type(model).__name__}</b>: '
        f'{_text(_words(model))}</p><table style="{_TABLE}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(each: "ClassInfo", colour: Colour, total: int, decimals: Sequence[int]) -> str:
    """Row of a class: its label on its colour, the other cells on a tint of it."""
    share = f"{100 * each.pixels / total:.1f} %" if total else _NONE
    means = [_NONE] * len(decimals)
    if each.mean is not None:
        means = [f"{number:,.{places}f}" for number, places in zip(each.mean, decimals, strict=True)]
    label = f"background: {hex_colour(colour)}; color: {text_colour(colour)}; font-weight: bold"
    tint = "background: rgba({}, {}, {}, 0.15)".format(*colour)
    cells = [hex_colour(colour), f"{each.pixels:,}", share, *means]
    name = _cell("td", each.name, f"{tint}; {_LEFT}")
    return f"<tr>{_cell('td', str(each.id), label)}{name}{''.join(_cell('td', text, tint) for text in cells)}</tr>"


def _cell(tag: str, text: str, style: str = "") -> str:
    return f'<{tag} style="{_CELL}{"; " if style else ""}{style}">{_text(text)}</{tag}>'


def _text(text: str) -> str:
    return escape(printable(text))


def _decimals(model: "ClusterModel") -> list[int]:
    """Decimals of the means of each band, shape (band,)."""
    means = [each.mean for each in model.classes if each.mean is not None]
    largest = [max((abs(mean[band]) for mean in means), default=0.0) for band in range(len(model.bands))]
    return [min(9, max(0, _DIGITS - 1 - floor(log10(number)))) if number else 0 for number in largest]


def _words(model: "ClusterModel") -> str:
    """Words for classes, method, bands and pixels of a model."""
    fitting, names = model.fitting, dict.fromkeys(model.units.quantities)
    quantities = ", ".join(name for name in names if name != "index") or "index"
    fitted = fitting.valid_pixels if fitting.pixels == "all" else fitting.sampled_pixels
    return (
        f"{_plural(model.k, 'class', 'es')} by {fitting.method} of {listed_names(model.bands)} ({quantities}); "
        f"fitted on {fitted:,} of {fitting.valid_pixels:,} valid pixels"
    )


def _plural(count: int, noun: str, ending: str = "s") -> str:
    return f"{count} {noun}{'' if count == 1 else ending}"
