"""`terrazzo validate`: check a config."""

from pathlib import Path

import click

from pipeline.cli import registry
from pipeline.cli.options import config_argument
from pipeline.cli.terminal import print_answer
from pipeline.core.text import printable


@click.command(short_help="Check a config.")
@config_argument
def validate(config: Path, settings: tuple[str, ...]) -> None:
    """Check CONFIG and report mistakes in it. Opens no scene."""
    registry.check_outputs(registry.load_config(config, settings))
    print_answer(printable(f"{config}: valid"))
