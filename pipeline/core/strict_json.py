"""Strict JSON parser: repeated keys in an object are an error."""

import json
import re
from typing import Any, Final

_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class RepeatedKeyError(ValueError):
    """A key occurs twice in one JSON object."""


def _object_without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            msg = f"the key {key!r} is given twice in one object"
            raise RepeatedKeyError(msg)
        found[key] = value
    return found


def parse_json(text: str | bytes) -> Any:
    """Parse JSON, as text or in bytes of UTF-8, UTF-16 or UTF-32; repeated keys in an object are an error.

    Raises
    ------
    RepeatedKeyError
        If a key occurs twice in one object; the message names it.
    ValueError
        If it is not JSON, or contains an unpaired surrogate, which can't be encoded.
    RecursionError
        If it is nested too deeply.
    """
    content = json.loads(text, object_pairs_hook=_object_without_repeats)
    if isinstance(text, bytes) or _SURROGATE.search(text):
        json.dumps(content, ensure_ascii=False).encode()
    return content
