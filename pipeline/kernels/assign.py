"""Nearest centroid of every pixel of a block, or of points that move from class to class.

Kernels that call `_nearest_class` stand in its file: numba, when it looks whether compiled code is out of date, looks
no further.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiled import compiled
from pipeline.kernels.fixed import LIMB

Block = npt.NDArray[Any]
"""Pixels of a block, of any type."""

Stretch = npt.NDArray[np.floating] | None
"""What differences of each band are multiplied by, shape (band,); None where that is 1 for all."""

TILE: Final = 1024
"""Pixels worked on at once: a few bands of them stay in the first-level cache."""


def working_dtype(dtype: npt.DTypeLike) -> np.dtype[np.floating]:
    """Float type in which distances between pixels of `dtype` are computed.

    float32 holds every 8- and 16-bit integer exactly; wider numbers are worked on in float64.
    """
    return np.result_type(dtype, np.float32)


@compiled
def _nearest_class(  # noqa: C901, PLR0917 (numba takes arguments by position)
    data: Block,
    start: int,
    stop: int,
    centroids: npt.NDArray[np.floating],
    stretch: Stretch,
    tile: npt.NDArray[np.floating],
    distance: npt.NDArray[np.floating],
    nearest: npt.NDArray[np.floating],
    label: npt.NDArray[np.int32],
) -> None:
    """Fill `label` with 1 + the nearest centroid of a (band, pixel) block's pixels from start to stop, a tile at most.

    Centroids are stretched already.

    Every inner loop runs from 0 over rows that are contiguous to the compiler's knowledge: only then does it
    work on many pixels at once.
    """
    bands, n = data.shape[0], stop - start
    for b in range(bands):
        row, wide = data[b, start:stop], tile[b]
        for i in range(n):
            wide[i] = row[i]
        if stretch is not None:  # decided when the kernel is compiled
            for i in range(n):
                wide[i] *= stretch[b]
    for i in range(n):
        nearest[i] = np.inf
        label[i] = 1  # kept where every distance overflows: a valid pixel has a class
    for c in range(centroids.shape[0]):
        wide, centre = tile[0], centroids[c, 0]
        for i in range(n):
            step = wide[i] - centre
            distance[i] = step * step
        for b in range(1, bands):
            wide, centre = tile[b], centroids[c, b]
            for i in range(n):
                step = wide[i] - centre
                distance[i] += step * step
        for i in range(n):
            closer = distance[i] < nearest[i]
            nearest[i] = distance[i] if closer else nearest[i]
            label[i] = c + 1 if closer else label[i]


@compiled
def _assign(
    data: Block,
    valid: npt.NDArray[np.bool_],
    centroids: npt.NDArray[np.floating],
    stretch: Stretch,
    labels: npt.NDArray[np.uint8],
) -> None:
    """Label the pixels of a (band, pixel) block tile by tile: 0 where not valid, else 1 + nearest centroid."""
    bands, pixels = data.shape
    tile = np.empty((bands, TILE), centroids.dtype)
    distance, nearest = np.empty(TILE, centroids.dtype), np.empty(TILE, centroids.dtype)
    label = np.empty(TILE, np.int32)
    for start in range(0, pixels, TILE):
        stop = min(start + TILE, pixels)
        _nearest_class(data, start, stop, centroids, stretch, tile, distance, nearest, label)
        found, holds = labels[start:stop], valid[start:stop]
        for i in range(stop - start):
            found[i] = label[i] * holds[i]


def working_stretch(stretch: Stretch, dtype: npt.DTypeLike) -> Stretch:
    """Stretch in the type in which distances between pixels of `dtype` are computed."""
    return None if stretch is None else np.ascontiguousarray(stretch, working_dtype(dtype))


def _stretched(centroids: npt.NDArray[np.floating], stretch: Stretch, dtype: npt.DTypeLike) -> npt.NDArray[np.floating]:
    """Centroids, shape (k, band), as `_nearest_class` wants them for pixels of `dtype`."""
    wide = centroids if stretch is None else centroids * stretch
    return np.ascontiguousarray(wide, working_dtype(dtype))


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
        Distances are Euclidean, summed band by band in `working_dtype`.
    """
    centres = _stretched(centroids, stretch, data.dtype)
    labels = np.empty(data.shape[1:], np.uint8)
    flat = np.ascontiguousarray(data).reshape(data.shape[0], -1)
    _assign(
        flat,
        np.ascontiguousarray(valid).reshape(-1),
        centres,
        working_stretch(stretch, data.dtype),
        labels.reshape(-1),
    )
    return labels


