"""The figures of a run's report: class spectra, histograms of bands, the log of the fit."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.wavelengths import wavelengths
from pipeline.models.ranges import Ranges
from pipeline.sinks.chart_axes import Axis, Plot
from pipeline.sinks.charts import Extent, Line, histogram_chart, line_chart
from pipeline.sinks.html_page import Html, element, join
from pipeline.sinks.report import MOST_BANDS, MOST_CLASSES
from pipeline.sinks.report_content import ReportContent

_BINS: Final = 60
"""Largest number of bins of a histogram."""

_MOST_DEVIATIONS: Final = 12
"""Largest number of classes whose deviations are drawn: more would hide each other."""

_PERCENTILES: Final = (0.5, 99.5)
"""Percentiles of the sampled pixels from which to which histograms reach."""

_EXTENT: Final = (5, 50, 95)
"""Percentiles of the pixels of a class that are drawn as its extent."""

_LARGE_RATIO: Final = 100
"""Ratio of the largest to the smallest number from which on a curve is drawn over a logarithmic axis."""

_GREY: Final = "#7b8794"

_ENTRIES: Final = {"iterations": "start", "changed": "pass", "smallest": "step", "classes": "round"}
"""What an entry of a fit's log is, by a key that only such entries have."""

_LOGGED: Final = {
    "inertia": "sum of squared distances",
    "shift": "squared moves of the centres",
    "changed": "share of pixels that changed class",
    "smallest": "smallest weight of a class",
    "classes": "number of classes",
    "iterations": "iterations",
    "split": "classes split",
    "merged": "pairs merged",
    "dropped": "classes dropped",
}
"""Words for the numbers in logs of fits."""

Matrix = npt.NDArray[np.float64]


def spectra(content: ReportContent) -> tuple[Html, str]:
    """Chart of the mean of each class in the bands of one quantity, with deviations; and what is to know about it.

    Empty without two such bands, or without valid pixels.
    """
    bands, axis = _spectral_axis(content)
    if len(bands) < 2 or not content.statistics.valid:  # noqa: PLR2004
        return Html(), ""
    with_deviations = content.model.k <= _MOST_DEVIATIONS
    lines = [
        Line(
            label=str(each.label),
            colour=each.hex_colour,
            x=[position for position, _ in axis.ticks],
            y=content.numbers[each.label][bands, 0],
            spread=content.numbers[each.label][bands, 1] if with_deviations else None,
        )
        for each in content.classes
    ]
    ends = [line.y + sign * (0 if line.spread is None else line.spread) for line in lines for sign in (-1, 1)]
    quantity, names = content.quantity(bands[0]), [content.info.bands[band] for band in bands]
    note = f"Mean of the pixels of each class in this map ({quantity})"
    note += "; bands around the lines are one standard deviation wide on either side." if with_deviations else "."
    others = [name for number, name in enumerate(content.info.bands) if number not in bands]
    if others:
        note += f" Not drawn, as they are other quantities: {', '.join(others)}."
    plot = Plot(x=axis, y=Axis.around(np.concatenate(ends).tolist(), quantity))
    return line_chart(plot, f"Chart of the mean {quantity} of the classes in bands {', '.join(names)}", lines), note


def _spectral_axis(content: ReportContent) -> tuple[list[int], Axis]:
    """Bands of the quantity that most bands have, and their axis: by wavelength, or in order if one is unknown."""
    bands = _spectral_bands(content)
    lengths = wavelengths(content.info.bands, content.info.common_names)
    known = [lengths[band] for band in bands]
    if None in known or len(set(known)) < len(known):
        marks = [(float(number), content.info.bands[band]) for number, band in enumerate(bands)]
        title = "band, in the order of the scene"
    else:
        bands.sort(key=lambda band: lengths[band] or 0)
        marks = [(float(lengths[band] or 0), f"{content.info.bands[band]} {lengths[band]}") for band in bands]
        title = "band, at its nominal central wavelength in nm"
    first, last = (marks[0][0], marks[-1][0]) if marks else (0.0, 0.0)
    margin = 0.03 * (last - first)
    return bands, Axis(low=first - margin, high=last + margin, title=title, ticks=tuple(marks))


def _spectral_bands(content: ReportContent) -> list[int]:
    """Bands of the quantity that most bands have."""
    quantities = content.info.units.quantities
    common = max(dict.fromkeys(quantities), key=quantities.count)
    return [] if common == "index" else [band for band, each in enumerate(quantities) if each == common]


def histograms(content: ReportContent) -> list[Html]:
    """Histogram of each band, as far as there is room: classes stacked, with the edges or extents of the classes."""
    bands = range(min(len(content.info.bands), MOST_BANDS)) if content.valid_sample.any() else ()
    return [element("figure", _histogram(content, band), class_="small") for band in bands]


class _Bins(NamedTuple):
    """A histogram per class."""

    counts: npt.NDArray[np.int64]
    """Number of pixels, shape (class, bin)."""
    low: float
    """Lower side of the first bin in the band's quantity."""
    high: float
    """Upper side of the last bin in the band's quantity."""


