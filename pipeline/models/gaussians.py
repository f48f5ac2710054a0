"""Models of Gaussians: each pixel is of the class with the largest posterior. Mixture models make them."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipeline.core.arrays import Planes, Validity
from pipeline.core.errors import ModelError
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import Units
from pipeline.features.base import Preparation, prepared_strips
from pipeline.kernels.assign import working_dtype
from pipeline.kernels.gaussians import Mixture
from pipeline.kernels.mixture import Gaussians, classify, whitening, working_mixture
from pipeline.models.base import CLASSES_ONLY, ClusterModel, Layer, Layers

_ROUNDING: Final = 1e-6
"""Largest difference of the sum of the weights from 1."""

_LARGEST_NUMBER: Final = 1e60
"""Largest absolute value of a mean or a covariance, stored or scaled, and of one over a variance."""


@dataclass(frozen=True)
class MostProbable:
    """Labeller: the class of largest posterior."""

    mixture: Mixture
    """The Gaussians in stored numbers of the scene."""
    preparation: Preparation
    """What is done with the pixels before."""
    confidence: bool = False
    """Whether to give the posterior."""

    def __call__(self, data: Planes, valid: Validity) -> Layers:
        """Label the pixels of a block; see `Labeller`."""
        classes = np.zeros(valid.size, np.uint8)
        confidence = np.zeros(valid.size, np.float32) if self.confidence else None
        for strip, points, known in prepared_strips(self.preparation, data, valid):
            classes[strip], posterior = classify(points, known, self.mixture, confidence=self.confidence)
            if confidence is not None:
                confidence[strip] = posterior
        shaped = None if confidence is None else confidence.reshape(valid.shape)
        return Layers(classes.reshape(valid.shape), shaped)


class GaussianModel(ClusterModel):
    """A mean, a covariance and a weight per class."""

    kind: ClassVar[str] = "gaussians"
    layers: ClassVar[frozenset[Layer]] = frozenset({"class", "confidence"})
    decisive: ClassVar[frozenset[str]] = frozenset({"means", "covariances", "weights"})

    means: tuple[tuple[float, ...], ...]
    """Mean of each class after the preparation, in the quantity of `units`, shape (k, band), or of components without
    unit, shape (k, component)."""
    covariances: tuple[tuple[tuple[float, ...], ...], ...]
    """Covariance of each class, in products of the quantities of two bands, shape (k, band, band)."""
    weights: tuple[Annotated[float, Field(ge=0, le=1)], ...]
    """Share of each class, shape (k,); 0 if it died out."""

    @model_validator(mode="after")
    def _has_consistent_gaussians(self) -> Self:
        bands, what = self.dimensions
        if len(self.means) != self.k or any(len(row) != bands for row in self.means):
            msg = f"means: expected {self.k} rows, one per class, of {bands} numbers, one per {what}"
            raise ValueError(msg)
        self.check_size("means", self.means)
        shapes = {(len(rows), *map(len, rows)) for rows in self.covariances}
        if len(self.covariances) != self.k or shapes != {(bands,) * (bands + 1)}:
            msg = f"covariances: expected {self.k} matrices, one per class, of {bands} rows and columns, one per {what}"
            raise ValueError(msg)
        if len(self.weights) != self.k or abs(sum(self.weights) - 1) > _ROUNDING:
            msg = f"weights: expected {self.k} numbers, one per class, with the sum 1"
            raise ValueError(msg)
        self._check_covariances()
        return self

    def _check_covariances(self) -> None:
        """Raise ValueError unless covariances are symmetric and positive definite."""
        for label, covariance in enumerate(self.gaussians.covariances, 1):
            if not np.array_equal(covariance, covariance.T):
                msg = f"covariances: that of class {label} is not symmetric"
                raise ValueError(msg)
            try:
                whitening(covariance[np.newaxis])
            except np.linalg.LinAlgError as error:
                msg = f"covariances: that of class {label} is not positive definite"
                raise ValueError(msg) from error

    @property
    def gaussians(self) -> Gaussians:
        """The numbers as arrays, in the quantity of `units`."""
        return Gaussians(*(np.array(each, np.float64) for each in (self.means, self.covariances, self.weights)))

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """The means in the quantity of `units`, shape (k, band)."""
        return self.preparation.to_bands(self.gaussians.means, self.units)

    def labeller(self, info: SceneInfo, want: frozenset[Layer] = CLASSES_ONLY) -> MostProbable:
        """Make the labeller for a scene that the model fits; see `ClusterModel.labeller`."""
        self.check_gives(want)
        units, confidence = self.preparation.prepared_units(info.units), "confidence" in want
        mixture = working_mixture(to_stored(self.gaussians, units), units.dtype)
        return MostProbable(mixture, self.preparation.bind(info.units), confidence)

    def check_fits(self, bands: tuple[str, ...], units: Units, source: str) -> None:
        """Raise ModelError as `Inputs.check_fits`, and if densities of pixels would overflow."""
        super().check_fits(bands, units, source)
        with np.errstate(all="ignore"):
            prepared = self.preparation.prepared_units(units)
            stored, limit = to_stored(self.gaussians, prepared), float(np.finfo(working_dtype(prepared.dtype)).max)
            variances = np.diagonal(stored.covariances, axis1=1, axis2=2)
            numbers = np.concatenate([stored.means, variances, 1 / variances])
        exceeded = limit if not (np.abs(stored.means) < limit).all() else _LARGEST_NUMBER
        if exceeded == limit or not (np.abs(numbers) < _LARGEST_NUMBER).all():  # NaN is not
            msg = (
                f"{source}: the model's means or variances, or one over these, exceed {exceeded:.3g} in stored numbers "
                "of the scene; the file was edited, or its scene had implausible values: fit a new model"
            )
            raise ModelError(msg)


def to_physical(stored: Gaussians, units: Units) -> Gaussians:
    """Convert Gaussians in stored numbers to the quantity."""
    return Gaussians(units.to_physical(stored.means), stored.covariances * units.product_factors, stored.weights)


def to_stored(physical: Gaussians, units: Units) -> Gaussians:
    """Convert Gaussians in the quantity to stored numbers."""
    return Gaussians(units.to_stored(physical.means), physical.covariances / units.product_factors, physical.weights)
