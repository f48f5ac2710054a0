"""Charts as SVG elements of an HTML page: lines with deviations, histograms. Sizes are in units of the drawing."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, isfinite, log10
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.sinks.html_page import Html, element
from pipeline.sinks.palette import Colour

Numbers = npt.NDArray[np.float64]

_LEFT: Final = 62
"""Space for the labels of the vertical axis."""
_RIGHT: Final = 34
"""Space for the labels of lines."""
_TOP: Final = 12
_BOTTOM: Final = 50
"""Space for the labels of the horizontal axis, and its title."""
_LABEL: Final = 15
"""Least distance between the labels of two lines."""
_CHARACTER: Final = 9.0
"""Width of a character of a label on small screens, where labels are larger."""
_MOST_LABELS: Final = 24
"""Largest number of lines that are labelled."""
_MOST_POINTS: Final = 30
"""Largest number of points of a line that are marked."""
_STEPS: Final = (1, 2, 2.5, 5, 10)
"""Steps between ticks, times a power of ten."""


def hex_colour(colour: Colour) -> str:
    """Colour as #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def short(number: float) -> str:
    """Write a number in up to four digits."""
    return f"{number:.4g}" if isfinite(number) else "–"


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
    """What its numbers are."""
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
        return found if len(found) > 1 else [(number, short(number)) for number in ticks(self.low, self.high, most)]


@dataclass(frozen=True, kw_only=True)
class Plot:
    """The frame of a chart: its size and its axes."""

    x: Axis
    """The horizontal axis."""
    y: Axis
    """The vertical axis."""
    width: int = 720
    """Width of the whole drawing."""
    height: int = 380
    """Height of the whole drawing."""

    @property
    def bottom(self) -> float:
        """Vertical position of the horizontal axis."""
        return self.height - _BOTTOM

    def across(self, number: float) -> float:
        """Horizontal position of a number."""
        return round(_LEFT + self.x.share(number) * (self.width - _LEFT - _RIGHT), 1)

    def up(self, number: float) -> float:
        """Vertical position of a number."""
        return round(self.bottom - self.y.share(number) * (self.bottom - _TOP), 1)

    def draw(self, label: str, content: Iterable[str], kind: str = "chart") -> Html:
        """Draw axes, and on them some elements; `label` is for those who can't see the chart."""
        return element(
            "svg",
            *self._vertical(),
            *self._horizontal(),
            *content,
            viewBox=f"0 0 {self.width} {self.height}",
            role="img",
            aria_label=label,
            class_=kind,
        )

    def _vertical(self) -> Iterator[Html]:
        """Yield lines and labels of the vertical axis."""
        right = self.width - _RIGHT
        for number, label in self.y.marks(5):
            y = self.up(number)
            yield element("line", x1=_LEFT, x2=right, y1=y, y2=y, class_="grid")
            yield element("text", label, x=_LEFT - 8, y=y + 5, class_="end")
        middle = (_TOP + self.bottom) / 2
        yield element("text", self.y.title, x=14, y=middle, transform=f"rotate(-90 14 {middle:g})", class_="middle axis")

    def _horizontal(self) -> Iterator[Html]:
        """Yield the line and labels of the horizontal axis; labels without room are left out."""
        bottom, end = self.bottom, float("-inf")
        yield element("line", x1=_LEFT, x2=self.width - _RIGHT, y1=bottom, y2=bottom, class_="base")
        for number, label in self.x.marks(6):
            x, half = self.across(number), (len(label) + 1) * _CHARACTER / 2
            yield element("line", x1=x, x2=x, y1=bottom, y2=bottom + 5, class_="base")
            if x - half >= end:
                yield element("text", label, x=x, y=bottom + 22, class_="middle")
                end = x + half
        yield element(
            "text", self.x.title, x=(_LEFT + self.width - _RIGHT) / 2, y=self.height - 6, class_="middle axis"
        )


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a chart."""

    label: str
    """Text at its end; empty for none."""
    colour: str
    """Its colour as #rrggbb, or a word of the style sheet."""
    x: Sequence[float]
    """Horizontal positions, shape (point,)."""
    y: Numbers
    """Numbers, shape (point,); where they are not finite, the line is interrupted."""
    spread: Numbers | None = field(default=None)
    """Deviations up and down, drawn as a band, shape (point,); None for none."""


def line_chart(plot: Plot, label: str, lines: Sequence[Line]) -> Html:
    """Draw lines, on bands of their deviations, with a label at the end of each."""
    content: list[Html] = []
    for line in lines:
        if line.spread is not None:
            content += _band(plot, line)
    for line in lines:
        content += _stroke(plot, line)
    if len(lines) <= _MOST_LABELS:
        content += _labels(plot, lines)
    return plot.draw(label, content)


def _points(plot: Plot, x: Iterable[float], y: Iterable[float]) -> str:
    return " ".join(f"{plot.across(a):g},{plot.up(b):g}" for a, b in zip(x, y, strict=True) if isfinite(b))


