"""ISODATA: compared with a slow twin in plain numpy; finds the classes that were made; says what each round changes."""

import logging
import re
from dataclasses import astuple
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from blocks import scene
from conftest import patches
from fakes import MemorySource

from pipeline.config.schema import FeaturesConfig
from pipeline.core.errors import ConfigError, FitError
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.progress import Progress
from pipeline.jobs.config import FIT
from pipeline.methods.fit import Fit, fit_source
from pipeline.models.base import ClusterModel

pytestmark = pytest.mark.lowest

EVERYTHING = 1_000_000


def fit(source: MemorySource, standardize: Any = "none", workers: int = 2, **settings: Any) -> Fit:
    config = FIT.parse({"method": "isodata", "pixels": EVERYTHING, **settings}, "test")
    return fit_source(
        source, config, FeaturesConfig(standardize=standardize), executor=ThreadExecutor(workers), progress=Progress()
    )


def fit_model(source: MemorySource, standardize: Any = "none", workers: int = 2, **settings: Any) -> ClusterModel:
    return fit(source, standardize, workers, **settings).model


class Limits(NamedTuple):
    k_min: int
    k_max: int
    least: int
    max_std: float
    min_distance: float
    max_iter: int


class Twin:
    """ISODATA by its description, on points (point, band) in units of distances."""

    def __init__(self, points: npt.NDArray[np.float64], limits: Limits) -> None:
        self.limits, self.rounds = limits, []
        mean, std = points.mean(axis=0), points.std(axis=0)
        centres = [mean + share * std for share in np.linspace(-1, 1, limits.k_min)]
        for number in range(1, limits.max_iter + 1):
            centres, labels = self.settle(points, centres)
            groups = [points[labels == i] for i in range(len(centres))]
            dropped, split, merged = self.changes(centres, groups, last=number == limits.max_iter)
            self.rounds.append((len(centres), len(split), len(merged), len(dropped)))
            points = points[~np.isin(labels, dropped)]
            centres = self.changed(centres, groups, dropped, split, merged)
            if not dropped and not split and not merged:
                break
        else:
            centres, _ = self.settle(points, centres)
        self.centres = np.array(centres)

    @staticmethod
    def settle(points: npt.NDArray[np.float64], centres: list[Any]) -> tuple[list[Any], npt.NDArray[np.intp]]:
        variance, before = points.var(axis=0).mean(), None
        for _ in range(100):
            labels = np.argmin([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=0)
            if before is not None and (labels == before).all():
                break
            assert len(np.unique(labels)) == len(centres), "the twin knows no empty classes"
            moved = [points[labels == i].mean(axis=0) for i in range(len(centres))]
            shift, centres, before = np.square(np.array(moved) - centres).sum(), moved, labels
            if shift <= 1e-4 * variance:
                break
        return centres, np.argmin([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=0)

    def changes(self, centres: list[Any], groups: list[Any], *, last: bool) -> tuple[list[int], list[int], list[Any]]:
        limits, k = self.limits, len(centres)
        small = sorted((i for i in range(k) if len(groups[i]) < limits.least), key=lambda i: (len(groups[i]), i))
        dropped = small[: k - limits.k_min]
        k -= len(dropped)
        width = [group.std(axis=0).max() for group in groups]
        wide = [i for i in range(len(centres)) if width[i] > limits.max_std and len(groups[i]) >= 2 * limits.least]
        wide = sorted(set(wide) - set(dropped), key=lambda i: (-width[i], i))
        split = [] if last else wide[: limits.k_max - k]
        k += len(split)
        merged: list[tuple[int, int]] = []
        rest = [i for i in range(len(centres)) if i not in dropped + split]
        pairs = [(np.linalg.norm(centres[i] - centres[j]), i, j) for i in rest for j in rest if i < j]
        for distance, i, j in sorted(pairs):
            taken = {one for pair in merged for one in pair}
            if distance < limits.min_distance and k > limits.k_min and i not in taken and j not in taken:
                merged.append((i, j))
                k -= 1
        return dropped, split, merged

    @staticmethod
    def changed(centres: list[Any], groups: list[Any], dropped: Any, split: Any, merged: Any) -> list[Any]:
        touched = {*dropped, *split, *(one for pair in merged for one in pair)}
        kept = [centre for i, centre in enumerate(centres) if i not in touched]
        for i in split:
            std = groups[i].std(axis=0)
            step = np.where(np.arange(len(std)) == std.argmax(), std / 2, 0)
            kept += [centres[i] - step, centres[i] + step]
        for i, j in merged:
            ni, nj = len(groups[i]), len(groups[j])
            kept.append((ni * centres[i] + nj * centres[j]) / (ni + nj))
        return kept


CASES = {
    "splits": {"k_min": 2, "k_max": 12, "max_std": 14, "min_distance": 5},
    "stops at k_max": {"k_min": 2, "k_max": 4, "max_std": 3, "min_distance": 1},
    "merges": {"k_min": 2, "k_max": 12, "max_std": 7.5, "min_distance": 40, "max_iter": 7},
    "merges at once": {"k_min": 2, "k_max": 5, "max_std": 1e6, "min_distance": 1e6},
    "drops": {"k_min": 2, "k_max": 20, "max_std": 6, "min_distance": 1, "min_size": "10%"},
    "drops to k_min": {"k_min": 6, "k_max": 6, "max_std": 6, "min_distance": 1, "min_size": "50%"},
}


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[int, ...]]:
    """Numbers of classes, splits, merges and drops of each round, from the log."""
    pattern = r"isodata: round (\d+): (\d+) classes, (\d+) split.*, (\d+) merged.*, (\d+) dropped"
    found = [tuple(map(int, each)) for each in re.findall(pattern, caplog.text)]
    assert [number for number, *_ in found] == list(range(1, len(found) + 1))
    return [tuple(rest) for _, *rest in found]


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_rounds_and_centroids_are_those_of_the_twin(case: str, dtype: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pixels, settings = scene(dtype, (60, 90), bands=3), CASES[case]
    found = fit(MemorySource(pixels), **settings)
    model = found.model
    points = pixels.reshape(3, -1).T.astype(np.float64)
    least = int(np.ceil(float(str(settings.get("min_size", "0.1%")).rstrip("%")) / 100 * len(points)))
    names = ("k_min", "k_max", "max_std", "min_distance")
    k_min, k_max, std, distance = (settings[name] for name in names)
    twin = Twin(points, Limits(k_min, k_max, least, std, distance, settings.get("max_iter", 20)))
    assert said(caplog) == [astuple(done) for done in found.log] == twin.rounds
    order = np.lexsort((*twin.centres.T[::-1], twin.centres.mean(axis=1)))
    np.testing.assert_allclose(np.array(model.centroids), twin.centres[order], rtol=1e-6)
    assert model.fitting.iterations == len(twin.rounds)
    assert k_min <= model.k <= k_max


def test_the_cases_split_merge_and_drop(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    totals = {}
    for case in ("splits", "merges", "drops"):
        caplog.clear()
        fit_model(MemorySource(scene("uint8", (60, 90), bands=3)), **CASES[case])
        totals[case] = np.sum(said(caplog), axis=0)[1:]
    assert totals["splits"][0] > 0
    assert totals["merges"][1] > 0
    assert totals["drops"][2] > 0


def test_limits_are_in_units_of_distances(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pixels = scene("uint8", (60, 90), bands=3)
    stds = pixels.reshape(3, -1).std(axis=1)
    model = fit_model(MemorySource(pixels), "zscore", k_min=2, k_max=12, max_std=0.3, min_distance=0.1)
    points = pixels.reshape(3, -1).T / stds
    twin = Twin(points, Limits(2, 12, int(np.ceil(0.001 * len(points))), 0.3, 0.1, 20))
    assert said(caplog) == twin.rounds
    centres = twin.centres * stds
    np.testing.assert_allclose(np.array(model.centroids), centres[np.argsort(centres.mean(axis=1))], rtol=1e-6)


@pytest.mark.parametrize("standardize", ["none", "clip", "zscore", "minmax"])
def test_automatic_limits_find_the_spectra_that_were_made(standardize: str) -> None:
    """Whatever the unit: the limits are shares of the deviation of all pixels."""
    rng = np.random.default_rng(4)
    spectra = np.array([[20, 40, 60], [80, 120, 30], [90, 60, 150], [140, 150, 80], [180, 120, 190], [220, 210, 230]])
    pixels = np.moveaxis(spectra[rng.integers(0, 6, (80, 90))] + rng.normal(0, 5, (80, 90, 3)), 2, 0)
    model = fit_model(MemorySource((pixels / 1000).astype("float32")), standardize, k_min=2, k_max=20)
    assert model.k == 6
    np.testing.assert_allclose([each.mean for each in model.classes], spectra / 1000, atol=0.004)


def test_a_line_per_round_says_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fit_model(MemorySource(scene("uint8", (60, 90), bands=3)), **CASES["drops"])
    assert re.search(r"round \d+: \d+ classes, \d+ split \(std [\d.]+ > 6\), 0 merged, \d+ dropped", caplog.text)
    assert re.search(r" dropped \(\d[\d, ]* pixels < 540\)", caplog.text)
    caplog.clear()
    fit_model(MemorySource(scene("uint8", (60, 90), bands=3)), **CASES["stops at k_max"])
    assert caplog.messages[-1].endswith(": 4 classes, 0 split, 0 merged, 0 dropped; 4 stay wider: k_max is 4")
    caplog.clear()
    fit_model(MemorySource(scene("uint8", (60, 90), bands=3)), **CASES["merges"])
    assert "split" in caplog.text
    assert "(nearer than 40)" in caplog.text
    assert caplog.messages[-1].startswith("fit.max_iter: classes still changed in round 7, the last;")


def test_the_model_does_not_depend_on_chunks_and_workers() -> None:
    data = patches(3)
    models = {
        fit_model(MemorySource(data, data[0] > 40, chunk), "clip", workers, pixels=20_000).to_json()
        for chunk, workers in (((200, 300), 1), ((64, 64), 3), ((31, 17), 2), ((1, 300), 4))
    }
    assert len(models) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k_min": 9, "k_max": 8}, r"^test: k_min is 9 and k_max is 8; k_min must not be larger$"),
        ({"k_min": 13}, r"k_min is 13 and k_max is 12"),
        ({"k_min": 1}, r"k_min: 1 is not allowed; expected the least number of classes, a whole number from 2 to 254"),
        ({"k_max": 255}, "k_max: 255 is not allowed; expected the largest number of classes, a whole number from 2 to"),
        ({"min_size": 0.6}, "min_size: 0.6 is not allowed; expected the smallest size of a class"),
        ({"min_size": None}, "min_size: None is not allowed; expected the smallest size of a class"),
        ({"max_std": 0}, "max_std: 0 is not allowed; expected 'auto', or a number above 0"),
        ({"min_distance": -1}, "min_distance: -1 is not allowed; expected 'auto', or a number from 0"),
        ({"min_distance": "far"}, "min_distance: 'far' is not allowed"),
        ({"pixels": 3}, "3 sampled pixels are too few for 5 classes; raise fit.pixels"),
        ({"k": 5}, "^test: k: "),
    ],
)
def test_settings_that_can_not_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FIT.parse({"method": "isodata", **settings}, "test")


def test_fewer_distinct_pixels_than_classes_are_refused() -> None:
    data = np.zeros((2, 20, 20), np.uint8)
    data[:, 5:] = 9
    with pytest.raises(
        FitError, match=r"^fit\.k_min: 5 classes need 5 distinct pixels, .* have 2; set fit\.k_min to 2"
    ):
        fit_model(MemorySource(data))
