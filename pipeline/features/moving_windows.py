"""Statistics of the square of pixels around each pixel: only valid ones take part, and no block leaves a seam.

Sums are of whole squares, each added up in the same order. Running sums would be faster for wide squares, but of floats
they depend on where they begin.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Planes, Validity
from pipeline.features.base import Inner

Plane = npt.NDArray[Any]
"""A band of a rectangle, shape (rows, columns)."""

_STRIP: Final = 1 << 15
"""Pixels that are computed at once, so that intermediate results stay in the processor's cache."""

_COPIES: Final = 6
"""Intermediate results of a strip, as float64."""


def window_means(data: Planes, valid: Validity, size: int, inner: Inner, out: Planes) -> None:
    """Compute the mean of the valid pixels of the square around each pixel.

    Parameters
    ----------
    data : ndarray, shape (band, rows, columns)
        Pixels of any integer or floating dtype, finite where they are valid.
    valid : ndarray of bool, shape (rows, columns)
        Valid pixels.
    size : int
        Pixels per side of the square, odd and at most 15.
    inner : tuple of slices
        Rows and columns that are computed. Beyond the array no pixel is valid.
    out : ndarray of float, shape (band, rows, columns) of `inner`
        Filled with the means; 0 where a pixel is not valid itself.
    """
    for rows, columns, target in _strips(inner, size):
        known, counts = valid[rows, columns], _counts(valid, (rows, columns), size)
        for plane, means in zip(data, out, strict=True):
            sums = _reduce(_with_margin(plane, valid, (rows, columns), size), size, np.add)
            np.divide(sums, counts, out=sums, where=known)
            _store(sums, known, means[target])


def window_deviations(plane: Plane, valid: Validity, size: int, inner: Inner, out: Plane) -> None:
    """Compute the population standard deviation of the valid pixels of the square around each pixel.

    It is exact up to rounding for integers of 16 bits; of other numbers, deviations of less than 1e-7 of the values may
    be lost. Parameters are those of `window_means`, for one band.
    """
    for rows, columns, target in _strips(inner, size):
        known, counts = valid[rows, columns], _counts(valid, (rows, columns), size).astype(np.float64)
        numbers = _with_margin(plane, valid, (rows, columns), size)
        with np.errstate(all="ignore"):  # squares may overflow
            squares = _reduce(np.square(numbers), size, np.add)
            squares *= counts
            squares -= np.square(_reduce(numbers, size, np.add))
            np.divide(np.sqrt(squares.clip(0)), counts, out=squares, where=known)
        _store(squares, known & np.isfinite(squares), out[target])


def window_ranges(plane: Plane, valid: Validity, size: int, inner: Inner, out: Plane) -> None:
    """Compute the largest minus the smallest valid pixel of the square around each pixel; see `window_deviations`."""
    for rows, columns, target in _strips(inner, size):
        known = valid[rows, columns]
        highest = _reduce(_with_margin(plane, valid, (rows, columns), size, -np.inf), size, np.maximum)
        lowest = _reduce(_with_margin(plane, valid, (rows, columns), size, np.inf), size, np.minimum)
        np.subtract(highest, lowest, out=highest, where=known)
        _store(highest, known, out[target])


def _store(values: npt.NDArray[np.float64], known: Validity, out: Plane) -> None:
    """Copy values where they are known; 0 elsewhere."""
    np.copyto(out, 0)
    with np.errstate(over="ignore"):
        np.copyto(out, values, where=known, casting="same_kind")


def window_bytes(size: int, width: int) -> int:
    """Bytes of intermediate results for squares of a size, in blocks of a width in pixels."""
    return _COPIES * 8 * (_strip_rows(size, width) + size) * (width + size)


def _strip_rows(size: int, width: int) -> int:
    """Rows of a strip: several times those of the margin, which are read for each strip."""
    return max(4 * size, _STRIP // max(1, width))


def _strips(inner: Inner, size: int) -> Iterator[tuple[slice, slice, slice]]:
    """Yield the rows and columns of each strip of a rectangle, and its rows counted from the rectangle's."""
    rows, columns = inner
    high = _strip_rows(size, columns.stop - columns.start)
    for start in range(rows.start, rows.stop, high):
        stop = min(start + high, rows.stop)
        yield slice(start, stop), columns, slice(start - rows.start, stop - rows.start)


def _with_margin(plane: Plane, valid: Validity, inner: Inner, size: int, fill: float = 0.0) -> npt.NDArray[Any]:
    """Copy a rectangle with a margin of `size // 2` pixels; filled where pixels are not valid, and beyond the plane.

    Numbers become float64; truth values, which are counted, uint8: a square has 225 pixels at most.
    """
    margin = size // 2
    dtype = np.uint8 if plane.dtype.kind == "b" else np.float64
    copy = np.full([part.stop - part.start + 2 * margin for part in inner], fill, dtype)
    source = tuple(
        slice(max(0, part.start - margin), min(side, part.stop + margin))
        for part, side in zip(inner, plane.shape, strict=True)
    )
    target = tuple(
        slice(found.start - part.start + margin, found.stop - part.start + margin)
        for part, found in zip(inner, source, strict=True)
    )
    np.copyto(copy[target], plane[source], where=valid[source])
    return copy


def _counts(valid: Validity, inner: Inner, size: int) -> npt.NDArray[np.uint8]:
    """Number of valid pixels of the square around each pixel of a rectangle."""
    return _reduce(_with_margin(valid, valid, inner, size), size, np.add)


def _reduce(values: npt.NDArray[Any], size: int, combine: np.ufunc) -> npt.NDArray[Any]:
    """Combine the numbers of each square inside of an array, shape (rows - size + 1, columns - size + 1)."""
    rows, columns = (side - size + 1 for side in values.shape)
    down = values[:rows].copy()
    for shift in range(1, size):
        combine(down, values[shift : shift + rows], out=down)
    across = down[:, :columns].copy()
    for shift in range(1, size):
        combine(across, down[:, shift : shift + columns], out=across)
    return across