def _band(plot: Plot, line: Line) -> Iterator[Html]:
    """Yield the area between the deviations of a line, if it is not interrupted."""
    low, high = line.y - line.spread, line.y + line.spread
    if np.isfinite(high).all():
        outline = f"{_points(plot, line.x, high)} {_points(plot, reversed(line.x), low[::-1])}"
        yield element("polygon", points=outline, fill=line.colour, fill_opacity=0.16)


def _stroke(plot: Plot, line: Line) -> Iterator[Html]:
    """Yield a line and its points; below it a wider one that sets it off from the page, whatever its colour."""
    runs = np.split(np.arange(len(line.y)), np.flatnonzero(np.diff(np.isfinite(line.y))) + 1)
    for run in runs:
        points = _points(plot, [line.x[number] for number in run], line.y[run])
        if points:
            yield element("polyline", points=points, class_="casing")
            yield element("polyline", points=points, stroke=line.colour, class_="line")
            for point in points.split() if len(run) <= _MOST_POINTS else ():
                x, _, y = point.partition(",")
                yield element("circle", cx=x, cy=y, r=3.2, fill=line.colour, class_="point")


def _labels(plot: Plot, lines: Sequence[Line]) -> Iterator[Html]:
    """Yield the labels of lines right of their ends, moved apart where they would overlap."""
    ends = [(plot.up(line.y[-1]), line) for line in lines if line.label and len(line.y) and isfinite(line.y[-1])]
    ends.sort(key=lambda end: end[0])
    positions = spread_out([y for y, _ in ends], _LABEL, _TOP + 4, plot.bottom)
    for (y, line), placed in zip(ends, positions, strict=True):
        x = plot.width - _RIGHT
        yield element("line", x1=plot.across(line.x[-1]), x2=x + 8, y1=y, y2=round(placed, 1), class_="leader")
        yield element("text", line.label, x=x + 11, y=round(placed + 5, 1), class_="strong")


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


@dataclass(frozen=True, kw_only=True)
class Extent:
    """From where to where most values of a class are."""

    colour: str
    """Colour of the class as #rrggbb."""
    low: float
    """Lower end."""
    middle: float
    """Value in the middle."""
    high: float
    """Upper end."""


def histogram_chart(
    plot: Plot,
    label: str,
    counts: npt.NDArray[np.int64],
    colours: Sequence[str],
    *,
    edges: Sequence[float] = (),
    extents: Sequence[Extent] = (),
) -> Html:
    """Draw a histogram of equal bins over the horizontal axis, classes stacked.

    Parameters
    ----------
    plot : Plot
        Frame; its vertical axis is that of the counts.
    label : str
        Description for those who can't see the chart.
    counts : ndarray, shape (class, bin)
        Number of pixels per class and bin; the first class is at the bottom.
    colours : sequence of str
        Colour per class.
    edges : sequence of float
        Numbers at which vertical lines are drawn.
    extents : sequence of Extent
        Drawn as lines above the histogram, from the first one down.
    """
    content = []
    for top, colour in zip(np.cumsum(counts, axis=0)[::-1], colours[::-1], strict=True):
        content.append(element("path", d=_steps(plot, top), fill=colour))
    content.append(element("path", d=_steps(plot, counts.sum(axis=0)), class_="outline"))
    for edge in edges:
        x = plot.across(edge)
        content.append(element("line", x1=x, x2=x, y1=_TOP, y2=plot.bottom, class_="edge"))
    for number, extent in enumerate(extents):
        content += _extent(plot, extent, _TOP + 4 + 6 * number)
    return plot.draw(label, content, "chart small")


def _steps(plot: Plot, tops: npt.NDArray[np.int64]) -> str:
    """Outline of the bins of a histogram as path data."""
    sides = [plot.across(each) for each in np.linspace(plot.x.low, plot.x.high, len(tops) + 1).tolist()]
    up = "".join(f"V{plot.up(top):g}H{right:g}" for top, right in zip(tops.tolist(), sides[1:], strict=True))
    return f"M{sides[0]:g} {plot.bottom:g}{up}V{plot.bottom:g}z"


def _extent(plot: Plot, extent: Extent, y: float) -> Iterator[Html]:
    low, high = plot.across(extent.low), plot.across(extent.high)
    yield element("line", x1=low, x2=high, y1=y, y2=y, class_="casing")
    yield element("line", x1=low, x2=high, y1=y, y2=y, stroke=extent.colour, class_="line")
    yield element("circle", cx=plot.across(extent.middle), cy=y, r=2.6, fill=extent.colour, class_="point")


def swatch(colour: Colour) -> Html:
    """Draw a box of a colour, for a legend."""
    box = element("rect", x=0.5, y=0.5, width=17, height=17, rx=3, fill=hex_colour(colour), class_="box")
    return element("svg", box, viewBox="0 0 18 18", class_="swatch", aria_hidden="true")


def share_bar(share: float, colour: Colour) -> Html:
    """Draw a bar whose length is a share, from 0 to 1, of its space."""
    bar = element("rect", width=round(100 * share, 2), height=8, fill=hex_colour(colour), class_="box")
    return element("svg", bar, viewBox="0 0 100 8", preserveAspectRatio="none", class_="bar", aria_hidden="true")
