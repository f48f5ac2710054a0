"""The protocols of features: what a scene's bands go through before a method sees them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from pipeline.config.schema import FeaturesConfig
from pipeline.core.arrays import Planes, Points, Stretch, Validity
from pipeline.core.needs import Needs, Work
from pipeline.core.pixels import Pixels
from pipeline.core.scene_info import SceneInfo
from pipeline.core.units import Units, relative_to_first
from pipeline.features.components import Projection

STRIP_PIXELS: Final = 2**16
"""Number of pixels that are prepared and classed at once: their values stay in the processor's cache."""


Inner = tuple[slice, slice]
"""Rows and columns of an array, from start to stop, around which it has a margin."""


class BlockFeature(Protocol):
    """Columns that are computed from the bands of a block, without a fit. Picklable, and knows numpy only.

    No value depends on how the scene is cut into blocks, nor on pixels farther away than `halo`.
    """

    @property
    def halo(self) -> int:
        """Rows and columns of pixels around a block that affect it."""

    def info(self, scene: SceneInfo) -> SceneInfo:
        """Describe the columns of a scene, as if they were its bands."""

    def apply(self, pixels: Pixels, scene: SceneInfo, inner: Inner) -> Planes:
        """Return the columns of `inner`, shape (column, rows, columns), from the bands of a rectangle around it.

        The margin is `halo` pixels wide, and narrower only at the edges of the scene. Values of pixels that are not
        valid affect no other pixel.
        """

    def needs(self, scene: SceneInfo, work: Work) -> Needs:
        """Needs of computing a block, besides the columns themselves; the blocks of `work` are without margin."""


@dataclass(frozen=True, eq=False)
class Preparation:
    """What is done with the stored numbers of a scene before distances are taken: a transform bound to its units."""

    factors: npt.NDArray[np.float64]
    """Size of 1 per band, or per component, of prepared points in standardized units, shape (band,)."""
    limits: npt.NDArray[Any] | None = None
    """Smallest and largest stored number per band, in the scene's dtype, beyond which values are clamped to them, shape
    (2, band); None to leave values as they are."""
    projection: Projection | None = None
    """Components, which prepared points are made of instead of bands; None to leave bands as they are."""

    @property
    def changes_values(self) -> bool:
        """Whether prepared points differ from the stored numbers."""
        return self.limits is not None or self.projection is not None

    def units(self, stored: Units) -> Units:
        """Units of prepared points, given those of the scene: components have none."""
        if self.projection is None:
            return stored
        count = len(self.factors)
        return Units(dtype=self.projection.dtype.name, scales=(1.0,) * count, offsets=(0.0,) * count)

    @property
    def stretch(self) -> Stretch:
        """Factor per band by which differences are multiplied, relative to the first, shape (band,); None if all 1."""
        return relative_to_first(self.factors)

    @property
    def unit(self) -> float:
        """Factor from squared distances, with `stretch`, to squared standardized units."""
        return float(self.factors[0]) ** 2

    def apply(self, points: Points) -> Points:
        """Return the prepared points, shape (band, ...); the points themselves if nothing is done with them."""
        clamped = self._clamped(points)
        return clamped if self.projection is None else self.projection.apply(clamped)

    def bounds(self, low: npt.NDArray[Any], high: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Smallest and largest prepared values, shape (band,) each, of points between two in stored numbers."""
        if self.projection is None:
            lowest, highest = self.apply(np.stack([low, high], axis=1)).T
        else:
            lowest, highest = (np.diagonal(self.apply(corners)) for corners in self.projection.bounds(low, high))
        return np.ascontiguousarray(lowest), np.ascontiguousarray(highest)

    def restore(self, prepared: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Points in stored numbers, shape (..., band), from prepared ones."""
        return prepared if self.projection is None else self.projection.restore(prepared)

    def _clamped(self, points: Points) -> Points:
        """Points whose values beyond `limits` are those limits."""
        if self.limits is None:
            return points
        out = np.empty(points.shape, points.dtype)
        for band, (plane, low, high) in enumerate(zip(points, *self.limits, strict=True)):
            np.clip(plane, low, high, out=out[band])
        return out


class Transform(Protocol):
    """Change of the bands that is fitted on the sampled pixels and stored in the model."""

    @classmethod
    def fit(cls, points: Points, info: SceneInfo, config: FeaturesConfig) -> Self:
        """Fit it to sampled pixels (band, point) in stored numbers of a scene, as the config's `features` says."""

    def bind(self, units: Units) -> Preparation:
        """Return what is done with the stored numbers of a scene with these units."""


def prepared_strips(
    preparation: Preparation, data: Planes, valid: Validity
) -> Iterator[tuple[slice, Points, npt.NDArray[np.bool_]]]:
    """Prepare the pixels of a block, a strip at a time; strips without valid pixels are left out.

    Parameters
    ----------
    preparation : Preparation
        What is done with the pixels.
    data : ndarray, shape (band, rows, columns)
        Pixels in stored numbers.
    valid : ndarray of bool, shape (rows, columns)
        Valid pixels.

    Yields
    ------
    slice
        Pixels of the block, counted row by row.
    ndarray, shape (band, pixel)
        The prepared pixels.
    ndarray of bool, shape (pixel,)
        Which of them are valid.
    """
    flat, flat_valid = np.ascontiguousarray(data).reshape(len(data), -1), np.ascontiguousarray(valid).reshape(-1)
    length = STRIP_PIXELS if preparation.changes_values else max(valid.size, 1)
    for start in range(0, valid.size, length):
        strip = slice(start, start + length)
        if flat_valid[strip].any():
            yield strip, preparation.apply(flat[:, strip]), flat_valid[strip]


def class_by_strip(
    preparation: Preparation, data: Planes, valid: Validity, assign: Callable[[Planes, Validity], npt.NDArray[np.uint8]]
) -> npt.NDArray[np.uint8]:
    """Class the pixels of a block after they are prepared, a strip of pixels at a time.

    Parameters
    ----------
    preparation, data, valid
        As in `prepared_strips`.
    assign : callable
        From prepared pixels, shape (band, 1, pixel), and valid ones, shape (1, pixel), to their classes, 0 for those
        that are not valid, shape (1, pixel).

    Returns
    -------
    ndarray of uint8, shape (rows, columns)
    """
    classes = np.zeros(valid.size, np.uint8)
    for strip, points, known in prepared_strips(preparation, data, valid):
        classes[strip] = assign(points[:, np.newaxis], known[np.newaxis])[0]
    return classes.reshape(valid.shape)
