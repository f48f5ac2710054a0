"""Labels are the nearest centroids: compared with scikit-learn, exact integers and rounding error bounds."""

import numpy as np
import numpy.typing as npt
import pytest
from blocks import COLUMNS, DTYPES, ROWS, make
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from pipeline.kernels.assign import assign, working_dtype

SHAPES = [(1, 2), (2, 254), (4, 8), (12, 20), (200, 5)]  # (bands, k)

Floats = npt.NDArray[np.floating]


def squared_distances(data: npt.NDArray[np.generic], centres: Floats, stretch: npt.ArrayLike = 1) -> Floats:
    """Squared distances of all pixels to all centroids, shape (pixel, k), in extended precision."""
    points, factor = data.reshape(len(data), -1).T.astype(np.longdouble), np.asarray(stretch, np.longdouble)
    return np.stack(
        [(((points - centre) * factor) ** 2).sum(axis=1) for centre in centres.astype(np.longdouble)], axis=1
    )


def rounding(distances: Floats, centres: Floats, kind: npt.DTypeLike) -> Floats:
    """Error bound of each squared distance computed in a float type to which centroids are rounded first.

    A difference and its square are rounded once each, then one sum per band: (bands + 4) units of d2 are enough.
    A centroid off by a unit shifts d2 by 2 |x - c| |c| units (Cauchy and Schwarz).
    """
    unit = float(np.finfo(kind).eps)
    lengths = np.linalg.norm(centres, axis=1)
    return unit * ((centres.shape[1] + 4) * distances + 2 * np.sqrt(distances) * lengths) + (unit * lengths) ** 2


def rounding_of_scikit_learn(data: npt.NDArray[np.generic], centres: Floats) -> Floats:
    """Error bound of c.c - 2 x.c in float64, per pixel: it grows with the magnitude of the numbers."""
    points = np.linalg.norm(data.reshape(len(data), -1).astype(np.float64), axis=0) ** 2
    return 2 * np.finfo(np.float64).eps * (len(data) + 4) * (points + (centres**2).sum(axis=1).max())


def predict(data: npt.NDArray[np.generic], centres: Floats) -> npt.NDArray[np.integer]:
    """Class of each pixel, from 1, as predicted by scikit-learn."""
    model = KMeans(n_clusters=len(centres), init=centres, n_init=1, max_iter=1).fit(centres)
    model.cluster_centers_ = centres
    return model.predict(data.reshape(len(data), -1).T.astype(np.float64)) + 1


@pytest.mark.parametrize("others_at", [[], [0], [-9999, 0]])
@pytest.mark.parametrize("stretch", [None, (0.3, 1, 0.7, 0.9)])
@pytest.mark.parametrize(
    ("dtype", "offset", "spread"),
    [("f4", 1e7, 4), ("f4", 3e5, 0.5), ("f4", 3000, 0.01), ("u2", 65000, 3), ("u2", 9000, 90), ("f8", 1e6, 1e-9)],
)
def test_each_pixel_is_in_the_nearest_class_for_close_centroids_far_from_zero(
    dtype: str, offset: float, spread: float, stretch: tuple[float, ...] | None, others_at: list[float]
) -> None:
    rng = np.random.default_rng(5)
    data = (offset + rng.uniform(-spread, spread, (4, ROWS, COLUMNS))).astype(dtype)
    centres = np.concatenate([offset + rng.uniform(-spread, spread, (6, 4)), np.tile(others_at, (4, 1)).T])
    valid = np.ones((ROWS, COLUMNS), np.bool_)
    labels = assign(data, valid, centres, None if stretch is None else np.array(stretch)).ravel()
    distances = squared_distances(data, centres, stretch or 1)
    chosen = distances[np.arange(len(labels)), labels.astype(np.int64) - 1]
    assert (chosen <= distances.min(axis=1) * (1 + 1e-12)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("bands", "k"), SHAPES)
def test_labels_equal_scikit_learn_predict_where_the_margin_is_clear(dtype: str, bands: int, k: int) -> None:
    data, centres = make(dtype, bands, k)
    labels = assign(data, np.ones((ROWS, COLUMNS), np.bool_), centres).ravel()
    distances = squared_distances(data, centres)
    error = rounding(distances, centres, np.float64)  # for any dtype of the pixels
    nearest = distances.argmin(axis=1)
    pixel = np.arange(len(nearest))
    # no pixel is farther from its centroid than rounding errors allow
    chosen = labels.astype(np.int64) - 1
    slack = error[pixel, chosen] + error[pixel, nearest]
    assert (distances[pixel, chosen] <= distances[pixel, nearest] + slack).all()
    # where the margin exceeds rounding errors there is one answer
    others = np.where(np.arange(k) == nearest[:, None], np.inf, distances - error).min(axis=1)
    clear = others > distances[pixel, nearest] + error[pixel, nearest] + rounding_of_scikit_learn(data, centres)
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(labels[clear], nearest[clear] + 1)
    np.testing.assert_array_equal(labels[clear], predict(data, centres)[clear])


