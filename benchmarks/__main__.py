"""Measure ``terrazzo run`` against its floor and against its peers.

Each run is a fresh process on a whole-tile scene; floor and run take turns, so
that both see the same state of the machine.  Prints a table with the targets
beside the ratios reached, and keeps every single timing as JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.machine import available_memory, describe_machine, describe_versions
from benchmarks.measure import Measured, run_fresh
from benchmarks.settings import CASES, DASK_LIMIT, DEFAULT_SIZE, GROWTH, PEERS, ROOT, cache_folder
from benchmarks.table import Run, format_rows, format_targets, judge, summarise
from benchmarks.terrazzo_run import MAP_NAME, terrazzo_command

# What a whole tile needs the blog posts' way, with room for the rest.
BLOG_MEMORY = 18 * 10**9
CHUNK = 4 * 2**20


@dataclass(frozen=True)
class Bench:
    """The scenes to run on and a folder for what the runs write."""

    scenes: dict[str, dict[str, list[str]]]
    """Of each case the source to run on and the files to decode."""
    folder: Path

    @property
    def labels(self) -> Path:
        """The label array that the floor writes."""
        return self.folder / "labels.npy"

    def files(self, case: str) -> list[str]:
        """Give the files that hold the bands of a case."""
        return self.scenes[case]["files"]

    def floor(self, case: str) -> Measured:
        """Measure the floor of one case's files."""
        places = ["--labels", str(self.labels), "--out", str(self.folder / "floor.tif")]
        return run_module("floor", *places, *self.files(case))

    def terrazzo(self, case: str, sources: Sequence[str] | None = None) -> Measured:
        """Measure one ``terrazzo run``."""
        return run_fresh(terrazzo_command(sources or self.scenes[case]["source"], CASES[case], self.folder), ROOT)

    def peer(self, name: str, passes: int) -> Measured:
        """Measure another way to the map of a case."""
        out, files = ["--out", str(self.folder / f"{name}.tif")], self.files(PEERS[name].case)
        if name.startswith("sklearn"):
            return run_module("sklearn_kmeans", *out, "--model", str(self.start), "--passes", str(passes), *files)
        if name == "dask-ml":
            return run_module("dask_kmeans", *out, *files, most=DASK_LIMIT)
        return run_module(name, *out, *files)

    @property
    def start(self) -> Path:
        """A model from a sample: the centroids from which passes over all pixels start."""
        return self.folder / "start.json"

    def prepare(self, case: str) -> None:
        """Make the labels and the start from one run, which also warms compiled code."""
        self.terrazzo(case)
        run_module("labels", str(self.folder / MAP_NAME), str(self.labels))
        (self.folder / MAP_NAME).with_suffix(".model.json").replace(self.start)


def run_module(name: str, *arguments: str, most: float | None = None) -> Measured:
    """Run a module of this package as a fresh process."""
    return run_fresh([sys.executable, "-m", f"benchmarks.{name}", *arguments], ROOT, most)


def measure_all(bench: Bench, repeat: int, peers: Sequence[str]) -> list[Run]:
    """Run every round of every case: floors, runs and peers in turns.

    Parameters
    ----------
    bench : Bench
        The scenes, with labels made.
    repeat : int
        How many rounds.
    peers : sequence of str
        Other ways to measure beside.

    Returns
    -------
    list of Run
        Every single run, in the order in which it ran.

    """
    runs: list[Run] = []

    def add(case: str, what: str, number: int, measure: Callable[[], Measured]) -> None:
        runs.append(Run(case, what, number, measure()))
        note(runs[-1])

    for number in range(1, repeat + 1):
        floors: set[str] = set()
        for case in bench.scenes:
            read_through(bench.files(case))
            files = CASES[case].input
            for _ in range(CASES[case].turns):
                if files not in floors:
                    add(files, "floor", number, partial(bench.floor, case))
                add(case, "terrazzo", number, partial(bench.terrazzo, case))
            floors.add(files)
            passes = sum("changed" in entry for entry in runs[-1].measured.report["log"])
            for name in peers:
                if PEERS[name].case == case and number <= (PEERS[name].rounds or repeat):
                    try:
                        add(case, name, number, partial(bench.peer, name, passes))
                    except TimeoutError as error:
                        print(error, file=sys.stderr, flush=True)
    return runs


