"""The figures of a run's report: class spectra, histograms of bands, the log of the fit, distances between classes."""

from collections.abc import Mapping, Sequence
from math import ceil, isfinite
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.wavelengths import wavelengths
from pipeline.models.prototypes import Prototypes
from pipeline.models.ranges import Ranges
from pipeline.sinks.charts import Axis, Extent, Line, Plot, hex_colour, histogram_chart, line_chart
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

    Empty without two such bands.
    """
    bands = _spectral_bands(content)
    if len(bands) < 2:  # noqa: PLR2004
        return Html(), ""
    names = [content.info.bands[band] for band in bands]
    lengths = wavelengths(content.info.bands, content.info.common_names)
    known = [lengths[band] for band in bands]
    by_length = None not in known and len(set(known)) == len(known)
    positions = [float(number) for number in known if number] if by_length else [float(n) for n in range(len(bands))]
    order = sorted(range(len(bands)), key=lambda number: positions[number])
    bands, names = [bands[number] for number in order], [names[number] for number in order]
    positions = [positions[number] for number in order]
    with_deviations = content.model.k <= _MOST_DEVIATIONS
    lines = [
        Line(
            label=str(each.label),
            colour=hex_colour(each.colour),
            x=positions,
            y=content.statistics.means(each.label)[bands],
            spread=content.statistics.stds(each.label)[bands] if with_deviations else None,
        )
        for each in content.classes
    ]
    ends = [line.y + sign * (0 if line.spread is None else line.spread) for line in lines for sign in (-1, 1)]
    title = "band, at its nominal central wavelength in nm" if by_length else "band, in the order of the scene"
    marks = [(position, _mark(name, position, by_length=by_length)) for position, name in zip(positions, names, strict=True)]
    margin = 0.03 * (positions[-1] - positions[0])
    plot = Plot(
        x=Axis(low=positions[0] - margin, high=positions[-1] + margin, title=title, ticks=tuple(marks)),
        y=Axis.around(np.concatenate(ends).tolist(), content.quantity(bands[0])),
    )
    note = "Mean of the pixels of each class in this map"
    note += "; bands around the lines are one standard deviation wide on either side." if with_deviations else "."
    others = [name for number, name in enumerate(content.info.bands) if number not in bands]
    if others:
        note += f" Not drawn, as they are other quantities: {', '.join(others)}."
    label = f"Line chart of the mean {content.quantity(bands[0])} of {len(lines)} classes in bands {', '.join(names)}"
    return line_chart(plot, label, lines), note


def _mark(name: str, position: float, *, by_length: bool) -> str:
    return f"{name} {position:g}" if by_length and len(name) > 4 else name  # noqa: PLR2004


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
    extents = [] if edges or len(numbers) > _MOST_DEVIATIONS else _extents(content, band, labels)
    head = 1.08 + 0.022 * len(extents)  # room for the extents above the bars
    plot = Plot(
        x=Axis(low=bins.low, high=bins.high, title=f"{name} ({content.quantity(band)})"),
        y=Axis(low=0, high=head * max(int(bins.counts.sum(axis=0).max()), 1), title="sampled pixels"),
        width=460,
        height=300,
    )
    colours = [hex_colour(each.colour) for each in content.classes] if apart else [_GREY]
    return histogram_chart(
        plot, f"Histogram of {name}", bins.counts, colours, edges=edges, extents=extents
    )


def _bins(content: ReportContent, band: int, labels: npt.NDArray[np.uint8], numbers: Sequence[int]) -> _Bins:
    """Count the sampled pixels of a band, per class if there are numbers of classes.

    Bins of whole numbers have the same number of these each, so that none is higher for that.
    """
    values = content.sample_of(band).astype(np.float64)
    low, high = (float(end) for end in np.percentile(values, _PERCENTILES))
    if content.info.dtype.kind in "iu":
        low, high = np.floor(low), np.ceil(high)
        width = max(1, ceil((high - low + 1) / _BINS))
        sides = np.arange(low - 0.5, high + 0.5 + width, width)
    else:
        sides = np.linspace(low, high if high > low else low + (abs(low) or 1) * 1e-6, _BINS + 1)
    groups = [labels == number for number in numbers] or [np.ones(len(labels), np.bool_)]
    counts = np.stack([np.histogram(values[group], sides)[0] for group in groups])
    ends = content.info.units.band_to_physical(sides[[0, -1]], band)
    if ends[0] > ends[1]:  # the scale is negative
        counts, ends = counts[:, ::-1], ends[::-1]
    return _Bins(counts, float(ends[0]), float(ends[1]))


def _extents(content: ReportContent, band: int, labels: npt.NDArray[np.uint8]) -> list[Extent]:
    """Extent of each class in a band, of those that have sampled pixels."""
    values, found = content.sample_of(band), list[Extent]()
    for each in content.classes:
        own = values[labels == each.label]
        if len(own):
            stored = np.percentile(own.astype(np.float64), _EXTENT)
            low, middle, high = np.sort(content.info.units.band_to_physical(stored, band)).tolist()
            found.append(Extent(colour=hex_colour(each.colour), low=low, middle=middle, high=high))
    return found


def log_charts(log: Sequence[Mapping[str, Any]]) -> list[Html]:
    """Chart of each number in a fit's log that changes; none without two entries."""
    charts = []
    for key in log[0] if len(log) > 1 else ():
        values = np.array([np.nan if entry[key] is None else entry[key] for entry in log], np.float64)
        if len(set(values[np.isfinite(values)].tolist())) > 1:
            charts.append(element("figure", _curve(values, words_of(key), entry_name(log)), class_="small"))
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
        y=Axis.around(finite.tolist(), title, margin=0.08, logarithmic=logarithmic),
        width=460,
        height=300,
    )
    numbers = [float(number) for number in range(1, count + 1)]
    line = Line(label="", colour="var(--accent)", x=numbers, y=values)
    return line_chart(plot, f"Line chart: {title} by {entry}", [line])


