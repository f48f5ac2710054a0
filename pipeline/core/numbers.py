"""Parse and check numbers stated in files and metadata."""

import math
from typing import Any, Final

import numpy as np

from pipeline.core.errors import SceneError

LARGEST_NUMBER: Final = 1e100
"""Largest absolute scale or offset that is accepted, and the inverse of the smallest: squares must not overflow."""


def check_scaling(scale: float, offset: float, where: str) -> None:
    """Raise SceneError unless scale and offset are finite and neither too large nor too small."""
    for name, number in (("scale", scale), ("offset", offset)):
        if not abs(number) < LARGEST_NUMBER or 0 < abs(number) < 1 / LARGEST_NUMBER:  # also catches NaN
            msg = f"{where}: the {name} is {number:g}, which can't be applied to pixel values; fix it in the file"
            raise SceneError(msg)


def as_number(value: Any, where: str) -> float:
    """Convert a value, or an array with one value, to a finite float.

    Raises
    ------
    SceneError
        If the value is not a number, or not finite.
    """
    try:
        (number,) = np.asarray(value, np.float64).reshape(-1).tolist()
    except (TypeError, ValueError, OverflowError) as error:
        msg = f"{where}: {str(value)[:40]!r} is not a number"
        raise SceneError(msg) from error
    if not math.isfinite(number):
        msg = f"{where}: {number} is not a finite number"
        raise SceneError(msg)
    return float(number)


def number_in_text(text: str, name: str, origin: str) -> float:
    """Parse the text of a metadata field as a finite float.

    Raises
    ------
    SceneError
        If the text is not a finite number; the message names file and field.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        msg = f"{origin}: {name} is {text[:40]!r}; expected a number"
        raise SceneError(msg)
    return value
