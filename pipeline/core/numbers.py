"""Numbers that files and items state, which may be anything."""

import math
from typing import Any, Final

import numpy as np

from pipeline.core.errors import SceneError

LARGEST: Final = 1e100
"""Numbers beyond it, or nearer to 0 than one over it, place and scale nothing: their squares are no floats any more."""


def check_scaling(scale: float, offset: float, where: str) -> None:
    """Raise SceneError unless scale and offset make numbers of numbers."""
    for name, number in (("scale", scale), ("offset", offset)):
        if not abs(number) < LARGEST or 0 < abs(number) < 1 / LARGEST:  # NaN is not
            msg = f"{where}: its {name} is {number:g}, which makes no numbers of what is stored; mend it"
            raise SceneError(msg)


def as_number(value: Any, where: str) -> float:
    """Read a number, also one that an array of one holds.

    Raises
    ------
    SceneError
        When it is none, or not finite.
    """
    try:
        (number,) = np.asarray(value, np.float64).reshape(-1).tolist()
    except (TypeError, ValueError, OverflowError) as error:
        msg = f"{where}: {str(value)[:40]!r} stands where a number should"
        raise SceneError(msg) from error
    if not math.isfinite(number):
        msg = f"{where}: {number} stands where a finite number should"
        raise SceneError(msg)
    return float(number)


def number_in_text(text: str, name: str, origin: str) -> float:
    """Read the number that a field of a metadata file holds as text.

    Raises
    ------
    SceneError
        Naming file and field, when it is none, or not finite.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        msg = f"{origin}: {name} is {text[:40]!r}; expected a number"
        raise SceneError(msg)
    return value
