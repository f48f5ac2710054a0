"""Field types of the config: conversion of YAML values."""

import re
from datetime import date
from numbers import Integral
from typing import Annotated, Final, Literal, TypeGuard

from pydantic import BeforeValidator, ByteSize, Field

from pipeline.core.acquisition import Acquisition
from pipeline.core.errors import ConfigError
from pipeline.core.text import unreadable_name

_SIZE: Final = re.compile(r"\s*\d+(\.\d+)?\s*([kmgtp]i?)?b?\s*", re.IGNORECASE | re.ASCII)
_POWER: Final = re.compile(r"\s*\d+(\.\d+)?e\+?\d{1,2}\s*", re.IGNORECASE | re.ASCII)


def _band_name(band: object) -> object:
    """Convert a band number to text; booleans, which YAML reads from y, no or on, stay and are refused."""
    return str(band) if isinstance(band, int) and not isinstance(band, bool) else band


def _as_list(value: object) -> object:
    """Wrap a single string into a list."""
    return [value] if isinstance(value, str) else value


def _size(value: object) -> object:
    """Refuse text that is not a size as a whole, and read powers of ten.

    Pydantic alone reads '2GB/3' as 2 GB, and refuses 1e9.
    """
    if isinstance(value, str) and _POWER.fullmatch(value):
        return int(float(value))
    if isinstance(value, str) and not _SIZE.fullmatch(value):
        msg = "not a size"
        raise ValueError(msg)
    return value


def _time(value: object) -> object:
    """Convert dates of YAML, Python and NumPy to ISO text."""
    if isinstance(value, date):
        return value.isoformat()
    if type(value).__name__ == "datetime64":
        return str(value)
    return "" if isinstance(value, bool) else value  # booleans are refused like empty text


def _acquisition(value: object) -> object:
    """Convert a date, a time or a period, also one of YAML, to ISO text as of `Acquisition`."""
    stated = Acquisition.parse(str(value)) if not isinstance(value, bool) else None
    if value is None or stated:
        return value if stated is None else str(stated)
    msg = "no date"
    raise ValueError(msg)


def _name_for_gdal(value: object) -> object:
    """Refuse a file name that GDAL would encode differently."""
    if isinstance(value, str) and (message := unreadable_name(value)):
        raise ConfigError(message)
    return value


Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255 each."""

PALETTE_ENDINGS: Final = (".clr", ".qml", ".gpl", ".txt")
"""Endings of files with colours, by which they are told from names of colour maps."""


def is_palette_file(palette: object) -> TypeGuard[str]:
    """Whether the value of `output.palette` is the path of a file."""
    return isinstance(palette, str) and palette.lower().endswith(PALETTE_ENDINGS)


def parse_hex(text: str) -> Colour | None:
    """Return the colour that a text such as #228b22 says; None if it says none."""
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text.strip()):
        return None
    red, green, blue = bytes.fromhex(text.strip()[1:])
    return red, green, blue


def _colour(value: object) -> object:
    """Convert #rrggbb, and whole numbers of numpy, to three numbers; other values stay, to be validated."""
    if isinstance(value, list | tuple):
        return tuple(int(each) if isinstance(each, Integral) and not isinstance(each, bool) else each for each in value)
    return (parse_hex(value) or value) if isinstance(value, str) else value


def says_none(value: object) -> bool:
    """Whether a value is the word none, in capitals or not, with spaces around it or not."""
    return isinstance(value, str) and value.strip().lower() == "none"


_Component = Annotated[int, Field(ge=0, le=255, strict=True)]
_ColourOfClass = Annotated[
    tuple[_Component, _Component, _Component],
    BeforeValidator(
        _colour,
        json_schema_input_type=tuple[_Component, _Component, _Component]
        | Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")],
    ),
]

Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
"""Text that is not empty and contains no NUL."""
Name = Annotated[Text, BeforeValidator(_name_for_gdal)]
"""Path of a file, or another name that GDAL opens."""
Palette = Name | Annotated[tuple[_ColourOfClass, ...], Field(min_length=1, max_length=254)]
"""A word, the name of a colour map, the path of a file, or the colour of each class."""
Band = Annotated[Text, BeforeValidator(_band_name, json_schema_input_type=int | Text)]
"""Name, number or common name of a band."""

Paths = Annotated[
    tuple[Name, ...],
    Field(min_length=1),
    BeforeValidator(_as_list, json_schema_input_type=Text | Annotated[tuple[Text, ...], Field(min_length=1)]),
]
"""One path or several."""

Bands = Literal["auto", "all"] | Annotated[tuple[Band, ...], Field(min_length=1)]
"""Selection of bands: 'auto', 'all' or a list."""

Time = Annotated[Annotated[int, Field(ge=1)] | Text, BeforeValidator(_time)]
"""Selection of a time step: a number from 1, 'first', 'last', or an ISO date (YAML reads dates as date objects)."""

Date = Annotated[Text, BeforeValidator(_acquisition)]
"""When a scene was acquired: a date, a time, or a period of two of them, in ISO 8601."""

Names = Annotated[tuple[Text, ...], Field(min_length=1)] | Annotated[dict[Band, Text], Field(min_length=1)] | None
"""One name per band, or a mapping of band to new name."""

ResamplingMethod = Literal[
    "nearest", "bilinear", "cubic", "cubic_spline", "lanczos", "average", "mode", "min", "max", "med", "q1", "q3", "rms"
]
"""Resampling methods by their GDAL names."""

Resampling = ResamplingMethod | Annotated[dict[Band, ResamplingMethod], Field(min_length=1)]
"""Resampling method for all bands, or a mapping of band to method."""

_SizeText = Annotated[str, Field(pattern=r"^\s*[0-9]+(\.[0-9]+)?([eE]\+?[0-9]{1,2}|\s*([kKmMgGtTpP][iI]?)?[bB]?)\s*$")]
Size = Annotated[
    ByteSize, Field(gt=0), BeforeValidator(_size, json_schema_input_type=Annotated[int, Field(gt=0)] | _SizeText)
]
"""Size in bytes, such as 2GB."""
