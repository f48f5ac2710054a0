"""Nearest centroid of every pixel of a block, and the numbers it is found with."""

from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.kernels.nearest import BANDS, Block, Stretch, assign_pixels


def working_dtype(dtype: npt.DTypeLike) -> np.dtype[np.floating]:
    """Float type in which distances between pixels of `dtype` are computed.

    float32 holds every 8- and 16-bit integer exactly; wider numbers are worked on in float64.
    """
    return np.result_type(dtype, np.float32)


_FAR: Final = 256
"""How many times farther from 0 than from each other centroids may lie for float32 to tell pixels apart by them."""


def working_stretch(stretch: Stretch, dtype: npt.DTypeLike) -> Stretch:
    """Stretch in the type in which distances between pixels of `dtype` are computed."""
    return None if stretch is None else np.ascontiguousarray(stretch, working_dtype(dtype))


def working_centroids(
    centroids: npt.NDArray[np.floating], stretch: Stretch, dtype: npt.DTypeLike
) -> npt.NDArray[np.floating]:
    """Centroids, shape (k, band), as distances to pixels of `dtype` are taken from them: stretched, with more bands.

    They are float64 where they lie so close together, and so far from 0, that they would be others in float32.
    """
    k, bands = centroids.shape
    stretched = np.asarray(centroids if stretch is None else centroids * stretch, np.float64)
    near = np.abs(stretched).max() <= _FAR * np.ptp(stretched, axis=0).max()
    wide = np.zeros((k, -(-bands // BANDS) * BANDS), working_dtype(dtype) if near else np.float64)
    wide[:, :bands] = stretched
    return wide


def assign(
    data: Block, valid: npt.NDArray[np.bool_], centroids: npt.NDArray[np.floating], stretch: Stretch = None
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
        Distances are Euclidean, summed band by band in `working_dtype`, or in float64 where that is too coarse for
        the centroids.
    """
    centres = working_centroids(centroids, stretch, data.dtype)
    labels = np.empty(data.shape[1:], np.uint8)
    flat = np.ascontiguousarray(data).reshape(data.shape[0], -1)
    assign_pixels(
        flat,
        np.ascontiguousarray(valid).reshape(-1),
        centres,
        working_stretch(stretch, centres.dtype),
        labels.reshape(-1),
    )
    return labels
