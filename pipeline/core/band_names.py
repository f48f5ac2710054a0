"""Names of bands: told from descriptions and file names, chosen by name, number or common name."""

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
"""Common names of Sentinel-2 bands (STAC electro-optical extension, version 2)."""

COMMON_NAMES: Final = frozenset({
    *SENTINEL2_COMMON_NAMES.values(), "green05", "yellow", "rededge", "pan", "lwir", "lwir11", "lwir12",
})  # fmt: skip
"""Common names of bands (STAC electro-optical extension, version 2)."""

_STANDS_IN: Final = {"nir": ("nir08",), "rededge": ("rededge071",), "lwir": ("lwir11",), "swir": ("swir16",)}
"""What else is meant by a common name that no band has."""

_SENTINEL2_STYLE: Final = re.compile(r"(?i)B0\d|B8A")
"""Names of bands that begin with a zero, or B8A."""

_BAND_TOKEN: Final = re.compile(r"B\d{1,2}A?", re.IGNORECASE)
_NAMES_SHOWN: Final = 20
_SPLIT: Final = re.compile(r"[_\-. ]+")


def listed_names(names: Sequence[str]) -> str:
    """Names in words, the first of very many."""
    return ", ".join(names[:_NAMES_SHOWN]) + (f", ... ({len(names)} in all)" if len(names) > _NAMES_SHOWN else "")


def band_from_file_name(path: str) -> str | None:
    """The last part of a file's name that looks like a band (`..._B02_10m.jp2` gives B02), or None."""
    tokens = _SPLIT.split(PurePath(path).stem)
    return next((token.upper() for token in reversed(tokens) if _BAND_TOKEN.fullmatch(token)), None)


def names_of_band_files(paths: Sequence[str]) -> list[str]:
    """Name the bands of one-band files after the files.

    A name's band token where no two files have the same one (`T33UUU_B02.jp2` is B02); else what is left when
    the start and the end that all names share are taken off (`farm_red2.tif`, `farm_nir.tif` are red2, nir);
    else the whole stem. A lone file without a token is called band1, so that a model fits another such file.
    """
    tokens = [band_from_file_name(path) for path in paths]
    told = [token for token in tokens if token]
    if len(paths) == 1:
        return told or ["band1"]
    names = differing_parts([PurePath(path).stem for path in paths])
    if len(set(told)) == len(told):
        names = [token or name for token, name in zip(tokens, names, strict=True)]
    differ = all(names) and len(set(names)) == len(paths)
    return names if differ else [PurePath(path).stem for path in paths]


def words_of_file(stem: str) -> list[str]:
    """Words of a file's name without suffix, at whatever separates them."""
    return _SPLIT.split(stem)


def differing_parts(stems: Sequence[str]) -> list[str]:
    """What is left of names without the words that all begin and end with."""
    parts = [words_of_file(stem) for stem in stems]
    start = _shared(parts)
    end = _shared([part[start:][::-1] for part in parts])
    return ["_".join(part[start : len(part) - end]) for part in parts]


def _shared(lists: Sequence[Sequence[str]]) -> int:
    """How many first items all lists share."""
    return sum(1 for _ in takewhile(lambda items: len(set(items)) == 1, zip(*lists, strict=False)))


def band_order(name: str) -> tuple[object, ...]:
    """Sort key that puts B2 before B10 and B8A right after B08: numbers by value, letters after punctuation."""
    parts = re.split(r"([0-9]+)", name.lower())
    return tuple((0, int(part), "") if i % 2 else (1, 0, part) for i, part in enumerate(parts) if part)


def common_names(names: Sequence[str]) -> list[str | None]:
    """Common name of each band of a scene of an unknown sensor: red for Red; None where nothing tells it.

    Numbers are taken for those of Sentinel-2 where a name is in its style, `B02` or `B8A`: red for B04. A bare `B4` is
    red on one sensor and near infrared on another.
    """
    known = SENTINEL2_COMMON_NAMES if any(_SENTINEL2_STYLE.fullmatch(name) for name in names) else {}
    return [name.lower() if name.lower() in COMMON_NAMES else known.get(name.upper()) for name in names]


