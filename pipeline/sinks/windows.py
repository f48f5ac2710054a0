"""Read windows of a file of labels on several threads."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio

from pipeline.core.grid import Block
from pipeline.geo.gdal import gdal_options

ReadLabels = Callable[[Block], npt.NDArray[np.uint8]]

_MOST_FILES: Final = 16
"""Largest number of open file handles: far below the limits of operating systems."""


@contextmanager
def window_reader(path: Path, workers: int, **options: Any) -> Iterator[ReadLabels]:
    """Open a file once per worker and return the function that reads a window.

    One thread opens all handles: PROJ looks the coordinate system up in its database once per thread, which takes as
    long as making a small overview.

    Parameters
    ----------
    path : Path
        A GeoTIFF of one band.
    workers : int
        Number of windows read at the same time, up to 16; more calls wait.
    options
        Options for GDAL to open the file with.
    """
    with ExitStack() as context:
        idle: SimpleQueue[rasterio.DatasetReader] = SimpleQueue()
        with rasterio.Env(**gdal_options()):
            for _ in range(min(workers, _MOST_FILES)):
                idle.put(context.enter_context(rasterio.open(path, sharing=False, **options)))

        def read(window: Block) -> npt.NDArray[np.uint8]:
            file = idle.get()
            try:
                with rasterio.Env(**gdal_options()):
                    labels: npt.NDArray[np.uint8] = file.read(1, window=window.window)
                    return labels
            finally:
                idle.put(file)

        yield read
