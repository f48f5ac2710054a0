"""`terrazzo inspect`: describe a scene."""

import click

from pipeline.cli import registry
from pipeline.cli.options import json_option, source_argument, timeout_option
from pipeline.cli.terminal import output_json, print_answer


@click.command(short_help="Describe a scene.")
@source_argument
@timeout_option
@json_option
def inspect(source: tuple[str, ...], *, timeout: float, as_json: bool) -> None:
    """Describe the scene SOURCE: size, bands, nodata, chunks, and anything suspicious in it."""
    found = registry.inspect_scene(source, timeout)
    print_answer(output_json(found.record()) if as_json else registry.inspection_words(found))
