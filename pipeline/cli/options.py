"""Arguments and options that several commands share."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from pipeline.engine.progress import Progress, console_progress

Function = TypeVar("Function", bound=Callable[..., Any])

FILE: Final = click.Path(path_type=Path)


def quiet_option(function: Function) -> Function:
    """Add `--quiet`."""
    return click.option("-q", "--quiet", is_flag=True, help="Show no progress, only warnings and errors.")(function)


def overwrite_option(function: Function) -> Function:
    """Add `--overwrite`."""
    return click.option("--overwrite", is_flag=True, help="Replace existing outputs.")(function)


def json_option(function: Function) -> Function:
    """Add `--json`, as the parameter `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)


def timeout_option(function: Function) -> Function:
    """Add `--timeout`, in seconds."""
    words = "Time limit in seconds for opening or reading a remote file."
    return click.option("--timeout", type=float, default=120, show_default=True, help=words)(function)


def source_argument(function: Function) -> Function:
    """Add SOURCE, one or more files."""
    return click.argument("source", nargs=-1, required=True)(function)


def settings_option(words: str) -> Callable[[Function], Function]:
    """Add `--set`, which may be repeated, as the parameter `settings`, with its own help."""
    return click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help=words)


def config_argument(function: Function) -> Function:
    """Add CONFIG and the `--set` that overrides its keys, as the parameters `config` and `settings`."""
    settings = settings_option("Override a key of the config: --set fit.k=12.")(function)
    return click.argument("config", type=FILE)(settings)


def choose_progress(*, quiet: bool) -> Progress:
    """Choose how progress is shown on standard error, and unless `quiet` show log messages there, too."""
    if quiet:
        return Progress()
    logging.getLogger("pipeline").setLevel(logging.INFO)
    return console_progress()
