"""Clusterers of scikit-learn: fitted on the sample, then stored as Gaussians, prototypes or labelled pixels."""

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from textwrap import shorten
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn import cluster, config_context, mixture
from threadpoolctl import threadpool_limits

from pipeline.core.errors import ConfigError, FitError, TerrazzoError
from pipeline.kernels.distances import own_distances
from pipeline.kernels.mixture import Gaussians, is_regular
from pipeline.methods.estimators import CHUNK_MEGABYTES, MOST_POINTS, SklearnSettings
from pipeline.methods.gaussian_classes import result_of_gaussians
from pipeline.methods.method import FitInput, FitResult
from pipeline.methods.settings import MAX_CLASSES
from pipeline.models.classes import UNCLASSIFIED, brightness_order
from pipeline.models.prototypes import NearestPoint, Prototypes

logger = logging.getLogger(__name__)

Rows = npt.NDArray[np.float64]
"""Points in units of distances: the quantity divided by the spread of each band, shape (point, band)."""

_CLASSES: Final[dict[str, Any]] = {
    "cluster.AffinityPropagation": cluster.AffinityPropagation,
    "cluster.AgglomerativeClustering": cluster.AgglomerativeClustering,
    "cluster.Birch": cluster.Birch,
    "cluster.BisectingKMeans": cluster.BisectingKMeans,
    "cluster.DBSCAN": cluster.DBSCAN,
    "cluster.HDBSCAN": cluster.HDBSCAN,
    "cluster.KMeans": cluster.KMeans,
    "cluster.MeanShift": cluster.MeanShift,
    "cluster.MiniBatchKMeans": cluster.MiniBatchKMeans,
    "cluster.OPTICS": cluster.OPTICS,
    "cluster.SpectralClustering": cluster.SpectralClustering,
    "mixture.BayesianGaussianMixture": mixture.BayesianGaussianMixture,
    "mixture.GaussianMixture": mixture.GaussianMixture,
}
"""The class of each estimator of `methods.estimators.ESTIMATORS`."""

_MIXTURES: Final = mixture.GaussianMixture, mixture.BayesianGaussianMixture

_WRONG_VALUE: Final = re.compile(
    r"The '(?P<key>\w+)' parameter of \w+ must be (?P<allowed>.*)\. Got (?P<got>.*) instead\."
)
"""What scikit-learn says of a parameter with a value that is not allowed."""

_YAML_WORDS: Final = {"None": "null", "True": "true", "False": "false"}

_LONGEST_MESSAGE: Final = 300
"""Largest number of characters that are told of an error of scikit-learn."""


class Found(NamedTuple):
    """What an estimator found in the sample."""

    labels: npt.NDArray[np.intp]
    """Class of each sampled pixel, numbered from 0 in any order, shape (point,); below 0 is noise."""
    prototypes: tuple[Rows, npt.NDArray[np.intp]] | None
    """Centroids or sub-clusters, and the class of each, if a pixel is of the class of the nearest; None if there are
    none."""
    iterations: int
    """Number of iterations, 1 if it has none."""
    gaussians: Gaussians | None = None
    """Gaussians, if a pixel is of the class of the most probable one."""


class LabelledPoints(NamedTuple):
    """Points, and the class of each."""

    points: npt.NDArray[np.float64]
    """Points in the quantity of the model, shape (point, band)."""
    classes: npt.NDArray[np.intp]
    """Class of each, numbered from 0, or -1 for noise, shape (point,)."""


