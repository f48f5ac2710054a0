"""The sections of a run's report that show the map and its classes: pictures, charts and tables."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, Final

from pipeline.models.ranges import Ranges
from pipeline.sinks.charts import share_bar, short, swatch
from pipeline.sinks.class_distances import class_distances, nearest
from pipeline.sinks.html_page import UNKNOWN, Html, element, join, table
from pipeline.sinks.legend import NODATA_NAME, LegendEntry
from pipeline.sinks.report import MOST_BANDS, MOST_CLASSES
from pipeline.sinks.report_content import ReportContent
from pipeline.sinks.report_facts import plain
from pipeline.sinks.report_figures import entry_name, figures, histograms, log_charts, spectra, words_of

_LARGE_AREA_HA: Final = 100_000
"""Area of a map from which on areas are given in square kilometres."""

_HECTARES: Final = 100
"""Hectares per square kilometre."""

_SEEN: Final = 0.001
"""Ratio of nodata to valid pixels from which on the share of nodata is given."""

_SHADES: Final = 5
"""Number of shades in the table of distances."""


def picture_section(content: ReportContent) -> Html:
    """The scene and the map in one frame, with a slider for the border between them."""
    shown, name = content.pictures, content.scene_name
    wide, high = shown.size
    scene = f"The scene {name} in {shown.bands}, with stretched contrast"
    classes = f"The map: each pixel has the colour of its class, from 1 to {content.model.k}"
    slider = element(
        "input", type="range", min=0, max=100, value=50, aria_label="Border between scene, left, and map, right"
    )
    stage = element(
        "div",
        element("img", src=shown.scene, alt=scene, width=wide, height=high, class_="scene"),
        element("img", src=shown.map, alt=classes, width=wide, height=high, class_="map"),
        slider,
        element("span", class_="cut", aria_hidden="true"),
        element("span", "Scene", class_="tag scene", aria_hidden="true"),
        element("span", "Map", class_="tag map", aria_hidden="true"),
        class_="stage",
    )
    thinned = f" Every {_ordinal(shown.step)} row and column is shown." if shown.step > 1 else ""
    note = f"The scene ({shown.bands}; contrast stretched) and its map. A picture, not data.{thinned}"
    hint = element("span", " Drag the border, or move it with the arrow keys.", class_="hint")
    return element("figure", stage, element("figcaption", note, hint), class_="compare")


def _ordinal(number: int) -> str:
    last = number % 10 if number // 10 % 10 != 1 else 0
    return f"{number}{({1: 'st', 2: 'nd', 3: 'rd'}).get(last, 'th')}"


def classes_section(content: ReportContent) -> Html:
    """The classes with colours, areas and shares."""
    statistics, ranges = content.statistics, isinstance(content.model, Ranges)
    areas = [statistics.hectares(each.label) for each in content.classes]
    known = [area for area in areas if area is not None]
    unit, factor = ("km²", _HECTARES) if sum(known) >= _LARGE_AREA_HA else ("ha", 1)
    head = ["Class", *(["From", "To"] if ranges else []), "Pixels", "Share", *([f"Area ({unit})"] if known else [])]
    largest = max((statistics.share(each.label) for each in content.classes), default=0) or 1
    rows = [
        [*_class_cells(content, each, largest), *([] if area is None else [f"{area / factor:,.1f}"])]
        for each, area in zip(content.classes, areas, strict=True)
    ]
    notes, nodata = ["Shares are of all valid pixels."], statistics.counts[0]
    if nodata:
        cells = [f"0 {NODATA_NAME}", *(["", ""] if ranges else []), f"{nodata:,}"]
        rows.append([*cells, *[""] * (len(head) - len(cells))])
    if nodata > _SEEN * statistics.valid:
        notes.append(f"{nodata / (nodata + statistics.valid):.1%} of all pixels have no data.")
    if not known:
        notes.append(f"Areas are unknown: {statistics.pixel_areas.reason}.")
    return join([table("Classes of the map", head, rows), element("p", " ".join(notes), class_="note")])


def _class_cells(content: ReportContent, each: LegendEntry, largest: float) -> list[str]:
    """Name of a class, edges of its range if it has any, pixels, and share with a bar relative to the largest share."""
    statistics, model = content.statistics, content.model
    edges = list[str]()
    if isinstance(model, Ranges):
        own = model.edges[each.label - 1 : each.label + 1] if each.label <= model.k else ()  # unclassified: none
        edges = [short(edge) for edge in own] or ["", ""]
    share = statistics.share(each.label)
    bar = share_bar(share / largest, each.hex_colour)
    return [
        _named(each),
        *edges,
        f"{statistics.pixels(each.label):,}",
        element("span", bar, element("span", f"{share:.1%}"), class_="share"),
    ]


def _named(each: LegendEntry) -> Html:
    """Colour, number and name of a class."""
    name = each.name if each.name == f"class {each.label}" else f"{each.label} {each.name}"
    return element("span", swatch(each.hex_colour), name, class_="named")


def spectra_section(content: ReportContent) -> Html:
    """Spectra of the classes as a chart, and as a table with deviations, minima and maxima."""
    chart, note = spectra(content)
    statistics, bands = content.statistics, content.info.bands[:MOST_BANDS]
    figure = element("figure", chart, element("figcaption", note)) if chart else ""
    cells = []
    for each in content.classes:
        if not statistics.pixels(each.label):
            continue
        own = content.numbers[each.label][: len(bands)].tolist()
        cells.append([_named(each), *(_spread(*numbers) for numbers in own)])
    head = ["Class", *(_band_head(content, band) for band in range(len(bands)))]
    caption = f"Mean, ± standard deviation, minimum and maximum per band ({content.common_quantity})"
    rest = len(content.info.bands) - len(bands)
    more = element("p", f"{rest} more bands are in the table of classes.", class_="note") if rest else ""
    return join([figure, table(caption, head, cells, tall=True), more])


def _spread(mean: float, std: float, low: float, high: float) -> Html:
    """Write the numbers of a class in a band, in three lines."""
    lines = (f"± {short(std, 3)}", f"{short(low)} … {short(high)}")
    return join([short(mean), *(element("span", " ", line, class_="spread") for line in lines)])


def _band_head(content: ReportContent, band: int) -> str:
    """Name of a band, with its quantity if that is not the common one."""
    name, quantity = content.info.bands[band], content.quantity(band)
    return name if quantity == content.common_quantity else f"{name} ({quantity})"


def histograms_section(content: ReportContent) -> Html:
    """Histograms, and what they show."""
    charts = histograms(content)
    if not charts:
        return Html()
    count, step = int(content.valid_sample.sum()), content.sample_step
    of = f"of every {_ordinal(step)} row and column" if step > 1 else "of the scene"
    notes = [f"{count:,} valid pixels {of}; up to 0.5 % of them at either end are not drawn."]
    if isinstance(content.model, Ranges):
        notes.append("Dashed lines are the edges between classes.")
    elif len(content.classes) <= MOST_CLASSES:
        notes.append("Colours are those of the classes, stacked.")
        notes.append("A line above is a class from its 5th to its 95th percentile, with its median.")
    rest = len(content.info.bands) - len(charts)
    notes += [f"{rest} more bands are left out."] if rest else []
    return join([figures(charts), element("p", " ".join(notes), class_="note")])


def distances_section(content: ReportContent) -> Html:
    """Distances between classes: all of them, or those to the nearest class if there are many."""
    model = content.model
    if isinstance(model, Ranges):
        return Html()
    distances, words = class_distances(content)
    names = [_named(each) for each in content.classes[: model.k]]
    closest = nearest(distances)
    note = element("p", f"{words}.", class_="note")
    if model.k > MOST_CLASSES:
        rows = [
            [name, str(label or UNKNOWN), short(distance)]
            for name, (label, distance) in zip(names, closest, strict=True)
        ]
        return join([table("The nearest class of each class", ["Class", "Nearest", "Distance"], rows), note])
    largest = max((float(number) for number in distances.ravel() if isfinite(number)), default=0.0) or 1.0
    rows = [
        [name, *("" if one == other else _shaded(float(number), largest) for other, number in enumerate(row))]
        for one, (name, row) in enumerate(zip(names, distances, strict=True))
    ]
    head = ["Class", *(str(each.id) for each in model.classes)]
    return join([table("Distances between classes, the nearest shaded most", head, rows), note])


def _shaded(distance: float, largest: float) -> Html | str:
    if not isfinite(distance):
        return UNKNOWN
    shade = min(_SHADES - 1, int(distance / largest * _SHADES))
    return element("span", f"{distance:.3g}", class_=f"shade s{shade}")


def log_section(log: Sequence[Mapping[str, Any]]) -> Html:
    """The log of the fit as charts, and as a table."""
    if not log:
        return Html()
    entry = entry_name(log)
    head = [entry, *map(words_of, log[0])]
    rows = [[str(number), *map(plain, values.values())] for number, values in enumerate(log, 1)]
    return join([figures(log_charts(log)), table(f"Log of the fit, by {entry}", head, rows, tall=True)])
