"""Initial centroids of k-means from words, arrays and files: scikit-learn's result from the same ones, and messages."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xarray as xr
from fakes import MemorySource
from sklearn.cluster import KMeans

from pipeline import fit
from pipeline.config.schema import FeaturesConfig
from pipeline.config.yaml import anchor_paths
from pipeline.core.errors import ConfigError
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.progress import Progress
from pipeline.methods.fit import fit_source
from pipeline.methods.initial_centroids import given_centroids
from pipeline.methods.kmeans import KMeansSettings
from pipeline.methods.registry import check_settings
from pipeline.models.base import ClusterModel

CENTROIDS = ((20.0, 30.5, 40.0), (60.0, 80.0, 70.0), (120.0, 100.0, 90.0), (200.0, 210.0, 190.0))

SIGNATURES = """#produced by i.cluster
{labels}#Class 1
10
20 30.5 40
1.5
0.1 2
0.1 0.2 3
#Class 2
11
60 80 70
1
0 1
0 0 1
#Class 3
12
120 100 90
1
0 1
0 0 1
#Class 4
13
200 210 190
1
0 1
0 0 1
"""

TEXTS = {
    "a.csv": "band3,1,band2\n40,20,30.5\n70,60,80\n90,120,100\n190,200,210\n",
    "semicolons.csv": "# by a spreadsheet\nband3;band1;band2\n40;20;30.5\n70;60;80\n90;120;100\n190;200;210\n",
    "blanks.txt": "band3 band1 band2\n40 20 30.5\n70 60 80\n90 120 100\n190 200 210\n",
    "otb.txt": "20 30.5 40 \n60 80  70\n120 100 90\n200 210 190\n",
    "old.sig": SIGNATURES.format(labels=""),
    "new.sig": "2\n" + SIGNATURES.format(labels="band1 band2 band3 \n0\n"),
    "maps.sig": "1\n" + SIGNATURES.format(labels="s.1@PERMANENT s.2 s.3 \n"),
}


def scene(seed: int = 0) -> MemorySource:
    rng = np.random.default_rng(seed)
    spectra = rng.uniform(20, 220, (3, 12))
    data = spectra[:, rng.integers(0, 12, (60, 80))] + rng.normal(0, 12, (3, 60, 80))
    return MemorySource(data.clip(0, 255).astype("uint8"), chunk=(32, 32))


def fitted(source: MemorySource, init: Any, workers: int = 2, standardize: str = "none", **more: Any) -> ClusterModel:
    settings = KMeansSettings.model_validate({"k": 4, "pixels": 4800, "tol": 0, "init": init, **more})
    features = FeaturesConfig(standardize=standardize)
    return fit_source(source, settings, features, executor=ThreadExecutor(workers), progress=Progress()).model


def inertia_from(source: MemorySource, start: npt.ArrayLike) -> float:
    points = source.data.reshape(3, -1).T.astype(float)
    return float(KMeans(4, init=np.asarray(start), n_init=1, tol=0, max_iter=300).fit(points).inertia_)


@pytest.mark.parametrize("name", TEXTS)
def test_files_give_the_same_model_as_their_numbers_and_scikit_learn(tmp_path: Path, name: str) -> None:
    source, path = scene(), tmp_path / name
    path.write_text(TEXTS[name])
    model = fitted(source, str(path))
    assert model.fitting.init == path.name
    listed = fitted(source, CENTROIDS, workers=1, seed=0)
    assert listed.fitting.init == "centroids"
    assert model.to_json() == listed.to_json().replace('"init": "centroids"', f'"init": "{path.name}"')
    assert model.inertia == pytest.approx(inertia_from(source, CENTROIDS), rel=1e-5)
    assert model.fitting.starts == 1


def test_the_diagonal_is_from_mean_minus_to_mean_plus_deviation_without_a_seed() -> None:
    source = scene(1)
    points = source.data.reshape(3, -1).astype(float)
    start = points.mean(axis=1) + np.linspace(-1, 1, 4)[:, np.newaxis] * points.std(axis=1)
    model = fitted(source, "diagonal")
    assert model.inertia == pytest.approx(inertia_from(source, start), rel=1e-5)
    assert model.centroids == fitted(source, "diagonal", seed=7).centroids
    assert model.fitting.init == "diagonal"
    assert "init" not in fitted(source, "k-means++").fitting.model_dump()


@pytest.mark.parametrize("standardize", ["none", "clip"])
def test_a_fit_from_its_own_model_stays_there(tmp_path: Path, standardize: str) -> None:
    source = scene(2)
    first = fitted(source, "k-means++", standardize=standardize)
    (tmp_path / "m.model.json").write_text(first.to_json())
    again = fitted(source, str(tmp_path / "m.model.json"), standardize=standardize)
    np.testing.assert_allclose(again.centres, first.centres)
    assert again.fitting.iterations <= 2


@pytest.mark.parametrize("method", ["kmeans", "minibatch"])
def test_python_takes_a_model_as_the_config_takes_its_file(tmp_path: Path, method: str) -> None:
    array = xr.DataArray(scene(3).data, dims=("band", "y", "x"))
    first = fit(array, 3, pixels=4800, method=method)
    path = first.save(tmp_path / "first.model.json")
    model = fit(array, init=first, pixels=4800, method=method)
    assert (model.k, model.fitting.init, model.fitting.starts) == (3, "model", 1)
    named = fit(array, 3, init=path, pixels=4800, method=method)
    assert model.to_json() == named.to_json().replace('"init": "first.model.json"', '"init": "model"')
    assert ClusterModel.from_json(model.to_json()) == model
    assert fit(array, init=first.centres, pixels=4800, method=method).centroids == model.centroids


def test_models_of_other_scenes_are_refused_as_initial_centroids() -> None:
    array = xr.DataArray(scene(3).data, dims=("band", "y", "x"))
    first = fit(array, 3, pixels=4800)
    with pytest.raises(ConfigError, match=r"^init: there are 3 centroids, but k is 4; give a centroid"):
        fit(array, 4, init=first)
    with pytest.raises(
        ConfigError, match=r"^init: the model needs bands band1, band2, band3; the scene has band1, band2"
    ):
        fit(array[:2], init=first)
    with pytest.raises(ConfigError, match=r"^fit: init: <object.* is not allowed; expected the initial centroids: "):
        fit(array, init=object())  # type: ignore[arg-type]


def test_python_takes_arrays_and_paths(tmp_path: Path) -> None:
    array = xr.DataArray(scene().data, dims=("band", "y", "x"), coords={"band": ["a", "b", "c"]})
    (tmp_path / "c.txt").write_text(TEXTS["otb.txt"])
    one, other = (fit(array, 4, pixels=4800, init=init) for init in (np.array(CENTROIDS), tmp_path / "c.txt"))
    assert one.to_json() == other.to_json().replace('"init": "c.txt"', '"init": "centroids"')
    with pytest.raises(
        ConfigError, match=r"^init: there are 4 centroids, but k is 5; give a centroid for each class, or change k$"
    ):
        fit(array, 5, init=np.array(CENTROIDS))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "band1,band2\n1,2\n", "it has columns band1, band2; expected one per band: band1, band2, band3"),
        ("a.csv", "band1,band2,swir\n1,2,3\n", "there is no band 'swir'; .* band1, band2, band3"),
        ("a.csv", "band1,band2,band3\n1,2,x\n", "centroid 1 has 'x'; expected finite numbers"),
        ("a.csv", "band1,band2,band3\n1,2,nan\n", "centroid 1 has 'nan'; expected finite numbers"),
        ("a.csv", "band1,band2,band3\n1,2,3\n", r"there is 1 centroid, but fit\.k is 4; give a centroid"),
        ("a.txt", "1 2 3\n1 2\n", "centroid 2 has 2 numbers; expected 3, one per band: band1, band2, band3"),
        ("a.txt", "\n", "the file is empty; expected a line per centroid"),
        ("a.sig", "#title\n#Class 1\n10\n1 2\n", "class 1 is not a GRASS signature; expected its count, means"),
        ("a.csv", "band1,band2,band3\n1,,3\n", "centroid 1 has ''; expected finite numbers"),
        (
            "a.csv",
            'band1,band2,band3\n"1,2,3\n' + "4," * 70_000,
            "this is no table: field larger than field limit",
        ),
        ("a.csv", "1,2,3\n4,5,6\n", "expected a line of band names, with commas between them"),
        ("a.csv", "band1;band2;band3\n1;2\n", "centroid 1 has 2 numbers; expected 3"),
        ("a.csv", "x" * 100_000 + ",band2,band3\n1,2,3\n", r"there is no band '\.\.\.'; the scene has"),
        ("a.csv", "band1,band2,band3\n", "expected a line of band names, with commas between them"),
        ("a.txt", "# by savetxt\n1 2 3\n", r"there is 1 centroid, but fit\.k is 4"),
        ("a.json", "{}", "this is JSON, but not a Terrazzo model"),
    ],
)
def test_wrong_files_are_refused_before_pixels_are_read(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"^fit\.init: .*{name}: .*{message}"):
        given_centroids(str(path), 4, scene().info)


def test_a_missing_file_and_numbers_in_other_units_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.csv: the centroids can't be read: No such file .*k-means\+\+, diag"):
        given_centroids(str(tmp_path / "none.csv"), 4, scene().info)
    for factor in (1e4, 1e-4):
        other = (np.array(CENTROIDS) * factor).tolist()
        with pytest.raises(
            ConfigError, match=r"centroids of band 1 are .* in stored numbers, but the sampled pixels are"
        ):
            fitted(scene(), other)


def test_a_model_of_other_bands_is_refused(tmp_path: Path) -> None:
    array = xr.DataArray(scene().data, dims=("band", "y", "x"), coords={"band": ["a", "b", "c"]})
    (tmp_path / "m.json").write_text(fit(array, 4, pixels=1000, starts=1).to_json())
    with pytest.raises(
        ConfigError, match=r"m\.json: the model needs bands a, b, c; the scene has band1, .*a, b, c mis"
    ):
        given_centroids(str(tmp_path / "m.json"), 4, scene().info)


def test_paths_are_relative_to_the_folder_of_the_config() -> None:
    inits = ("c.csv", "k-means++", "diagonal", [[1, 2]])
    found = [anchor_paths({"fit": {"init": init}}, Path("/x"))["fit"]["init"] for init in inits]
    assert found == ["/x/c.csv", "k-means++", "diagonal", [[1, 2]]]


def test_equal_centroids_are_told(caplog: pytest.LogCaptureFixture) -> None:
    fitted(scene(), [CENTROIDS[0], *CENTROIDS[:3]])
    assert "only 3 of the 4 centroids are distinct" in caplog.text


@pytest.mark.parametrize("init", ["none.csv", "diagnal", [[1, 2], [3, 4], [5, 6]]])
def test_centroids_that_fit_no_scene_are_refused_without_one(init: Any) -> None:
    with pytest.raises(ConfigError, match=r"^fit\.init: .*(No such file|there are 3 centroids, but fit\.k is 4)"):
        check_settings(KMeansSettings.model_validate({"k": 4, "init": init}), FeaturesConfig())


def test_an_outlier_does_not_make_centroids_look_as_if_in_other_units() -> None:
    source = scene()
    data = source.data.astype("float32")
    data[:, 0, 0] = 1e7
    assert fitted(MemorySource(data, chunk=(32, 32)), CENTROIDS, standardize="clip").k == 4