def fit_estimator(given: FitInput[SklearnSettings]) -> FitResult:
    """Fit the estimator to the sample, and make a model of it: Gaussians, or points of which the nearest decides."""
    settings, units = given.settings, given.units
    _log_sample(given)
    spread = units.difference_factors / given.preparation.factors
    quantity = units.to_physical(given.points.T.astype(np.float64))
    with given.progress.stage("fit", 1) as step:
        found = find_classes(settings, quantity / spread)
        step()
    labels, k = _numbered(settings, found.labels)
    if found.gaussians:
        gaussians = found.gaussians.moved(np.zeros(1), spread)
        if is_regular(gaussians):
            return result_of_gaussians(given, gaussians, found.iterations, settings.key_of_k)
        logger.warning(
            "fit.estimator: %s: the covariance of a class is singular, as some of its bands determine another; its map "
            "is by the nearest sampled pixel; raise fit.options.reg_covar",
            settings.estimator,
        )
    if found.prototypes and not (labels < 0).any():
        rows, classes = found.prototypes
        known = np.isin(classes, np.unique(found.labels))
        chosen = LabelledPoints(rows[known] * spread, np.unique(classes[known], return_inverse=True)[1])
    else:
        chosen = labelled_pixels(quantity, labels)
    return _result(given, chosen, k, labels, found.iterations)


def find_classes(settings: SklearnSettings, rows: Rows) -> Found:
    """Fit an estimator to points, on one thread: several add up sums in the order in which they end."""
    one_thread, chunks = threadpool_limits(limits=1), config_context(working_memory=CHUNK_MEGABYTES)
    with _told(settings.estimator, FitError), one_thread, chunks:
        estimator = _estimator_of(settings)
        if isinstance(estimator, cluster.Birch):
            return _fit_birch(estimator, rows)
        labels = estimator.fit_predict(rows)
        iterations = int(getattr(estimator, "n_iter_", 1))
        if isinstance(estimator, _MIXTURES):
            return Found(labels, None, iterations, gaussians_of(estimator))
    centres = getattr(estimator, "cluster_centers_", None)
    if centres is None:
        return Found(labels, None, iterations)
    return Found(labels, (np.asarray(centres, np.float64), np.arange(len(centres))), iterations)


def _estimator_of(settings: SklearnSettings) -> Any:
    """Make the estimator with its parameters; their values are not checked yet."""
    parameters, estimator = settings.parameters, _CLASSES[settings.estimator]()
    if "random_state" in estimator.get_params():
        parameters["random_state"] = settings.seed
    if isinstance(estimator, cluster.HDBSCAN):
        parameters["copy"] = True  # it warns that its default will change
    return estimator.set_params(**parameters)


def check_options(settings: SklearnSettings) -> None:
    """Raise ConfigError for options whose values the estimator refuses, whatever the pixels; `fit` checks all again."""
    options = settings.parameters
    if settings.estimator == "cluster.AgglomerativeClustering":
        _check_agglomerative(options)
    with _told(settings.estimator, ConfigError):
        # scikit-learn names this method for developers of estimators, and may rename it
        validate = getattr(_estimator_of(settings), "_validate_params", None)
        if validate:
            validate()


def _check_agglomerative(options: Mapping[str, Any]) -> None:
    """Raise ConfigError for options that AgglomerativeClustering does not take together."""
    metric = options.get("metric", "euclidean")
    if options.get("linkage", "ward") == "ward" and metric != "euclidean":
        msg = f"fit.options.metric: {metric} is not allowed with linkage: ward; choose euclidean, or linkage: average"
        raise ConfigError(msg)
    if (options.get("n_clusters") is None) == (options.get("distance_threshold") is None):
        msg = "fit.options.distance_threshold: give either this or a number of classes (fit.k), and not the other"
        raise ConfigError(msg)


def gaussians_of(estimator: Any) -> Gaussians:
    """Gaussians of a fitted mixture, of which the most probable one at a point is the class that the mixture predicts.

    What each adds to the log density at its own mean is taken from the mixture itself, and gives the weight: of
    BayesianGaussianMixture it is not the share of the class, but with its uncertainty.
    """
    means = np.asarray(estimator.means_, np.float64)
    covariances = _full_matrices(estimator.covariances_, estimator.covariance_type, means.shape)
    with np.errstate(divide="ignore"):  # a class without any weight
        peaks = np.log(np.diagonal(estimator.predict_proba(means))) + estimator.score_samples(means)
    logs = peaks + np.linalg.slogdet(covariances)[1] / 2
    weights = np.exp(logs - logs.max())
    return Gaussians(means, covariances, weights / weights.sum())


