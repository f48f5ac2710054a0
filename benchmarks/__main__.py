"""Measure ``terrazzo run`` against its floor and the blog posts' way.

Each run is a fresh process on a whole-tile scene; floor and run take turns, so
that both see the same state of the machine.  Prints a table with the targets
beside the ratios reached, and keeps every single timing as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import available_memory, describe_machine, describe_versions
from benchmarks.measure import Measured, run_fresh
from benchmarks.settings import CASES, DEFAULT_SIZE, ROOT, cache_folder
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

    def floor(self, case: str) -> Measured:
        """Measure the floor of one scene."""
        places = ["--labels", str(self.labels), "--out", str(self.folder / "floor.tif")]
        return run_module("floor", *places, *self.scenes[case]["files"])

    def terrazzo(self, case: str) -> Measured:
        """Measure one ``terrazzo run`` of a scene."""
        return run_fresh(terrazzo_command(self.scenes[case]["source"], CASES[case].bands, self.folder), ROOT)

    def blog(self, case: str) -> Measured:
        """Measure the blog posts' way on one scene."""
        out = str(self.folder / "blog.tif")
        return run_module("blog", "--out", out, *self.scenes[case]["files"])

    def prepare(self, case: str) -> None:
        """Make the labels from one run, which also warms compiled code."""
        self.terrazzo(case)
        run_module("labels", str(self.folder / MAP_NAME), str(self.labels))


def run_module(name: str, *arguments: str) -> Measured:
    """Run a module of this package as a fresh process."""
    return run_fresh([sys.executable, "-m", f"benchmarks.{name}", *arguments], ROOT)


def measure_all(bench: Bench, repeat: int, blog: str | None) -> list[Run]:
    """Run every round of every scene, floor and run in turns.

    Parameters
    ----------
    bench : Bench
        The scenes, with labels made.
    repeat : int
        How many rounds.
    blog : str or None
        The scene to run the blog posts' way on, once.

    Returns
    -------
    list of Run
        Every single run, in the order in which it ran.

    """
    runs: list[Run] = []
    for number in range(1, repeat + 1):
        for case, scene in bench.scenes.items():
            read_through(scene["files"])
            steps = {"floor": bench.floor, "terrazzo": bench.terrazzo}
            for what, step in steps.items():
                runs.append(Run(case, what, number, step(case)))
                note(runs[-1])
    if blog is not None:
        read_through(bench.scenes[blog]["files"])
        runs.append(Run(blog, "blog", 1, bench.blog(blog)))
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


def reason_against_blog(args: argparse.Namespace) -> str | None:
    """Tell why the blog posts' way is not run, or None where it is."""
    if args.no_blog:
        return "asked not to"
    if "geotiff" not in args.cases:
        return "it runs on the GeoTIFF scene only"
    needed = BLOG_MEMORY * (args.size / DEFAULT_SIZE) ** 2
    free = available_memory()
    if free is None:
        return "the available memory is not known"
    if free < needed:
        return f"{free / 1e9:.1f} GB of memory available, {needed / 1e9:.1f} GB needed"
    return None


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--size", type=int, default=DEFAULT_SIZE)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--no-blog", action="store_true")
    parser.add_argument("--json", type=Path, help="where the result is kept")
    args = parser.parse_args(argv)
    args.cases = args.cases.split(",")
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
    against = reason_against_blog(args)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="run-") as folder:
        bench = Bench(built["scenes"], Path(folder))
        bench.prepare(args.cases[0])
        blog = "geotiff" if against is None else None
        runs = measure_all(bench, args.repeat, blog)
    rows = summarise(runs)
    targets = judge(rows)
    result = {
        "date": date,
        "size": args.size,
        "repeat": args.repeat,
        "chip": built["chip"],
        "machine": describe_machine(),
        "versions": describe_versions(),
        "blog_skipped": against,
        "summary": [asdict(row) for row in rows],
        "targets": [target.as_dict() for target in targets],
        "runs": [asdict(run) for run in runs],
    }
    print(format_rows(rows), end="\n\n")
    print(format_targets(targets))
    if against is not None:
        print(f"\nblog posts' way not run: {against}")
    print(f"\nkept in {save(args.json, result)}")


if __name__ == "__main__":
    main()
