"""The protocol of clustering methods: the record of a method, what its function is given, and what it returns."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.config.schema import FeaturesConfig
from pipeline.core.arrays import Points, Stretch
from pipeline.core.band_names import listed_names
from pipeline.core.errors import ConfigError
from pipeline.core.needs import Needs, Work
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import Units
from pipeline.engine.executor import Executor
from pipeline.engine.progress import Progress
from pipeline.features.base import Preparation
from pipeline.kernels.assign import assign
from pipeline.kernels.distances import own_distances
from pipeline.methods.lloyd import Centres
from pipeline.methods.settings import SampleSettings
from pipeline.methods.small_classes import least_count, merge_small
from pipeline.models.base import ClusterModel
from pipeline.models.classes import brightness_order
from pipeline.models.prototypes import Prototypes
from pipeline.pixels.pieces import PixelPieces

AnySettings = TypeVar("AnySettings", bound=SampleSettings)
Settings_co = TypeVar("Settings_co", bound=SampleSettings, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Method(Generic[AnySettings]):
    """A way to find classes. Its module is light: what takes long to import is in the module of its function."""

    name: str
    """Value of `fit.method`."""
    description: str
    """What it is, in a few words."""
    settings: type[AnySettings]
    """Record of section `fit`; its `method` is the name, and has a default for the default method only."""
    same_bits: bool
    """Whether the result is the same, bit for bit, for any blocks, workers and order."""
    classes: Callable[[AnySettings], tuple[int, int]]
    """Least and largest number of classes that can be found."""
    needs: Callable[[SceneInfo, AnySettings, Work], Needs]
    """Needs of the fit after the sample is drawn, with the sample itself."""
    function: str
    """Function from `FitInput` to `FitResult`, as `package.module:name`; it is imported when it runs."""
    check_bands: Callable[[SceneInfo, AnySettings], None] = lambda _info, _settings: None
    """Raises ConfigError if settings are not those of a scene's bands, before pixels are read."""
    one_band: bool = False
    """Whether it takes scenes of one band only."""
    streams: Callable[[AnySettings], bool] = lambda _settings: False
    """Whether each block changes what is done with the next, so that blocks can't be spread over processes."""
    standardizes: bool = True
    """Whether `features.standardize` has an effect."""
    check: str | None = None
    """Function of the settings, as `package.module:name`, that raises ConfigError for values that only a library knows;
    it is imported when it runs."""

    def check_features(self, features: FeaturesConfig) -> None:
        """Raise ConfigError if the method can't take what section `features` makes of bands."""
        if features.pca and not self.standardizes:
            msg = f"features.pca: fit.method: {self.name} takes one band as it is; leave features.pca out"
            raise ConfigError(msg)
        if features.unit_norm and self.one_band and not features.indices:
            msg = f"features.unit_norm: fit.method: {self.name} takes one band, which would be 1; leave it out"
            raise ConfigError(msg)

    def check_scene(self, info: SceneInfo) -> None:
        """Raise ConfigError if the method can't take a scene's bands."""
        if self.one_band and len(info.bands) > 1:
            msg = (
                f"fit.method: {self.name} takes one band, but the scene has {len(info.bands)}: "
                f"{listed_names(info.bands)}; choose one band in scene.bands, or leave that out and choose one "
                "index in features.indices"
            )
            raise ConfigError(msg)

    def stores_labels(self, info: SceneInfo, settings: AnySettings, work: Work) -> bool:
        """Whether passes over all pixels store the label of each for the next pass."""
        return self.needs(info, settings, work).state > 0


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Statistics of a pass over all pixels."""

    shift: float
    """Sum of the squared moves of all centroids after the pass, relative to the mean variance of the bands."""
    inertia: float
    """Sum of squared distances of all pixels to their centroids, in squared units of the
    model's quantity."""
    changed: float | None
    """Share of the pixels that changed class, 0 to 1; None in the first pass, or if labels are not cached."""


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """Classes that a method found, in the model's order, as a model of some kind."""

    kind: type[ClusterModel]
    """Class of the model."""
    content: Mapping[str, Any]
    """Fields of that kind of model, besides those of every kind."""
    counts: npt.NDArray[np.int64]
    """Number of pixels per class, shape (k,)."""
    inertia: float | None = None
    """Sum of squared distances of the counted pixels to the centres of their classes, in squared standardized units;
    None if the method has no distances."""
    iterations: int = 1
    """Number of passes or iterations of the method."""
    names: tuple[str, ...] = ()
    """Name of each class, length k; empty for class 1, class 2, ..."""
    log: tuple[Any, ...] = ()
    """A frozen dataclass of plain numbers for each pass, step, round or start, for the report of a run."""


