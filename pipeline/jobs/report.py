"""The report of a run as a JSON record: config, classes, times, memory, versions."""

import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import rasterio

from pipeline.core.scene_info import SceneInfo
from pipeline.core.version import __version__
from pipeline.engine.memory import peak_rss
from pipeline.jobs.plan import Plan
from pipeline.labels.classify import ClassStatistics
from pipeline.methods.fit import Fit
from pipeline.models.classes import UNCLASSIFIED
from pipeline.pixels.open import Source

_LIBRARIES: Final = ("numpy", "scipy", "scikit-learn", "numba", "rasterio", "xarray", "dask", "dask-ml")


def versions() -> dict[str, str]:
    """Versions of Terrazzo and of the libraries that can affect a result, where they are installed."""
    found = {"terrazzo": __version__, "python": platform.python_version(), "gdal": rasterio.__gdal_version__}
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@dataclass(frozen=True)
class Clock:
    """Start time and duration of a run, and the seconds of each stage."""

    started: datetime
    seconds: float
    stages: dict[str, float]

    def record(self) -> dict[str, Any]:
        """Return what a report says of the times."""
        stages = {name: round(took, 3) for name, took in self.stages.items()}
        return {
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": {**stages, "total": round(self.seconds, 3)},
        }


def run_report(
    source: Source,
    plan: Plan,
    *,
    fit: Fit,
    statistics: ClassStatistics,
    outputs: Mapping[str, Mapping[str, str]],
    clock: Clock,
) -> dict[str, Any]:
    """Build the report of a run as plain values; `outputs` are the paths and digests of its files."""
    info, model = source.info, fit.model
    return {
        **outputs,
        "scene": _scene_record(info),
        "model": {
            "sha256": model.digest,
            "k": model.k,
            "inertia": model.inertia,
            **model.fitting.model_dump(mode="json"),
        },
        "log": [asdict(entry) for entry in fit.log],
        "classes": [
            {"class": label, "pixels": pixels, "share": share, "area_ha": statistics.hectares(label)}
            for label, (pixels, share) in enumerate(zip(statistics.counts[1:], statistics.shares, strict=True), 1)
        ],
        "nodata_pixels": statistics.counts[0],
        "unclassified": {
            "pixels": statistics.unclassified,
            "share": statistics.share(UNCLASSIFIED),
            "area_ha": statistics.hectares(UNCLASSIFIED),
        },
        "area_note": statistics.pixel_areas.reason,
        "plan": {**asdict(plan), "peak": plan.peak},
        "source_passes": source.passes,
        **clock.record(),
        "pixels_per_second": round(info.pixels / clock.seconds),
        "peak_rss": peak_rss(),
        "versions": versions(),
    }


def _scene_record(info: SceneInfo) -> dict[str, Any]:
    """Return what a report says of the scene."""
    return {
        "sources": list(info.sources),
        "bands": list(info.bands),
        "rows": info.map_grid.shape[0],
        "columns": info.map_grid.shape[1],
        "dtype": info.dtype.name,
        "quantity": info.units.quantity,
        "crs": info.grid.crs,
    }