def _full_matrices(covariances: Any, kind: str, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Covariances of a mixture of any `covariance_type` as full, symmetric matrices, shape (class, band, band)."""
    given = np.asarray(covariances, np.float64)
    if kind in {"full", "tied"}:
        return np.broadcast_to((given + given.swapaxes(-1, -2)) / 2, (*shape, shape[1]))
    variances = given if kind == "diag" else given[:, np.newaxis]
    return np.broadcast_to(variances, shape)[:, :, np.newaxis] * np.eye(shape[1])


def _fit_birch(estimator: Any, rows: Rows) -> Found:
    """Fit Birch: first its sub-clusters, then classes of these, for which it compares all pairs of them."""
    classes = estimator.n_clusters
    estimator.set_params(n_clusters=None, compute_labels=False).fit(rows)
    count = len(estimator.subcluster_centers_)
    if count > MOST_POINTS:
        msg = (
            f"fit.options.threshold: {estimator.threshold:g} gives {count} sub-clusters, of at most {MOST_POINTS}; "
            "raise it, or see features.standardize"
        )
        raise FitError(msg)
    if classes is not None:
        estimator.set_params(n_clusters=classes).partial_fit()
    subclusters = np.asarray(estimator.subcluster_centers_, np.float64), np.asarray(estimator.subcluster_labels_)
    return Found(estimator.predict(rows), subclusters, 1)


@contextmanager
def _told(name: str, kind: type[TerrazzoError]) -> Iterator[None]:
    """Tell warnings of scikit-learn in the log, and its errors as those of a kind."""
    try:
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            yield
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, NotImplementedError) as error:
        value = _WRONG_VALUE.fullmatch(str(error))
        if value:
            said = _one_line(f"{_as_in_yaml(value['got'])} is not allowed; expected {_as_in_yaml(value['allowed'])}")
            msg = f"fit.options.{value['key']}: {said} ({name})"
        else:
            msg = f"fit.estimator: {name}: {_one_line(error)}; see fit.options"
        raise kind(msg) from error
    for text in dict.fromkeys(_one_line(each.message) for each in raised):
        logger.warning("fit.estimator: %s: %s", name, text)


def _as_in_yaml(python: str) -> str:
    """Text of scikit-learn with Python's words for values as YAML has them."""
    return re.sub(r"\b(None|True|False)\b", lambda word: _YAML_WORDS[word[0]], python)


def _one_line(message: object) -> str:
    return shorten(str(message), _LONGEST_MESSAGE, placeholder=" ...").rstrip(".")


def _log_sample(given: FitInput[SklearnSettings]) -> None:
    """Say that the estimator bears no larger sample, as a warning if the config asks for one."""
    settings, count = given.settings, given.points.shape[1]
    if count >= settings.record.pixels and settings.pixels != count:
        level = logging.WARNING if "pixels" in settings.model_fields_set else logging.INFO
        logger.log(
            level,
            "fit.pixels: %s is fitted on %d sampled pixels, the most that it bears, instead of %s",
            settings.estimator,
            count,
            settings.pixels,
        )


def _numbered(settings: SklearnSettings, labels: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.intp], int]:
    """Number the classes from 0 without gaps; return labels, -1 for noise, and the number of classes.

    Raises
    ------
    FitError
        If there are too few or too many for a map.
    """
    known = labels >= 0
    present, numbers = np.unique(labels[known], return_inverse=True)
    out = np.full(len(labels), -1, np.intp)
    out[known] = numbers
    if not 2 <= len(present) <= MAX_CLASSES:  # noqa: PLR2004
        noise = f", and {np.mean(~known):.0%} of them noise" if not known.all() else ""
        count = "1 class" if len(present) == 1 else f"{len(present)} classes"
        options = settings.record.options.replace(" ", ", ")
        msg = (
            f"fit.estimator: {settings.estimator} found {count} in {len(labels)} sampled pixels{noise}; "
            f"a map has 2 to {MAX_CLASSES}: change fit.options ({options}), or features.standardize"
        )
        raise FitError(msg)
    if not known.all():
        logger.info(
            "sklearn: %d of %d sampled pixels are noise: unclassified (%d), as are pixels that are nearest to them",
            np.count_nonzero(~known),
            len(labels),
            UNCLASSIFIED,
        )
    return out, len(present)


