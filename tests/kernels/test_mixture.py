"""Classes and posteriors of Gaussian mixtures: compared with scikit-learn, and with densities in extended precision."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture

from pipeline.kernels.mixture import Gaussians, classify, whitening, working_mixture

pytestmark = pytest.mark.lowest

SHAPES = [(1, 2), (3, 254), (4, 8), (10, 16), (13, 5)]  # (bands, k)


def make(bands: int, k: int, scale: float = 100, seed: int = 0) -> Gaussians:
    """Gaussians of any direction, which overlap."""
    rng = np.random.default_rng([seed, bands, k])
    roots = rng.normal(0, scale, (k, bands, bands)) + scale * np.eye(bands)
    weights = rng.uniform(0.2, 1, k)
    means = rng.uniform(15 * scale, 30 * scale, (k, bands))
    return Gaussians(means, roots @ roots.transpose(0, 2, 1), weights / weights.sum())


def drawn(gaussians: Gaussians, count: int, dtype: str, seed: int = 1) -> npt.NDArray[Any]:
    """Draw pixels of the mixture, shape (band, pixel)."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(gaussians.weights), count, p=gaussians.weights)
    roots = np.linalg.cholesky(gaussians.covariances)
    points = gaussians.means[labels] + (roots[labels] @ rng.normal(0, 1, (count, len(roots[0]), 1)))[..., 0]
    limits = (0, np.iinfo(dtype).max) if np.dtype(dtype).kind in "iu" else (None, None)
    return np.ascontiguousarray(points.clip(*limits).T.astype(dtype))


def in_scikit_learn(gaussians: Gaussians) -> GaussianMixture:
    model = GaussianMixture(len(gaussians.weights))
    model.means_, model.covariances_, model.weights_ = gaussians
    factors = np.linalg.cholesky(gaussians.covariances)
    model.precisions_cholesky_ = np.linalg.inv(factors).transpose(0, 2, 1)
    return model


def classed(gaussians: Gaussians, points: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None = None) -> Any:
    """Labels and confidence of pixels; labels are the same without confidence."""
    known = np.ones(points.shape[1], bool) if valid is None else valid
    mixture = working_mixture(gaussians, points.dtype)
    labels, confidence = classify(points, known, mixture, confidence=True)
    alone, nothing = classify(points, known, mixture)
    assert nothing is None
    np.testing.assert_array_equal(alone, labels)
    return labels, confidence


def log_densities(gaussians: Gaussians, points: npt.NDArray[Any]) -> npt.NDArray[np.longdouble]:
    """Log densities in extended precision, shape (pixel, class), with pixels of shape (band, pixel)."""
    columns = []
    for mean, covariance, weight in zip(*gaussians, strict=True):
        factor = np.linalg.cholesky(covariance).astype(np.longdouble)
        apart, solved = points.astype(np.longdouble) - mean[:, np.newaxis], []
        for row, value in zip(factor, apart, strict=True):  # forward substitution
            known = sum((a * y for a, y in zip(row, solved, strict=False)), np.longdouble(0))
            solved.append((value - known) / row[len(solved)])
        columns.append(np.log(weight) - np.log(np.diag(factor)).sum() - sum(y * y for y in solved) / 2)
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", "int32"])
@pytest.mark.parametrize(("bands", "k"), SHAPES)
def test_labels_and_confidence_are_those_of_scikit_learn(bands: int, k: int, dtype: str) -> None:
    gaussians = make(bands, k, 7 if dtype == "uint8" else 100)
    points = drawn(gaussians, 400_000 if (bands, k, dtype) == (10, 16, "uint16") else 20_000, dtype)
    labels, confidence = classed(gaussians, points)
    expected = in_scikit_learn(gaussians).predict_proba(points.T.astype(np.float64))
    second, best = np.partition(expected, -2, axis=1)[:, -2:].T
    differ = labels != expected.argmax(axis=1) + 1
    assert (best - second)[differ].max(initial=0) < 1e-9  # ties only
    assert differ.mean() < 1e-3
    np.testing.assert_allclose(confidence, best, atol=1e-3)


