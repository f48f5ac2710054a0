"""Smoothed bands: means by scipy, runs without a seam, and models that apply them alone."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from conftest import WriteRaster, patches
from fakes import MemorySource
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from runs import config, read
from scipy import ndimage
from sources import layers, product, whole

from pipeline import fit, label, open_scene
from pipeline.config.schema import SceneConfig
from pipeline.core.errors import ConfigError
from pipeline.dataarrays.source import ArraySource
from pipeline.engine.cache import open_cache
from pipeline.features.columns import Columns
from pipeline.features.moving_windows import window_means
from pipeline.jobs.predict import predict
from pipeline.jobs.run import fit_config, plan_config, run_config
from pipeline.models.base import ClusterModel
from pipeline.pixels.cached_windows import CachedWindows
from pipeline.pixels.feature_source import FeatureSource
from pipeline.sinks.registry import OutputConfig

FIT = {"k": 5, "starts": 2, "pixels": 20_000}
CHUNKS = st.tuples(st.integers(1, 70), st.integers(1, 70)).filter(lambda chunk: chunk[0] * chunk[1] >= 12)
"""Rows and columns of a block: single rows and columns, too, but not thousands of blocks of a few pixels each."""


def means_by_scipy(plane: npt.NDArray[Any], valid: npt.NDArray[np.bool_], size: int) -> npt.NDArray[np.float64]:
    """Mean of the valid pixels of each square."""
    kernel = np.ones((size, size))
    sums, counts = (
        ndimage.convolve(numbers.astype(np.float64), kernel, mode="constant")
        for numbers in (np.where(valid, plane, 0), valid)
    )
    return sums / np.maximum(counts, 1)


@settings(deadline=None, max_examples=60)
@given(
    data=arrays(np.int16, array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=40)),
    size=st.sampled_from([3, 5, 15]),
    seed=st.integers(0, 2**32 - 1),
    share=st.floats(0, 1),
    dtype=st.sampled_from(["int16", "uint8", "int32", "float32", "float64"]),
)
def test_means_are_those_of_scipy_over_valid_pixels(
    data: npt.NDArray[Any], size: int, seed: int, share: float, dtype: str
) -> None:
    valid = np.random.default_rng(seed).random(data.shape[1:]) < share
    data = data.astype(dtype)
    out = np.full(data.shape, np.nan)
    window_means(data, valid, size, (slice(0, data.shape[1]), slice(0, data.shape[2])), out)
    for plane, found in zip(data, out, strict=True):
        expected = np.where(valid, means_by_scipy(plane, valid, size), 0)
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    chunk=CHUNKS,
    size=st.sampled_from([3, 7, 15]),
    dtype=st.sampled_from(["uint8", "float32", "float64"]),
)
def test_no_block_leaves_a_seam(seed: int, chunk: tuple[int, int], size: int, dtype: str) -> None:
    generator = np.random.default_rng(seed)
    data = generator.normal(100, 30, (2, 61, 67)).clip(0, 255).astype(dtype)
    valid, columns = generator.random((61, 67)) < 0.7, Columns(("band1", "band2"), (), size)
    fitting = valid & (generator.random((61, 67)) < 0.8)
    one, parts = (
        FeatureSource(MemorySource(data, valid, side, fitting=fitting), columns) for side in ((61, 67), chunk)
    )
    for found, expected in zip(whole(parts), whole(one), strict=True):
        assert found.tobytes() == expected.tobytes()
    for block in parts.blocks:
        np.testing.assert_array_equal(parts.read_for_fit(block)[1], fitting[block.slices])


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    made = layers()
    for band in ("B02", "B03", "B04", "B08"):
        made[band][100:150, 200:260] = 0
    return product(tmp_path, "one", made)


@pytest.mark.parametrize("pixels", [20_000, "all"])
@pytest.mark.parametrize("method", ["kmeans", "minibatch"])
def test_blocks_workers_and_cache_change_no_byte(safe: Path, tmp_path: Path, pixels: Any, method: str) -> None:
    features, maps = {"smooth": 5, "indices": ["ndvi"], "standardize": "zscore"}, []
    scene = {"mask": {"scl": [9], "dilate": 60}}
    runs = ({"chunk": 512}, {"chunk": 64, "workers": 2}, {"chunk": 128, "cache": "memory"})
    for number, run in enumerate(runs):
        path = tmp_path / f"{number}.tif"
        settings = FIT | {"pixels": pixels, "method": method}
        report = run_config(config(safe, path, scene=scene, features=features, fit=settings, run=run))
        assert report["source_passes"] == 1, "each block of a file is decoded once"
        names = (path, path.with_suffix(".csv"), path.with_suffix(".model.json"))
        maps.append([name.read_bytes() for name in names])
    assert maps[0] == maps[1] == maps[2]


def test_a_run_classes_the_means(safe: Path, tmp_path: Path) -> None:
    run_config(config(safe, tmp_path / "m.tif", features={"smooth": 3, "standardize": "none"}, fit=FIT))
    model, pixels = ClusterModel.load(tmp_path / "m.model.json"), layers()
    valid = np.ones((360, 360), np.bool_)
    valid[100:150, 200:260] = False
    means = np.stack([means_by_scipy(pixels[band], valid, 3) for band in ("B02", "B03", "B04", "B08")])
    distances = np.linalg.norm((means[:, valid].T[:, None] - 1000) / 10_000 - model.centres, axis=2)
    first, second = np.sort(distances, axis=1)[:, :2].T
    clear, labels = second - first > 1e-6, read(tmp_path / "m.tif")
    np.testing.assert_array_equal(labels[valid][clear], distances.argmin(axis=1)[clear] + 1)
    assert clear.mean() > 0.99
    assert not labels[~valid].any()


@pytest.mark.parametrize(
    "fit_settings", [{"method": "histogram", "bins": 5}, {"method": "ranges", "edges": [0, 0.2, 1]}]
)
def test_methods_of_one_band_take_its_means(safe: Path, tmp_path: Path, fit_settings: dict[str, Any]) -> None:
    scene, features = {"bands": ["B08"]}, {"smooth": 5}
    run_config(config(safe, tmp_path / "m.tif", scene=scene, features=features, fit=fit_settings, run={"chunk": 64}))
    model, valid = ClusterModel.load(tmp_path / "m.model.json"), np.ones((360, 360), np.bool_)
    valid[100:150, 200:260] = False
    means = (means_by_scipy(layers()["B08"], valid, 5) - 1000) / 10_000
    edges = np.array(json.loads(model.to_json())["edges"])
    clear = valid & (np.abs(means[..., np.newaxis] - edges).min(axis=2) > 1e-6)
    np.testing.assert_array_equal(read(tmp_path / "m.tif")[clear], np.searchsorted(edges, means[clear]))
    assert clear.mean() > 0.9


def test_predict_and_label_smooth_by_the_model_alone(safe: Path, tmp_path: Path) -> None:
    features = {"smooth": 15, "indices": ["ndvi"]}
    run_config(config(safe, tmp_path / "m.tif", features=features, fit=FIT))
    expected, model = read(tmp_path / "m.tif"), ClusterModel.load(tmp_path / "m.model.json")
    assert model.smooth == 15
    predict(SceneConfig(source=(str(safe),)), model, OutputConfig(labels=str(tmp_path / "p.tif")))
    np.testing.assert_array_equal(read(tmp_path / "p.tif"), expected)
    for chunk in (16, 100, 512):
        lazy = label(open_scene(safe).chunk({"y": chunk, "x": chunk}), model)
        assert lazy.data.chunks == open_scene(safe).chunk({"y": chunk, "x": chunk}).data.chunks[1:]
        np.testing.assert_array_equal(lazy.values, expected)
    narrow = label(open_scene(safe).chunk({"y": 5, "x": 300}), model)
    np.testing.assert_array_equal(narrow.values, expected)


@pytest.mark.parametrize("pixels", [20_000, "all"])
def test_fit_of_a_dataarray_is_that_of_a_config(safe: Path, tmp_path: Path, pixels: Any) -> None:
    scene, settings = open_scene(safe).chunk({"y": 100, "x": 90}), FIT | {"pixels": pixels}
    model = fit(scene, smooth=3, cache_dir=tmp_path, **settings)
    made = config(safe, tmp_path / "m.tif", features={"smooth": 3}, fit=settings)
    assert model.digest == fit_config(made, tmp_path / "m.json").digest
    assert ClusterModel.load(tmp_path / "m.json").smooth == 3


def test_a_model_says_smooth_only_if_it_does(safe: Path, tmp_path: Path) -> None:
    plain = fit_config(config(safe, tmp_path / "m.tif", fit=FIT), tmp_path / "m.json")
    assert "smooth" not in (tmp_path / "m.json").read_text()
    assert plain.model_copy(update={"smooth": 3}).digest != plain.digest


def test_windows_of_a_lazy_array_compute_each_chunk_once(safe: Path) -> None:
    source = ArraySource(open_scene(safe).chunk({"y": 50, "x": 70}))
    counting = MemorySource(*whole(source), (50, 70))
    with open_cache("memory", Path()) as cache:
        parts = FeatureSource(CachedWindows(counting, cache), Columns(counting.info.bands, (), 7))
        found = whole(parts)
        assert set(counting.reads.values()) == {1}
    for one, other in zip(found, whole(FeatureSource(counting, parts.feature)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_square_without_a_pixel_in_the_middle_is_refused(safe: Path) -> None:
    for size in (1, 2, 4, 17, True, "3"):
        with pytest.raises(ConfigError, match=r"smooth: .*an odd number from 3 to 15"):
            fit(open_scene(safe), smooth=size)  # type: ignore[arg-type]


def test_a_plan_caches_blocks_of_compressed_files_for_margins(write_raster: WriteRaster, tmp_path: Path) -> None:
    tiles = {"tiled": True, "blockxsize": 64, "blockysize": 64}
    for compress, caches in (("deflate", True), (None, False)):
        path = write_raster(f"{compress}.tif", patches(3), **tiles, compress=compress)
        plan = plan_config(config(path, tmp_path / "m.tif", features={"smooth": 3}, fit=FIT))[1]
        plain = plan_config(config(path, tmp_path / "m.tif", fit=FIT))[1]
        assert (plan.caches_files, plan.caches_blocks) == (caches, False)
        assert plan.per_block > plain.per_block
        report = run_config(
            config(path, tmp_path / f"{compress}_map.tif", features={"smooth": 3}, fit=FIT, run={"chunk": 64})
        )
        assert report["source_passes"] == 1 if caches else report["source_passes"] > 2
    assert dataclasses.asdict(plan)["cache"] == "none"
