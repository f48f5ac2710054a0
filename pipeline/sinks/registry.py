"""The outputs of a run. What writes one is imported when a job opens it."""

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field, StrictBool, create_model

from pipeline.config.fields import Name
from pipeline.config.schema import OutputSection
from pipeline.core.late_import import load
from pipeline.sinks.base import Job, LabelWriter, Sink, Writer
from pipeline.sinks.geotiff import MapWriter
from pipeline.sinks.store_folders import is_store_path
from pipeline.sinks.zarr_layout import MapDescription

_RECORDS: Final = (
    "pipeline.sinks.geotiff:LABELS",
    "pipeline.sinks.sidecar:SIDECAR",
    "pipeline.sinks.qml:QML",
    "pipeline.sinks.clr:CLR",
    "pipeline.sinks.table:TABLE",
    "pipeline.sinks.quicklook:PICTURE",
    "pipeline.sinks.quicklook:WORLD_FILE",
    "pipeline.sinks.text_files:MODEL",
    "pipeline.sinks.stac:STAC",
    "pipeline.sinks.report:REPORT",
    "pipeline.sinks.text_files:RECORD",
)
"""The record of each output: to add an output, add its line."""

SINKS: Final[tuple[Sink, ...]] = tuple(map(load, _RECORDS))
"""All outputs. They get their final names in the opposite order: the map appears last."""

if TYPE_CHECKING:
    OutputConfig = OutputSection
else:
    OutputConfig = create_model(
        "OutputConfig",
        __base__=OutputSection,
        __doc__="Section `output`: paths of the results, by default next to `labels`, with names derived from it.",
        **{
            sink.key: (StrictBool, Field(False, description=sink.description))  # noqa: FBT003
            if sink.follows
            else (Name | None, Field(None, description=sink.description))
            for sink in SINKS
            if sink.ending
        },
    )


def open_map(
    path: Path,
    description: MapDescription,
    workers: int,
    *,
    zarr_format: Literal[2, 3] = 2,
    overviews: bool = False,
) -> LabelWriter:
    """Return the writer of a map without a job: of a Zarr store if the path ends in .zarr, else of a GeoTIFF.

    `zarr_format` and `overviews` are those of a Zarr store; a GeoTIFF always has overviews.
    """
    if is_store_path(path):
        writer: LabelWriter = load("pipeline.sinks.zarr_writer:ZarrWriter")(
            path, description, workers, zarr_format=zarr_format, overviews=overviews
        )
        return writer
    return MapWriter(
        path,
        description.grid,
        description.colours,
        dict(description.tags),
        workers,
        unclassified=description.unclassified,
    )


def open_writer(sink: Sink, path: Path, job: Job) -> Writer:
    """Import and call the function that opens the writer of an output."""
    writer: Writer = load(sink.writer)(path, job)
    return writer
