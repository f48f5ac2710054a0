"""The report of a run: what was asked, what it took, with what versions. And small text files, whole or absent."""

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import rasterio

from pipeline import __version__
from pipeline.errors import OutputError
from pipeline.runtime.workfolder import folder_of

_LIBRARIES: Final = ("numpy", "scikit-learn", "numba", "rasterio", "xarray", "dask")


def versions() -> dict[str, str]:
    """Versions of everything that can change a result."""
    found = {"terrazzo": __version__, "python": platform.python_version(), "gdal": rasterio.__gdal_version__}
    return found | {name: version(name) for name in _LIBRARIES}


def write_text(path: Path, text: str) -> None:
    """Write a small text file.

    Raises
    ------
    OutputError
        When it can't be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        msg = f"{folder_of(path)}: the model or report can't be written ({error.strerror})"
        raise OutputError(msg) from error


def report_json(report: dict[str, Any]) -> str:
    """Write a report as JSON text."""
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"
