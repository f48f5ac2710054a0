"""A scene put together from the bands of raster files: which are read, on what grid, from where."""

import logging
import reprlib
from collections.abc import Iterable, Mapping, Sequence
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
from pipeline.scenes.choose_grid import finest_band, one_grid
from pipeline.scenes.masks import Mask
from pipeline.scenes.warnings import warn_of_little_overlap, warn_of_resampled_bands, warn_of_slow_strips

logger = logging.getLogger(__name__)

_SIDE_OF_A_PIECE: Final = 1024
"""Pixels: of a store's chunks that are too large to be worked on whole."""

_CURL: Final = 40 * 10**6
"""Bytes that reading from other machines takes: GDAL's cache of what it has fetched, and buffers."""

_TINIEST: Final = 1e-15
_LARGEST: Final = 1e15
"""Between them lie the scales and offsets that mean something; products of others may overflow."""


def _choose_nodata(bands: Sequence[FileBand], asked: str | float) -> tuple[int | float | None, ...]:
    """Each band's nodata value, as its pixels hold it: what the config says, else the file's tag.

    A value is rounded in the band's own type, before bands of other types make that type wider.
    """
    if not isinstance(asked, str) and not any(representable(asked, np.dtype(band.dtype)) for band in bands):
        shown = reprlib.repr(asked)  # which may have hundreds of digits
        msg = f"scene.nodata: {shown} can't occur in pixels of type {bands[0].dtype}; give a value that can, or 'auto'"
        raise ConfigError(msg)
    values: list[int | float | None] = []
    for band in bands:
        value, dtype = band.nodata if isinstance(asked, str) else asked, np.dtype(band.dtype)
        if value is not None and not representable(value, dtype):
            logger.warning("%s: the nodata value %s can't occur in %s pixels: ignored", band.path, value, dtype)
            value = None
        values.append(None if value is None else dtype.type(value).item())
    return tuple(values)


@dataclass(frozen=True)
class RasterScene:
    """Raster files described: which bands are read from where. Nothing but metadata has been read."""

    info: SceneInfo
    parts: tuple[FilePart, ...]
    """In the order of the bands."""
    masks: tuple[Mask, ...] = ()
    """What is left out of the map."""
    fit_masks: tuple[Mask, ...] = ()
    """What is left out of the fit, beside that."""

    def as_stored_numbers(self, like: Units | None = None) -> "RasterScene":
        """The same scene without scale and offset: of all bands, or of those that have none in the units of a model."""
        return replace(self, info=self.info.as_stored_numbers(like))


def summarize(
    bands: Sequence[FileBand],
    config: SceneConfig,
    files: Iterable[str] = (),
    grid: Grid | None = None,
    whole: Grid | None = None,
) -> RasterScene:
    """Put bands together as a scene.

    Parameters
    ----------
    bands : sequence of FileBand
        Opened.
    config : SceneConfig
        Nodata, resolution, resampling.
    files : iterable of str
        What belongs to the scene beside the bands' files.
    grid : Grid, optional
        The grid to bring them onto; by default that of the finest, cut down to the area of interest.
    whole : Grid, optional
        That grid before it was cut; by default it was not.

    Raises
    ------
    SceneError
        When they can't be brought onto one grid or hold no numbers to cluster.
    ConfigError
        When the nodata value or the resolution doesn't suit them.
    """
    for band in bands:
        if band.dtype not in PIXEL_TYPES:
            msg = f"{band.path}: pixels of type {band.dtype} can't be clustered; integers and floats can"
            raise SceneError(msg)
    bands = _with_sensible_scales(bands)
    if config.nodata != "auto":  # which stands for all that stores state
        bands = [replace(band, array=replace(band.array, nodata=())) if band.array else band for band in bands]
    cut = Cut(grid) if grid else None
    if cut is None:
        whole = one_grid(bands, config.resolution)
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
    if info.map_window:  # a part of a block is copied out of it
        info = replace(info, extra_bytes_per_pixel=max(info.extra_bytes_per_pixel, info.bytes_per_pixel + 1))
    return RasterScene(info, parts, masks=(cut.area,) if cut.area else ())


