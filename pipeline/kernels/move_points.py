"""The kernel that moves points to the class of their nearest centroid and updates the sums of classes for `Mover`."""

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
    make_workspace,
    nearest_class,
    recheck_doubtful,
)
from pipeline.kernels.sums import ACCUMULATORS

POINTS_PER_CHECK: Final = 16
"""Number of points that are skipped by one comparison if none of their bounds is due."""

Scaling = npt.NDArray[np.float64] | None
"""Factor per band that converts pixels to integers, shape (band,); None if they are integers already."""

EXCLUDED: Final = 255
"""Label of a point that takes no part in the fit."""


@compiled
def _load_points(
    points: Points, positions: npt.NDArray[np.int32], stretch: Stretch, tile: npt.NDArray[np.floating]
) -> None:
    """Fill a tile with the stretched points (band, point) at ascending positions."""
    if positions[-1] - positions[0] == positions.size - 1:
        load_tile(points, positions[0], positions.size, stretch, tile)
        return
    for b in range(points.shape[0]):
        row, tile_row = points[b], tile[b]
        for j in range(positions.size):
            tile_row[j] = row[positions[j]]
        if stretch is not None:  # decided when the kernel is compiled
            for j in range(positions.size):
                tile_row[j] *= stretch[b]


@compiled
def _transfer(  # noqa: PLR0917 (numba takes arguments by position)
    points: Points, i: int, scaling: Scaling, old: int, new: int, sums: npt.NDArray[np.int64]
) -> None:
    """Subtract a point from the sums of its old class and add it to those of its new class."""
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
    """How far centroids have moved, in steps: decides which points are due for a check, and enters new bounds."""

    due: int
    """Threshold of bounds: points with a smaller bound are checked."""
    travelled: float
    """Steps that the two fastest centroids have moved together since bounds were last reset, rounded down."""
    steps_per_unit: float
    """Number of steps per unit of stretched distance."""
    relative_error: float
    """Error bound of a distance, as a share of it."""


@compiled
def _are_all_due(labels: npt.NDArray[np.uint8], bounds: npt.NDArray[np.uint8], due: int) -> bool:
    """Whether all points that are not excluded are due, as in a first pass."""
    for start in range(0, labels.size, TILE_POINTS):
        known, bound, most = labels[start : start + TILE_POINTS], bounds[start : start + TILE_POINTS], np.uint8(0)
        for i in range(known.size):
            most = max(most, bound[i] if known[i] != EXCLUDED else np.uint8(0))
        if most >= due:
            return False
    return True


@compiled
def _list_tile(labels: npt.NDArray[np.uint8], start: int, positions: npt.NDArray[np.int32]) -> tuple[int, int, bool]:
    """Fill `positions` with the points of the tile at `start` that are not excluded.

    Return the start of the next tile, the number of positions, and whether none of the points has a class yet.
    """
    known, outside, largest = labels[start : start + TILE_POINTS], 0, np.uint8(0)
    n, found = known.size, 0
    for i in range(n):
        outside += known[i] == EXCLUDED
        largest = max(largest, known[i] if known[i] != EXCLUDED else np.uint8(0))
    if not outside:
        for i in range(n):
            positions[i] = start + i
        return start + n, n, largest == 0
    for i in range(n):
        positions[found] = start + i
        found += known[i] != EXCLUDED
    return start + n, found, largest == 0


@compiled
def _list_due(
    labels: npt.NDArray[np.uint8], bounds: npt.NDArray[np.uint8], due: int, start: int, positions: npt.NDArray[np.int32]
) -> tuple[int, int]:
    """Fill `positions` with the points from `start` on that are due, until a tile is full.

    Return the start of the remaining points and the number of positions.
    """
    found = 0
    while start < labels.size and found <= TILE_POINTS - POINTS_PER_CHECK:
        n = min(POINTS_PER_CHECK, labels.size - start)
        known, bound, least = labels[start : start + n], bounds[start : start + n], np.uint8(255)
        for i in range(n):
            least = min(least, bound[i])
        if least < due:
            for i in range(n):
                positions[found] = start + i
                found += (bound[i] < due) & (known[i] != EXCLUDED)
        start += n
    return start, found


