"""The commands. Each imports what it calls when it is called: help and mistakes in options are answered at once."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from pipeline.cli.terminal import output_json, print_answer, print_summary
from pipeline.core.text import printable
from pipeline.engine.progress import Progress, console_progress

if TYPE_CHECKING:
    from pipeline.jobs.config import RunConfig

_FILE: Final = click.Path(path_type=Path)

_config = click.argument("config", type=_FILE)
_source = click.argument("source", nargs=-1, required=True)
_override = click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a key of the config: --set fit.k=12."
)
_cluster = click.option(
    "--cluster",
    help="Where blocks are worked on: 'none' (threads), 'processes', a scheduler's address or its file.",
)
_timeout = click.option(
    "--timeout",
    type=float,
    default=120,
    show_default=True,
    help="Time limit in seconds for opening or reading a remote file.",
)
_overwrite = click.option("--overwrite", is_flag=True, help="Replace existing outputs.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_quiet = click.option("-q", "--quiet", is_flag=True, help="Show no progress, only warnings and errors.")


def _choose_progress(*, quiet: bool) -> Progress:
    """Choose how progress is shown on standard error, and unless `quiet` show log messages there, too."""
    if quiet:
        return Progress()
    logging.getLogger("pipeline").setLevel(logging.INFO)
    return console_progress()


def _print_report(report: dict[str, Any], *, as_json: bool, more: str = "") -> None:
    """Print the report of a run whose outputs are complete, in words, or as JSON if the caller asked for that.

    A sentence `more` follows the words.
    """
    from pipeline.cli.text import report_words

    text = output_json(report) if as_json else report_words(report)
    text += f"\n\n{printable(more)}" if more else ""
    print_summary(text, report["outputs"].values(), asked=as_json)


def _with_cluster(settings: tuple[str, ...], cluster: str | None) -> tuple[str, ...]:
    """Return settings with that of the option --cluster, if it was given."""
    return settings if cluster is None else (*settings, f"run.cluster={cluster}")


def _load_run(config: Path, settings: tuple[str, ...]) -> "RunConfig":
    """Load a config and check what it says of the run, without opening its scene."""
    from pipeline.jobs.config import load_config
    from pipeline.jobs.run import check_outputs
    from pipeline.sinks.staging import keep_apart

    loaded = load_config(config, settings)
    keep_apart(check_outputs(loaded).by_key(), {str(config): "the config"})
    return loaded


@click.command(short_help="Map a small real scene.")
@click.option("--out", type=_FILE, default=Path("terrazzo-demo"), show_default=True, help="Folder for all files.")
@_quiet
def demo(out: Path, *, quiet: bool) -> None:
    """Map a small real Sentinel-2 scene, downloaded once (5 MB): an example of every output."""
    from pipeline.jobs.demo import run_demo

    progress = _choose_progress(quiet=quiet)
    report = run_demo(out, progress)
    page = report["outputs"].get("report")
    more = f"Open {page} in a browser: the map on its scene, and what its classes are." if page else ""
    _print_report(report, as_json=False, more=more)


@click.command(short_help="Make a model only, without a map.")
@_config
@_override
@_cluster
@click.option("-o", "--output", type=_FILE, required=True, help="The model to write, JSON.")
@_overwrite
@_quiet
def fit(
    config: Path, settings: tuple[str, ...], output: Path, *, cluster: str | None, overwrite: bool, quiet: bool
) -> None:
    """Fit a model to a scene, as CONFIG says, and write it, without a map."""
    from pipeline.jobs.config import load_config
    from pipeline.jobs.run import fit_config
    from pipeline.sinks.staging import keep_apart

    progress = _choose_progress(quiet=quiet)
    keep_apart({"--output": output}, {str(config): "the config"})
    model = fit_config(
        load_config(config, _with_cluster(settings, cluster)), output, overwrite=overwrite, progress=progress
    )
    text = f"model    {output}   {model.k} classes of {', '.join(model.bands)}"
    print_summary(printable(text), [output])


@click.command(short_help="Draw the maps of several runs in one picture.")
@click.argument("runs", nargs=-1, required=True, type=_FILE)
@click.option("-o", "--output", type=_FILE, required=True, help="The picture to write, PNG or JPEG.")
@click.option(
    "--scale",
    type=click.FloatRange(0, 8, min_open=True),
    help="Pixels of the picture per pixel of the maps, such as 0.1 (default: a picture of about 2048).",
)
@click.option("--title", default="", help="A line of text above.")
@_overwrite
@_quiet
def grid(
    runs: tuple[Path, ...], output: Path, scale: float | None, title: str, *, overwrite: bool, quiet: bool
) -> None:
    """Draw the maps of RUNS, each a .run.json that `run` or `predict` wrote, above the scenes that they are of."""
    from pipeline.jobs.grid import draw_runs

    _choose_progress(quiet=quiet)
    layout = draw_runs(runs, output, scale=scale, title=title, overwrite=overwrite)
    print_summary(printable(f"picture  {output}   {layout.width} x {layout.height} pixels"), [output])


@click.command(short_help="Print a config for a scene.")
@_source
@_timeout
def init(source: tuple[str, ...], *, timeout: float) -> None:
    """Print a commented config for the scene SOURCE, to save and edit."""
    from pipeline.jobs.template import config_template

    print_answer(config_template(source, timeout), nl=False)


@click.command(short_help="Describe a scene.")
@_source
@_timeout
@_json
def inspect(source: tuple[str, ...], *, timeout: float, as_json: bool) -> None:
    """Describe the scene SOURCE: size, bands, nodata, chunks, and anything suspicious in it."""
    from pipeline.cli.text import inspection_words
    from pipeline.jobs.inspect import inspect_scene

    found = inspect_scene(source, timeout)
    print_answer(output_json(found.record()) if as_json else inspection_words(found))


@click.command(short_help="Show what a run would need; run nothing.")
@_config
@_override
@_cluster
@_json
def plan(config: Path, settings: tuple[str, ...], *, cluster: str | None, as_json: bool) -> None:
    """Show what a run of CONFIG reads, writes and holds in memory. Runs nothing."""
    from pipeline.cli.text import plan_record, plan_words
    from pipeline.jobs.run import plan_config

    loaded = _load_run(config, _with_cluster(settings, cluster))
    scene, planned = plan_config(loaded)
    if as_json:
        print_answer(output_json(plan_record(scene.info, planned, loaded)))
    else:
        print_answer(plan_words(scene.info, planned, loaded))


@click.command(short_help="Label another scene with a model.")
@_source
@click.option("--model", type=_FILE, required=True, help="A model that `run` or `fit` wrote.")
@click.option("-o", "--output", type=_FILE, required=True, help="The map to write: .tif or .zarr.")
@click.option(
    "--palette", default="auto", show_default=True, help="'auto', 'natural', a colour map, or a file of colours."
)
@click.option("--memory", default="2GB", show_default=True, help="Memory limit.")
@click.option("--workers", default="auto", show_default=True, help="Number of blocks processed at once.")
@click.option(
    "--cluster",
    default="auto",
    show_default=True,
    help="Where blocks are worked on: 'none' (threads), 'processes', a scheduler's address or its file.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a key of scene, output or run: --set output.table=none.",
)
@_overwrite
@_json
@_quiet
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
    """Label another scene with an existing model. SOURCE is a product, a file, or one file per band."""
    from pipeline.jobs.config import load_prediction
    from pipeline.jobs.outputs import OutputPaths
    from pipeline.jobs.predict import predict as predict_scene
    from pipeline.models.base import ClusterModel
    from pipeline.sinks.staging import keep_apart

    progress = _choose_progress(quiet=quiet)
    config = load_prediction(source, {"labels": str(output), "palette": palette}, resources, settings)
    loaded = ClusterModel.load(model)
    keep_apart(OutputPaths.of(config.output, fits=False).by_key(), {str(model): "the model"})
    report = predict_scene(
        config.scene, loaded, config.output, resources=config.run, overwrite=overwrite, progress=progress
    )
    _print_report(report, as_json=as_json)


@click.command(short_help="Make the map that a config describes.")
@_config
@_override
@_cluster
@_overwrite
@_json
@_quiet
def run(
    config: Path, settings: tuple[str, ...], *, cluster: str | None, overwrite: bool, as_json: bool, quiet: bool
) -> None:
    """Fit a model to a scene and write the map, as CONFIG says."""
    from pipeline.jobs.run import run_config

    progress = _choose_progress(quiet=quiet)
    loaded = _load_run(config, _with_cluster(settings, cluster))
    _print_report(run_config(loaded, overwrite=overwrite, progress=progress), as_json=as_json)


@click.command(short_help="Check a config.")
@_config
@_override
def validate(config: Path, settings: tuple[str, ...]) -> None:
    """Check CONFIG and report mistakes in it. Opens no scene."""
    _load_run(config, settings)
    print_answer(printable(f"{config}: valid"))
