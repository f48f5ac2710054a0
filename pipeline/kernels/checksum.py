"""Checksums of labels, which prove that a map on disk is the map that was computed."""

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
    """Sum of a block's labels, each weighted by an odd number derived from its position in the scene, modulo 2**64.

    The checksums of all blocks add up to the checksum of the scene for any block size. A label that changes or moves
    changes the checksum.

    Parameters
    ----------
    labels : ndarray of uint8, shape (rows, columns)
        Labels of the block.
    origin : tuple of int
        Row and column of the block's upper left pixel in the scene.
    """
    return int(_weighted_sum(labels, origin[0], origin[1]))


def add_checksums(one: int, other: int) -> int:
    """Combine the checksums of two blocks."""
    return (one + other) % _MODULUS
