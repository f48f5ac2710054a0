"""Write small text files: the model and the report of a run."""

from pathlib import Path

from pipeline.engine.work_folder import output_error


def write_text(path: Path, text: str, what: str) -> None:
    """Write a small text file; `what` is its key in the config's `output`: model or report.

    Raises
    ------
    OutputError
        If it can't be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise output_error(path, f"the {what}", f"output.{what}", error) from error
