"""Previews: each band reduced to every n-th pixel, with validity."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from math import ceil, isqrt
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling

from pipeline.core.arrays import Planes
from pipeline.core.grid import Grid
from pipeline.formats import registry
from pipeline.geo.gdal import GDAL_ERRORS, display_path, gdal_options, open_raster, read_error, run_within_limit
from pipeline.geo.overlap import bounds, same_crs
from pipeline.kernels.validity import mask_invalid
from pipeline.raster.file_bands import FileBand

_SIDE: Final = 512
"""Largest number of pixels along a side of a preview."""

_BYTES: Final = 128 * 2**20
"""Largest size in bytes of all previews together; of more than about a hundred bands each preview is smaller."""

_LEAST: Final = 32
"""Least number of pixels along the longest side of a preview, however many bands there are."""


@dataclass(frozen=True)
class Preview:
    """A band and its preview."""

    band: FileBand
    pixels: Planes
    """Stored numbers, shape (rows, columns)."""
    valid: npt.NDArray[np.bool_]
    """True where the band is valid, shape (rows, columns)."""


def read_previews(bands: Sequence[FileBand], first: FileBand) -> list[Preview]:
    """Read a preview of each band by nearest neighbour, from an overview if the file has one.

    Parameters
    ----------
    bands : sequence of FileBand
        The bands. Consecutive bands of one file are read together.
    first : FileBand
        Previews of bands with the same extent as this one have the size of its preview.

    Raises
    ------
    SceneError
        If a band can't be read.
    """
    near = {grid: same_ground(grid, first.grid) for grid in dict.fromkeys(band.grid for band in bands)}
    each = sum(np.dtype(band.dtype).itemsize for band in bands) + len(bands)  # and validity
    side = max(_LEAST, min(_SIDE, isqrt(_BYTES // each)))
    previews: list[Preview] = []
    for (path, _, shape), members in groupby(
        bands, key=lambda band: (band.path, band.dtype, (first if near[band.grid] else band).grid.shape)
    ):
        step = max(1, ceil(max(shape) / side))
        reduced = ceil(shape[0] / step), ceil(shape[1] / step)
        group = list(members)
        if group[0].array:
            previews += _read_store(group, reduced)
        else:
            read = partial(_read_file, path, group, reduced)
            previews += (
                run_within_limit(read, f"{display_path(path)}: the file can't be read") if group[0].remote else read()
            )
    return previews


def same_ground(one: Grid, other: Grid) -> bool:
    """Return True if two grids have the same CRS and the same extent, within half a pixel."""
    if one == other:
        return True
    return same_crs(one.crs, other.crs) and np.allclose(
        bounds(one), bounds(other), rtol=0, atol=other.resolution[0] / 2
    )


def pixels_match(previews: Sequence[Preview]) -> bool:
    """Return True if all previews have the same shape and extent, so that their pixels correspond."""
    shapes = {preview.pixels.shape for preview in previews}
    grids = dict.fromkeys(preview.band.grid for preview in previews)
    return len(shapes) == 1 and all(same_ground(grid, previews[0].band.grid) for grid in grids)


def _read_file(path: str, bands: Sequence[FileBand], shape: tuple[int, int]) -> list[Preview]:
    """Read previews of bands of one file and one pixel type."""
    nearest = {"out_shape": shape, "resampling": Resampling.nearest}
    previews = []
    with rasterio.Env(**gdal_options(path)), open_for_preview(path) as file:
        planes = read_planes(path, file, bands, nearest)
        masks: dict[tuple[int | None, int | None], npt.NDArray[np.bool_]] = {}
        for band, plane in zip(bands, planes, strict=True):
            key = band.mask, band.alpha
            if key not in masks:
                masks[key] = read_mask(path, file, *key, nearest)
            valid = mask_invalid(plane[np.newaxis], (band.nodata,), masks[key].copy())
            previews.append(Preview(band, plane, valid))
    return previews


def open_for_preview(path: str) -> rasterio.DatasetReader:
    """Open a file; raise SceneError if that fails."""
    try:
        return open_raster(path)
    except GDAL_ERRORS as error:
        raise read_error(path, "the file", error) from error


def read_planes(
    path: str, file: rasterio.DatasetReader, bands: Sequence[FileBand], nearest: dict[str, Any]
) -> Sequence[Planes]:
    """Read bands in one call, so that pixel-interleaved blocks are decoded once."""
    rows, columns = nearest["out_shape"]
    try:
        indexes, shape = [band.index for band in bands], (len(bands), rows, columns)
        return list(file.read(indexes, **nearest | {"out_shape": shape}))
    except GDAL_ERRORS as error:
        for band in bands:  # find the band that fails
            try:
                file.read(band.index, **nearest)
            except GDAL_ERRORS as band_error:
                raise read_error(path, f"band {band.index}", band_error) from band_error
        raise read_error(path, f"band {bands[0].index}", error) from error


def read_mask(
    path: str, file: rasterio.DatasetReader, mask: int | None, alpha: int | None, nearest: dict[str, Any]
) -> npt.NDArray[np.bool_]:
    """Read which pixels a mask and an alpha band, if there are any, mark as valid."""
    valid = np.ones(nearest["out_shape"], np.bool_)
    try:
        if mask is not None:
            valid &= file.read_masks(mask, **nearest) != 0
        if alpha is not None:
            valid &= file.read(alpha, **nearest) != 0
    except GDAL_ERRORS as error:
        raise read_error(path, "a mask", error) from error
    return valid


def _read_store(bands: Sequence[FileBand], shape: tuple[int, int]) -> Iterator[Preview]:
    """Read previews of bands of a store."""
    for band, (pixels, valid) in zip(bands, registry.read_reduced(bands, shape), strict=True):
        yield Preview(band, pixels, mask_invalid(pixels[np.newaxis], (band.nodata,), valid))
