"""Messages in the words of the Python functions: arguments, where the config has keys."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from threading import Lock
from typing import Final, ParamSpec, TypeVar

from pipeline.config.record import Record
from pipeline.config.schema import FeaturesConfig, FitConfig, OutputConfig, ResourceConfig, SceneConfig
from pipeline.core.errors import TerrazzoError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_SECTIONS: Final[dict[str, tuple[str, type[Record]]]] = {
    "scene": ("open_scene", SceneConfig),
    "fit": ("fit", FitConfig),
    "features": ("fit", FeaturesConfig),
    "output": ("write", OutputConfig),
    "run": ("fit", ResourceConfig),
}
"""Sections of the config, and the functions whose arguments they are."""

_KEYS: Final = "|".join(
    f"{section}\\.{key}" for section, (_, record) in _SECTIONS.items() for key in record.model_fields
)

_KEY: Final = re.compile(rf"(?P<set>\bset )?(?<![\w./])(?P<path>{_KEYS})\b(?P<value>: (?=\S))?")
"""A key of the config: followed by a value where it stands after 'set'."""


def in_arguments(text: str, sections: tuple[str, ...]) -> str:
    """Say arguments where a message says keys of the config.

    Parameters
    ----------
    text : str
        The message.
    sections : tuple of str
        Those whose keys are arguments of the function that was called; others are called after their function.
    """

    def argument(found: re.Match[str]) -> str:
        section, _, key = found["path"].partition(".")
        if found["path"] == "fit.mask":
            return f"{found['set'] or ''}the coordinate `valid`{found['value'] or ''}"
        if found["path"] == "run.timeout":
            section = "scene"
        owner = "" if section in sections else f"{_SECTIONS[section][0]}'s "
        value = "=" if found["set"] and found["value"] else found["value"] or ""
        return f"{found['set'] or ''}{owner}{key}{value}"

    return _KEY.sub(argument, text)


class _Translator(logging.Filter):
    """Says arguments where log records say keys of the config."""

    def __init__(self, sections: tuple[str, ...]) -> None:
        super().__init__()
        self._sections = sections

    def filter(self, record: logging.LogRecord) -> bool:
        """Change a record's message; let it pass."""
        record.msg, record.args = in_arguments(record.getMessage(), self._sections), ()
        return True


_guard = Lock()


@contextmanager
def _translated(sections: tuple[str, ...]) -> Iterator[None]:
    """Translate what the package says until the end of the context, and the error that ends it."""
    translator = _Translator(sections)
    with _guard:
        known = [name for name in logging.root.manager.loggerDict if name.startswith("pipeline.")]
        loggers = [logging.getLogger(name) for name in known]
        for logger in loggers:
            logger.addFilter(translator)
    try:
        yield
    except TerrazzoError as error:
        error.args = (in_arguments(str(error), sections),)
        raise
    finally:
        for logger in loggers:
            logger.removeFilter(translator)


def speaks_of_arguments(*sections: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Let a function's errors and log records speak of its arguments, which are sections of the config."""

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @wraps(function)
        def speaking(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            with _translated(sections):
                return function(*args, **kwargs)

        return speaking

    return decorate
