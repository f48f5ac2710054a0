"""Types of arrays, by what they hold and which axes they have."""

from typing import Any

import numpy as np
import numpy.typing as npt

Stretch = npt.NDArray[np.floating] | None
"""What differences of each band are multiplied by, shape (band,); None where that is 1 for all."""


Points = npt.NDArray[Any]
"""Shape (band, point), C-contiguous, of any type."""


Planes = npt.NDArray[Any]


Validity = npt.NDArray[np.bool_]
