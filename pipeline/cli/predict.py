"""`terrazzo predict`: label another scene with a model."""

from pathlib import Path

import click

from pipeline.cli import registry
from pipeline.cli.options import (
    FILE,
    choose_progress,
    json_option,
    overwrite_option,
    quiet_option,
    settings_option,
    source_argument,
)
from pipeline.cli.report import print_report


@click.command(short_help="Label another scene with a model.")
@source_argument
@click.option("--model", type=FILE, required=True, help="A model that `run` or `fit` wrote.")
@click.option("-o", "--output", type=FILE, required=True, help="The map to write, a GeoTIFF.")
@click.option("--palette", default="auto", show_default=True, help="'auto' or a matplotlib colour map.")
@click.option("--memory", default="2GB", show_default=True, help="Memory limit.")
@click.option("--workers", default="auto", show_default=True, help="Number of blocks processed at once.")
@settings_option("Set a key of scene or run: --set scene.mask=scl.")
@overwrite_option
@json_option
@quiet_option
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
    progress = choose_progress(quiet=quiet)
    config = registry.load_prediction(source, resources, settings)
    outputs = registry.parse_record(registry.OutputConfig, {"labels": str(output), "palette": palette}, "predict")
    loaded = registry.ClusterModel.load(model)
    registry.keep_apart(registry.OutputPaths.of(outputs, fits=False).all(), [model])
    report = registry.predict(
        config.scene, loaded, outputs, resources=config.run, overwrite=overwrite, progress=progress
    )
    print_report(report, as_json=as_json)
