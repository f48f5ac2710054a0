"""The colour map of the map as a sink (`.clr`): a line `value red green blue` for each class, as ArcGIS reads it."""

from pathlib import Path
from typing import Final

from pipeline.sinks.base import Job, Sink, Summary, Writer
from pipeline.sinks.legend import legend_of
from pipeline.sinks.text_files import write_text

CLR: Final = Sink(
    key="clr",
    what="the Esri colour map",
    ending=".clr",
    on_request=True,
    writer="pipeline.sinks.clr:ClrWriter",
    endings=(".clr",),
    form="an Esri colour map",
)
"""Colours of the classes for programs that read no other."""


class ClrWriter(Writer):
    """Writes the colour map."""

    def __init__(self, path: Path, job: Job) -> None:
        self._path, self._job = path, job

    def finish(self, summary: Summary) -> None:
        """Write the file; raise OutputError if it can't be written."""
        lines = [" ".join(map(str, (entry.label, *entry.colour))) for entry in legend_of(self._job, summary.statistics)]
        write_text(self._path, "\n".join(lines) + "\n", CLR)
