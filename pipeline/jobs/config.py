"""The config of a run, assembled from its sections, the clustering methods and the outputs."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from pipeline.config.record import OneOf, Record, parse_record
from pipeline.config.schema import FeaturesConfig, ResourceConfig, SceneConfig
from pipeline.config.yaml import read_settings
from pipeline.methods.registry import METHODS
from pipeline.methods.settings import SampleSettings
from pipeline.sinks.registry import OutputConfig

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
        them are relative to the current folder.

    Raises
    ------
    ConfigError
        If the file can't be read, is not plain YAML, or is not a valid config.
    """
    return parse_record(RunConfig, read_settings(path, overrides), str(Path(path)))


def config_schema() -> dict[str, Any]:
    """JSON Schema of the config, for editors."""
    schema = RunConfig.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Terrazzo run config"}
