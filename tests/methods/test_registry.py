"""What every method promises: it runs by its name, finds as many classes as it says, and states what it needs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blocks import scene
from fakes import HALVES, MemorySource

from pipeline.config.record import OneOf
from pipeline.core.errors import ConfigError
from pipeline.core.needs import Work
from pipeline.engine.cache import open_cache
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
    "isodata": {"k_min": 3, "k_max": 6},
    "sklearn": {"k": 4, "options": {"threshold": 0.05}},
}
"""Settings of four classes, unless a method has a number of its own, by the methods without `k` alone."""

SAMPLE_ONLY = {name for name, method in EACH.items() if issubclass(method.settings, SampleOnlySettings)}

CASES = [(name, pixels) for name in EACH for pixels in (2000, "all") if pixels != "all" or name not in SAMPLE_ONLY]
"""Methods, and a number of pixels that each allows."""


def settings_of(name: str, pixels: Any) -> Any:
    return SETTINGS.parse({"method": name, "pixels": pixels, **OWN.get(name, {"k": 4})}, "test")


def fit(name: str, chunk: tuple[int, int], workers: int, pixels: Any) -> Fit:
    config = settings_of(name, pixels)
    with open_cache("memory", Path()) as cache:
        source = MemorySource(scene("uint16"), chunk=chunk)
        given = CachedSource(source, cache) if pixels == "all" else source
        return fit_source(given, config, workers=workers, progress=Progress())


def test_settings_choose_their_method_and_only_one_is_the_default() -> None:
    for name, method in METHODS.items():
        settings = SETTINGS.parse({"method": name}, "test")
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
def test_needs_count_the_sample_twice_and_passes_and_a_cache_for_all_pixels(name: str, pixels: Any) -> None:
    info = MemorySource(scene("uint16")).info
    settings = settings_of(name, pixels)
    needed = METHODS[name].needs(info, settings, WORK)
    passes = pixels == "all" and name != HALVES.name  # the fake fits the sample, whatever it is asked for
    assert needed.fixed >= 2 * settings.sampled_of(info) * info.bytes_per_pixel
    assert (needed.passes > 0, needed.cache != "no") == (passes, passes)


@pytest.mark.parametrize("name", sorted(SAMPLE_ONLY))
def test_a_method_of_the_sample_refuses_all_pixels(name: str) -> None:
    with pytest.raises(ConfigError, match=r"^test: pixels: 'all' is not allowed; .*this method can't use all pixels$"):
        settings_of(name, "all")
