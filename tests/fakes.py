"""Implementations of the package's protocols in memory."""

import threading
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from pipeline.core.grid import Block, Grid
from pipeline.core.pixels import Pixels, PixelSource
from pipeline.core.scene_info import SceneInfo

_lock = threading.Lock()
"""Of the counters; not one per source, as locks can't be pickled."""


class MemorySource:
    """`PixelSource` over an array (band, rows, columns) that counts its reads."""

    cheap_again = False
    store = None

    def __init__(
        self,
        data: npt.NDArray[Any],
        valid: npt.NDArray[np.bool_] | None = None,
        chunk: tuple[int, int] = (64, 64),
        crs: str | None = None,
        fitting: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.data = data
        self.valid = np.ones(data.shape[1:], bool) if valid is None else valid
        self.fitting = self.valid if fitting is None else fitting
        grid = Grid(shape=data.shape[1:], transform=Affine(10, 0, 300_000, 0, -10, 5_900_000), crs=crs)
        count = len(data)
        self.info = SceneInfo(
            grid=grid,
            bands=tuple(f"band{n}" for n in range(1, count + 1)),
            dtype=data.dtype,
            nodata=(None,) * count,
            nodata_rule="auto",
            scales=(1.0,) * count,
            offsets=(0.0,) * count,
            block_shape=chunk,
            masked=valid is not None,
            drivers=("memory",),
            file_block_bytes=chunk[0] * chunk[1] * data.dtype.itemsize,
            sources=("memory",),
            files=(),
        )
        self.blocks = tuple(grid.blocks(chunk))
        self.reads: Counter[Any] = Counter()
        """Number of reads per window."""

    def read(self, block: Block) -> Pixels:
        with _lock:
            self.reads[block.window] += 1
        rows, columns = block.slices
        return Pixels(self.data[:, rows, columns], self.valid[rows, columns])

    def read_for_fit(self, block: Block) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        pixels = self.read(block)
        return pixels, pixels.valid if self.fitting is self.valid else self.fitting[block.slices]


class CountingSource:
    """`PixelSource` that counts the reads of another source."""

    def __init__(self, source: PixelSource) -> None:
        self._source = source
        self.reads: Counter[Any] = Counter()
        """Number of reads per window."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def read(self, block: Block) -> Pixels:
        with _lock:
            self.reads[block.window] += 1
        return self._source.read(block)

    def read_for_fit(self, block: Block) -> tuple[Pixels, npt.NDArray[np.bool_]]:
        with _lock:
            self.reads[block.window] += 1
        return self._source.read_for_fit(block)
