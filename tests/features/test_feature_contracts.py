"""The contracts of transforms and block features, on each implementer and on a fake."""

import pickle
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fakes import FirstPixel, MemorySource, WithSum
from sources import whole

from pipeline.config.schema import FeaturesConfig
from pipeline.core.needs import Work
from pipeline.core.pixels import Pixels
from pipeline.core.units import Units
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.progress import Progress
from pipeline.features.base import BlockFeature, Transform
from pipeline.features.columns import Columns, IndexColumn, TextureColumn
from pipeline.features.standardize import Standardization
from pipeline.methods.fit import fit_source
from pipeline.methods.kmeans import KMeansSettings
from pipeline.pixels.feature_source import FeatureSource

TRANSFORMS = {
    **{f"standardize {method}": (Standardization, method) for method in ("none", "clip", "zscore", "minmax", "robust")},
    "fake": (FirstPixel, "none"),
}
INDEX = IndexColumn(name="(band1 - band2) / (band1 + band2)", bands=("band1", "band2"), quantities=("numbers",) * 2)
FEATURES: dict[str, BlockFeature] = {
    "fake": WithSum(),
    "indices": Columns(("band1", "band2"), (INDEX,)),
    "fewer bands": Columns(("band2",), (INDEX,)),
    "unit norm": Columns(("band1", "band2"), (INDEX,), unit_norm=True),
    "texture": Columns(
        ("band1",),
        (INDEX,),
        textures=tuple(TextureColumn(band="band2", of=of, size=5, quantity="numbers") for of in ("std", "range")),
    ),
    "smooth": Columns(("band1", "band2"), (), 3),
    "smooth with indices": Columns(("band2",), (INDEX,), 15),
}


def scene(chunk: tuple[int, int] = (64, 64)) -> MemorySource:
    rng = np.random.default_rng(3)
    return MemorySource(rng.integers(1, 250, (2, 90, 110), np.uint8), rng.random((90, 110)) < 0.8, chunk)


@pytest.fixture(params=TRANSFORMS)
def transform(request: pytest.FixtureRequest) -> Transform:
    """A transform that has been fitted."""
    kind, method = TRANSFORMS[request.param]
    source = scene()
    points = np.ascontiguousarray(source.data[:, source.valid])
    fitted: Transform = kind.fit(points, source.info, FeaturesConfig.model_validate({"standardize": method}))
    return fitted


def points_of(units: Units, physical: np.ndarray) -> np.ndarray:
    """Points in stored numbers of a scene."""
    return np.stack([units.to_stored(row) for row in physical.T], axis=1).astype(units.dtype)


def test_a_transform_is_a_positive_factor_per_band_of_any_scene(transform: Transform) -> None:
    for scales in ((1.0, 1.0), (0.5, 1e-4)):
        units = Units(dtype="uint8", scales=scales, offsets=(0.0, 5.0), quantity="scaled")
        factors = transform.bind(units).factors
        assert factors.shape == (2,)
        assert (factors > 0).all()
        assert np.isfinite(factors).all()


def test_a_transform_gives_the_same_distances_in_any_units(transform: Transform) -> None:
    """A scene stored as half of the numbers has scales that are twice as large."""
    one = Units(dtype="float32", scales=(1.0, 0.25), offsets=(0.0, 0.0), quantity="scaled")
    half = Units(dtype="float32", scales=(2.0, -0.5), offsets=(7.0, 0.0), quantity="scaled")
    physical = np.random.default_rng(0).uniform([[0], [0]], [[250], [250]], (2, 500))
    prepared = []
    for units in (one, half):
        preparation = transform.bind(units)
        points = preparation.apply(points_of(units, physical))
        assert points.shape == physical.shape
        assert points.dtype == np.float32
        offsets = np.array(units.offsets)[:, np.newaxis] / np.array(units.scales)[:, np.newaxis]
        prepared.append((points + offsets) * (preparation.factors * np.sign(units.scales))[:, np.newaxis])
    np.testing.assert_allclose(prepared[0], prepared[1], rtol=1e-5, atol=1e-5)


