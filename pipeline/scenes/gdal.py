"""GDAL's settings for our own reads, and what it raises."""

import os
from typing import Any, Final

from rasterio._err import CPLE_BaseError  # private, but rasterio lets it through where it wraps no error
from rasterio.errors import RasterioError

from pipeline.scenes.source import SceneInfo

GDAL_ERRORS: Final = (RasterioError, CPLE_BaseError)
"""Whatever rasterio may raise when GDAL fails."""

_SMALLEST_CACHE: Final = 32 * 2**20


def cache_bytes(info: SceneInfo, workers: int) -> int:
    """Size of GDAL's cache of decoded file blocks for a run.

    Our blocks are whole multiples of the file's, so little is worth keeping: what each worker is decoding.
    GDAL's own default, 5 % of the machine's memory, is outside any plan.
    """
    return max(_SMALLEST_CACHE, 2 * workers * info.file_block_bytes)


def gdal_options(**ours: Any) -> dict[str, Any]:
    """GDAL's settings for our own work; what the user's environment says wins.

    One decoding thread each unless told otherwise, for there are as many of ours as cores.
    """
    return {key: value for key, value in {"GDAL_NUM_THREADS": "1", **ours}.items() if key not in os.environ}
