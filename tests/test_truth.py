"""Agreement of classes with labelled polygons of a real scene: no method may become less true unnoticed."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from benchmarks.truth import METHODS, labelled_scenes, score_method

LABELLED = "scenes/rstoolbox_s2"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("k", "method", "least"),
    [
        (4, "plain k-means", {"ari": 0.905}),
        (4, "k-means (default)", {"ari": 0.94}),
        (4, "k-means, indices", {"ari": 0.94}),
        (20, "k-means (default)", {"mapped": 0.9}),
        (4, "Gaussian mixture", {"ari": 0.94}),
    ],
)
def test_classes_agree_with_polygons(data: Path, k: int, method: str, least: Mapping[str, Any]) -> None:
    """Means over three seeds; at k = 4 there are as many classes as in the reference."""
    ((scene, reference),) = labelled_scenes(data / LABELLED).values()
    assert reference.count == 4
    scores = [score_method(scene, reference, k, seed, METHODS[method]) for seed in range(3)]
    for name, limit in least.items():
        assert fmean(getattr(each, name) for each in scores) >= limit, scores
