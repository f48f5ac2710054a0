"""The report of a run: what was asked, what it took, with what versions. And small text files, whole or absent."""

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import rasterio

from pipeline import __version__
from pipeline.printable import json_text
from pipeline.runtime.workfolder import lost

_LIBRARIES: Final = ("numpy", "scipy", "scikit-learn", "numba", "rasterio", "xarray", "dask")
_OPTIONAL: Final = ("dask-ml",)


def versions() -> dict[str, str]:
    """Versions of everything that can change a result."""
    found = {"terrazzo": __version__, "python": platform.python_version(), "gdal": rasterio.__gdal_version__}
    found |= {name: version(name) for name in _LIBRARIES}
    for name in _OPTIONAL:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def write_text(path: Path, text: str, what: str) -> None:
    """Write a small text file: `what` of the config's `output`, the model or the report.

    Raises
    ------
    OutputError
        When it can't be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise lost(path, f"the {what}", f"output.{what}", error) from error


def report_json(report: dict[str, Any]) -> str:
    """Write a report as JSON text."""
    return json_text(report, indent=2) + "\n"