Scaling = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None
"""Origin and factor of each band, shape (band,) both, by which pixels become whole numbers; None where they are."""

OUTSIDE: Final = 255
"""Label of a point that is in no class and shall stay so."""


@compiled
def _move(  # noqa: PLR0917 (numba takes arguments by position)
    points: Block,
    centroids: npt.NDArray[np.floating],
    stretch: Stretch,
    scaling: Scaling,
    labels: npt.NDArray[np.uint8],
    counts: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64],
) -> int:
    """Move each point to its nearest class, its numbers from one class's sum to another's; count the moves."""
    bands, count = points.shape
    tile = np.empty((bands, TILE), centroids.dtype)
    distance, nearest = np.empty(TILE, centroids.dtype), np.empty(TILE, centroids.dtype)
    label = np.empty(TILE, np.int32)
    moves = 0
    for start in range(0, count, TILE):
        stop = min(start + TILE, count)
        known = labels[start:stop]
        inside = 0
        for i in range(stop - start):
            inside += known[i] != OUTSIDE
        if not inside:
            continue
        _nearest_class(points, start, stop, centroids, stretch, tile, distance, nearest, label)
        for i in range(stop - start):
            old, new = known[i], label[i]
            if new != old and old != OUTSIDE:  # noqa: PLR1714 (compiled)
                moves += 1
                known[i] = new
                counts[old] -= 1
                counts[new] += 1
                for b in range(bands):
                    if scaling is None:  # decided when the kernel is compiled
                        value = np.int64(points[b, start + i])
                    else:
                        exact = (points[b, start + i] - scaling[0][b]) * scaling[1][b]
                        rounded = np.rint(exact)
                        value = np.int64(rounded)
                        rest = np.int64(np.rint((exact - rounded) * LIMB))
                        sums[old, bands + b] -= rest
                        sums[new, bands + b] += rest
                    sums[old, b] -= value
                    sums[new, b] += value
    return moves


def move(  # noqa: PLR0917 (as the kernel)
    points: Block,
    centres: npt.NDArray[np.float64],
    labels: npt.NDArray[np.uint8],
    counts: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64],
    stretch: Stretch = None,
    scaling: Scaling = None,
) -> int:
    """Move each point to the class of its nearest centre, as `assign` finds it, and count the moves.

    Parameters
    ----------
    points : ndarray, shape (band, point)
        Any units.
    centres : ndarray of float64, shape (k, band)
        In the points' units.
    labels : ndarray of uint8, shape (point,)
        1 to k, 0 for a point that is in no class yet, `OUTSIDE` for one that takes no part; changed in place.
    counts : ndarray of int64, shape (k + 1,)
        Points with each label; changed in place.
    sums : ndarray of int64, shape (k + 1, column)
        Sums of the points with each label, as whole numbers (`FixedPoint.join`); row 0 means nothing. Only
        the points that move are added and subtracted, which is exact for whole numbers.
    stretch : ndarray of float, shape (band,), optional
        What differences of each band are multiplied by.
    scaling : tuple of ndarray, optional
        How points become whole numbers (`FixedPoint.scaling`); None where they are.
    """
    kind = working_dtype(points.dtype)
    centroids = _stretched(centres, stretch, kind)
    return _move(points, centroids, working_stretch(stretch, kind), scaling, labels, counts, sums)