def labelled_pixels(quantity: npt.NDArray[np.float64], labels: npt.NDArray[np.intp]) -> LabelledPoints:
    """Choose up to `MOST_POINTS` pixels that differ, shape (point, band), the first ones, and one of each class."""
    different = np.sort(np.unique(quantity, axis=0, return_index=True)[1])
    # a class whose pixels all equal those of another is kept, too, though it has none in the map
    first_of_class = np.unique(labels, return_index=True)[1]
    others = np.setdiff1d(different, first_of_class)
    chosen = np.union1d(first_of_class, others[: MOST_POINTS - len(first_of_class)])
    return LabelledPoints(quantity[chosen], labels[chosen])


def _result(
    given: FitInput[SklearnSettings], chosen: LabelledPoints, k: int, labels: npt.NDArray[np.intp], iterations: int
) -> FitResult:
    """Sort the classes from dark to bright by the means of their sampled pixels, and count these as the model would."""
    units, stretch = given.units, given.stretch
    stored = units.to_stored(chosen.points)
    first = [np.flatnonzero(chosen.classes == number)[0] for number in range(k)]
    means = given.means_of(_nearest(given, stored, chosen.classes), stored[first])
    order = brightness_order(means, given.info.units.quantities)
    rank = np.argsort(order)
    classes, points, single = _ranked(rank, chosen.classes), chosen.points, len(chosen.points) == k
    if single:
        in_order = np.argsort(classes)
        classes, points, stored = classes[in_order], points[in_order], stored[in_order]
    mapped, known = _nearest(given, stored, classes), labels >= 0
    agree = np.mean(rank[labels[known]] + 1 == mapped[known])
    logger.info("sklearn: the model gives %.2f %% of the sampled pixels their own class", 100 * agree)
    content: dict[str, Any] = {"centroids": tuple(map(tuple, points.tolist()))}
    if not single:
        content["classes_of_points"] = tuple(_labels_of(classes).tolist())
    return FitResult(
        kind=Prototypes,
        content=content,
        counts=np.bincount(mapped, minlength=k + 1)[1 : k + 1],
        inertia=given.preparation.unit * own_distances(given.points, mapped, stored, stretch)[1] if single else None,
        iterations=iterations,
    )


def _ranked(rank: npt.NDArray[np.intp], classes: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Number classes by their rank; noise stays -1."""
    return np.where(classes < 0, -1, rank[classes])


def _labels_of(classes: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Labels in a map of classes numbered from 0; noise is unclassified."""
    return np.where(classes < 0, UNCLASSIFIED, classes + 1)


def _nearest(
    given: FitInput[SklearnSettings], stored: npt.NDArray[np.float64], classes: npt.NDArray[np.intp]
) -> npt.NDArray[np.uint8]:
    """Class of each sampled pixel, from 1, by its nearest point, as in any map of the model, shape (point,)."""
    labeller = NearestPoint(stored, given.preparation, np.array([0, *_labels_of(classes)], np.uint8))
    planes = given.stored[:, np.newaxis]
    labels: npt.NDArray[np.uint8] = labeller(planes, np.ones(planes.shape[1:], np.bool_)).classes[0]
    return labels
