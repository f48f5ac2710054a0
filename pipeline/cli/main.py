"""The command line: parses, calls, prints. Heavy imports happen in the verbs, so that help is there at once."""

import atexit
import gc
import logging
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipeline.cli.terminal import (
    drop_output,
    encoding_of_output,
    print_answer,
    print_summary,
    set_up_streams,
    unprinted,
)
from pipeline.core.errors import TerrazzoError
from pipeline.core.text import json_text, printable, replace_non_finite
from pipeline.core.version import __version__
from pipeline.engine.signals import STOPPED, exit_at_signals, handle_signals, signal_exit_status

if TYPE_CHECKING:
    from pipeline.engine.progress import Progress

Verb = TypeVar("Verb", bound=Callable[..., Any])

_CONFIG = click.Path(path_type=Path)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="terrazzo")
@click.option("--debug", is_flag=True, expose_value=False, help="On failure show Python's traceback, too.")
def cli() -> None:
    """Turn a large satellite scene into an unsupervised land-cover map.

    \b
    terrazzo init scene.tif > my.yaml     a config to edit
    terrazzo run my.yaml                  the map, its model, table and picture

    Results go to standard output, progress and warnings to standard error. Exit status: 0 done, 1 failed,
    2 wrong usage or config.
    """  # noqa: D301 (click wants the character itself)


def _with_quiet(verb: Verb) -> Verb:
    return click.option("-q", "--quiet", is_flag=True, help="No progress; warnings and errors only.")(verb)


def _with_overwrite(verb: Verb) -> Verb:
    return click.option("--overwrite", is_flag=True, help="Replace outputs that exist.")(verb)


def _with_json(verb: Verb) -> Verb:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(verb)


def _with_timeout(verb: Verb) -> Verb:
    what = "Seconds for a file on another machine to open, or to be read."
    return click.option("--timeout", type=float, default=120, show_default=True, help=what)(verb)


def _with_config(verb: Verb) -> Verb:
    settings = click.option(
        "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a key of the config: --set fit.k=12."
    )(verb)
    return click.argument("config", type=_CONFIG)(settings)


def _progress(*, quiet: bool) -> "Progress":
    """Send logs to standard error and choose how progress is shown there."""
    from pipeline.engine.progress import Progress, console_progress  # noqa: PLC0415

    if quiet:
        return Progress()
    logging.getLogger("pipeline").setLevel(logging.INFO)
    return console_progress()


@cli.command(short_help="Make the map that a config describes.")
@_with_config
@_with_overwrite
@_with_json
@_with_quiet
def run(config: Path, settings: tuple[str, ...], *, overwrite: bool, as_json: bool, quiet: bool) -> None:
    """Fit a model to a scene and write the map, as CONFIG says."""
    progress = _progress(quiet=quiet)
    from pipeline.config.schema import load_config  # noqa: PLC0415

    loaded = load_config(config, settings)
    from pipeline.jobs.run import check_outputs, run_config  # noqa: PLC0415
    from pipeline.sinks.staging import keep_apart  # noqa: PLC0415

    keep_apart(check_outputs(loaded).all(), [config])
    _print_report(run_config(loaded, overwrite=overwrite, progress=progress), as_json=as_json)


@cli.command(short_help="Make a model, and no map.")
@_with_config
@click.option("-o", "--output", type=_CONFIG, required=True, help="The model to write, JSON.")
@_with_overwrite
@_with_quiet
def fit(config: Path, settings: tuple[str, ...], output: Path, *, overwrite: bool, quiet: bool) -> None:
    """Fit a model to a scene, as CONFIG says, and write it; no map."""
    progress = _progress(quiet=quiet)
    from pipeline.config.schema import load_config  # noqa: PLC0415
    from pipeline.jobs.run import fit_config  # noqa: PLC0415
    from pipeline.sinks.staging import keep_apart  # noqa: PLC0415

    keep_apart([output], [config])
    model = fit_config(load_config(config, settings), output, overwrite=overwrite, progress=progress)
    words = f"model    {output}   {model.k} classes of {', '.join(model.bands)}"
    print_summary(printable(words), [output])


@cli.command(short_help="Label another scene with a model.")
@click.argument("source", nargs=-1, required=True)
@click.option("--model", type=_CONFIG, required=True, help="A model that `run` or `fit` wrote.")
@click.option("-o", "--output", type=_CONFIG, required=True, help="The map to write, a GeoTIFF.")
@click.option("--palette", default="auto", show_default=True, help="'auto' or a matplotlib colour map.")
@click.option("--memory", default="2GB", show_default=True, help="The most memory to take.")
@click.option("--workers", default="auto", show_default=True, help="Blocks worked on at once.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Say more: --set scene.mask=scl, run.cache_dir=/fast.",
)
@_with_overwrite
@_with_json
@_with_quiet
def predict(
    source: tuple[str, ...],
    model: Path,
    output: Path,
    palette: str,
    settings: tuple[str, ...],
    *,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    **resources: str,
) -> None:
    """Label another scene, SOURCE (a product, a file, one for each band), with a model that is there already."""
    progress = _progress(quiet=quiet)
    from pipeline.config.record import parse_record  # noqa: PLC0415
    from pipeline.config.schema import OutputConfig, load_prediction  # noqa: PLC0415
    from pipeline.models.cluster_model import ClusterModel  # noqa: PLC0415

    asked = load_prediction(source, resources, settings)
    files = parse_record(OutputConfig, {"labels": str(output), "palette": palette}, "predict")
    loaded = ClusterModel.load(model)
    from pipeline.jobs.map import OutputPaths  # noqa: PLC0415
    from pipeline.jobs.run import predict as predict_scene  # noqa: PLC0415
    from pipeline.sinks.staging import keep_apart  # noqa: PLC0415

    keep_apart(OutputPaths.of(files, fits=False).all(), [model])
    report = predict_scene(asked.scene, loaded, files, resources=asked.run, overwrite=overwrite, progress=progress)
    _print_report(report, as_json=as_json)


