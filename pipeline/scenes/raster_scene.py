"""Assemble a scene from the bands of raster files: its bands, grid, nodata, files and masks, from metadata only."""

import logging
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from pipeline.config.fields import ResamplingMethod
from pipeline.config.schema import SceneConfig
from pipeline.core.band_names import find_band
from pipeline.core.errors import ConfigError, SceneError
from pipeline.core.grid import Block, Grid
from pipeline.core.scene_info import SceneInfo, combine_open_files
from pipeline.core.units import PIXEL_TYPES, Units
from pipeline.geo.align import Alignment
from pipeline.geo.area_of_interest import Area, area_of
from pipeline.geo.overlap import same_grid
from pipeline.geo.pixel_areas import PYPROJ, needs_ellipsoid
from pipeline.kernels.validity import representable
from pipeline.raster.file_bands import FileBand
from pipeline.raster.file_parts import LARGEST_BLOCK, FilePart, make_parts
from pipeline.scenes.band_checks import warn_of_little_overlap, warn_of_resampled_bands, warn_of_slow_strips
from pipeline.scenes.choose_grid import choose_grid, finest_band
from pipeline.scenes.masks import LayerMask, Mask

logger = logging.getLogger(__name__)

_LARGEST_SIDE: Final = 1024
"""Longest side of a scene block, in pixels, if no file has the scene's pixels or chunks of a store are larger."""

_CURL: Final = 40 * 10**6
"""Bytes for reading remote files: GDAL's cache of downloaded data, and buffers."""

_TINIEST: Final = 1e-15
_LARGEST: Final = 1e15
"""Plausible scales lie between these limits, offsets below the upper one; products of others may overflow."""


def _choose_nodata(bands: Sequence[FileBand], setting: str | float) -> tuple[int | float | None, ...]:
    """Return each band's nodata value in the band's own type: from the config, else from the file's tag.

    A value is rounded in the band's own type, before bands of other types make that type wider.
    """
    if not isinstance(setting, str) and not any(representable(setting, np.dtype(band.dtype)) for band in bands):
        shown = reprlib.repr(setting)  # it may have hundreds of digits
        msg = f"scene.nodata: {shown} can't occur in pixels of type {bands[0].dtype}; give a value that can, or 'auto'"
        raise ConfigError(msg)
    values: list[int | float | None] = []
    for band in bands:
        value, dtype = band.nodata if isinstance(setting, str) else setting, np.dtype(band.dtype)
        if value is not None and not representable(value, dtype):
            logger.warning(
                "%s: the nodata value %s can't occur in %s pixels and is ignored%s",
                band.path,
                value,
                dtype,
                "; set scene.nodata" if isinstance(setting, str) else " for this band",
            )
            value = None
        values.append(None if value is None else dtype.type(value).item())
    return tuple(values)


@dataclass(frozen=True)
class RasterScene:
    """A scene described by metadata: its bands, the files they are read from, and its masks; no pixels were read."""

    info: SceneInfo
    parts: tuple[FilePart, ...]
    """File parts to read, in band order."""
    masks: tuple[Mask, ...] = ()
    """Masks of pixels that are left out of the map and of the fit."""
    fit_masks: tuple[Mask, ...] = ()
    """Masks of further pixels that are left out of the fit only."""

    @property
    def is_remote(self) -> bool:
        """Whether any file of the scene is remote."""
        return any(part.remote for part in self._all_parts())

    @property
    def file_pixels(self) -> int:
        """Number of pixels in the files of the scene and of its masks, over all bands."""
        return sum(len(part.indexes) * part.grid.shape[0] * part.grid.shape[1] for part in set(self._all_parts()))

    def _all_parts(self) -> Iterator[FilePart]:
        """Yield the file parts of the scene and of its masks; a layer may be used for several masks."""
        yield from self.parts
        yield from (mask.part for mask in (*self.masks, *self.fit_masks) if isinstance(mask, LayerMask))

    def as_stored_numbers(self, like: Units | None = None) -> "RasterScene":
        """Return the scene without scales and offsets: of all bands, or of those that have none in the units `like`."""
        return replace(self, info=self.info.as_stored_numbers(like))


