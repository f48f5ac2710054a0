"""Clusterers of scikit-learn: the table is that of the library, models give the labels of the estimators themselves."""

import logging
import re
import subprocess
import sys
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import sklearn
import sklearn.cluster
import sklearn.mixture
from blocks import scene
from fakes import MemorySource
from sklearn.metrics import adjusted_rand_score

from pipeline.config.schema import FeaturesConfig
from pipeline.core.errors import ConfigError, FitError
from pipeline.core.needs import Work
from pipeline.engine.executor import ThreadExecutor
from pipeline.engine.progress import Progress
from pipeline.jobs.config import FIT, RunConfig
from pipeline.jobs.plan import PROGRAM
from pipeline.jobs.run import check_outputs
from pipeline.methods.estimators import ESTIMATORS, MOST_POINTS, EstimatorName, sklearn_needs
from pipeline.methods.fit import fit_source
from pipeline.methods.sample import draw_sample
from pipeline.methods.sklearn_estimator import _CLASSES, check_options, labelled_pixels
from pipeline.models.base import ClusterModel
from pipeline.models.gaussians import GaussianModel

pytestmark = pytest.mark.lowest

LEFT_OUT = {
    *("n_jobs", "random_state", "memory", "verbose", "verbose_interval", "warm_start"),
    *("copy", "copy_x", "compute_labels", "compute_distances", "store_centers"),
    *("connectivity", "metric_params", "kernel_params"),
}
"""Parameters that are no options: they don't change the classes, or are neither numbers nor texts."""

OPTIONS: dict[str, dict[str, Any]] = {
    "cluster.AffinityPropagation": {"damping": 0.9, "preference": -60_000},
    "cluster.AgglomerativeClustering": {},
    "cluster.Birch": {"threshold": 9.0},
    "cluster.BisectingKMeans": {},
    "cluster.DBSCAN": {"eps": 14, "min_samples": 8},
    "cluster.HDBSCAN": {"min_cluster_size": 25},
    "cluster.KMeans": {"n_init": 3},
    "cluster.MeanShift": {"bandwidth": 30, "bin_seeding": True},
    "cluster.MiniBatchKMeans": {"n_init": 3},
    "cluster.OPTICS": {"min_samples": 8, "min_cluster_size": 40, "cluster_method": "dbscan", "eps": 14},
    "cluster.SpectralClustering": {"gamma": 0.001},
    "mixture.BayesianGaussianMixture": {"tol": 0.1},
    "mixture.GaussianMixture": {},
}
"""Options with which each estimator finds several classes in `source`."""

CLOSE = {"cluster.BisectingKMeans": 0.8, "cluster.AffinityPropagation": 0.99}
"""Least agreement of models with estimators that do not put each pixel into the class of the nearest centroid: the one
divides classes in two, the other decides ties by random numbers."""

K = 5
PIXELS = 800


def source(chunk: tuple[int, int] = (64, 64), dtype: str = "uint8") -> MemorySource:
    return MemorySource(scene(dtype, (30, 40), bands=3, seed=2), chunk=chunk)


def settings_of(name: str, **settings: Any) -> Any:
    k = {} if ESTIMATORS[name].k is None else {"k": K}
    given = {"method": "sklearn", "estimator": name, "options": OPTIONS[name], "pixels": PIXELS, **k}
    return FIT.parse({**given, **settings}, "test")


def fit_model(name: str, scene: MemorySource, standardize: Any = "none", workers: int = 2, **own: Any) -> ClusterModel:
    config = settings_of(name, **own)
    return fit_source(
        scene, config, FeaturesConfig(standardize=standardize), executor=ThreadExecutor(workers), progress=Progress()
    ).model


def sampled(scene: MemorySource, wanted: int) -> npt.NDArray[Any]:
    """The sample of a fit, shape (band, point)."""
    return draw_sample(scene, wanted=wanted, seed=0, executor=ThreadExecutor(1), limits=False).points


def own_labels(name: str, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.integer]:
    """Oracle: the labels of the estimator, made without the table."""
    module, _, cls = name.partition(".")
    kind = getattr(getattr(sklearn, module), cls)
    known = kind().get_params()
    k = {key: K for key in ("n_clusters", "n_components") if key in known}
    if cls == "SpectralClustering":
        del k["n_components"]
    more = {"random_state": 0} if "random_state" in known else {}
    more |= {"copy": True} if cls == "HDBSCAN" else {}
    return kind(**k, **OPTIONS[name], **more).fit_predict(rows)


