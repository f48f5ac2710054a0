"""The report of a run as a JSON record: config, classes, times, memory, versions."""

import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from typing import Any, Final

import rasterio

from pipeline.core.scene_info import SceneInfo
from pipeline.core.version import __version__
from pipeline.engine.executor import Executor
from pipeline.engine.memory import peak_rss
from pipeline.jobs.plan import Plan
from pipeline.labels.classify import STATISTICS, ClassStatistics
from pipeline.methods.fit import Fit
from pipeline.models.classes import UNCLASSIFIED
from pipeline.pixels.open import Source

_LIBRARIES: Final = ("numpy", "scipy", "scikit-learn", "numba", "rasterio", "xarray", "zarr", "dask", "dask-ml")


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
    executor: Executor,
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
            {"class": label, **_class_record(statistics, label, model.bands)} for label in range(1, model.k + 1)
        ],
        "nodata_pixels": statistics.counts[0],
        "unclassified": _class_record(statistics, UNCLASSIFIED, model.bands),
        "area_note": statistics.pixel_areas.reason,
        "plan": {**asdict(plan), "peak": plan.peak},
        "source_passes": executor.tally(source) / source.file_pixels,
        **clock.record(),
        "pixels_per_second": round(info.pixels / clock.seconds),
        "peak_rss": peak_rss(),
        "versions": versions(),
    }


def _class_record(statistics: ClassStatistics, label: int, bands: Sequence[str]) -> dict[str, Any]:
    """Return what a report says of the pixels with a label: the numbers of the table, null where there are none."""
    rows = zip(bands, statistics.of_bands(label), strict=True)
    return {
        "pixels": statistics.pixels(label),
        "share": statistics.share(label),
        "area_ha": statistics.hectares(label),
        "bands": {
            band: {key: value if isfinite(value) else None for key, value in zip(STATISTICS, numbers, strict=True)}
            for band, numbers in rows
        },
    }


def _scene_record(info: SceneInfo) -> dict[str, Any]:
    """Return what a report says of the scene."""
    return {
        "sources": list(info.sources),
        "acquired": str(info.acquired) if info.acquired else None,
        "bands": list(info.bands),
        "rows": info.map_grid.shape[0],
        "columns": info.map_grid.shape[1],
        "dtype": info.dtype.name,
        "quantity": info.units.quantity,
        "crs": info.grid.crs,
    }
