"""Models of points: each pixel is of the class of the nearest point. K-means makes them."""

from dataclasses import dataclass
from typing import ClassVar, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from pipeline.core.arrays import Planes, Validity
from pipeline.core.errors import ModelError
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import Units
from pipeline.features.base import STRIP_PIXELS, Preparation, class_by_strip
from pipeline.kernels.assign import assign, nearest_points, working_dtype
from pipeline.models.base import CLASSES_ONLY, ClusterModel, Layer, Layers
from pipeline.models.classes import UNCLASSIFIED

_LARGEST_NUMBER: Final = 1e60
"""Largest absolute value of a point, stored or scaled: squared differences must not overflow."""

_MOST_CLASSES: Final = 254
"""Largest number of classes, and of points that are numbered in one byte."""

_MOST_POINTS: Final = 65_535
"""Largest number of points."""


@dataclass(frozen=True)
class NearestPoint:
    """Labeller: the class of the nearest point."""

    points: npt.NDArray[np.float64]
    """Points among the prepared pixels of the scene, shape (point, band)."""
    preparation: Preparation
    """What is done with the pixels before distances are taken."""
    classes: npt.NDArray[np.uint8] | None
    """Class of each point, shape (point + 1,), after 0 for nodata; None if point i is of class i + 1."""

    def __call__(self, data: Planes, valid: Validity) -> Layers:
        """Label the pixels of a block; see `Labeller`."""
        return Layers(class_by_strip(self.preparation, data, valid, self._classes_of))

    def _classes_of(self, pixels: Planes, valid: Validity) -> npt.NDArray[np.uint8]:
        """Class of each of some prepared pixels, shape (1, pixel)."""
        stretch = self.preparation.stretch
        if self.classes is None or len(self.points) <= _MOST_CLASSES:
            nearest = assign(pixels, valid, self.points, stretch)
            return nearest if self.classes is None else self.classes[nearest]
        out = np.empty(valid.shape, np.uint8)
        for start in range(0, valid.size, STRIP_PIXELS):  # numbers of points take twice the memory of classes
            strip = (slice(None), slice(start, start + STRIP_PIXELS))
            out[strip] = self.classes[nearest_points(pixels[:, *strip], valid[strip], self.points, stretch)]
        return out


class Prototypes(ClusterModel):
    """Points, and the class of each. Of k-means, each class has one point: its centroid."""

    kind: ClassVar[str] = "prototypes"
    decisive: ClassVar[frozenset[str]] = frozenset({"centroids", "classes_of_points"})

    centroids: tuple[tuple[float, ...], ...]
    """The points, in the quantity of `units`, shape (point, band), or of components without unit, shape (point,
    component); of k-means, row 0 is the centroid of class 1."""
    classes_of_points: tuple[int, ...] | None = None
    """Class of each point, or 255 (unclassified), shape (point,); None if point i is of class i + 1."""

    @model_validator(mode="after")
    def _has_consistent_points(self) -> Self:
        lengths, m = {len(row) for row in self.centroids}, len(self.centroids)
        wanted, what = self.dimensions
        if lengths != {wanted}:
            msg = f"centroids have {sorted(lengths)} numbers each; expected {wanted}, one per {what}"
            raise ValueError(msg)
        self.check_size("centroids", self.centroids)
        labels, most = self.classes_of_points, _MOST_CLASSES if self.classes_of_points is None else _MOST_POINTS
        if not 2 <= m <= most or (labels is None and m != self.k):  # noqa: PLR2004
            more = "as many of both" if labels is None else "points with the class of each"
            msg = f"{m} centroids and {self.k} classes; expected {more}, 2 to {most}"
            raise ValueError(msg)
        if labels is not None and (len(labels) != m or set(labels) - {UNCLASSIFIED} != set(range(1, self.k + 1))):
            msg = f"classes_of_points: expected {m} numbers, one per point, with each class from 1 to {self.k}, or 255"
            raise ValueError(msg)
        return self

    @property
    def leaves_unclassified(self) -> bool:
        """Whether pixels may be unclassified: those nearest to a point of no class, such as noise."""
        return UNCLASSIFIED in (self.classes_of_points or ())

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """The first point of each class in the quantity of `units`, shape (k, band)."""
        points = self.preparation.to_bands(np.array(self.centroids, np.float64), self.units)
        labels = self.classes_of_points
        return points if labels is None else points[[labels.index(label) for label in range(1, self.k + 1)]]

    def labeller(self, info: SceneInfo, want: frozenset[Layer] = CLASSES_ONLY) -> NearestPoint:
        """Make the labeller for a scene that the model fits; see `ClusterModel.labeller`."""
        self.check_gives(want)
        labels = None if self.classes_of_points is None else np.array([0, *self.classes_of_points], np.uint8)
        return NearestPoint(self._points_in(info.units), self.preparation.bind(info.units), labels)

    def check_fits(self, bands: tuple[str, ...], units: Units, source: str) -> None:
        """Raise ModelError as `Inputs.check_fits`, and if distances between pixels and points would overflow."""
        super().check_fits(bands, units, source)
        with np.errstate(all="ignore"):
            points, prepared = self._points_in(units), self.preparation.prepared_units(units)
            limit = min(_LARGEST_NUMBER, float(np.finfo(working_dtype(prepared.dtype)).max))
            largest = np.maximum(np.abs(points), np.abs(points * self.preparation.bind(units).factors)).max()
            usable = largest < limit  # NaN is not
        if not usable or min(self.preparation.spreads) < 1 / _LARGEST_NUMBER:
            msg = (
                f"{source}: the model's centroids are so large, or its spreads so small, that distances to them exceed "
                f"{limit:.3g}; the file was edited, or its scene had implausible values: fit a new model"
            )
            raise ModelError(msg)

    def _points_in(self, units: Units) -> npt.NDArray[np.float64]:
        """Points among the prepared pixels of a scene with these units, shape (point, band)."""
        return self.preparation.prepared_units(units).to_stored(np.array(self.centroids, np.float64))
