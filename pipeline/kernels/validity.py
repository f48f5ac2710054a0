"""Validity of pixels: nodata values and numbers that are not finite."""

import sys
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt


def representable(value: float, dtype: np.dtype[Any]) -> bool:
    """Whether a pixel of this dtype can have this value (floats: after rounding)."""
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
    """Clear `valid`, in place, where any band is nodata, NaN or infinite.

    Parameters
    ----------
    data : ndarray, shape (band, rows, columns)
        Pixels as stored in the file.
    nodata : tuple of float or None
        Nodata value per band; one that the dtype can't represent matches no pixel. NaN and infinities are always
        invalid.
    valid : ndarray of bool, shape (rows, columns)
        True where the pixel is not masked out by a mask or alpha band.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        `valid` itself.
    """
    for plane, value in zip(data, nodata, strict=True):
        if data.dtype.kind == "f":
            valid &= np.isfinite(plane)
        if value is not None and representable(value, data.dtype):
            valid &= plane != data.dtype.type(value)
    return valid
