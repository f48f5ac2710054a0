"""JSON text read strictly: a key given twice in one object is a mistake, not something to settle in silence."""

import json
import re
from typing import Any, Final

_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class RepeatedKeyError(ValueError):
    """A key stands twice in one JSON object."""


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            msg = f"the key {key!r} is given twice in one object"
            raise RepeatedKeyError(msg)
        found[key] = value
    return found


def parse_json(text: str | bytes) -> Any:
    """Read JSON whose objects give each key once.

    Parameters
    ----------
    text : str or bytes
        The text; bytes in UTF-8, UTF-16 or UTF-32.

    Raises
    ------
    RepeatedKeyError
        Naming the key that is given twice.
    ValueError
        When it is no JSON, or holds half of a surrogate pair, which no file can be given.
    RecursionError
        When it is nested too deeply.
    """
    content = json.loads(text, object_pairs_hook=_without_repeats)
    if isinstance(text, bytes) or _SURROGATE.search(text):
        json.dumps(content, ensure_ascii=False).encode()
    return content