@dataclass(frozen=True, kw_only=True)
class FitInput(Generic[Settings_co]):
    """What a method finds classes in."""

    settings: Settings_co
    """Section `fit` of the config."""
    info: SceneInfo
    """The scene."""
    stored: Points
    """Sampled pixels in stored numbers and in random order, shape (band, point)."""
    points: Points
    """The same pixels after `preparation`, shape (band, point)."""
    valid: int
    """Number of valid pixels of the scene that take part in the fit."""
    pixels: PixelPieces | None
    """All pixels of the scene after `preparation`; None to use the sample only."""
    preparation: Preparation
    """What is done with stored numbers before distances are taken."""
    executor: Executor
    """Runs tasks over blocks."""
    progress: Progress
    """Shows the stages of the fit."""

    @property
    def stretch(self) -> Stretch:
        """Factor per band by which differences are multiplied before distances are taken, shape (band,)."""
        return self.preparation.stretch

    def result_of_sample(self, centres: Centres, iterations: int, log: tuple[Any, ...] = ()) -> FitResult:
        """Sort centroids, and count the sampled pixels per class; see `result_of_centres`."""
        centres = self.in_order(centres)
        restored = self.round_trip(centres)
        labels, counts = self._nearest(restored), self.count(centres)
        inertia = own_distances(self.points, labels, restored, self.stretch)[1]
        return self.result_of_centres(centres, counts, inertia, iterations, log)

    def result_of_centres(
        self,
        centres: Centres,
        counts: npt.NDArray[np.int64],
        inertia: float,
        iterations: int,
        log: tuple[Any, ...] = (),
    ) -> FitResult:
        """Make the result of sorted centroids.

        Parameters
        ----------
        centres : ndarray of float64, shape (k, band)
            Centroids in stored numbers, before `round_trip`.
        counts : ndarray of int64, shape (k,)
            Number of pixels per class, after `round_trip`.
        inertia : float
            Sum of squared distances of these pixels to their centroids, with differences multiplied by `stretch`.
        iterations, log
            As in `FitResult`.
        """
        content: dict[str, Any] = {
            "centroids": tuple(map(tuple, self.units.to_physical(centres).tolist())),
        }
        if size := getattr(self.settings, "min_size", None):
            least = least_count(size, int(counts.sum()), self.valid, self.info.grid)
            classes = self._merged(centres, counts, least)
            if classes is not None:
                content["classes_of_points"] = tuple(classes.tolist())
                counts = np.bincount(classes, counts, classes.max() + 1)[1:].astype(np.int64)
        return FitResult(
            kind=Prototypes,
            content=content,
            counts=counts,
            inertia=self.preparation.unit * inertia,
            iterations=iterations,
            log=log,
        )

    def count(self, centres: Centres) -> npt.NDArray[np.int64]:
        """Number of sampled pixels per class, as the model labels them, shape (k,)."""
        return np.bincount(self._nearest(self.round_trip(centres)), minlength=len(centres) + 1)[1:]

    def _merged(self, centres: Centres, counts: npt.NDArray[np.int64], least: Fraction) -> npt.NDArray[np.intp] | None:
        """Class of each centroid, from 1 in the model's order, after small ones are merged; None if there are none."""
        into = merge_small(counts, centres * (1 if self.stretch is None else self.stretch), least)
        kept, numbers = np.unique(into, return_inverse=True)
        if len(kept) == len(centres):
            return None
        labels = np.concatenate([[0], numbers + 1])[self._nearest(self.round_trip(centres))]
        means = self.means_of(labels.astype(np.uint8), centres[kept])
        order = brightness_order(means, self.info.units.quantities)
        return order.argsort()[numbers] + 1

    def in_order(self, centres: Centres) -> Centres:
        """Sort centroids into the model's order, on which the class of a pixel midway between two of them depends.

        That is the order of the means of their classes. Where values are changed, centroids are no means of pixels, so
        these are taken of the sampled ones; a class without any has its centroid.
        """
        if self.preparation.changes_values:
            means = self.means_of(self._nearest(centres), centres)
        else:
            means = self.info.units.to_physical(centres)
        return centres[brightness_order(means, self.info.units.quantities)]

    def round_trip(self, centres: Centres) -> Centres:
        """Convert centroids to the model's quantity and back, so that their bits are those of any map of the model."""
        return self.units.to_stored(self.units.to_physical(centres))

    @property
    def first_column(self) -> str:
        """The only column of a method of one band, a band or an index, with its name."""
        return f"{'index' if self.info.units.quantities[0] == 'index' else 'band'} {self.info.bands[0]}"

    @property
    def units(self) -> Units:
        """Units of prepared points, and of centroids."""
        return self.preparation.units(self.info.units)

    def means_of(self, labels: npt.NDArray[np.uint8], centres: Centres) -> npt.NDArray[np.float64]:
        """Mean of the sampled pixels of each class in the quantity, shape (k, band); of none, that of its centroid."""
        return self.info.units.to_physical(class_means(self.stored, labels, self.preparation.restore(centres)))

    def _nearest(self, centres: Centres) -> npt.NDArray[np.uint8]:
        """Class of each sampled pixel, shape (point,)."""
        everywhere = np.ones((1, self.points.shape[1]), np.bool_)
        labels: npt.NDArray[np.uint8] = assign(self.points[:, np.newaxis], everywhere, centres, self.stretch)[0]
        return labels


def class_means(points: Points, labels: npt.NDArray[np.uint8], centres: Centres) -> npt.NDArray[np.float64]:
    """Mean of the points (band, point) of each class 1 to k, shape (k, band), summed in their order.

    A class without points has its row of `centres`.
    """
    of_classes = slice(1, len(centres) + 1)  # other labels are nodata and unclassified pixels
    counts = np.bincount(labels, minlength=len(centres) + 1)[of_classes, np.newaxis]
    sums = np.stack([np.bincount(labels, band, len(centres) + 1)[of_classes] for band in points], axis=1)
    return np.where(counts, sums / np.maximum(counts, 1), centres)


AnyMethod = Method[Any]
"""A method with settings of any class."""
