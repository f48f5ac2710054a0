"""Nearest centroid of every pixel of a block, and the numbers it is found with."""

from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Planes, Stretch
from pipeline.kernels.nearest import BANDS, CLASSES, Centroids, assign_pixels


def working_dtype(dtype: npt.DTypeLike) -> np.dtype[np.floating]:
    """Float type in which distances between pixels of `dtype` are computed.

    float32 holds every 8- and 16-bit integer exactly; wider numbers are worked on in float64.
    """
    return np.result_type(dtype, np.float32)


_FAR: Final = 4096
"""How many times farther from 0 than from each other centroids may lie for float32 to tell nearly all pixels apart."""


def working_stretch(stretch: Stretch, dtype: npt.DTypeLike) -> Stretch:
    """Stretch in the type in which distances between pixels of `dtype` are computed."""
    return None if stretch is None else np.ascontiguousarray(stretch, working_dtype(dtype))


def working_centroids(centroids: npt.NDArray[np.floating], stretch: Stretch, dtype: npt.DTypeLike) -> Centroids:
    """Centroids, shape (k, band), as kernels find the nearest of pixels of `dtype`.

    They are rounded to float64 where they lie so close together, and so far from 0, that in float32 too many pixels
    would have to be looked at closely. How much rounding can change follows from u, the half of the type's `eps`: a
    difference is wrong by at most 3 u (the centroid + the difference), the sum of n squares by n + 1 times u.
    """
    k, bands = centroids.shape
    exact = np.ascontiguousarray(centroids, np.float64)
    stretched = exact if stretch is None else exact * stretch
    near = np.abs(stretched).max() <= _FAR * np.ptp(stretched, axis=0).max()
    shape = -(-k // CLASSES) * CLASSES, -(-bands // BANDS) * BANDS
    rounded = np.zeros(shape, working_dtype(dtype) if near else np.float64)
    rounded[:k, :bands] = stretched
    rounded[k:] = np.inf
    limits, farthest = np.finfo(rounded.dtype), float(np.linalg.norm(stretched, axis=1).max())
    blur = float(limits.eps) * farthest
    return Centroids(
        rounded=rounded,
        stretch=working_stretch(stretch, rounded.dtype),
        exact=exact,
        exact_stretch=working_stretch(stretch, np.float64),
        share=float(limits.eps) * (rounded.shape[1] + 8),
        slope=6 * blur,
        least=9 * blur**2 + float(limits.tiny) * rounded.shape[1],
    )


def assign(
    data: Planes, valid: npt.NDArray[np.bool_], centroids: npt.NDArray[np.floating], stretch: Stretch = None
) -> npt.NDArray[np.uint8]:
    """Label every pixel of a block with its nearest centroid.

    Parameters
    ----------
    data : ndarray, shape (band, rows, columns)
        Pixels in the file's own dtype and units.
    valid : ndarray of bool, shape (rows, columns)
        True where a pixel holds data.
    centroids : ndarray of float, shape (k, band)
        Class centres in the same units; k is at most 254.
    stretch : ndarray of float, shape (band,), optional
        What differences of each band are multiplied by; 1 unless given.

    Returns
    -------
    ndarray of uint8, shape (rows, columns)
        0 where `valid` is False, else 1 + the index of the nearest centroid (the first of equally near ones).
        Distances are Euclidean, in float64 wherever a coarser type could tell another centroid the nearest.
    """
    labels = np.empty(data.shape[1:], np.uint8)
    flat = np.ascontiguousarray(data).reshape(data.shape[0], -1)
    aims = working_centroids(centroids, stretch, data.dtype)
    assign_pixels(flat, np.ascontiguousarray(valid).reshape(-1), aims, labels.reshape(-1))
    return labels
