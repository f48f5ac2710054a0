"""The config of a run, assembled from its sections, the clustering methods and the outputs."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from pipeline.config.argument_messages import check_argument
from pipeline.config.record import OneOf, Record, parse_record
from pipeline.config.schema import FeaturesConfig, ResourceConfig, SceneConfig
from pipeline.config.yaml import merge, override, read_settings
from pipeline.core.errors import ConfigError
from pipeline.methods.registry import METHODS
from pipeline.methods.settings import SampleSettings
from pipeline.sinks.registry import SINKS, OutputConfig

logger = logging.getLogger(__name__)

FIT: Final = OneOf("method", *(method.settings for method in METHODS.values()))
"""Section `fit`: the settings of one of the methods."""


def keys_of(*records: type[Record]) -> str:
    """Describe a section by its keys."""
    return f"a mapping: {', '.join(dict.fromkeys(key for record in records for key in record.model_fields))}"


class RunConfig(Record):
    """Config of a run, version 1."""

    version: Literal[1] = Field(description="1, the version of this config format")
    scene: SceneConfig = Field(description=keys_of(SceneConfig))
    features: FeaturesConfig = Field(default=FeaturesConfig(), description=keys_of(FeaturesConfig))
    fit: Annotated[SampleSettings, FIT] = Field(default=FIT.default(), description=keys_of(*FIT.records.values()))
    output: OutputConfig = Field(description=keys_of(OutputConfig))
    run: ResourceConfig = Field(default=ResourceConfig(), description=keys_of(ResourceConfig))


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> RunConfig:
    """Read a config file.

    Parameters
    ----------
    path : str or Path
        Path of a YAML file. Relative paths in it are relative to its folder.
    overrides : iterable of str
        Settings such as `fit.k=12`, which replace those of the file; the value is parsed as YAML. Relative paths in
        them are relative to the current folder. Another `fit.method` or `fit.estimator` drops those settings of the
        file's section `fit` that it does not have or allow.

    Raises
    ------
    ConfigError
        If the file can't be read, is not plain YAML, or is not a valid config.
    """
    check_argument(path, (str, PathLike), "load_config: path: expected the path of a YAML file, such as 'my.yaml'")
    return parse_record(RunConfig, read_settings(path, overrides, _for_new_method), str(Path(path)))


def _for_new_method(settings: dict[str, Any], changes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Drop settings of the file's section `fit` that are not those of what overrides choose, and say so.

    They may choose another method, or what decides in turn which settings a method has: an estimator.
    """
    fit = settings.get("fit")
    if not isinstance(fit, dict):
        return settings
    chosen: dict[str, Any] = {}
    for change in changes:
        chosen = merge(chosen, change["fit"]) if isinstance(change.get("fit"), dict) else chosen
    kept = fit
    if "method" in chosen:
        kept = FIT.without_keys_of_others(fit, str(chosen["method"]))
        _note_dropped(fit, kept, f"fit.method: {chosen['method']}")
    record = FIT.record_of(fit | chosen)
    if record:
        last, (kept, why) = kept, record.without_those_of_others(kept, chosen)
        _note_dropped(last, kept, why)
    return settings | {"fit": kept}


def _note_dropped(before: Mapping[str, Any], after: Mapping[str, Any], why: str) -> None:
    """Say which settings of section `fit` are left out, and by which choice."""
    pairs = [(f"fit.{key}", value, after.get(key)) for key, value in before.items()]
    dropped = [path for path, value, kept in pairs if kept is None and value is not None]
    for path, value, kept in pairs:
        if isinstance(value, dict) and isinstance(kept, dict):
            dropped += [f"{path}.{key}" for key in value if key not in kept]
    if dropped:
        logger.info("%s: left out, as %s does not have or allow that", ", ".join(dropped), why)


class PredictConfig(Record):
    """Settings of `terrazzo predict`, which uses an existing model."""

    scene: SceneConfig = Field(
        description="a mapping: source, names, nodata, resolution, time, date, resampling, mask, aoi, crop"
    )
    output: OutputConfig = Field(description=keys_of(OutputConfig))
    run: ResourceConfig = Field(default=ResourceConfig(), description=keys_of(ResourceConfig))


_GIVEN: Final = {
    "scene.source": "the scene is the argument SOURCE",
    "scene.bands": "the bands are defined by the model",
    "output.labels": "the map is that of --output",
    **{f"output.{sink.key}": f"{sink.what} is not written here" for sink in SINKS if sink.of_fit},
}
"""Why a key can't be set for `predict`."""


def load_prediction(
    source: Sequence[str], output: Mapping[str, str], resources: Mapping[str, str], overrides: Iterable[str] = ()
) -> PredictConfig:
    """Build the settings of `terrazzo predict`: its source, sections `output` and `run`, and those given with `--set`.

    Raises
    ------
    ConfigError
        If a setting is not valid, is not one of these sections, or is defined by an argument or by the model.
    """
    settings: dict[str, Any] = {"scene": {"source": list(source)}, "output": dict(output), "run": dict(resources)}
    for setting in overrides:
        changed = override(setting)
        if not set(changed) <= set(settings):
            msg = (
                f"--set {setting}: only keys of scene, output and run can be set here; features and fit are defined by "
                "the model"
            )
            raise ConfigError(msg)
        keys = {f"{section}.{key}" for section, part in changed.items() if isinstance(part, dict) for key in part}
        if key := next(filter(keys.__contains__, _GIVEN), None):
            msg = f"--set {setting}: {_GIVEN[key]}; leave this setting out"
            raise ConfigError(msg)
        settings = merge(settings, changed)
    return parse_record(PredictConfig, settings, "predict")


def config_schema() -> dict[str, Any]:
    """JSON Schema of the config, for editors."""
    schema = RunConfig.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Terrazzo run config"}
