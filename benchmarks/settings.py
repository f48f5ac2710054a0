"""What the driver and its child processes share; measures nothing.

The driver imports this module, so it must stay free of numpy and rasterio:
a child's peak memory cannot read lower than what its parent held at the fork.
"""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BANDS = ("B02", "B03", "B04", "B08")
KINDS = ("geotiff", "jp2")
DEFAULT_SIZE = 10980
CLUSTERS = 8


def cache_folder() -> Path:
    """Give the folder outside the checkout that keeps scenes and results."""
    named = os.environ.get("TERRAZZO_BENCH_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "terrazzo-bench"


def data_folder() -> Path:
    """Give the folder of the shared test data, which may be absent."""
    named = os.environ.get("TERRAZZO_TEST_DATA")
    return Path(named) if named else ROOT.parent / "shared" / "data"