def _plain(name: str) -> str:
    """A name without its case, and a band's number without leading zeros: B08, b8 and B8 are one."""
    return re.sub(r"^b0+(?=\d)", "b", name.lower())


def find_band(
    wanted: str,
    names: Sequence[str],
    common: Sequence[str | None] | None = None,
    numbers: Sequence[str] | None = None,
    key: str = "scene.bands",
) -> int:
    """Position of a band asked for by name, by number, or by common name, in this order.

    Parameters
    ----------
    wanted : str
        What was asked for.
    names : sequence of str
        Of all bands.
    common : sequence of str or None, optional
        Their common names; told from the names unless given.
    numbers : sequence of str, optional
        The numbers that stand for them: 1, 2, ... unless given.
    key : str
        Of the config, for messages.

    Raises
    ------
    ConfigError
        With the names there are, when there is no such band or the common name fits several.
    """
    if wanted in names:
        return names.index(wanted)
    numbers = numbers or [str(number) for number in range(1, len(names) + 1)]
    if wanted.upper().lstrip("0") in numbers:
        return numbers.index(wanted.upper().lstrip("0"))
    common = common or common_names(names)
    plain = _plain(wanted)
    for meant in (wanted.lower(), *_STANDS_IN.get(wanted.lower(), ())):
        fitting = [i for i, name in enumerate(names) if plain == _plain(name) or meant == common[i]]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            break
    shown = listed_names(names)
    if fitting:
        msg = f"{key}: {wanted!r} fits {', '.join(names[i] for i in fitting)}; name one of them"
        raise ConfigError(msg)
    near = difflib.get_close_matches(wanted, names, n=1)
    hint = f"did you mean {near[0]}? It has " if near else "the scene has "
    msg = f"{key}: there is no band {wanted!r}; {hint}{shown}; by number, {numbers[0]} to {numbers[-1]}"
    raise ConfigError(msg)


def choose_bands(
    wanted: Sequence[str],
    names: Sequence[str],
    common: Sequence[str | None] | None = None,
    numbers: Sequence[str] | None = None,
) -> list[int]:
    """Positions of the bands asked for, in the order asked for; parameters as in `find_band`.

    Raises
    ------
    ConfigError
        When a band is unknown or asked for twice.
    """
    if not wanted:
        msg = f"scene.bands: no band is chosen; the scene has {listed_names(names)}"
        raise ConfigError(msg)
    places = {name: place for place, name in reversed(list(enumerate(names)))}  # of thousands of bands
    numbered = {number: place for place, number in reversed(list(enumerate(numbers or ())))}
    chosen = []
    for band in map(str, wanted):
        place = places.get(band, numbered.get(band.upper().lstrip("0")))
        chosen.append(find_band(band, names, common, numbers) if place is None else place)
    seen = set[int]()
    for i, position in enumerate(chosen):
        if position in seen:
            msg = f"scene.bands: {wanted[i]!r} asks for band {names[position]} a second time"
            raise ConfigError(msg)
        seen.add(position)
    return chosen


def check_names_differ(names: Sequence[str], paths: Sequence[str]) -> None:
    """Raise SceneError, naming both files, when two bands have one name."""
    places: dict[str, int] = {}
    for i, name in enumerate(names):
        if places.setdefault(name, i) != i:
            first = paths[places[name]]
            where = f"in {first}" if first == paths[i] else f"in {first} and in {paths[i]}"
            msg = f"scene.source: two bands are called {name}, {where}; give files whose band names differ"
            raise SceneError(msg)


def find_rgb(names: Sequence[str], common: Sequence[str | None] = ()) -> tuple[int, int, int] | None:
    """Positions of the red, green and blue band, told by common name; None when one is missing.

    Parameters
    ----------
    names : sequence of str
        Of all bands.
    common : sequence of str or None, optional
        Their common names, as far as known; told from the names where there is none.
    """
    common = common if any(common) else common_names(names)
    if all(common.count(colour) == 1 for colour in ("red", "green", "blue")):
        return common.index("red"), common.index("green"), common.index("blue")
    return None
