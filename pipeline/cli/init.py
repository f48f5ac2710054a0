"""`terrazzo init`: print a config for a scene."""

import click

from pipeline.cli import registry
from pipeline.cli.options import source_argument, timeout_option
from pipeline.cli.terminal import print_answer


@click.command(short_help="Print a config for a scene.")
@source_argument
@timeout_option
def init(source: tuple[str, ...], *, timeout: float) -> None:
    """Print a commented config for the scene SOURCE, to save and edit."""
    print_answer(registry.config_template(source, timeout), nl=False)
