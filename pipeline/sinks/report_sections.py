"""The sections of a run's report, from its title to its caveat, and the page that they make."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from math import isfinite
from pathlib import PurePath
from typing import Any, Final

import yaml

from pipeline.core.text import size_words
from pipeline.models.ranges import Ranges
from pipeline.sinks.charts import share_bar, short, swatch
from pipeline.sinks.html_page import Html, document, element, join, table
from pipeline.sinks.report import MOST_BANDS, MOST_CLASSES
from pipeline.sinks.report_content import ReportContent, ShownClass
from pipeline.sinks.report_figures import (
    class_distances,
    entry_name,
    figures,
    histograms,
    log_charts,
    nearest,
    spectra,
    words_of,
)

_LARGE_AREA_HA: Final = 100_000
"""Area of a map from which on areas are given in square kilometres."""

_HECTARES: Final = 100
"""Hectares per square kilometre."""

_MOST_SOURCES: Final = 20
"""Largest number of files that are listed."""

_SHADES: Final = 5
"""Number of shades in the table of distances."""

_CAVEAT: Final = (
    "Clusters are not land cover. A class is a group of pixels with similar numbers: a dark roof may be in the class of "
    "water, one forest may be in three classes because of its shadows, and a cloud is in a class like any other. The "
    "numbers of classes are an order, not a legend. Compare the classes with other data before you name them."
)


def report_page(content: ReportContent) -> str:
    """Write the page."""
    code = {name: (files("pipeline.sinks") / f"report.{name}").read_text("utf-8") for name in ("css", "js")}
    wide, high = content.pictures.size
    style = code["css"] + f":root{{--ratio:{wide / high:.4f}}}\n"
    sections = [
        _section("Picture", _picture(content)),
        _section("Classes", _legend(content)),
        _section("Spectra of the classes", _spectra(content)),
        _section("Histograms of the bands", _histograms(content)),
        _section("Distances between classes", _distances(content)),
        _section("Iterations of the fit", _log(content.report["log"])),
        _section("What was read", _scene(content)),
        _section("Model", _model(content)),
        _section("Config", _config(content.report)),
        _section("Plan and measurement", _measured(content.report)),
        _section("Files", _outputs(content.report)),
        _section("Versions", _facts(content.report["versions"].items())),
        _section("What clusters are not", element("p", _CAVEAT, class_="caveat")),
    ]
    title = f"{content.scene_name}: {content.model.k} classes"
    body = join([_header(content), element("main", *sections), element("footer", _footer(content.report))])
    return document(title, body, style=style, script=code["js"])


def _section(title: str, content: Html) -> Html:
    """Write a section; nothing without content."""
    return element("section", element("h2", title), content) if content else Html()


def _header(content: ReportContent) -> Html:
    """Title with scene and date of the run."""
    grid, model = content.info.grid, content.model
    facts = [
        f"{model.k} classes",
        model.fitting.method,
        f"{len(content.info.bands)} band{'' if len(content.info.bands) == 1 else 's'}",
        f"{grid.shape[1]:,} × {grid.shape[0]:,} pixels",
    ]
    when = element("p", "Run on ", element("time", _date(content.report["started"]), datetime=content.report["started"]))
    return element("header", element("h1", content.scene_name), element("p", " · ".join(facts)), when)


def _date(iso: str) -> str:
    moment = datetime.fromisoformat(iso)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def _picture(content: ReportContent) -> Html:
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


def _legend(content: ReportContent) -> Html:
    """The classes with colours, areas and shares."""
    statistics, model = content.statistics, content.model
    areas = {each.label: statistics.hectares(each.label) for each in content.classes}
    total = sum(area or 0 for area in areas.values())
    unit, factor = ("km²", _HECTARES) if total >= _LARGE_AREA_HA else ("ha", 1)
    ranges = model.edges if isinstance(model, Ranges) else ()
    head = ["Class", "Value", *(["From", "Below"] if ranges else []), "Pixels", "Share", ""]
    head += [] if statistics.pixel_areas.reason else [f"Area ({unit})"]
    rows = []
    for each in content.classes:
        share = statistics.share(each.label)
        row = [_named(each), str(each.label)]
        if ranges:
            own = ranges[each.label - 1 : each.label + 1] if each.label <= model.k else ()
            row += [short(own[0]), short(own[1])] if own else ["", ""]
        row += [f"{statistics.pixels(each.label):,}", f"{share:.1%}", share_bar(share, each.colour)]
        if not statistics.pixel_areas.reason:
            row.append(f"{(areas[each.label] or 0) / factor:,.1f}")
        rows.append(row)
    nodata = statistics.counts[0]
    if nodata:
        rows.append(["no data", "0", *(["", ""] if ranges else []), f"{nodata:,}", "", "", *[""][: len(head) - len(rows[0]) + 1]])
    notes = ["Shares are of all valid pixels."]
    if nodata:
        notes.append(f"{nodata / (nodata + statistics.valid):.1%} of all pixels have no data.")
    if statistics.pixel_areas.reason:
        notes.append(f"Areas are unknown: {statistics.pixel_areas.reason}.")
    return join([table("Classes of the map", head, [row[: len(head)] for row in rows]), element("p", " ".join(notes), class_="note")])


def _named(each: ShownClass) -> Html:
    """Colour and name of a class."""
    return element("span", swatch(each.colour), each.name, class_="named")


def _spectra(content: ReportContent) -> Html:
    """Spectra of the classes as a chart, and as a table with deviations, minima and maxima."""
    chart, note = spectra(content)
    statistics, bands = content.statistics, content.info.bands[:MOST_BANDS]
    figure = element("figure", chart, element("figcaption", note)) if chart else ""
    cells = []
    for each in content.classes:
        if not statistics.pixels(each.label):
            continue
        numbers = zip(statistics.means(each.label), statistics.stds(each.label), strict=True)
        own = [f"{short(mean)} ± {short(std)}" for mean, std in numbers]
        cells.append([_named(each), *own[: len(bands)]])
    quantities = {content.quantity(band) for band in range(len(bands))}
    head = ["Class", *(_band_head(content, band, alone=len(quantities) > 1) for band in range(len(bands)))]
    of = f" ({quantities.pop()})" if len(quantities) == 1 else ""
    rest = len(content.info.bands) - len(bands)
    more = element("p", f"{rest} more bands are in the table of classes.", class_="note") if rest else ""
    return join([figure, table(f"Mean ± standard deviation per band{of}", head, cells), more])


def _band_head(content: ReportContent, band: int, *, alone: bool) -> str:
    name = content.info.bands[band]
    return f"{name} ({content.quantity(band)})" if alone else name


def _histograms(content: ReportContent) -> Html:
    """Histograms, and what they show."""
    charts = histograms(content)
    if not charts:
        return Html()
    count, step = int(content.valid_sample.sum()), content.sample_step
    of = f"of every {_ordinal(step)} row and column" if step > 1 else "of the scene"
    notes = [f"{count:,} valid pixels {of}; 0.5 % of them at either end are not drawn."]
    if isinstance(content.model, Ranges):
        notes.append("Dashed lines are the edges between classes.")
    elif len(content.classes) <= MOST_CLASSES:
        notes.append("Colours are those of the classes, stacked.")
        notes.append("A line above is a class from its 5th to its 95th percentile, with its median.")
    rest = len(content.info.bands) - len(charts)
    notes += [f"{rest} more bands are left out."] if rest else []
    return join([figures(charts), element("p", " ".join(notes), class_="note")])


def _distances(content: ReportContent) -> Html:
    """Distances between classes: all of them, or those to the nearest class if there are many."""
    model = content.model
    if isinstance(model, Ranges):
        return Html()
    distances, words = class_distances(content)
    names = [_named(each) for each in content.classes[: model.k]]
    closest = nearest(distances)
    note = element("p", f"{words}.", class_="note")
    if model.k > MOST_CLASSES:
        rows = [[name, str(label or "–"), short(distance)] for name, (label, distance) in zip(names, closest, strict=True)]
        return join([table("The nearest class of each class", ["Class", "Nearest", "Distance"], rows), note])
    largest = max((float(number) for number in distances.ravel() if isfinite(number)), default=0.0) or 1.0
    rows = [
        [name, *("" if one == other else _shaded(float(number), largest) for other, number in enumerate(row))]
        for one, (name, row) in enumerate(zip(names, distances, strict=True))
    ]
    head = ["Class", *(str(each.id) for each in model.classes)]
    return join([table("Distances between classes, the nearest darkest", head, rows), note])


def _shaded(distance: float, largest: float) -> Html | str:
    if not isfinite(distance):
        return "–"
    shade = min(_SHADES - 1, int(distance / largest * _SHADES))
    return element("span", f"{distance:.3g}", class_=f"shade s{shade}")


def _log(log: Sequence[Mapping[str, Any]]) -> Html:
    """The log of the fit as charts, and as a table."""
    if not log:
        return Html()
    entry = entry_name(log)
    head = [entry, *map(words_of, log[0])]
    rows = [[str(number), *map(_plain, values.values())] for number, values in enumerate(log, 1)]
    return join([figures(log_charts(log)), table(f"Log of the fit, by {entry}", head, rows, left=0)])


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "–" if value is None else str(value)


def _scene(content: ReportContent) -> Html:
    """What was read: sources, bands, grid, CRS, nodata, valid pixels."""
    info, statistics = content.info, content.statistics
    grid = info.grid
    total = statistics.counts[0] + statistics.valid
    nodata = dict.fromkeys("none" if value is None else f"{value:g}" for value in info.nodata)
    facts = {
        "Files": _lines([*info.sources[:_MOST_SOURCES], *_more(len(info.sources) - _MOST_SOURCES, "files")]),
        "Bands": ", ".join(info.bands[:100]) + "".join(f", {more}" for more in _more(len(info.bands) - 100, "bands")),
        "Pixel type": info.dtype.name,
        "Quantity": _quantities(content),
        "Grid": f"{grid.shape[1]:,} columns × {grid.shape[0]:,} rows",
        **_georeference(grid.crs, grid.transform),
        "Nodata": ", ".join(nodata) + (", and masks" if info.masked else ""),
        "Valid pixels": f"{statistics.valid:,} of {total:,} ({statistics.valid / (total or 1):.1%})",
    }
    return _facts(facts.items())


def _more(count: int, what: str) -> list[str]:
    return [f"and {count} more {what}"] if count > 0 else []


def _lines(lines: Iterable[str]) -> Html:
    return join(element("div", line) for line in lines)


def _quantities(content: ReportContent) -> str:
    """Quantities of the bands, with scale and offset where all bands have the same."""
    info = content.info
    names = dict.fromkeys(content.quantity(band) for band in range(len(info.bands)))
    scales = set(zip(info.scales, info.offsets, strict=True))
    words = ", ".join(names)
    if scales == {(1.0, 0.0)} or len(scales) > 1 or set(info.units.quantities) == {"numbers"}:
        return words
    ((scale, offset),) = scales
    return f"{words}: stored number × {scale:g} {'-' if offset < 0 else '+'} {abs(offset):g}"


def _georeference(wkt: str | None, transform: Any) -> dict[str, str]:
    """Pixel size, corner and coordinate reference system of a grid."""
    if wkt is None:
        return {"CRS": "none"}
    name = re.search(r'"([^"]*)"', wkt)
    code = re.search(r'(?:AUTHORITY|ID)\["(\w+)",\s*"?(\w+)"?\]\]\s*$', wkt)
    unit = re.findall(r'UNIT\["([^"]*)"', wkt)
    size = (transform.a**2 + transform.d**2) ** 0.5, (transform.b**2 + transform.e**2) ** 0.5
    return {
        "Pixel": f"{size[0]:.10g} × {size[1]:.10g} {unit[-1] if unit else ''}".strip(),
        "First corner": f"x {transform.c:.10g}, y {transform.f:.10g}",
        "CRS": (name[1] if name else "unknown") + (f" ({code[1]}:{code[2]})" if code else ""),
    }


def _model(content: ReportContent) -> Html:
    """What the model was fitted with."""
    fitting = content.model.fitting.model_dump(mode="json")
    names = {"sampled_pixels": "sampled pixels", "valid_pixels": "valid pixels", "scene_pixels": "pixels of the scene"}
    facts = {
        names.get(key, key.replace("_", " ")): f"{value:,}" if key in names else _plain(value)
        for key, value in fitting.items()
        if value is not None
    }
    if content.model.inertia is not None:
        facts["inertia"] = f"{content.model.inertia:.8g}"
    return _facts({**facts, "SHA-256 of the model": element("code", content.report["model"]["sha256"])}.items())


def _config(report: Mapping[str, Any]) -> Html:
    """The config as YAML; nothing if there was none."""
    if "config" not in report:
        return Html()
    text = yaml.safe_dump(report["config"], sort_keys=False, allow_unicode=True)
    return element("pre", element("code", text), tabindex=0, aria_label="Config of the run as YAML")


def _measured(report: Mapping[str, Any]) -> Html:
    """Plan against measurement, and the seconds of each stage."""
    plan, seconds = report["plan"], report["seconds"]
    cache = f"{size_words(plan['cache_bytes'])} ({plan['cache']})" if plan["cache_bytes"] else "none"
    rows = [
        ["Memory, at most", size_words(plan["peak"]), size_words(report["peak_rss"]) if report["peak_rss"] else "–"],
        ["Passes over the source, at most", str(plan["passes"]), f"{report['source_passes']:g}"],
        ["Cache", cache, ""],
        ["Blocks", f"{plan['blocks']:,} of {plan['chunk'][1]:,} × {plan['chunk'][0]:,} pixels", ""],
        ["Workers", str(plan["workers"]), ""],
    ]
    total = seconds["total"]
    stages = [[name, f"{took:.1f}", f"{took / (total or 1):.0%}"] for name, took in seconds.items()]
    return element(
        "div",
        table("Plan and measurement", ["", "Planned", "Measured"], rows),
        table("Time by stage", ["Stage", "Seconds", "Share"], stages),
        class_="pair",
    )


def _outputs(report: Mapping[str, Any]) -> Html:
    """The files of the run, with their digests."""
    rows = [
        [key, PurePath(path).name, element("code", report["sha256"][key]) if key in report["sha256"] else ""]
        for key, path in report["outputs"].items()
    ]
    return table("Files written with this page", ["Output", "Name", "SHA-256"], rows, left=3)


def _facts(facts: Iterable[tuple[str, str]]) -> Html:
    """Write names with their values."""
    return element("dl", join(element("div", element("dt", name), element("dd", value)) for name, value in facts))


def _footer(report: Mapping[str, Any]) -> Html:
    return element("p", f"Written by Terrazzo {report['versions']['terrazzo']}. This page loads nothing from elsewhere.")

