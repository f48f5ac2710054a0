"""The page of a run's report, from its title to its caveat."""

from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from pathlib import PurePath
from typing import Any, Final

from pipeline.sinks.html_page import TIMES, Html, document, element, join
from pipeline.sinks.report_content import ReportContent
from pipeline.sinks.report_facts import config_text, facts_list, file_table, model_facts, plan_tables, scene_facts
from pipeline.sinks.report_sections import (
    classes_section,
    distances_section,
    histograms_section,
    log_section,
    picture_section,
    spectra_section,
)

_CAVEAT: Final = (
    "Clusters are not land cover: a class is a group of pixels with similar numbers. A dark roof may be in the class "
    "of water, one forest may be in three classes because of its shadows, and a cloud is in a class like any other. "
    "The numbers of the classes are an order, not a legend. Compare the classes with other data before you name them."
)


def report_page(content: ReportContent) -> str:
    """Write the page."""
    code = {name: (files("pipeline.sinks") / f"report.{name}").read_text("utf-8") for name in ("css", "js")}
    wide, high = content.pictures.size
    style = code["css"] + f":root{{--ratio:{wide / high:.4f}}}\n"
    means = "Spectra of the classes" if len(content.info.bands) > 1 else "Means of the classes"
    sections = [
        _section("Picture", picture_section(content)),
        _section("Classes", classes_section(content)),
        _section(means, spectra_section(content)),
        _section("Histograms of the bands", histograms_section(content)),
        _section("Distances between classes", distances_section(content)),
        _section("Iterations of the fit", log_section(content.report["log"])),
        _section("What was read", scene_facts(content)),
        _section("Model", model_facts(content)),
        _section("Config", config_text(content.report)),
        _section("Plan and measurement", plan_tables(content.report)),
        _section("Files", file_table(content.report)),
        _section("Versions", facts_list(content.report["versions"].items(), class_="compact")),
        _section("What clusters are not", element("p", _CAVEAT, class_="caveat")),
    ]
    title = f"{content.scene_name}: {content.model.k} classes"
    body = join([_header(content), element("main", *sections), element("footer", _footer(content.report))])
    return document(title, body, style=style, script=code["js"])


def _section(title: str, content: Html) -> Html:
    """Write a section; nothing without content."""
    return element("section", element("h2", title), content) if content else Html()


def _header(content: ReportContent) -> Html:
    """Title with scene, its date, and the date of the run."""
    grid, model, acquired = content.info.grid, content.model, content.info.acquired
    computed = len(model.indices) + len(model.textures)
    bands = len(content.info.bands) - computed
    facts = [
        *([f"acquired {acquired}"] if acquired else []),
        f"{model.k} classes",
        model.fitting.method,
        f"{bands} band{'' if bands == 1 else 's'}",
        *([f"{computed} computed from bands"] if computed else []),
        f"{grid.shape[1]:,} {TIMES} {grid.shape[0]:,} pixels",
    ]
    started = content.report["started"]
    map_name = PurePath(content.report["outputs"]["labels"]).name
    when = element("p", map_name, " · run on ", element("time", _date(started), datetime=started))
    return element("header", element("h1", content.scene_name), element("p", " · ".join(facts)), when)


def _date(iso: str) -> str:
    moment = datetime.fromisoformat(iso)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def _footer(report: Mapping[str, Any]) -> Html:
    version = report["versions"]["terrazzo"]
    return element("p", f"Written by Terrazzo {version}. This page loads nothing from elsewhere.")
