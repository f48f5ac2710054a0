"""The kernel that finds the nearest centroid of every pixel, and what others take of it.

Distances are taken in the pixels' working type, many pixels at once. Where the two least ones are so near each other
that rounding could have changed their order, the pixel itself is compared with all centroids in float64.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points, Stretch
from pipeline.kernels.arithmetic import fma
from pipeline.kernels.compiled import compiled

TILE_POINTS: Final = 512
"""Pixels worked on at once: a few bands of them stay in the first-level cache."""

BANDS: Final = 4
"""Bands whose differences are added up in one go."""

CLASSES: Final = 4
"""Classes that are looked at in one go."""


class Centroids(NamedTuple):
    """Centroids as kernels take them: once to look at all pixels, once to look closely at few."""

    rounded: npt.NDArray[np.floating]
    """Stretched, in the working type, shape (class, band), bands filled up to a multiple of `BANDS` by zeros, classes
    to one of `CLASSES` by infinities, to which nothing is near."""
    stretch: Stretch
    """In the working type."""
    exact: npt.NDArray[np.float64]
    """As they are, shape (class, band)."""
    exact_stretch: Stretch
    """In float64."""
    share: float
    """Of a squared distance that rounding may add or take, in it and the one that it is compared with together."""
    slope: float
    """The same, of a distance: what rounding of pixels and centroids brings."""
    least: float
    """The same, of any."""


@compiled
def _nearest_exactly(point: npt.NDArray[Any], centroids: npt.NDArray[np.float64], stretch: Stretch) -> int:
    """Give 1 + the nearest centroid of one point (band,).

    Of the nearest so far and the next one, what is compared is the side of the plane midway between them that
    the point is on: it is known to the last digits however far away both are.
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
def _corner(centroids: npt.NDArray[np.floating], c: int, g: int) -> tuple[Any, Any, Any, Any]:
    """Give the numbers of a centroid in the four bands from g on."""
    return centroids[c, g], centroids[c, g + 1], centroids[c, g + 2], centroids[c, g + 3]


@compiled
def _add_squares(pixel: tuple[Any, Any, Any, Any], at: tuple[Any, Any, Any, Any], total: Any) -> Any:
    """Add the squared differences in four bands."""
    total = fma(pixel[0] - at[0], pixel[0] - at[0], total)
    total = fma(pixel[1] - at[1], pixel[1] - at[1], total)
    total = fma(pixel[2] - at[2], pixel[2] - at[2], total)
    return fma(pixel[3] - at[3], pixel[3] - at[3], total)


