"""What the driver and its child processes share; measures nothing.

The driver imports this module, so it must stay free of numpy and rasterio:
a child's peak memory cannot read lower than what its parent held at the fork.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BANDS = ("B02", "B03", "B04", "B08")
TWENTY_METRES = ("B05", "B06", "B07", "B8A", "B11", "B12")
SIXTY_METRES = ("B01", "B09")
DEFAULT_SIZE = 10980
CLUSTERS = 8


@dataclass(frozen=True)
class Case:
    """One run of Terrazzo, and what is wanted of it."""

    scene: str
    """Kind of scene: geotiff, geotiff10 (of ten bands), jp2 or safe."""
    bands: tuple[str, ...]
    floor: float | None
    """Highest ratio of the run to the floor of the same files; None where that is not the measure."""
    peak_mb: float
    k: int = CLUSTERS
    fit: Mapping[str, Any] = field(default_factory=dict)
    """What section `fit` says besides k."""
    features: Mapping[str, Any] = field(default_factory=dict)
    """Section `features`."""
    run: Mapping[str, Any] = field(default_factory=dict)
    beside: str | None = None
    """Case with which it is compared: the same run on threads, where this one is on processes."""
    slower: float | None = None
    """Highest ratio of its time, without that to start the processes, to that of the case beside."""
    turns: int = 1
    """How often it runs in a round, each time after its floor: a run of seconds is at the mercy of a shared machine."""

    @property
    def input(self) -> str:
        """Name of the files that are read: cases that share them share a floor."""
        return f"{self.scene}/{len(self.bands)}"


ALL = {"pixels": "all"}
FINE = {"pixels": "all", "tol": 1e-6}
PROCESSES = {"cluster": "processes"}
CASES = {
    "geotiff": Case("geotiff", BANDS, 1.3, 1000, turns=3),
    "geotiff-p": Case("geotiff", BANDS, None, 1000, run=PROCESSES, beside="geotiff", slower=1.5, turns=3),
    "geotiff-ram": Case("geotiff", BANDS, 1.3, 2000, run={"cache": "memory"}),
    "geotiff-all": Case("geotiff", BANDS, None, 1000, fit=ALL),
    "geotiff-all-p": Case("geotiff", BANDS, None, 1000, fit=ALL, run=PROCESSES, beside="geotiff-all", slower=1.5),
    "geotiff-fine": Case("geotiff", BANDS, None, 1000, fit=FINE),
    "ten-all": Case("geotiff10", BANDS + TWENTY_METRES, None, 2000, k=16, fit=ALL, run={"memory": "2GB"}),
    "jp2": Case("jp2", BANDS, 1.1, 1000),
    "geotiff-plain": Case("geotiff", BANDS, 1.3, 1000, features={"standardize": "none"}, turns=3),
    "jp2-indices": Case("jp2", BANDS, 1.1, 1200, features={"indices": ["ndvi", "ndwi", "brightness"]}),
    "jp2-all": Case("jp2", BANDS, 1.6, 1000, fit=ALL),
    "jp2-all-p": Case("jp2", BANDS, None, 1000, fit=ALL, run=PROCESSES, beside="jp2-all", slower=1.15),
    "safe4": Case("safe", BANDS, 1.25, 1200),
    "safe10": Case("safe", BANDS + TWENTY_METRES, 1.25, 1200),
    "safe10-gmm": Case("safe", BANDS + TWENTY_METRES, 1.25, 1200, k=16, fit={"method": "gmm"}),
}


@dataclass(frozen=True)
class Peer:
    """Another way to the same map, on the files of a case, and what is wanted of it."""

    case: str
    """What it is measured against."""
    slower: float
    """Lowest ratio of its time to Terrazzo's."""
    larger: float | None = None
    """Lowest ratio of its peak memory to Terrazzo's."""
    rounds: int | None = None
    """How often it runs; as often as Terrazzo, unless it takes minutes."""


PEERS = {
    "sklearn": Peer("geotiff-all", 3, 8),
    "sklearn-fine": Peer("geotiff-fine", 3, 8, rounds=1),
    "blog": Peer("geotiff-all", 6, rounds=1),
    "grass": Peer("geotiff", 2.5),
    "dask-ml": Peer("geotiff-all", 20, rounds=1),
}
"""scikit-learn in memory from the same start and for as many passes; the blog posts' way; GRASS; dask-ml."""

DASK_LIMIT = 600
"""Seconds after which dask-ml is stopped."""

GROWTH = (2745, 5490, 10980, 21960)
"""Sides of the scenes on which growth is measured, in pixels."""


def cache_folder() -> Path:
    """Give the folder outside the checkout that keeps scenes and results."""
    named = os.environ.get("TERRAZZO_BENCH_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "terrazzo-bench"


def data_folder() -> Path:
    """Give the folder of the shared test data, which may be absent."""
    named = os.environ.get("TERRAZZO_TEST_DATA")
    return Path(named) if named else ROOT.parent / "shared" / "data"
