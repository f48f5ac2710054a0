"""What a Zarr map says besides its labels, by the conventions of CF, xarray, GDAL and GeoZarr.

The labels are an array `class` at the root of the store, with its coordinates `y`, `x` and `spatial_ref`, so that
xarray, GDAL and QGIS open it by the path of the store. Overviews are groups beside it, with the same arrays.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from affine import Affine

from pipeline.core import libraries
from pipeline.core.grid import Grid
from pipeline.geo.cf import coordinate_attributes, grid_mapping_attributes, is_rotated, pixel_centres
from pipeline.models.classes import UNCLASSIFIED
from pipeline.sinks.base import Job
from pipeline.sinks.geotiff import map_tags
from pipeline.sinks.overviews import level_shapes
from pipeline.sinks.palette import Colour, unclassified_colour

LABELS: Final = "class"
"""Name of the array of labels."""

_MAPPING: Final = "spatial_ref"
"""Name of the scalar that holds the CRS."""

_DIMENSIONS: Final = ("y", "x")

CF: Final = {"Conventions": "CF-1.11"}
"""Attribute of each group."""

_RENAMED_TAGS: Final = {"TIFFTAG_SOFTWARE": "source", "TIFFTAG_IMAGEDESCRIPTION": "comment"}
"""Names of CF for what the tags of a GeoTIFF state."""

_NOT_OF_A_WORD: Final = re.compile(r"[^\w.+@-]+")
"""Characters that words of CF's `flag_meanings` don't have."""

_CONVENTIONS: Final = {
    "proj:": ("geo-proj", "f17cb550-5864-4468-aeb7-f3180cfb622f", "Coordinate reference system of geospatial data"),
    "spatial:": ("spatial", "689b58e2-cf7b-45e0-9fff-9cfc0883d6b4", "Spatial coordinates"),
    "multiscales": ("multiscales", "d35379db-88df-4056-af3a-620245f8e347", "Multiscale layout"),
}
"""GeoZarr's conventions by the name of what they define: repository, identifier, description."""


@dataclass(frozen=True, kw_only=True)
class MapDescription:
    """What a map says besides its labels."""

    grid: Grid
    """Grid of the labels."""
    colours: tuple[Colour, ...]
    """Colours of classes 1 to k."""
    names: tuple[str, ...]
    """Names of classes 1 to k."""
    unclassified: bool
    """Whether labels may be `UNCLASSIFIED`."""
    tags: Mapping[str, str]
    """Tags as of a GeoTIFF: version, description, digest of the model."""

    @classmethod
    def of(cls, job: Job) -> Self:
        """Describe the map of a job."""
        model = job.model
        return cls(
            grid=job.info.grid,
            colours=job.colours,
            names=tuple(each.name for each in model.classes),
            unclassified=model.leaves_unclassified,
            tags=map_tags(model.digest, unclassified=model.leaves_unclassified) | job.provenance.tags(job.info),
        )


@dataclass(frozen=True)
class StoredArray:
    """An array of a store."""

    name: str
    """Name in its group."""
    dimensions: tuple[str, ...]
    """Names of its dimensions."""
    attributes: dict[str, Any]
    """Its attributes, as JSON can hold them."""
    values: npt.NDArray[Any] | None
    """All values; None for labels, which are written chunk by chunk."""


@dataclass(frozen=True)
class Level:
    """The map at one resolution."""

    group: str
    """Path of its group in the store; empty for the root, which holds the full resolution."""
    grid: Grid
    """Its grid."""

    def path_of(self, name: str) -> str:
        """Path of an array of the group in the store."""
        return f"{self.group}/{name}" if self.group else name


def levels_of(grid: Grid, *, overviews: bool) -> list[Level]:
    """Return the levels of a map, the largest first."""
    shapes = level_shapes(grid.shape) if overviews else [grid.shape]
    levels = []
    for number, shape in enumerate(shapes):
        factor = 2**number
        coarser = Grid(shape=shape, transform=grid.transform @ Affine.scale(factor), crs=grid.crs)
        levels.append(Level(f"overview_{factor}" if number else "", coarser))
    return levels


