"""Clusterers of scikit-learn (`fit.method: sklearn`): which are allowed, with which options, and what they take.

Nothing of scikit-learn is imported here. An estimator is chosen from this table by its name, never looked up by it.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from pipeline.core.needs import Library, Needs, Work
from pipeline.core.scene_info import SceneInfo
from pipeline.core.text import kind_words
from pipeline.methods.gaussian_classes import GAUSSIAN_KERNELS
from pipeline.methods.method import Method
from pipeline.methods.settings import MAX_CLASSES, SampleOnlySettings, sample_bytes

SCIKIT_LEARN: Final = Library("scikit-learn", 197 * 10**6)
"""Measured as that of the program itself (decision 18)."""

MOST_POINTS: Final = 5_000
"""Largest number of labelled pixels, or sub-clusters, that a model holds."""

CHUNK_MEGABYTES: Final = 16
"""Memory for distances that scikit-learn computes a part at a time, in MiB; its own default is 1024."""

_DEFAULT_K: Final = 8
"""Number of classes if neither `k` nor an option says it, as that of the other methods."""

_LEAST: Final = 2
"""Least number of classes of a map."""

EstimatorName = Literal[
    "cluster.AffinityPropagation",
    "cluster.AgglomerativeClustering",
    "cluster.Birch",
    "cluster.BisectingKMeans",
    "cluster.DBSCAN",
    "cluster.HDBSCAN",
    "cluster.KMeans",
    "cluster.MeanShift",
    "cluster.MiniBatchKMeans",
    "cluster.OPTICS",
    "cluster.SpectralClustering",
    "mixture.BayesianGaussianMixture",
    "mixture.GaussianMixture",
]
"""Value of `fit.estimator`: module of scikit-learn and class."""


@dataclass(frozen=True)
class Estimator:
    """What is known of a clusterer without importing it."""

    pixels: int
    """Largest number of sampled pixels that it is fitted on."""
    options: str
    """Parameters that may be set, separated by spaces. Left out are those of running it (threads, seed, caches on disk,
    what it prints), and those that take functions or matrices."""
    per_point: int
    """Bytes per sampled pixel, besides its values."""
    per_pair: float = 0
    """Bytes per pair of sampled pixels, (i, j) and (j, i) counted as two."""
    compared: int = 10**9
    """Largest number of points whose pairs are compared."""
    per_class: int = 0
    """Bytes per sampled pixel and class."""
    kernels: frozenset[Library] = frozenset()
    """Libraries besides scikit-learn, for the model."""
    k: str | None = None
    """Parameter that takes the number of classes; None if the estimator finds it."""
    instead_of_k: str | None = None
    """Option that takes the place of the number of classes."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Options with another default than that of scikit-learn."""


_KMEANS: Final = "n_clusters init n_init max_iter tol"

