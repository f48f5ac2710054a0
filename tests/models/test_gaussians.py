"""Models of Gaussians: inconsistent numbers are refused; scenes with other units have the same labels."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import MemorySource
from sources import gaussians_of

from pipeline.core.errors import ModelError
from pipeline.models.base import ClusterModel
from pipeline.models.gaussians import GaussianModel

pytestmark = pytest.mark.lowest

MEANS = np.array([[60.0, 50], [120, 140], [200, 90]])
COVARIANCES = np.array([[[900.0, 200], [200, 400]], [[2500, -900], [-900, 1600]], [[400, 0], [0, 400]]])
WEIGHTS = np.array([0.25, 0.5, 0.25])


def model() -> GaussianModel:
    made = gaussians_of(MEANS, COVARIANCES, WEIGHTS)
    assert isinstance(made, GaussianModel)
    return made


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("covariances", 1, 0, 1), -901.0, "that of class 2 is not symmetric"),
        (("covariances", 2, 1, 1), 0.0, "that of class 3 is not positive definite"),
        (("covariances", 0), [[900.0, 600.0], [600.0, 400.0]], "that of class 1 is not positive definite"),
        (("covariances", 0), [[900.0, 200.0]], "expected 3 matrices, one per class, of 2 rows and columns"),
        (("covariances",), [], "expected 3 matrices"),
        (("means", 1), [3.0], "expected 3 rows, one per class, of 2 numbers, one per band"),
        (("means",), [[1.0, 2.0]], "expected 3 rows"),
        (("weights",), [0.5, 0.5], "expected 3 numbers, one per class, with the sum 1"),
        (("weights", 0), 0.3, "with the sum 1"),
        (("weights", 0), -0.25, "greater than or equal to 0"),
    ],
)
def test_a_changed_model_file_is_refused(path: tuple[Any, ...], value: Any, message: str) -> None:
    parts = json.loads(model().to_json())
    inner = parts
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ModelError, match=rf"^m\.json: .*{message}.*fit the model again"):
        ClusterModel.from_json(json.dumps(parts), "m.json")


@pytest.mark.parametrize("field", ["means", "covariances", "weights"])
def test_the_digest_depends_on_all_that_determines_labels(field: str) -> None:
    changes = {"means": MEANS + 1, "covariances": COVARIANCES * 2, "weights": np.array([0.5, 0.25, 0.25])}
    other = gaussians_of(**{"means": MEANS, "covariances": COVARIANCES, "weights": WEIGHTS, field: changes[field]})
    assert other.digest != model().digest


@pytest.mark.parametrize("scales", [(0.5, 2.0), (0.25, -4.0)])
def test_labels_of_another_scene_are_those_of_the_same_quantity(scales: tuple[float, float]) -> None:
    """Means and covariances are converted to the scene's stored numbers, with the signs of the scales."""
    offsets, factor = (3.0, -1.0), np.array(scales)
    units = {"dtype": "uint8", "scales": scales, "offsets": offsets, "quantity": "reflectance"}
    other = gaussians_of(MEANS * factor + offsets, COVARIANCES * np.outer(factor, factor), WEIGHTS, units=units)
    source = MemorySource(np.random.default_rng(2).integers(0, 255, (2, 60, 70), np.uint8))
    expected = model().labeller(source.info)(source.data, source.valid).classes
    source.info = replace(source.info, scales=scales, offsets=offsets, quantities=("reflectance",) * 2)
    np.testing.assert_array_equal(other.labeller(source.info)(source.data, source.valid).classes, expected)


@pytest.mark.parametrize("factor", [1e61, 1e-63])
def test_numbers_too_large_for_densities_are_refused(factor: float) -> None:
    made = gaussians_of(MEANS, COVARIANCES * factor, WEIGHTS)
    with pytest.raises(ModelError, match=r"^s\.tif: .*exceed 1e\+60"):
        made.check_fits(made.bands, made.units, "s.tif")
    with pytest.raises(
        ModelError, match=r"means: \d\S+e\+59 is too large for float32; expected numbers up to 3\.4e\+38"
    ):
        gaussians_of(np.where(MEANS.max() == MEANS, 1.5e59, MEANS), COVARIANCES, WEIGHTS)
