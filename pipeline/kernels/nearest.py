"""Kernels that find the nearest centroid: of every pixel of a block, or of points that move from class to class.

What is compiled with `_nearest_class` stands in its file: numba, when it looks whether compiled code is out of
date, looks no further.
"""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiled import compiled, fma
from pipeline.kernels.fixed import LIMB

Block = npt.NDArray[Any]
"""Pixels of a block, of any type."""

Stretch = npt.NDArray[np.floating] | None
"""What differences of each band are multiplied by, shape (band,); None where that is 1 for all."""

TILE: Final = 512
"""Pixels worked on at once: a few bands of them stay in the first-level cache."""

RUN: Final = 16
"""Points that are passed over together where none is to be looked at: one comparison of their bounds."""

BANDS: Final = 4
"""Bands whose differences are added up in one go."""


@compiled
def _nearest_class(  # noqa: PLR0917 (numba takes arguments by position)
    tile: npt.NDArray[np.floating],
    n: int,
    centroids: npt.NDArray[np.floating],
    distance: npt.NDArray[np.floating],
    nearest: npt.NDArray[np.floating],
    second: npt.NDArray[np.floating] | None,
    label: npt.NDArray[np.int32],
) -> None:
    """Fill `label` with 1 + the nearest centroid of the first n pixels of a tile (band, pixel), with stretched bands.

    The squared distances to it and to the next one are left in `nearest` and `second`. Bands are filled up to a whole
    multiple of `BANDS` by zeros, in the tile and in the centroids. `distance` is full of zeros, before and after.

    Every inner loop runs from 0 over rows that are contiguous to the compiler's knowledge: only then does it
    work on many pixels at once.
    """
    last = tile.shape[0] - BANDS
    for i in range(n):
        nearest[i] = np.inf
        label[i] = 1  # kept where every distance overflows: a valid pixel has a class
        if second is not None:  # decided when the kernel is compiled
            second[i] = np.inf
    for c in range(centroids.shape[0]):
        for g in range(0, last, BANDS):
            p, q, r, s = tile[g], tile[g + 1], tile[g + 2], tile[g + 3]
            at_p, at_q, at_r, at_s = centroids[c, g], centroids[c, g + 1], centroids[c, g + 2], centroids[c, g + 3]
            for i in range(n):
                total = fma(p[i] - at_p, p[i] - at_p, distance[i])
                total = fma(q[i] - at_q, q[i] - at_q, total)
                total = fma(r[i] - at_r, r[i] - at_r, total)
                distance[i] = fma(s[i] - at_s, s[i] - at_s, total)
        g = last
        p, q, r, s = tile[g], tile[g + 1], tile[g + 2], tile[g + 3]
        at_p, at_q, at_r, at_s = centroids[c, g], centroids[c, g + 1], centroids[c, g + 2], centroids[c, g + 3]
        for i in range(n):
            total = fma(p[i] - at_p, p[i] - at_p, distance[i])
            total = fma(q[i] - at_q, q[i] - at_q, total)
            total = fma(r[i] - at_r, r[i] - at_r, total)
            total = fma(s[i] - at_s, s[i] - at_s, total)
            distance[i] = 0
            known = nearest[i]
            closer = total < known
            nearest[i] = total if closer else known
            label[i] = c + 1 if closer else label[i]
            if second is not None:
                farther = known if closer else total
                second[i] = min(second[i], farther)


@compiled
def _load(data: Block, start: int, n: int, stretch: Stretch, tile: npt.NDArray[np.floating]) -> None:
    """Fill a tile with n pixels of a block (band, pixel) from start on, their bands stretched."""
    for b in range(data.shape[0]):
        row, wide = data[b, start : start + n], tile[b]
        for i in range(n):
            wide[i] = row[i]
        if stretch is not None:  # decided when the kernel is compiled
            for i in range(n):
                wide[i] *= stretch[b]


@compiled
def assign_pixels(
    data: Block,
    valid: npt.NDArray[np.bool_],
    centroids: npt.NDArray[np.floating],
    stretch: Stretch,
    labels: npt.NDArray[np.uint8],
) -> None:
    """Label the pixels of a (band, pixel) block tile by tile: 0 where not valid, else 1 + nearest centroid."""
    pixels = data.shape[1]
    tile = np.zeros((centroids.shape[1], TILE), centroids.dtype)
    distance, nearest = np.zeros(TILE, centroids.dtype), np.empty(TILE, centroids.dtype)
    label = np.empty(TILE, np.int32)
    for start in range(0, pixels, TILE):
        n = min(TILE, pixels - start)
        found, holds = labels[start : start + n], valid[start : start + n]
        if not holds.any():
            found[:] = 0
            continue
        _load(data, start, n, stretch, tile)
        _nearest_class(tile, n, centroids, distance, nearest, None, label)
        for i in range(n):
            found[i] = label[i] * holds[i]


Scaling = npt.NDArray[np.float64] | None
"""Factor of each band, shape (band,), by which pixels become whole numbers; None where they are."""

OUTSIDE: Final = 255
"""Label of a point that is in no class and shall stay so."""


@compiled
def _pick(points: Block, place: npt.NDArray[np.int32], stretch: Stretch, tile: npt.NDArray[np.floating]) -> None:
    """Fill a tile with the points (band, point) at some places in their order, their bands stretched."""
    if place[-1] - place[0] == place.size - 1:
        _load(points, place[0], place.size, stretch, tile)
        return
    for b in range(points.shape[0]):
        row, wide = points[b], tile[b]
        for j in range(place.size):
            wide[j] = row[place[j]]
        if stretch is not None:  # decided when the kernel is compiled
            for j in range(place.size):
                wide[j] *= stretch[b]


