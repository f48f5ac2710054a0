"""Proofs that a map on disk is the map that was computed."""

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiled import compiled

_MODULUS = 2**64


@compiled
def _weighted_sum(labels: npt.NDArray[np.uint8], top: int, left: int) -> np.uint64:
    total = np.uint64(0)
    rows, columns = labels.shape
    for i in range(rows):
        row = np.uint64(top + i) * np.uint64(0x9E3779B97F4A7C15)
        for j in range(columns):
            weight = (row ^ (np.uint64(left + j) * np.uint64(0xC2B2AE3D27D4EB4F))) | np.uint64(1)
            total += weight * np.uint64(labels[i, j])
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


@compiled
def count_holes(fine: npt.NDArray[np.uint8], coarse: npt.NDArray[np.uint8]) -> int:
    """Count pixels of an overview that are nodata although all pixels below and around them hold data.

    Parameters
    ----------
    fine : ndarray of uint8, shape (rows, columns)
        Labels.
    coarse : ndarray of uint8, shape (about rows / 2, about columns / 2)
        The same at half the resolution. GDAL's factor is not exactly 2 where a side is odd, hence 'around'.
    """
    holes = 0
    rows, columns = fine.shape
    for i in range(coarse.shape[0]):
        for j in range(coarse.shape[1]):
            if coarse[i, j] == 0:
                full = True
                for y in range(max(0, 2 * i - 2), min(rows, 2 * i + 4)):
                    for x in range(max(0, 2 * j - 2), min(columns, 2 * j + 4)):
                        full &= fine[y, x] != 0
                holes += full
    return holes
