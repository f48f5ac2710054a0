"""Which pixels of a block hold data."""

import sys
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiled import compiled


@compiled
def _strike(data: npt.NDArray[np.generic], marked: npt.NDArray[np.bool_], nodata: npt.NDArray[np.generic],
            valid: npt.NDArray[np.bool_]) -> None:  # fmt: skip
    """Set `valid` to False where a band is not finite or equals its nodata value."""
    bands, rows, columns = data.shape
    for b in range(bands):
        value, is_marked = nodata[b], marked[b]
        for i in range(rows):
            for j in range(columns):
                x = data[b, i, j]
                valid[i, j] &= np.isfinite(x) and not (is_marked and x == value)


def representable(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether a pixel of this type can have this value, but for rounding of floats."""
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return False
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return isfinite(dtype.type(float(value))) or not isfinite(value)
    limits = np.iinfo(dtype)
    return isfinite(value) and limits.min <= value <= limits.max and float(value).is_integer()


def strike_invalid(
    data: npt.NDArray[np.generic], nodata: tuple[float | None, ...], valid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Strike out of `valid`, in place, the pixels in which any band has no data.

    Parameters
    ----------
    data : ndarray, shape (band, rows, columns)
        Pixels as the file holds them.
    nodata : tuple of float or None
        Each band's nodata value; one that the dtype can't hold marks nothing. NaN and the infinities never
        are data, whatever it says.
    valid : ndarray of bool, shape (rows, columns)
        True where a mask or alpha band, if there is one, lets the pixel pass.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        The same array.
    """
    possible = [value if value is not None and representable(value, data.dtype) else None for value in nodata]
    marked = np.array([value is not None for value in possible])
    if marked.any() or data.dtype.kind == "f":
        values = np.array([0 if value is None else value for value in possible], data.dtype)
        _strike(data, marked, values, valid)
    return valid
