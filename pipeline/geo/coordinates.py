"""Pixel coordinates along rows and columns: whether they are evenly spaced, and match a transform."""

import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from affine import Affine

from pipeline.core.errors import SceneError
from pipeline.core.numbers import LARGEST_NUMBER, as_number

TOLERATED: Final = 0.1
"""Largest deviation of coordinates from those of a transform, as a fraction of a pixel."""

_SPACING_TOLERANCE: Final = 1e-3
"""Largest deviation of coordinates from even spacing, as a fraction of a pixel, in addition to rounding."""

_MOST_DIGITS: Final = 6
"""Largest number of decimals that coordinates are tested for."""

_TURN: Final = 360
"""Degrees of a full circle of longitude."""

_TRANSFORM_SIZE: Final = 6
_LEAST_FLATNESS: Final = 1e-9
"""Least ratio of a pixel's area to the product of its sides; below it rows and columns are parallel."""


@dataclass(frozen=True)
class Coordinates:
    """Coordinates of the pixels along one dimension, rows or columns."""

    name: Hashable
    """Name of the dimension."""
    size: int
    """Number of pixels along the dimension."""
    index: npt.NDArray[np.intp]
    """Indexes of the pixels whose coordinates are finite, shape (k,); padding is NaN."""
    values: npt.NDArray[np.float64]
    """Coordinates of these pixels in the units of the CRS, shape (k,); empty if the dimension has none."""
    rounding: float
    """Largest rounding error of a coordinate due to its data type, in the units of the CRS."""
    digits: float
    """Largest rounding error due to few written decimals, in the units of the CRS."""

    @classmethod
    def of(
        cls, name: Hashable, stored: npt.NDArray[Any], factor: float, *, kind: np.dtype[Any], longitudes: bool
    ) -> "Coordinates":
        """Create the coordinates of a dimension from stored numbers, shape (pixels,), NaN where padding is.

        `factor` converts them to the units of the CRS; `kind` is the data type in which they were written, which limits
        their precision; longitudes continue at -180 after 180.
        """
        index = np.flatnonzero(np.isfinite(stored))
        finite = stored[index].astype(np.float64)
        largest = float(np.abs(finite).max()) if finite.size else 0.0
        rounding = float(np.spacing((kind if kind.kind == "f" else np.dtype(np.float64)).type(largest)))
        digits = _decimals(finite, rounding)
        values = finite if factor == 1 else finite * factor
        if longitudes and (np.abs(np.diff(values)) > _TURN / 2).any():
            values = np.unwrap(values, period=_TURN)  # 179, -179 becomes 179, 181
        return cls(name, stored.size, index, values, rounding * abs(factor), digits * abs(factor))

    @classmethod
    def none(cls, name: Hashable, size: int) -> "Coordinates":
        """Create the coordinates of a dimension that has none."""
        return cls(name, size, np.empty(0, np.intp), np.empty(0), 0.0, 0.0)

    @property
    def step(self) -> float:
        """Signed pixel size from the first and the last coordinate; NaN if there are fewer than two."""
        if self.values.size < 2:  # noqa: PLR2004
            return float("nan")
        return float((self.values[-1] - self.values[0]) / (self.index[-1] - self.index[0]))

    @property
    def start(self) -> float:
        """Coordinate of the first pixel, extrapolated where it is padding."""
        return float(self.values[0]) - (self.step * int(self.index[0]) if self.index[0] else 0.0)

    @property
    def are_even(self) -> bool:
        """Whether there are two or more coordinates, evenly spaced except for rounding."""
        step = abs(self.step)
        if not step > 0 or not self.are_contiguous:
            return False
        off = np.abs(self.values - (self.start + self.step * self.index)).max()
        allowed = _SPACING_TOLERANCE * step + 2 * self.rounding + min(2 * self.digits, TOLERATED * step)
        return bool(off <= allowed and self.rounding <= step / 2)

    @property
    def are_contiguous(self) -> bool:
        """Whether coordinates are missing at the ends only, where there is padding."""
        return bool(self.index[-1] - self.index[0] == self.index.size - 1)

    def position_on_grid(self, origin: float, step: float, anchor: float = 0.5) -> tuple[int, int] | None:
        """Locate the coordinates on a regular grid.

        Parameters
        ----------
        origin : float
            Coordinate of the grid's first edge.
        step : float
            Signed size of its pixels.
        anchor : float
            Position of a coordinate within its pixel: 0.5 for centres.

        Returns
        -------
        tuple of int, or None
            Number of pixels from the origin to the outer edge of the first pixel, and the direction: 1, or -1 if
            coordinates run against `step`. None if they don't match the grid; (0, 1) if there are none.
        """
        if not self.values.size:
            return 0, 1
        if not self.are_contiguous:
            return None
        pixels = (self.values - origin) / step - anchor
        direction = -1 if pixels[-1] < pixels[0] else 1
        first = round(float(np.median(pixels - direction * self.index)))
        off = float(np.abs(pixels - direction * self.index - first).max())
        return (first + (direction < 0), direction) if off <= TOLERATED + self.rounding / abs(step) else None


def _decimals(values: npt.NDArray[np.float64], rounding: float) -> float:
    """Half a unit of the last decimal of numbers with few decimals; 0 if they have more than six."""
    for digits in range(_MOST_DIGITS + 1):
        if (np.abs(values - np.round(values, digits)) <= rounding).all():
            return 0.5 * 10.0**-digits
    return 0.0


def read_transform(stated: Any, where: str, *, gdal: bool) -> Affine:
    """Parse the six numbers of an affine transform, in GDAL's order or that of `affine.Affine`.

    They are stated as a sequence or as text; numbers after the sixth are ignored. `where` names the file or array in
    messages. Raises SceneError if there are fewer than six numbers, or they are not a usable transform.
    """
    parts = stated.replace(",", " ").split() if isinstance(stated, str) else stated
    parts = list(parts) if isinstance(parts, Iterable) else []
    if len(parts) < _TRANSFORM_SIZE:
        msg = f"{where}: {str(stated)[:80]!r} is not a transform; expected six numbers"
        raise SceneError(msg)
    numbers = [as_number(number, f"{where}: transform") for number in parts[:_TRANSFORM_SIZE]]
    transform = Affine.from_gdal(*numbers) if gdal else Affine(*numbers)
    check_transform(transform, where)
    return transform


def check_transform(transform: Affine, where: str) -> None:
    """Raise SceneError unless a transform is finite and invertible, and its pixels are distinguishable."""
    numbers = tuple(transform)[:6]
    sides = math.hypot(transform.a, transform.d), math.hypot(transform.b, transform.e)
    if not all(abs(number) < LARGEST_NUMBER for number in numbers):  # also False for NaN
        why = "its numbers are not finite, or too large"
    elif not min(sides) > 1 / LARGEST_NUMBER:
        why = "its pixels have no size"
    elif not abs(transform.determinant / sides[0] / sides[1]) > _LEAST_FLATNESS:
        why = "its rows and columns are parallel"
    elif math.ulp(max(abs(transform.c), abs(transform.f))) > min(sides):
        why = f"pixels of {sides[0]:g} x {sides[1]:g} are smaller than the rounding of coordinates there"
    else:
        return
    msg = f"{where}: its geotransform is {numbers}: {why}; repair it, in a file with gdal_edit.py -a_ullr"
    raise SceneError(msg)
