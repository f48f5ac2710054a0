"""What reading a scene costs: the sizes that the plan of a run adds up, known before pixels are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from pipeline.core.grid import Grid
from pipeline.core.scene_info import SceneInfo
from pipeline.geo.area_of_interest import PYOGRIO
from pipeline.geo.overlap import same_grid
from pipeline.geo.pixel_areas import PYPROJ, needs_ellipsoid
from pipeline.raster.file_bands import FileBand
from pipeline.raster.file_parts import FilePart
from pipeline.raster.stored_blocks import NO_OPEN_FILES, OpenFiles, combine_open_files
from pipeline.scenes.scene_masks import SceneMasks

_CURL: Final = 40 * 10**6
"""Bytes for reading remote files: GDAL's cache of downloaded data, and buffers."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Memory, disk space and cost of reading a scene."""

    file_block_bytes: int
    """Bytes that GDAL decodes at once, at most: a file block of one band, or of all bands if pixel-interleaved."""
    blocks_at_once: int = 2
    """Number of decoded file blocks that GDAL must cache per worker, so that none is decoded again for each band."""
    open_files: OpenFiles = NO_OPEN_FILES
    """Files that virtual files refer to."""
    strip_bytes: int = 0
    """Bytes of compressed strips that GDAL holds per worker, for files stored as a single strip."""
    expensive: bool = False
    """Whether decoding is expensive, so that pixels needed more than once are cached."""
    compressed: bool = False
    """Whether pixels of at least one band are stored compressed."""
    read_by_file_block: bool = False
    """Whether files must be read and cached by their own blocks: these straddle the scene's blocks (as with bands on
    other grids), or the files are on another machine, where small requests make retries cheap."""
    decoded_bytes: int = 0
    """Bytes of all decoded pixels, bands and masks, on the grids of their files."""
    library_bytes: int = 0
    """Memory of the libraries that are loaded only for scenes of this kind, in bytes."""
    extra_bytes_per_pixel: float = 0.0
    """Additional bytes per pixel of the scene while bands are resampled onto its grid."""
    mask_margins: tuple[tuple[int, float], ...] = ()
    """Per mask: width in pixels of the margin around a block that affects it, and bytes per pixel it takes."""
    warp_bytes: int = 0
    """Bytes that GDAL's warper holds per worker."""

    @classmethod
    def combined(cls, scenes: Sequence[tuple[SceneInfo, Self]]) -> Self:
        """Combine the facts and the reading of the scenes of a mosaic, which are read one after the other."""
        each = [reading for _, reading in scenes]
        return cls(
            file_block_bytes=max(one.file_block_bytes for one in each),
            blocks_at_once=max(one.blocks_at_once for one in each),
            open_files=combine_open_files(one.open_files for one in each),
            strip_bytes=sum(one.strip_bytes for one in each),
            expensive=any(one.expensive for one in each),
            compressed=any(one.compressed for one in each),
            read_by_file_block=True,
            decoded_bytes=sum(one.decoded_bytes for one in each),
            library_bytes=max(one.library_bytes for one in each),
            extra_bytes_per_pixel=max(one.extra_bytes_per_pixel + info.bytes_per_pixel + 1 for info, one in scenes),
            mask_margins=max((one.mask_margins for one in each), key=lambda margins: sum(m * b for m, b in margins)),
            warp_bytes=max(one.warp_bytes for one in each),
        )


def reading_of(
    info: SceneInfo, bands: Sequence[FileBand], parts: Sequence[FilePart], masks: SceneMasks, catalogue_bytes: int
) -> Reading:
    """Return what it costs to read a scene's bands and masks; `catalogue_bytes` is memory of its source's libraries."""
    layers, remote = masks.layers, any(part.remote for part in parts)
    all_parts = [*parts, *(layer.part for layer in layers)]
    files = {band.path: band for band in bands}.values()
    copied = info.bytes_per_pixel + 1 if info.map_window else 0  # parts of blocks, with their validity
    return Reading(
        file_block_bytes=max([*(band.block_bytes for band in bands), *(layer.block_bytes for layer in layers)]),
        blocks_at_once=max(4 if band.interleaved and band.straddles else 2 for band in bands),
        open_files=combine_open_files([*(file.open_files for file in files), *(layer.open_files for layer in layers)]),
        strip_bytes=sum({band.path: band.strip_bytes for band in bands if band.strip_bytes}.values()),
        expensive=any(part.is_expensive for part in all_parts),
        compressed=any(band.compressed for band in bands),
        read_by_file_block=remote
        or _straddles(parts, info.grid, info.block_shape)
        or any(layer.part.alignment or layer.radius for layer in layers),
        decoded_bytes=sum(part.size for part in (*parts, *{layer.part for layer in layers})),
        library_bytes=catalogue_bytes
        + _CURL * remote
        + PYOGRIO * masks.reads_vectors
        + PYPROJ * needs_ellipsoid(info.map_grid),
        extra_bytes_per_pixel=max([*(part.bytes_per_scene_pixel for part in parts), copied]),
        mask_margins=tuple(layer.margin_and_bytes for layer in layers),
        warp_bytes=max(part.warp_bytes for part in all_parts),
    )


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
