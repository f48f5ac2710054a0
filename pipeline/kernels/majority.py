"""Overviews of labels: the majority of each 2 x 2 pixels."""

import numpy as np
import numpy.typing as npt

from pipeline.kernels.compiled import compiled


@compiled
def _majority(a: int, b: int, c: int, d: int) -> int:
    """Most frequent of four labels, ignoring 0; the first of equally frequent ones."""
    best, most = 0, 0
    for label in (a, b, c, d):
        votes = (label == a) + (label == b) + (label == c) + (label == d)
        if label != 0 and votes > most:
            best, most = label, votes
    return best


@compiled
def _halve(labels: npt.NDArray[np.uint8], out: npt.NDArray[np.uint8]) -> None:
    """Fill `out` with majorities; at an odd edge the last row or column is repeated, which changes no majority."""
    rows, columns = labels.shape
    for i in range(out.shape[0]):
        above, below = labels[2 * i], labels[min(2 * i + 1, rows - 1)]
        for j in range(columns // 2):
            out[i, j] = _majority(above[2 * j], above[2 * j + 1], below[2 * j], below[2 * j + 1])
        if columns % 2:
            out[i, columns // 2] = _majority(above[-1], above[-1], below[-1], below[-1])


def halve(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Reduce labels to half the resolution by the majority of each 2 x 2 pixels.

    Parameters
    ----------
    labels : ndarray of uint8, shape (rows, columns)
        Labels; 0 is nodata. Unclassified pixels (255) count like those of a class.

    Returns
    -------
    ndarray of uint8, shape (ceil(rows / 2), ceil(columns / 2))
        Most frequent class of each 2 x 2 pixels (fewer at an odd edge); the first, row by row, of equally frequent
        ones. 0 only where all are 0.
    """
    rows, columns = labels.shape
    out = np.empty((-(-rows // 2), -(-columns // 2)), np.uint8)
    _halve(np.ascontiguousarray(labels), out)
    return out
