"""Band names: derived from file names, and selected by name, number or common name."""

import difflib
import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import PurePath
from typing import Final

from pipeline.core.errors import ConfigError, SceneError

SENTINEL2_COMMON_NAMES: Final = {
    "B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge071", "B06": "rededge075",
    "B07": "rededge078", "B08": "nir", "B8A": "nir08", "B09": "nir09", "B10": "cirrus", "B11": "swir16",
    "B12": "swir22",
}  # fmt: skip
"""Common name by band name for Sentinel-2 (STAC electro-optical extension, version 2)."""

COMMON_NAMES: Final = frozenset({
    *SENTINEL2_COMMON_NAMES.values(), "green05", "yellow", "rededge", "pan", "lwir", "lwir11", "lwir12",
})  # fmt: skip
"""Known common names of bands (STAC electro-optical extension, version 2)."""

_FALLBACKS: Final = {"nir": ("nir08",), "rededge": ("rededge071",), "lwir": ("lwir11",), "swir": ("swir16",)}
"""More specific common names to try when no band has the requested one."""

_SENTINEL2_STYLE: Final = re.compile(r"(?i)B0\d|B8A")
"""Band names that occur for Sentinel-2 only: with a leading zero, or B8A."""

_BAND_TOKEN: Final = re.compile(r"B\d{1,2}A?", re.IGNORECASE)
_MAX_LISTED: Final = 20
"""Largest number of names listed in a message."""
_SPLIT: Final = re.compile(r"[_\-. ]+")


def listed_names(names: Sequence[str]) -> str:
    """Join names for a message; of a long list only the first ones and the total number."""
    return ", ".join(names[:_MAX_LISTED]) + (f", ... ({len(names)} in all)" if len(names) > _MAX_LISTED else "")


def band_from_file_name(path: str) -> str | None:
    """Band name found in a file name: its last token such as B02 (`..._B02_10m.jp2` returns B02), or None."""
    tokens = _SPLIT.split(PurePath(path).stem)
    return next((token.upper() for token in reversed(tokens) if _BAND_TOKEN.fullmatch(token)), None)


def names_of_band_files(paths: Sequence[str]) -> list[str]:
    """Derive band names from the names of single-band files.

    The band token of the file name, if the tokens of all files differ (`T33UUU_B02.jp2` is B02); else the file name
    without the words at the start and end that all files share (`farm_red2.tif`, `farm_nir.tif` are red2, nir); else
    the whole stem. A single file without a token is named band1, so that its model can be applied to other files.
    """
    tokens = [band_from_file_name(path) for path in paths]
    found = [token for token in tokens if token]
    if len(paths) == 1:
        return found or ["band1"]
    names = differing_parts([PurePath(path).stem for path in paths])
    if len(set(found)) == len(found):
        names = [token or name for token, name in zip(tokens, names, strict=True)]
    unique = all(names) and len(set(names)) == len(paths)
    return names if unique else [PurePath(path).stem for path in paths]


def split_stem(stem: str) -> list[str]:
    """Split a file stem into words at underscores, hyphens, dots and spaces."""
    return _SPLIT.split(stem)


def differing_parts(stems: Sequence[str]) -> list[str]:
    """Remove the words that all stems start with and end with, and join the rest with underscores."""
    parts = [split_stem(stem) for stem in stems]
    start = _shared(parts)
    end = _shared([part[start:][::-1] for part in parts])
    return ["_".join(part[start : len(part) - end]) for part in parts]


def _shared(lists: Sequence[Sequence[str]]) -> int:
    """Number of leading items that all lists share."""
    return sum(1 for _ in takewhile(lambda items: len(set(items)) == 1, zip(*lists, strict=False)))


def band_order(name: str) -> tuple[object, ...]:
    """Sort key that puts B2 before B10 and B8A right after B08: numbers by value, letters after punctuation."""
    parts = re.split(r"([0-9]+)", name.lower())
    return tuple((0, int(part), "") if i % 2 else (1, 0, part) for i, part in enumerate(parts) if part)


def common_names(names: Sequence[str]) -> list[str | None]:
    """Common name per band of a scene whose sensor is unknown: red for Red; None if the name does not say.

    Band numbers are read as Sentinel-2's if at least one name has its form, `B02` or `B8A`: red for B04. Otherwise a
    number says nothing: `B4` is red on one sensor and near infrared on another.
    """
    known = SENTINEL2_COMMON_NAMES if any(_SENTINEL2_STYLE.fullmatch(name) for name in names) else {}
    return [name.lower() if name.lower() in COMMON_NAMES else known.get(name.upper()) for name in names]


