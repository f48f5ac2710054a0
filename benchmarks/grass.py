"""GRASS's way: link the bands, `i.cluster`, `i.maxlik`, write the map.

Run as a fresh process, as a benchmark. `i.cluster` groups a sample of rows and columns into spectral signatures,
`i.maxlik` assigns every pixel; both work on one thread. Everything is in a temporary project. Prints one JSON line with
the seconds of each stage.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import rasterio

from benchmarks.settings import CLUSTERS


def steps(scene: Path, bands: int, out: Path, classes: int) -> dict[str, list[list[str]]]:
    """Give the commands of each stage."""
    names = [f"band.{number}" for number in range(1, bands + 1)] if bands > 1 else ["band"]
    group = ["group=scene", "subgroup=scene"]
    return {
        "link": [
            ["r.external", "-o", f"input={scene}", "output=band"],
            ["g.region", f"raster={names[0]}"],
            ["i.group", *group, f"input={','.join(names)}"],
        ],
        "cluster": [["i.cluster", *group, "signaturefile=found", f"classes={classes}"]],
        "assign": [["i.maxlik", *group, "signaturefile=found", "output=classes"]],
        "write": [
            ["r.out.gdal", "-f", "input=classes", f"output={out}", "format=GTiff", "type=Byte", "nodata=0",
             "createopt=COMPRESS=DEFLATE,ZLEVEL=1,TILED=YES", "--overwrite"],
        ],
    }  # fmt: skip


def write_map(scene: Path, out: Path, classes: int = CLUSTERS) -> dict[str, float]:
    """Write the map of a GeoTIFF, in a project of its own; return the seconds of each stage."""
    with rasterio.open(scene) as source:
        bands = source.count
    seconds = {}
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        project = Path(folder) / "project"
        start = time.perf_counter()
        _run("grass", "-c", str(scene), "-e", str(project))
        seconds["project"] = time.perf_counter() - start
        for stage, commands in steps(scene, bands, out, classes).items():
            start = time.perf_counter()
            for command in commands:
                _run("grass", str(project / "PERMANENT"), "--exec", *command)
            seconds[stage] = time.perf_counter() - start
    return seconds


def main(argv: list[str] | None = None) -> None:
    """Write the map of a file and print the seconds of each stage."""
    parser = argparse.ArgumentParser(prog="benchmarks.grass")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("file", type=Path)
    args = parser.parse_args(argv)
    print(json.dumps({"seconds": write_map(args.file, args.out)}))


def _run(*command: str) -> None:
    """Run a command; on failure say what it said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"{' '.join(command)} failed: {done.stderr[-2000:]}"
        raise SystemExit(message)


if __name__ == "__main__":
    main()
