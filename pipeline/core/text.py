"""Text for terminals, JSON and YAML: invisible and control characters are escaped; sizes as text."""

import json
import os
import re
import reprlib
import sys
import unicodedata
from math import isfinite
from textwrap import shorten
from typing import Any, Final

_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"})
"""Unicode categories of invisible characters: control, format (such as bidirectional marks), unassigned, surrogates,
line and paragraph separators."""

_NOT_ASCII: Final = re.compile(r"[^ -~]")
"""A character other than printable ASCII."""


def printable(text: object) -> str:
    """Text on one line, with invisible characters as Python escapes.

    Text that has been escaped before does not change.
    """
    return _NOT_ASCII.sub(lambda found: _escaped(found[0]) if _is_invisible(found[0]) else found[0], str(text))


def _is_invisible(character: str) -> bool:
    return unicodedata.category(character) in _INVISIBLE


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def replace_non_finite(value: Any) -> Any:
    """Replace infinity and NaN in nested values by text, as JSON has no numbers for them."""
    if isinstance(value, dict):
        return {key: replace_non_finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [replace_non_finite(entry) for entry in value]
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def json_text(value: Any, encoding: str = "utf-8", **options: Any) -> str:
    """Write JSON, with options of `json.dumps`; invisible characters, and those an encoding lacks, are escaped."""

    def escape(found: re.Match[str]) -> str:
        not_encodable = not _can_encode(found[0], encoding)
        # line feeds occur between values only, where `indent` has put them
        replace = found[0] != "\n" and (not_encodable or _is_invisible(found[0]))
        return json.dumps(found[0])[1:-1] if replace else found[0]

    return _NOT_ASCII.sub(escape, json.dumps(value, ensure_ascii=False, **options))


def _can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def yaml_text(value: object) -> str:
    """Write a string or list of strings as YAML: JSON, except that invisible characters are YAML escapes."""

    def escape(found: re.Match[str]) -> str:
        return f"\\U{ord(found[0]):08x}" if _is_invisible(found[0]) else found[0]

    return _NOT_ASCII.sub(escape, json.dumps(value, ensure_ascii=False))


def unreadable_name(name: str) -> str:
    """Message for a file name that Python and GDAL encode differently; empty if they encode it alike.

    File names are bytes to the system: Python uses the encoding of the locale, GDAL uses UTF-8.
    """
    if not _can_encode(name, "utf-8"):
        why = "it is not UTF-8"
    elif os.name == "posix" and name.encode() != name.encode(sys.getfilesystemencoding(), "replace"):
        why = "the locale's encoding is not UTF-8"
    else:
        return ""
    return f"{printable(name)}: GDAL can't open a file of this name, as {why}; set PYTHONUTF8=1, or rename the file"


def kind_words(value: object) -> str:
    """Type of a value with its article, such as 'an int', for messages; 'None' for None."""
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def shown(value: object) -> str:
    """Short text of a value for a message. Collections are only counted, as YAML aliases can make them huge."""
    if isinstance(value, list | tuple | dict | set):
        return f"{kind_words(value)} of {len(value)}"
    try:
        return shorten(reprlib.repr(value), 60, placeholder="...")
    except ValueError:  # Python refuses to write a whole number of thousands of digits
        return f"{kind_words(value)} of thousands of digits"


def size_words(size: float) -> str:
    """Number of bytes as text with a decimal unit, such as 800 MB."""
    if size == 1:
        return "1 byte"
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
