"""Coordinates of pixels along rows and columns: whether they are evenly spaced, and on the grid of a transform."""

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
"""Share of a pixel by which coordinates may miss the place that a transform gives them."""

_UNEVEN: Final = 1e-3
"""Share of a pixel by which coordinates may miss even steps, beside the rounding of their numbers."""

_MOST_DIGITS: Final = 6
_TURN: Final = 360
_NUMBERS_OF_A_TRANSFORM: Final = 6
_FLATTEST: Final = 1e-9
"""Of a pixel, its area over the product of its sides: in a flatter one rows and columns run the same way."""


@dataclass(frozen=True)
class Coordinates:
    """Coordinates along rows or columns."""

    name: Hashable
    size: int
    """Pixels."""
    index: npt.NDArray[np.intp]
    """Pixels whose coordinates are finite: padding gives NaN."""
    values: npt.NDArray[np.float64]
    """Their coordinates, in the units of the CRS; none where there are no coordinates."""
    rounding: float
    """What a coordinate may be off by, as its type has no more digits."""
    digits: float
    """What it may be off by, as it was written with few decimals."""

    @classmethod
    def of(
        cls, name: Hashable, stored: npt.NDArray[Any], factor: float, *, kind: np.dtype[Any], turns: bool
    ) -> "Coordinates":
        """Coordinates of a dimension.

        Parameters
        ----------
        name : str
            The dimension.
        stored : ndarray of numbers, shape (pixels,)
            Its coordinates.
        factor : float
            What they are multiplied by to be in the units of the CRS.
        kind : dtype
            That in which they were written.
        turns : bool
            Whether they are longitudes, which go on at -180 after 180.
        """
        index = np.flatnonzero(np.isfinite(stored))
        finite = stored[index].astype(np.float64)
        largest = float(np.abs(finite).max()) if finite.size else 0.0
        rounding = float(np.spacing((kind if kind.kind == "f" else np.dtype(np.float64)).type(largest)))
        digits = _decimals(finite, rounding)
        values = finite if factor == 1 else finite * factor
        if turns and (np.abs(np.diff(values)) > _TURN / 2).any():
            values = np.unwrap(values, period=_TURN)  # from 179 on to -179
        return cls(name, stored.size, index, values, rounding * abs(factor), digits * abs(factor))

    @classmethod
    def none(cls, name: Hashable, size: int) -> "Coordinates":
        """Coordinates of a dimension that has none."""
        return cls(name, size, np.empty(0, np.intp), np.empty(0), 0.0, 0.0)

    @property
    def step(self) -> float:
        """Size of a pixel by the first and the last coordinate, of two or more; not finite of less."""
        if self.values.size < 2:  # noqa: PLR2004
            return float("nan")
        return float((self.values[-1] - self.values[0]) / (self.index[-1] - self.index[0]))

    @property
    def start(self) -> float:
        """Coordinate of the first pixel."""
        return float(self.values[0]) - (self.step * int(self.index[0]) if self.index[0] else 0.0)

    @property
    def are_even(self) -> bool:
        """Whether two or more are evenly spaced, but for the rounding of their numbers."""
        step = abs(self.step)
        if not step > 0 or not self.have_no_gap:
            return False
        off = np.abs(self.values - (self.start + self.step * self.index)).max()
        allowed = _UNEVEN * step + 2 * self.rounding + min(2 * self.digits, TOLERATED * step)
        return bool(off <= allowed and self.rounding <= step / 2)

    @property
    def have_no_gap(self) -> bool:
        """Whether none is missing but at the ends, where padding leaves them out."""
        return bool(self.index[-1] - self.index[0] == self.index.size - 1)

    def onto(self, origin: float, step: float, anchor: float = 0.5) -> tuple[int, int] | None:
        """Pixels of a grid from its origin to the first one's edge, and 1, or -1 where they go the other way.

        None where coordinates lie on no such grid. `anchor` is where in a pixel its coordinates are.
        """
        if not self.values.size:
            return 0, 1
        if not self.have_no_gap:
            return None
        pixels = (self.values - origin) / step - anchor
        way = -1 if pixels[-1] < pixels[0] else 1
        first = round(float(np.median(pixels - way * self.index)))
        off = float(np.abs(pixels - way * self.index - first).max())
        return (first + (way < 0), way) if off <= TOLERATED + self.rounding / abs(step) else None


def _decimals(values: npt.NDArray[np.float64], rounding: float) -> float:
    """Half of the last decimal that numbers have; 0 where they have many."""
    for digits in range(_MOST_DIGITS + 1):
        if (np.abs(values - np.round(values, digits)) <= rounding).all():
            return 0.5 * 10.0**-digits
    return 0.0


def read_transform(stated: Any, where: str, *, gdal: bool) -> Affine:
    """Read the six numbers of a transform.

    Parameters
    ----------
    stated : sequence of numbers, or str
        As it is stated; what follows the six does not count.
    where : str
        For messages.
    gdal : bool
        Whether they are in GDAL's order, not in that of `affine.Affine`.

    Raises
    ------
    SceneError
        When there are no such, or they give pixels no size.
    """
    parts = stated.replace(",", " ").split() if isinstance(stated, str) else stated
    parts = list(parts) if isinstance(parts, Iterable) else []
    if len(parts) < _NUMBERS_OF_A_TRANSFORM:
        msg = f"{where}: {str(stated)[:80]!r} is no transform; expected six numbers"
        raise SceneError(msg)
    numbers = [as_number(number, f"{where}: transform") for number in parts[:_NUMBERS_OF_A_TRANSFORM]]
    transform = Affine.from_gdal(*numbers) if gdal else Affine(*numbers)
    check_transform(transform, where)
    return transform


def check_transform(transform: Affine, where: str) -> None:
    """Raise SceneError unless each pixel of a grid has a place of its own."""
    numbers = tuple(transform)[:6]
    sides = math.hypot(transform.a, transform.d), math.hypot(transform.b, transform.e)
    if not all(abs(number) < LARGEST_NUMBER for number in numbers):  # NaN is not
        why = "numbers that place nothing"
    elif not min(sides) > 1 / LARGEST_NUMBER:
        why = "gives pixels no size"
    elif not abs(transform.determinant / sides[0] / sides[1]) > _FLATTEST:
        why = "rows and columns run the same way"
    elif math.ulp(max(abs(transform.c), abs(transform.f))) > min(sides):
        why = f"pixels of {sides[0]:g} x {sides[1]:g} are too small to be told apart there"
    else:
        return
    msg = f"{where}: its geotransform is {numbers}: {why}; mend it (gdal_edit.py -a_ullr), or give the scene another"
    raise SceneError(msg)
