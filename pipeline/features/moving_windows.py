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

_STRIP: Final = 1 << 15
"""Pixels that are computed at once, so that intermediate results stay in the processor's cache."""

_COPIES: Final = 4
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
        counts = _sums(_with_margin(valid, valid, (rows, columns), size, np.dtype(np.uint8)), size)
        known = valid[rows, columns]
        for plane, means in zip(data, out, strict=True):
            sums = _sums(_with_margin(plane, valid, (rows, columns), size, np.dtype(np.float64)), size)
            np.divide(sums, counts, out=sums, where=known)
            np.copyto(means[target], sums, casting="same_kind")
            np.copyto(means[target], 0, where=~known)


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


def _with_margin(
    plane: npt.NDArray[Any], valid: Validity, inner: Inner, size: int, dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    """Copy a rectangle with a margin of `size // 2` pixels; 0 where pixels are not valid, and beyond the plane."""
    margin = size // 2
    copy = np.zeros([part.stop - part.start + 2 * margin for part in inner], dtype)
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


def _sums(values: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """Sum of each square inside of an array, shape (rows - size + 1, columns - size + 1)."""
    rows, columns = (side - size + 1 for side in values.shape)
    down = values[:rows].copy()
    for shift in range(1, size):
        down += values[shift : shift + rows]
    across = down[:, :columns].copy()
    for shift in range(1, size):
        across += down[:, shift : shift + columns]
    return across
