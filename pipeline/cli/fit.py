"""`terrazzo fit`: make a model, without a map."""

from pathlib import Path

import click

from pipeline.cli import registry
from pipeline.cli.options import FILE, choose_progress, config_argument, overwrite_option, quiet_option
from pipeline.cli.terminal import print_summary
from pipeline.core.text import printable


@click.command(short_help="Make a model only, without a map.")
@config_argument
@click.option("-o", "--output", type=FILE, required=True, help="The model to write, JSON.")
@overwrite_option
@quiet_option
def fit(config: Path, settings: tuple[str, ...], output: Path, *, overwrite: bool, quiet: bool) -> None:
    """Fit a model to a scene, as CONFIG says, and write it, without a map."""
    progress = choose_progress(quiet=quiet)
    registry.keep_apart([output], [config])
    model = registry.fit_config(registry.load_config(config, settings), output, overwrite=overwrite, progress=progress)
    text = f"model    {output}   {model.k} classes of {', '.join(model.bands)}"
    print_summary(printable(text), [output])
