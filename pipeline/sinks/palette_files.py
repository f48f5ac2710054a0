"""Read colours of classes from a file: .clr of Esri, .qml of QGIS, .gpl of GIMP, a colour table of GDAL or QGIS."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from pipeline.config.fields import Colour, parse_hex
from pipeline.core.errors import ConfigError, SceneError
from pipeline.core.regular_files import read_regular
from pipeline.core.strict_xml import parse_xml
from pipeline.models.classes import UNCLASSIFIED

_MOST_BYTES: Final = 2**20
"""Largest size of a file of colours, bytes; 254 classes take less than a hundredth of it."""

_MOST_CLASSES: Final = 254

_GDAL_COLOURS: Final[Mapping[str, Colour]] = {
    "white": (255, 255, 255), "black": (0, 0, 0), "red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255),
    "yellow": (255, 255, 0), "magenta": (255, 0, 255), "cyan": (0, 255, 255), "aqua": (0, 255, 255),
    "grey": (192, 192, 192), "gray": (192, 192, 192), "orange": (255, 128, 0), "brown": (128, 64, 0),
    "purple": (128, 0, 128), "violet": (128, 0, 128), "indigo": (0, 0, 128),
}  # fmt: skip
"""Names of colours in colour tables of GDAL, as those of `gdaldem color-relief`."""

_DOCUMENT_TYPE: Final = re.compile(rb"<!DOCTYPE\s+qgis\b[^\[>]*>")
"""Document type of a style, which QGIS writes and nothing needs; one that declares entities is refused."""

_SHOWN: Final = 60
"""Largest number of characters that messages show of a line."""


def read_palette(path: str) -> tuple[Colour, ...]:
    """Read the colours of classes 1 to k from a file; entries for 0 (nodata) and 255 (unclassified) are passed over.

    A GIMP palette has no values: its colours are those of the classes in their order.

    Raises
    ------
    ConfigError
        If the file can't be read or is not in the format of its ending, or a class between has no colour.
    """
    try:
        content = read_regular(path, _MOST_BYTES)
    except OSError as error:
        msg = f"output.palette: {path}: the file can't be read ({error.strerror})"
        raise ConfigError(msg) from error
    colours: dict[int, Colour] = {}
    for where, value, colour in _READERS[Path(path).suffix.lower()](content, path):
        if colours.setdefault(value, colour) != colour:
            msg = f"output.palette: {path}{where}: class {value} has a second colour; each class has one"
            raise ConfigError(msg)
    for special in (0, UNCLASSIFIED):
        colours.pop(special, None)
    if not colours:
        msg = f"output.palette: {path}: there is no colour of a class, 1 to {_MOST_CLASSES}"
        raise ConfigError(msg)
    if missing := next((label for label in range(1, max(colours)) if label not in colours), None):
        msg = f"output.palette: {path}: classes up to {max(colours)} have colours, but class {missing} has none; add it"
        raise ConfigError(msg)
    return tuple(colours[label] for label in range(1, len(colours) + 1))


Entries = Iterator[tuple[str, int, Colour]]
"""Place in the file for messages, label and colour of each entry."""


def _text(content: bytes, path: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"output.palette: {path}: it is not UTF-8 text"
        raise ConfigError(msg) from error


def _fault(path: str, number: int, line: str, expected: str) -> ConfigError:
    shown = line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
    return ConfigError(f"output.palette: {path}, line {number}: {shown!r} is not allowed; expected {expected}")


def _read_table(content: bytes, path: str) -> Entries:
    """Read lines of value, red, green, blue (Esri), maybe alpha and a label (GDAL, QGIS), or of a colour by name."""
    for number, line in enumerate(_text(content, path).splitlines(), 1):
        words = re.split(r"[\s,:]+", line.strip())
        first = words[0].lower()
        # nv is nodata; QGIS says in its second line how colours are found
        if not first or first.startswith(("#", "//")) or first in {"nv", "interpolation"}:
            continue
        named = _GDAL_COLOURS.get(words[1].lower()) if len(words) > 1 else None
        colour = named or _components(words[1:4])
        label = _label(first)
        if colour is None or label is None:
            expected = (
                f"a class from 1 to {_MOST_CLASSES}, then red, green and blue from 0 to 255, such as '1 34 139 34'"
            )
            raise _fault(path, number, line.strip(), expected)
        yield f", line {number}", label, colour


def _read_gimp(content: bytes, path: str) -> Entries:
    """Read a GIMP palette: a line of red, green, blue and maybe a name for each class, in their order."""
    first, *lines = _text(content, path).splitlines() or [""]
    if first.strip() != "GIMP Palette":
        raise _fault(path, 1, first.strip(), "'GIMP Palette'")
    label = 0
    for number, line in enumerate(lines, 2):
        words = line.split()
        if not words or words[0].startswith("#") or re.match(r"\s*(Name|Columns)\s*:", line):
            continue
        colour = _components(words[:3])
        if colour is None:
            raise _fault(path, number, line.strip(), "red, green and blue from 0 to 255, such as '34 139 34 forest'")
        label += 1
        if label > _MOST_CLASSES:
            msg = f"output.palette: {path}: it has more than {_MOST_CLASSES} colours, one for each class"
            raise ConfigError(msg)
        yield f", line {number}", label, colour


def _read_qgis(content: bytes, path: str) -> Entries:
    """Read the entries of a paletted renderer from a style of QGIS."""
    try:
        root = parse_xml(_DOCUMENT_TYPE.sub(b"", content, count=1), path)
    except SceneError as error:
        msg = f"output.palette: {path}: it can't be read as a style of QGIS (.qml), which is XML; save it in QGIS again"
        raise ConfigError(msg) from error
    entries = list(root.iterfind(".//rasterrenderer[@type='paletted']//paletteEntry"))
    if not entries:
        msg = f"output.palette: {path}: the style has no entries of a paletted renderer (paletted/unique values)"
        raise ConfigError(msg)
    for entry in entries:
        value, text = entry.get("value", ""), entry.get("color", "")
        label, colour = _label(value), parse_hex(text)
        if label is None or colour is None:
            found = f"value {value[:_SHOWN]!r} with colour {text[:_SHOWN]!r}"
            msg = f"output.palette: {path}: {found} is not allowed; expected a class from 1 to {_MOST_CLASSES}, #rrggbb"
            raise ConfigError(msg)
        yield "", label, colour


def _label(word: str) -> int | None:
    """Return the label that a word is; None if it is none. Programs write 1 as 1.0, too."""
    found = re.fullmatch(r"0*(\d{1,3})(\.0*)?", word, re.ASCII)
    return int(found[1]) if found and int(found[1]) <= UNCLASSIFIED else None


def _components(words: list[str]) -> Colour | None:
    """Return red, green and blue from three words; None if they are not numbers from 0 to 255."""
    numbers = [int(word) for word in words if re.fullmatch(r"\d{1,3}", word, re.ASCII)]
    if len(words) != len(numbers) or len(numbers) != 3 or max(numbers) > 255:  # noqa: PLR2004
        return None
    return numbers[0], numbers[1], numbers[2]


_READERS: Final[dict[str, Callable[[bytes, str], Entries]]] = {
    ".clr": _read_table,
    ".txt": _read_table,
    ".gpl": _read_gimp,
    ".qml": _read_qgis,
}
