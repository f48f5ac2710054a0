"""The frame of a chart as SVG: its axes, their ticks and labels. Sizes are in units of the drawing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import ceil, floor, isfinite, log10
from typing import Final

from pipeline.sinks.html_page import Html, element

LEFT: Final = 72
"""Space for the labels of the vertical axis."""
RIGHT: Final = 34
"""Space for the labels of lines."""
_BOTTOM: Final = 50
"""Space for the labels of the horizontal axis, and its title."""
LABEL: Final = 17
"""Least distance between two labels that are moved apart."""
_CHARACTER: Final = 9.0
"""Width of a character of a label on small screens, where labels are larger."""
_LEADER: Final = 26
"""Space for the lines from ticks to upright labels."""
_SMALL: Final = 500
"""Width up to which a chart is one of several side by side."""
_STEPS: Final = (1, 2, 2.5, 5, 10)
"""Steps between ticks, times a power of ten."""


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round numbers between two, at most about as many as asked for."""
    if not (isfinite(high - low) and high > low):
        return [low] if isfinite(low) else []
    rough = (high - low) / most
    unit = 10.0 ** floor(log10(rough))
    step = next(unit * each for each in _STEPS if unit * each >= rough * (1 - 1e-9))
    return [number * step for number in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis of a chart: its numbers, title and ticks."""

    low: float
    """Number at its start."""
    high: float
    """Number at its end."""
    title: str
    """What its numbers are; empty if that is said elsewhere."""
    ticks: tuple[tuple[float, str], ...] = ()
    """Positions with their labels; round numbers without it."""
    logarithmic: bool = False
    """Whether equal distances are equal ratios."""

    @classmethod
    def around(cls, numbers: Iterable[float], title: str, *, margin: float = 0.04, logarithmic: bool = False) -> "Axis":
        """Axis that has all of some numbers, with a margin as a share of its length."""
        finite = [number for number in numbers if isfinite(number)] or [0.0, 1.0]
        low, high = min(finite), max(finite)
        if logarithmic:
            return cls(low=low / 1.3, high=high * 1.3, title=title, logarithmic=True)
        space = (high - low) * margin or abs(high) * margin or 1.0
        return cls(low=low - space, high=high + space, title=title)

    def share(self, number: float) -> float:
        """Position of a number, from 0 at the start to 1 at the end; numbers beyond are as far as the end."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, number = log10(low), log10(high), log10(max(number, low))
        return min(1.0, max(0.0, (number - low) / ((high - low) or 1)))

    def marks(self, most: int) -> list[tuple[float, str]]:
        """Positions of ticks with their labels."""
        if self.ticks:
            return list(self.ticks)
        if not self.logarithmic:
            return [(number, f"{number:.6g}") for number in ticks(self.low, self.high, most)]
        powers = range(ceil(log10(self.low)), floor(log10(self.high)) + 1)
        step = max(1, ceil(len(powers) / most))
        found = [(10.0**power, f"{10.0**power:g}") for power in powers[::step]]
        return found if len(found) > 1 else [(number, f"{number:.4g}") for number in ticks(self.low, self.high, most)]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """The frame of a chart: its size and its axes."""

    x: Axis
    """The horizontal axis."""
    y: Axis
    """The vertical axis."""
    width: int = 860
    """Width of the whole drawing."""
    height: int = 430
    """Height of the whole drawing."""
    top: int = 12
    """Vertical position of the upper end of the vertical axis."""

    @cached_property
    def upright(self) -> bool:
        """Whether the labels of the horizontal axis stand upright, as they have no room side by side."""
        ends = [(self.across(number), (len(label) + 1) * _CHARACTER / 2) for number, label in self.x.ticks]
        return any(right - left < one + other for (left, one), (right, other) in pairwise(ends))

    @cached_property
    def bottom(self) -> float:
        """Vertical position of the horizontal axis."""
        longest = max((len(label) for _, label in self.x.ticks), default=0)
        return self.height - _BOTTOM - (_LEADER + longest * _CHARACTER - 16 if self.upright else 0)

    def across(self, number: float) -> float:
        """Horizontal position of a number."""
        return round(LEFT + self.x.share(number) * (self.width - LEFT - RIGHT), 1)

    def up(self, number: float) -> float:
        """Vertical position of a number."""
        return round(self.bottom - self.y.share(number) * (self.bottom - self.top), 1)

    def draw(self, label: str, content: Iterable[str]) -> Html:
        """Draw axes, and on them some elements; `label` is for those who can't see the chart.

        On small screens a large chart scrolls by itself.
        """
        chart = element(
            "svg",
            *self._vertical(),
            *self._horizontal(),
            *content,
            viewBox=f"0 0 {self.width} {self.height}",
            role="img",
            aria_label=label,
            class_="chart" if self.width > _SMALL else "chart small",
        )
        return (
            element("div", chart, class_="wide", tabindex=0, role="group", aria_label=label)
            if self.width > _SMALL
            else chart
        )

    def _vertical(self) -> Iterator[Html]:
        """Yield lines and labels of the vertical axis."""
        right = self.width - RIGHT
        for number, label in self.y.marks(6):
            y = self.up(number)
            yield element("line", x1=LEFT, x2=right, y1=y, y2=y, class_="rule")
            yield element("text", label, x=LEFT - 8, y=y + 5, class_="end")
        middle = (self.top + self.bottom) / 2
        if self.y.title:
            yield element(
                "text", self.y.title, x=14, y=middle, transform=f"rotate(-90 14 {middle:g})", class_="middle axis y"
            )

    def _horizontal(self) -> Iterator[Html]:
        """Yield the line and labels of the horizontal axis."""
        right, bottom = self.width - RIGHT, self.bottom
        yield element("line", x1=LEFT, x2=right, y1=bottom, y2=bottom, class_="base")
        for number, _ in self.x.marks(6):
            x = self.across(number)
            yield element("line", x1=x, x2=x, y1=bottom, y2=bottom + 5, class_="base")
        yield from self._upright_labels() if self.upright else self._labels_side_by_side()
        yield element("text", self.x.title, x=(LEFT + right) / 2, y=self.height - 6, class_="middle axis")

    def _labels_side_by_side(self) -> Iterator[Html]:
        for number, label in self.x.marks(6):
            yield element("text", label, x=self.across(number), y=self.bottom + 22, class_="middle")

    def _upright_labels(self) -> Iterator[Html]:
        """Yield labels that stand upright, moved apart where they would overlap, with lines from their ticks."""
        top = self.bottom + 5
        ticks = [self.across(number) for number, _ in self.x.ticks]
        places = spread_out(ticks, LABEL, LEFT, self.width - RIGHT)
        for tick, place, (_, label) in zip(ticks, places, self.x.ticks, strict=True):
            x, y = round(place, 1), top + _LEADER
            yield element("line", x1=tick, x2=x, y1=top, y2=y - 4, class_="leader")
            yield element("text", label, x=x, y=y, transform=f"rotate(-90 {x} {y})", class_="end upright")


def spread_out(positions: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Move ascending positions apart to a least distance, as little as that takes, and into a range if it has room."""
    least = min(least, (high - low) / max(len(positions) - 1, 1))
    groups: list[list[float]] = []  # centre and number of labels that touch
    for position in positions:
        groups.append([position, 1])
        while len(groups) > 1 and _start(groups[-1], least) < _start(groups[-2], least) + groups[-2][1] * least:
            centre, count = groups.pop()
            last = groups[-1]
            last[0], last[1] = (last[0] * last[1] + centre * count) / (last[1] + count), last[1] + count
    found = [_start(group, least) + number * least for group in groups for number in range(int(group[1]))]
    floors = [low + number * least for number in range(len(found))]
    found = [max(position, floor_) for position, floor_ in zip(found, floors, strict=True)]
    ceilings = [high - number * least for number in range(len(found))][::-1]
    return [min(position, ceiling) for position, ceiling in zip(found, ceilings, strict=True)]


def _start(group: Sequence[float], least: float) -> float:
    """First position of a group of labels around a centre."""
    return group[0] - (group[1] - 1) * least / 2
