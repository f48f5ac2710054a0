"""Areas of the classes of a block whose rows have pixels of different area."""

from typing import Final

import numpy as np
import numpy.typing as npt

_LOW: Final = 26
"""Bits of an area that are added up apart from those above, so that no sum overflows."""


def class_areas(labels: npt.NDArray[np.uint8], row_areas: npt.NDArray[np.int64], classes: int) -> tuple[int, ...]:
    """Add up the area of each class, exactly.

    Parameters
    ----------
    labels : ndarray of uint8, shape (rows, columns)
        Each less than `classes`.
    row_areas : ndarray of int64, shape (rows,)
        Area of a pixel of each row, in whatever unit; from 0 to less than 2**53.
    classes : int
        How many labels there are.

    Returns
    -------
    tuple of int
        In the same unit, for label 0, 1, and so on.
    """
    counts = np.stack([np.bincount(row, minlength=classes) for row in labels])
    high, low = row_areas >> _LOW, row_areas & ((1 << _LOW) - 1)
    return tuple((int(above) << _LOW) + int(below) for above, below in zip(high @ counts, low @ counts, strict=True))
