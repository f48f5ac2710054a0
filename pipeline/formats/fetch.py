"""Small texts, from this machine or another."""

import time
from functools import partial
from typing import Final

from pipeline.core import libraries
from pipeline.core.errors import SceneError
from pipeline.core.regular_files import TooLargeError, read_regular
from pipeline.engine.deadline import current_limit, within_limit

_TIMEOUT: Final = 30
"""Seconds without a byte after which an address is asked anew."""
_PIECE: Final = 2**16
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
        Naming the address, when it can't be reached in time, isn't there, or is too large.
    """
    if not source.startswith(("http://", "https://")):
        return _read(source, most)
    content = within_limit(partial(_download, source, most), f"{source}: this can't be read")
    if len(content) > most:
        msg = f"{source}: this is larger than {most // 2**20} MB; expected metadata"
        raise SceneError(msg)
    return content


def _read(path: str, most: int) -> bytes:
    try:
        return read_regular(path, most)
    except OSError as error:
        expected = "; expected metadata" if isinstance(error, TooLargeError) else ""
        msg = f"{path}: this can't be read ({error.strerror or error}){expected}"
        raise SceneError(msg) from error


def _download(address: str, most: int) -> bytes:
    """Read an address, several times where that may help."""
    limit = current_limit()
    end = time.monotonic() + limit
    for turn in range(1, _TRIES + 1):
        try:
            with libraries.urllib_request.urlopen(address, timeout=min(_TIMEOUT, limit)) as answer:
                content = bytearray()
                while time.monotonic() < end and (piece := answer.read1(min(_PIECE, most + 1 - len(content)))):
                    content += piece
                if len(content) <= most and (answer.length or time.monotonic() >= end):  # some answers state no length
                    raise libraries.http_client.IncompleteRead(bytes(content), answer.length)
                return bytes(content)
        except libraries.urllib_request.HTTPError as error:
            reason, again = f"the server answers {error.code} {error.reason}", error.code in _TEMPORARY
            error.close()
        except (OSError, ValueError, libraries.http_client.HTTPException) as error:
            reason, again = f"{getattr(error, 'reason', None) or error or type(error).__name__}", True
        if not again or turn == _TRIES or time.monotonic() >= end:
            break
        time.sleep(_PAUSE * 2**turn)
    tries = f" (after {turn} tries)" if turn > 1 else ""
    msg = f"{address}: this can't be read: {reason}{tries}"
    raise SceneError(msg)