def measure_growth(bench: Bench, sizes: Sequence[int], repeat: int) -> list[Run]:
    """Run on GeoTIFFs of growing size, in turns."""
    scenes = {
        size: run_module("scenes", "--size", str(size), "--cases", "geotiff").report["scenes"]["geotiff"]
        for size in sizes
    }
    runs: list[Run] = []
    for number in range(1, repeat + 1):
        for size, scene in scenes.items():
            read_through(scene["files"])
            runs.append(Run(str(size), "growth", number, bench.terrazzo("geotiff", scene["source"])))
            note(runs[-1])
    return runs


def read_through(paths: Sequence[str]) -> None:
    """Read files once, so that no run pays for a cold disk."""
    for path in paths:
        with Path(path).open("rb") as stream:
            while stream.read(CHUNK):
                pass


def note(run: Run) -> None:
    """Tell on stderr how far the measuring is."""
    line = f"round {run.round}: {run.case} {run.what} {run.measured.seconds:.2f} s"
    print(line, file=sys.stderr, flush=True)


def choose_peers(args: argparse.Namespace) -> dict[str, str]:
    """Tell of each peer why it is not run; nothing where it is."""
    reasons = {}
    needed = BLOG_MEMORY * (args.size / DEFAULT_SIZE) ** 2
    free = available_memory()
    for name, peer in PEERS.items():
        if args.no_peers:
            reasons[name] = "asked not to"
        elif peer.case not in args.cases:
            reasons[name] = f"it runs beside the case {peer.case} only"
        elif name == "grass" and not shutil.which("grass"):
            reasons[name] = "GRASS is not installed"
        elif name != "grass" and (free is None or free < needed):
            reasons[name] = f"{(free or 0) / 1e9:.1f} GB of memory available, {needed / 1e9:.1f} GB needed"
    return reasons


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--size", type=int, default=DEFAULT_SIZE)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--no-peers", action="store_true", help="Terrazzo and its floors alone")
    parser.add_argument("--no-kernels", action="store_true", help="no kernels in memory, which take minutes")
    parser.add_argument("--growth", default=",".join(map(str, GROWTH)), help="sides of scenes, or nothing")
    parser.add_argument("--json", type=Path, help="where the result is kept")
    args = parser.parse_args(argv)
    args.cases = args.cases.split(",")
    args.growth = [int(size) for size in args.growth.split(",") if size]
    if unknown := set(args.cases) - set(CASES):
        parser.error(f"unknown cases: {', '.join(sorted(unknown))}")
    if args.repeat < 1:
        parser.error("--repeat must be 1 or more")
    return args


def save(path: Path | None, result: dict[str, Any]) -> Path:
    """Keep a result where asked, or else in the cache under its date."""
    if path is None:
        stamp = result["date"].replace(":", "").replace("-", "")
        path = cache_folder() / "results" / f"{stamp}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return path


def main(argv: list[str] | None = None) -> None:
    """Build what is missing, measure, print the table and keep the result."""
    args = parse(argv)
    date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    cases = ",".join(args.cases)
    built = run_module("scenes", "--size", str(args.size), "--cases", cases).report
    skipped = choose_peers(args)
    kernels = {"lines": []} if args.no_kernels else run_module("kernels").report
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="run-") as folder:
        bench = Bench(built["scenes"], Path(folder))
        bench.prepare(args.cases[0])
        runs = measure_all(bench, args.repeat, [name for name in PEERS if name not in skipped])
        runs += measure_growth(bench, args.growth, args.repeat)
    rows = summarise(runs)
    targets = judge(rows)
    result = {
        "date": date,
        "size": args.size,
        "repeat": args.repeat,
        "chip": built["chip"],
        "machine": describe_machine(),
        "versions": describe_versions(),
        "skipped": skipped,
        "kernels": kernels,
        "summary": [asdict(row) for row in rows],
        "targets": [target.as_dict() for target in targets],
        "runs": [asdict(run) for run in runs],
    }
    print(format_rows(rows), end="\n\n")
    print(format_targets(targets))
    for line in kernels["lines"]:
        print(line)
    for name, reason in skipped.items():
        print(f"{name} not run: {reason}")
    print(f"\nkept in {save(args.json, result)}")


if __name__ == "__main__":
    main()