ESTIMATORS: Final[dict[EstimatorName, Estimator]] = {
    "cluster.AffinityPropagation": Estimator(
        2_000, "damping max_iter convergence_iter preference affinity", per_point=100, per_pair=40
    ),
    "cluster.AgglomerativeClustering": Estimator(
        10_000,
        "n_clusters metric linkage distance_threshold compute_full_tree",
        per_point=200,
        per_pair=9,
        k="n_clusters",
        instead_of_k="distance_threshold",
    ),
    "cluster.Birch": Estimator(
        50_000,
        "threshold branching_factor n_clusters",
        per_point=2_000,
        per_pair=9,
        compared=MOST_POINTS,
        k="n_clusters",
        defaults={"threshold": 0.05},  # 0.5 is larger than all classes of bands that are clipped to 0 to 1
    ),
    "cluster.BisectingKMeans": Estimator(
        500_000, f"{_KMEANS} algorithm bisecting_strategy", per_point=100, k="n_clusters"
    ),
    "cluster.DBSCAN": Estimator(10_000, "eps min_samples metric algorithm leaf_size p", per_point=200, per_pair=13.5),
    "cluster.HDBSCAN": Estimator(
        10_000,
        # without `metric` and `algorithm`: some compare all pairs, with far more memory
        "min_cluster_size min_samples cluster_selection_epsilon max_cluster_size alpha leaf_size "
        "cluster_selection_method allow_single_cluster",
        per_point=2_000,
    ),
    # without `algorithm`: elkan holds a bound per pixel and class
    "cluster.KMeans": Estimator(500_000, _KMEANS, per_point=150, k="n_clusters"),
    "cluster.MeanShift": Estimator(
        2_000, "bandwidth seeds bin_seeding min_bin_freq cluster_all max_iter", per_point=500, per_pair=9
    ),
    "cluster.MiniBatchKMeans": Estimator(
        500_000,
        f"{_KMEANS} batch_size max_no_improvement init_size reassignment_ratio",
        per_point=100,
        k="n_clusters",
    ),
    "cluster.OPTICS": Estimator(
        10_000,
        "min_samples max_eps metric p cluster_method eps xi predecessor_correction min_cluster_size algorithm "
        "leaf_size",
        per_point=1_000,
    ),
    "cluster.SpectralClustering": Estimator(
        3_000,
        "n_clusters eigen_solver n_components n_init gamma affinity n_neighbors eigen_tol assign_labels degree coef0",
        per_point=1_000,
        per_pair=40,
        k="n_clusters",
    ),
    "mixture.BayesianGaussianMixture": Estimator(
        50_000,
        "n_components covariance_type tol reg_covar max_iter n_init init_params weight_concentration_prior_type "
        "weight_concentration_prior mean_precision_prior mean_prior degrees_of_freedom_prior covariance_prior",
        per_point=200,
        per_class=45,
        kernels=frozenset([GAUSSIAN_KERNELS]),
        k="n_components",
    ),
    "mixture.GaussianMixture": Estimator(
        50_000,
        "n_components covariance_type tol reg_covar max_iter n_init init_params weights_init means_init "
        "precisions_init",
        per_point=200,
        per_class=45,
        kernels=frozenset([GAUSSIAN_KERNELS]),
        k="n_components",
    ),
}
"""The clusterers of `sklearn.cluster` and `sklearn.mixture`. FeatureAgglomeration, which clusters bands, and the
biclusterings, which cluster bands and pixels together, are not among them."""