def class_distances(content: ReportContent) -> tuple[Matrix, str]:
    """Distances between the centres of classes, shape (k, k), and in which units; NaN where a centre is unknown.

    They are those that the model works with: between prepared bands or components.
    """
    model = content.model
    preparation = model.preparation.bind(model.units)
    centres, what = model.centres, "centres of the classes"
    if isinstance(model, Prototypes) and model.classes_of_points is not None:
        centres = np.stack([content.statistics.means(each.id) for each in model.classes])
        what = "means of the classes in this map, as a class has several centres"
    prepared = preparation.apply(model.units.to_stored(centres).T).T * preparation.factors
    with np.errstate(all="ignore"):
        distances = np.sqrt(np.square(prepared[:, np.newaxis] - prepared[np.newaxis]).sum(axis=2))
    return distances.astype(np.float64), f"Euclidean distances between the {what}, {_units_words(content)}"


def _units_words(content: ReportContent) -> str:
    """Units of distances."""
    preparation, one = content.model.preparation, ""
    match preparation.standardize:
        case "none":
            one = f"in the unit of the bands ({content.model.units.quantity_text})"
        case "clip":
            one = "in standardized units: 1 is the range of a band between the percentiles it is clipped to"
        case "zscore":
            one = "in standardized units: 1 is a standard deviation of a band"
        case "minmax":
            one = "in standardized units: 1 is the range of a band"
        case "robust":
            one = "in standardized units: 1 is the interquartile range of a band"
    one += ", times the weight of the band" if preparation.weights else ""
    return one + (", of principal components" if preparation.components else "")


def nearest(distances: Matrix) -> list[tuple[int, float]]:
    """Nearest other class of each class, and its distance; class 0 where no distance is known."""
    found = []
    for row, own in zip(distances, range(len(distances)), strict=True):
        others = [(float(number), label) for label, number in enumerate(row, 1) if label != own + 1 and isfinite(number)]
        found.append((min(others)[1], min(others)[0]) if others else (0, float("nan")))
    return found


def figures(charts: Sequence[Html]) -> Html:
    """Put charts side by side."""
    return element("div", join(charts), class_="grid") if charts else Html()