@compiled
def _better(total: Any, c: int, known: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """Hold the distance to one more centroid to what is known: the least one, the next one, and whose the least is."""
    nearest, second, label = known
    closer = total < nearest
    return total if closer else nearest, min(second, nearest if closer else total), c + 1 if closer else label


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
    """Fill `label` with 1 + the nearest centroid of the first n pixels of a tile (band, pixel), but for rounding.

    The squared distances to it and to the next one are left in `nearest` and `second`. Bands are stretched, and filled
    up to a whole multiple of `BANDS` by zeros, as the centroids' are. `distance` is full of zeros, before and after.

    Every inner loop runs from 0 over rows that are contiguous to the compiler's knowledge: only then does it
    work on many pixels at once. Four classes share what is read and written of a pixel.
    """
    last = tile.shape[0] - BANDS
    to_one, to_two, to_three, to_four = distance[0], distance[1], distance[2], distance[3]
    for i in range(n):
        nearest[i] = np.inf
        second[i] = np.inf
        label[i] = 1
    for c in range(0, centroids.shape[0], CLASSES):
        for g in range(0, last, BANDS):
            p, q, r, s = tile[g], tile[g + 1], tile[g + 2], tile[g + 3]
            one, two = _corner(centroids, c, g), _corner(centroids, c + 1, g)
            three, four = _corner(centroids, c + 2, g), _corner(centroids, c + 3, g)
            for i in range(n):
                pixel = p[i], q[i], r[i], s[i]
                to_one[i] = _add_squares(pixel, one, to_one[i])
                to_two[i] = _add_squares(pixel, two, to_two[i])
                to_three[i] = _add_squares(pixel, three, to_three[i])
                to_four[i] = _add_squares(pixel, four, to_four[i])
        g = last
        p, q, r, s = tile[g], tile[g + 1], tile[g + 2], tile[g + 3]
        one, two = _corner(centroids, c, g), _corner(centroids, c + 1, g)
        three, four = _corner(centroids, c + 2, g), _corner(centroids, c + 3, g)
        for i in range(n):
            pixel, known = (p[i], q[i], r[i], s[i]), (nearest[i], second[i], label[i])
            known = _better(_add_squares(pixel, one, to_one[i]), c, known)
            known = _better(_add_squares(pixel, two, to_two[i]), c + 1, known)
            known = _better(_add_squares(pixel, three, to_three[i]), c + 2, known)
            nearest[i], second[i], label[i] = _better(_add_squares(pixel, four, to_four[i]), c + 3, known)
            to_one[i], to_two[i], to_three[i], to_four[i] = 0, 0, 0, 0


@compiled
def look_closely(  # noqa: PLR0917 (numba takes arguments by position)
    points: Points,
    place: npt.NDArray[np.int32] | None,
    holds: npt.NDArray[np.bool_] | None,
    centroids: Centroids,
    nearest: npt.NDArray[np.floating],
    second: npt.NDArray[np.floating],
    label: npt.NDArray[np.int32],
) -> None:
    """Label anew those of some points whose two least distances differ by less than rounding, or overflowed.

    They are the first points, or those at some places; those that hold no data are left out.
    """
    share, slope = nearest.dtype.type(centroids.share), nearest.dtype.type(centroids.slope)
    least, doubtful = nearest.dtype.type(centroids.least), 0
    for i in range(label.size):
        clear = second[i] - nearest[i] > share * second[i] + slope * np.sqrt(second[i]) + least
        doubtful += not clear
    if not doubtful:
        return
    for i in range(label.size):
        clear = second[i] - nearest[i] > share * second[i] + slope * np.sqrt(second[i]) + least
        if not clear and (holds is None or holds[i]):
            at = i if place is None else place[i]
            label[i] = _nearest_exactly(points[:, at], centroids.exact, centroids.exact_stretch)


@compiled
def load_tile(data: Points, start: int, n: int, stretch: Stretch, tile: npt.NDArray[np.floating]) -> None:
    """Fill a tile with n pixels of a block (band, pixel) from start on, their bands stretched."""
    for b in range(data.shape[0]):
        row, wide = data[b, start : start + n], tile[b]
        for i in range(n):
            wide[i] = row[i]
        if stretch is not None:  # decided when the kernel is compiled
            for i in range(n):
                wide[i] *= stretch[b]


class Workspace(NamedTuple):
    """What a tile of points is worked on in: points (band, point), and for each what `nearest_class` fills in."""

    tile: npt.NDArray[np.floating]
    distance: npt.NDArray[np.floating]
    nearest: npt.NDArray[np.floating]
    second: npt.NDArray[np.floating]
    label: npt.NDArray[np.int32]


@compiled
def make_room(centroids: npt.NDArray[np.floating]) -> Workspace:
    """Make what a tile of points is worked on in, for some centroids (class, band)."""
    kind = centroids.dtype
    return Workspace(
        np.zeros((centroids.shape[1], TILE_POINTS), kind),
        np.zeros((CLASSES, TILE_POINTS), kind),
        np.empty(TILE_POINTS, kind),
        np.empty(TILE_POINTS, kind),
        np.empty(TILE_POINTS, np.int32),
    )


@compiled
def assign_pixels(
    data: Points,
    valid: npt.NDArray[np.bool_],
    centroids: Centroids,
    labels: npt.NDArray[np.uint8],
) -> None:
    """Label the pixels of a (band, pixel) block tile by tile: 0 where not valid, else 1 + nearest centroid."""
    pixels, room = data.shape[1], make_room(centroids.rounded)
    for start in range(0, pixels, TILE_POINTS):
        n = min(TILE_POINTS, pixels - start)
        found, holds = labels[start : start + n], valid[start : start + n]
        if not holds.any():
            found[:] = 0
            continue
        load_tile(data, start, n, centroids.stretch, room.tile)
        nearest_class(room.tile, n, centroids.rounded, room.distance, room.nearest, room.second, room.label)
        look_closely(data[:, start : start + n], None, holds, centroids, room.nearest, room.second, room.label[:n])
        for i in range(n):
            found[i] = room.label[i] * holds[i]
