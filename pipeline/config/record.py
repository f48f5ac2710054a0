"""Base class of config records, and validation with messages that name path, value and what is allowed."""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from types import NoneType
from typing import Annotated, Any, ClassVar, TypeVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    GetCoreSchemaHandler,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from pipeline.core.errors import ConfigError
from pipeline.core.text import kind_words, shown


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

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_boolean(cls, value: object, info: ValidationInfo) -> object:
        wants_one = info.field_name and cls.model_fields[info.field_name].annotation is bool
        return value if wants_one else refuse_boolean(value)


class OneOf:
    """Annotation of a field that holds one of several records: the value of a key says which.

    In each record that key is annotated with a `Literal` of one value; it has a default in the default record only.
    """

    def __init__(self, key: str, *records: type[Record]) -> None:
        self.key = key
        """Key that chooses the record."""
        self.records = {str(get_args(record.model_fields[key].annotation)[0]): record for record in records}
        """Records by the value of the key."""
        (self._default,) = (name for name, record in self.records.items() if not record.model_fields[key].is_required())

    @property
    def allowed(self) -> str:
        """Allowed values of the key, for messages."""
        *names, last = map(repr, self.records)
        return f"{', '.join(names)} or {last}" if names else last

    def default(self) -> Any:
        """Default record with default values."""
        return self.records[self._default]()

    def parse(self, settings: Mapping[str, object], origin: str) -> Any:
        """Validate settings as the record that their key chooses, as `parse_record` does."""
        name = self._choose(settings)
        if name not in self.records:
            msg = f"{origin}: {self.key}: {shown(settings[self.key])} is not allowed; expected {self.allowed}"
            raise ConfigError(msg)
        return parse_record(self.records[name], settings, origin, self)

    def record_of(self, settings: Mapping[str, Any]) -> Any:
        """The record that settings choose; None if there is none of that name."""
        return self.records.get(self._choose(settings) or "")

    def without_keys_of_others(self, settings: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Return settings for another value of the key, without those that their own record allows and its does not."""
        own = self._faults(self._choose(settings), settings)
        wrong = self._faults(name, {**settings, self.key: name}) - own
        return {key: value for key, value in settings.items() if key not in wrong}

    def _faults(self, name: str | None, settings: Mapping[str, Any]) -> set[str]:
        """Keys of settings that are not valid in the record of a value of the key; none if there is no such record."""
        try:
            if name in self.records:
                self.records[name].model_validate(settings)
        except ValidationError as error:
            return {str(found["loc"][0]) for found in error.errors() if found["loc"]}
        return set()

    def holders(self, key: str) -> list[str]:
        """Values of the key whose records have another key."""
        return [name for name, record in self.records.items() if key in record.model_fields]

    @staticmethod
    def of(field: FieldInfo) -> "OneOf | None":
        """The annotation of a field; None if it has none."""
        return next((each for each in field.metadata if isinstance(each, OneOf)), None)

    def _choose(self, value: object) -> str | None:
        """Return the key's value in a mapping or a record; None for anything else."""
        if isinstance(value, dict):
            return str(value.get(self.key, self._default))
        return str(getattr(value, self.key)) if isinstance(value, BaseModel) else None

    def __get_pydantic_core_schema__(self, _source: object, handler: GetCoreSchemaHandler) -> Any:
        """Validate a mapping as the record that its key chooses."""
        tagged: Any = reduce(or_, (Annotated[record, Tag(name)] for name, record in self.records.items()))
        return handler.generate_schema(Annotated[tagged, Discriminator(self._choose)])


def _walk(record: type[BaseModel], location: Iterable[str | int]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield each key on the way to an error, and the record class that holds it, down to the innermost record.

    Left out is what says which of several forms a value was taken for: a record chosen by `OneOf`, or any other.
    """
    choices: Mapping[str, type[BaseModel]] = {}
    names_form = False
    for key in map(str, location):
        if names_form:
            names_form = False
            continue
        if key in choices:
            record, choices = choices[key], {}
            continue
        yield key, record
        if key not in record.model_fields:
            return
        field = record.model_fields[key]
        kinds = (field.annotation, *get_args(field.annotation))
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner:
            return
        record = inner[0]
        choice = OneOf.of(field)
        choices = choice.records if choice else {}
        names_form = len(set(get_args(field.annotation)) - {NoneType}) > 1


def _message(error: Mapping[str, Any], record: type[BaseModel], chosen_by: OneOf | None = None) -> str:
    """Message for an error found by pydantic: the full path, the value, what is allowed."""
    steps = list(_walk(record, error["loc"]))
    if error["type"] == "extra_forbidden":
        return _unknown_key(steps, chosen_by)
    if error["type"] == "invalid_key":
        return _wrong_key(steps, error["input"])
    steps = [(key, owner) for key, owner in steps if key in owner.model_fields]
    name = ".".join(key for key, _ in steps)
    value: Any = error["input"]
    expected: str | None = f"a mapping with {', '.join(record.model_fields)}"
    if steps:
        key, owner = steps[-1]
        field = owner.model_fields[key]
        expected = field.description
        if error["type"] == "union_tag_invalid" and (choice := OneOf.of(field)):
            name, value, expected = f"{name}.{choice.key}", value[choice.key], choice.allowed
    if error["loc"][-1:] == ("[key]",):
        return f"{name}: key {_shown_key(value)} is not allowed; expected {expected}"
    if error["type"] == "missing" and isinstance(error["loc"][-1], str):
        return f"{name}: missing; expected {expected}"
    if error["type"] == "value_error" and isinstance(value, dict):
        return f"{name}: {error['ctx']['error']}" if name else str(error["ctx"]["error"])
    return f"{name}: {shown(value)} is not allowed; expected {expected}" if name else f"expected {expected}"


def _shown_key(key: object) -> str:
    """Text of a key for a message, as it is written in YAML."""
    return json.dumps(key) if key is None or isinstance(key, bool) else shown(key)


def _wrong_key(steps: Sequence[tuple[str, type[BaseModel]]], key: object) -> str:
    """Message for a key that is not text: 5, or a word that YAML reads as another value."""
    *section, (_, owner) = steps
    path = ".".join(name for name, _ in section)
    start = f"{path}: " if path else ""
    return f"{start}key {_shown_key(key)}: keys are words; allowed here: {', '.join(owner.model_fields)}"


def _unknown_key(steps: Sequence[tuple[str, type[BaseModel]]], chosen_by: OneOf | None) -> str:
    """Message for a key that its record does not have: its new name, who has it, or the nearest one; all allowed.

    `chosen_by` is what chose the outermost record.
    """
    *start, key = (key for key, _ in steps)
    path, owner = ".".join([*start, key]), steps[-1][1]
    if new := getattr(owner, "renamed", {}).get(key):
        return f"{path}: this key is now {'.'.join([*start, new])}; rename it"
    if len(steps) > 1:
        section, outer = steps[-2]
        chosen_by = OneOf.of(outer.model_fields[section])
    if chosen_by and (holders := chosen_by.holders(key)):
        choice = ".".join([*start, chosen_by.key])
        own = next(name for name, record in chosen_by.records.items() if record is owner)
        allowed = ", ".join(name for name in owner.model_fields if name != chosen_by.key)
        return f"{path}: a key of {', '.join(holders)}; {choice}: {own} has {allowed}"
    nearest = difflib.get_close_matches(key, owner.model_fields, n=1)
    hint = f"did you mean {'.'.join([*start, nearest[0]])}? " if nearest else ""
    return f"{path}: unknown key; {hint}allowed here: {', '.join(owner.model_fields)}"


def _most_precise(errors: Iterable[Any], record: type[BaseModel]) -> list[Any]:
    """Errors with one for each key: of those that pydantic finds for the forms a value may have, the innermost."""
    found: dict[tuple[str, ...], Any] = {}
    for error in errors:
        path = tuple(key for key, _ in _walk(record, error["loc"]))
        if path not in found or _precision(error) > _precision(found[path]):
            found[path] = error
    outer = {path[:length] for path in found for length in range(len(path))}
    return [error for path, error in found.items() if path not in outer]


def _precision(error: Mapping[str, Any]) -> tuple[int, bool]:
    """How much an error says of a value: its depth, and whether it has words of our own."""
    return len(error["loc"]), error["type"] == "value_error"


AnyRecord = TypeVar("AnyRecord", bound=BaseModel)


def parse_record(record: type[AnyRecord], settings: object, origin: str, chosen_by: OneOf | None = None) -> AnyRecord:
    """Convert settings parsed from YAML to a record; messages name their `origin`, a file or function.

    `chosen_by` is what chose the record, if any.

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
        messages = list(
            dict.fromkeys(_message(found, record, chosen_by) for found in _most_precise(unknown_first, record))
        )
        more = f" (and {len(messages) - 1} more: {'; '.join(text.split(': ')[0] for text in messages[1:4])})"
        msg = f"{origin}: {messages[0]}{more if len(messages) > 1 else ''}"
        raise ConfigError(msg) from error
