"""Charts show the numbers that they are given: read back from their coordinates."""

import re

import numpy as np
import pytest
from pages import read_page

from pipeline.sinks.chart_axes import Axis, Plot
from pipeline.sinks.charts import Line, histogram_chart, line_chart, short

X, Y = Axis(low=400, high=900, title="x"), Axis(low=0, high=100, title="y")
PLOT = Plot(x=X, y=Y)


def test_lines_go_through_their_numbers_and_bands_are_deviations_around_them() -> None:
    x, y, spread = [450.0, 560.0, 842.0], np.array([10.0, 55.5, 80.0]), np.array([2.0, 5.0, 10.0])
    chart = read_page(line_chart(PLOT, "l", [Line(label="3", colour="#aabbcc", x=x, y=y, spread=spread)]))
    (line,) = [node for node in chart.all("polyline") if node.attributes.get("stroke") == "#aabbcc"]
    np.testing.assert_allclose(numbers(line.attributes["points"]), np.stack([x, y], axis=1), atol=0.2)
    (band,) = chart.all("polygon")
    edge = numbers(band.attributes["points"])
    np.testing.assert_allclose(edge[:3, 1], y + spread, atol=0.2)
    np.testing.assert_allclose(edge[:2:-1, 1], y - spread, atol=0.2)
    assert [node.text for node in chart.all("text", "strong")] == ["3"]
    assert chart.all("svg")[0].attributes["aria-label"] == "l"


def numbers(points: str) -> np.ndarray:
    """Numbers at positions of the drawing."""
    left, right = PLOT.across(X.low), PLOT.across(X.high)
    bottom, top = PLOT.up(Y.low), PLOT.up(Y.high)
    found = np.array([list(map(float, point.split(","))) for point in points.split()])
    x = X.low + (found[:, 0] - left) / (right - left) * (X.high - X.low)
    return np.stack([x, Y.low + (found[:, 1] - bottom) / (top - bottom) * (Y.high - Y.low)], axis=1)


def test_a_line_is_interrupted_where_a_number_is_unknown() -> None:
    x, y = [1.0, 2.0, 3.0, 4.0, 5.0], np.array([1.0, 2.0, np.nan, 4.0, np.inf])
    chart = read_page(line_chart(PLOT, "l", [Line(label="", colour="#000000", x=x, y=y, spread=np.ones(5))]))
    lines = [node.attributes["points"] for node in chart.all("polyline") if "stroke" in node.attributes]
    assert [len(points.split()) for points in lines] == [2, 1]
    assert not chart.all("polygon")
    assert "nan" not in str(lines)


def test_bars_are_as_high_as_their_counts_and_classes_are_stacked() -> None:
    counts = np.array([[10, 0, 30], [5, 20, 0]])
    plot = Plot(x=Axis(low=0, high=3, title=""), y=Axis(low=0, high=40, title=""))
    chart = read_page(histogram_chart(plot, "h", counts, ["#111111", "#222222"], edges=[1.0]))
    tops = {
        node.attributes["fill"]: [float(up) for up in re.findall(r"V([\d.]+)H", node.attributes["d"])]
        for node in chart.all("path")
        if "fill" in node.attributes
    }
    assert tops["#111111"] == pytest.approx([plot.up(count) for count in (10, 0, 30)])
    assert tops["#222222"] == pytest.approx([plot.up(count) for count in (15, 20, 30)])
    assert list(tops) == ["#222222", "#111111"], "the lower class is drawn over the sum"
    (edge,) = chart.all("line", "edge")
    assert float(edge.attributes["x1"]) == pytest.approx(plot.across(1.0))


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0.0012345, "0.001234"), (12.0, "12"), (12345.6, "12346"), (-25220.0, "-25220"), (1.5e7, "1.5e+07"), (0.0, "0")],
)
def test_numbers_are_short(number: float, expected: str) -> None:
    assert short(number) == expected
    assert short(float("nan")) == short(float("inf")) == "\N{EN DASH}"
