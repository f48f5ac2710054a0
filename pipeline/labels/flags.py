"""What CF attributes say of labels: `flag_values`, with the words of `flag_meanings` and `flag_colors` for each."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from pipeline.config.fields import Colour, parse_hex
from pipeline.models.classes import UNCLASSIFIED

_NUMBER: Final = re.compile(r"[-+]?\d+(?:\.\d*)?")
"""A number in a text."""


@dataclass(frozen=True)
class Flags:
    """Names and colours of classes and of unclassified pixels, as far as attributes are well-formed."""

    names: Mapping[int, str]
    """Name by label, 1 to 255; nodata has none."""
    colours: Mapping[int, Colour]
    """Colour by label, 1 to 255."""
    unclassified: bool
    """Whether `flag_values` lists the label of unclassified pixels."""

    @classmethod
    def of(cls, attrs: Mapping[Any, Any]) -> Self:
        """Read attributes, which may be arrays, lists or texts with blanks or commas; what is no label is left out.

        Words belong to the values in their order. Words of a name are joined by underscores there.
        """
        values = _labels(attrs.get("flag_values"))
        names = {label: word.replace("_", " ") for label, word in _paired(values, attrs.get("flag_meanings"))}
        words = _paired(values, attrs.get("flag_colors"))
        colours = {label: parse_hex(f"#{word.removeprefix('#')}") for label, word in words}
        known = {label: colour for label, colour in colours.items() if colour}
        return cls(names, known if len(known) == len(colours) else {}, UNCLASSIFIED in values)


def _labels(stated: Any) -> list[int | None]:
    """Labels that values are; None for each that is nodata or no label."""
    found = _NUMBER.findall(stated) if isinstance(stated, str) else _items(stated)
    return [_label(each) for each in found]


def _label(value: Any) -> int | None:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return int(number) if number.is_integer() and 0 < number <= UNCLASSIFIED else None


def _paired(values: list[int | None], stated: Any) -> list[tuple[int, str]]:
    """Labels with their words; nothing if there are more or fewer words than values."""
    words = stated.split() if isinstance(stated, str) else [str(word) for word in _items(stated)]
    if len(words) != len(values):
        return []
    return [(label, word) for label, word in zip(values, words, strict=True) if label is not None]


def _items(stated: Any) -> list[Any]:
    """Items of an array, a list or a single value; none of what is nested unevenly."""
    try:
        return [] if stated is None else list(np.ravel(stated).tolist())
    except ValueError:
        return []
