"""Windows of a file that we wrote, read on several threads."""

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
"""Far from what systems allow a process."""


@contextmanager
def window_reader(path: Path, workers: int, **options: Any) -> Iterator[ReadLabels]:
    """Open a file some times, and give the function that reads a window.

    One thread opens it, which knows the coordinate system: each other one would look it up in PROJ's database first,
    which takes as long as a small overview takes altogether.

    Parameters
    ----------
    path : Path
        A GeoTIFF of one band.
    workers : int
        Windows read at once, as far as it can be opened so often; others wait.
    options
        How GDAL opens it.
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
