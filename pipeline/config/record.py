"""What every mapping of the config is: typed, frozen, without unknown keys; and what is said of a mistake in it."""

import difflib
import reprlib
from collections.abc import Mapping
from textwrap import shorten
from typing import Any, ClassVar, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from pipeline.core.errors import ConfigError


class Record(BaseModel):
    """A mapping of the config: no unknown keys, no changes. Field descriptions say what is allowed."""

    renamed: ClassVar[Mapping[str, str]] = {}
    """New names of keys by their names in earlier versions."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_yes_or_no(cls, value: object) -> object:
        """Refuse YAML's yes, no, on, off: no field wants one, and pydantic would read numbers out of them."""
        if isinstance(value, bool):
            msg = "yes or no"
            raise ValueError(msg)  # noqa: TRY004 (pydantic wants this one)
        return value


def _record_at(record: type[BaseModel], path: tuple[str | int, ...]) -> type[BaseModel]:
    """Find the record whose keys stand at a path below a record."""
    for part in path:
        if str(part) not in record.model_fields:
            break
        kind = record.model_fields[str(part)].annotation
        inner = [one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, BaseModel)]
        if not inner:
            break
        record = inner[0]
    return record


def _shown(value: object) -> str:
    """A value for a message: short, whatever it is. Lists are not spelled out, as aliases can make them endless."""
    if isinstance(value, list | tuple | dict | set):
        return f"a {type(value).__name__} of {len(value)}"
    return shorten(reprlib.repr(value), 60, placeholder="...")


def _sentence(error: Mapping[str, Any], record: type[BaseModel]) -> str:
    """One mistake that pydantic found, in a sentence: the full path, what is there, what is allowed."""
    where = tuple(error["loc"])
    if error["type"] == "extra_forbidden":
        owner = _record_at(record, where[:-1])
        if new := getattr(owner, "renamed", {}).get(where[-1]):
            return f"{'.'.join(map(str, where))}: this key is now {'.'.join((*map(str, where[:-1]), new))}"
        allowed = list(owner.model_fields)
        near = difflib.get_close_matches(str(where[-1]), allowed, n=1)
        hint = f"did you mean {'.'.join((*map(str, where[:-1]), near[0]))}? " if near else ""
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
    """Check settings and turn them into a record.

    Parameters
    ----------
    record : type
        `RunConfig`, or one of the records it is made of.
    settings : object
        What the YAML said; a mapping, if all is well.
    origin : str
        Where it comes from, for messages.

    Raises
    ------
    ConfigError
        Naming the full path of the first mistake, what is allowed there and the nearest valid key.
    """
    if not isinstance(settings, dict):
        what = "nothing (the file is empty)" if settings is None else f"a {type(settings).__name__}"
        msg = f"{origin}: expected a mapping with {', '.join(record.model_fields)}, found {what}"
        raise ConfigError(msg)
    try:
        return record.model_validate(settings)
    except ValidationError as error:
        unknown_first = sorted(error.errors(), key=lambda mistake: mistake["type"] != "extra_forbidden")
        sentences = list(dict.fromkeys(_sentence(mistake, record) for mistake in unknown_first))
        more = f" (and {len(sentences) - 1} more: {'; '.join(s.split(': ')[0] for s in sentences[1:4])})"
        msg = f"{origin}: {sentences[0]}{more if len(sentences) > 1 else ''}"
        raise ConfigError(msg) from error
