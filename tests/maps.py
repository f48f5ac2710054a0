"""Models with named classes, statistics of maps, and what GDAL's sidecar file says, for tests."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fakes import MemorySource
from sources import model_of

from pipeline.geo.pixel_areas import PixelAreas
from pipeline.labels.classify import ClassStatistics
from pipeline.models.base import ClusterModel
from pipeline.sinks.base import Job, Summary
from pipeline.sinks.palette import class_colours


def renamed(model: ClusterModel, names: Sequence[str]) -> ClusterModel:
    """The model with other names of its classes."""
    content = model.model_dump()
    for entry, name in zip(content["classes"], names, strict=True):
        entry["name"] = name
    return type(model).model_validate(content)


def job_of(*names: str) -> Job:
    """A job with a model whose classes have these names."""
    model = renamed(model_of(np.arange(len(names))[:, None]), names)
    return Job(info=MemorySource(np.zeros((1, 1, 1))).info, model=model, colours=class_colours(model.k), workers=1)


def summary_of(job: Job, *counts: int, unclassified: int = 0, hectares: float | None = 0.01) -> Summary:
    """Summary of a map with nodata and these pixels per class."""
    statistics = ClassStatistics(job.model, job.model.units, PixelAreas(hectares=hectares))
    statistics.counts, statistics.unclassified = [5, *counts], unclassified
    return Summary(statistics)


def attribute_table(path: Path) -> list[dict[str, str]]:
    """Rows of the attribute table in a sidecar file, by the names of their columns."""
    table = ET.parse(path).getroot().find("PAMRasterBand/GDALRasterAttributeTable")  # noqa: S314 (our own)
    assert table is not None
    names = [str(field.findtext("Name")) for field in table.iter("FieldDefn")]
    return [dict(zip(names, [value.text or "" for value in row.iter("F")], strict=True)) for row in table.iter("Row")]
