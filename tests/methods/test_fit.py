"""Models: results of scikit-learn's k-means, in a documented order, independent of chunks and workers."""

from typing import Any

import numpy as np
import pytest
from blocks import scene
from conftest import patches
from fakes import MemorySource
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from sources import described

from pipeline.config.schema import FeaturesConfig
from pipeline.core.errors import FitError
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.progress import Progress
from pipeline.jobs.config import FIT
from pipeline.methods import starts
from pipeline.methods.fit import fit_source
from pipeline.methods.kmeans import KMeansSettings
from pipeline.methods.lloyd import lloyd
from pipeline.methods.pixel_checks import COMPARED
from pipeline.methods.sample import draw_sample
from pipeline.methods.starts import fit_sample
from pipeline.models.base import ClusterModel

pytestmark = pytest.mark.lowest


def fit_model(source: MemorySource, workers: int = 2, **settings: Any) -> ClusterModel:
    config = FIT.parse({"k": 5, "pixels": 20_000, "starts": 3, **settings}, "test")
    return fit_source(
        source, config, FeaturesConfig(standardize="none"), executor=ThreadExecutor(workers), progress=Progress()
    ).model


@pytest.mark.parametrize("method", ["kmeans", "minibatch"])
def test_the_model_does_not_depend_on_chunks_and_workers(method: str) -> None:
    data = patches(3)
    valid = data[0] > 40
    models = {
        fit_model(MemorySource(data, valid, chunk), workers, method=method).to_json()
        for chunk, workers in (((200, 300), 1), ((64, 64), 3), ((31, 17), 2), ((1, 300), 4))
    }
    assert len(models) == 1


@pytest.mark.parametrize("pixels", [20_000, "all"])
def test_minibatch_loses_no_digits_far_from_zero(pixels: int | str) -> None:
    rng = np.random.default_rng(0)
    heaps = rng.normal(0, 0.25, (2, 5))
    data = heaps[:, rng.integers(0, 5, (150, 200))] + rng.normal(0, 0.05, (2, 150, 200))

    def inertia(far: float) -> float:
        source = MemorySource((data + far).astype("float32"), chunk=(64, 64))
        config = FIT.parse({"k": 5, "pixels": pixels, "starts": 3, "method": "minibatch"}, "test")
        return fit_source(source, config, executor=ThreadExecutor(2), progress=Progress()).model.inertia

    assert inertia(3000.0) == pytest.approx(inertia(0.0), rel=0.02)


def test_the_whole_scene_as_sample_matches_scikit_learn() -> None:
    data = patches(3)
    model = fit_model(MemorySource(data), pixels=60_000)
    points = data.reshape(3, -1).T.astype("float64")
    best = min((KMeans(5, n_init=1, random_state=seed).fit(points) for seed in range(5)), key=lambda m: m.inertia_)
    assert model.inertia == pytest.approx(best.inertia_, rel=1e-4)
    nearest = np.argmin(((points[:, None] - model.centres) ** 2).sum(axis=2), axis=1)
    assert adjusted_rand_score(nearest, best.labels_) > 0.999
    assert sum(model.counts) == 60_000
    np.testing.assert_allclose(np.bincount(nearest), model.counts, atol=60)


def test_centroids_are_the_means_of_their_pixels() -> None:
    data = patches(3)
    source = MemorySource(data)
    model = fit_model(source, tol=0)
    values = draw_sample(source, wanted=20_000, seed=0, executor=ThreadExecutor(1)).points.T.astype("float64")
    nearest = np.argmin(((values[:, None] - model.centres) ** 2).sum(axis=2), axis=1)
    means = np.stack([values[nearest == label].mean(axis=0) for label in range(5)])
    np.testing.assert_allclose(model.centres, means, rtol=1e-4)
    distances = ((values - model.centres[nearest]) ** 2).sum()
    assert model.inertia == pytest.approx(distances, rel=1e-4)