@pytest.mark.parametrize(
    ("dtype", "far", "scale"), [("float32", 1e6, 3), ("float32", 300, 1e-3), ("uint16", 60_000, 4), ("float64", 1e9, 1)]
)
@pytest.mark.parametrize("share", [1, 1e-3, 1e-5])
def test_each_pixel_is_in_the_class_of_largest_density_far_from_zero_and_for_flat_classes(
    dtype: str, far: float, scale: float, share: float
) -> None:
    """With `share`, the variance along the diagonal of the bands is small compared with that across it."""
    made = make(4, 6, scale)
    flat = np.eye(4) - (1 - share**0.5) / 4
    covariances = flat @ made.covariances @ flat
    gaussians = Gaussians(
        far + (made.means - made.means.mean(axis=0)) / 9,
        (covariances + covariances.transpose(0, 2, 1)) / 2,
        made.weights,
    )
    points = drawn(gaussians, 30_000, dtype)
    labels, _ = classed(gaussians, points)
    densities = log_densities(gaussians, points)
    chosen = densities[np.arange(len(labels)), labels - 1]
    size = 1 + np.abs(densities.max(axis=1)) / share  # rounding of the factors themselves
    assert ((densities.max(axis=1) - chosen) < 1e-11 * size).all()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_a_class_of_weight_0_has_no_pixel_and_invalid_pixels_have_no_class(dtype: str) -> None:
    gaussians = make(3, 4, 7)
    gaussians = gaussians._replace(weights=np.array([0.5, 0, 0.5, 0]))
    points = drawn(gaussians, 5000, dtype)
    valid = np.random.default_rng(2).random(5000) < 0.7
    valid[1024:2048] = False
    if dtype == "float32":
        points[1, ~valid] = np.resize([np.nan, np.inf, -np.inf, 3e38], (~valid).sum())
    labels, confidence = classed(gaussians, points, valid)
    assert set(labels.tolist()) == {0, 1, 3}
    np.testing.assert_array_equal(labels == 0, ~valid)
    np.testing.assert_array_equal(confidence == 0, ~valid)


def test_one_class_that_is_left_has_all_pixels() -> None:
    gaussians = make(3, 3, 7)._replace(weights=np.array([0.0, 1, 0]))
    points = drawn(gaussians, 700, "uint8")
    labels, confidence = classed(gaussians, points)
    assert (labels == 2).all()
    assert (confidence == 1).all()


@pytest.mark.parametrize(("dtype", "value"), [("float32", 3e38), ("float64", 1e300), ("float64", -1e300)])
def test_pixels_whose_densities_overflow_have_a_class(dtype: str, value: float) -> None:
    points = np.full((3, 600), value, dtype)
    labels, confidence = classed(make(3, 4), points)
    assert len(set(labels.tolist())) == 1
    assert 1 <= labels[0] <= 4
    assert ((confidence > 0) & (confidence <= 1)).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.permutations(range(5)), st.integers(1, 1200), st.sampled_from(["uint16", "float32"]))
def test_order_of_bands_nodata_and_position_do_not_change_labels(
    seed: int, order: list[int], count: int, dtype: str
) -> None:
    rng = np.random.default_rng(seed)
    gaussians = make(5, 7, seed=seed)
    points, valid = drawn(gaussians, count, dtype, seed), rng.random(count) < 0.8
    labels, confidence = classed(gaussians, points, valid)
    permuted = Gaussians(gaussians.means[:, order], gaussians.covariances[:, order][:, :, order], gaussians.weights)
    changed = np.where(valid, points, rng.integers(0, 60_000, points.shape).astype(dtype))[order]
    again = classed(permuted, changed, valid)
    np.testing.assert_array_equal(again[0], labels)
    np.testing.assert_allclose(again[1], confidence, atol=1e-3)
    first = int(rng.integers(0, count))
    part = classed(gaussians, points[:, first:], valid[first:])
    np.testing.assert_array_equal(part[0], labels[first:])
    np.testing.assert_array_equal(part[1], confidence[first:])


@pytest.mark.parametrize("covariance", [[[1, 1], [1, 1]], [[1, 2], [2, 1]], [[0, 0], [0, 1]], [[1, 0], [0, np.nan]]])
def test_a_singular_covariance_has_no_factor(covariance: list[list[float]]) -> None:
    with pytest.raises(np.linalg.LinAlgError):
        whitening(np.array([np.eye(2), covariance], np.float64))


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize("overlap", [0.3, 3, 1000])
def test_confidence_is_within_a_thousandth_whatever_the_pixels_beside(overlap: float, diagonal: bool) -> None:  # noqa: FBT001
    """Classes are passed over where all pixels of a vector are far from them: in another order, others are."""
    gaussians = make(6, 9, 300 / overlap)
    covariances = gaussians.covariances * (np.eye(6) if diagonal else 1) * overlap**2
    gaussians = Gaussians(gaussians.means * overlap, covariances, gaussians.weights)
    points = drawn(gaussians, 4000, "float32")
    labels, confidence = classed(gaussians, points)
    densities = log_densities(gaussians, points)
    posteriors = 1 / np.exp(densities - densities.max(axis=1, keepdims=True)).sum(axis=1)
    np.testing.assert_allclose(confidence, posteriors.astype(float), atol=1e-3, rtol=0)
    order = np.random.default_rng(3).permutation(4000)
    again = classed(gaussians, np.ascontiguousarray(points[:, order]))
    np.testing.assert_array_equal(again[0], labels[order])
    np.testing.assert_array_equal(again[1], confidence[order])
