"""Charts as SVG elements of an HTML page: lines with deviations, histograms, bars of shares."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.sinks.chart_axes import LABEL, RIGHT, Plot, spread_out
from pipeline.sinks.html_page import UNKNOWN, Html, element

Numbers = npt.NDArray[np.float64]

_MOST_LABELS: Final = 24
"""Largest number of lines that are labelled."""
_LARGE: Final = 1e4
_HUGE: Final = 1e7
"""Numbers from the first to the second have no exponent."""
_MOST_POINTS: Final = 30
"""Largest number of points of a line that are marked."""


def short(number: float, digits: int = 4) -> str:
    """Write a number in some digits; large ones in all digits before the point."""
    if not isfinite(number):
        return UNKNOWN
    return f"{number:.0f}" if _LARGE <= abs(number) < _HUGE else f"{number:.{digits}g}"


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
    spread: Numbers | None = None
    """Deviations up and down, drawn as a band, shape (point,); None for none."""
    joined: bool = True
    """Whether its points are joined."""


def line_chart(plot: Plot, label: str, lines: Sequence[Line]) -> Html:
    """Draw lines, on bands of their deviations, with a label at the end of each."""
    content: list[Html] = []
    for line in lines:
        content += _band(plot, line)
    for line in lines:
        content += _stroke(plot, line)
    if len(lines) <= _MOST_LABELS:
        content += _labels(plot, lines)
    return plot.draw(label, content)


def _points(plot: Plot, x: Iterable[float], y: Iterable[float]) -> str:
    return " ".join(f"{plot.across(a):g},{plot.up(b):g}" for a, b in zip(x, y, strict=True) if isfinite(b))


def _band(plot: Plot, line: Line) -> Iterator[Html]:
    """Yield the area between the deviations of a line, if it has any and is not interrupted."""
    if line.spread is None:
        return
    low, high = line.y - line.spread, line.y + line.spread
    if np.isfinite(high).all():
        outline = f"{_points(plot, line.x, high)} {_points(plot, reversed(line.x), low[::-1])}"
        yield element("polygon", points=outline, fill=line.colour, fill_opacity=0.16)


def _stroke(plot: Plot, line: Line) -> Iterator[Html]:
    """Yield a line and its points; below it a wider one that sets it off from the page, whatever its colour."""
    runs = np.split(np.arange(len(line.y)), np.flatnonzero(np.diff(np.isfinite(line.y))) + 1)
    for run in runs:
        points = _points(plot, [line.x[number] for number in run], line.y[run])
        if points and line.joined:
            yield element("polyline", points=points, class_="casing")
            yield element("polyline", points=points, stroke=line.colour, class_="line")
        for point in points.split() if len(run) <= _MOST_POINTS or not line.joined else ():
            x, _, y = point.partition(",")
            yield element("circle", cx=x, cy=y, r=3.2, fill=line.colour, class_="point")


def _labels(plot: Plot, lines: Sequence[Line]) -> Iterator[Html]:
    """Yield the labels of lines right of their ends, moved apart where they would overlap."""
    ends = [(plot.up(line.y[-1]), line) for line in lines if line.label and len(line.y) and isfinite(line.y[-1])]
    ends.sort(key=lambda end: end[0])
    positions = spread_out([y for y, _ in ends], LABEL, plot.top + 4, plot.bottom)
    for (y, line), placed in zip(ends, positions, strict=True):
        x = plot.width - RIGHT
        yield element("line", x1=plot.across(line.x[-1]), x2=x + 8, y1=y, y2=round(placed, 1), class_="leader")
        yield element("text", line.label, x=x + 11, y=round(placed + 5, 1), class_="strong")


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
        content.append(element("line", x1=x, x2=x, y1=plot.top, y2=plot.bottom, class_="edge"))
    for number, extent in enumerate(extents):
        content += _extent(plot, extent, 4 + 6 * number)
    return plot.draw(label, content)


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


def swatch(colour: str) -> Html:
    """Draw a box of a colour, for a legend."""
    box = element("rect", x=0.5, y=0.5, width=17, height=17, rx=3, fill=colour, class_="box")
    return element("svg", box, viewBox="0 0 18 18", class_="swatch", aria_hidden="true")


def share_bar(share: float, colour: str) -> Html:
    """Draw a bar whose length is a share, from 0 to 1, of its space."""
    bar = element("rect", width=round(100 * share, 2), height=8, fill=colour, class_="box")
    return element("svg", bar, viewBox="0 0 100 8", preserveAspectRatio="none", class_="bar", aria_hidden="true")
