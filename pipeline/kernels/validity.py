"""Which pixels of a block hold data."""

import numpy as np
import numpy.typing as npt
from numba import njit


@njit(nogil=True, cache=True)
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


def strike_invalid(
    data: npt.NDArray[np.generic], nodata: tuple[float | None, ...], valid: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Strike out of `valid`, in place, the pixels in which any band has no data.

    Parameters
    ----------
    data : ndarray, shape (band, rows, columns)
        Pixels as the file holds them.
    nodata : tuple of float or None
        Each band's nodata value. NaN and the infinities never are data, whatever it says.
    valid : ndarray of bool, shape (rows, columns)
        True where a mask or alpha band, if there is one, lets the pixel pass.

    Returns
    -------
    ndarray of bool, shape (rows, columns)
        The same array.
    """
    marked = np.array([value is not None and not np.isnan(value) for value in nodata])
    if marked.any() or data.dtype.kind == "f":
        values = np.array([value if m and value is not None else 0 for value, m in zip(nodata, marked, strict=True)])
        _strike(data, marked, values.astype(data.dtype), valid)
    return valid
