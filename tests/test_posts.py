"""The blog posts that Terrazzo comes from, step by step in our words, on small data.

Each did its work on a whole image in memory with numpy and scikit-learn, which are the oracles here.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from conftest import WriteRaster, patches
from runs import config, read
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from pipeline import ClusterModel, predict
from pipeline.config.schema import SceneConfig
from pipeline.jobs.run import run_config
from pipeline.sinks.registry import OutputConfig

PLAIN = {"standardize": "none"}


def pixels_of(path: Path) -> npt.NDArray[np.float64]:
    """Pixels of a file, shape (pixel, band), as the posts reshape them."""
    with rasterio.open(path) as file:
        data = file.read()
    return data.reshape(len(data), -1).T.astype(np.float64)


def is_where_the_scene_is(labels: Path, scene: Path) -> bool:
    with rasterio.open(labels) as file, rasterio.open(scene) as original:
        return (file.crs, file.transform, file.shape) == (original.crs, original.transform, original.shape)


@pytest.fixture
def band_files(write_raster: WriteRaster) -> list[Path]:
    """Thirteen bands of Sentinel-2, a file each."""
    names = [f"B{number:02}" for number in range(1, 13)] + ["B8A"]
    bands = 10 * patches(13, (150, 170))
    return [write_raster(f"T33UUU_{name}.tif", band[np.newaxis]) for name, band in zip(names, bands, strict=True)]


@pytest.mark.parametrize("bands", [["B04"], ["B02", "B03", "B04", "B08"], "all"])
def test_bands_of_sentinel_2_are_stacked_chosen_and_clustered(
    band_files: list[Path], tmp_path: Path, bands: Any
) -> None:
    """One band, the four of 10 m, and all 13: the classes are those of scikit-learn from the same centroids."""
    run_config(
        config(band_files, tmp_path / "m.tif", scene={"bands": bands}, features=PLAIN, fit={"k": 5, "pixels": "all"})
    )
    model = ClusterModel.load(tmp_path / "m.model.json")
    by_name = {path.stem.split("_")[1]: path for path in band_files}
    rows = np.hstack([pixels_of(by_name[name]) for name in model.bands])
    expected = KMeans(5, init=model.centres, n_init=1).fit(rows)
    np.testing.assert_array_equal(read(tmp_path / "m.tif").ravel(), expected.labels_ + 1)
    assert is_where_the_scene_is(tmp_path / "m.tif", band_files[0])
    with rasterio.open(tmp_path / "m_quicklook.png") as picture:
        assert picture.count >= 3


@pytest.mark.parametrize("method", ["kmeans", "minibatch", "gmm", "isodata", "sklearn"])
def test_an_aerial_image_is_classed_by_another_method_with_one_word(
    write_raster: WriteRaster, tmp_path: Path, method: str
) -> None:
    """Four bands of 8 bits, whose spectra are far apart: every method finds the patches."""
    image = write_raster("naip.tif", patches(4, dtype="uint8"), bands=["red", "green", "blue", "nir"])
    run_config(config(image, tmp_path / "m.tif", fit={"method": method, "pixels": 8000}))
    found = read(tmp_path / "m.tif").ravel()
    truth = KMeans(5, n_init=3, random_state=0).fit_predict(pixels_of(image))
    assert adjusted_rand_score(truth, found) > 0.4, "8 classes, or as many as the method finds, of 5 spectra"
    assert is_where_the_scene_is(tmp_path / "m.tif", image)


def test_a_model_of_one_drone_flight_classes_the_next(write_raster: WriteRaster, tmp_path: Path) -> None:
    """Bands of a camera in files of their own; the second image is labelled by the first one's model, not refitted."""
    names, flights = ("green", "red", "rededge", "nir"), []
    for flight in (1, 2):
        bands = patches(4, (120, 150), seed=0 if flight == 1 else 3)
        flights.append(
            [write_raster(f"flight{flight}_{name}.tif", band[None]) for name, band in zip(names, bands, strict=True)]
        )
    run_config(config(flights[0], tmp_path / "one.tif", features=PLAIN, fit={"k": 5}))
    model = ClusterModel.load(tmp_path / "one.model.json")
    assert set(model.bands) == set(names)
    second = SceneConfig(source=tuple(map(str, flights[1])))
    predict(second, model, OutputConfig(labels=str(tmp_path / "two.tif")))
    by_name = {path.stem.split("_")[1]: path for path in flights[1]}
    rows = np.hstack([pixels_of(by_name[name]) for name in model.bands])
    nearest = np.linalg.norm(rows[:, None] - model.centres, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(read(tmp_path / "two.tif").ravel(), nearest + 1)


def test_numbers_of_classes_are_compared_by_their_inertia(write_raster: WriteRaster, tmp_path: Path) -> None:
    """More classes are nearer to the pixels; from the true number on, hardly."""
    image = write_raster("scene.tif", patches(3))
    inertia = {}
    for k in (2, 3, 5, 7):
        path = tmp_path / f"k{k}.tif"
        inertia[k] = run_config(config(image, path, features=PLAIN, fit={"k": k, "pixels": 9000}))["model"]["inertia"]
        assert read(path).max() == k
    assert inertia[2] > inertia[3] > inertia[5] > inertia[7]
    assert inertia[5] - inertia[7] < 0.1 * (inertia[3] - inertia[5])


def test_a_landsat_band_is_classed_by_its_histogram_and_by_ranges_given_by_hand(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    band = patches(1, dtype="uint8")
    band[0, :30, :40] = 0  # outside of the scene
    image = write_raster("LT05_B4.tif", band, nodata=0)
    histogram = {"method": "histogram", "bins": 6}
    run_config(config(image, tmp_path / "h.tif", fit=histogram, output={"palette": "viridis"}))
    values = band[0][band[0] > 0]
    counts, edges = np.histogram(values, 6)
    labels = read(tmp_path / "h.tif")
    assert np.bincount(labels.ravel(), minlength=7).tolist() == [1200, *counts]
    np.testing.assert_array_equal(labels[band[0] > 0], np.digitize(values, edges[1:-1]) + 1)
    by_hand = {"method": "ranges", "edges": [1, 60, 120, 200]}
    run_config(config(image, tmp_path / "r.tif", fit=by_hand))
    expected = np.where(band[0] > 200, 255, np.digitize(band[0], [1, 60, 120, 200.5]))
    np.testing.assert_array_equal(read(tmp_path / "r.tif"), expected)
    with rasterio.open(tmp_path / "h.tif") as file:
        assert len({file.colormap(1)[label] for label in range(1, 7)}) == 6