@dataclass(frozen=True)
class Cut:
    """What of a scene's own grid is read, and what of that a map shows."""

    grid: Grid
    """That is read: the whole blocks that the area of interest touches, or the scene's own grid."""
    area: Area | None = None
    """The area of interest, on this grid."""
    origin: tuple[int, int] = (0, 0)
    """Row and column of its first pixel on the scene's own grid."""
    map_window: Block | None = None
    """The rectangle of it that a map shows; None where that is all of it."""

    @property
    def map_grid(self) -> Grid:
        """The grid of a map."""
        return self.grid.part(self.map_window) if self.map_window else self.grid


def cut_to_area(grid: Grid, bands: Sequence[FileBand], config: SceneConfig) -> Cut:
    """Cut a grid down to the whole blocks that the area of interest lies on, so that none is decoded in vain.

    What a map shows of them depends on `scene.crop`, and nothing else does.

    Raises
    ------
    SceneError
        When the area lies elsewhere.
    """
    area = area_of(config.aoi, grid) if config.aoi else None
    read = area.window(grid, _block_shape(bands, grid)) if area else None
    if area is None or read is None:
        return Cut(grid, area)
    rows, columns = grid.shape
    whole = Block(row=0, column=0, top=0, left=0, height=rows, width=columns)
    shown = {"area": area.window(grid) or read, "blocks": read, "none": whole}[config.crop]
    return Cut(
        grid=grid.part(read),
        area=area.moved(read.top, read.left),
        origin=(read.top, read.left),
        map_window=None if shown == read else replace(shown, top=shown.top - read.top, left=shown.left - read.left),
    )


def _with_sensible_scales(bands: Sequence[FileBand]) -> list[FileBand]:
    """Bands as they are; without any scale or offset where one of them makes no sense."""
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
        "%s: scale %g and offset %g make no sense: stored numbers are taken as they are",
        odd.path,
        odd.scale,
        odd.offset,
    )
    return [replace(band, scale=1.0, offset=0.0, quantity="numbers") for band in bands]


def _methods(
    bands: Sequence[FileBand], asked: ResamplingMethod | Mapping[str, ResamplingMethod]
) -> list[ResamplingMethod]:
    """How each band is resampled, where it has to be."""
    if isinstance(asked, str):
        return [asked] * len(bands)
    names = [band.name for band in bands]
    methods = [asked.get("default", "nearest")] * len(bands)
    for name, method in asked.items():
        if name != "default":
            methods[find_band(name, names, key="scene.resampling")] = method
    return methods


def _block_shape(bands: Sequence[FileBand], grid: Grid) -> tuple[int, int]:
    """(rows, columns) of the scene that are decoded as one: the largest of the files that lie on its grid."""
    shapes = [band.block_shape for band in bands if _same_lattice(grid, band.grid)]
    if not shapes:
        finest = finest_band(bands)
        ratios = zip(finest.block_shape, finest.grid.resolution[::-1], grid.resolution[::-1], strict=True)
        high, wide = (max(1, round(size * theirs / ours)) for size, theirs, ours in ratios)
        shapes = [(min(high, _SIDE_OF_A_PIECE), min(wide, _SIDE_OF_A_PIECE))]
    largest = max(shapes, key=lambda shape: shape[0] * shape[1])
    if all(band.array for band in bands) and largest[0] * largest[1] > LARGEST_BLOCK:
        return _SIDE_OF_A_PIECE, _SIDE_OF_A_PIECE
    return largest


def _same_lattice(grid: Grid, other: Grid) -> bool:
    """Whether pixels of two grids are the same where both are."""
    alignment = Alignment.of(grid, other)
    return alignment is not None and alignment.is_identity


def _straddles(parts: Sequence[FilePart], grid: Grid, block_shape: tuple[int, int]) -> bool:
    """Whether blocks of some file straddle those of the scene, so that they would be decoded more than once."""
    return any(
        not same_grid(grid, part.grid)
        or any(
            ours % theirs and theirs < side
            for ours, theirs, side in zip(block_shape, part.block_shape, grid.shape, strict=True)
        )
        for part in parts
    )