def test_a_transform_prepares_each_point_on_its_own(transform: Transform) -> None:
    units = Units(dtype="uint8", scales=(1.0, 1.0), offsets=(0.0, 0.0))
    points = np.random.default_rng(0).integers(0, 256, (2, 40, 30), np.uint8)
    preparation, before = transform.bind(units), points.copy()
    prepared = preparation.apply(points)
    np.testing.assert_array_equal(points, before)
    for row in range(40):
        np.testing.assert_array_equal(preparation.apply(points[:, row]), prepared[:, row])


def test_a_transform_goes_through_pickle(transform: Transform) -> None:
    assert pickle.loads(pickle.dumps(transform)) == transform  # noqa: S301 (our own)


@pytest.fixture(params=FEATURES)
def feature(request: pytest.FixtureRequest) -> BlockFeature:
    return FEATURES[request.param]


def test_a_feature_describes_the_columns_that_it_gives(feature: BlockFeature) -> None:
    source = FeatureSource(scene(), feature)
    for block in source.blocks:
        for data, valid in (source.read(block), source.read_for_fit(block)[0]):
            assert (len(data), data.dtype) == (len(source.info.bands), source.info.dtype)
            assert data.shape[1:] == valid.shape
    per_band = ("nodata", "scales", "offsets")
    assert {len(getattr(source.info, name)) for name in per_band} == {len(source.info.bands)}
    assert len(source.info.units.quantities) == len(source.info.bands)


def test_a_feature_does_not_depend_on_blocks_and_makes_no_pixel_valid(feature: BlockFeature) -> None:
    cuts: list[Any] = [whole(FeatureSource(scene(chunk), feature)) for chunk in ((90, 110), (64, 64), (7, 31))]
    for data, valid in cuts:
        np.testing.assert_array_equal(valid, scene().valid)
        np.testing.assert_array_equal(data[:, valid], cuts[0][0][:, valid])


def test_a_value_depends_on_valid_pixels_within_the_halo_only(feature: BlockFeature) -> None:
    """Also where what is not valid is NaN or infinite."""
    source, halo = scene(), feature.halo
    data, inner = source.data.astype(np.float32), (slice(30, 60), slice(25, 75))
    info = replace(source.info, dtype=data.dtype)
    near = slice(30 - halo, 60 + halo), slice(25 - halo, 75 + halo)
    spoilt = data.copy()
    spoilt[:, ~source.valid] = np.resize([np.nan, np.inf, -np.inf, 1e30], spoilt[:, ~source.valid].shape)
    known = source.valid[inner]
    with np.errstate(all="ignore"):  # of pixels that are not valid
        one = feature.apply(Pixels(data, source.valid), info, inner)
        cut = feature.apply(
            Pixels(spoilt[:, *near], source.valid[near]), info, (slice(halo, halo + 30), slice(halo, halo + 50))
        )
    np.testing.assert_array_equal(one[:, known], cut[:, known])


def test_a_feature_goes_through_pickle(feature: BlockFeature) -> None:
    one, other = (whole(FeatureSource(scene(), each)) for each in (feature, pickle.loads(pickle.dumps(feature))))  # noqa: S301 (our own)
    np.testing.assert_array_equal(one[0], other[0])


def test_what_a_feature_needs_is_counted_for_the_block(feature: BlockFeature) -> None:
    work = Work(chunk=(300, 400), blocks=1, workers=1)
    source = MemorySource(np.ones((2, 300, 400), np.uint8))
    tracemalloc.start()
    result = feature.apply(Pixels(source.data, source.valid), source.info, (slice(0, 300), slice(0, 400)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - result.nbytes <= feature.needs(source.info, work).per_block + 100_000


def test_a_fit_sees_the_columns_of_a_feature(feature: BlockFeature) -> None:
    source = FeatureSource(scene(), feature)
    config = KMeansSettings(k=4, starts=1, pixels=2000)
    model = fit_source(source, config, executor=ThreadExecutor(2), progress=Progress()).model
    assert model.bands == source.info.bands
    again = fit_source(
        FeatureSource(scene((13, 40)), feature), config, executor=ThreadExecutor(1), progress=Progress()
    ).model
    assert again == model
