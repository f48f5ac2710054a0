"""The kernel that finds the nearest centroid of every pixel, and the parts that other kernels share with it.

Distances are computed in the working type of the pixels, vectorised over many pixels. Where the two smallest distances
are so close that rounding could have changed their order, the pixel is compared with all centroids in float64.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points, Stretch
from pipeline.kernels.arithmetic import fma
from pipeline.kernels.compiled import compiled

TILE_POINTS: Final = 512
"""Number of pixels per tile: a few bands of a tile fit the first-level cache."""

BANDS_AT_ONCE: Final = 4
"""Number of bands whose squared differences are added in one loop."""

CLASSES_AT_ONCE: Final = 4
"""Number of classes whose distances are computed in one loop."""


class Centroids(NamedTuple):
    """Centroids in the form kernels take: rounded for the fast search, exact for the recheck of doubtful pixels."""

    rounded: npt.NDArray[np.floating]
    """Stretched centroids in the working type, shape (class, band); padded to a multiple of `BANDS_AT_ONCE` with zeros
    and to a multiple of `CLASSES_AT_ONCE` with infinities, which are nearest to no pixel."""
    stretch: Stretch
    """Stretch in the working type, shape (band,)."""
    exact: npt.NDArray[np.float64]
    """Centroids in the units of the pixels, shape (class, band)."""
    exact_stretch: Stretch
    """Stretch in float64, shape (band,)."""
    relative_error: float
    """Error bound of the difference of two squared distances, as a share of the larger squared distance."""
    distance_error: float
    """Further error bound of that difference per unit of distance, from rounding of pixels and centroids."""
    absolute_error: float
    """Further error bound of that difference for any distance."""


@compiled
def _nearest_exactly(point: npt.NDArray[Any], centroids: npt.NDArray[np.float64], stretch: Stretch) -> int:
    """Return 1 + the index of the centroid nearest to one point, shape (band,).

    Two centroids are compared by the side of their bisecting plane on which the point is. This stays accurate to the
    last digits however far away both are.
    """
    best = 0
    for c in range(1, centroids.shape[0]):
        nearer = 0.0
        for b in range(point.size):
            value, a, z = np.float64(point[b]), centroids[best, b], centroids[c, b]
            apart, beyond = z - a, (value - a) + (value - z)
            if stretch is not None:  # decided when the kernel is compiled
                apart, beyond = apart * stretch[b], beyond * stretch[b]
            nearer += apart * beyond
        if nearer > 0:
            best = c
    return best + 1


@compiled
def _four_bands(centroids: npt.NDArray[np.floating], c: int, g: int) -> tuple[Any, Any, Any, Any]:
    """Return the coordinates of centroid c in the four bands from g on."""
    return centroids[c, g], centroids[c, g + 1], centroids[c, g + 2], centroids[c, g + 3]


@compiled
def _add_squares(pixel: tuple[Any, Any, Any, Any], centroid_bands: tuple[Any, Any, Any, Any], total: Any) -> Any:
    """Add the squared differences of four bands to a total."""
    total = fma(pixel[0] - centroid_bands[0], pixel[0] - centroid_bands[0], total)
    total = fma(pixel[1] - centroid_bands[1], pixel[1] - centroid_bands[1], total)
    total = fma(pixel[2] - centroid_bands[2], pixel[2] - centroid_bands[2], total)
    return fma(pixel[3] - centroid_bands[3], pixel[3] - centroid_bands[3], total)


@compiled
def _update_nearest(total: Any, c: int, known: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """Update the two smallest distances and the label of the nearest centroid with the distance to centroid c."""
    nearest, second, label = known
    update_nearest_distances = total < nearest
    return (
        total if update_nearest_distances else nearest,
        min(second, nearest if update_nearest_distances else total),
        c + 1 if update_nearest_distances else label,
    )


@compiled
def nearest_class(  # noqa: PLR0917 (numba takes arguments by position)
    tile: npt.NDArray[np.floating],
    n: int,
    centroids: npt.NDArray[np.floating],
    distance: npt.NDArray[np.floating],
    nearest: npt.NDArray[np.floating],
    second: npt.NDArray[np.floating],
    label: npt.NDArray[np.int32],
) -> None:
    """Fill `label` with 1 + the nearest centroid of the first n pixels of a tile (band, pixel), up to rounding.

    `nearest` and `second` are filled with the squared distances to the nearest and second nearest centroid. Bands are
    stretched and padded with zeros to a multiple of `BANDS_AT_ONCE`, as those of the centroids. `distance` must be
    zero, and is zero afterwards.

    Every inner loop runs from 0 over rows that the compiler knows to be contiguous: otherwise it is not vectorised.
    Four classes share the loads and stores of a pixel.
    """
    last = tile.shape[0] - BANDS_AT_ONCE
    to_one, to_two, to_three, to_four = distance[0], distance[1], distance[2], distance[3]
    for i in range(n):
        nearest[i] = np.inf
        second[i] = np.inf
        label[i] = 1
    for c in range(0, centroids.shape[0], CLASSES_AT_ONCE):
        for g in range(0, last, BANDS_AT_ONCE):
            p, q, r, s = tile[g], tile[g + 1], tile[g + 2], tile[g + 3]
            one, two = _four_bands(centroids, c, g), _four_bands(centroids, c + 1, g)
            three, four = _four_bands(centroids, c + 2, g), _four_bands(centroids, c + 3, g)
            for i in range(n):
                pixel = p[i], q[i], r[i], s[i]
                to_one[i] = _add_squares(pixel, one, to_one[i])
                to_two[i] = _add_squares(pixel, two, to_two[i])
                to_three[i] = _add_squares(pixel, three, to_three[i])
                to_four[i] = _add_squares(pixel, four, to_four[i])
        g = last
        p, q, r, s = tile[g], tile[g + 1], tile[g + 2], tile[g + 3]
        one, two = _four_bands(centroids, c, g), _four_bands(centroids, c + 1, g)
        three, four = _four_bands(centroids, c + 2, g), _four_bands(centroids, c + 3, g)
        for i in range(n):
            pixel, known = (p[i], q[i], r[i], s[i]), (nearest[i], second[i], label[i])
            known = _update_nearest(_add_squares(pixel, one, to_one[i]), c, known)
            known = _update_nearest(_add_squares(pixel, two, to_two[i]), c + 1, known)
            known = _update_nearest(_add_squares(pixel, three, to_three[i]), c + 2, known)
            nearest[i], second[i], label[i] = _update_nearest(_add_squares(pixel, four, to_four[i]), c + 3, known)
            to_one[i], to_two[i], to_three[i], to_four[i] = 0, 0, 0, 0


@compiled
def recheck_doubtful(  # noqa: PLR0917 (numba takes arguments by position)
    points: Points,
    positions: npt.NDArray[np.int32] | None,
    valid_points: npt.NDArray[np.bool_] | None,
    centroids: Centroids,
    nearest: npt.NDArray[np.floating],
    second: npt.NDArray[np.floating],
    label: npt.NDArray[np.int32],
) -> None:
    """Recompute labels exactly where the two smallest distances differ by less than rounding errors, or overflowed.

    `label` belongs to the points at `positions`, or to the first points if that is None. Invalid points are skipped.
    """
    share, slope = nearest.dtype.type(centroids.relative_error), nearest.dtype.type(centroids.distance_error)
    least, doubtful = nearest.dtype.type(centroids.absolute_error), 0
    for i in range(label.size):
        clear = second[i] - nearest[i] > share * second[i] + slope * np.sqrt(second[i]) + least
        doubtful += not clear
    if not doubtful:
        return
    for i in range(label.size):
        clear = second[i] - nearest[i] > share * second[i] + slope * np.sqrt(second[i]) + least
        if not clear and (valid_points is None or valid_points[i]):
            position = i if positions is None else positions[i]
            label[i] = _nearest_exactly(points[:, position], centroids.exact, centroids.exact_stretch)


@compiled
def load_tile(data: Points, start: int, n: int, stretch: Stretch, tile: npt.NDArray[np.floating]) -> None:
    """Fill a tile with n stretched pixels of a block (band, pixel), beginning at `start`."""
    for b in range(data.shape[0]):
        row, tile_row = data[b, start : start + n], tile[b]
        for i in range(n):
            tile_row[i] = row[i]
        if stretch is not None:  # decided when the kernel is compiled
            for i in range(n):
                tile_row[i] *= stretch[b]


class Workspace(NamedTuple):
    """Buffers for a tile of points, as `nearest_class` takes them."""

    tile: npt.NDArray[np.floating]
    """Stretched points, shape (band, point), bands padded as in `Centroids.rounded`."""
    distance: npt.NDArray[np.floating]
    """Partial squared distances, shape (`CLASSES_AT_ONCE`, point); zero between calls."""
    nearest: npt.NDArray[np.floating]
    """Squared distance to the nearest centroid, shape (point,)."""
    second: npt.NDArray[np.floating]
    """Squared distance to the second nearest centroid, shape (point,)."""
    label: npt.NDArray[np.int32]
    """1 + the index of the nearest centroid, shape (point,)."""


@compiled
def make_workspace(centroids: npt.NDArray[np.floating]) -> Workspace:
    """Allocate the buffers for a tile of points, for padded centroids (class, band)."""
    dtype = centroids.dtype
    return Workspace(
        np.zeros((centroids.shape[1], TILE_POINTS), dtype),
        np.zeros((CLASSES_AT_ONCE, TILE_POINTS), dtype),
        np.empty(TILE_POINTS, dtype),
        np.empty(TILE_POINTS, dtype),
        np.empty(TILE_POINTS, np.int32),
    )


@compiled
def assign_pixels(
    data: Points,
    valid: npt.NDArray[np.bool_],
    centroids: Centroids,
    labels: npt.NDArray[np.unsignedinteger],
) -> None:
    """Label the pixels of a block (band, pixel) tile by tile: 0 where not valid, else 1 + the nearest centroid."""
    pixels, workspace = data.shape[1], make_workspace(centroids.rounded)
    for start in range(0, pixels, TILE_POINTS):
        n = min(TILE_POINTS, pixels - start)
        found, valid_points = labels[start : start + n], valid[start : start + n]
        if not valid_points.any():
            found[:] = 0
            continue
        load_tile(data, start, n, centroids.stretch, workspace.tile)
        nearest_class(
            workspace.tile,
            n,
            centroids.rounded,
            workspace.distance,
            workspace.nearest,
            workspace.second,
            workspace.label,
        )
        recheck_doubtful(
            data[:, start : start + n],
            None,
            valid_points,
            centroids,
            workspace.nearest,
            workspace.second,
            workspace.label[:n],
        )
        for i in range(n):
            found[i] = workspace.label[i] * valid_points[i]
