"""What is read from one file in one call, and how it comes onto the scene's grid."""

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
from pipeline.geo.overlap import grid_words, same_grid, steps_between, turns
from pipeline.raster.file_bands import ArrayRef, FileBand

LARGEST_BLOCK: Final = 2048 * 2048
"""Pixels; larger chunks are cut into several of the run's blocks."""

_WARP_BLOCK: Final = (128, 512)
"""(rows, columns) that GDAL warps at once."""

_CACHED_BLOCK: Final = (512, 512)
"""(rows, columns) of what is warped that are kept as one: whole blocks of the warper, whatever the file's are."""

_KERNEL: Final = 32
"""Pixels of the file around them that a kernel may reach."""

_WEIGHTS: Final = 9
"""Bytes that the warper keeps beside a pixel: density and validity."""


@dataclass(frozen=True, kw_only=True)
class Warp:
    """Resampling by GDAL's warper, onto a grid whose pixels all windows share."""

    grid: Grid
    """The scene's."""
    source: Grid
    """Of the file."""
    alpha: int | None
    """The file's alpha band, if it has one: it is warped along."""
    resampling: ResamplingMethod
    nodata: float | None
    """Of the file's pixels: they take no part."""
    turned: bool
    """Whether longitudes of the file are 360 degrees more or less than those that the grid's places have elsewhere."""
    steps: tuple[float, float]
    """Rows and columns of the file under one of the scene's, wherever that is cut."""


@dataclass(frozen=True, kw_only=True)
class FilePart:
    """Bands that are read from one file in one call."""

    path: str
    first: int
    """Where they start among the scene's bands."""
    indexes: tuple[int, ...]
    masks: tuple[int, ...]
    """Bands whose GDAL masks are read along."""
    alphas: tuple[int, ...]
    """Alpha bands that are read along."""
    grid: Grid
    """On which they are read: the file's own, or the scene's where they are warped."""
    dtype: str
    block_shape: tuple[int, int]
    """(rows, columns) that are decoded as one."""
    alignment: Alignment | None
    """From the grid on which they are read to the scene's, by nearest neighbour; None where that is the scene's."""
    warp: Warp | None
    array: ArrayRef | None = None
    """Variable of a store, of which `indexes` are bands; None where it is a raster file."""
    expensive: bool = False
    """Whether decoding is dear, or the file on another machine."""
    remote: bool = False
    """Whether the file, or one behind it, is on another machine."""
    interleaved: bool = False
    """Whether a block behind a virtual file, which GDAL may read band by band, holds pixels of several bands."""

    @property
    def tells_validity(self) -> bool:
        """Whether reading tells which pixels hold data, beside what their values tell."""
        return bool(self.masks or self.alphas or self.warp or (self.array and self.array.tells_validity))

    @property
    def is_expensive(self) -> bool:
        """Whether what is read is to be kept wherever it is needed twice."""
        return self.expensive or self.array is not None or self.warp is not None

    @property
    def bytes_per_pixel(self) -> int:
        """Of the grid on which it is read, validity with it."""
        return len(self.indexes) * np.dtype(self.dtype).itemsize + self.tells_validity

    @property
    def size(self) -> int:
        """All its pixels in bytes, as they are read."""
        return self.grid.shape[0] * self.grid.shape[1] * self.bytes_per_pixel

    @property
    def warp_bytes(self) -> int:
        """What GDAL's warper holds at once: the pixels of the file under one of its blocks, and weights."""
        if not self.warp:
            return 0
        rows, columns = self.warp.source.shape
        down, across = self.warp.steps
        under = min(rows, _WARP_BLOCK[0] * down + _KERNEL) * min(columns, _WARP_BLOCK[1] * across + _KERNEL)
        made = _WARP_BLOCK[0] * _WARP_BLOCK[1]
        each = len(self.indexes) * np.dtype(self.dtype).itemsize + _WEIGHTS
        return int((under + made) * each)

    @property
    def bytes_per_scene_pixel(self) -> float:
        """What is held beside a pixel of the scene while this part is brought onto its grid."""
        steps = self.alignment.steps if self.alignment else (0.0, 0.0)
        brought = steps[0] * steps[1] * self.bytes_per_pixel
        if self.array is None:
            return brought
        together = min(self.array.bands_per_chunk, max(self.indexes) - min(self.indexes) + 1)
        return brought + max(steps[0] * steps[1], 1.0) * together * np.dtype(self.dtype).itemsize


def make_parts(
    bands: Sequence[FileBand],
    grid: Grid,
    methods: Sequence[ResamplingMethod],
    nodata: Sequence[float | None],
    whole: Grid | None = None,
) -> Iterator[FilePart]:
    """Group neighbouring bands that are read from one file in one way.

    Parameters
    ----------
    bands : sequence of FileBand
        Of the scene.
    grid : Grid
        Of the scene.
    methods : sequence of str
        How each band is resampled, where it has to be.
    nodata : sequence of float or None
        Of each band.
    whole : Grid, optional
        Of the scene before it was cut to an area of interest, which changes no pixel.
    """
    ways = [_way(*facts, grid, whole or grid) for facts in zip(bands, methods, nodata, strict=True)]
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
    """The variable of a store that a band belongs to, whichever band it is; None where it is one of a raster file."""
    return replace(band.array, index=0) if band.array else None


def _way(
    band: FileBand, method: ResamplingMethod, nodata: float | None, grid: Grid, whole: Grid
) -> tuple[Alignment | None, Warp | None]:
    """How a band comes onto a grid: as it is, by nearest neighbour, or warped."""
    if same_grid(grid, band.grid):
        return None, None
    turned = turns(whole, band.grid)
    alignment = None if turned else Alignment.of(grid, band.grid)
    if alignment and (method == "nearest" or alignment.is_identity):
        return alignment, None
    _check_warps(band, grid)
    return None, Warp(
        grid=grid,
        source=band.grid,
        alpha=band.alpha,
        resampling=method,
        nodata=nodata,
        turned=turned,
        steps=steps_between(whole, band.grid),
    )


def _check_warps(band: FileBand, grid: Grid) -> None:
    """Raise SceneError where GDAL's warper can't bring a band onto a grid, or would lose what of it is no data."""
    if band.array:
        msg = (
            f"{band.path}: {band.name} has {grid_words(band.grid)}, and variables of a store come onto another "
            "grid, here "
            f"{grid_words(grid)}, by nearest neighbour and in the same coordinate system alone: leave out "
            "scene.resampling, "
            "or bring the store there first"
        )
        raise SceneError(msg)
    if band.own_mask:
        msg = (
            f"{band.path}: band {band.index} has a mask of its own, which GDAL can't bring onto another grid; "
            "bring it there first (gdalwarp -dstnodata), or mark what holds no data by a value (scene.nodata)"
        )
        raise SceneError(msg)
