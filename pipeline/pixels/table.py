"""A table of numbers as a scene, for those who have samples and features instead of a map."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from affine import Affine

from pipeline.core.grid import Block, Grid
from pipeline.core.pixels import Pixels
from pipeline.core.scene_info import SceneInfo

TABLE: Final = "table"
"""Driver of these scenes. Their numbers are no stored pixels: 0 is no fill value, and there are no units."""

_ROWS: Final = 2**18
"""Rows of the table per block."""


class PixelTable:
    """`PixelSource` of the rows of a table: a scene with one column of pixels, a pixel per row.

    A row is valid unless it holds NaN. Models are those of a scene of the same numbers and shape.

    Parameters
    ----------
    rows : ndarray, shape (sample, feature)
        Integers of at most 64 bits, floats or booleans.
    bands : sequence of str
        Names of the features.
    """

    cheap_again = True
    store = None

    def __init__(self, rows: npt.NDArray[Any], bands: tuple[str, ...]) -> None:
        self.data = np.ascontiguousarray(rows.T, _supported(rows.dtype))[:, :, np.newaxis]
        """Pixels, shape (feature, sample, 1)."""
        self.valid = ~np.isnan(self.data).any(axis=0)
        """Rows without NaN, shape (sample, 1)."""
        grid = Grid(shape=(len(rows), 1), transform=Affine.identity(), crs=None)
        self.blocks = grid.blocks((_ROWS, 1))
        self.info = SceneInfo(
            grid=grid,
            bands=bands,
            dtype=self.data.dtype,
            nodata=(None,) * len(bands),
            nodata_rule="auto",
            scales=(1.0,) * len(bands),
            offsets=(0.0,) * len(bands),
            block_shape=(_ROWS, 1),
            masked=False,
            drivers=(TABLE,),
            sources=("array",),
            files=(),
        )

    def read(self, block: Block) -> Pixels:
        """Return the pixels of a block."""
        rows, columns = block.slices
        return Pixels(self.data[:, rows, columns], self.valid[rows, columns])

    def read_for_fit(self, block: Block) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        """Return the pixels of a block; all its valid pixels are used for the fit."""
        pixels = self.read(block)
        return pixels, pixels.valid


def _supported(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Closest data type of pixels: integers, and floats of 32 or 64 bits, in native byte order."""
    if dtype.kind == "f":
        return np.dtype(np.float32 if dtype.itemsize <= 4 else np.float64)  # noqa: PLR2004
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")
