"""What a scene is to the floors above: facts, and pixels block by block."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from pipeline.core.grid import Block, Grid
from pipeline.core.units import Quantity, Units


@dataclass(frozen=True)
class OpenFiles:
    """Files behind virtual ones, which GDAL keeps open after it has read them."""

    count: int = 0
    held_bytes: int = 0
    """What one of them keeps in memory, at most."""


NO_OPEN_FILES: Final = OpenFiles()


def combine_open_files(files: Iterable[OpenFiles]) -> OpenFiles:
    """Several as one."""
    counts, held = zip(*((each.count, each.held_bytes) for each in files), strict=True)
    return OpenFiles(sum(counts), max(held))


@dataclass(frozen=True, kw_only=True)
class SceneInfo:
    """What is known of a scene from metadata alone."""

    grid: Grid
    origin: tuple[int, int] = (0, 0)
    """Row and column of the first pixel on the scene's own grid, before that was cut to an area of interest."""
    shown: Block | None = None
    """The rectangle of the grid that a map shows, which may reach beyond it; None where that is the grid."""
    bands: tuple[str, ...]
    """Band names, in the order in which pixels are handed on."""
    dtype: np.dtype[Any]
    """Of the pixels handed on."""
    nodata: tuple[int | float | None, ...]
    """Each band's value for 'no data', None where there is none; NaN never counts as data."""
    nodata_rule: str | int | float
    """What was asked for: 'auto', or a value."""
    scales: tuple[float, ...]
    """Each band's factor from stored numbers to physical units, as the file states it; 1 where it is silent."""
    offsets: tuple[float, ...]
    """What is added after the factor; 0 where the file is silent."""
    quantities: tuple[Quantity, ...] = ()
    """Each band's physical quantity, once scale and offset are applied; 'numbers', which none stands for, where stored
    numbers are to stay what they are."""
    common_names: tuple[str | None, ...] = ()
    """Each band's common name, such as red, as far as known; none where no band's is."""
    block_shape: tuple[int, int]
    """(rows, columns) that the files store, and so decode, as one."""
    masked: bool
    """Whether a mask or alpha band says, too, which pixels hold data."""
    drivers: tuple[str, ...]
    """GDAL's names of the files' formats."""
    file_block_bytes: int
    """Size of what GDAL decodes at once: a block of one band, or of all where they are stored pixel by pixel."""
    blocks_at_once: int = 2
    """Blocks of files that GDAL is to keep decoded for each worker, so that none is decoded for each band anew."""
    open_files: OpenFiles = NO_OPEN_FILES
    """Behind virtual files."""
    strip_bytes: int = 0
    """Size of compressed strips that GDAL keeps in memory for each worker: of files whose rows are all in one."""
    expensive: bool = False
    """Whether pixels are so dear to decode that those needed twice are kept in between."""
    compressed: bool = False
    """Whether pixels of some band are unpacked as they are read."""
    split: bool = False
    """Whether files are to be read block by block of their own: theirs straddle the scene's (some bands have a grid of
    their own), or they are on another machine, and what fails is asked for again in small pieces."""
    decoded_bytes: int = 0
    """All pixels, on the grids they are decoded on."""
    libraries: int = 0
    """Bytes of libraries that are loaded for this kind of scene alone."""
    extra_bytes_per_pixel: float = 0.0
    """For a pixel of the scene: what is held beside it while bands come onto its grid."""
    margins: tuple[tuple[int, float], ...] = ()
    """Of each mask: pixels of the scene around a block that have a say in it, and bytes for each that is looked at."""
    warp_bytes: int = 0
    """What GDAL's warper holds for each worker."""
    sources: tuple[str, ...]
    """Paths of the files."""
    files: tuple[str, ...]
    """The same, and all they refer to: what an output must not replace."""

    @property
    def units(self) -> Units:
        """What the numbers of the pixels mean."""
        quantity = self.quantities or "numbers"
        return Units(dtype=self.dtype.name, scales=self.scales, offsets=self.offsets, quantity=quantity)

    def as_numbers(self, like: Units | None = None) -> "SceneInfo":
        """The same scene without scale and offset: of all bands, or of those that have none in the units of a model."""
        if like is None or len(like.quantities) != len(self.bands):
            return replace(self, quantities=())
        pairs = zip(self.units.quantities, like.quantities, strict=True)
        return replace(self, quantities=tuple("numbers" if theirs == "numbers" else own for own, theirs in pairs))

    @property
    def map_grid(self) -> Grid:
        """The grid of a map."""
        return self.grid.part(self.shown) if self.shown else self.grid

    @property
    def pixels(self) -> int:
        """How many pixels the grid has."""
        return self.grid.shape[0] * self.grid.shape[1]

    @property
    def bytes_per_pixel(self) -> int:
        """Of all bands together."""
        return len(self.bands) * self.dtype.itemsize