def labels_of(model: ClusterModel, scene: MemorySource, points: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    planes = points[:, np.newaxis]
    return model.labeller(scene.info)(planes, np.ones(planes.shape[1:], bool)).classes[0]


def test_the_table_is_that_of_scikit_learn() -> None:
    """All that cluster pixels: those that cluster bands, or bands with pixels, are left out."""
    found = {
        f"{module.__name__.rpartition('.')[2]}.{name}"
        for module in (sklearn.cluster, sklearn.mixture)
        for name in module.__all__
        if isinstance(getattr(module, name), type) and hasattr(getattr(module, name), "fit_predict")
    }
    assert set(ESTIMATORS) == found - {"cluster.FeatureAgglomeration"} == set(get_args(EstimatorName)) == set(_CLASSES)
    assert {name: f"sklearn.{name}" for name in _CLASSES} == {
        name: f"{'.'.join(each.__module__.split('.')[:2])}.{each.__name__}" for name, each in _CLASSES.items()
    }


TOO_LARGE = {"cluster.HDBSCAN": {"metric", "algorithm"}, "cluster.KMeans": {"algorithm"}}
"""Options with values for which an estimator holds all pairs of pixels, or of pixels and classes."""


@pytest.mark.parametrize("name", ESTIMATORS)
def test_options_are_the_parameters_of_the_estimator(name: str) -> None:
    known = set(_CLASSES[name]().get_params()) - LEFT_OUT - TOO_LARGE.get(name, set())
    assert set(ESTIMATORS[name].options.split()) == known
    assert ESTIMATORS[name].k == next(
        (k for k in ("n_clusters", "n_components") if k in _CLASSES[name]().get_params()), None
    )


def test_a_config_with_an_estimator_loads_no_scikit_learn() -> None:
    code = (
        "import sys\nfrom pipeline.jobs.config import FIT\n"
        "FIT.parse({'method': 'sklearn', 'estimator': 'cluster.DBSCAN', 'options': {'eps': 0.1}}, 't')\n"
        "print({'sklearn', 'scipy'} & {name.split('.')[0] for name in sys.modules})"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize("standardize", ["none", "zscore"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_model_gives_sampled_pixels_the_labels_of_the_estimator(
    name: str, standardize: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # integers have ties, which the rounding of a division would decide
    scene = source(dtype="uint8" if standardize == "none" else "float32")
    points, spread = sampled(scene, PIXELS), np.ones(3)
    if standardize == "zscore":
        spread = points.std(axis=1)
        scaled = {"eps": 0.35, "bandwidth": 0.8, "threshold": 0.25, "gamma": 1.0, "preference": -60}
        monkeypatch.setitem(OPTIONS, name, {key: scaled.get(key, value) for key, value in OPTIONS[name].items()})
    expected = own_labels(name, points.T / spread)
    model = fit_model(name, scene, standardize)
    known = expected >= 0
    labels = labels_of(model, scene, points)
    assert model.k == len(set(expected[known].tolist())) > 1
    if name in CLOSE:
        assert adjusted_rand_score(expected[known], labels[known]) > CLOSE[name]
    else:
        pairs = set(zip(expected[known].tolist(), labels[known].tolist(), strict=True))
        assert len(pairs) == model.k, "each class of one is a class of the other"
    means = [points[:, labels == each.id].mean() for each in model.classes]
    assert (np.diff(means) > 0).all()
    assert model.counts == tuple(np.bincount(labels, minlength=model.k + 1)[1 : model.k + 1].tolist())
    np.testing.assert_array_equal(labels == 255, ~known)


@pytest.mark.parametrize("name", ["cluster.DBSCAN", "cluster.HDBSCAN", "cluster.OPTICS"])
def test_noise_is_unclassified_and_said(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Pixels that are nearest to a noise pixel are unclassified, too."""
    caplog.set_level(logging.INFO)
    scene = source()
    points = sampled(scene, PIXELS)
    noise = own_labels(name, points.T.astype(np.float64)) < 0
    assert noise.any()
    model = fit_model(name, scene)
    assert model.leaves_unclassified
    held = dict(zip(model.centroids, model.classes_of_points, strict=True))
    assert {point for point, label in held.items() if label == 255} == {
        tuple(row) for row in points[:, noise].T.tolist()
    }
    assert {point for point, label in held.items() if label < 255} == {
        tuple(row) for row in points[:, ~noise].T.tolist()
    }
    assert f"sklearn: {noise.sum()} of 800 sampled pixels are noise: unclassified (255)" in caplog.text
    assert ClusterModel.from_json(model.to_json()) == model


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_fit_is_repeatable_for_any_blocks_and_workers_and_goes_through_json(name: str) -> None:
    model = fit_model(name, source())
    assert fit_model(name, source((17, 40)), workers=1) == model
    again = ClusterModel.from_json(model.to_json())
    assert again == model
    np.testing.assert_array_equal(*(labels_of(each, source(), source().data.reshape(3, -1)) for each in (model, again)))


def test_sub_clusters_are_held_with_their_classes() -> None:
    points = sampled(source(), PIXELS)
    birch = sklearn.cluster.Birch(n_clusters=K, threshold=9.0).fit(points.T.astype(np.float64))
    model = fit_model("cluster.Birch", source())
    np.testing.assert_allclose(np.array(model.centroids), birch.subcluster_centers_)
    each = fit_model("cluster.Birch", source(), options={"threshold": 25, "n_clusters": None}, k=None)
    assert (
        each.k
        == len(each.centroids)
        == len(sklearn.cluster.Birch(n_clusters=None, threshold=25).fit(points.T).subcluster_centers_)
    )


MIXTURES = {
    ("mixture.GaussianMixture", "full"): {},
    ("mixture.GaussianMixture", "tied"): {"n_init": 2},
    ("mixture.GaussianMixture", "diag"): {},
    ("mixture.GaussianMixture", "spherical"): {},
    ("mixture.BayesianGaussianMixture", "full"): {},
    ("mixture.BayesianGaussianMixture", "tied"): {"weight_concentration_prior_type": "dirichlet_distribution"},
    ("mixture.BayesianGaussianMixture", "diag"): {"weight_concentration_prior": 1e-3, "n_components": 9},
    ("mixture.BayesianGaussianMixture", "spherical"): {"mean_precision_prior": 0.1, "degrees_of_freedom_prior": 40},
}
"""Options of mixtures, by estimator and `covariance_type`."""


@pytest.mark.parametrize(("name", "kind"), MIXTURES)
def test_the_map_of_a_mixture_is_what_it_predicts_but_for_ties(name: str, kind: str) -> None:
    """On all pixels, of which a third are sampled, in a quantity other than stored numbers."""
    image = source(dtype="uint16")
    image.info = replace(image.info, scales=(1e-3, 0.2, -3.0), offsets=(1, 0, 9), quantities=("reflectance",) * 3)
    options = {"n_components": K, "covariance_type": kind, "max_iter": 60, "tol": 0.1, **MIXTURES[name, kind]}
    model = fit_model(name, image, "zscore", k=None, options=options, pixels=400)
    spread = np.array(model.preparation.spread)
    sample, every = (image.info.units.to_physical(each.T.astype(float)) / spread for each in (
        sampled(image, 400), image.data.reshape(3, -1)
    ))  # fmt: skip
    oracle = _CLASSES[name](random_state=0, **options).fit(sample)
    assert isinstance(model, GaussianModel)
    assert model.k == options["n_components"]
    means = np.array(model.means) / spread
    component = ((means[:, np.newaxis] - oracle.means_) ** 2).sum(axis=2).argmin(axis=1)
    assert sorted(component) == list(range(model.k))
    labels = model.labeller(image.info)(image.data, image.valid).classes.ravel()
    second, first = np.sort(oracle.predict_proba(every), axis=1).T[-2:]
    clear = first - second > 1e-6
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(component[labels[clear] - 1], oracle.predict(every)[clear])
    given = model.labeller(image.info, frozenset({"class", "confidence"}))(image.data, image.valid)
    np.testing.assert_allclose(given.confidence.ravel(), first, atol=1e-3)


def test_weights_of_a_mixture_are_its_own_and_dead_classes_are_told(caplog: pytest.LogCaptureFixture) -> None:
    rows = sampled(source(), PIXELS).T.astype(float)
    oracle = sklearn.mixture.GaussianMixture(K, random_state=0).fit(rows)
    model = fit_model("mixture.GaussianMixture", source())
    np.testing.assert_allclose(sorted(model.weights), sorted(oracle.weights_), rtol=1e-9)
    assert "died out" not in caplog.text
    few = {"n_components": 20, "weight_concentration_prior": 1e-4, "covariance_type": "spherical", "tol": 1.0}
    model = fit_model("mixture.BayesianGaussianMixture", source(), k=None, options=few)
    dead = [each.id for each in model.classes if not each.pixels]
    assert min(model.weights) == 0
    assert f"fit.options.n_components: {len(dead)} of the 20 classes died out (" in caplog.text
    assert ClusterModel.from_json(model.to_json()) == model


def test_a_mixture_with_a_singular_covariance_is_held_as_labelled_pixels(caplog: pytest.LogCaptureFixture) -> None:
    twice = source()
    twice.data[2] = twice.data[1]
    model = fit_model("mixture.GaussianMixture", twice, options={"reg_covar": 1e-12})
    assert model.kind == "prototypes"
    assert "fit.estimator: mixture.GaussianMixture: the covariance of a class is singular" in caplog.text


def test_labelled_pixels_are_the_first_that_differ_and_one_of_each_class() -> None:
    rng = np.random.default_rng(0)
    points = rng.integers(0, 200, (3 * MOST_POINTS, 2)).astype(float)
    labels = rng.integers(0, 4, len(points))
    labels[points[:, 0] < 30] = -1
    labels[-1], points[-1] = 4, (100, 500)
    chosen = labelled_pixels(points, labels)
    assert len(chosen.points) == MOST_POINTS
    assert len(np.unique(chosen.points, axis=0)) == MOST_POINTS
    assert set(chosen.classes.tolist()) == {-1, 0, 1, 2, 3, 4}
    first = list(dict.fromkeys(map(tuple, points.tolist())))
    assert [tuple(p) for p in chosen.points.tolist()] == [*first[: MOST_POINTS - 1], (100.0, 500.0)]


def test_a_class_whose_only_pixel_would_make_room_for_another_is_held() -> None:
    labels = np.zeros(2 * MOST_POINTS, np.intp)
    labels[MOST_POINTS - 1], labels[-1] = 1, 2
    chosen = labelled_pixels(np.arange(2.0 * MOST_POINTS)[:, np.newaxis], labels)
    assert len(chosen.points) == MOST_POINTS
    assert set(chosen.classes.tolist()) == {0, 1, 2}


def test_k_is_given_on_unless_an_option_says_it() -> None:
    def wanted(**settings: Any) -> Any:
        return FIT.parse({"method": "sklearn", **settings}, "test").parameters

    assert wanted()["n_clusters"] == 8
    assert wanted(k=5)["n_clusters"] == 5
    assert wanted(options={"n_clusters": 7})["n_clusters"] == 7
    assert wanted(options={"n_clusters": None})["n_clusters"] is None
    for odd, said in (({"n_clusters": 7}, "k is 5, but options.n_clusters is 7"), ({"n_clusters": None}, "is None")):
        with pytest.raises(ConfigError, match=said):
            wanted(k=5, options=odd)
    with pytest.raises(ConfigError, match=r"options.n_clusters: 'auto' is not allowed"):
        wanted(options={"n_clusters": "auto"})
    assert wanted(estimator="mixture.GaussianMixture", k=5) == {"n_components": 5}
    assert wanted(estimator="cluster.SpectralClustering", k=5) == {"n_clusters": 5}
    assert wanted(estimator="cluster.DBSCAN", options={"eps": 3}) == {"eps": 3}
    agglomerative = {"estimator": "cluster.AgglomerativeClustering", "options": {"distance_threshold": 2.0}}
    assert wanted(**agglomerative) == {"distance_threshold": 2.0, "n_clusters": None}


def test_noise_of_an_estimator_with_centroids_is_unclassified_too() -> None:
    scene = source()
    options = {"bandwidth": 25.0, "cluster_all": False}
    config = FIT.parse({"method": "sklearn", "estimator": "cluster.MeanShift", "options": options}, "test")
    model = fit_source(
        scene, config, FeaturesConfig(standardize="none"), executor=ThreadExecutor(1), progress=Progress()
    ).model
    labels = model.labeller(scene.info)(scene.data, scene.valid).classes
    assert model.leaves_unclassified == bool((labels == 255).any())


def test_a_distance_takes_the_place_of_k() -> None:
    options = {"distance_threshold": 400.0}
    model = fit_model("cluster.AgglomerativeClustering", source(), options=options, k=None)
    rows = sampled(source(), PIXELS).T.astype(np.float64)
    oracle = sklearn.cluster.AgglomerativeClustering(n_clusters=None, distance_threshold=400.0).fit(rows)
    assert model.k == oracle.n_clusters_


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"estimator": "cluster.Brich"}, r"^test: estimator: 'cluster.Brich' is not allowed; expected a clusterer of"),
        ({"estimator": "cluster.FeatureAgglomeration"}, "estimator: 'cluster.FeatureAgglomeration' is not allowed"),
        ({"estimator": "decomposition.PCA"}, "expected a clusterer of scikit-learn: cluster.AffinityPropagation, "),
        ({"estimator": "os.system"}, "'os.system' is not allowed"),
        ({"estimator": ["cluster.Birch"]}, "estimator: a list of 1 is not allowed"),
        ({"options": ["eps"]}, "options: a list of 1 is not allowed; expected a mapping of parameters"),
        ({"options": None}, "options: None is not allowed; expected a mapping of parameters"),
        (
            {"options": {"treshold": 1}},
            r"^test: options: cluster.Birch has no option 'treshold' here; did you mean threshold\? allowed: ",
        ),
        ({"options": {"memory": "cache"}}, "has no option 'memory' here; allowed: "),
        ({"options": {"n_jobs": 4}}, "has no option 'n_jobs' here; allowed: "),
        ({"options": {"threshold": {"a": 1}}}, "options: threshold: a dict is not allowed; expected a number, a text"),
        ({"options": {"threshold": len}}, "threshold: a builtin_function_or_method is not allowed"),
        (
            {"estimator": "cluster.DBSCAN", "options": {"metric": "precomputed"}},
            "options: metric: precomputed takes distances instead of pixels; choose another, or leave it out",
        ),
        ({"options": {"n_clusters": 300}}, "options.n_clusters is 300; expected a number of classes, 2 to 254"),
        (
            {"estimator": "cluster.DBSCAN", "k": 5},
            "cluster.DBSCAN finds the number of classes by itself and takes no k;",
        ),
        ({"k": 1}, "k: 1 is not allowed; expected the number of classes of an estimator that takes it, a whole number"),
        ({"pixels": 5}, "5 sampled pixels are too few for 8 classes; raise fit.pixels"),
    ],
)
def test_settings_that_can_not_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        FIT.parse({"method": "sklearn", **settings}, "test")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "cluster.DBSCAN",
            {"eps": 1e6},
            "found 1 class in 800 sampled pixels; a map has 2 to 254: change fit.options",
        ),
        ("cluster.DBSCAN", {"eps": 1e-3}, "found 0 classes in 800 sampled pixels, and 100% of them noise; a map has"),
        ("cluster.MeanShift", {"bandwidth": 1.5}, r"found \d{3,4} classes in 800 sampled pixels; a map has 2 to 254"),
        ("cluster.KMeans", {"init": [[1.0, 2.0]]}, "^fit.estimator: cluster.KMeans: .*; see fit.options$"),
    ],
)
def test_what_only_the_fit_shows_is_one_sentence(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(FitError, match=message) as caught:
        fit_model(name, source(), options=options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("cluster.DBSCAN", {"eps": "wide"}, "eps: 'wide' is not allowed; expected a float in the range"),
        ("cluster.KMeans", {"max_iter": 0}, "max_iter: 0 is not allowed; expected an int in the range"),
        ("cluster.OPTICS", {"max_eps": None}, "max_eps: null is not allowed; expected a float in the range"),
        ("mixture.GaussianMixture", {"covariance_type": "round"}, "covariance_type: 'round' is not allowed; expected"),
    ],
)
def test_values_of_options_are_checked_before_a_pixel_is_read(
    name: str, options: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemorySource, "read", lambda *_: pytest.fail("a block was read"))
    with pytest.raises(ConfigError, match=rf"^fit\.options\.{said}.*\({name}\)$") as caught:
        fit_model(name, source(), options=options)
    assert "\n" not in str(caught.value)
    if name == "cluster.DBSCAN":
        settings = {"method": "sklearn", "estimator": name, "options": options}
        config = {"version": 1, "scene": {"source": "none.tif"}, "output": {"labels": "o.tif"}, "fit": settings}
        with pytest.raises(ConfigError, match=said):
            check_outputs(RunConfig.model_validate(config))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": "manhattan"}, "metric: manhattan is not allowed with linkage: ward; choose euclidean, or linkage:"),
        ({"distance_threshold": 0.5, "n_clusters": K}, "distance_threshold: give either this or a number of classes"),
        ({"n_clusters": None}, "distance_threshold: give either this or a number of classes"),
    ],
)
def test_options_that_exclude_each_other_are_refused_early(options: dict[str, Any], said: str) -> None:
    settings = settings_of("cluster.AgglomerativeClustering", k=None, options=options)
    with pytest.raises(ConfigError, match=rf"^fit\.options\.{re.escape(said)}"):
        check_options(settings)
    with pytest.raises(ValueError):  # noqa: PT011 (of scikit-learn, in its words)
        _CLASSES[settings.estimator](**settings.parameters).fit([[0.0], [1.0], [3.0], [7.0]])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_no_option_that_an_estimator_takes_is_refused_early(name: str) -> None:
    check_options(settings_of(name))
    defaults = {
        key: value for key, value in _CLASSES[name]().get_params().items() if key in ESTIMATORS[name].options.split()
    }
    plain = {key: value for key, value in defaults.items() if value is None or isinstance(value, int | float | str)}
    plain.pop(ESTIMATORS[name].k, None)
    check_options(settings_of(name, options=plain))


def test_too_many_sub_clusters_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.methods.sklearn_estimator.MOST_POINTS", 200)
    with pytest.raises(
        FitError, match=r"^fit\.options\.threshold: 0\.5 gives \d+ sub-clusters, of at most 200; raise it"
    ):
        fit_model("cluster.Birch", source(), options={"threshold": 0.5})


def test_warnings_of_scikit_learn_are_lines_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    fit_model("mixture.GaussianMixture", source(), options={"max_iter": 1, "tol": 1e-12})
    (line,) = [each for each in caplog.messages if each.startswith("fit.estimator: mixture.GaussianMixture: ")]
    assert "converge" in line


@pytest.mark.parametrize(
    ("pixels", "level"), [(None, logging.INFO), (20_000, logging.WARNING), ("100%", logging.WARNING)]
)
def test_a_sample_is_no_larger_than_the_estimator_bears(
    pixels: Any, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    scene = MemorySource(np.random.default_rng(0).integers(0, 255, (2, 60, 60), np.uint8))
    asked = {} if pixels is None else {"pixels": pixels}
    options = {"estimator": "cluster.MeanShift", "options": {"bandwidth": 90, "bin_seeding": True}}
    config = FIT.parse({"method": "sklearn", **options, **asked}, "test")
    model = fit_source(
        scene, config, FeaturesConfig(standardize="none"), executor=ThreadExecutor(2), progress=Progress()
    ).model
    assert model.fitting.sampled_pixels == ESTIMATORS["cluster.MeanShift"].pixels == 2000
    (record,) = [each for each in caplog.records if "the most that it bears" in each.getMessage()]
    assert record.levelno == level
    assert record.getMessage().startswith("fit.pixels: cluster.MeanShift is fitted on 2000 sampled pixels, the most")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_default_plan_has_room_for_the_largest_sample(name: str) -> None:
    """Within 2 GB, for four 16-bit bands, with the program and a few small blocks."""
    info = MemorySource(np.zeros((4, 3000, 3000), np.uint16)).info
    needs = sklearn_needs(info, settings_of(name, pixels=500_000), Work(chunk=(512, 512), blocks=36, workers=2))
    assert PROGRAM.beside(needs).memory + 30e6 < 2e9
