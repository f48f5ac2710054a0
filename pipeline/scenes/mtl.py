"""Landsat's MTL files: what makes reflectance and temperature out of the stored numbers of Level-2 bands.

Source: Landsat 8-9 Collection 2 Level 2 Science Product Guide (USGS), LSDS-1619, and the MTL files themselves.
"""

import math
import re
from typing import Any, Final

from pipeline.errors import SceneError
from pipeline.jsontext import parse_json
from pipeline.scenes.fetch import fetch
from pipeline.units import Quantity

_LARGEST: Final = 2**20
_GROUPS: Final[tuple[tuple[str, str, Quantity], ...]] = (
    ("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", "REFLECTANCE", "reflectance"),
    ("LEVEL2_SURFACE_TEMPERATURE_PARAMETERS", "TEMPERATURE", "temperature"),
)
_MULTIPLIER: Final = re.compile(r"(REFLECTANCE|TEMPERATURE)_MULT_BAND_((?:ST_B)?\d+)")

Rescaling = tuple[float, float, Quantity]
"""Factor, what is added after it, and the quantity that it makes."""


def read_mtl(path: str) -> dict[str, Rescaling]:
    """Read how stored numbers of each Level-2 band are rescaled, by the end of its file's name: SR_B4, ST_B10.

    Parameters
    ----------
    path : str
        An MTL.json or MTL.txt: a file or an http(s) address.

    Raises
    ------
    SceneError
        When it can't be read, or states something that is no number.
    """
    text = fetch(path, _LARGEST).decode("utf-8", errors="replace")
    try:
        content = parse_json(text) if text.lstrip().startswith("{") else parse_groups(text)
    except (ValueError, RecursionError) as error:
        msg = f"{path}: this MTL can't be read ({f'{error}'.splitlines()[0]})"
        raise SceneError(msg) from error
    found: dict[str, Rescaling] = {}
    for group, prefix, quantity in _GROUPS:
        stated = _group(content, group)
        for key, value in stated.items():
            match = _MULTIPLIER.fullmatch(key)
            if match and match[1] == prefix:
                added = stated.get(key.replace("_MULT_", "_ADD_"))
                band = match[2] if match[2].startswith("ST_") else f"S{prefix[0]}_B{match[2]}"
                found[band] = (
                    _number(value, key, path),
                    _number(added, key.replace("_MULT_", "_ADD_"), path),
                    quantity,
                )
    return found


def parse_groups(text: str) -> dict[str, Any]:
    """Read the groups of an MTL.txt, each a mapping of keys to texts.

    Raises
    ------
    ValueError
        When a key is given twice in one group with two values.
    """
    root: dict[str, Any] = {}
    open_groups = [root]
    for line in text.splitlines():
        key, equals, value = (part.strip() for part in line.partition("="))
        if not equals:
            continue
        if key == "GROUP":
            open_groups.append(open_groups[-1].setdefault(value, {}))
        elif key == "END_GROUP" and len(open_groups) > 1:
            open_groups.pop()
        elif key != "END_GROUP" and open_groups[-1].setdefault(key, value.strip('"')) != value.strip('"'):
            msg = f"{key} is given twice, as {open_groups[-1][key]} and as {value}"
            raise ValueError(msg)
    return root


def _group(content: Any, name: str) -> dict[str, Any]:
    """The group of a name, at the top or one level below it; empty where there is none."""
    if not isinstance(content, dict):
        return {}
    inside = [content, *(value for value in content.values() if isinstance(value, dict))]
    return next((one[name] for one in inside if isinstance(one.get(name), dict)), {})


def _number(value: Any, key: str, path: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        msg = f"{path}: {key} is {str(value)[:40]!r}; expected a number"
        raise SceneError(msg)
    return number
