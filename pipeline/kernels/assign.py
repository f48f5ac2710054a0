"""Labels of a block: the nearest centroid of every pixel, and the float types it is found in."""

from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Planes, Stretch
from pipeline.kernels.nearest import BANDS_AT_ONCE, CLASSES_AT_ONCE, Centroids, assign_pixels


def working_dtype(dtype: npt.DTypeLike) -> np.dtype[np.floating]:
    """Float type in which distances between pixels of `dtype` are computed.

    float32 represents every 8- and 16-bit integer exactly; wider types are computed in float64.
    """
    return np.result_type(dtype, np.float32)


_MAX_OFFSET_RATIO: Final = 4096
"""Largest ratio of the centroids' magnitude to their range at which float32 still separates nearly all pixels."""


def working_stretch(stretch: Stretch, dtype: npt.DTypeLike) -> Stretch:
    """Convert the stretch to the float type in which distances between pixels of `dtype` are computed."""
    return None if stretch is None else np.ascontiguousarray(stretch, working_dtype(dtype))


def working_centroids(centroids: npt.NDArray[np.floating], stretch: Stretch, dtype: npt.DTypeLike) -> Centroids:
    """Prepare centroids, shape (k, band), for the kernels that find the nearest one to pixels of `dtype`.

    Where centroids are so close together, and so far from 0, that in float32 too many pixels would need the exact
    comparison, distances are computed in float64. The error bounds follow from the unit roundoff u, half of the type's
    `eps`: a difference is wrong by at most 3 u (centroid + difference), the sum of n squares by a factor of (n + 1) u.
    """
    k, bands = centroids.shape
    exact = np.ascontiguousarray(centroids, np.float64)
    stretched = exact if stretch is None else exact * stretch
    is_near_zero = np.abs(stretched).max() <= _MAX_OFFSET_RATIO * np.ptp(stretched, axis=0).max()
    shape = -(-k // CLASSES_AT_ONCE) * CLASSES_AT_ONCE, -(-bands // BANDS_AT_ONCE) * BANDS_AT_ONCE
    rounded = np.zeros(shape, working_dtype(dtype) if is_near_zero else np.float64)
    rounded[:k, :bands] = stretched
    rounded[k:] = np.inf
    limits, farthest = np.finfo(rounded.dtype), float(np.linalg.norm(stretched, axis=1).max())
    rounding = float(limits.eps) * farthest
    return Centroids(
        rounded=rounded,
        stretch=working_stretch(stretch, rounded.dtype),
        exact=exact,
        exact_stretch=working_stretch(stretch, np.float64),
        relative_error=float(limits.eps) * (rounded.shape[1] + 8),
        distance_error=6 * rounding,
        absolute_error=9 * rounding**2 + float(limits.tiny) * rounded.shape[1],
    )


def assign(
    data: Planes, valid: npt.NDArray[np.bool_], centroids: npt.NDArray[np.floating], stretch: Stretch = None
) -> npt.NDArray[np.uint8]:
    """Label every pixel of a block with its nearest centroid.

    Parameters
    ----------
    data : ndarray, shape (band, rows, columns)
        Pixels in the dtype and units of the file.
    valid : ndarray of bool, shape (rows, columns)
        True where a pixel is valid.
    centroids : ndarray of float, shape (k, band)
        Centroids in the units of `data`; k is at most 254.
    stretch : ndarray of float, shape (band,), optional
        Factor per band by which differences are multiplied; 1 by default.

    Returns
    -------
    ndarray of uint8, shape (rows, columns)
        0 where `valid` is False, else 1 + the index of the nearest centroid (the first of equally near ones).
        Distances are Euclidean; where rounding could change the nearest centroid they are compared in float64.
    """
    labels = np.empty(data.shape[1:], np.uint8)
    _fill(labels, data, valid, centroids, stretch)
    return labels


def nearest_points(
    data: Planes, valid: npt.NDArray[np.bool_], points: npt.NDArray[np.floating], stretch: Stretch = None
) -> npt.NDArray[np.uint16]:
    """Number every pixel of a block by its nearest point, as `assign`, for up to 65535 points."""
    numbers = np.empty(data.shape[1:], np.uint16)
    _fill(numbers, data, valid, points, stretch)
    return numbers


def _fill(
    labels: npt.NDArray[np.unsignedinteger],
    data: Planes,
    valid: npt.NDArray[np.bool_],
    centroids: npt.NDArray[np.floating],
    stretch: Stretch,
) -> None:
    """Fill labels with 0, or 1 + the index of the nearest centroid; see `assign`."""
    flat = np.ascontiguousarray(data).reshape(data.shape[0], -1)
    working = working_centroids(centroids, stretch, data.dtype)
    assign_pixels(flat, np.ascontiguousarray(valid).reshape(-1), working, labels.reshape(-1))
