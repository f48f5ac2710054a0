"""`terrazzo demo`: map a small real scene."""

from pathlib import Path

import click

from pipeline.cli import registry
from pipeline.cli.options import FILE, choose_progress, quiet_option
from pipeline.cli.report import print_report


@click.command(short_help="Map a small real scene.")
@click.option("--out", type=FILE, default=Path("terrazzo-demo"), show_default=True, help="Folder for all files.")
@quiet_option
def demo(out: Path, *, quiet: bool) -> None:
    """Map a small real Sentinel-2 scene, downloaded once (5 MB): an example of every output."""
    progress = choose_progress(quiet=quiet)
    print_report(registry.run_demo(out, progress), as_json=False)