def test_the_best_of_several_starts_is_used() -> None:
    points = np.ascontiguousarray(patches(3).reshape(3, -1)[:, ::7])
    one, ten = (fit_sample(points, KMeansSettings(k=8, starts=starts), 1) for starts in (1, 10))
    assert len(ten.starts) == 10
    assert ten.inertia == min(start.inertia for start in ten.starts) <= one.inertia


@pytest.mark.parametrize(("method", "entries"), [("kmeans", 3), ("minibatch", 3), ("gmm", 12)])
def test_the_log_has_an_entry_per_start_or_step(method: str, entries: int) -> None:
    source, own = MemorySource(scene("uint8", (60, 90), bands=3)), {"steps": 12} if method == "gmm" else {}
    config = FIT.parse({"method": method, "k": 5, "pixels": 20_000, "starts": 3, **own}, "test")
    found = fit_source(
        source, config, FeaturesConfig(standardize="zscore"), executor=ThreadExecutor(2), progress=Progress()
    )
    assert len(found.log) == entries
    if method == "gmm":
        assert found.log[-1].shift < found.log[0].shift
        assert found.log[-1].smallest == pytest.approx(min(found.model.weights), rel=1e-9)
    else:  # in the units of the model's inertia
        assert min(start.inertia for start in found.log) == pytest.approx(found.model.inertia, rel=1e-3)


