"""Array types, named by content and axes."""

from typing import Any

import numpy as np
import numpy.typing as npt

Stretch = npt.NDArray[np.floating] | None
"""Factor per band applied to differences before squaring, shape (band,); None if it is 1 for all bands."""

Points = npt.NDArray[Any]
"""Pixel values as points, shape (band, point), C-contiguous, any dtype."""

Planes = npt.NDArray[Any]
"""Pixel values of a block, shape (band, rows, columns), any dtype."""

Validity = npt.NDArray[np.bool_]
"""Valid pixels of a block, shape (rows, columns): True where no band is nodata."""