@cli.command(short_help="Say what a run would take; run nothing.")
@_with_config
@_with_json
def plan(config: Path, settings: tuple[str, ...], *, as_json: bool) -> None:
    """Say what a run of CONFIG will read, write and hold in memory. Runs nothing."""
    from pipeline.config.schema import load_config  # noqa: PLC0415

    loaded = load_config(config, settings)
    from pipeline.cli.text import plan_record, plan_words  # noqa: PLC0415
    from pipeline.jobs.run import plan_config  # noqa: PLC0415

    scene, planned = plan_config(loaded)
    print_answer(
        _json(plan_record(scene.info, planned, loaded)) if as_json else plan_words(scene.info, planned, loaded)
    )


@cli.command(short_help="Say what a scene holds.")
@click.argument("source", nargs=-1, required=True)
@_with_timeout
@_with_json
def inspect(source: tuple[str, ...], *, timeout: float, as_json: bool) -> None:
    """Say what a scene, SOURCE, holds: size, bands, nodata, chunks, and what looks suspicious."""
    from pipeline.cli.text import inspection_words  # noqa: PLC0415
    from pipeline.jobs.inspect import inspect_scene  # noqa: PLC0415

    found = inspect_scene(source, timeout)
    print_answer(_json(found.record()) if as_json else inspection_words(found))


@cli.command(short_help="Print a config for a scene.")
@click.argument("source", nargs=-1, required=True)
@_with_timeout
def init(source: tuple[str, ...], *, timeout: float) -> None:
    """Print a commented config for SOURCE, to be saved and edited."""
    from pipeline.jobs.template import config_template  # noqa: PLC0415

    print_answer(config_template(source, timeout), nl=False)


@cli.command(short_help="Check a config.")
@_with_config
def validate(config: Path, settings: tuple[str, ...]) -> None:
    """Check CONFIG, and say what is wrong with it. Opens no scene."""
    from pipeline.config.schema import load_config  # noqa: PLC0415

    loaded = load_config(config, settings)
    from pipeline.jobs.run import check_outputs  # noqa: PLC0415

    check_outputs(loaded)
    print_answer(printable(f"{config}: valid"))


@cli.command(short_help="Map a small real scene.")
@click.option("--out", type=_CONFIG, default=Path("terrazzo-demo"), show_default=True, help="Folder for all files.")
@_with_quiet
def demo(out: Path, *, quiet: bool) -> None:
    """Map a small real Sentinel-2 scene (downloaded once, 5 MB): the whole road, to look at."""
    progress = _progress(quiet=quiet)
    from pipeline.jobs.demo import run_demo  # noqa: PLC0415

    _print_report(run_demo(out, progress), as_json=False)


def _json(record: dict[str, Any]) -> str:
    return json_text(replace_non_finite(record), encoding_of_output(), indent=2, allow_nan=False)


def _print_report(report: dict[str, Any], *, as_json: bool) -> None:
    from pipeline.cli.text import report_words  # noqa: PLC0415

    text = _json(report) if as_json else report_words(report)
    print_summary(text, report["outputs"].values(), asked=as_json)


def main() -> None:
    """Run the command line and leave with its exit status."""
    exit_at_signals()
    set_up_streams()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # we work on blocks side by side; its threads would spin
    gc.set_threshold(100_000)  # imports make many objects that stay; to look at them again and again takes a tenth
    atexit.register(gc.freeze)  # a process that ends has no need to look for garbage, which takes a while
    warnings.filterwarnings("ignore", message="Dataset has no geotransform|The given matrix is equal")  # we say so
    try:
        handle_signals()
        status = _run()
    except BaseException:  # whatever libraries have made of what a signal raised
        if not signal_exit_status():
            raise
        status = 1
    finally:
        exit_at_signals()
    if signal_exit_status():
        click.echo(STOPPED, err=True)
    _leave(signal_exit_status() or status)


def _run() -> int:
    """Run the command line and give its exit status."""
    try:
        status = cli.main([word for word in sys.argv[1:] if word != "--debug"], "terrazzo", standalone_mode=False)
    except click.ClickException as error:
        error.message = printable(error.message)  # type: ignore[misc]
        error.show()
        return error.exit_code
    except click.Abort:  # which click makes of what Ctrl-C raises
        return 130
    except Exception as error:
        lost = drop_output()
        if isinstance(error, BrokenPipeError):
            return 1
        if "--debug" in sys.argv:
            raise
        from pipeline.cli.faults import fault_sentence  # noqa: PLC0415 (seldom wanted)

        ours = isinstance(error, TerrazzoError)
        sentence = unprinted(lost) if lost else str(error) if ours else fault_sentence(error)
        click.echo(f"terrazzo: {sentence}", err=True)
        return getattr(error, "exit_code", 1)
    return status if isinstance(status, int) else 0


def _leave(status: int) -> None:
    """Leave; at once where a thread that waits for another machine would be in the way of Python's own end."""
    deadline = sys.modules.get("pipeline.engine.deadline")  # not imported for help
    if deadline and deadline.has_abandoned_threads():
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with suppress(OSError):
                stream.flush()
        os._exit(status)
    sys.exit(status)
