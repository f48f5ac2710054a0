"""Sampling by hash: a pseudo-random key for every pixel position, and the pixels with the smallest keys.

The key depends only on the seed, the row and the column, so a sample chosen by key is the same for any chunking,
any number of workers and any order of blocks.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiled import compiled

LARGEST_KEY: Final = 2**64 - 1
"""Largest possible key: as a threshold it selects every pixel."""

_RUN: Final = 64
"""Number of pixels of a row whose keys are computed together, and skipped together if none is below the threshold."""

_MARGIN: Final = 1.2
"""Factor by which a first threshold exceeds the wanted number of keys; too few and the block is scanned twice."""


@compiled
def _mix(key: np.uint64) -> np.uint64:
    """Mix 64 bits one-to-one (the finaliser of SplitMix64: Steele, Lea & Flood, OOPSLA 2014)."""
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
    """Fill `keys` and `index` with the valid pixels up to the threshold; return how many there are, even if more."""
    salt = _mix(seed + np.uint64(0x9E3779B97F4A7C15))
    found = 0
    rows, columns = valid.shape
    run_keys = np.empty(_RUN, np.uint64)
    for i in range(rows):
        high = np.uint64(origin[0] + i) << np.uint64(32)
        for start in range(0, columns, _RUN):
            n = min(_RUN, columns - start)
            is_valid, first, below = valid[i, start : start + n], np.uint64(origin[1] + start), 0
            for j in range(n):  # no branch, so that the loop is vectorised
                run_keys[j] = _mix((high | (first + np.uint64(j))) ^ salt)
                below += is_valid[j] & (run_keys[j] <= threshold)
            if not below:
                continue
            for j in range(n):
                if is_valid[j] and run_keys[j] <= threshold:
                    if found < keys.size:
                        keys[found] = run_keys[j]
                        index[found] = i * columns + start + j
                    found += 1
    return found


def load_kernel() -> None:
    """Compile the search for keys, or load its machine code, which is slow, before it is needed."""
    smallest_keys(np.ones((1, 1), np.bool_), (0, 0), 0, 1)


def smallest_keys(
    valid: npt.NDArray[np.bool_], origin: tuple[int, int], seed: int, wanted: int, threshold: int = LARGEST_KEY
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Return keys and positions of the pixels of a block that may be among the `wanted` smallest keys of the scene.

    Parameters
    ----------
    valid : ndarray of bool, shape (rows, columns)
        True where a pixel is valid.
    origin : tuple of int
        Row and column of the block's upper left pixel in the scene.
    seed : int
        Seed of the hash, 0 to 2**64 - 1.
    wanted : int
        Number of pixels in the sample of the whole scene.
    threshold : int
        Keys above it are known not to be in the sample.

    Returns
    -------
    keys : ndarray of uint64, shape (n,)
        Unordered and unique, because the hash is one-to-one. All keys of the block up to the threshold or, if these
        are many more than `wanted`, a subset that contains at least the `wanted` smallest of them.
    index : ndarray of int64, shape (n,)
        Indices of the pixels in the flattened block.
    """
    valid_count = int(np.count_nonzero(valid))
    limit = min(threshold, int(LARGEST_KEY * min(1.0, _MARGIN * wanted / max(valid_count, 1))))
    while True:
        capacity = int(valid_count * (limit / LARGEST_KEY) * _MARGIN) + 64
        keys, index = np.empty(capacity, np.uint64), np.empty(capacity, np.int64)
        found = _scan(valid, origin, np.uint64(seed), np.uint64(limit), keys, index)
        if found > capacity:  # unlikely: scan again with room for all keys
            keys, index = np.empty(found, np.uint64), np.empty(found, np.int64)
            _scan(valid, origin, np.uint64(seed), np.uint64(limit), keys, index)
        if found >= wanted or limit == threshold:
            return keys[:found], index[:found]
        limit = threshold
