"""Small texts, from this machine or another."""

import time
from pathlib import Path
from typing import Final

from pipeline.errors import SceneError

_TIMEOUT: Final = 30
_TRIES: Final = 4
_PAUSE: Final = 0.5
_TEMPORARY: Final = frozenset({408, 429, 500, 502, 503, 504})
"""What a server answers when asking again may help."""


def fetch(source: str, most: int) -> bytes:
    """Read a small file or address.

    Parameters
    ----------
    source : str
        A path, or an http(s) address.
    most : int
        Bytes above which it is refused.

    Raises
    ------
    SceneError
        Naming the address, when it can't be reached, isn't there, or is too large.
    """
    content = _download(source, most) if source.startswith(("http://", "https://")) else _read(source, most)
    if len(content) > most:
        msg = f"{source}: this is larger than {most // 2**20} MB; expected metadata"
        raise SceneError(msg)
    return content


def _read(path: str, most: int) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(most + 1)
    except OSError as error:
        msg = f"{path}: this can't be read ({error.strerror or error})"
        raise SceneError(msg) from error


def _download(address: str, most: int) -> bytes:
    """Read an address, several times where that may help."""
    import http.client  # noqa: PLC0415 (all three: with what they import a fiftieth of a second)
    import urllib.error  # noqa: PLC0415
    import urllib.request  # noqa: PLC0415

    for turn in range(1, _TRIES + 1):
        try:
            with urllib.request.urlopen(address, timeout=_TIMEOUT) as answer:  # noqa: S310 (http or https, see fetch)
                return bytes(answer.read(most + 1))
        except urllib.error.HTTPError as error:
            reason, again = f"the server answers {error.code} {error.reason}", error.code in _TEMPORARY
            error.close()
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason, again = f"{getattr(error, 'reason', None) or error or type(error).__name__}", True
        if not again or turn == _TRIES:
            break
        time.sleep(_PAUSE * 2**turn)
    tries = f" (after {turn} tries)" if turn > 1 else ""
    msg = f"{address}: this can't be read: {reason}{tries}"
    raise SceneError(msg)
