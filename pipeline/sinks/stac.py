"""A STAC item that describes the map and lists the other outputs, by which catalogues and clients find them.

Sources: STAC specification 1.1.0; extensions projection 2.0, raster 1.1 (as pystac writes it), classification 2.0,
processing 1.2. It is plain JSON, so pystac is not needed.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from unicodedata import normalize

import rasterio
from rasterio.crs import CRS

from pipeline.core.acquisition import Acquisition, moment_text
from pipeline.core.grid import Grid
from pipeline.core.regular_files import read_regular
from pipeline.core.scene_info import SceneInfo
from pipeline.core.strict_json import parse_json
from pipeline.core.text import json_text
from pipeline.core.version import __version__
from pipeline.geo.footprint import footprint
from pipeline.geo.overlap import bounds, crs_name
from pipeline.labels.classify import ClassStatistics
from pipeline.models.classes import UNCLASSIFIED
from pipeline.sinks.base import Job, Sink, Summary, Writer
from pipeline.sinks.legend import NODATA_NAME, legend_of
from pipeline.sinks.text_files import write_text

_EXTENSIONS: Final = ("projection/v2.0.0", "raster/v1.1.0", "classification/v2.0.0", "processing/v1.2.0")

_MEDIA_TYPES: Final = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".tiff": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".zarr": "application/vnd+zarr",
    ".json": "application/json",
    ".geojson": "application/geo+json",
    ".gpkg": "application/geopackage+sqlite3",
    ".csv": "text/csv",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".html": "text/html",
    ".xml": "application/xml",
    ".qml": "application/xml",
    ".clr": "text/plain",
}
"""Media type of a file by its ending; others have none."""

_ROLES: Final = {"labels": "data", "picture": "overview"}
"""Role of an output by its key; that of others is metadata."""

_LARGEST: Final = 2**20
"""Bytes of an item, at most."""

_MOST_NAMED: Final = 3
"""Most files that are named in a sentence."""

_NOT_IN_NAMES: Final = re.compile(r"[^0-9A-Za-z_-]+")
"""Characters that names of classes have not; titles may have any."""

_CHANGED_BY_URLS: Final = re.compile("[%?#]")
"""Characters of file names that mean something else in an address."""


def why_left_out(info: SceneInfo) -> str:
    """Say why there is no item of a scene: an item needs a date and a place; empty if there is one."""
    if info.acquired is None:
        return "it is unknown when the scene was acquired; set scene.date"
    return "" if info.grid.crs else "the scene has no coordinate reference system"


STAC: Final = Sink(
    key="stac",
    what="the STAC item",
    ending=".json",
    writer="pipeline.sinks.stac:ItemWriter",
    endings=(".json", ".geojson"),
    form="a JSON file",
    left_out=why_left_out,
    of_files=True,
)
"""A STAC item with the outputs as its assets."""


class ItemWriter(Writer):
    """Writes the item."""

    def __init__(self, path: Path, job: Job) -> None:
        self._path, self._job = path, job

    def finish(self, summary: Summary) -> None:
        """Write the file; raise OutputError if it can't be written."""
        outputs: Mapping[str, str] = summary.report.get("outputs", {})
        item = stac_item(self._job, summary.statistics, {key: Path(path) for key, path in outputs.items()})
        write_text(self._path, json_text(item, indent=2) + "\n", STAC)


def is_own_item(path: Path) -> bool:
    """Whether a file is a STAC item that Terrazzo wrote."""
    try:
        item = parse_json(read_regular(path, _LARGEST))
    except (OSError, ValueError, RecursionError):
        return False
    properties = item.get("properties") if isinstance(item, dict) and item.get("type") == "Feature" else None
    software = properties.get("processing:software") if isinstance(properties, dict) else None
    return isinstance(software, dict) and "terrazzo" in software


def stac_item(job: Job, statistics: ClassStatistics, outputs: Mapping[str, Path]) -> dict[str, Any]:
    """Make the item of a map; `outputs` are the final paths of all files, by their keys in the config."""
    grid = job.info.grid
    place, own = footprint(grid), outputs.get("stac", Path("item.json"))
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [f"https://stac-extensions.github.io/{name}/schema.json" for name in _EXTENSIONS],
        "id": own.stem,
        "geometry": place.geometry if place else None,
        **({"bbox": place.bbox} if place else {}),
        "properties": {
            **_times(job.info.acquired),
            "title": f"Map of {job.model.k} unsupervised classes",
            "description": "Classes of an unsupervised clustering. Clusters are not land cover.",
            **_projection(grid),
            "processing:software": {"terrazzo": __version__},
            "processing:lineage": _lineage(job),
        },
        "links": [],
        "assets": {
            key: _asset(key, path, own) | (_map_fields(job, statistics) if key == "labels" else {})
            for key, path in outputs.items()
            if key != "stac"
        },
    }


