"""Text from outside, made fit for people: what shows nothing, or moves the cursor or other letters, is escaped."""

import json
import os
import re
import unicodedata
from math import isfinite
from typing import Any, Final

_UNSEEN: Final = frozenset({"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"})
"""Unicode's categories of characters that show nothing: controls, formats such as bidi's, what is not assigned, halves
of surrogate pairs, ends of lines and paragraphs."""

_NOT_PLAIN: Final = re.compile(r"[^ -~]")


def printable(text: object) -> str:
    """Text in one line, in which each character that shows nothing stands as Python escapes it.

    What has been escaped stays as it is.
    """
    return _NOT_PLAIN.sub(lambda found: _escaped(found[0]) if _is_unseen(found[0]) else found[0], str(text))


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def finite(value: Any) -> Any:
    """Spell infinity and NaN as text: JSON has no numbers for them."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return str(value) if isinstance(value, float) and not isfinite(value) else value


def json_text(value: Any, encoding: str = "utf-8", **how: Any) -> str:
    """Write JSON in which what shows nothing, or what an encoding lacks, is escaped as JSON has it.

    Parameters
    ----------
    value : Any
        Plain values.
    encoding : str
        That in which the text will be written.
    **how
        As `json.dumps` takes it.
    """

    def escape(found: re.Match[str]) -> str:
        lacks = not _can_write(found[0], encoding)
        # its own line feeds stand between values only
        return json.dumps(found[0])[1:-1] if found[0] != "\n" and (lacks or _is_unseen(found[0])) else found[0]

    return _NOT_PLAIN.sub(escape, json.dumps(value, ensure_ascii=False, **how))


def _can_write(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def yaml_text(value: object) -> str:
    """Write a string or list of strings as YAML reads it: JSON, but for a spelling of what it can't take."""

    def escape(found: re.Match[str]) -> str:
        return f"\\U{ord(found[0]):08x}" if _is_unseen(found[0]) else found[0]

    return _NOT_PLAIN.sub(escape, json.dumps(value, ensure_ascii=False))


def unreadable_name(name: str) -> str:
    """Say that Python and GDAL can't mean the same file by a name; empty where they do.

    Names are bytes to the system. Python reads them in the locale's encoding, GDAL in UTF-8.
    """
    if not _can_write(name, "utf-8"):
        why = "it is not UTF-8"
    elif os.name == "posix" and name.encode() != _as_system(name):
        why = "the locale's encoding is not UTF-8"
    else:
        return ""
    return f"{printable(name)}: this name can't be handed on to GDAL, as {why}; set PYTHONUTF8=1, or rename the file"


def _as_system(name: str) -> bytes:
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:
        return b""


def size_words(size: float) -> str:
    """Bytes as people say them, in powers of ten."""
    if size == 1:
        return "1 byte"
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
