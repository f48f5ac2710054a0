"""Group a scene's bands into file parts, each read in one call, and decide how each is resampled."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

import numpy as np

from pipeline.config.fields import ResamplingMethod
from pipeline.core.errors import SceneError
from pipeline.core.grid import Grid
from pipeline.geo.align import Alignment
from pipeline.geo.overlap import grid_words, needs_recentring, same_grid, steps_between
from pipeline.raster.file_bands import ArrayRef, FileBand

LARGEST_BLOCK: Final = 2048 * 2048
"""Largest number of pixels of a run's block; larger chunks of a store are divided."""

_WARP_BLOCK: Final = (128, 512)
"""Size of a block that GDAL warps at once, (rows, columns)."""

_CACHED_BLOCK: Final = (512, 512)
"""Size of a cached block of warped pixels, (rows, columns): whole blocks of the warper, not of the file."""

_KERNEL: Final = 32
"""Margin of file pixels around a block for the resampling kernel, both sides together."""

_WEIGHTS: Final = 9
"""Bytes per pixel that the warper needs in addition to its value: density and validity."""


@dataclass(frozen=True, kw_only=True)
class Warp:
    """Parameters of GDAL's warper, which resamples a file onto the whole grid of a scene."""

    grid: Grid
    """Grid of the scene."""
    source: Grid
    """Grid of the file."""
    alpha: int | None
    """Index of the file's alpha band, which is warped as a mask; None if it has none."""
    resampling: ResamplingMethod
    """Resampling method of GDAL."""
    nodata: float | None
    """Value of the file's nodata pixels, which are left out of the resampling; None without nodata."""
    recentred: bool
    """Whether the file's longitudes differ by 360 degrees from those of the scene, and are recentred."""
    steps: tuple[float, float]
    """File rows per scene row, and file columns per scene column; the same for every area of interest."""


@dataclass(frozen=True, kw_only=True)
class FilePart:
    """Consecutive bands of a scene that are read from one file in one call."""

    path: str
    """Path of the file, as GDAL opens it."""
    first: int
    """Position of the first band among the scene's bands, counted from 0."""
    indexes: tuple[int, ...]
    """Numbers of the bands in the file, counted from 1."""
    masks: tuple[int, ...]
    """Numbers of the bands whose GDAL masks are read as well."""
    alphas: tuple[int, ...]
    """Numbers of the alpha bands that are read as masks."""
    grid: Grid
    """Grid on which the bands are read: the file's, or the scene's if they are warped."""
    dtype: str
    """Data type of the bands."""
    block_shape: tuple[int, int]
    """Size of a block that is decoded as one, (rows, columns)."""
    alignment: Alignment | None
    """Nearest-neighbour alignment of the scene's grid with `grid`; None if they are the same."""
    warp: Warp | None
    """Parameters of GDAL's warper; None if the bands are not warped."""
    array: ArrayRef | None = None
    """Variable of a store whose bands are `indexes`; None for a raster file."""
    expensive: bool = False
    """Whether decoding is expensive, or the file or one of its sources is remote."""
    remote: bool = False
    """Whether the file or one of its sources is remote."""
    interleaved: bool = False
    """Whether blocks of a virtual file's sources contain several bands, which GDAL may read one by one."""

    @property
    def has_validity_mask(self) -> bool:
        """Whether reading also yields a validity mask, in addition to nodata values."""
        return bool(self.masks or self.alphas or self.warp or (self.array and self.array.has_validity_mask))

    @property
    def is_expensive(self) -> bool:
        """Whether pixels that are needed twice should be cached."""
        return self.expensive or self.array is not None or self.warp is not None

    @property
    def bytes_per_pixel(self) -> int:
        """Bytes per pixel of `grid`: all bands, and the validity mask if there is one."""
        return len(self.indexes) * np.dtype(self.dtype).itemsize + self.has_validity_mask

    @property
    def size(self) -> int:
        """Bytes of all pixels of `grid`, as they are read."""
        return self.grid.shape[0] * self.grid.shape[1] * self.bytes_per_pixel

    @property
    def warp_bytes(self) -> int:
        """Bytes that GDAL's warper needs: the file's pixels under one of its blocks, the result, and weights."""
        if not self.warp:
            return 0
        rows, columns = self.warp.source.shape
        down, across = self.warp.steps
        under = min(rows, _WARP_BLOCK[0] * down + _KERNEL) * min(columns, _WARP_BLOCK[1] * across + _KERNEL)
        result = _WARP_BLOCK[0] * _WARP_BLOCK[1]
        bytes_per_pixel = len(self.indexes) * np.dtype(self.dtype).itemsize + _WEIGHTS
        return int((under + result) * bytes_per_pixel)

    @property
    def bytes_per_scene_pixel(self) -> float:
        """Bytes held per pixel of the scene, in addition to the result, while this part is resampled onto its grid."""
        steps = self.alignment.steps if self.alignment else (0.0, 0.0)
        window = steps[0] * steps[1] * self.bytes_per_pixel
        if self.array is None:
            return window
        decoded_bands = min(self.array.bands_per_chunk, max(self.indexes) - min(self.indexes) + 1)
        return window + max(steps[0] * steps[1], 1.0) * decoded_bands * np.dtype(self.dtype).itemsize


