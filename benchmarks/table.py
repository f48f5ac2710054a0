"""Summarise measured runs: medians, ratios, and the targets beside them.

Measures nothing; works on the timings that the driver collected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import log
from statistics import linear_regression, median
from typing import Any, Literal

from benchmarks.measure import Measured
from benchmarks.settings import CASES, DEFAULT_SIZE, PEERS

MEGABYTE = 10**6


@dataclass(frozen=True)
class Run:
    """One measured process: which scene, what ran, in which round."""

    case: str
    what: str
    round: int
    measured: Measured


@dataclass(frozen=True)
class Row:
    """All runs of one thing on one scene."""

    case: str
    what: str
    runs: int
    seconds: float
    least: float
    most: float
    to_floor: float | None
    peak_mb: float | None
    start: float
    """Seconds in which processes were started, a part of `seconds`: a median; 0 of a run on threads."""


@dataclass(frozen=True)
class Target:
    """A wanted bound and the value reached."""

    name: str
    bound: Literal["<=", ">="]
    wanted: float
    reached: float

    @property
    def met(self) -> bool:
        """Whether the value is on the right side of the bound."""
        if self.bound == ">=":
            return self.reached >= self.wanted
        return self.reached <= self.wanted

    def as_dict(self) -> dict[str, Any]:
        """Give the target as a result records it."""
        return {**asdict(self), "met": self.met}


def summarise(runs: Sequence[Run]) -> list[Row]:
    """Reduce the runs of each scene and thing to one row.

    Parameters
    ----------
    runs : sequence of Run
        All runs; floors stand under the name of the files they read.

    Returns
    -------
    list of Row
        Median seconds, their range, the ratio of the median to that of the
        floor, and the highest peak memory of all runs.

    """
    groups: dict[tuple[str, str], list[Measured]] = {}
    cases = list(dict.fromkeys(run.case for run in runs))
    # Sorting is stable: what ran on one scene stays together and in order.
    for run in sorted(runs, key=lambda run: cases.index(run.case)):
        groups.setdefault((run.case, run.what), []).append(run.measured)
    medians = {key: median(one.seconds for one in group) for key, group in groups.items()}
    rows = []
    for (case, what), group in groups.items():
        times = [one.seconds for one in group]
        peaks = [one.peak_bytes for one in group if one.peak_bytes is not None]
        middle = medians[case, what]
        floor = medians.get((CASES[case].input if case in CASES else case, "floor"))
        ratio = middle / floor if floor else None
        peak = max(peaks) / MEGABYTE if peaks else None
        start = median(one.report.get("seconds", {}).get("start", 0.0) for one in group)
        rows.append(Row(case, what, len(times), middle, min(times), max(times), ratio, peak, start))
    return rows


def judge(rows: Iterable[Row]) -> list[Target]:
    """Put the targets beside what was reached.

    Parameters
    ----------
    rows : iterable of Row
        The summary; targets whose runs are missing are left out.

    Returns
    -------
    list of Target
        In the order of the rows.

    """
    found = {(row.case, row.what): row for row in rows}
    targets = []
    for name, case in CASES.items():
        ours = found.get((name, "terrazzo"))
        if ours is None:
            continue
        if case.floor and ours.to_floor:
            targets.append(Target(f"{name}: terrazzo / floor, time", "<=", case.floor, ours.to_floor))
        beside = found.get((case.beside or "", "terrazzo"))
        if beside and case.slower:
            ratio = (ours.seconds - ours.start) / beside.seconds
            targets.append(Target(f"{name} without start / {case.beside}, time", "<=", case.slower, ratio))
        if ours.peak_mb is not None:
            targets.append(Target(f"{name}: terrazzo, peak memory in MB", "<=", case.peak_mb, ours.peak_mb))
        for what, peer in PEERS.items():
            theirs = found.get((name, what))
            if peer.case == name and theirs:
                targets.append(
                    Target(f"{name}: {what} / terrazzo, time", ">=", peer.slower, theirs.seconds / ours.seconds)
                )
                if peer.larger and theirs.peak_mb and ours.peak_mb:
                    ratio = theirs.peak_mb / ours.peak_mb
                    targets.append(Target(f"{name}: {what} / terrazzo, memory", ">=", peer.larger, ratio))
    return [*targets, *_growth(rows)]


def _growth(rows: Iterable[Row]) -> list[Target]:
    """Judge how time and memory grow with the side of the scene."""
    sizes = sorted((int(row.case), row) for row in rows if row.what == "growth")
    if len(sizes) <= 1:
        return []
    pixels = [log(side**2) for side, _ in sizes]
    times = [log(row.seconds) for _, row in sizes]
    targets = [Target("growth: exponent of time over pixels", "<=", 1.05, linear_regression(pixels, times).slope)]
    # the largest scenes alone, where what a run takes to start weighs little
    last = (times[-1] - times[-2]) / (pixels[-1] - pixels[-2])
    targets.append(Target("growth: the same of the two largest", "<=", 1.05, last))
    peaks = [row.peak_mb for side, row in sizes if side >= DEFAULT_SIZE // 2 and row.peak_mb]
    if len(peaks) > 1:
        targets.append(Target("growth: largest / least peak, from half a tile", "<=", 1.1, max(peaks) / min(peaks)))
    return targets


def format_rows(rows: Iterable[Row]) -> str:
    """Lay the summary out in lines of fewer than 80 columns."""
    head = ("case", "what", "runs", "median s", "min-max s", "x floor", "peak MB", "start s")
    lines = [_columns(*head)]
    for row in rows:
        span = f"{row.least:.2f}-{row.most:.2f}"
        peak = "-" if row.peak_mb is None else f"{row.peak_mb:.0f}"
        middle = f"{row.seconds:.2f}"
        ratio = "-" if row.to_floor is None else f"{row.to_floor:.2f}"
        lines.append(
            _columns(
                row.case, row.what, str(row.runs), middle, span, ratio, peak, f"{row.start:.2f}" if row.start else "-"
            ),
        )
    return "\n".join(lines)


def format_targets(targets: Iterable[Target]) -> str:
    """Lay the targets out in lines of fewer than 80 columns."""
    lines = [f"{'target':<46} {'wanted':>9} {'reached':>9}"]
    for target in targets:
        wanted = f"{target.bound} {target.wanted:g}"
        mark = "yes" if target.met else "NO"
        lines.append(f"{target.name:<46} {wanted:>9} {target.reached:>9.2f}  {mark}")
    return "\n".join(lines)


def _columns(*cells: str) -> str:
    """Set one line of the summary."""
    widths = ("<14", "<12", ">4", ">8", ">13", ">7", ">7", ">7")
    joined = (f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True))
    return " ".join(joined).rstrip()
