"""`terrazzo run`: make the map that a config describes."""

from pathlib import Path

import click

from pipeline.cli import registry
from pipeline.cli.options import choose_progress, config_argument, json_option, overwrite_option, quiet_option
from pipeline.cli.report import print_report


@click.command(short_help="Make the map that a config describes.")
@config_argument
@overwrite_option
@json_option
@quiet_option
def run(config: Path, settings: tuple[str, ...], *, overwrite: bool, as_json: bool, quiet: bool) -> None:
    """Fit a model to a scene and write the map, as CONFIG says."""
    progress = choose_progress(quiet=quiet)
    loaded = registry.load_config(config, settings)
    registry.keep_apart(registry.check_outputs(loaded).all(), [config])
    print_report(registry.run_config(loaded, overwrite=overwrite, progress=progress), as_json=as_json)