def assemble_scene(
    bands: Sequence[FileBand],
    config: SceneConfig,
    files: Iterable[str] = (),
    grid: Grid | None = None,
    whole: Grid | None = None,
) -> RasterScene:
    """Assemble a scene from opened bands.

    Parameters
    ----------
    bands : sequence of FileBand
        The bands, opened.
    config : SceneConfig
        Nodata, resolution, resampling, area of interest.
    files : iterable of str
        Further files of the scene, in addition to the bands' files.
    grid : Grid, optional
        Grid to align the bands to; by default that of the finest band, cut to the area of interest.
    whole : Grid, optional
        `grid` before it was cut to the area of interest; by default it was not cut.

    Raises
    ------
    SceneError
        If the bands can't be aligned to one grid, or have a pixel type that can't be clustered.
    ConfigError
        If the nodata value or the resolution doesn't suit the bands.
    """
    for band in bands:
        if band.dtype not in PIXEL_TYPES:
            msg = f"{band.path}: pixels of type {band.dtype} can't be clustered; convert them to integers or floats"
            raise SceneError(msg)
    bands = _with_sensible_scales(bands)
    if config.nodata != "auto":  # a configured value replaces all that stores state
        bands = [replace(band, array=replace(band.array, nodata=())) if band.array else band for band in bands]
    cut = Cut(grid) if grid else None
    if cut is None:
        whole = choose_grid(bands, config.resolution)
        cut = cut_to_area(whole, bands, config)
        if cut.area is None:
            warn_of_little_overlap(bands, cut.grid)
    grid = cut.grid
    block_shape = _block_shape(bands, grid)
    nodata = _choose_nodata(bands, config.nodata)
    parts = tuple(make_parts(bands, grid, _methods(bands, config.resampling), nodata, whole))
    warn_of_resampled_bands(parts, bands, grid)
    strips = {band.path: band.strip_bytes for band in bands if band.strip_bytes}
    warn_of_slow_strips(strips)
    info = SceneInfo(
        grid=grid,
        origin=cut.origin,
        map_window=cut.map_window,
        bands=tuple(band.name for band in bands),
        dtype=np.result_type(*{band.dtype for band in bands}),
        nodata=nodata,
        nodata_rule=config.nodata,
        scales=tuple(band.scale for band in bands),
        offsets=tuple(band.offset for band in bands),
        quantities=tuple(band.quantity for band in bands),
        common_names=tuple(band.common for band in bands),
        block_shape=block_shape,
        masked=cut.area is not None or any(part.has_validity_mask for part in parts),
        drivers=tuple(dict.fromkeys(band.driver for band in bands)),
        file_block_bytes=max(band.block_bytes for band in bands),
        blocks_at_once=max(4 if band.interleaved and band.straddles else 2 for band in bands),
        open_files=combine_open_files(band.open_files for band in {band.path: band for band in bands}.values()),
        strip_bytes=sum(strips.values()),
        expensive=any(part.is_expensive for part in parts),
        compressed=any(band.compressed for band in bands),
        read_by_file_block=_straddles(parts, grid, block_shape) or any(part.remote for part in parts),
        decoded_bytes=sum(part.size for part in parts),
        extra_bytes_per_pixel=max(part.bytes_per_scene_pixel for part in parts),
        warp_bytes=max(part.warp_bytes for part in parts),
        library_bytes=_CURL * any(part.remote for part in parts) + PYPROJ * needs_ellipsoid(cut.map_grid),
        sources=tuple(dict.fromkeys(band.path for band in bands)),
        files=tuple(dict.fromkeys([*(file for band in bands for file in (band.path, *band.files)), *files])),
    )
    if info.map_window:  # parts of blocks are copied
        info = replace(info, extra_bytes_per_pixel=max(info.extra_bytes_per_pixel, info.bytes_per_pixel + 1))
    return RasterScene(info, parts, masks=(cut.area,) if cut.area else ())


