"""What the driver and its child processes share; measures nothing.

The driver imports this module, so it must stay free of numpy and rasterio:
a child's peak memory cannot read lower than what its parent held at the fork.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BANDS = ("B02", "B03", "B04", "B08")
TWENTY_METRES = ("B05", "B06", "B07", "B8A", "B11", "B12")
SIXTY_METRES = ("B01", "B09")
DEFAULT_SIZE = 10980
CLUSTERS = 8


@dataclass(frozen=True)
class Case:
    """One scene to run on, and what is wanted of it."""

    scene: str
    """Kind of scene: geotiff, jp2 or safe."""
    bands: tuple[str, ...]
    floor: float
    """Highest ratio of a run to the floor of the same files."""
    peak_mb: float


CASES = {
    "geotiff": Case("geotiff", BANDS, 1.6, 1000),
    "jp2": Case("jp2", BANDS, 1.3, 1000),
    "safe4": Case("safe", BANDS, 1.25, 1200),
    "safe10": Case("safe", BANDS + TWENTY_METRES, 1.25, 1200),
}


def cache_folder() -> Path:
    """Give the folder outside the checkout that keeps scenes and results."""
    named = os.environ.get("TERRAZZO_BENCH_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "terrazzo-bench"


def data_folder() -> Path:
    """Give the folder of the shared test data, which may be absent."""
    named = os.environ.get("TERRAZZO_TEST_DATA")
    return Path(named) if named else ROOT.parent / "shared" / "data"
