"""The outputs of a run. What writes one is imported when a job opens it."""

from pathlib import Path
from typing import Final

from pipeline.core.late_import import load
from pipeline.sinks.base import Job, Sink, Writer
from pipeline.sinks.geotiff import LABELS
from pipeline.sinks.quicklook import PICTURE
from pipeline.sinks.table import TABLE
from pipeline.sinks.text_files import MODEL, REPORT

SINKS: Final = (
    LABELS,
    TABLE,
    PICTURE,
    MODEL,
    REPORT,
)
"""All outputs. They get their final names in the opposite order: the map appears last."""


def open_writer(sink: Sink, path: Path, job: Job) -> Writer:
    """Import and call the function that opens the writer of an output."""
    writer: Writer = load(sink.writer)(path, job)
    return writer
