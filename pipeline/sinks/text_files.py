"""Small text files: the model and the record of a run."""

from pathlib import Path
from typing import Final

from pipeline.core.text import json_text
from pipeline.sinks.base import Job, Sink, Summary, Writer

MODEL: Final = Sink(
    key="model", what="the model", ending=".model.json", writer="pipeline.sinks.text_files:ModelWriter", of_fit=True
)
"""The fitted model, as JSON."""

RECORD: Final = Sink(
    key="run",
    what="the record of the run",
    ending=".run.json",
    writer="pipeline.sinks.text_files:RecordWriter",
    of_files=True,
)
"""The report of a run, as JSON."""


class ModelWriter(Writer):
    """Writes the model."""

    def __init__(self, path: Path, job: Job) -> None:
        self._path, self._model = path, job.model

    def finish(self, _summary: Summary) -> None:
        """Write the file."""
        write_text(self._path, self._model.to_json(), MODEL)


class RecordWriter(Writer):
    """Writes the report of the run as JSON."""

    def __init__(self, path: Path, _job: Job) -> None:
        self._path = path

    def finish(self, summary: Summary) -> None:
        """Write the file."""
        write_text(self._path, json_text(summary.report, indent=2) + "\n", RECORD)


def write_text(path: Path, text: str, sink: Sink) -> None:
    """Write a text file; raise OutputError if it can't be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise sink.failure(path, error) from error