@pytest.fixture
def lloyd_counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of points in each call of `lloyd`."""
    sizes: list[int] = []

    def counted(points: Any, *rest: Any, **settings: Any) -> Any:
        sizes.append(points.shape[1])
        return lloyd(points, *rest, **settings)

    monkeypatch.setattr(starts, "lloyd", counted)
    return sizes


def test_the_best_start_on_a_part_is_refined_on_all_points(lloyd_counts: list[int]) -> None:
    values = np.random.default_rng(0).permutation(patches(4, (400, 400)).reshape(4, -1).T)
    ours = fit_sample(np.ascontiguousarray(values.T), KMeansSettings(k=5, starts=5, tol=0), 2)
    sklearn = KMeans(5, n_init=5, tol=0, random_state=0).fit(values.astype(float))
    assert ours.inertia == pytest.approx(sklearn.inertia_, rel=1e-6)
    nearest = np.argmin(((values[:, None] - ours.centres) ** 2).sum(axis=2), axis=1)
    assert adjusted_rand_score(nearest, sklearn.labels_) > 0.9999
    assert lloyd_counts == [COMPARED] * 5 + [160_000]


def test_starts_are_compared_on_all_points_if_a_part_has_too_few_distinct_ones(lloyd_counts: list[int]) -> None:
    points = np.zeros((2, COMPARED + 50), np.uint16)
    points[0, -50:] = np.repeat(np.arange(1, 6), 10)
    assert fit_sample(points, KMeansSettings(k=6, starts=5), 2).inertia == 0
    assert lloyd_counts == [COMPARED + 50] * 5


def test_iterations_do_not_exceed_max_iter() -> None:
    points = np.random.default_rng(0).integers(0, 9999, (2, COMPARED + 50)).astype(np.uint16)
    assert fit_sample(points, KMeansSettings(k=9, tol=0, max_iter=3), 2).iterations == 3


def test_classes_run_from_dark_to_bright() -> None:
    brightness = fit_model(MemorySource(patches(4))).centres.mean(axis=1)
    assert (np.diff(brightness) > 0).all()


def test_permuting_bands_permutes_the_centroids() -> None:
    data = patches(3)
    one, two = fit_model(MemorySource(data), tol=0), fit_model(MemorySource(data[[2, 0, 1]]), tol=0)
    np.testing.assert_allclose(two.centres, one.centres[:, [2, 0, 1]], rtol=1e-3)


def test_another_seed_draws_another_sample() -> None:
    one, two = (fit_model(MemorySource(patches(3)), pixels=500, seed=seed) for seed in (0, 1))
    assert one.centroids != two.centroids


def test_nodata_pixels_do_not_affect_the_model() -> None:
    data = patches(2)
    valid = np.ones(data.shape[1:], bool)
    valid[:100] = False
    poisoned = data.copy()
    poisoned[:, :100] = 60_000
    assert fit_model(MemorySource(poisoned, valid)).centroids == fit_model(MemorySource(data, valid)).centroids


def test_more_classes_than_distinct_pixels_are_refused_with_the_number() -> None:
    data = np.zeros((1, 200, 300), "uint8")
    data[0, :100], data[0, 100:150] = 7, 9
    with pytest.raises(FitError, match=r"5 classes .* the (60000|20000) sampled ones have 3; set fit\.k to 3 at most"):
        fit_model(MemorySource(data))
    with pytest.raises(FitError, match=r"the \d+ sampled ones have 1; choose a scene whose pixels differ"):
        fit_model(MemorySource(data * 0))


def test_differences_too_small_to_be_squared_are_refused() -> None:
    data = patches(2).astype("float32") * np.float32(1e-30)
    with pytest.raises(FitError, match=r"differ by .* at most: too little for float32"):
        fit_model(MemorySource(data))


def test_equal_classes_cause_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    data = (np.arange(60_000).reshape(1, 200, 300) % 100 + 2**60).astype("int64")
    fit_model(MemorySource(data), k=4)
    assert "of the 4 classes are distinct" in caplog.text


def test_as_many_classes_as_distinct_pixels_work() -> None:
    data = np.zeros((1, 200, 300), "uint8")
    data[0, :100], data[0, 100:150] = 7, 9
    assert fit_model(MemorySource(data), k=3).centroids == ((0.0,), (7.0,), (9.0,))


def test_classes_of_a_real_scene_agree_with_land_cover_polygons(data: Any) -> None:
    """K-means of a real scene agrees with its training polygons as documented with the data (0.8)."""
    from pipeline.scenes.raster_source import RasterSource

    folder = data / "scenes" / "rstoolbox_s2"
    source = RasterSource(described([str(folder / "rstoolbox_sen2.tif")]), (237, 247))
    plain = FeaturesConfig(standardize="none")
    model = fit_source(source, KMeansSettings(k=4), plain, executor=ThreadExecutor(1), progress=Progress()).model
    truth = rasterized(folder / "rstoolbox_sen2_training_polygons.geojson", source)
    pixels, _ = source.read(source.blocks[0])
    points = pixels.reshape(12, -1).T[truth.ravel() > 0]
    nearest = np.argmin(((points[:, None] - model.centres) ** 2).sum(axis=2), axis=1)
    assert adjusted_rand_score(truth[truth > 0], nearest) > 0.6


def rasterized(polygons: Any, source: Any) -> np.ndarray:
    import json

    from rasterio.features import rasterize
    from rasterio.warp import transform_geom

    content = json.loads(polygons.read_text())
    features = content["features"]
    crs = content.get("crs", {}).get("properties", {}).get("name", "OGC:CRS84")
    key = next(name for name in features[0]["properties"] if name.lower().startswith("class"))
    names = sorted({str(feature["properties"][key]) for feature in features})
    grid = source.info.grid
    shapes = [
        (transform_geom(crs, grid.crs, feature["geometry"]), names.index(str(feature["properties"][key])) + 1)
        for feature in features
    ]
    return rasterize(shapes, grid.shape, transform=grid.transform, dtype="uint8")


@pytest.mark.parametrize("method", ["kmeans", "minibatch", "dask-ml"])
def test_a_fit_ended_by_max_iter_warns(method: str, caplog: pytest.LogCaptureFixture) -> None:
    fit_model(MemorySource(patches(3)), method=method, max_iter=1, tol=0)
    assert "fit.max_iter: centroids may still move after pass 1; allow more passes" in caplog.text
    caplog.clear()
    fit_model(MemorySource(patches(3)), method=method)
    assert "max_iter" not in caplog.text
