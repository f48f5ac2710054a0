"""Windows of a file that we wrote, read on several threads."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio

from pipeline.grid import Block
from pipeline.scenes.gdal import gdal_options

ReadLabels = Callable[[Block], npt.NDArray[np.uint8]]


@contextmanager
def window_reader(path: Path, workers: int, **options: Any) -> Iterator[ReadLabels]:
    """Open a file once for each worker, and give the function that reads a window.

    By one thread, which knows the coordinate system: each other one would look it up in PROJ's database first, which
    takes as long as a small overview takes altogether.

    Parameters
    ----------
    path : Path
        A GeoTIFF of one band.
    workers : int
        Threads that may read at once.
    options
        How GDAL opens it.
    """
    with ExitStack() as context:
        idle: SimpleQueue[rasterio.DatasetReader] = SimpleQueue()
        with rasterio.Env(**gdal_options()):
            for _ in range(workers):
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