class SklearnSettings(SampleOnlySettings):
    """Section `fit` with a clusterer of scikit-learn."""

    method: Literal["sklearn"] = Field(description="'sklearn'")
    estimator: EstimatorName = Field(
        "cluster.Birch",
        title="clusterer of scikit-learn",
        description=f"a clusterer of scikit-learn: {', '.join(get_args(EstimatorName))}",
    )
    options: dict[str, Any] = Field(
        default={},
        title="its parameters",
        description="a mapping of parameters of the estimator to numbers, texts, true, false, null, or lists of these; "
        "lengths are those after features.standardize, and the default threshold of cluster.Birch is 0.05",
    )
    k: int | None = Field(
        None,
        ge=2,
        le=MAX_CLASSES,
        title="number of classes, where the estimator takes it",
        description=f"the number of classes of an estimator that takes it, a whole number from 2 to {MAX_CLASSES}",
    )

    @field_validator("options")
    @classmethod
    def _are_known_and_plain(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Refuse options that the estimator does not have, and values other than those of YAML without mappings."""
        if "estimator" not in info.data:
            return options  # an estimator that is not allowed is said by itself
        name = info.data["estimator"]
        known = ESTIMATORS[name].options.split()
        for key, value in options.items():
            if key not in known:
                nearest = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {nearest[0]}? " if nearest else ""
                msg = f"{name} has no option {key!r} here; {hint}allowed: {', '.join(known)}"
                raise ValueError(msg)
            if not _is_plain(value):
                msg = (
                    f"{key}: {kind_words(value)} is not allowed; expected a number, a text, true, false, null or a list"
                )
                raise ValueError(msg)
            if str(value).startswith("precomputed"):
                msg = f"{key}: {value} takes distances instead of pixels; choose another, or leave it out"
                raise ValueError(msg)
        return options

    @model_validator(mode="after")
    def _fits_the_estimator(self) -> Self:
        """Refuse numbers of classes that the estimator does not take, or that are too many for the sample."""
        if self.k is not None and self.record.k is None:
            msg = f"{self.estimator} finds the number of classes by itself and takes no k; leave fit.k out"
            raise ValueError(msg)
        said = self.options.get(self.record.k or "", self.k)
        if self.k is not None and said != self.k:
            msg = f"k is {self.k}, but options.{self.record.k} is {said!r}; leave one of them out"
            raise ValueError(msg)
        if self.record.k in self.options and not (said is None or type(said) is int):
            msg = f"options.{self.record.k}: {said!r} is not allowed; expected a number of classes, or null"
            raise ValueError(msg)
        wanted = _LEAST if self.wanted is None else self.wanted
        if not _LEAST <= wanted <= MAX_CLASSES:
            msg = f"options.{self.record.k} is {wanted}; expected a number of classes, 2 to {MAX_CLASSES}"
            raise ValueError(msg)
        if isinstance(self.pixels, int) and self.pixels < wanted:
            msg = f"{self.pixels} sampled pixels are too few for {wanted} classes; raise fit.pixels"
            raise ValueError(msg)
        return self

    @classmethod
    def without_those_of_others(
        cls, given: Mapping[str, Any], changes: Mapping[str, Any]
    ) -> tuple[dict[str, Any], str]:
        """Drop `k` and options of the file's estimator that another one does not have."""
        named = {str(name): record for name, record in ESTIMATORS.items()}
        name, kept, options = str(changes.get("estimator")), dict(given), given.get("options")
        old, new = (named.get(each) for each in (str(given.get("estimator", "cluster.Birch")), name))
        if old and new and old.k and not new.k:
            kept.pop("k", None)
        elif old and new and isinstance(options, dict) and old.k not in {None, new.k} and options.get(old.k):
            kept["k"] = options[old.k]  # its own name for the number of classes is dropped below
        if old and new and isinstance(options, dict):
            others = set(old.options.split()) - set(new.options.split())
            kept["options"] = {key: value for key, value in options.items() if key not in others}
        return kept, f"fit.estimator: {name}"

    @property
    def record(self) -> Estimator:
        """What is known of the estimator."""
        return ESTIMATORS[self.estimator]

    def sampled_among(self, valid: int) -> int:
        """Number of pixels to sample from a scene with so many valid ones, no more than the estimator bears."""
        return min(super().sampled_among(valid), self.record.pixels)

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of the estimator: the options, and the number of classes unless they say it."""
        record = self.record
        options = {**record.defaults, **self.options}
        if record.k is None or record.k in options:
            return options
        replaced = record.instead_of_k is not None and self.options.get(record.instead_of_k) is not None
        k = self.k if self.k is not None or replaced else _DEFAULT_K
        return {**options, record.k: k}

    @property
    def wanted(self) -> int | None:
        """Number of classes that the estimator is asked for; None if it finds the number."""
        k = self.parameters.get(self.record.k or "")
        return k if type(k) is int else None

    @property
    def key_of_k(self) -> str:
        """Setting that says the number of classes of an estimator that takes it."""
        return f"fit.options.{self.record.k}" if self.record.k in self.options else "fit.k"


def _is_plain(value: object) -> bool:
    """Whether a value is a number, a text, a boolean, nothing, or a list of these; lists may hold lists."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def sklearn_classes(settings: SklearnSettings) -> tuple[int, int]:
    """Least and largest number of classes: estimators that are asked for k may find fewer that differ."""
    return _LEAST, settings.wanted or MAX_CLASSES


def sklearn_needs(info: SceneInfo, settings: SklearnSettings, work: Work) -> Needs:
    """Needs of the sample, of its copies as float64, and of the estimator; it runs on one thread."""
    del work
    points, estimator = settings.sampled_of(info), settings.record
    per_point = 4 * 8 * len(info.bands) + estimator.per_point + estimator.per_class * (settings.wanted or 0)
    fitting = points * per_point + round(min(points, estimator.compared) ** 2 * estimator.per_pair)
    held = 2 * sample_bytes(info, settings) + CHUNK_MEGABYTES * 2**20
    return Needs(fixed=held + fitting, libraries=estimator.kernels | {SCIKIT_LEARN})


SKLEARN: Final = Method(
    name="sklearn",
    description="any clusterer of scikit-learn, such as cluster.Birch",
    settings=SklearnSettings,
    same_bits=False,
    classes=sklearn_classes,
    needs=sklearn_needs,
    function="pipeline.methods.sklearn_estimator:fit_estimator",
    check="pipeline.methods.sklearn_estimator:check_options",
)
