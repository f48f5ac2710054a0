"""Colours of classes from a colour map of matplotlib or cmocean, by its name."""

import difflib
import logging
import re
from typing import Any, Final

from pipeline.config.fields import Colour
from pipeline.core import libraries
from pipeline.core.errors import ConfigError

logger = logging.getLogger(__name__)

CMOCEAN: Final = (
    "algae", "amp", "balance", "curl", "deep", "delta", "dense", "diff", "gray", "haline", "ice", "matter", "oxy",
    "phase", "rain", "solar", "speed", "tarn", "tempo", "thermal", "topo", "turbid",
)  # fmt: skip
"""Colour maps of cmocean, also with _i or _r, and with cmo. before the name; matplotlib's own names come first."""

_PREFIX: Final = "cmo."

_CYCLIC: Final = ("hsv", "twilight", "twilight_shifted", "cmo.phase")
"""Colour maps, also reversed, with the same colour at both ends."""

_CONTINUOUS: Final = 256
"""Number of colours from which on a listed colour map is sampled like a continuous one."""


def colours_of_map(name: str, k: int) -> tuple[Colour, ...]:
    """Return k colours of a colour map: of a continuous one evenly from end to end, of a listed one the first.

    Raises
    ------
    ConfigError
        If there is no such colour map, it has too few colours, or cmocean is not installed.
    """
    name, colours = _find(name)
    listed = isinstance(colours, libraries.matplotlib.colors.ListedColormap) and colours.N < _CONTINUOUS
    if listed and k > colours.N:
        msg = f"output.palette: {name} has {colours.N} colours for {k} classes; use 'auto' or a colour map with more"
        raise ConfigError(msg)
    ends = k if is_cyclic(name) else max(k - 1, 1)
    shades = colours(range(k)) if listed else colours([i / ends for i in range(k)])
    chosen: list[Colour] = [(round(r * 255), round(g * 255), round(b * 255)) for r, g, b, _ in shades]
    if len(set(chosen)) < k:
        msg = f"output.palette: {name} gives {len(set(chosen))} different colours for {k} classes; use 'auto'"
        raise ConfigError(msg)
    return tuple(chosen)


def warn_of_cyclic_map(name: str, k: int) -> None:
    """Warn if the colours of the first and the last class of a colour map are next to each other in it."""
    name, _ = _find(name)
    if is_cyclic(name):
        logger.warning(
            "output.palette: %s is cyclic: the colours of classes 1 and %d look alike; use 'auto', or viridis", name, k
        )


def is_cyclic(name: str) -> bool:
    """Whether a colour map has the same colour at both ends."""
    return _without_variants(name) in _CYCLIC


def _without_variants(name: str) -> str:
    """Name of a colour map without _r (reversed) and _i (of cmocean: with inverted lightness)."""
    return re.sub(r"(_[ri])+$", "", name)


def _find(name: str) -> tuple[str, Any]:
    """Return the full name and the colours of a colour map."""
    known = libraries.matplotlib.colormaps
    if name in known:
        return name, known[name]
    plain = name.removeprefix(_PREFIX)
    if _without_variants(plain) in CMOCEAN:
        return f"{_PREFIX}{plain}", _of_cmocean(plain)
    names = ["auto", "natural", *known, *CMOCEAN, *(f"{_PREFIX}{each}" for each in CMOCEAN)]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else "use 'auto', 'natural', tab10, tab20, Set3, viridis, ..."
    msg = f"output.palette: {name!r} is not a matplotlib colour map, nor one of cmocean; {hint}"
    raise ConfigError(msg)


def _of_cmocean(name: str) -> Any:
    try:
        maps: dict[str, Any] = libraries.cmocean.cm.cmap_d
    except ModuleNotFoundError as error:
        fix = "install it with: pip install 'terrazzo[cmocean]'"
        msg = f"output.palette: {name} is a colour map of cmocean, which is not installed; {fix}"
        raise ConfigError(msg) from error
    return maps[name if name in maps else _without_variants(name)]
