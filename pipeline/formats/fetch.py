"""Read small metadata files from disk or over HTTP, with retries."""

import time
from functools import partial
from pathlib import Path
from typing import Final

from pipeline.core import libraries
from pipeline.core.errors import SceneError
from pipeline.core.regular_files import TooLargeError, read_regular
from pipeline.core.strict_xml import MAX_XML_BYTES
from pipeline.engine.time_limits import current_limit, within_limit

_TIMEOUT: Final = 30
"""Seconds without a byte after which a request is repeated."""
_CHUNK: Final = 2**16
"""Bytes read from a response at once."""
_TRIES: Final = 4
_PAUSE: Final = 0.5
"""Seconds before the second try, halved; the pause doubles with each try."""
_TEMPORARY: Final = frozenset({408, 429, 500, 502, 503, 504})
"""HTTP status codes of temporary errors, after which a request is repeated."""


def fetch(source: str, most: int) -> bytes:
    """Read a small file by its path or http(s) URL.

    Raises SceneError if it can't be read within the time limit, does not exist, or is larger than `most` bytes.
    """
    if not source.startswith(("http://", "https://")):
        return read_small_file(source, most)
    content = within_limit(partial(_download, source, most), f"{source}: this URL can't be read")
    if len(content) > most:
        msg = f"{source}: this file is larger than {most // 2**20} MB; expected a metadata file"
        raise SceneError(msg)
    return content


def read_small_file(path: str | Path, most: int = MAX_XML_BYTES) -> bytes:
    """Read a file, such as metadata, from disk; raise SceneError if it can't be read or is larger than `most` bytes."""
    try:
        return read_regular(path, most)
    except OSError as error:
        expected = "; expected a metadata file" if isinstance(error, TooLargeError) else ""
        msg = f"{path}: this file can't be read ({error.strerror or error}){expected}"
        raise SceneError(msg) from error


def _download(address: str, most: int) -> bytes:
    """Read a URL, with retries after temporary errors."""
    http_client, urllib_request = libraries.http_client, libraries.urllib_request
    limit = current_limit()
    end = time.monotonic() + limit
    for turn in range(1, _TRIES + 1):
        try:
            with urllib_request.urlopen(address, timeout=min(_TIMEOUT, limit)) as response:
                content = bytearray()
                while time.monotonic() < end and (chunk := response.read1(min(_CHUNK, most + 1 - len(content)))):
                    content += chunk
                if len(content) <= most and (response.length or time.monotonic() >= end):  # length may be unknown
                    raise http_client.IncompleteRead(bytes(content), response.length)
                return bytes(content)
        except urllib_request.HTTPError as error:
            reason, retry = f"the server answers {error.code} {error.reason}", error.code in _TEMPORARY
            error.close()
        except (OSError, ValueError, http_client.HTTPException) as error:
            reason, retry = f"{getattr(error, 'reason', None) or error or type(error).__name__}", True
        if not retry or turn == _TRIES or time.monotonic() >= end:
            break
        time.sleep(_PAUSE * 2**turn)
    tries = f" (after {turn} tries)" if turn > 1 else ""
    msg = f"{address}: this URL can't be read: {reason}{tries}"
    raise SceneError(msg)
