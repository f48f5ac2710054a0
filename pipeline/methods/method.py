"""The protocol of clustering methods: the record of a method, what its function is given, and what it returns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points, Stretch
from pipeline.core.needs import Needs, Work
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import relative_to_first
from pipeline.engine.executor import Executor
from pipeline.engine.progress import Progress
from pipeline.kernels.assign import assign
from pipeline.kernels.distances import own_distances
from pipeline.methods.lloyd import Centres
from pipeline.methods.settings import SampleSettings
from pipeline.models.classes import brightness_order
from pipeline.pixels.pieces import PixelPieces

AnySettings = TypeVar("AnySettings", bound=SampleSettings)


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


@dataclass(frozen=True)
class FitResult:
    """Classes that a method found, in the model's order."""

    centres: Centres
    """Centroids in stored numbers, not yet converted to the model's quantity, shape (k, band)."""
    counts: npt.NDArray[np.int64]
    """Number of pixels per class after the conversion, shape (k,)."""
    inertia: float
    """Sum of squared distances of the counted pixels to their centroids, in squared units of the model's quantity."""
    iterations: int
    """Number of passes or iterations of the method."""
    passes: tuple[Pass, ...] = ()
    """Statistics of each exact pass over all pixels."""


@dataclass(frozen=True, kw_only=True)
class FitInput(Generic[AnySettings]):
    """What a method finds classes in."""

    settings: AnySettings
    """Section `fit` of the config."""
    info: SceneInfo
    """The scene."""
    points: Points
    """Sampled pixels in stored numbers and in random order, shape (band, point)."""
    pixels: PixelPieces | None
    """All pixels of the scene; None to use the sample only."""
    spreads: npt.NDArray[np.float64]
    """Size of one stored number per band, in units of the model's quantity, shape (band,)."""
    executor: Executor
    """Runs tasks over blocks."""
    progress: Progress
    """Shows the stages of the fit."""

    @property
    def stretch(self) -> Stretch:
        """Factor per band by which differences are multiplied before distances are taken, shape (band,)."""
        return relative_to_first(self.spreads)

    @property
    def unit(self) -> float:
        """Factor from squared scaled distances to squared units of the model's quantity."""
        return float(self.spreads[0]) ** 2

    def result_of_sample(self, centres: Centres, iterations: int) -> FitResult:
        """Sort centroids, and count the sampled pixels per class."""
        centres = self.in_order(centres)
        restored, everywhere = self.round_trip(centres), np.ones((1, self.points.shape[1]), np.bool_)
        labels = assign(self.points[:, np.newaxis], everywhere, restored, self.stretch)[0]
        counts = np.bincount(labels, minlength=len(centres) + 1)[1:]
        inertia = self.unit * own_distances(self.points, labels, restored, self.stretch)[1]
        return FitResult(centres, counts, inertia, iterations)

    def in_order(self, centres: Centres) -> Centres:
        """Sort centroids into the model's order, on which the class of a pixel midway between two of them depends."""
        return centres[brightness_order(self.info.units.to_physical(centres))]

    def round_trip(self, centres: Centres) -> Centres:
        """Convert centroids to the model's quantity and back, so that their bits are those of any map of the model."""
        units = self.info.units
        return units.to_stored(units.to_physical(centres))


AnyMethod = Method[Any]
"""A method with settings of any class."""