def _times(acquired: Acquisition | None) -> dict[str, str | None]:
    """Time of the scene: a moment, or a period, as which a day counts."""
    if acquired is None:
        return {"datetime": None}
    if acquired.first == acquired.last:
        return {"datetime": moment_text(acquired.first)}
    return {
        "datetime": None,
        "start_datetime": moment_text(acquired.first),
        "end_datetime": moment_text(acquired.last),
    }


def _projection(grid: Grid) -> dict[str, Any]:
    """Fields of the projection extension: the CRS by its code, or as WKT if it has none."""
    wkt = grid.crs or ""
    with rasterio.Env():
        coded = bool(wkt) and CRS.from_wkt(wkt).to_authority() is not None
        stated = {"proj:code": crs_name(wkt)} if coded else {"proj:code": None}
        if wkt and not coded:
            stated["proj:wkt2"] = CRS.from_wkt(wkt).to_wkt(version="WKT2_2019")
    return {
        **stated,
        "proj:shape": grid.shape,
        "proj:transform": tuple(grid.transform)[:6],
        "proj:bbox": bounds(grid),
    }


def _lineage(job: Job) -> str:
    """Describe in a sentence how the map was made."""
    files = [file.name for file in job.provenance.files]
    more = f" and {len(files) - _MOST_NAMED} more" if len(files) > _MOST_NAMED else ""
    of = f" of {', '.join(files[:_MOST_NAMED])}{more}" if files else ""
    model = f"model {job.model.digest} ({job.model.fitting.method})"
    return f"Each pixel of {', '.join(job.info.bands)}{of} was assigned to one of {job.model.k} classes of {model}."


def _asset(key: str, path: Path, item: Path) -> dict[str, Any]:
    """Asset of an output, with an address relative to the item."""
    media_type = _MEDIA_TYPES.get(path.suffix.lower())
    return {
        "href": _relative(path, item.parent),
        **({"type": media_type} if media_type else {}),
        "roles": [_ROLES.get(key, "metadata")],
    }


def _relative(path: Path, folder: Path) -> str:
    """Address of a file relative to a folder, with a dot at the beginning; readable as a path, too."""
    try:
        relative = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # on another drive of Windows
        return path.absolute().as_uri()
    quoted = _CHANGED_BY_URLS.sub(lambda found: f"%{ord(found[0]):02X}", relative)
    return quoted if quoted.startswith("../") else f"./{quoted}"


def _map_fields(job: Job, statistics: ClassStatistics) -> dict[str, Any]:
    """Fields of the map's asset: its band, and its classes."""
    band: dict[str, Any] = {"data_type": "uint8", "nodata": 0, "sampling": "area"}
    size = _metres(job.info.grid)
    return {
        "title": "Map of the classes",
        "data_type": "uint8",
        "nodata": 0,
        "raster:bands": [band | ({"spatial_resolution": size} if size else {})],
        "classification:classes": list(_classes(job, statistics)),
    }


def _metres(grid: Grid) -> float | None:
    """Mean side of a pixel in metres; None without a CRS, or if its unit is no length."""
    if grid.crs is None:
        return None
    with rasterio.Env():
        crs = CRS.from_wkt(grid.crs)
        if not crs.is_projected:
            return None
        width, height = grid.resolution
        return float((width + height) / 2 * crs.linear_units_factor[1])


def _classes(job: Job, statistics: ClassStatistics) -> Iterator[dict[str, Any]]:
    """Class objects of nodata, the classes, and unclassified pixels if there are any."""
    yield {"value": 0, "name": "nodata", "title": NODATA_NAME, "nodata": True, "count": statistics.counts[0]}
    legend = legend_of(job, statistics)
    names = [_plain(entry.name) for entry in legend]
    usual = Counter(["nodata", *names])
    taken = set(usual)
    for entry, name in zip(legend, names, strict=True):
        if not name or usual[name] > 1:
            name = f"{name or 'class'}-{entry.label}"  # noqa: PLW2901 (the name that is used)
            while name in taken:
                name += f"-{entry.label}"  # noqa: PLW2901 (the same)
            taken.add(name)
        yield {
            "value": entry.label,
            "name": name,
            "title": entry.name,
            "description": _description(entry.label),
            "color_hint": entry.hex_colour[1:].upper(),
            "count": statistics.pixels(entry.label),
            "percentage": round(100 * statistics.share(entry.label), 4),
        }


def _plain(title: str) -> str:
    """Title in letters without accents, digits, - and _; may be empty."""
    return _NOT_IN_NAMES.sub("-", normalize("NFKD", title).encode("ascii", "ignore").decode()).strip("-")


def _description(label: int) -> str:
    """Sentence on a class for people."""
    if label == UNCLASSIFIED:
        return "Valid pixels that are in none of the classes"
    return f"Class {label} of the clustering, in order from dark to bright; what it is on the ground is not known"
