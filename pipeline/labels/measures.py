"""How near a pixel is to each class of a model: distances to points, or densities of Gaussians."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Planes, Points, Validity
from pipeline.core.scene_info import SceneInfo
from pipeline.features.base import Preparation, prepared_strips
from pipeline.kernels.mixture import Gaussians, whitening
from pipeline.models.base import ClusterModel
from pipeline.models.gaussians import GaussianModel, to_stored
from pipeline.models.prototypes import Prototypes

Numbers = npt.NDArray[np.float64]


class Measure(Protocol):
    """A number per class of each pixel of a block. Picklable, and knows numpy only."""

    name: ClassVar[str]
    """What is measured."""

    def __call__(self, data: Planes, valid: Validity) -> Numbers:
        """Measure the columns of a block, shape (column, rows, columns).

        Returns
        -------
        ndarray of float64, shape (k, rows, columns)
            NaN where a pixel is not valid.
        """


@dataclass(frozen=True)
class Distances:
    """`Measure`: the Euclidean distance to the nearest point of each class, in standardized units.

    The sum of the squares of the smallest ones is the inertia.
    """

    name: ClassVar[str] = "distance"

    points: Numbers
    """Points among the prepared pixels of the scene, shape (point, band)."""
    classes: npt.NDArray[np.intp]
    """Class of each point from 0, shape (point,)."""
    preparation: Preparation
    """What is done with the pixels before distances are taken."""

    def __call__(self, data: Planes, valid: Validity) -> Numbers:
        """Measure a block; see `Measure`."""
        out = np.full((self.classes.max() + 1, valid.size), np.nan)
        for strip, pixels, known in prepared_strips(self.preparation, data, valid):
            out[:, strip][:, known] = self._of(pixels[:, known].astype(np.float64))
        return out.reshape(-1, *valid.shape)

    def _of(self, pixels: Numbers) -> Numbers:
        """Distances of prepared pixels, shape (band, pixel), to the classes, shape (k, pixel)."""
        found = np.full((self.classes.max() + 1, pixels.shape[1]), np.inf)
        factors = self.preparation.factors[:, np.newaxis]
        for point, label in zip(self.points, self.classes, strict=True):
            distances = np.sqrt(np.square((pixels - point[:, np.newaxis]) * factors).sum(axis=0))
            np.minimum(found[label], distances, out=found[label])
        return found


@dataclass(frozen=True)
class LogDensities:
    """`Measure`: the logarithm of weight and density of each class, in the units of prepared pixels."""

    name: ClassVar[str] = "log_density"

    gaussians: Gaussians
    """The classes in stored numbers of the scene."""
    preparation: Preparation
    """What is done with the pixels before."""

    def __call__(self, data: Planes, valid: Validity) -> Numbers:
        """Measure a block; see `Measure`."""
        out = np.full((len(self.gaussians.weights), valid.size), np.nan)
        for strip, pixels, known in prepared_strips(self.preparation, data, valid):
            out[:, strip][:, known] = self._of(pixels[:, known].astype(np.float64))
        return out.reshape(-1, *valid.shape)

    def _of(self, pixels: Numbers) -> Numbers:
        """Logarithms for prepared pixels, shape (band, pixel): shape (k, pixel)."""
        factors = whitening(self.gaussians.covariances)
        with np.errstate(divide="ignore"):  # a class that died out has the weight 0
            constants = np.log(self.gaussians.weights) - len(pixels) / 2 * np.log(2 * np.pi)
        constants += np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
        out = np.empty((len(constants), pixels.shape[1]))
        for number, (mean, factor) in enumerate(zip(self.gaussians.means, factors, strict=True)):
            out[number] = constants[number] - np.square(factor @ (pixels - mean[:, np.newaxis])).sum(axis=0) / 2
        return out


def measure_of(model: ClusterModel, info: SceneInfo) -> Distances | LogDensities | None:
    """Return the measure of a model, ready for the columns of a scene that it fits; None if it has none."""
    preparation, units = model.preparation.bind(info.units), model.preparation.prepared_units(info.units)
    if isinstance(model, GaussianModel):
        return LogDensities(to_stored(model.gaussians, units), preparation)
    if not isinstance(model, Prototypes):
        return None
    points = units.to_stored(np.array(model.centroids, np.float64))
    labels = np.array(model.classes_of_points or range(1, len(points) + 1)) - 1
    of_class = labels < model.k  # the others are of unclassified pixels
    return Distances(points[of_class], labels[of_class], preparation)


def log_sum(densities: Points) -> Numbers:
    """Logarithm of the sum over the classes of exponentials, shape (k, ...): that of the density of each pixel."""
    largest = densities.max(axis=0)
    total: Numbers = largest + np.log(np.exp(densities - largest).sum(axis=0))
    return total
