"""GDAL's settings for our own reads, and what it raises."""

import os
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import rasterio
from rasterio._err import CPLE_BaseError  # private, but rasterio lets it through where it wraps no error
from rasterio.env import getenv, hasenv, setenv
from rasterio.errors import RasterioError, RasterioIOError

from pipeline.core.regular_files import special_kind
from pipeline.engine.deadline import current_limit, within_limit

if os.environ.get("GDAL_NUM_THREADS", "1") == "1":  # even for one thread OpenJPEG would start a pool, and wait for it
    os.environ.setdefault("OPJ_NUM_THREADS", "0")

Result = TypeVar("Result")

GDAL_ERRORS: Final = (RasterioError, CPLE_BaseError)
"""Whatever rasterio may raise when GDAL fails."""


_REMOTE: Final = re.compile(
    r"(?<![a-z0-9])(https?|ftp|s3|gs|az|oss)://"
    r"|((?<![\w.-])/|/vsi(zip|tar|gzip|7z|rar|subfile|cached|sparse)[^/]*/)vsi(curl|s3|gs|az|oss|swift|adls|webhdfs|hdfs)",
    re.IGNORECASE,
)
"""Addresses, alone or within what names an archive, a driver or a file that refers to them."""

_SERVICES: Final = frozenset({"WMS", "WMTS", "STACIT", "STACTA", "WCS", "OGCAPI", "PLMosaic", "EEDAI", "DAAS", "NGW"})
"""Formats of files that describe where pixels are to be asked for."""

_REFERS_TO_NONE: Final = re.compile(r".+\.(tiff?|jp2|j2k|img|png|jpe?g|bil|bsq)", re.IGNORECASE | re.DOTALL)
"""Files that hold their pixels themselves, told by their names: others, as VRTs do, may refer to other machines."""

_IN_ARCHIVE: Final = re.compile(
    r"/vsi(?:zip|tar)/(?:/vsicurl/)?(?:\{(?P<braced>.+?)\}|(?P<plain>.+?\.(?:zip|tar|tgz|tar\.gz)))/(?P<file>.+)",
    re.IGNORECASE,
)
"""A file in a zip or tar, as GDAL spells it."""

_FOR_REMOTE: Final = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no listing, no looking for files beside
    "GDAL_INGESTED_BYTES_AT_OPEN": "32768",  # the header of a COG, in one request
}
"""Settings for files that are not on this machine."""

_FOR_REQUESTS: Final = {
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MAX_RETRY": "5",
    "GDAL_HTTP_RETRY_DELAY": "0.5",  # doubled each time
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
}
"""Settings for these, and for files that may refer to such."""


class _Reader(rasterio.DatasetReader):  # type: ignore[misc]
    """A file whose bands are looked up at once: rasterio's own list is made and searched anew for each band read."""

    @property
    def indexes(self) -> range:
        """Numbers of the bands."""
        return range(1, self.count + 1)


def open_raster(path: str, **how: Any) -> rasterio.DatasetReader:
    """Open a file whose bands may be many and are read together.

    Raises
    ------
    RasterioIOError
        When it can't be opened, or is a pipe, a device or a socket.
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


def is_service(driver: str) -> bool:
    """Whether a file of a format holds no pixels, but says which server gives them."""
    return driver in _SERVICES


def may_be_remote(path: str) -> bool:
    """Whether a path is read over a network, or may refer to what is."""
    return is_remote(path) or not _REFERS_TO_NONE.fullmatch(path)


def run_within_limit(work: Callable[[], Result], what: str) -> Result:
    """Do work in GDAL that may wait for another machine within the time limit, with the caller's settings of GDAL.

    Raises
    ------
    StalledError
        When time is up: as `within_limit` says, which see for the parameters.
    """
    settings = getenv() if hasenv() else {}

    def work_as_set() -> Result:
        with rasterio.Env():
            setenv(**settings)
            return work()

    return within_limit(work_as_set, what)


def display_path(path: str) -> str:
    """A path as the user knows it: an address, or a file in an archive."""
    if inside := _IN_ARCHIVE.match(path):
        return f"{inside['file']} in {(inside['plain'] or inside['braced']).removeprefix('/vsicurl/')}"
    return path.removeprefix("/vsicurl/")


def archive_or_file(path: str) -> str:
    """What is to be fetched again where a file can't be read, in words."""
    return "archive, or this file in it," if _IN_ARCHIVE.match(path) else "file"


def gdal_options(path: str = "", **ours: Any) -> dict[str, Any]:
    """GDAL's settings for our own work; what the user's environment says wins.

    One decoding thread each unless told otherwise, for there are as many of ours as cores. Settings for files on
    other machines depend on `path`, the file to be opened.
    """
    settings = {"GDAL_NUM_THREADS": "1", **ours}
    if path and may_be_remote(path):  # each single request is left to the limit for all of them
        settings |= _FOR_REQUESTS | {"GDAL_HTTP_TIMEOUT": f"{current_limit() + 1:g}"}
    if is_remote(path):
        settings |= _FOR_REMOTE
    return {key: value for key, value in settings.items() if key not in os.environ}
