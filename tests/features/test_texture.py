"""Texture of bands: deviations and ranges by scipy, as columns of runs and from the model alone."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fakes import MemorySource
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from runs import config, read
from scipy import ndimage
from sources import layers, product, whole

from pipeline import fit, label, open_scene
from pipeline.config.schema import SceneConfig
from pipeline.core.errors import ConfigError, ModelError
from pipeline.features.columns import Columns, TextureColumn
from pipeline.features.moving_windows import window_deviations, window_ranges
from pipeline.jobs.predict import predict
from pipeline.jobs.run import fit_config, plan_config, run_config
from pipeline.models.base import ClusterModel
from pipeline.pixels.feature_source import FeatureSource
from pipeline.sinks.registry import OutputConfig

FIT = {"k": 5, "starts": 2, "pixels": 20_000}
FEATURES = {"texture": {"bands": ["nir", "B05"], "of": "std", "size": 7}, "indices": ["ndvi"], "smooth": 3}
FUNCTIONS = {
    "std": (window_deviations, np.nanstd),
    "range": (window_ranges, lambda part: np.nanmax(part) - np.nanmin(part)),
}
CHUNKS = st.tuples(st.integers(1, 70), st.integers(1, 70)).filter(lambda chunk: chunk[0] * chunk[1] >= 12)
"""Rows and columns of a block: single rows and columns, too, but not thousands of blocks of a few pixels each."""


def by_scipy(plane: npt.NDArray[Any], valid: npt.NDArray[np.bool_], size: int, of: str) -> npt.NDArray[np.float64]:
    """Spread of the valid pixels of each square; 0 where a pixel is not valid."""
    numbers = np.where(valid, plane, np.nan).astype(np.float64)
    spread = FUNCTIONS[of][1]
    found = ndimage.generic_filter(
        numbers, lambda part: 0.0 if np.isnan(part).all() else spread(part), size, mode="constant", cval=np.nan
    )
    return np.where(valid, found, 0)


@settings(deadline=None, max_examples=40)
@given(
    plane=arrays(np.int16, array_shapes(min_dims=2, max_dims=2, max_side=20)),
    of=st.sampled_from(["std", "range"]),
    size=st.sampled_from([3, 5, 15]),
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(["int16", "uint8", "int32", "float32", "float64"]),
)
def test_textures_are_those_of_scipy_over_valid_pixels(
    plane: npt.NDArray[Any], of: str, size: int, seed: int, dtype: str
) -> None:
    generator = np.random.default_rng(seed)
    valid, plane = generator.random(plane.shape) < generator.random(), plane.astype(dtype)
    out = np.full(plane.shape, np.nan)
    FUNCTIONS[of][0](plane, valid, size, (slice(0, plane.shape[0]), slice(0, plane.shape[1])), out)
    np.testing.assert_allclose(out, by_scipy(plane, valid, size, of), rtol=1e-9, atol=1e-6)


def test_equal_pixels_have_no_texture_and_squares_that_overflow_give_none() -> None:
    for plane in (np.full((9, 9), 65535, np.uint16), np.full((9, 9), 1e200)):
        for function, _ in FUNCTIONS.values():
            out = np.full((9, 9), np.nan)
            function(plane, np.ones((9, 9), np.bool_), 5, (slice(0, 9), slice(0, 9)), out)
            np.testing.assert_array_equal(out, 0)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    chunk=CHUNKS,
    of=st.sampled_from(["std", "range"]),
    smooth=st.sampled_from([None, 3, 15]),
)
def test_no_block_leaves_a_seam(seed: int, chunk: tuple[int, int], of: Any, smooth: int | None) -> None:
    generator = np.random.default_rng(seed)
    data, valid = generator.normal(100, 30, (2, 61, 67)).astype("float32"), generator.random((61, 67)) < 0.7
    texture = TextureColumn(band="band2", of=of, size=7, quantity="numbers")
    columns = Columns(("band1",), (), smooth, textures=(texture,))
    one, parts = (FeatureSource(MemorySource(data, valid, side), columns) for side in ((61, 67), chunk))
    for found, expected in zip(whole(parts), whole(one), strict=True):
        assert found.tobytes() == expected.tobytes()


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    return product(tmp_path, "one", layers())


def test_a_run_has_textures_in_the_quantity_of_their_bands(safe: Path, tmp_path: Path) -> None:
    """B05 is not among the bands, and on a coarser grid."""
    run_config(config(safe, tmp_path / "m.tif", scene={"bands": ["B03", "B08"]}, features=FEATURES, fit=FIT))
    model, made, labels = ClusterModel.load(tmp_path / "m.model.json"), layers(), read(tmp_path / "m.tif")
    assert model.bands == ("B03", "B08", "ndvi", "B08_std7", "B05_std7")
    assert model.scene_bands == ("B03", "B08", "B04", "B05")
    coarse = made["B05"].repeat(2, 0).repeat(2, 1)
    header, *rows = (tmp_path / "m.csv").read_text().splitlines()
    for column, plane in (("B08_std7", made["B08"]), ("B05_std7", coarse)):
        squares = np.lib.stride_tricks.sliding_window_view(np.pad(plane / 10_000, 3, constant_values=np.nan), (7, 7))
        texture = np.nanstd(squares, axis=(2, 3))
        for row in rows:
            values = dict(zip(header.split(","), row.split(","), strict=True))
            expected = texture[labels == int(values["class"])].mean()
            assert float(values[f"mean_{column}"]) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("pixels", [20_000, "all"])
def test_blocks_and_workers_change_no_byte(safe: Path, tmp_path: Path, pixels: Any) -> None:
    maps = []
    for number, run in enumerate(({}, {"chunk": 64, "workers": 1}, {"chunk": 128, "workers": 2, "cache": "memory"})):
        path = tmp_path / f"{number}.tif"
        made = config(safe, path, features=FEATURES | {"pca": 3}, fit=FIT | {"pixels": pixels}, run=run)
        assert run_config(made)["source_passes"] == 1
        maps.append([path.with_suffix(suffix).read_bytes() for suffix in (".tif", ".csv", ".model.json")])
    assert maps[0] == maps[1] == maps[2]


def test_predict_label_and_python_do_the_same(safe: Path, tmp_path: Path) -> None:
    """The other product has another offset."""
    features = FEATURES | {"texture": {"bands": ["nir", "red"], "of": "range", "size": 3}}
    run_config(config(safe, tmp_path / "m.tif", features=features, fit=FIT))
    model, expected = ClusterModel.load(tmp_path / "m.model.json"), read(tmp_path / "m.tif")
    own = fit(open_scene(safe), indices=["ndvi"], smooth=3, texture=features["texture"], **FIT)
    assert own.digest == model.digest
    np.testing.assert_array_equal(label(open_scene(safe, bands="all", resolution=10), model).values, expected)
    shifted = {band: plane if band == "SCL" else plane - 1000 for band, plane in layers().items()}
    other = product(tmp_path, "other", shifted, offsets=None, baseline="02.14")
    for scene in (safe, other):
        path = tmp_path / f"{scene.parent.name}.tif"
        predict(SceneConfig(source=(str(scene),)), model, OutputConfig(labels=str(path)))
        assert (read(path) == expected).mean() > 0.9999


def test_textures_that_can_not_be_computed_are_refused(safe: Path, tmp_path: Path) -> None:
    for bands, message in ((["B88"], r"features.texture.bands: .*B88"), (["nir", "B08"], r"B08_std5 is given twice")):
        with pytest.raises(ConfigError, match=message):
            plan_config(config(safe, tmp_path / "m.tif", features={"texture": {"bands": bands}}, fit=FIT))
    with pytest.raises(ConfigError, match=r"features.texture.size|texture.size: 4 is not allowed"):
        fit(open_scene(safe), texture={"bands": ["nir"], "size": 4})
    made = config(safe, tmp_path / "m.tif", features=FEATURES, fit=FIT)
    fit_config(made, tmp_path / "m.json")
    text = (tmp_path / "m.json").read_text()
    with pytest.raises(ModelError, match="are not the last of the bands"):
        ClusterModel.from_json(text.replace('"size": 7', '"size": 9'))