@dataclass(frozen=True)
class Cut:
    """The part of a scene's grid that is read, and the part of it that a map shows."""

    grid: Grid
    """Grid that is read: the whole blocks that the area of interest touches, or the scene's own grid."""
    area: Area | None = None
    """Area of interest on `grid`."""
    origin: tuple[int, int] = (0, 0)
    """Row and column of the first pixel of `grid` on the scene's own grid."""
    map_window: Block | None = None
    """Rectangle of `grid` that a map shows; None for all of it."""

    @property
    def map_grid(self) -> Grid:
        """Grid of the map."""
        return self.grid.crop(self.map_window) if self.map_window else self.grid


def cut_to_area(grid: Grid, bands: Sequence[FileBand], config: SceneConfig) -> Cut:
    """Cut a grid to the whole blocks that the area of interest touches, so that no other block is decoded.

    `scene.crop` sets the part of them that the map shows, and affects nothing else.

    Raises
    ------
    SceneError
        If the area doesn't overlap the grid.
    """
    area = area_of(config.aoi, grid) if config.aoi else None
    read = area.window(grid, _block_shape(bands, grid)) if area else None
    if area is None or read is None:
        return Cut(grid, area)
    rows, columns = grid.shape
    whole = Block(row=0, column=0, top=0, left=0, height=rows, width=columns)
    shown = {"area": area.window(grid) or read, "blocks": read, "none": whole}[config.crop]
    return Cut(
        grid=grid.crop(read),
        area=area.moved(read.top, read.left),
        origin=(read.top, read.left),
        map_window=None if shown == read else replace(shown, top=shown.top - read.top, left=shown.left - read.left),
    )


def _with_sensible_scales(bands: Sequence[FileBand]) -> list[FileBand]:
    """Return the bands; all without scale and offset if one band has an implausible one."""
    odd = next(
        (
            band
            for band in bands
            if not (_TINIEST < abs(band.scale) < _LARGEST and abs(band.offset) < _LARGEST)
            and band.quantity != "numbers"
        ),
        None,
    )
    if odd is None:
        return list(bands)
    logger.warning(
        "%s: implausible scale %g and offset %g: stored numbers of all bands are used unscaled; correct the tags",
        odd.path,
        odd.scale,
        odd.offset,
    )
    return [replace(band, scale=1.0, offset=0.0, quantity="numbers") for band in bands]


def _methods(
    bands: Sequence[FileBand], setting: ResamplingMethod | Mapping[str, ResamplingMethod]
) -> list[ResamplingMethod]:
    """Resampling method per band, used where the band's grid differs."""
    if isinstance(setting, str):
        return [setting] * len(bands)
    names = [band.name for band in bands]
    methods = [setting.get("default", "nearest")] * len(bands)
    for name, method in setting.items():
        if name != "default":
            methods[find_band(name, names, key="scene.resampling")] = method
    return methods


def _block_shape(bands: Sequence[FileBand], grid: Grid) -> tuple[int, int]:
    """(rows, columns) of a scene block: the largest block of the files whose pixels are those of the scene."""
    shapes = [band.block_shape for band in bands if _same_lattice(grid, band.grid)]
    if not shapes:
        finest = finest_band(bands)
        ratios = zip(finest.block_shape, finest.grid.resolution[::-1], grid.resolution[::-1], strict=True)
        high, wide = (max(1, round(size * band_side / scene_side)) for size, band_side, scene_side in ratios)
        shapes = [(min(high, _LARGEST_SIDE), min(wide, _LARGEST_SIDE))]
    largest = max(shapes, key=lambda shape: shape[0] * shape[1])
    if all(band.array for band in bands) and largest[0] * largest[1] > LARGEST_BLOCK:
        return _LARGEST_SIDE, _LARGEST_SIDE
    return largest


def _same_lattice(grid: Grid, other: Grid) -> bool:
    """Return True if the pixels of two grids coincide where the grids overlap."""
    alignment = Alignment.of(grid, other)
    return alignment is not None and alignment.is_identity


def _straddles(parts: Sequence[FilePart], grid: Grid, block_shape: tuple[int, int]) -> bool:
    """Return True if blocks of some file straddle those of the scene, so that they would be decoded more than once."""
    return any(
        not same_grid(grid, part.grid)
        or any(
            ours % stored and stored < side
            for ours, stored, side in zip(block_shape, part.block_shape, grid.shape, strict=True)
        )
        for part in parts
    )
