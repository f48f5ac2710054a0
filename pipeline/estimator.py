"""The scikit-learn face of `fit`: an estimator for arrays of samples, and for scenes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import xarray as xr
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from pipeline.api import fit
from pipeline.config.schema import Standardize
from pipeline.core.errors import ConfigError, ModelError
from pipeline.core.grid import Block
from pipeline.core.pixels import Pixels
from pipeline.core.scene_info import SceneInfo
from pipeline.dataarrays.computing import Computer
from pipeline.dataarrays.source import blocks_of
from pipeline.engine.executor import ThreadExecutor, count_workers
from pipeline.jobs.config import FIT
from pipeline.labels.lazy import label, measure
from pipeline.labels.measures import log_sum, measure_of
from pipeline.methods.settings import DistanceSettings
from pipeline.models.base import ClusterModel
from pipeline.models.classes import UNCLASSIFIED
from pipeline.models.gaussians import GaussianModel
from pipeline.models.prototypes import Prototypes
from pipeline.pixels.table import PixelTable

Scene = xr.DataArray | xr.Dataset
Rows = Any
"""Samples: array-like of shape (n_samples, n_features), also a pandas DataFrame."""


def _takes_distances(estimator: "ClusterEstimator") -> bool:
    """Whether the classes of an estimator are points, as far as its method says before the fit."""
    if model := getattr(estimator, "model_", None):
        return isinstance(model, Prototypes)
    record = FIT.record_of({"method": estimator.method})
    return record is not None and issubclass(record, DistanceSettings)


def _has_densities(estimator: "ClusterEstimator") -> bool:
    """Whether the classes of an estimator are Gaussians, as far as its method says before the fit."""
    if model := getattr(estimator, "model_", None):
        return isinstance(model, GaussianModel)
    return "covariance" in getattr(FIT.record_of({"method": estimator.method}), "model_fields", ())


@dataclass(eq=False, repr=False)
class ClusterEstimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):  # type: ignore[misc]
    """Unsupervised classes by `fit`, as an estimator of scikit-learn.

    X is an array of samples, as everywhere in scikit-learn, or a scene: a DataArray (band, y, x) or Dataset of bands.

    - **Arrays**: shape (n_samples, n_features), array-like of numbers, or a DataFrame. Labels are an array of int32, 0
      to k - 1; -1 for samples with NaN, which take no part in the fit, and for samples in no class, such as noise.
      The model is that of `fit` for a scene of these numbers with one column of n_samples pixels.
    - **Scenes**: labels are a lazy DataArray of uint8, 1 to k, 0 for nodata and 255 for pixels in no class, as those of
      `label`. Nothing is computed but by `fit` and `score`.

    Label i of an array and label i + 1 of a scene are the same class; classes are ordered from dark to bright.

    Parameters
    ----------
    k : int, optional
        Number of classes; 8 by default.
    method : str, default 'kmeans'
        The method, as for `fit`.
    standardize : 'clip', 'none', 'zscore', 'minmax', 'robust' or mapping, default 'clip'
        What is done with each feature before distances are taken. `KMeans` of scikit-learn does nothing: 'none'.
    pixels, seed, starts, init, max_iter, tol, ...
        All other arguments of `fit`, which describes them, with the same defaults. A sample of an array is a pixel.

    Attributes
    ----------
    model_ : ClusterModel
        The model, which `label`, `predict` of this package and the command take, too.
    labels_ : ndarray of int32, shape (n_samples,)
        Labels of the samples of an array. A scene has none: `predict(scene)` gives them lazily.
    cluster_centers_ : ndarray of float64, shape (k, n_features)
        Centres of the classes in the quantity of X: reflectance of a scene whose scale is known, else the numbers. With
        `indices` or `texture` there are columns for these, too.
    inertia_ : float or None
        Sum of squared distances to the centres, in standardized units, of the samples or pixels that the model was
        fitted on; None if the method has no distances.
    counts_ : ndarray of int64, shape (k,)
        Number of these samples or pixels per class.
    n_iter_ : int
        Number of iterations of the best start, or of passes over all pixels.
    n_features_in_ : int
        Number of features, or bands of the scene.
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Names of the columns of a DataFrame, or of the bands of a scene.

    Notes
    -----
    `transform` and `score` are in standardized units, so scores are comparable only between fits of the same
    `standardize`, `weights`, `pca` and features. Distances of a class with several points are those to the nearest.

    Examples
    --------
    >>> import numpy as np
    >>> from pipeline import ClusterEstimator
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> ClusterEstimator(k=2, standardize="none").fit_predict(X).tolist()
    [0, 0, 0, 1, 1, 1]
    """

    k: int | None = None
    method: str = "kmeans"
    pixels: int | str | None = None
    seed: int = 0
    stratify: Literal["none", "blocks"] | None = None
    starts: int | None = None
    init: str | Path | Sequence[Sequence[float]] | npt.NDArray[Any] | ClusterModel | None = None
    max_iter: int | None = None
    tol: float | None = None
    ridge: float | None = None
    covariance: Literal["full", "diag"] | None = None
    steps: int | None = None
    scale: Literal["auto", "none"] = "auto"
    standardize: Standardize | Mapping[str, Sequence[float]] = "clip"
    min_size: int | str | None = None
    weights: Mapping[str, float] | None = None
    indices: Sequence[str] = ()
    assume: Literal["stated", "reflectance"] = "stated"
    bins: int | None = None
    by: Literal["equal", "quantile", "natural"] | None = None
    edges: Sequence[float] | None = None
    outside: Literal["unclassified", "extend", "nodata"] | None = None
    k_min: int | None = None
    k_max: int | None = None
    max_std: float | Literal["auto"] | None = None
    min_distance: float | Literal["auto"] | None = None
    estimator: str | None = None
    options: Mapping[str, Any] | None = None
    smooth: int | None = None
    unit_norm: bool = False
    pca: float | None = None
    texture: Mapping[str, Any] | None = None
    workers: int | Literal["auto"] = "auto"
    cache_dir: str | Path | None = None
    progress: bool = False

    def fit(self, X: Rows | Scene, y: object = None) -> "ClusterEstimator":  # noqa: N803 (scikit-learn's name)
        """Find the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), DataArray (band, y, x) or Dataset
            The samples, or a scene.
        y : ignored

        Returns
        -------
        ClusterEstimator
            This estimator.

        Raises
        ------
        ValueError
            If an array is not one of finite numbers or NaN.
        TerrazzoError
            As `fit`.
        """
        del y
        for earlier in {"model_", "labels_", "feature_names_in_"} & set(vars(self)):
            delattr(self, earlier)
        arguments = self.get_params(deep=False)
        if isinstance(X, Scene):
            self.model_ = fit(X, **arguments)
            self.feature_names_in_ = np.array(self.model_.scene_bands, object)
            self.n_features_in_ = len(self.feature_names_in_)
        else:
            self._check_columns()
            table = self._table(X, reset=True)
            self.model_ = fit(table, **arguments)
            self.labels_ = self._labels(table)
        self.cluster_centers_ = self.model_.centres
        self.counts_ = np.array(self.model_.counts, np.int64)
        self.inertia_ = self.model_.inertia
        self.n_iter_ = self.model_.fitting.iterations
        return self

    def predict(self, X: Rows | Scene) -> npt.NDArray[np.int32] | xr.DataArray:  # noqa: N803
        """Return the labels of samples, shape (n_samples,), or of a scene, a lazy DataArray (y, x).

        Raises
        ------
        ModelError
            If the bands or units of a scene don't fit the model.
        """
        check_is_fitted(self)
        return label(X, self.model_) if isinstance(X, Scene) else self._labels(self._table(X))

    def fit_predict(self, X: Rows | Scene, y: object = None) -> npt.NDArray[np.int32] | xr.DataArray:  # noqa: N803
        """Find the classes of samples or of a scene, and return its labels as `predict` does."""
        self.fit(X, y)
        return self.predict(X) if isinstance(X, Scene) else self.labels_

    def transform(self, X: Rows | Scene) -> npt.NDArray[np.float64] | xr.DataArray:  # noqa: N803
        """Return the distance to each class, in standardized units; there is no such method if it takes no distances.

        Returns
        -------
        ndarray of float64, shape (n_samples, k), or lazy DataArray (class, y, x)
            NaN for samples with NaN, and for nodata.
        """
        return self._measured(X)

    @available_if(_has_densities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Rows | Scene) -> npt.NDArray[np.float64] | xr.DataArray:  # noqa: N803
        """Return the posterior of each class of a Gaussian mixture.

        Returns
        -------
        ndarray of float64, shape (n_samples, k), or lazy DataArray (class, y, x)
            NaN for samples with NaN, and for nodata.
        """
        densities = self._measured(X)
        if isinstance(densities, xr.DataArray):
            total: Any = xr.apply_ufunc(_log_sum_last, densities, input_core_dims=[["class"]], dask="allowed")
            return np.exp(densities - total).rename("probability")  # type: ignore[no-any-return]
        return np.exp(densities - log_sum(densities.T)[:, np.newaxis])

    def score(self, X: Rows | Scene, y: object = None) -> float:  # noqa: N803
        """Return how well the model fits other samples or another scene: larger is better.

        Samples with NaN, and nodata, take no part. A scene is computed block by block.

        Returns
        -------
        float
            Minus the sum of squared distances to the nearest class, in standardized units; of a Gaussian mixture the
            mean logarithm of the density.

        Raises
        ------
        ModelError
            If the method has neither distances nor densities.
        """
        del y
        measured = self._measured(X)
        if not isinstance(measured, xr.DataArray):
            return self._score(*_sum_of(measured.T, densities=_has_densities(self)))
        data, compute, densities = measured.data, Computer.in_force(), _has_densities(self)

        def sum_of(block: Block) -> tuple[float, int]:
            return _sum_of(compute(data[:, *block.slices])[0], densities=densities)

        parts = [part for _, part in ThreadExecutor(count_workers(self.workers)).map(sum_of, blocks_of(data))]
        return self._score(sum(total for total, _ in parts), sum(count for _, count in parts))

    def _score(self, total: float, count: int) -> float:
        return total / max(count, 1) if _has_densities(self) else -total

    @property
    def _n_features_out(self) -> int:
        """Number of classes, for `get_feature_names_out`."""
        return self.model_.k

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        if not _takes_distances(self):
            tags.transformer_tags = None
        return tags

    def _check_columns(self) -> None:
        """Raise ConfigError for what is computed from the neighbours of a pixel, which samples don't have."""
        for name in ("smooth", "texture"):
            if getattr(self, name):
                msg = f"{name}: samples of an array have no neighbours; leave it out, or pass a DataArray (band, y, x)"
                raise ConfigError(msg)

    def _table(self, X: Rows, *, reset: bool = False) -> PixelTable:  # noqa: N803
        """Check samples, and return them as the pixels of a scene."""
        rows = validate_data(self, X, reset=reset, ensure_all_finite="allow-nan", ensure_min_samples=2 if reset else 1)
        if reset:
            names = getattr(self, "feature_names_in_", [f"band{number}" for number in range(1, rows.shape[1] + 1)])
            return PixelTable(rows, tuple(map(str, names)))
        return PixelTable(rows, self.model_.scene_bands)

    def _labels(self, table: PixelTable) -> npt.NDArray[np.int32]:
        """Label samples: 0 to k - 1, -1 for nodata and unclassified ones."""
        model, info = self._fitting(table)
        labels = model.labeller(info)(self._columns(table), table.valid).classes[:, 0].astype(np.int32)
        return np.where(labels == UNCLASSIFIED, np.int32(-1), labels - np.int32(1))

    def _measured(self, X: Rows | Scene) -> npt.NDArray[np.float64] | xr.DataArray:  # noqa: N803
        """Measure samples, shape (n_samples, k), or a scene (class, y, x), by distances or densities."""
        check_is_fitted(self)
        if not (_takes_distances(self) or _has_densities(self)):
            msg = f"a model of method {self.model_.fitting.method} has neither distances nor densities of classes"
            raise ModelError(msg)
        if isinstance(X, Scene):
            return measure(X, self.model_, measure_of)
        table = self._table(X)
        made = measure_of(*self._fitting(table))
        assert made is not None  # noqa: S101 (checked above)
        return np.ascontiguousarray(made(self._columns(table), table.valid)[:, :, 0].T)

    def _columns(self, table: PixelTable) -> npt.NDArray[Any]:
        """Features of samples and what is computed from them, shape (column, n_samples, 1)."""
        columns, whole = self.model_.columns, (slice(0, len(table.valid)), slice(0, 1))
        return columns.apply(Pixels(table.data, table.valid), table.info, whole) if columns else table.data

    def _fitting(self, table: PixelTable) -> tuple[ClusterModel, SceneInfo]:
        """Return the model for samples, and facts about the columns that are computed of them.

        Numbers of an array mean the same in each data type, so the model is changed to theirs.
        """
        model, columns = self.model_, self.model_.columns
        info = columns.info(table.info) if columns else table.info
        if set(model.units.quantities) <= {"numbers", "index"} and set(model.units.scales) == {1.0}:
            model = model.model_copy(update={"units": model.units.model_copy(update={"dtype": info.dtype.name})})
        model.check_scene(table.info)
        return model, info


def _of_samples(wrapped: Any) -> Any:
    """Method that TransformerMixin has wrapped for `set_output`, without that for scenes, which stay DataArrays."""

    @wraps(wrapped)
    def method(self: ClusterEstimator, X: Rows | Scene, *args: Any, **kwargs: Any) -> Any:  # noqa: N803
        chosen = wrapped.__wrapped__ if isinstance(X, Scene) else wrapped
        return chosen(self, X, *args, **kwargs)

    return method


# after TransformerMixin has wrapped it for `set_output`, which would make it available for every method
for _name in ("transform", "fit_transform"):
    setattr(ClusterEstimator, _name, available_if(_takes_distances)(_of_samples(getattr(ClusterEstimator, _name))))


def _sum_of(measured: npt.NDArray[np.float64], *, densities: bool) -> tuple[float, int]:
    """Sum of what a score is made of, over the valid ones of some samples, shape (k, ...); and their number."""
    known = measured.reshape(len(measured), -1)
    known = known[:, ~np.isnan(known[0])]
    numbers = log_sum(known) if densities else np.square(known.min(axis=0, initial=np.inf))
    return float(numbers.sum()), numbers.size


def _log_sum_last(densities: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return log_sum(np.moveaxis(densities, -1, 0))