def root_attributes(description: MapDescription, levels: Sequence[Level]) -> dict[str, Any]:
    """Attributes of the root: its convention, what made the map and of what, and where its overviews are."""
    tags = {_RENAMED_TAGS.get(name, name): value for name, value in description.tags.items()}
    if len(levels) == 1:
        return CF | tags
    layout = [
        {"transform": {"scale": [1.0, 1.0], "translation": [0.0, 0.0]}, **_layout_entry(levels[0])},
        *(
            {
                "derived_from": finer.path_of(LABELS),
                "transform": {"scale": [2.0, 2.0], "translation": [0.0, 0.0]},
                **_layout_entry(level),
            }
            for finer, level in pairwise(levels)
        ),
    ]
    conventions = {"zarr_conventions": _conventions("spatial:", "multiscales")}
    return CF | tags | conventions | {"multiscales": {"layout": layout, "resampling_method": "mode"}}


def _layout_entry(level: Level) -> dict[str, Any]:
    """What the layout of the levels says of each."""
    return {
        "asset": level.path_of(LABELS),
        "spatial:shape": list(level.grid.shape),
        "spatial:transform": list(level.grid.transform)[:6],
    }


def arrays_of(description: MapDescription, level: Level) -> list[StoredArray]:
    """Return the arrays of a level, the labels first.

    A rotated grid has no coordinates of rows and columns: each pixel has its own, which the transform gives.
    """
    level_description = replace(description, grid=level.grid)
    labels = StoredArray(LABELS, _DIMENSIONS, label_attributes(level_description), None)
    mapping = StoredArray(_MAPPING, (), grid_mapping_attributes(level.grid), np.zeros((), np.int64))
    if is_rotated(level.grid):
        return [labels, mapping]
    described = zip(_DIMENSIONS, coordinate_attributes(level.grid), pixel_centres(level.grid), strict=True)
    return [
        labels,
        mapping,
        *(StoredArray(name, (name,), attributes, values) for name, attributes, values in described),
    ]


def label_attributes(description: MapDescription) -> dict[str, Any]:
    """Attributes of the labels: their meanings and colours, nodata, and where they lie."""
    meanings = {label: _word(name) or f"class_{label}" for label, name in enumerate(description.names, 1)}
    colours = dict(enumerate(description.colours, 1))
    if description.unclassified:
        meanings[UNCLASSIFIED] = "unclassified"
        colours[UNCLASSIFIED] = unclassified_colour(description.colours)
    return {
        "long_name": "class",
        "nodata": 0,
        "flag_values": list(meanings),
        "flag_meanings": " ".join(meanings.values()),
        "flag_colors": " ".join("#{:02x}{:02x}{:02x}".format(*colours[label]) for label in meanings),
        "k": len(description.names),
        "model": description.tags.get("TERRAZZO_MODEL_SHA256", ""),
        **({"acquired": acquired} if (acquired := description.tags.get("TERRAZZO_ACQUIRED")) else {}),
        "grid_mapping": _MAPPING,
        "coordinates": _MAPPING,
        **_location(description.grid),
    }


def _location(grid: Grid) -> dict[str, Any]:
    """Attributes of GDAL and of GeoZarr for the CRS and transform of an array."""
    rows, columns = grid.shape
    corners = [grid.transform @ corner for corner in ((0, 0), (columns, 0), (0, rows), (columns, rows))]
    xs, ys = zip(*corners, strict=True)
    spatial = {
        "spatial:dimensions": list(_DIMENSIONS),
        "spatial:shape": [rows, columns],
        "spatial:transform": list(grid.transform)[:6],
        "spatial:bbox": [min(xs), min(ys), max(xs), max(ys)],
        "spatial:registration": "pixel",
    }
    if grid.crs is None:
        return {"zarr_conventions": _conventions("spatial:"), **spatial}
    crs = libraries.pyproj.CRS.from_wkt(grid.crs)
    code = crs.to_authority(min_confidence=100)
    return {
        "_CRS": {"wkt": grid.crs},
        "zarr_conventions": _conventions("proj:", "spatial:"),
        **({"proj:code": ":".join(code)} if code else {}),
        "proj:wkt2": crs.to_wkt(),
        **spatial,
    }


def _conventions(*names: str) -> list[dict[str, str]]:
    """Records of the conventions that attributes follow."""
    chosen = ((name, *_CONVENTIONS[name]) for name in names)
    return [
        {
            "schema_url": f"https://raw.githubusercontent.com/zarr-conventions/{repository}/refs/tags/v1/schema.json",
            "spec_url": f"https://github.com/zarr-conventions/{repository}/blob/v1/README.md",
            "uuid": uuid,
            "name": name,
            "description": description,
        }
        for name, repository, uuid, description in chosen
    ]


def _word(name: str) -> str:
    """A name as one word."""
    return _NOT_OF_A_WORD.sub("_", name).strip("_")