def _histogram(content: ReportContent, band: int) -> Html:
    """Draw the histogram of a band."""
    apart = len(content.classes) <= MOST_CLASSES
    labels = content.sample_labels[content.valid_sample]
    numbers = [each.label for each in content.classes] if apart else []
    bins = _bins(content, band, labels, numbers)
    name, model = content.info.bands[band], content.model
    edges = [edge for edge in model.edges if bins.low < edge < bins.high] if isinstance(model, Ranges) else []
    extents = [] if edges or not apart else _extents(content, band, labels)
    plot = Plot(
        x=Axis(low=bins.low, high=bins.high, title=f"{name} ({content.quantity(band)})"),
        y=Axis(low=0, high=1.03 * max(int(bins.counts.sum(axis=0).max()), 1), title=""),
        width=460 if len(content.info.bands) > 1 else 860,
        height=290 + 6 * len(extents),
        top=12 + 6 * len(extents),
    )
    colours = [each.hex_colour for each in content.classes] if apart else [_GREY]
    return histogram_chart(plot, f"Histogram of {name}", bins.counts, colours, edges=edges, extents=extents)


def _bins(content: ReportContent, band: int, labels: npt.NDArray[np.uint8], numbers: Sequence[int]) -> _Bins:
    """Count the sampled pixels of a band, per class if there are numbers of classes."""
    values = content.sample_of(band).astype(np.float64)
    low, width, count = _sides(values, *_reach(content, values, band), whole=content.info.dtype.kind in "iu")
    high = low + count * width
    inside = (values >= low) & (values <= high)
    bins = np.minimum((values[inside] - low) / width, count - 1).astype(np.intp)
    rows = np.zeros(256, np.intp)
    rows[list(numbers)] = range(len(numbers))
    size = max(len(numbers), 1) * count
    counts = np.bincount(rows[labels[inside]] * count + bins, minlength=size).reshape(-1, count)
    first, last = content.info.units.band_to_physical(np.array([low, high]), band).tolist()
    return _Bins(counts, first, last) if first < last else _Bins(counts[:, ::-1], last, first)  # the scale is negative


def _sides(values: Matrix, low: float, high: float, *, whole: bool) -> tuple[float, float, int]:
    """Lower side of the first bin, width of a bin, and number of bins of a histogram from one number to another.

    Bins of whole numbers are a multiple of the distance that these usually have, so that no bin is higher than its
    neighbours because more of them are in it.
    """
    if not whole:
        return low, ((high - low) or (abs(low) or 1) * 1e-6) / _BINS, _BINS
    distinct = np.unique(values[(values >= low) & (values <= high)])
    step = float(np.median(np.diff(distinct))) if len(distinct) > 1 else 1.0
    width = step * max(1, ceil((high - low + step) / step / _BINS))
    return low - step / 2, width, max(1, ceil((high - low + step) / width))


def _reach(content: ReportContent, values: Matrix, band: int) -> tuple[float, float]:
    """From where to where the histogram of some stored numbers of a band reaches: all edges among them are in it."""
    ends = np.percentile(values, _PERCENTILES)
    if isinstance(content.model, Ranges):
        edges = content.info.units.to_stored(np.array(content.model.edges)[:, np.newaxis])[:, band]
        ends = np.concatenate([ends, edges.clip(values.min(), values.max())])
    return float(ends.min()), float(ends.max())


def _extents(content: ReportContent, band: int, labels: npt.NDArray[np.uint8]) -> list[Extent]:
    """Extent of each class in a band, of those that have sampled pixels."""
    values, found = content.sample_of(band), list[Extent]()
    for each in content.classes:
        own = values[labels == each.label]
        if len(own):
            stored = np.percentile(own.astype(np.float64), _EXTENT)
            low, middle, high = np.sort(content.info.units.band_to_physical(stored, band)).tolist()
            found.append(Extent(colour=each.hex_colour, low=low, middle=middle, high=high))
    return found


def log_charts(log: Sequence[Mapping[str, Any]]) -> list[Html]:
    """Chart of each number in a fit's log that changes; none without two entries."""
    charts, entry = [], entry_name(log)
    for key in log[0] if len(log) > 1 else ():
        values = np.array([np.nan if entry[key] is None else entry[key] for entry in log], np.float64)
        if len(set(values[np.isfinite(values)].tolist())) > 1:
            title = element("figcaption", f"{words_of(key).capitalize()}, by {entry}")
            charts.append(element("figure", title, _curve(values, words_of(key), entry), class_="small"))
    return charts


def entry_name(log: Sequence[Mapping[str, Any]]) -> str:
    """What an entry of a fit's log is."""
    return next((name for key, name in _ENTRIES.items() if log and key in log[0]), "entry")


def words_of(key: str) -> str:
    """What a number of a fit's log is."""
    return _LOGGED.get(key, key)


def _curve(values: Matrix, title: str, entry: str) -> Html:
    """Draw numbers over those of their entries, from 1."""
    finite = values[np.isfinite(values)]
    logarithmic = bool(finite.min() > 0 and finite.max() / finite.min() > _LARGE_RATIO)
    count = len(values)
    shown = range(1, count + 1, max(1, ceil(count / 10)))
    plot = Plot(
        x=Axis(low=0.5, high=count + 0.5, title=entry, ticks=tuple((float(n), str(n)) for n in shown)),
        y=Axis.around(finite.tolist(), "", margin=0.08, logarithmic=logarithmic),
        width=460,
        height=300,
    )
    numbers = [float(number) for number in range(1, count + 1)]
    line = Line(label="", colour="var(--accent)", x=numbers, y=values, joined=entry != "start")
    return line_chart(plot, f"Chart: {title} by {entry}", [line])


def figures(charts: Sequence[Html]) -> Html:
    """Put charts side by side."""
    return element("div", join(charts), class_="grid") if len(charts) > 1 else join(charts)
