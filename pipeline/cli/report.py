"""The report of a run, as a command prints it."""

from typing import Any

from pipeline.cli import registry
from pipeline.cli.terminal import output_json, print_summary


def print_report(report: dict[str, Any], *, as_json: bool) -> None:
    """Print the report of a run whose outputs are complete, as JSON or in words.

    Parameters
    ----------
    report : dict
        As written to the report file.
    as_json : bool
        Whether the caller asked for JSON; not being able to print it is an error then.
    """
    text = output_json(report) if as_json else registry.report_words(report)
    print_summary(text, report["outputs"].values(), asked=as_json)
