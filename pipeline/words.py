"""Records in words, for a terminal of 80 columns."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from textwrap import fill
from typing import Any, Final

from pipeline.inspection import BandFacts, Inspection
from pipeline.plan import Plan
from pipeline.scenes.source import SceneInfo

_MOST_CLASSES: Final = 30
"""Rows of a table printed in full; the CSV has them all."""


def size_words(size: float) -> str:
    """Bytes as people say them, in powers of ten."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:  # noqa: PLR2004
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def _columns(rows: Sequence[Sequence[str]], left: int = 1) -> Iterable[str]:
    """Align cells; the first `left` columns to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        yield "  ".join(cells).rstrip()


def plan_record(info: SceneInfo, plan: Plan) -> dict[str, Any]:
    """A plan as plain values, for JSON."""
    scene = {"sources": list(info.sources), "bands": list(info.bands), "dtype": info.dtype.name}
    return {"scene": {**scene, "rows": info.grid.shape[0], "columns": info.grid.shape[1]}, **asdict(plan), "peak": plan.peak}


def plan_words(info: SceneInfo, plan: Plan, allowed: int) -> str:
    """Say what a run will do."""
    rows, columns = info.grid.shape
    high, wide = plan.chunk
    files = len(info.sources)
    again = "kept decoded in between" if plan.scratch else ("read anew each time" if plan.passes > 1 else "")
    lines = [
        ("scene", f"{info.sources[0]}{f' and {files - 1} more' if files > 1 else ''}"),
        ("pixels", f"{columns} x {rows}, {len(info.bands)} bands of {info.dtype.name}: {', '.join(info.bands[:8])}"
                   f"{', ...' if len(info.bands) > 8 else ''}"),  # noqa: PLR2004
        ("blocks", f"{plan.blocks} of {wide} x {high} pixels, {plan.workers} worked on at once"),
        ("passes", f"{plan.passes} over the source{f', {again}' if again else ''}"),
        ("disk", f"{size_words(plan.disk)} while the run lasts"),
        ("memory", f"{size_words(plan.peak)} at most, {size_words(allowed)} allowed: {size_words(plan.base)} program, "),
        ("", f"{size_words(plan.fit)} fit, {size_words(plan.per_block)} for each block"),
    ]  # fmt: skip
    return "\n".join(f"{name:<8} {text}" for name, text in lines)


def inspection_words(found: Inspection) -> str:
    """Say what a scene holds."""
    more = f" and {len(found.sources) - 1} more" if len(found.sources) > 1 else ""
    share = "unknown" if found.valid_share is None else f"{found.valid_share:.1%} of the pixels looked at, in every band"
    width, height = found.resolution
    lines = [
        f"source   {found.sources[0]}{more} ({found.driver})",
        f"pixels   {found.columns} x {found.rows} of {width:g}" + ("" if width == height else f" x {height:g}"),
        f"crs      {found.crs or 'none'}",
        f"blocks   {found.block[0]} x {found.block[1]} in the file, {found.chunk[0]} x {found.chunk[1]} suggested for a run",
        f"valid    {share}",
        "",
        *_band_rows(found.bands),
    ]
    notes = [fill(f"note: {warning}", 80, subsequent_indent="      ") for warning in found.warnings]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _band_rows(bands: Sequence[BandFacts]) -> Iterable[str]:
    rows = [["no", "band", "common", "dtype", "pixels", "nodata", "scale", "offset", "valid", "from", "to"]]
    for number, band in enumerate(bands, start=1):
        rows.append(
            [
                str(number), band.name[:16], band.common_name or "", band.dtype, f"{band.columns}x{band.rows}",
                "" if band.nodata is None else f"{band.nodata:g}", f"{band.scale:g}", f"{band.offset:g}",
                f"{band.valid_share:.0%}", *("" if value is None else f"{value:.5g}" for value in (band.low, band.high)),
            ]
        )  # fmt: skip
    empty = [i for i in range(len(rows[0])) if not any(row[i] for row in rows[1:])]
    plain = [i for i in (6, 7) if len({row[i] for row in rows[1:]} | {"10"[i - 6]}) == 1]
    kept = [i for i in range(len(rows[0])) if i not in (*empty, *plain)]
    return _columns([[row[i] for i in kept] for row in rows], left=4)


def report_words(report: dict[str, Any]) -> str:
    """Say what a run made: where the files are, and what the classes hold."""
    classes = report["classes"]
    rows = [["class", "pixels", "share", "hectares"]]
    for entry in classes[:_MOST_CLASSES]:
        area = "" if entry["area_ha"] is None else f"{entry['area_ha']:,.1f}"
        rows.append([str(entry["class"]), f"{entry['pixels']:,}", f"{entry['share']:.1%}", area])
    if report["nodata_pixels"]:
        rows.append(["nodata", f"{report['nodata_pixels']:,}", "", ""])
    lines = [f"{name:<8} {path}" for name, path in report["outputs"].items()] + [""]
    lines += _columns(rows)
    if len(classes) > _MOST_CLASSES:
        lines.append(f"... and {len(classes) - _MOST_CLASSES} more in the table")
    if report["area_note"]:
        lines.append(f"area unknown: {report['area_note']}")
    peak = f", {size_words(report['peak_rss'])} of memory at most" if report["peak_rss"] else ""
    lines += ["", f"{report['seconds']['total']:.1f} s{peak}"]
    return "\n".join(lines)
