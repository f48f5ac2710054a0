"""GDAL settings for our own reads, remote paths, and the exceptions of rasterio."""

import os
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import rasterio
from rasterio._err import CPLE_BaseError  # private, but rasterio raises it where it does not wrap GDAL's error
from rasterio.env import getenv, hasenv, setenv
from rasterio.errors import RasterioError, RasterioIOError

from pipeline.core.errors import SceneError
from pipeline.core.regular_files import special_kind
from pipeline.engine.time_limits import current_limit, within_limit

if os.environ.get("GDAL_NUM_THREADS", "1") == "1":  # OpenJPEG would start a pool even for one thread
    os.environ.setdefault("OPJ_NUM_THREADS", "0")

Result = TypeVar("Result")

GDAL_ERRORS: Final = (RasterioError, CPLE_BaseError)
"""Exceptions that rasterio raises when GDAL fails."""

_REMOTE: Final = re.compile(
    r"(?<![a-z0-9])(https?|ftp|s3|gs|az|oss)://"
    r"|((?<![\w.-])/|/vsi(zip|tar|gzip|7z|rar|subfile|cached|sparse)[^/]*/)vsi(curl|s3|gs|az|oss|swift|adls|webhdfs|hdfs)",
    re.IGNORECASE,
)
"""Remote addresses, alone or inside a path with an archive or driver prefix."""

_USER: Final = re.compile(r"//[^/@]*@")
"""User and password before the host of an address."""

_SERVICES: Final = frozenset({"WMS", "WMTS", "STACIT", "STACTA", "WCS", "OGCAPI", "PLMosaic", "EEDAI", "DAAS", "NGW"})
"""Drivers of files that describe a server which delivers the pixels."""

_SELF_CONTAINED: Final = re.compile(r".+\.(tiff?|jp2|j2k|img|png|jpe?g|bil|bsq)", re.IGNORECASE | re.DOTALL)
"""Names of files that contain their own pixels; other formats, such as VRT, may refer to remote files."""

_IN_ARCHIVE: Final = re.compile(
    r"/vsi(?:zip|tar)/(?:/vsicurl/)?(?:\{(?P<braced>.+?)\}|(?P<plain>.+?\.(?:zip|tar|tgz|tar\.gz)))/(?P<file>.+)",
    re.IGNORECASE,
)
"""GDAL path of a file in a zip or tar archive."""

_FOR_REMOTE: Final = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no directory listing, no search for sidecars
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",  # the header of a COG, in one request
}
"""GDAL settings for remote files."""

_FOR_REQUESTS: Final = {
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MAX_RETRY": "5",
    "GDAL_HTTP_RETRY_DELAY": "0.5",  # in seconds, doubled at each retry
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
}
"""GDAL settings for remote files, and for local ones that may refer to remote files."""


class _Reader(rasterio.DatasetReader):  # type: ignore[misc]
    """A dataset with a fast list of bands: rasterio builds and searches its own list anew for each band read."""

    @property
    def indexes(self) -> range:
        """Band numbers, counted from 1."""
        return range(1, self.count + 1)


def open_raster(path: str, **how: Any) -> rasterio.DatasetReader:
    """Open a raster file, fast to read even if it has hundreds of bands.

    Raises RasterioIOError if it can't be opened, or is a pipe, a device or a socket.
    """
    if kind := special_kind(path):
        msg = f"this is {kind}, not a file"
        raise RasterioIOError(msg)
    file = rasterio.open(path, **how)
    if type(file) is rasterio.DatasetReader:
        file.__class__ = _Reader
    return file


def is_remote(path: str) -> bool:
    """Whether a path is read over a network."""
    return bool(_REMOTE.search(path))


def public_address(path: str) -> str:
    """Path as it may be shown to others: of an address neither user and password nor query, which may be secret."""
    return _USER.sub("//", path.partition("?")[0]) if is_remote(path) else path