@compiled
def _carry(  # noqa: PLR0917 (numba takes arguments by position)
    points: Block, i: int, scaling: Scaling, old: int, new: int, sums: npt.NDArray[np.int64]
) -> None:
    """Take the numbers of a point out of a class's sums, and add them to another's."""
    bands = points.shape[0]
    for b in range(bands):
        if scaling is None:  # decided when the kernel is compiled
            value = np.int64(points[b, i])
        else:
            exact = points[b, i] * scaling[b]
            rounded = np.rint(exact)
            value = np.int64(rounded)
            rest = np.int64(np.rint((exact - rounded) * LIMB))
            sums[old, bands + b] -= rest
            sums[new, bands + b] += rest
        sums[old, b] -= value
        sums[new, b] += value


class Drift(NamedTuple):
    """How far centres have come, in steps: which bounds are due, and how new ones are made."""

    due: int
    """Points whose bound is less are looked at."""
    come: float
    """Steps that the two fastest centres have come together since bounds began, a little less."""
    per_step: float
    """Steps in a unit of distance."""
    doubt: float
    """Share of a distance that may be an error."""


class _Workspace(NamedTuple):
    """What a tile of points is worked on in: points (band, point), and for each what `_nearest_class` fills in."""

    tile: npt.NDArray[np.floating]
    distance: npt.NDArray[np.floating]
    nearest: npt.NDArray[np.floating]
    second: npt.NDArray[np.floating]
    label: npt.NDArray[np.int32]


@compiled
def _none_rests(labels: npt.NDArray[np.uint8], bounds: npt.NDArray[np.uint8], due: int) -> bool:
    """Whether all points that take part are to be looked at, as in a first pass."""
    for start in range(0, labels.size, TILE):
        known, bound, most = labels[start : start + TILE], bounds[start : start + TILE], np.uint8(0)
        for i in range(known.size):
            most = max(most, bound[i] if known[i] != OUTSIDE else np.uint8(0))
        if most >= due:
            return False
    return True


@compiled
def _add_places(labels: npt.NDArray[np.uint8], start: int, place: npt.NDArray[np.int32]) -> int:
    """Fill in the places, from `start` on, of points that take part; give how many there are."""
    largest, count = np.uint8(0), labels.size
    for i in range(count):
        largest = max(largest, labels[i])
    if largest != OUTSIDE:
        for i in range(count):
            place[i] = start + i
        return count
    found = 0
    for i in range(count):
        place[found] = start + i
        found += labels[i] != OUTSIDE
    return found


@compiled
def _settle(  # noqa: PLR0917 (numba takes arguments by position)
    points: Block,
    place: npt.NDArray[np.int32],
    centroids: npt.NDArray[np.floating],
    scaling: Scaling,
    labels: npt.NDArray[np.uint8],
    bounds: npt.NDArray[np.uint8],
    drift: Drift,
    counts: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64],
    room: _Workspace,
) -> int:
    """Move the points in the tile, which are at some places, and make their bounds anew; count moves."""
    due, moves = place.size, 0
    nearest, second, label = room.nearest, room.second, room.label
    _nearest_class(room.tile, due, centroids, room.distance, nearest, second, label)
    for j in range(due):
        apart = np.sqrt(second[j])
        steps = drift.come + (apart - np.sqrt(nearest[j]) - drift.doubt * apart) * drift.per_step
        bounds[place[j]] = min(steps, 255.0) if steps > 0 else 0
    for j in range(due):
        i = place[j]
        old, new = labels[i], label[j]
        if new != old:
            moves += 1
            labels[i] = new
            counts[old] -= 1
            counts[new] += 1
            _carry(points, i, scaling, old, new, sums)
    return moves


@compiled
def move(  # noqa: PLR0917 (numba takes arguments by position)
    points: Block,
    centroids: npt.NDArray[np.floating],
    stretch: Stretch,
    scaling: Scaling,
    labels: npt.NDArray[np.uint8],
    bounds: npt.NDArray[np.uint8],
    drift: Drift,
    counts: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64],
) -> int:
    """Move points (band, point) to their nearest class, their numbers from one class's sum to another's; count moves.

    Points whose bound says that they can't have another nearest class are passed over: see `Mover`, which calls this.
    """
    count = points.shape[1]
    room = _Workspace(
        np.zeros((centroids.shape[1], TILE), centroids.dtype),
        np.zeros(TILE, centroids.dtype),
        np.empty(TILE, centroids.dtype),
        np.empty(TILE, centroids.dtype),
        np.empty(TILE, np.int32),
    )
    place, moves, due = np.empty(TILE, np.int32), 0, 0
    if _none_rests(labels, bounds, drift.due):
        for start in range(0, count, TILE):
            due = _add_places(labels[start : start + TILE], start, place)
            if due:
                _pick(points, place[:due], stretch, room.tile)
                moves += _settle(points, place[:due], centroids, scaling, labels, bounds, drift, counts, sums, room)
        return moves
    for start in range(0, count, RUN):
        n = min(RUN, count - start)
        known, bound, least = labels[start : start + n], bounds[start : start + n], np.uint8(255)
        for i in range(n):
            least = min(least, bound[i])
        if least < drift.due:
            for i in range(n):
                place[due] = start + i
                due += (bound[i] < drift.due) & (known[i] != OUTSIDE)
        if not due or (due <= TILE - RUN and start + n < count):  # until a tile is full, or the last
            continue
        _pick(points, place[:due], stretch, room.tile)
        moves += _settle(points, place[:due], centroids, scaling, labels, bounds, drift, counts, sums, room)
        due = 0
    return moves
