"""The kernel that moves points to their nearest centroids and keeps the sums of classes; `Mover` calls it."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiled import compiled
from pipeline.kernels.fixed import LIMB
from pipeline.kernels.nearest import (
    TILE,
    Block,
    Centroids,
    Stretch,
    Workspace,
    load,
    look_closely,
    make_room,
    nearest_class,
)

RUN: Final = 16
"""Points that are passed over together where none is to be looked at: one comparison of their bounds."""

Scaling = npt.NDArray[np.float64] | None
"""Factor of each band, shape (band,), by which pixels become whole numbers; None where they are."""

OUTSIDE: Final = 255
"""Label of a point that is in no class and shall stay so."""


@compiled
def _pick(points: Block, place: npt.NDArray[np.int32], stretch: Stretch, tile: npt.NDArray[np.floating]) -> None:
    """Fill a tile with the points (band, point) at some places in their order, their bands stretched."""
    if place[-1] - place[0] == place.size - 1:
        load(points, place[0], place.size, stretch, tile)
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
    centroids: Centroids,
    scaling: Scaling,
    labels: npt.NDArray[np.uint8],
    bounds: npt.NDArray[np.uint8],
    drift: Drift,
    counts: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64],
    room: Workspace,
) -> int:
    """Move the points in the tile, which are at some places, and make their bounds anew; count moves."""
    due, moves = place.size, 0
    nearest, second, label = room.nearest, room.second, room.label
    nearest_class(room.tile, due, centroids.rounded, room.distance, nearest, second, label)
    look_closely(points, place, None, centroids, nearest, second, label[:due])
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
    centroids: Centroids,
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
    count, room = points.shape[1], make_room(centroids.rounded)
    place, moves, due = np.empty(TILE, np.int32), 0, 0
    if _none_rests(labels, bounds, drift.due):
        for start in range(0, count, TILE):
            due = _add_places(labels[start : start + TILE], start, place)
            if due:
                _pick(points, place[:due], centroids.stretch, room.tile)
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
        _pick(points, place[:due], centroids.stretch, room.tile)
        moves += _settle(points, place[:due], centroids, scaling, labels, bounds, drift, counts, sums, room)
        due = 0
    return moves