def _normalised(name: str) -> str:
    """Normalise a name for comparison: lower case, band number without leading zeros (B08, b8 and B8 are equal)."""
    return re.sub(r"^b0+(?=\d)", "b", name.lower())


def bands_called(wanted: str, names: Sequence[str], common: Sequence[str | None] | None = None) -> list[int]:
    """Indices of the bands requested by name or by common name, tried in this order; several if it is ambiguous.

    Common names per band are derived from the names by default.
    """
    if wanted in names:
        return [names.index(wanted)]
    common = common or common_names(names)
    normalised = _normalised(wanted)
    for candidate in (wanted.lower(), *_FALLBACKS.get(wanted.lower(), ())):
        matching = [i for i, name in enumerate(names) if normalised == _normalised(name) or candidate == common[i]]
        if matching:
            return matching
    return []


def find_band(
    wanted: str,
    names: Sequence[str],
    common: Sequence[str | None] | None = None,
    numbers: Sequence[str] | None = None,
    key: str = "scene.bands",
) -> int:
    """Index of a band requested by name, by number, or by common name, tried in this order.

    Parameters
    ----------
    wanted : str
        Requested name, number or common name.
    names : sequence of str
        Names of all bands.
    common : sequence of str or None, optional
        Common name per band; derived from the names by default.
    numbers : sequence of str, optional
        Number per band; 1, 2, ... by default.
    key : str
        Config key named in messages.

    Raises
    ------
    ConfigError
        If there is no such band, or several bands have the common name; the message lists the names.
    """
    if wanted in names:
        return names.index(wanted)
    from_one = [str(number) for number in range(1, len(names) + 1)]
    numbers = list(numbers or from_one)
    if wanted.upper().lstrip("0") in numbers:
        return numbers.index(wanted.upper().lstrip("0"))
    matching = bands_called(wanted, names, common)
    if len(matching) == 1:
        return matching[0]
    available = listed_names(names)
    if matching:
        msg = f"{key}: {wanted!r} matches {', '.join(names[i] for i in matching)}; name one of them"
        raise ConfigError(msg)
    by_number = f"1 to {numbers[-1]}" if numbers == from_one else listed_names(numbers)
    nearest = difflib.get_close_matches(wanted, names, n=1)
    hint = f"did you mean {nearest[0]}? It has " if nearest else "the scene has "
    msg = f"{key}: there is no band {wanted!r}; {hint}{available}; by number, {by_number}"
    raise ConfigError(msg)


def choose_bands(
    wanted: Sequence[str],
    names: Sequence[str],
    common: Sequence[str | None] | None = None,
    numbers: Sequence[str] | None = None,
) -> list[int]:
    """Indices of the requested bands, in the requested order; parameters as in `find_band`.

    Raises
    ------
    ConfigError
        If a band is unknown, or requested twice.
    """
    if not wanted:
        msg = f"scene.bands: no band is selected; the scene has {listed_names(names)}"
        raise ConfigError(msg)
    # exact names and numbers are looked up first: searching for each of thousands of bands would be slow
    by_name = {name: index for index, name in reversed(list(enumerate(names)))}
    by_number = {number: index for index, number in reversed(list(enumerate(numbers or ())))}
    chosen = []
    for band in map(str, wanted):
        index = by_name.get(band, by_number.get(band.upper().lstrip("0")))
        chosen.append(find_band(band, names, common, numbers) if index is None else index)
    seen = set[int]()
    for i, position in enumerate(chosen):
        if position in seen:
            msg = f"scene.bands: {wanted[i]!r} selects band {names[position]} a second time"
            raise ConfigError(msg)
        seen.add(position)
    return chosen


def check_names_differ(names: Sequence[str], paths: Sequence[str]) -> None:
    """Raise SceneError if two bands have the same name; the message names their files."""
    first_index: dict[str, int] = {}
    for i, name in enumerate(names):
        if first_index.setdefault(name, i) != i:
            first = paths[first_index[name]]
            where = f"in {first}" if first == paths[i] else f"in {first} and in {paths[i]}"
            msg = f"scene.source: two bands are called {name}, {where}; select files whose band names differ"
            raise SceneError(msg)


def find_rgb(names: Sequence[str], common: Sequence[str | None] = ()) -> tuple[int, int, int] | None:
    """Indices of the red, green and blue bands, found by common name; None unless each occurs exactly once.

    Common names, None if unknown, are derived from the names if all are unknown.
    """
    common = common if any(common) else common_names(names)
    if all(common.count(colour) == 1 for colour in ("red", "green", "blue")):
        return common.index("red"), common.index("green"), common.index("blue")
    return None
