"""The command under test: one ``terrazzo run`` of a benchmark scene.

Measures nothing itself; it gives the driver the command to measure.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.settings import Case

MAP_NAME = "classes.tif"


def terrazzo_command(sources: Sequence[str], case: Case, folder: Path) -> list[str]:
    """Write the configuration of a run and give the command that runs it.

    Parameters
    ----------
    sources : sequence of str
        The scene: a file with all bands, one for each band, or a product.
    case : Case
        Bands, classes, and what else the configuration says.
    folder : Path
        Where the configuration and the map (`MAP_NAME`) go.

    Returns
    -------
    list of str
        The command; it prints the report of the run as JSON.

    """
    config: dict[str, Any] = {
        "version": 1,
        "scene": {
            "source": sources[0] if len(sources) == 1 else list(sources),
            "bands": list(case.bands),
        },
        "features": dict(case.features),
        "fit": {"method": "kmeans", "k": case.k, **case.fit},
        "run": dict(case.run),
        "output": {"labels": str(folder / MAP_NAME)},
    }
    path = folder / "benchmark.yaml"
    # Every JSON text is YAML too, so no YAML library is needed to write it.
    text = json.dumps(config, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    options = ["--json", "-q", "--overwrite"]
    return [sys.executable, "-m", "pipeline", "run", str(path), *options]
