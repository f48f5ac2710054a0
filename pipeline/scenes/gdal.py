"""GDAL's settings for our own reads, and what it raises."""

import os
from typing import Any, Final

from rasterio._err import CPLE_BaseError  # private, but rasterio lets it through where it wraps no error
from rasterio.errors import RasterioError

GDAL_ERRORS: Final = (RasterioError, CPLE_BaseError)
"""Whatever rasterio may raise when GDAL fails."""

GDAL_CACHE_BYTES: Final = 32 * 2**20
"""GDAL's cache of decoded file blocks. Ours are whole multiples of the file's, so little is worth keeping."""


def gdal_options() -> dict[str, Any]:
    """GDAL's settings for our own reads; what the user's environment says wins.

    One decoding thread each, for there are as many of ours as cores; a small cache, for GDAL's own
    default (5 % of the machine's memory) is outside any plan.
    """
    ours = {"GDAL_NUM_THREADS": "1", "GDAL_CACHEMAX": GDAL_CACHE_BYTES}
    return {key: value for key, value in ours.items() if key not in os.environ}