@settings(max_examples=100, deadline=None)
@given(
    dtype=st.sampled_from(["u1", "i2", "f4", "f8"]), bands=st.integers(1, 4), k=st.integers(2, 12),
    pixels=st.integers(1, 60), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_of_equally_near_centroids_the_first_is_chosen(dtype: str, bands: int, k: int, pixels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 6, (k, bands))  # few numbers: many ties and duplicate centroids
    data = rng.integers(0, 6, (bands, 1, pixels))
    distances = ((data[:, 0].T[:, None] - centres) ** 2).sum(axis=2)  # integers: no rounding
    labels = assign(data.astype(dtype), np.ones((1, pixels), np.bool_), centres.astype(np.float64))
    np.testing.assert_array_equal(labels[0], distances.argmin(axis=1) + 1)  # numpy's argmin returns the first one


@pytest.mark.parametrize("dtype", DTYPES)
def test_labels_are_zero_exactly_where_pixels_are_not_valid(dtype: str) -> None:
    data, centres = make(dtype, 3, 254)
    valid = np.random.default_rng(5).random((ROWS, COLUMNS)) < 0.7
    labels = assign(data, valid, centres)
    np.testing.assert_array_equal(labels > 0, valid)
    everywhere = assign(data, np.ones_like(valid), centres)
    np.testing.assert_array_equal(labels[valid], everywhere[valid])


@pytest.mark.parametrize(("dtype", "huge"), [("f4", 3e38), ("f8", 1e300)])
def test_pixels_whose_distances_overflow_or_seem_equal_are_in_the_nearest_class(dtype: str, huge: float) -> None:
    data = np.array([[[huge, -huge, 1e10, -1e10, 1.0, 4.0]]], dtype)
    labels = assign(data, np.ones((1, 6), np.bool_), np.array([[0.0], [0.3], [5.0]]))
    assert labels.tolist() == [[3, 1, 3, 1, 2, 3]]


def test_the_value_of_an_invalid_pixel_does_not_matter() -> None:
    data = np.array([[[np.nan, np.inf, -np.inf, 4.0]]], np.float32)
    labels = assign(data, np.array([[False, False, False, True]]), np.array([[0.0], [5.0]]))
    assert labels.tolist() == [[0, 0, 0, 2]]


@settings(max_examples=40, deadline=None)
@given(
    top=st.integers(0, ROWS - 1), left=st.integers(0, COLUMNS - 1),
    height=st.integers(1, ROWS), width=st.integers(1, COLUMNS),
)  # fmt: skip
def test_labels_of_a_window_equal_the_window_of_the_labels(top: int, left: int, height: int, width: int) -> None:
    data, centres = make("f4", 4, 30)
    valid = data[0] > 0
    part = slice(top, top + height), slice(left, left + width)
    window = assign(data[(slice(None), *part)], valid[part], centres)
    np.testing.assert_array_equal(window, assign(data, valid, centres)[part])


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_layout_does_not_matter(dtype: str) -> None:
    data, centres = make(dtype, 4, 8)
    valid = data[0] > data[1]
    plain = assign(data, valid, centres)
    by_pixel = np.ascontiguousarray(data.transpose(1, 2, 0)).transpose(2, 0, 1)
    backwards = np.ascontiguousarray(data[:, ::-1, ::-1])[:, ::-1, ::-1]
    for other in (by_pixel, backwards, np.asfortranarray(data)):
        assert not other.flags.c_contiguous
        np.testing.assert_array_equal(assign(other, np.asfortranarray(valid), np.asfortranarray(centres)), plain)


def test_permuted_centroids_give_permuted_labels() -> None:
    data, centres = make("u2", 4, 40)
    valid = np.ones((ROWS, COLUMNS), np.bool_)
    order = np.random.default_rng(2).permutation(40)
    permuted = assign(data, valid, centres[order])
    np.testing.assert_array_equal(order[permuted - 1] + 1, assign(data, valid, centres))


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "i4", "u4"])
def test_the_working_type_represents_every_integer_of_the_dtype_exactly(dtype: str) -> None:
    limits = np.iinfo(dtype)
    steps = np.unique(np.linspace(limits.min, limits.max, 70_000).astype(np.int64))
    converted = steps.astype(dtype).astype(working_dtype(dtype)).astype(np.int64)
    np.testing.assert_array_equal(converted, steps)
    assert {limits.min, limits.max} <= set(converted.tolist())
