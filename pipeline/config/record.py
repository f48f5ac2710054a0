"""Base class of config records, and validation with messages that name path, value and what is allowed."""

import difflib
import reprlib
from collections.abc import Mapping
from textwrap import shorten
from typing import Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from pipeline.core.errors import ConfigError
from pipeline.core.text import kind_words


def refuse_boolean(value: object) -> object:
    """Refuse booleans (YAML's yes, no, on, off), which pydantic would convert to numbers."""
    if isinstance(value, bool):
        msg = "a boolean is not allowed"
        raise ValueError(msg)  # noqa: TRY004 (pydantic expects ValueError)
    return value


class Record(BaseModel):
    """Base of config records: frozen, no unknown keys. Descriptions of fields say in messages what is allowed."""

    renamed: ClassVar[Mapping[str, str]] = {}
    """Current name of a key by its name in earlier versions."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_boolean(cls, value: object) -> object:
        return refuse_boolean(value)


def _record_at(record: type[BaseModel], path: tuple[str | int, ...]) -> type[BaseModel]:
    """Record class at a path below a record class; the innermost one if the path leads beyond records."""
    for key in path:
        if str(key) not in record.model_fields:
            break
        kind = record.model_fields[str(key)].annotation
        inner = [part for part in (kind, *get_args(kind)) if isinstance(part, type) and issubclass(part, BaseModel)]
        if not inner:
            break
        record = inner[0]
    return record


def _shown(value: object) -> str:
    """Short text of a value for a message. Collections are only counted, as YAML aliases can make them huge."""
    if isinstance(value, list | tuple | dict | set):
        return f"{kind_words(value)} of {len(value)}"
    return shorten(reprlib.repr(value), 60, placeholder="...")


def _message(error: Mapping[str, Any], record: type[BaseModel]) -> str:
    """Message for an error found by pydantic: the full path, the value, what is allowed."""
    where = tuple(error["loc"])
    if error["type"] == "extra_forbidden":
        owner = _record_at(record, where[:-1])
        if new := getattr(owner, "renamed", {}).get(where[-1]):
            return f"{'.'.join(map(str, where))}: this key is now {'.'.join((*map(str, where[:-1]), new))}; rename it"
        allowed = list(owner.model_fields)
        nearest = difflib.get_close_matches(str(where[-1]), allowed, n=1)
        hint = f"did you mean {'.'.join((*map(str, where[:-1]), nearest[0]))}? " if nearest else ""
        return f"{'.'.join(map(str, where))}: unknown key; {hint}allowed here: {', '.join(allowed)}"
    depth = next(
        (n for n in range(1, len(where)) if where[n] not in _record_at(record, where[:n]).model_fields), len(where)
    )
    path = where[:depth]
    owner = _record_at(record, path[:-1])
    if path and str(path[-1]) in owner.model_fields:
        expected = owner.model_fields[str(path[-1])].description
    else:
        expected = f"a mapping with {', '.join(record.model_fields)}"
    name = ".".join(map(str, path))
    if error["type"] == "missing":
        return f"{name}: missing; expected {expected}"
    if error["type"] == "value_error" and isinstance(error["input"], dict):
        return f"{name}: {error['ctx']['error']}" if name else str(error["ctx"]["error"])
    value = _shown(error["input"])
    return f"{name}: {value} is not allowed; expected {expected}" if name else f"expected {expected}"


AnyRecord = TypeVar("AnyRecord", bound=BaseModel)


def parse_record(record: type[AnyRecord], settings: object, origin: str) -> AnyRecord:
    """Validate settings and convert them to a record.

    Parameters
    ----------
    record : type
        `RunConfig`, or the record class of one of its sections.
    settings : object
        Settings parsed from YAML; must be a mapping.
    origin : str
        File or function named in messages.

    Raises
    ------
    ConfigError
        If settings are not valid; the message names the full path, what is allowed there and the nearest valid key.
    """
    if not isinstance(settings, dict):
        what = "nothing (the file is empty)" if settings is None else kind_words(settings)
        msg = f"{origin}: expected a mapping with {', '.join(record.model_fields)}, found {what}"
        raise ConfigError(msg)
    try:
        return record.model_validate(settings)
    except ValidationError as error:
        unknown_first = sorted(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        messages = list(dict.fromkeys(_message(found, record) for found in unknown_first))
        more = f" (and {len(messages) - 1} more: {'; '.join(text.split(': ')[0] for text in messages[1:4])})"
        msg = f"{origin}: {messages[0]}{more if len(messages) > 1 else ''}"
        raise ConfigError(msg) from error
