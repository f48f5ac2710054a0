"""Translate messages for callers of the Python functions: config keys become names of arguments."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import wraps
from inspect import signature
from threading import Lock
from typing import Final, ParamSpec, TypeVar

from pipeline.config.record import Record
from pipeline.config.schema import FeaturesConfig, FitConfig, OutputSection, ResourceConfig, SceneConfig
from pipeline.core.errors import ConfigError, TerrazzoError
from pipeline.core.text import kind_words

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_SECTIONS: Final[dict[str, tuple[str, type[Record]]]] = {
    "scene": ("open_scene", SceneConfig),
    "fit": ("fit", FitConfig),
    "features": ("fit", FeaturesConfig),
    "output": ("write", OutputSection),
    "run": ("fit", ResourceConfig),
}
"""Function and record of each config section; the keys of the record are arguments of the function."""


_OF_OTHERS: Final = re.compile(r"^(fit: \w+: )a key of (.* has )(?:mask, )?")
"""What is said of a setting that another method has. `fit.mask` is no argument, as it is the coordinate `valid`."""


def _keys(record: type[Record]) -> set[str]:
    """Keys of a record and of all that are derived from it: those of methods, for section `fit`."""
    return set(record.model_fields).union(*map(_keys, record.__subclasses__()))


def _key_pattern() -> str:
    """Pattern of a dotted config key, with the word 'set' before it and the colon after it, if present."""
    keys = "|".join(f"{section}\\.{key}" for section, (_, record) in _SECTIONS.items() for key in _keys(record))
    return rf"(?P<set>\bset )?(?<![\w./])(?P<path>{keys})\b(?P<value>: (?=\S))?"


def config_keys_to_arguments(text: str, sections: tuple[str, ...]) -> str:
    """Replace config keys in a message, such as `scene.nodata`, by the arguments of the Python functions.

    The keys of `sections` are arguments of the called function. Those of other sections are prefixed with the name of
    their function: "open_scene's nodata".
    """

    def to_argument(found: re.Match[str]) -> str:
        section, _, key = found["path"].partition(".")
        if found["path"] == "fit.mask":
            return f"{found['set'] or ''}the coordinate `valid`{found['value'] or ''}"
        if found["path"] == "run.timeout":
            section = "scene"
        prefix = "" if section in sections else f"{_SECTIONS[section][0]}'s "
        value = "=" if found["set"] and found["value"] else found["value"] or ""
        return f"{found['set'] or ''}{prefix}{key}{value}"

    return _OF_OTHERS.sub(r"\1an argument of \2", re.sub(_key_pattern(), to_argument, text))


class _Translator(logging.Filter):
    """Log filter that replaces config keys by arguments."""

    def __init__(self, sections: tuple[str, ...]) -> None:
        super().__init__()
        self._sections = sections

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the message; every record passes."""
        record.msg, record.args = config_keys_to_arguments(record.getMessage(), self._sections), ()
        return True


_filters_lock = Lock()
"""Held while filters are added to loggers."""


@contextmanager
def _translated(sections: tuple[str, ...]) -> Iterator[None]:
    """Translate log records of the package within the context, and an error that leaves it."""
    translator = _Translator(sections)
    with _filters_lock:
        known = [name for name in logging.root.manager.loggerDict if name.startswith("pipeline.")]
        loggers = [logging.getLogger(name) for name in known]
        for logger in loggers:
            logger.addFilter(translator)
    try:
        yield
    except TerrazzoError as error:
        error.args = (config_keys_to_arguments(str(error), sections),)
        raise
    finally:
        for logger in loggers:
            logger.removeFilter(translator)


def _check_names(function: str, parameters: Iterable[str], given: Iterable[str]) -> None:
    """Raise TypeError if an argument is unknown, with the nearest name that is known."""
    for name in given:
        if name not in parameters:
            nearest = get_close_matches(name, parameters, n=1)
            hint = f"did you mean {nearest[0]}? " if nearest else ""
            msg = f"{function}() got an unexpected keyword argument {name!r}; {hint}it takes: {', '.join(parameters)}"
            raise TypeError(msg)


def check_argument(value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Raise ConfigError if a value is of none of some types; `expected` names the function and what it takes."""
    if not isinstance(value, kinds):
        msg = f"{expected}; not {kind_words(value)}"
        raise ConfigError(msg)


def name_arguments_in_messages(*sections: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Decorate a function so that its errors and log records name its arguments instead of keys of `sections`."""

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        parameters = signature(function).parameters

        @wraps(function)
        def translated(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            _check_names(function.__name__, parameters, kwargs)
            with _translated(sections):
                return function(*args, **kwargs)

        return translated

    return decorate