def make_parts(
    bands: Sequence[FileBand],
    grid: Grid,
    methods: Sequence[ResamplingMethod],
    nodata: Sequence[float | None],
    whole: Grid | None = None,
) -> Iterator[FilePart]:
    """Group consecutive bands that are read from one file in the same way.

    Parameters
    ----------
    bands : sequence of FileBand
        Bands of the scene.
    grid : Grid
        Grid of the scene.
    methods : sequence of str
        Resampling method per band, used if its grid differs.
    nodata : sequence of float or None
        Nodata value per band.
    whole : Grid, optional
        Grid of the scene before it was cropped to an area of interest, so that cropping changes no pixel.

    Raises
    ------
    SceneError
        If a band can't be resampled onto the grid.
    """
    ways = [_resampling_of(*facts, grid, whole or grid) for facts in zip(bands, methods, nodata, strict=True)]
    first = 0
    for (path, dtype, array, (alignment, warp)), members in groupby(
        zip(bands, ways, strict=True), key=lambda pair: (pair[0].path, pair[0].dtype, variable_of(pair[0]), pair[1])
    ):
        group = [band for band, _ in members]
        yield FilePart(
            path=path,
            first=first,
            indexes=tuple(band.index for band in group),
            masks=tuple(dict.fromkeys(band.mask for band in group if band.mask is not None)) if not warp else (),
            alphas=tuple(dict.fromkeys(band.alpha for band in group if band.alpha is not None)) if not warp else (),
            grid=grid if warp or not alignment else group[0].grid,
            dtype=dtype,
            block_shape=_CACHED_BLOCK if warp else max((band.block_shape for band in group), key=math.prod),
            alignment=alignment,
            warp=warp,
            array=array,
            expensive=any(band.expensive for band in group),
            remote=any(band.remote for band in group),
            interleaved=any(band.interleaved for band in group),
        )
        first += len(group)


def variable_of(band: FileBand) -> ArrayRef | None:
    """Return the variable of a store that a band belongs to, without its index; None for a raster file."""
    return replace(band.array, index=0) if band.array else None


def _resampling_of(
    band: FileBand, method: ResamplingMethod, nodata: float | None, grid: Grid, whole: Grid
) -> tuple[Alignment | None, Warp | None]:
    """Decide how a band is resampled onto a grid: not at all, by nearest neighbour, or by GDAL's warper."""
    if same_grid(grid, band.grid):
        return None, None
    recentred = needs_recentring(whole, band.grid)
    alignment = None if recentred else Alignment.of(grid, band.grid)
    if alignment and (method == "nearest" or alignment.is_identity):
        return alignment, None
    _check_warps(band, grid)
    return None, Warp(
        grid=grid,
        source=band.grid,
        alpha=band.alpha,
        resampling=method,
        nodata=nodata,
        recentred=recentred,
        steps=steps_between(whole, band.grid),
    )


def _check_warps(band: FileBand, grid: Grid) -> None:
    """Raise SceneError if GDAL's warper can't resample a band onto a grid, or would lose its mask."""
    if band.array:
        msg = (
            f"{band.path}: {band.name} has {grid_words(band.grid)}, but the scene has {grid_words(grid)}; variables "
            "of a store are resampled by nearest neighbour within one coordinate system only: leave out "
            "scene.resampling, or reproject the store first"
        )
        raise SceneError(msg)
    if band.own_mask:
        msg = (
            f"{band.path}: band {band.index} has a mask of its own, which GDAL can't resample; "
            "warp the file onto the scene's grid first (gdalwarp -dstnodata), or use a nodata value (scene.nodata)"
        )
        raise SceneError(msg)
