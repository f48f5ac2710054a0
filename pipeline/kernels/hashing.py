"""A pseudo-random key for every pixel position, and the pixels whose keys are smallest.

The key depends on the seed, the row and the column and on nothing else, so a sample chosen by key is the
same for any chunking, any number of workers and any order of blocks.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiled import compiled

LARGEST_KEY: Final = 2**64 - 1
"""No pixel has a larger key: the threshold that lets every pixel pass."""

_RUN: Final = 64
"""Pixels of a row whose keys are made at once, and passed over together where none is under the threshold."""

_MARGIN: Final = 1.2
"""How many more keys than wanted a first threshold aims at; too few and the block is scanned twice."""


@compiled
def _mix(key: np.uint64) -> np.uint64:
    """Scramble 64 bits one-to-one (the finaliser of SplitMix64: Steele, Lea & Flood, OOPSLA 2014)."""
    key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return key ^ (key >> np.uint64(31))


@compiled
def _scan(  # noqa: PLR0917 (numba takes arguments by position)
    valid: npt.NDArray[np.bool_],
    origin: tuple[int, int],
    seed: np.uint64,
    threshold: np.uint64,
    keys: npt.NDArray[np.uint64],
    index: npt.NDArray[np.int64],
) -> int:
    """Fill `keys` and `index` with the valid pixels under the threshold; count on where they are full."""
    salt = _mix(seed + np.uint64(0x9E3779B97F4A7C15))
    found = 0
    rows, columns = valid.shape
    some = np.empty(_RUN, np.uint64)
    for i in range(rows):
        high = np.uint64(origin[0] + i) << np.uint64(32)
        for start in range(0, columns, _RUN):
            n = min(_RUN, columns - start)
            holds, first, under = valid[i, start : start + n], np.uint64(origin[1] + start), 0
            for j in range(n):  # without a branch: many at once
                some[j] = _mix((high | (first + np.uint64(j))) ^ salt)
                under += holds[j] & (some[j] <= threshold)
            if not under:
                continue
            for j in range(n):
                if holds[j] and some[j] <= threshold:
                    if found < keys.size:
                        keys[found] = some[j]
                        index[found] = i * columns + start + j
                    found += 1
    return found


def load_kernel() -> None:
    """Load the machine code that looks for keys, which takes a while."""
    smallest_keys(np.ones((1, 1), np.bool_), (0, 0), 0, 1)


def smallest_keys(
    valid: npt.NDArray[np.bool_], origin: tuple[int, int], seed: int, wanted: int, threshold: int = LARGEST_KEY
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Keys and positions of pixels of a block that can be among the `wanted` smallest keys of the scene.

    Parameters
    ----------
    valid : ndarray of bool, shape (rows, columns)
        True where a pixel holds data.
    origin : tuple of int
        Row and column, in the scene, of the block's first pixel.
    seed : int
        Which of the 2**64 families of keys to use.
    wanted : int
        How many pixels the whole sample shall hold.
    threshold : int
        Keys above it are known not to be wanted.

    Returns
    -------
    keys : ndarray of uint64, shape (n,)
        Unordered and without repetition: the map from position to key is one-to-one. All the block's keys
        up to the threshold, or, where these are many more than `wanted`, a smaller set that holds at least
        the `wanted` smallest of them.
    index : ndarray of int64, shape (n,)
        The pixels' positions in the flattened block.
    """
    held = int(np.count_nonzero(valid))
    limit = min(threshold, int(LARGEST_KEY * min(1.0, _MARGIN * wanted / max(held, 1))))
    while True:
        room = int(held * (limit / LARGEST_KEY) * _MARGIN) + 64
        keys, index = np.empty(room, np.uint64), np.empty(room, np.int64)
        found = _scan(valid, origin, np.uint64(seed), np.uint64(limit), keys, index)
        if found > room:  # an unlikely draw: once more, with room for all of them
            keys, index = np.empty(found, np.uint64), np.empty(found, np.int64)
            _scan(valid, origin, np.uint64(seed), np.uint64(limit), keys, index)
        if found >= wanted or limit == threshold:
            return keys[:found], index[:found]
        limit = threshold
