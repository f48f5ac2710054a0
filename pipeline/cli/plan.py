"""`terrazzo plan`: show what a run would need."""

from pathlib import Path

import click

from pipeline.cli import registry
from pipeline.cli.options import config_argument, json_option
from pipeline.cli.terminal import output_json, print_answer


@click.command(short_help="Show what a run would need; run nothing.")
@config_argument
@json_option
def plan(config: Path, settings: tuple[str, ...], *, as_json: bool) -> None:
    """Show what a run of CONFIG reads, writes and holds in memory. Runs nothing."""
    loaded = registry.load_config(config, settings)
    scene, planned = registry.plan_config(loaded)
    if as_json:
        print_answer(output_json(registry.plan_record(scene.info, planned, loaded)))
    else:
        print_answer(registry.plan_words(scene.info, planned, loaded))
