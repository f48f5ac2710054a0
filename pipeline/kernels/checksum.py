"""Proofs that a map on disk is the map that was computed."""

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiled import compiled

_MODULUS = 2**64


@compiled
def _weighted_sum(labels: npt.NDArray[np.uint8], top: int, left: int) -> np.uint64:
    total = np.uint64(0)
    rows, columns = labels.shape
    across = np.arange(left, left + columns).astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    for i in range(rows):
        down, row = np.uint64(top + i) * np.uint64(0x9E3779B97F4A7C15), labels[i]
        for j in range(columns):
            total += ((down ^ across[j]) | np.uint64(1)) * np.uint64(row[j])
    return total


def checksum(labels: npt.NDArray[np.uint8], origin: tuple[int, int]) -> int:
    """Sum of a block's labels, each times an odd number made from its place in the scene, modulo 2**64.

    Sums of blocks add up to the sum of the scene, however it is cut; a label that changes, or moves, changes
    the sum.

    Parameters
    ----------
    labels : ndarray of uint8, shape (rows, columns)
        The block.
    origin : tuple of int
        Row and column, in the scene, of its first pixel.
    """
    return int(_weighted_sum(labels, origin[0], origin[1]))


def add_checksums(one: int, other: int) -> int:
    """Checksum of two blocks together."""
    return (one + other) % _MODULUS