def is_service(driver: str) -> bool:
    """Whether files of a driver contain no pixels but describe a server that delivers them."""
    return driver in _SERVICES


def may_be_remote(path: str) -> bool:
    """Whether a path is read over a network, or may refer to remote files."""
    return is_remote(path) or not _SELF_CONTAINED.fullmatch(path)


def run_within_limit(work: Callable[[], Result], what: str) -> Result:
    """Run GDAL work that may wait for a server in another thread, with the caller's GDAL settings.

    Raises StalledError, which says `what` fails, if it takes longer than the time limit; see `within_limit`.
    """
    settings = getenv() if hasenv() else {}

    def work_with_settings() -> Result:
        with rasterio.Env():
            setenv(**settings)
            return work()

    return within_limit(work_with_settings, what)


def display_path(path: str) -> str:
    """Return a path as the user wrote it: without /vsicurl/, and as 'file in archive'."""
    if inside := _IN_ARCHIVE.match(path):
        return f"{inside['file']} in {(inside['plain'] or inside['braced']).removeprefix('/vsicurl/')}"
    return path.removeprefix("/vsicurl/")


def read_error(path: str, what: str, error: BaseException) -> SceneError:
    """Build the error of a part of a file that can't be read, with GDAL's reason."""
    damaged = "archive, or this file in it," if _IN_ARCHIVE.match(path) else "file"
    cause = error.__cause__ or error
    return SceneError(f"{display_path(path)}: {what} can't be read ({cause}); the {damaged} is damaged or cut short")


def gdal_options(path: str = "", **ours: Any) -> dict[str, Any]:
    """Return the GDAL settings for our own work; the user's environment variables take precedence.

    GDAL decodes in one thread by default, because we run as many workers as there are cores. A remote file (`path`)
    gets settings of its own.
    """
    settings = {"GDAL_NUM_THREADS": "1", **ours}
    if path and may_be_remote(path):  # so that the time limit of the whole read applies, not one per request
        settings |= _FOR_REQUESTS | {"GDAL_HTTP_TIMEOUT": f"{current_limit() + 1:g}"}
    if is_remote(path):
        settings |= _FOR_REMOTE
    return {key: value for key, value in settings.items() if key not in os.environ}


_SENT: Final = re.compile(r"(GDAL|CPL|VSI|OGR|OPJ|PROJ)_\w+")
"""Names of environment variables that set up GDAL."""

_ACCESS: Final = re.compile(r"(AWS|GS|GOOGLE|AZURE|OSS|SWIFT|OS|WEBHDFS)_\w+")
"""Names of environment variables with which GDAL opens files in clouds."""

_SECRET: Final = re.compile(r"PWD|PASS|KEY|TOKEN|SECRET|AUTH|HEADER|BEARER|COOKIE|CREDENTIAL|PROXY|CONFIG_FILE")
"""Parts of the names of settings whose values may be secret, or name a file that holds secrets."""


def settings_to_send(environment: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return GDAL's settings in the environment that other machines may be told, and the names of secret ones.

    An address that holds a password is one of these, whatever the name of its setting. Neither are paths, such as that
    of GDAL's own data: each machine has its own.
    """
    ours = {name: value for name, value in environment.items() if _SENT.fullmatch(name)}
    secret = {name for name, value in ours.items() if _SECRET.search(name) or _USER.search(value)}
    sent = {name: value for name, value in ours.items() if name not in secret and not Path(value).is_absolute()}
    return sent, tuple(sorted(secret.union(filter(_ACCESS.fullmatch, environment))))


@dataclass(frozen=True)
class GdalSettings:
    """Makes contexts with GDAL's settings, for the thread that enters one."""

    options: Mapping[str, Any]

    def __call__(self) -> AbstractContextManager[Any]:
        """Return a context in which the settings hold, unless the environment of this process has others."""
        context: AbstractContextManager[Any] = rasterio.Env(**gdal_options(**self.options))
        return context
