"""Configs, runs and their outputs for tests."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio

from pipeline.engine.leftovers import PREFIX
from pipeline.engine.owner_mark import MARK
from pipeline.jobs.config import RunConfig
from pipeline.sinks.staging import Staging


def config(source: Any, labels: Path, **sections: Any) -> RunConfig:
    """Config of a run that writes a map, with settings by section."""
    source = [str(item) for item in source] if isinstance(source, list) else str(source)
    scene = {"source": source, **sections.pop("scene", {})}
    output = {"labels": str(labels), **sections.pop("output", {})}
    return RunConfig.model_validate({"version": 1, "scene": scene, "output": output, **sections})


def read(path: Path) -> npt.NDArray[np.uint8]:
    """Labels of a map."""
    with rasterio.open(path) as file:
        return file.read(1)


def snapshot(folder: Path) -> dict[str, str]:
    """Contents of all files below a folder, hidden ones included, by relative path."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def stage(targets: Sequence[Path], *, overwrite: bool = False, then: Callable[[], Any] = lambda: None) -> None:
    """Write the name of each target into its temporary file, then call `then`."""
    with Staging(targets, overwrite=overwrite) as staging:
        for target in targets:
            assert staging.path(target).parent.parent == target.parent  # on the same disk
            staging.path(target).write_text(target.name)
        then()


KILLED = """
import os, sys
from pathlib import Path
import numpy as np
from pipeline.engine import owner_mark
from pipeline.engine.work_folder import temporary_folder
if len(sys.argv) > 2:
    def refuse(*_): raise OSError(int(sys.argv[2]), "locks")
    owner_mark.fcntl.flock = refuse
with temporary_folder(Path(sys.argv[1]), "") as own:
    (own / "pixels").write_bytes(bytes(1000))
    os.kill(os.getpid(), 9)
"""


def killed_run(folder: Path, *args: object) -> Path:
    """Start a run that is killed, and return the temporary folder that it leaves."""
    before = set(folder.glob(f"{PREFIX}*"))
    subprocess.run([sys.executable, "-c", KILLED, str(folder), *map(str, args)], check=False)
    (left,) = set(folder.glob(f"{PREFIX}*")) - before
    assert {file.name for file in left.iterdir()} == {MARK, "pixels"}
    return left


OUTPUTS = (
    "classes.tif", "classes.tif.aux.xml", "classes.qml", "classes.csv", "classes_quicklook.png", "classes.model.json",
    "classes.html", "classes.run.json",
)  # fmt: skip


PAGE, REPORT = OUTPUTS[-2:]


ITEM = "classes.json"
"""The STAC item of a scene with a date, which describes the other files, too."""


MIXED = "not all from one run"


def contents(folder: Path) -> dict[str, bytes]:
    """Contents of all files of a folder as bytes, hidden ones included, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_report(found: dict[str, bytes]) -> dict[str, bytes]:
    """Outputs without the report and its page: those that are the same bytes in each run."""
    return {name: content for name, content in found.items() if name not in (PAGE, REPORT)}


def is_new(found: dict[str, bytes], new: dict[str, bytes]) -> bool:
    """Return True if the outputs are those of the new run, and the report has their digests."""
    if without_report(found) != new or REPORT not in found:
        return False
    digests = json.loads(found[REPORT])["sha256"]
    described = {name: content for name, content in new.items() if name != ITEM}
    return sorted(digests.values()) == sorted(_digests(described))


def _digests(found: dict[str, bytes]) -> list[str]:
    """SHA-256 digests of files, and of each folder: that of the sorted list of its files and their digests."""
    digests, folders = [], dict[str, str]()
    for name, content in sorted(found.items()):
        digest, (folder, _, inside) = hashlib.sha256(content).hexdigest(), name.partition("/")
        if inside:
            folders[folder] = f"{folders.get(folder, '')}{digest}  {inside}\n"
        else:
            digests.append(digest)
    return digests + [hashlib.sha256(text.encode()).hexdigest() for text in folders.values()]


RECORD: dict[str, Any] = {
    "config": {"version": 1, "scene": {"source": ["scene.tif"]}, "fit": {"k": 5}},
    "outputs": {"labels": "out/classes.tif", "run": "out/classes.run.json"},
    "sha256": {"labels": "0" * 64},
    "model": {"sha256": "1" * 64},
    "log": [{"inertia": 20.5, "iterations": 3}, {"inertia": 20.25, "iterations": 7}],
    "classes": [{"class": 1, "pixels": 10}],
    "plan": {
        "peak": 500_000_000, "passes": 2, "cache": "none", "cache_bytes": 0, "blocks": 4, "chunk": [64, 64],
        "workers": 2,
    },
    "source_passes": 2.0,
    "started": "2026-11-30T21:32:47+00:00",
    "seconds": {"sample": 0.5, "fit": 1.0, "total": 2.0},
    "peak_rss": 400_000_000,
    "versions": {"terrazzo": "0.1.0", "numpy": "2.0"},
}  # fmt: skip
"""What a report says of a run, as far as sinks read it."""
