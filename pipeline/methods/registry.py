"""The clustering methods by name, and their functions, which are imported when they run."""

from collections.abc import Callable
from typing import Any, Final

from pipeline.config.schema import FeaturesConfig
from pipeline.core.late_import import load
from pipeline.methods.method import AnyMethod, FitInput, FitResult
from pipeline.methods.settings import SampleSettings

_RECORDS: Final = (
    "pipeline.methods.kmeans:KMEANS",
    "pipeline.methods.minibatch:MINIBATCH",
    "pipeline.methods.dask_ml:DASK_ML",
    "pipeline.methods.gmm:GMM",
    "pipeline.methods.histogram:HISTOGRAM",
    "pipeline.methods.ranges:RANGES",
    "pipeline.methods.isodata:ISODATA",
    "pipeline.methods.estimators:SKLEARN",
)
"""The record of each method: to add a method, add its line."""

METHODS: Final[dict[str, AnyMethod]] = {method.name: method for method in map(load, _RECORDS)}
"""Methods by `fit.method`."""


def method_of(settings: SampleSettings) -> AnyMethod:
    """Return the method that a config chooses."""
    return METHODS[settings.method]


def check_settings(settings: SampleSettings, features: FeaturesConfig) -> None:
    """Raise ConfigError for what sections `fit` and `features` show to be wrong only together, or to a library."""
    method = method_of(settings)
    method.check_features(features)
    if method.check:
        load(method.check)(settings)


def fit_function(method: AnyMethod) -> Callable[[FitInput[Any]], FitResult]:
    """Import the function of a method."""
    function: Callable[[FitInput[Any]], FitResult] = load(method.function)
    return function
