"""Read bands of a scene onto a coarse grid, by nearest neighbour, from overviews if the files have any."""

from collections.abc import Sequence
from functools import partial
from math import ceil, floor

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.windows import Window

from pipeline.core.arrays import Planes
from pipeline.core.errors import SceneError
from pipeline.core.grid import Grid
from pipeline.formats import registry
from pipeline.geo.gdal import display_path, gdal_options, run_within_limit
from pipeline.geo.overlap import same_crs
from pipeline.kernels.validity import mask_invalid
from pipeline.raster.file_bands import FileBand
from pipeline.scenes.preview import open_for_preview, read_mask, read_planes

Valid = npt.NDArray[np.bool_]


def read_coarse(bands: Sequence[FileBand], grid: Grid) -> tuple[npt.NDArray[np.float64], Valid]:
    """Read bands of one scene onto a grid.

    Parameters
    ----------
    bands : sequence of FileBand
        The bands.
    grid : Grid
        Grid in the CRS of the bands, with larger pixels or the same.

    Returns
    -------
    ndarray of float64, shape (band, rows, columns)
        Physical values where the scale of a band is known, else stored numbers.
    ndarray of bool, shape (rows, columns)
        True where all bands are valid.

    Raises
    ------
    SceneError
        If a band can't be read, or has another CRS than the grid.
    """
    pixels, valid = np.zeros((len(bands), *grid.shape)), np.ones(grid.shape, np.bool_)
    for plane, band in zip(pixels, bands, strict=True):
        if not same_crs(band.grid.crs, grid.crs):
            msg = f"{display_path(band.path)}: its coordinate reference system is not that of the map"
            raise SceneError(msg)
        stored, inside = _read_band(band, grid)
        scaled = (1.0, 0.0) if band.quantity == "numbers" else (band.scale, band.offset)
        plane[...] = stored * scaled[0] + scaled[1]
        valid &= inside
    return pixels, valid


def _read_band(band: FileBand, grid: Grid) -> tuple[Planes, Valid]:
    """Return the stored numbers of a band at the centres of a grid's pixels, and where they are valid."""
    rows, columns = _positions(band.grid, grid)
    high, wide = band.grid.shape
    inside = (rows >= 0) & (rows < high) & (columns >= 0) & (columns < wide)
    if not inside.any():
        return np.zeros(grid.shape, band.dtype), inside
    top, left = floor(rows[inside].min()), floor(columns[inside].min())
    window = Window(left, top, floor(columns[inside].max()) + 1 - left, floor(rows[inside].max()) + 1 - top)
    coarser = [max(1.0, theirs / ours) for theirs, ours in zip(grid.resolution, band.grid.resolution, strict=True)]
    shape = ceil(window.height / coarser[1]), ceil(window.width / coarser[0])
    if band.array:
        window, shape = Window(0, 0, wide, high), (ceil(high / coarser[1]), ceil(wide / coarser[0]))
        top = left = 0
    read = partial(_read_window, band, window, shape)
    what = f"{display_path(band.path)}: the file can't be read"
    plane, valid = run_within_limit(read, what) if band.remote else read()
    at = (
        np.clip(((rows - top) * shape[0] / window.height).astype(int), 0, shape[0] - 1),
        np.clip(((columns - left) * shape[1] / window.width).astype(int), 0, shape[1] - 1),
    )
    return plane[at], inside & valid[at]


def _positions(fine: Grid, grid: Grid) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return (row, column), from the first corner of a fine grid, of the centres of a grid's pixels."""
    change = ~fine.transform @ grid.transform @ Affine.translation(0.5, 0.5)
    rows, columns = np.indices(grid.shape, np.float64)
    return (
        change.d * columns + change.e * rows + change.f,
        change.a * columns + change.b * rows + change.c,
    )


def _read_window(band: FileBand, window: Window, shape: tuple[int, int]) -> tuple[Planes, Valid]:
    """Read a window of a band with a shape (rows, columns), and which of its pixels are valid."""
    if band.array:
        ((stored, valid),) = registry.read_reduced([band], shape)
        return stored, mask_invalid(stored[np.newaxis], (band.nodata,), valid)
    nearest = {"out_shape": shape, "resampling": Resampling.nearest, "window": window}
    with rasterio.Env(**gdal_options(band.path)), open_for_preview(band.path) as file:
        (plane,) = read_planes(band.path, file, [band], nearest)
        valid = read_mask(band.path, file, band.mask, band.alpha, nearest)
    return plane, mask_invalid(plane[np.newaxis], (band.nodata,), valid)
