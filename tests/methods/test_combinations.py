"""Methods and features together: labels of the fit, of the saved model and of other chunks are the same."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr

from pipeline import ClusterModel, fit, label
from pipeline.methods.registry import METHODS

pytestmark = pytest.mark.slow

FEATURES: dict[str, dict[str, Any]] = {
    "none": {"standardize": "none"},
    "clip": {},
    "zscore": {"standardize": "zscore"},
    "components": {"pca": 2},
    "share of components": {"pca": 0.9, "standardize": "zscore"},
    "indices": {"indices": ["ndvi", "green / nir"]},
    "unit norm": {"unit_norm": True},
    "everything": {
        "indices": ["ndvi"], "smooth": 3, "pca": 3, "texture": {"bands": ["nir"], "of": "std", "size": 3},
    },
}  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    "kmeans": {"k": 5, "starts": 2},
    "kmeans, all": {"k": 5, "starts": 2, "pixels": "all"},
    "kmeans, small classes merged": {"k": 5, "starts": 2, "min_size": "25%"},
    "minibatch": {"method": "minibatch", "k": 5, "starts": 2},
    "minibatch, all": {"method": "minibatch", "k": 5, "starts": 2, "pixels": "all", "min_size": "25%"},
    "gmm": {"method": "gmm", "k": 5, "starts": 2},
    "gmm, diagonal": {"method": "gmm", "k": 4, "covariance": "diag", "starts": 2},
    "isodata": {"method": "isodata"},
    "sub-clusters": {"method": "sklearn", "k": 5, "options": {"threshold": 0.05}},
    "labelled pixels": {"method": "sklearn", "estimator": "cluster.AgglomerativeClustering", "k": 5},
    "dask-ml": {"method": "dask-ml", "k": 5, "starts": 2},
}


OTHERS = ("clip", "everything")
"""Features of ways that differ from others only in how they class: all methods see features as they see bands."""

CASES = [
    (way, features) for way in WAYS for features in (FEATURES if way in {"kmeans", "kmeans, all", "gmm"} else OTHERS)
]


def scene(chunk: int) -> tuple[xr.DataArray, npt.NDArray[np.bool_]]:
    """Five spectra in patches, with a hole, cut into chunks."""
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 5, (12, 15)).repeat(10, 0).repeat(10, 1)
    spectra = rng.uniform(100, 900, (5, 4))
    data = np.moveaxis(spectra[patches], 2, 0) + rng.normal(0, 25, (4, 120, 150))
    valid = np.ones((120, 150), bool)
    valid[10:20, 30:50] = False
    array = xr.DataArray(
        data.astype("uint16"),
        dims=("band", "y", "x"),
        coords={
            "band": ["blue", "green", "red", "nir"],
            "y": 5e6 - 10 * np.arange(120.0),
            "x": 3e5 + 10 * np.arange(150.0),
            "valid": (("y", "x"), valid),
        },
    )
    return array.chunk({"band": -1, "y": chunk, "x": chunk}), valid


def test_every_method_for_several_bands_is_tried() -> None:
    tried = {how.get("method", "kmeans") for how in WAYS.values()}
    assert tried == {name for name, method in METHODS.items() if not method.one_band}


@pytest.mark.parametrize(("way", "features"), CASES)
def test_labels_and_counts_are_the_same_however_the_scene_is_cut(way: str, features: str) -> None:
    settings = {"pixels": 3000, **WAYS[way], **FEATURES[features]}
    array, valid = scene(40)
    model = fit(array, **settings)
    if METHODS[model.fitting.method].same_bits:
        assert fit(scene(70)[0], workers=1, **settings) == model
    found, again = (
        label(scene(chunk)[0], each).values
        for chunk, each in ((40, model), (33, ClusterModel.from_json(model.to_json())))
    )
    np.testing.assert_array_equal(found, again)
    np.testing.assert_array_equal(found > 0, valid)
    if settings["pixels"] == "all" and model.fitting.method == "kmeans":
        assert model.counts == tuple(np.bincount(found[valid], minlength=model.k + 1)[1:].tolist())
    brightness = [np.mean(each.mean[:4]) for each in model.classes if each.mean]
    assert brightness == sorted(brightness)
