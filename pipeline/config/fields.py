"""Kinds of fields in the config: what is read out of YAML's values, and how editors are told."""

import re
from datetime import date
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BeforeValidator, ByteSize, Field, WithJsonSchema

from pipeline.core.errors import ConfigError
from pipeline.core.text import unreadable_name

_SIZE: Final = re.compile(r"\s*\d+(\.\d+)?\s*([kmgtp]i?)?b?\s*", re.IGNORECASE | re.ASCII)
_POWER: Final = re.compile(r"\s*\d+(\.\d+)?e\+?\d{1,2}\s*", re.IGNORECASE | re.ASCII)


def _band_name(band: object) -> object:
    """Let a number name a band, but not the yes or no that YAML reads out of y, no, on."""
    return str(band) if isinstance(band, int) and not isinstance(band, bool) else band


def _as_list(value: object) -> object:
    """Let one thing stand for a list of one."""
    return [value] if isinstance(value, str) else value


def _size(value: object) -> object:
    """Let pydantic read sizes that are whole words: on its own it reads '2GB/3' as 2 GB, and no power of ten."""
    if isinstance(value, str) and _POWER.fullmatch(value):
        return int(float(value))
    if isinstance(value, str) and not _SIZE.fullmatch(value):
        msg = "not a size"
        raise ValueError(msg)
    return value


def _time(value: object) -> object:
    """Write the dates that YAML, Python and numpy have as text."""
    if isinstance(value, date):
        return value.isoformat()
    if type(value).__name__ == "datetime64":
        return str(value)
    return "" if isinstance(value, bool) else value  # which is no text of a time


def _readable(value: object) -> object:
    """Refuse the name of a file by which GDAL would mean another."""
    if isinstance(value, str) and (why := unreadable_name(value)):
        raise ConfigError(why)
    return value


Text = Annotated[str, Field(min_length=1, pattern=r"^[^\x00]*$")]
Name = Annotated[Text, BeforeValidator(_readable)]
"""The path of a file, or another name that GDAL is given."""
Band = Annotated[Text, BeforeValidator(_band_name)]

_TEXT_SCHEMA: Final[dict[str, Any]] = {"type": "string", "minLength": 1}

Paths = Annotated[
    tuple[Name, ...],
    Field(min_length=1),
    BeforeValidator(_as_list),
    WithJsonSchema({"anyOf": [_TEXT_SCHEMA, {"type": "array", "items": _TEXT_SCHEMA, "minItems": 1}]}),
]
"""One path or several."""

Bands = Annotated[
    Literal["auto", "all"] | Annotated[tuple[Band, ...], Field(min_length=1)],
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["auto", "all"]},
                {"type": "array", "items": {"type": ["string", "integer"], "minLength": 1}, "minItems": 1},
            ]
        }
    ),
]

Time = Annotated[
    Annotated[int, Field(ge=1)] | Text,
    BeforeValidator(_time),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, _TEXT_SCHEMA]}),
]
"""A time: a number from 1, first, last, or an ISO date, which YAML reads as a date of its own."""

Names = Annotated[
    Annotated[tuple[Text, ...], Field(min_length=1)] | Annotated[dict[Band, Text], Field(min_length=1)] | None,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "null"},
                {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
                {"type": "object", "additionalProperties": {"type": "string", "minLength": 1}, "minProperties": 1},
            ]
        }
    ),
]
"""A name for each band, or new names by old ones."""

ResamplingMethod = Literal[
    "nearest", "bilinear", "cubic", "cubic_spline", "lanczos", "average", "mode", "min", "max", "med", "q1", "q3", "rms"
]
"""GDAL's words."""

_METHODS: Final = {"enum": list(get_args(ResamplingMethod))}

Resampling = Annotated[
    ResamplingMethod | Annotated[dict[Text, ResamplingMethod], Field(min_length=1)],
    WithJsonSchema({"anyOf": [_METHODS, {"type": "object", "additionalProperties": _METHODS, "minProperties": 1}]}),
]
"""A method for all bands, or one for each."""

Size = Annotated[
    ByteSize,
    BeforeValidator(_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "exclusiveMinimum": 0},
                {
                    "type": "string",
                    "pattern": r"^\s*[0-9]+(\.[0-9]+)?([eE]\+?[0-9]{1,2}|\s*([kKmMgGtTpP][iI]?)?[bB]?)\s*$",
                },
            ]
        }
    ),
]
"""Bytes, such as 2GB."""
