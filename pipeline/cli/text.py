"""Plans, inspections and reports as text for a terminal of 80 columns."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import fill, shorten
from typing import Any, Final

from pipeline.core.scene_info import SceneInfo
from pipeline.core.text import printable, size_words
from pipeline.formats.catalogue import Product
from pipeline.jobs.config import RunConfig
from pipeline.jobs.inspect import BandFacts, Inspection, short_unit
from pipeline.jobs.plan import ClusterPlan, Plan
from pipeline.scenes.value_checks import PREFIX

_WIDTH: Final = 80
_FIXED_PASSES: Final = 3
"""Most passes over the source whose number is known in advance: for the sample, for mini-batches, for the map."""

_MOST_CLASSES: Final = 30
"""Largest number of classes printed; the CSV has all of them."""


def _columns(rows: Sequence[Sequence[str]], left: int = 1) -> Iterable[str]:
    """Align the cells of a table: the first `left` columns to the left, the others to the right."""
    rows = [list(map(printable, row)) for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        yield "  ".join(cells).rstrip()


def plan_record(info: SceneInfo, plan: Plan, config: RunConfig) -> dict[str, Any]:
    """Return a plan as plain values, for JSON."""
    scene = {"sources": list(info.sources), "bands": list(info.bands), "dtype": info.dtype.name}
    return {
        "scene": {**scene, "rows": info.map_grid.shape[0], "columns": info.map_grid.shape[1]},
        "fit": config.fit.model_dump(mode="json", include={"method", "pixels", "k"}),
        **asdict(plan),
        "cache_dir": _cache_dir(plan, config) if plan.cache == "disk" else None,
        "disk": plan.disk,
        "peak": plan.peak,
        "memory": int(config.run.memory),
    }


def _cache_dir(plan: Plan, config: RunConfig) -> str | None:
    """Return the folder of a cache on disk; None for that of each worker of a cluster."""
    if plan.cluster and not plan.cluster.is_local:
        return config.run.cache_dir
    return config.run.cache_dir or str(Path(config.output.labels).parent)


def plan_words(info: SceneInfo, plan: Plan, config: RunConfig) -> str:
    """Describe what a run will do."""
    rows, columns = info.map_grid.shape
    high, wide = plan.chunk
    most = " at most" if plan.passes > _FIXED_PASSES else ""
    then = ", then over the cache until fit.tol is met" if plan.caches_blocks and plan.all_pixels else ""
    each = " in each process" if plan.cluster else ""
    lines = {
        "scene": _first_of([_short(source) for source in config.scene.source]),
        "pixels": f"{columns} x {rows}, {len(info.bands)} bands of {info.dtype.name}",
        "bands": shorten(", ".join(info.bands), _WIDTH - 10, placeholder=" ..."),
        "blocks": f"{plan.blocks} of {wide} x {high} pixels, {plan.at_once} at once{each}",
        **(_cluster_lines(plan, plan.cluster) if plan.cluster else {}),
        "passes": f"{plan.passes} over the source{most}{then}",
        **_cache_lines(plan, config),
        "disk": _disk_words(plan),
        "memory": f"{size_words(plan.peak)} at most{each}, of {size_words(int(config.run.memory))} allowed:",
        "": f"{size_words(plan.base)} program, {size_words(plan.fit)} fit, "
        f"{plan.at_once} x {size_words(plan.per_block)} per block",
    }
    return _aligned(lines)


def _cluster_lines(plan: Plan, cluster: ClusterPlan) -> dict[str, str]:
    """Describe how a run is spread over processes, and what they send to the client."""
    sent = {
        "sample": cluster.sample_bytes,
        "each pass": cluster.pass_bytes,
        "labels": cluster.label_bytes,
    }
    listed = [f"{size_words(size)} {what}" for what, size in sent.items() if size]
    blocks = _counted(min(cluster.shard_blocks, plan.blocks), "block")
    labelling = f", {cluster.label_tasks} for labels" if cluster.label_tasks else ""
    return {
        "cluster": f"{_counted(cluster.processes, 'process', 'processes')} of {_counted(plan.workers, 'thread')}, "
        "and this one, the client",
        "tasks": f"{cluster.tasks} in a pass{labelling}: {_counted(cluster.shards, 'shard')} of at most {blocks}",
        "sent": f"to the client, at most: {', '.join(listed)}",
    }


def _counted(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def _cache_lines(plan: Plan, config: RunConfig) -> dict[str, str]:
    """Describe the cache: its size, where it is, and the share of each process of a cluster."""
    if not plan.cache_bytes:
        return {"cache": "none"}
    folder = _cache_dir(plan, config)
    where = (
        "in memory"
        if plan.cache == "memory"
        else f"on disk, in {_short(folder) if folder else 'the folders of the workers'}"
    )
    lines = {"cache": f"{size_words(plan.cache_bytes)} {where}"}
    if plan.cluster:
        lines["share"] = f"about {size_words(plan.cluster.worker_cache)} of the cache in each process"
    return lines


def _disk_words(plan: Plan) -> str:
    """Describe the disk space that is taken during the run: in the client, and by the caches of workers elsewhere."""
    if plan.cluster and not plan.cluster.is_local:
        cache = f", {size_words(plan.cluster.worker_cache)} of each worker" if plan.cache_disk else ""
        return f"{size_words(plan.map_disk)} of the client{cache} during the run"
    return f"{size_words(plan.disk)} during the run"


def _short(path: str) -> str:
    """Shorten a long path at its beginning."""
    return path if len(path) <= _WIDTH // 2 else "..." + path[-_WIDTH // 2 :]


def _aligned(lines: dict[str, str]) -> str:
    return "\n".join(f"{name:<8} {printable(text)}" for name, text in lines.items())


def _first_of(paths: Sequence[str]) -> str:
    return f"{paths[0]} and {len(paths) - 1} more" if len(paths) > 1 else paths[0]


def inspection_words(found: Inspection) -> str:
    """Describe a scene."""
    share = "" if found.valid_share is None else f"{found.valid_share:.1%} of the previewed pixels, in all bands"
    width, height = found.resolution
    product = found.product
    lines = {
        "source": f"{found.origin if product else _first_of(found.sources)} ({found.driver})",
        **(_product_lines(product, found.masks) if product else {}),
        "date": found.acquired or (product and product.date) or "unknown",
        "pixels": f"{found.columns} x {found.rows}",
        "pixel": f"{width:g}{'' if width == height else f' x {height:g}'} {short_unit(found.unit)}",
        "crs": found.crs or "none",
        "quantity": ", ".join(dict.fromkeys(band.quantity for band in found.bands)),
        "blocks": f"{found.block[0]} x {found.block[1]} in the file",
        "chunks": f"{found.chunk[0]} x {found.chunk[1]} suggested for a run",
        "valid": share or "unknown: the bands have different grids",
    }
    notes = [_filled(text if text.startswith(PREFIX) else f"note: {text}") for text in found.warnings]
    rows = _band_rows(found.bands, radiometry=product is None)
    return "\n".join([_aligned(lines), "", *rows, *([""] if notes else []), *notes])


def _filled(text: str) -> str:
    """Wrap a text without breaking paths."""
    return fill(printable(text), _WIDTH, subsequent_indent="      ", break_on_hyphens=False, break_long_words=False)


def _product_lines(product: Product, masks: Sequence[str]) -> dict[str, str]:
    """Return the metadata of a product by label."""
    return {
        "product": product.name,
        "format": f"{product.format} {product.level}".strip(),
        "tile": product.tile or "unknown",
        "baseline": product.baseline or "unknown",
        "numbers": product.radiometry,
        "masks": "; ".join(masks) or "none",
    }


def _band_rows(bands: Sequence[BandFacts], *, radiometry: bool) -> Iterable[str]:
    """Format the table of bands; empty columns are left out, and scale and offset unless `radiometry`."""
    table = {
        "no": [band.number for band in bands],
        "band": [band.name[:24] for band in bands],
        "common": [band.common_name or "" for band in bands],
        "quantity": [band.quantity for band in bands] if len({band.quantity for band in bands}) > 1 else [""],
        "dtype": [band.dtype for band in bands],
        "pixels": [f"{band.columns}x{band.rows}" for band in bands],
        "pixel": [f"{band.resolution:g}" for band in bands] if len({band.resolution for band in bands}) > 1 else [""],
        "nodata": ["" if band.nodata is None else f"{band.nodata:g}" for band in bands],
        "scale": ["" if band.scale == 1 or not radiometry else f"{band.scale:g}" for band in bands],
        "offset": ["" if band.offset == 0 or not radiometry else f"{band.offset:g}" for band in bands],
        "valid": [f"{band.valid_share:.0%}" for band in bands],
        "min": ["" if band.low is None else f"{band.low:.5g}" for band in bands],
        "max": ["" if band.high is None else f"{band.high:.5g}" for band in bands],
    }
    filled = {name: cells for name, cells in table.items() if any(cells)}
    return _columns([list(filled), *zip(*filled.values(), strict=True)], left=1 + list(filled).index("dtype"))


def report_words(report: dict[str, Any]) -> str:
    """Describe the results of a run: its files, and the pixels per class."""
    classes = report["classes"]
    rows = [["class", "pixels", "share", "hectares"]]
    for entry in classes[:_MOST_CLASSES]:
        area = "" if entry["area_ha"] is None else f"{entry['area_ha']:,.1f}"
        rows.append([str(entry["class"]), f"{entry['pixels']:,}", f"{entry['share']:.1%}", area])
    if (none := report["unclassified"])["pixels"]:
        area = "" if none["area_ha"] is None else f"{none['area_ha']:,.1f}"
        rows.append(["unclassified", f"{none['pixels']:,}", f"{none['share']:.1%}", area])
    if report["nodata_pixels"]:
        rows.append(["nodata", f"{report['nodata_pixels']:,}", "", ""])
    if all(row[3] == "" for row in rows[1:]):
        rows = [row[:3] for row in rows]
    lines = [_aligned(report["outputs"]), ""]
    lines += _columns(rows)
    if len(classes) > _MOST_CLASSES:
        lines.append(f"... and {len(classes) - _MOST_CLASSES} more in the table")
    if report["area_note"]:
        lines.append(f"area unknown: {report['area_note']}")
    peak = f", at most {size_words(report['peak_rss'])} of memory" if report["peak_rss"] else ""
    lines += ["", f"{report['seconds']['total']:.1f} s{peak}"]
    return "\n".join(lines)
