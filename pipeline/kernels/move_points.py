"""The kernel that moves points to their nearest centroids and keeps the sums of classes; `Mover` calls it."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Points, Stretch
from pipeline.kernels.compiled import compiled
from pipeline.kernels.fixed import split_number
from pipeline.kernels.nearest import (
    TILE_POINTS,
    Centroids,
    Workspace,
    load_tile,
    look_closely,
    make_room,
    nearest_class,
)
from pipeline.kernels.sums import SETS

RUN: Final = 16
"""Points that are passed over together where none is to be looked at: one comparison of their bounds."""

Scaling = npt.NDArray[np.float64] | None
"""Factor of each band, shape (band,), by which pixels become whole numbers; None where they are."""

OUTSIDE: Final = 255
"""Label of a point that is in no class and shall stay so."""


@compiled
def _pick(points: Points, place: npt.NDArray[np.int32], stretch: Stretch, tile: npt.NDArray[np.floating]) -> None:
    """Fill a tile with the points (band, point) at some places in their order, their bands stretched."""
    if place[-1] - place[0] == place.size - 1:
        load_tile(points, place[0], place.size, stretch, tile)
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
    points: Points, i: int, scaling: Scaling, old: int, new: int, sums: npt.NDArray[np.int64]
) -> None:
    """Take the numbers of a point out of a class's sums, and add them to another's."""
    bands = points.shape[0]
    for b in range(bands):
        if scaling is None:  # decided when the kernel is compiled
            value = np.int64(points[b, i])
        else:
            value, rest = split_number(points[b, i], scaling[b])
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
    for start in range(0, labels.size, TILE_POINTS):
        known, bound, most = labels[start : start + TILE_POINTS], bounds[start : start + TILE_POINTS], np.uint8(0)
        for i in range(known.size):
            most = max(most, bound[i] if known[i] != OUTSIDE else np.uint8(0))
        if most >= due:
            return False
    return True


@compiled
def _places(labels: npt.NDArray[np.uint8], start: int, place: npt.NDArray[np.int32]) -> tuple[int, int, bool]:
    """Fill in the places of the points of a tile, from `start` on, that take part.

    Give where the next tile begins, how many there are, and whether none of them is in a class yet.
    """
    known, outside, largest = labels[start : start + TILE_POINTS], 0, np.uint8(0)
    n, found = known.size, 0
    for i in range(n):
        outside += known[i] == OUTSIDE
        largest = max(largest, known[i] if known[i] != OUTSIDE else np.uint8(0))
    if not outside:
        for i in range(n):
            place[i] = start + i
        return start + n, n, largest == 0
    for i in range(n):
        place[found] = start + i
        found += known[i] != OUTSIDE
    return start + n, found, largest == 0


@compiled
def _places_due(
    labels: npt.NDArray[np.uint8], bounds: npt.NDArray[np.uint8], due: int, start: int, place: npt.NDArray[np.int32]
) -> tuple[int, int]:
    """Fill in the places of points, from `start` on, that are to be looked at, until a tile is full.

    Give where the next ones begin, and how many there are.
    """
    found = 0
    while start < labels.size and found <= TILE_POINTS - RUN:
        n = min(RUN, labels.size - start)
        known, bound, least = labels[start : start + n], bounds[start : start + n], np.uint8(255)
        for i in range(n):
            least = min(least, bound[i])
        if least < due:
            for i in range(n):
                place[found] = start + i
                found += (bound[i] < due) & (known[i] != OUTSIDE)
        start += n
    return start, found


@compiled
def _look(  # noqa: PLR0917 (numba takes arguments by position)
    points: Points,
    place: npt.NDArray[np.int32],
    centroids: Centroids,
    drift: Drift,
    bounds: npt.NDArray[np.uint8],
    room: Workspace,
) -> None:
    """Find the nearest class of the points at some places, and make their bounds anew."""
    due, nearest, second = place.size, room.nearest, room.second
    _pick(points, place, centroids.stretch, room.tile)
    nearest_class(room.tile, due, centroids.rounded, room.distance, nearest, second, room.label)
    look_closely(points, place, None, centroids, nearest, second, room.label[:due])
    for j in range(due):  # a distance becomes a bound; by itself, as then many are worked on at once
        apart = np.sqrt(second[j])
        steps = drift.come + (apart - np.sqrt(nearest[j]) - drift.doubt * apart) * drift.per_step
        second[j] = np.floor(min(steps, 255.0)) if steps > 0 else 0.0
    for j in range(due):
        bounds[place[j]] = second[j]


@compiled
def _change(  # noqa: PLR0917 (numba takes arguments by position)
    points: Points,
    place: npt.NDArray[np.int32],
    label: npt.NDArray[np.int32],
    scaling: Scaling,
    labels: npt.NDArray[np.uint8],
    counts: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64],
) -> int:
    """Move the points at some places from class to class, those of `label`; count moves."""
    moves = 0
    for j in range(place.size):
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
def _add_up(
    points: Points,
    start: int,
    labels: npt.NDArray[np.uint8],
    scaling: Scaling,
    added: npt.NDArray[np.int64],
) -> None:
    """Count points from `start` on with each label and add up their numbers: shape (1 + column, set, label).

    Band by band, and in sets, as in `class_sums`. What points of no class hold may be anything.
    """
    bands, counts, n = points.shape[0], added[0], labels.size
    for i in range(n):
        counts[i & (SETS - 1), labels[i]] += 1
    for b in range(bands):
        row, total = points[b, start : start + n], added[1 + b]
        if scaling is None:  # decided when the kernel is compiled
            for i in range(n):
                total[i & (SETS - 1), labels[i]] += np.int64(row[i])
        else:
            factor, rest = scaling[b], added[1 + bands + b]
            for i in range(n):
                whole, small = split_number(row[i], factor)
                total[i & (SETS - 1), labels[i]] += whole
                rest[i & (SETS - 1), labels[i]] += small


@compiled
def move_points(  # noqa: PLR0917 (numba takes arguments by position)
    points: Points,
    centroids: Centroids,
    scaling: Scaling,
    labels: npt.NDArray[np.uint8],
    bounds: npt.NDArray[np.uint8],
    drift: Drift,
    counts: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64],
    added: npt.NDArray[np.int64],
) -> int:
    """Move points (band, point) to their nearest class, their numbers from one class's sum to another's; count moves.

    Points whose bound says that they can't have another nearest class are passed over: see `Mover`, which calls this.
    Where none of a tile was in a class, what it adds is left in `added`, as `_add_up` has it.
    """
    room, place = make_room(centroids.rounded), np.empty(TILE_POINTS, np.int32)
    all_due, start, moves = _none_rests(labels, bounds, drift.due), 0, 0
    while start < labels.size:
        begin, is_new = start, False
        if all_due:
            start, due, is_new = _places(labels, start, place)
        else:
            start, due = _places_due(labels, bounds, drift.due, start, place)
        if not due:
            continue
        _look(points, place[:due], centroids, drift, bounds, room)
        if is_new:
            for j in range(due):
                labels[place[j]] = room.label[j]
            _add_up(points, begin, labels[begin:start], scaling, added)
            moves += due
        else:
            moves += _change(points, place[:due], room.label, scaling, labels, counts, sums)
    return moves
