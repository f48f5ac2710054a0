"""What reading a scene needs, and where its decoded pixels are cached: all arithmetic on how its files are stored."""

from math import ceil
from typing import Final, Literal, NamedTuple

from pipeline.core.needs import Needs, Work
from pipeline.core.scene_info import SceneInfo
from pipeline.pixels.gdal_memory import gdal_cache_bytes, open_files_bytes
from pipeline.scenes.reading import Reading

_DECODER_COPIES: Final = 5
"""Memory to decode a JPEG 2000 block, as a multiple of its size: OpenJPEG holds 4 bytes per pixel, twice."""

_FLAGS: Final = 3
"""Bytes per pixel of a block in addition to its bands: validity, use in the fit, and labels not yet written."""

_VALIDITY: Final = 1
"""Bytes per pixel that are cached besides its bands."""

LABEL_AND_BOUND: Final = 2
"""Bytes of `Needs.state` of a method that passes over pieces of all pixels, with a label and a bound of each."""


def open_files_needs(reading: Reading, work: Work) -> Needs:
    """Needs of the files of a scene as long as they are open: libraries and GDAL's memory."""
    gdal = gdal_cache_bytes(reading, work.workers) + open_files_bytes(reading, work.workers)
    return Needs(fixed=reading.library_bytes + gdal)


def reading_needs(info: SceneInfo, reading: Reading, work: Work, *, all_pixels: bool) -> Needs:
    """Needs of reading blocks: their pixels, and what decoding and resampling hold meanwhile.

    Parameters
    ----------
    info, reading : SceneInfo, Reading
        The scene, and what reading it costs.
    work : Work
        How it is divided into blocks.
    all_pixels : bool
        Whether the fit passes over all pixels, so that labels, bounds and limits of a block are found as it is read.
    """
    fitted = info.dtype.itemsize + 4 if all_pixels else 0
    pixels = work.pixels * (info.bytes_per_pixel + _FLAGS + ceil(reading.extra_bytes_per_pixel) + fitted)
    decoder = reading.file_block_bytes * (_DECODER_COPIES if reading.expensive else 2)
    return Needs(per_block=pixels + decoder + reading.strip_bytes + reading.warp_bytes)


def masking_needs(reading: Reading, work: Work) -> Needs:
    """Needs of masks, one at a time, with their margins around a block; before the block is worked on."""
    rows, columns = work.chunk
    sizes = [ceil((rows + 2 * m) * (columns + 2 * m) * each) for m, each in reading.mask_margins]
    return Needs(per_block=max(sizes, default=0))


class CacheChoice(NamedTuple):
    """Where decoded pixels are cached."""

    where: Literal["none", "memory", "disk"]
    """Kind of cache."""
    files: bool
    """Whether blocks of the files are cached, at the resolution they are decoded at."""
    blocks: bool
    """Whether blocks of the scene are cached."""
    optional: bool
    """Whether the source can be read again at little cost where there is no room for the cache."""
    size: int
    """Size of the cache in bytes."""


NO_CACHE: Final = CacheChoice("none", files=False, blocks=False, optional=False, size=0)
"""Files are read again in each pass."""


def choose_cache(
    info: SceneInfo, reading: Reading, setting: Literal["auto", "memory", "disk", "none"], needs: Needs
) -> CacheChoice:
    """Choose where decoded pixels are cached.

    Parameters
    ----------
    info, reading : SceneInfo, Reading
        The scene, and what reading it costs.
    setting : str
        Setting `run.cache`; not 'none' if a cache is a must.
    needs : Needs
        Needs of all stages, one after the other.
    """
    if setting == "none":
        return NO_CACHE
    repeated, must = needs.passes > 1, needs.cache == "must"
    worth_it = reading.expensive or setting != "auto"
    margins = needs.halo > 0 and (worth_it or reading.compressed)  # which lie in blocks of files that others read
    by_file = reading.read_by_file_block or margins
    for_the_map = repeated and not must and not by_file and (worth_it or reading.compressed)
    blocks = for_the_map or needs.state > 0
    # if no block of a file is split and blocks of the scene are cached, each block of a file is read just once
    windows = must and not blocks  # a method that reads windows of its own, which split blocks of the files
    files = (worth_it or windows or margins) and (by_file or (repeated and not blocks))
    if not (files or blocks):
        return NO_CACHE
    size = reading.decoded_bytes * files + info.pixels * (info.bytes_per_pixel + _VALIDITY + needs.state) * blocks
    optional = blocks and setting == "auto" and not reading.expensive and needs.cache == "no"
    return CacheChoice("memory" if setting == "memory" else "disk", files, blocks, optional, size)
