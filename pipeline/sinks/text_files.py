"""The report of a run: what was asked, what it took, with what versions. And small text files, whole or absent."""

from pathlib import Path

from pipeline.engine.work_folder import output_error


def write_text(path: Path, text: str, what: str) -> None:
    """Write a small text file: `what` of the config's `output`, the model or the report.

    Raises
    ------
    OutputError
        When it can't be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise output_error(path, f"the {what}", f"output.{what}", error) from error
