"""The report of a run as a JSON record: config, classes, times, memory, versions."""

import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import rasterio

from pipeline.core.text import json_text
from pipeline.core.version import __version__
from pipeline.engine.memory import peak_rss
from pipeline.jobs.map import MapSummary, shares
from pipeline.jobs.outputs import OutputPaths
from pipeline.jobs.plan import Plan
from pipeline.methods.fit import Fit
from pipeline.pixels.open import Source

_LIBRARIES: Final = ("numpy", "scipy", "scikit-learn", "numba", "rasterio", "xarray", "dask")

_OPTIONAL: Final = ("dask-ml",)


def versions() -> dict[str, str]:
    """Versions of Terrazzo and of the libraries that can affect a result."""
    found = {"terrazzo": __version__, "python": platform.python_version(), "gdal": rasterio.__gdal_version__}
    found |= {name: version(name) for name in _LIBRARIES}
    for name in _OPTIONAL:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def report_json(report: dict[str, Any]) -> str:
    """Return a report as JSON text."""
    return json_text(report, indent=2) + "\n"


@dataclass(frozen=True)
class Clock:
    """Start time and duration of a run, and the seconds of each stage."""

    started: datetime
    seconds: float
    stages: dict[str, float]


def run_report(
    source: Source,
    plan: Plan,
    *,
    fit: Fit,
    summary: MapSummary,
    paths: OutputPaths,
    digests: Mapping[str, str],
    clock: Clock,
) -> dict[str, Any]:
    """Build the report of a run as plain values; `digests` are the SHA-256 digests of its outputs."""
    info, model = source.info, fit.model
    return {
        "outputs": {name: str(path) for name, path in vars(paths).items() if path is not None},
        "sha256": dict(digests),
        "scene": {
            "sources": list(info.sources),
            "bands": list(info.bands),
            "rows": info.map_grid.shape[0],
            "columns": info.map_grid.shape[1],
            "dtype": info.dtype.name,
            "quantity": info.units.quantity,
            "crs": info.grid.crs,
        },
        "model": {
            "sha256": model.digest,
            "k": model.k,
            "inertia": model.inertia,
            **model.fitting.model_dump(mode="json"),
        },
        "passes": [asdict(done) for done in fit.passes],
        "classes": [
            {"class": label, "pixels": pixels, "share": share, "area_ha": hectares}
            for label, (pixels, share, hectares) in enumerate(
                zip(summary.counts[1:], shares(summary.counts), summary.hectares, strict=True), 1
            )
        ],
        "nodata_pixels": summary.counts[0],
        "area_note": summary.area_note,
        "plan": {**asdict(plan), "peak": plan.peak},
        "source_passes": source.passes,
        "started": clock.started.isoformat(timespec="seconds"),
        "seconds": {**{name: round(took, 3) for name, took in clock.stages.items()}, "total": round(clock.seconds, 3)},
        "pixels_per_second": round(info.pixels / clock.seconds),
        "peak_rss": peak_rss(),
        "versions": versions(),
    }