@compiled
def _find_nearest(  # noqa: PLR0917 (numba takes arguments by position)
    points: Points,
    positions: npt.NDArray[np.int32],
    centroids: Centroids,
    drift: Drift,
    bounds: npt.NDArray[np.uint8],
    workspace: Workspace,
) -> None:
    """Find the nearest class of the points at some positions, and renew their bounds."""
    due, nearest, second = positions.size, workspace.nearest, workspace.second
    _load_points(points, positions, centroids.stretch, workspace.tile)
    nearest_class(workspace.tile, due, centroids.rounded, workspace.distance, nearest, second, workspace.label)
    recheck_doubtful(points, positions, None, centroids, nearest, second, workspace.label[:due])
    for j in range(due):  # convert distances to bounds; in a loop of its own, which is vectorised
        distance = np.sqrt(second[j])
        steps = (
            drift.travelled + (distance - np.sqrt(nearest[j]) - drift.relative_error * distance) * drift.steps_per_unit
        )
        second[j] = np.floor(min(steps, 255.0)) if steps > 0 else 0.0
    for j in range(due):
        bounds[positions[j]] = second[j]


@compiled
def _reassign(  # noqa: PLR0917 (numba takes arguments by position)
    points: Points,
    positions: npt.NDArray[np.int32],
    label: npt.NDArray[np.int32],
    scaling: Scaling,
    labels: npt.NDArray[np.uint8],
    counts: npt.NDArray[np.int64],
    sums: npt.NDArray[np.int64],
) -> int:
    """Move the points at some positions to the classes in `label`; return the number of moves."""
    moves = 0
    for j in range(positions.size):
        i = positions[j]
        old, new = labels[i], label[j]
        if new != old:
            moves += 1
            labels[i] = new
            counts[old] -= 1
            counts[new] += 1
            _transfer(points, i, scaling, old, new, sums)
    return moves


@compiled
def _add_new(
    points: Points,
    start: int,
    labels: npt.NDArray[np.uint8],
    scaling: Scaling,
    added: npt.NDArray[np.int64],
) -> None:
    """Count points from `start` on per label and sum their numbers: shape (1 + column, accumulator, label).

    Band by band and in several accumulators, as in `class_sums`. Points without a class may hold any values.
    """
    bands, counts, n = points.shape[0], added[0], labels.size
    for i in range(n):
        counts[i & (ACCUMULATORS - 1), labels[i]] += 1
    for b in range(bands):
        row, total = points[b, start : start + n], added[1 + b]
        if scaling is None:  # decided when the kernel is compiled
            for i in range(n):
                total[i & (ACCUMULATORS - 1), labels[i]] += np.int64(row[i])
        else:
            factor, rest = scaling[b], added[1 + bands + b]
            for i in range(n):
                whole, small = split_number(row[i], factor)
                total[i & (ACCUMULATORS - 1), labels[i]] += whole
                rest[i & (ACCUMULATORS - 1), labels[i]] += small


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
    """Move points (band, point) to their nearest class and update the sums of classes; return the number of moves.

    Points whose bound proves that their nearest class has not changed are skipped: see `Mover`, which calls this.
    Tiles in which no point had a class are summed in `added` instead, see `_add_new`.
    """
    workspace, positions = make_workspace(centroids.rounded), np.empty(TILE_POINTS, np.int32)
    are_all_due, start, moves = _are_all_due(labels, bounds, drift.due), 0, 0
    while start < labels.size:
        begin, is_new = start, False
        if are_all_due:
            start, due, is_new = _list_tile(labels, start, positions)
        else:
            start, due = _list_due(labels, bounds, drift.due, start, positions)
        if not due:
            continue
        _find_nearest(points, positions[:due], centroids, drift, bounds, workspace)
        if is_new:
            for j in range(due):
                labels[positions[j]] = workspace.label[j]
            _add_new(points, begin, labels[begin:start], scaling, added)
            moves += due
        else:
            moves += _reassign(points, positions[:due], workspace.label, scaling, labels, counts, sums)
    return moves
