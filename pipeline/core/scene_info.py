"""Facts about a scene: grid, bands, units and files."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.core.acquisition import Acquisition
from pipeline.core.grid import Block, Grid
from pipeline.core.units import Quantity, Units


@dataclass(frozen=True, kw_only=True)
class SceneInfo:
    """Facts about a scene, known before pixels are read."""

    grid: Grid
    """Grid of the pixels that are read: the scene's own, or the blocks of it that the area of interest touches."""
    origin: tuple[int, int] = (0, 0)
    """(row, column) of the first pixel of `grid` on the scene's own grid; (0, 0) unless cut to an area of interest."""
    map_window: Block | None = None
    """Window of the map on `grid`, which may extend beyond it; None if the map has the same grid."""
    bands: tuple[str, ...]
    """Band names, in the order of the bands of pixel arrays, shape (band,)."""
    dtype: np.dtype[Any]
    """Data type of pixel arrays."""
    nodata: tuple[int | float | None, ...]
    """Nodata value per band, None if it has none, shape (band,). NaN is always nodata."""
    nodata_rule: str | int | float
    """Setting `scene.nodata`: 'auto', or a value."""
    scales: tuple[float, ...]
    """Scale per band, from stored numbers to physical units, shape (band,); 1 if the files state none."""
    offsets: tuple[float, ...]
    """Offset per band, added after scaling, shape (band,); 0 if the files state none."""
    quantities: tuple[Quantity, ...] = ()
    """Physical quantity per band after scale and offset, shape (band,); 'numbers' for bands used without them. Empty if
    that is so for all bands."""
    common_names: tuple[str | None, ...] = ()
    """Common name per band such as red, None if unknown, shape (band,); empty if all are unknown."""
    block_shape: tuple[int, int]
    """Shape of the blocks in which the files store pixels, as (rows, columns)."""
    masked: bool
    """Whether alpha bands, or masks of the files or of the config, define valid pixels in addition to nodata."""
    drivers: tuple[str, ...]
    """GDAL driver names of the files."""
    sources: tuple[str, ...]
    """Paths of the files that hold the bands."""
    files: tuple[str, ...]
    """Paths of all input files, with those that `sources` refer to; outputs must not replace them."""

    acquired: Acquisition | None = None
    """When the scene was acquired, from the first to the last of several scenes or images; None if unknown."""

    @property
    def units(self) -> Units:
        """Data type, scales, offsets and quantities of the bands."""
        quantity = self.quantities or "numbers"
        return Units(dtype=self.dtype.name, scales=self.scales, offsets=self.offsets, quantity=quantity)

    def as_stored_numbers(self, like: Units | None = None) -> "SceneInfo":
        """Copy whose stored numbers are used without scale and offset.

        Given the units of a model, only bands whose quantity is 'numbers' there are changed.
        """
        if like is None or len(like.quantities) != len(self.bands):
            return replace(self, quantities=())
        pairs = zip(self.units.quantities, like.quantities, strict=True)
        return replace(self, quantities=tuple("numbers" if model == "numbers" else scene for scene, model in pairs))

    @property
    def map_grid(self) -> Grid:
        """Grid of the map."""
        return self.grid.crop(self.map_window) if self.map_window else self.grid

    @property
    def pixels(self) -> int:
        """Number of pixels of the grid."""
        return self.grid.shape[0] * self.grid.shape[1]

    @property
    def bytes_per_pixel(self) -> int:
        """Bytes per pixel, all bands together."""
        return len(self.bands) * self.dtype.itemsize
