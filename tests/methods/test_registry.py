"""What every method promises: it runs by its name, finds as many classes as it says, and states what it needs."""

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blocks import scene
from fakes import HALVES, MemorySource

from pipeline.config.record import OneOf
from pipeline.config.schema import FeaturesConfig
from pipeline.core.errors import ConfigError
from pipeline.core.needs import Work
from pipeline.engine.cache import open_cache
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.progress import Progress
from pipeline.jobs.config import FIT
from pipeline.methods.fit import Fit, fit_source
from pipeline.methods.registry import METHODS, fit_function, method_of
from pipeline.methods.settings import SampleOnlySettings
from pipeline.pixels.block_cache import CachedSource

WORK = Work(chunk=(40, 50), blocks=9, workers=2)

EACH = {**METHODS, HALVES.name: HALVES}
"""The methods of the registry, and the fake."""

SETTINGS = OneOf("method", *(method.settings for method in EACH.values()))


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the fake to the registry."""
    monkeypatch.setitem(METHODS, HALVES.name, HALVES)


OWN: dict[str, dict[str, Any]] = {
    HALVES.name: {},
    "histogram": {"bins": 4},
    "ranges": {"edges": [50, 80, 120, 160.5, 200]},
    "isodata": {"k_min": 3, "k_max": 6},
    "sklearn": {"k": 4, "options": {"threshold": 0.05}},
}
"""Settings of four classes, unless a method has a number of its own, by the methods without `k` alone."""

OF_THE_SAMPLE = sorted({"gmm"} | {name for name, made in EACH.items() if issubclass(made.settings, SampleOnlySettings)})
"""Methods that refuse `pixels: all`."""

REFUSED = {("histogram", 2000), *((name, "all") for name in OF_THE_SAMPLE)}

CASES = [(name, pixels) for name in EACH for pixels in (2000, "all") if (name, pixels) not in REFUSED]
"""Methods, and the pixels that each can fit."""


def settings_of(name: str, pixels: Any) -> Any:
    return SETTINGS.parse({"method": name, "pixels": pixels, **OWN.get(name, {"k": 4})}, "test")


def fit(name: str, chunk: tuple[int, int], workers: int, pixels: Any) -> Fit:
    config = settings_of(name, pixels)
    with open_cache("memory", Path()) as cache:
        source = MemorySource(scene("uint16", bands=1 if METHODS[name].one_band else 3), chunk=chunk)
        given = CachedSource(source, cache) if pixels == "all" else source
        return fit_source(given, config, executor=ThreadExecutor(workers), progress=Progress())


def test_settings_choose_their_method_and_only_one_is_the_default() -> None:
    for name, method in METHODS.items():
        settings = settings_of(name, 2000 if name in OF_THE_SAMPLE else "all")
        assert type(settings) is method.settings
        assert method_of(settings) is method
    assert METHODS[FIT.default().method].settings() == FIT.default()


@pytest.mark.parametrize("name", EACH)
def test_the_module_of_a_method_is_not_that_of_its_libraries(name: str) -> None:
    """Test that the function of each method can be imported; that its module is light is a test of the architecture."""
    assert callable(fit_function(METHODS[name]))


@pytest.mark.parametrize(("name", "pixels"), CASES)
def test_a_method_finds_as_many_classes_as_it_says(name: str, pixels: Any) -> None:
    model = fit(name, (40, 50), 2, pixels).model
    least, most = METHODS[name].classes(settings_of(name, pixels))
    assert least <= model.k <= most
    assert model.fitting.method == name
    assert (np.diff([np.mean(each.mean) for each in model.classes]) > 0).all()
    if METHODS[name].same_bits:
        assert fit(name, (120, 77), 1, pixels).model == model


@pytest.mark.parametrize(("name", "pixels"), CASES)
def test_needs_count_the_sample_twice_and_passes_and_a_cache_for_more_than_one(name: str, pixels: Any) -> None:
    info = MemorySource(scene("uint16")).info
    settings = settings_of(name, pixels)
    needed = METHODS[name].needs(info, settings, WORK)
    passes = pixels == "all" and name != HALVES.name  # the fake fits the sample, whatever it is asked for
    assert needed.fixed >= 2 * settings.sampled_of(info) * info.bytes_per_pixel
    assert needed.passes > 0 if passes else needed.passes == 0
    # mini-batches read windows of their own, which would split blocks of files
    assert (needed.cache != "no") == (needed.passes > 1 or (name == "minibatch" and passes))


@pytest.mark.parametrize("name", OF_THE_SAMPLE)
def test_a_method_of_the_sample_refuses_all_pixels(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^test: pixels: 'all' is not allowed; .*fits the sample only"):
        settings_of(name, "all")


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.one_band])
def test_a_method_of_one_band_says_which_band_to_choose(name: str) -> None:
    source = MemorySource(scene("uint16"))
    fix = "takes one band, but the scene has 3: band1, band2, band3; choose one band in scene.bands"
    with pytest.raises(ConfigError, match=re.escape(f"fit.method: {name} {fix}")):
        fit_source(source, settings_of(name, "all"), executor=ThreadExecutor(1), progress=Progress())
    assert not source.reads, "before a pixel is read"


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.standardizes])
def test_a_method_without_distances_leaves_bands_as_they_are_and_says_so(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    source, settings = MemorySource(scene("uint16", bands=1)), settings_of(name, "all")
    plain = fit_source(source, settings, executor=ThreadExecutor(1), progress=Progress())
    assert "standardize" not in caplog.text
    features = FeaturesConfig(standardize="zscore")
    assert fit_source(source, settings, features, executor=ThreadExecutor(1), progress=Progress()) == plain
    assert f"features.standardize: zscore has no effect with fit.method: {name}" in caplog.text
