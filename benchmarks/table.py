"""Summarise measured runs: medians, ratios, and the targets beside them.

Measures nothing; works on the timings that the driver collected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from benchmarks.measure import Measured
from benchmarks.settings import CASES

MEGABYTE = 10**6
# Lowest ratio of the blog posts' way to a run.
BLOG_TARGET = 8.0


@dataclass(frozen=True)
class Run:
    """One measured process: which scene, what ran, in which round."""

    case: str
    what: str
    round: int
    measured: Measured


@dataclass(frozen=True)
class Row:
    """All rounds of one thing on one scene."""

    case: str
    what: str
    rounds: int
    seconds: float
    least: float
    most: float
    to_floor: float
    peak_mb: float | None


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
    """Reduce the rounds of each scene and thing to one row.

    Parameters
    ----------
    runs : sequence of Run
        All runs; every scene among them has its floor.

    Returns
    -------
    list of Row
        Median seconds, their range, the ratio of the median to that of the
        floor, and the highest peak memory of all rounds.

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
        ratio = middle / medians[case, "floor"]
        peak = max(peaks) / MEGABYTE if peaks else None
        rows.append(
            Row(case, what, len(times), middle, min(times), max(times), ratio, peak),
        )
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
    for (case, what), row in found.items():
        if what != "terrazzo":
            continue
        name = f"{case}: terrazzo / floor, seconds"
        targets.append(Target(name, "<=", CASES[case].floor, row.to_floor))
        blog = found.get((case, "blog"))
        if blog is not None:
            name = f"{case}: blog posts' way / terrazzo, seconds"
            ratio = blog.seconds / row.seconds
            targets.append(Target(name, ">=", BLOG_TARGET, ratio))
        if row.peak_mb is not None:
            name = f"{case}: terrazzo, peak memory in MB"
            targets.append(Target(name, "<=", CASES[case].peak_mb, row.peak_mb))
    return targets


def format_rows(rows: Iterable[Row]) -> str:
    """Lay the summary out in lines of fewer than 80 columns."""
    head = ("case", "what", "runs", "median s", "min-max s", "x floor", "peak MB")
    lines = [_columns(*head)]
    for row in rows:
        span = f"{row.least:.2f}-{row.most:.2f}"
        peak = "-" if row.peak_mb is None else f"{row.peak_mb:.0f}"
        middle, ratio = f"{row.seconds:.2f}", f"{row.to_floor:.2f}"
        lines.append(
            _columns(row.case, row.what, str(row.rounds), middle, span, ratio, peak),
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
    widths = ("<8", "<9", ">4", ">9", ">16", ">8", ">8")
    joined = (f"{cell:{width}}" for cell, width in zip(cells, widths, strict=True))
    return " ".join(joined).rstrip()
