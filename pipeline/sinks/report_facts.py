"""The sections of a run's report that say what was read, how, and with what: lists of facts and small tables."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any, Final

import yaml

from pipeline.core.text import size_words
from pipeline.geo.gdal import public_address
from pipeline.sinks.html_page import TIMES, UNKNOWN, Html, element, join, table
from pipeline.sinks.provenance import shareable
from pipeline.sinks.report_content import ReportContent

_MOST_SOURCES: Final = 20
"""Largest number of files that are listed."""

_MOST_BANDS: Final = 100
"""Largest number of bands that are listed."""

_UNITS: Final = {"metre": "m", "meter": "m", "Meter": "m"}
"""Symbols of units."""


def scene_facts(content: ReportContent) -> Html:
    """What was read: sources, bands, grid, CRS, nodata, valid pixels."""
    info, statistics = content.info, content.statistics
    grid = info.grid
    total = statistics.counts[0] + statistics.valid
    nodata = dict.fromkeys("none" if value is None else f"{value:g}" for value in info.nodata)
    sources = map(public_address, info.sources[:_MOST_SOURCES])
    facts = {
        "Files": _lines([*sources, *_more(len(info.sources) - _MOST_SOURCES, "files")]),
        "Bands": ", ".join(info.bands[:_MOST_BANDS])
        + "".join(f", {more}" for more in _more(len(info.bands) - _MOST_BANDS, "bands")),
        "Acquired": str(info.acquired or "unknown"),
        "Pixel type": info.dtype.name,
        "Quantity": _quantities(content),
        "Grid": f"{grid.shape[1]:,} columns {TIMES} {grid.shape[0]:,} rows",
        **_georeference(grid.crs, grid.transform),
        "Nodata": ", ".join(nodata) + (", and masks" if info.masked else ""),
        "Valid pixels": f"{statistics.valid:,} of {total:,} ({statistics.valid / (total or 1):.1%})",
    }
    return facts_list(facts.items())


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
    return f"{words}: stored number {TIMES} {scale:g} {'-' if offset < 0 else '+'} {abs(offset):g}"


def _georeference(wkt: str | None, transform: Any) -> dict[str, str]:
    """Pixel size, corner and coordinate reference system of a grid."""
    if wkt is None:
        return {"CRS": "none"}
    name = re.search(r'"([^"]*)"', wkt)
    code = re.search(r'(?:AUTHORITY|ID)\["(\w+)",\s*"?(\w+)"?\]\]\s*$', wkt)
    unit = ["", *re.findall(r'UNIT\["([^"]*)"', wkt)][-1]
    size = (transform.a**2 + transform.d**2) ** 0.5, (transform.b**2 + transform.e**2) ** 0.5
    return {
        "Pixel": f"{size[0]:.10g} {TIMES} {size[1]:.10g} {_UNITS.get(unit, unit)}",
        "Origin": f"x {transform.c:.10g}, y {transform.f:.10g}",
        "CRS": (name[1] if name else "unknown") + (f" ({code[1]}:{code[2]})" if code else ""),
    }


def model_facts(content: ReportContent) -> Html:
    """What the model was fitted with."""
    fitting = shareable(content.model.fitting.model_dump(mode="json"))
    names = {"sampled_pixels": "sampled pixels", "valid_pixels": "valid pixels", "scene_pixels": "pixels of the scene"}
    facts = {
        names.get(key, key.replace("_", " ")): f"{value:,}" if key in names else plain(value)
        for key, value in fitting.items()
        if value is not None
    }
    if content.model.inertia is not None:
        facts["inertia"] = f"{content.model.inertia:.8g}"
    return facts_list({**facts, "SHA-256 of the model": element("code", content.report["model"]["sha256"])}.items())


def config_text(report: Mapping[str, Any]) -> Html:
    """The config as YAML, addresses without passwords; nothing if there was none."""
    if "config" not in report:
        return Html()
    text = yaml.safe_dump(shareable(report["config"]), sort_keys=False, allow_unicode=True)
    return element("pre", element("code", text), tabindex=0, aria_label="Config of the run as YAML")


def plan_tables(report: Mapping[str, Any]) -> Html:
    """Plan against measurement, and the seconds of each stage."""
    plan, seconds = report["plan"], report["seconds"]
    cache = f"{size_words(plan['cache_bytes'])} ({plan['cache']})" if plan["cache_bytes"] else "none"
    peak = size_words(report["peak_rss"]) if report["peak_rss"] else UNKNOWN
    rows = [
        ["Memory, at most", size_words(plan["peak"]), peak],
        ["Passes over the source, at most", str(plan["passes"]), f"{report['source_passes']:g}"],
        ["Cache", cache, ""],
        ["Blocks", f"{plan['blocks']:,} of {plan['chunk'][1]:,} {TIMES} {plan['chunk'][0]:,} pixels", ""],
        ["Workers", str(plan["workers"]), ""],
    ]
    total, took = seconds["total"], {name: took for name, took in seconds.items() if name != "total"}
    times = {**took, "other": max(0.0, total - sum(took.values())), "total": total}
    stages = [[name, f"{time:.1f}", f"{time / (total or 1):.0%}"] for name, time in times.items()]
    return element(
        "div",
        table("Plan and measurement", ["", "Planned", "Measured"], rows),
        table("Time by stage", ["Stage", "Seconds", "Share"], stages),
        class_="pair",
    )


def file_table(report: Mapping[str, Any]) -> Html:
    """The files of the run, with their digests."""
    rows = [
        [key, PurePath(path).name, element("code", report["sha256"][key]) if key in report["sha256"] else ""]
        for key, path in report["outputs"].items()
    ]
    return table("Files written with this page", ["Output", "Name", "SHA-256"], rows, left=3)


def facts_list(facts: Iterable[tuple[str, str]], class_: str | None = None) -> Html:
    """Write names with their values."""
    pairs = (element("div", element("dt", name), element("dd", value)) for name, value in facts)
    return element("dl", *pairs, class_=class_)


def plain(value: object) -> str:
    """Write a number or a word of a report."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return UNKNOWN if value is None else str(value)
