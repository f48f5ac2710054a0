"""Which pixels of a block hold data."""

import sys
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt


def representable(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether a pixel of this type can have this value, but for rounding of floats."""
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return False
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return isfinite(dtype.type(float(value))) or not isfinite(value)
    limits = np.iinfo(dtype)
    return isfinite(value) and limits.min <= value <= limits.max and float(value).is_integer()


def mask_invalid(
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
    for plane, value in zip(data, nodata, strict=True):
        if data.dtype.kind == "f":
            valid &= np.isfinite(plane)
        if value is not None and representable(value, data.dtype):
            valid &= plane != data.dtype.type(value)
    return valid
