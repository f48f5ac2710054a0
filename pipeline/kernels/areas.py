"""Area of each class in a block whose pixel area changes from row to row."""

from typing import Final

import numpy as np
import numpy.typing as npt

_LOW_BITS: Final = 26
"""Number of low bits of an area that are summed separately from the high bits, so that no sum overflows."""


def class_areas(labels: npt.NDArray[np.uint8], row_areas: npt.NDArray[np.int64], classes: int) -> tuple[int, ...]:
    """Sum the area of each class exactly.

    Parameters
    ----------
    labels : ndarray of uint8, shape (rows, columns)
        Labels, each less than `classes`.
    row_areas : ndarray of int64, shape (rows,)
        Area of one pixel in each row, in any unit; at least 0 and less than 2**53.
    classes : int
        Number of labels, including 0.

    Returns
    -------
    tuple of int
        Area per label, starting with label 0, in the unit of `row_areas`.
    """
    counts = np.stack([np.bincount(row, minlength=classes) for row in labels])
    high, low = row_areas >> _LOW_BITS, row_areas & ((1 << _LOW_BITS) - 1)
    sums = zip(high @ counts, low @ counts, strict=True)
    return tuple((int(above) << _LOW_BITS) + int(below) for above, below in sums)
