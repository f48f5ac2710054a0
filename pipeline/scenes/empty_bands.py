"""Find bands without any valid pixel: a few blocks of each band are read first, and all blocks if none is valid."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from math import ceil
from typing import Final

import numpy as np
import rasterio

from pipeline.core.arrays import Planes
from pipeline.core.band_names import listed_names
from pipeline.core.errors import SceneError
from pipeline.core.grid import Block, split_into_blocks
from pipeline.core.units import PIXEL_TYPES
from pipeline.formats import registry
from pipeline.geo.gdal import GDAL_ERRORS, display_path, gdal_options, open_raster, read_error, run_within_limit
from pipeline.kernels.validity import mask_invalid
from pipeline.raster.file_bands import FileBand
from pipeline.raster.file_parts import variable_of
from pipeline.raster.readers import Handles

logger = logging.getLogger(__name__)

_WINDOW: Final = 2**16
"""Pixels to read at once: smaller file blocks are read together."""

_BYTES: Final = 32 * 2**20
"""Largest number of bytes read at once; one block of one band may exceed it."""

_FIRST_WINDOWS: Final = 16
"""Largest number of windows read per file before it is known that other bands hold data."""

_GOLDEN: Final = (5**0.5 - 1) / 2
"""Golden ratio: any number of steps by this share of the whole is spread evenly."""


@dataclass(frozen=True)
class _Candidate:
    """A band that may be empty."""

    band: FileBand
    nodata: float | None
    """Nodata value; None if there is none."""
    as_stated: bool
    """True if further nodata values stated by a store count: they don't if the config gives a value."""


def find_empty_bands(bands: Sequence[FileBand], nodata: str | float = "auto") -> list[FileBand]:
    """List the empty bands of a scene, which have no valid pixel; empty if all bands seem to have none.

    Usually one window of each band is read: a valid pixel in it proves that the band is not empty. Of the other bands
    more windows are read and, if other bands hold data, finally all windows, until a valid pixel is found. Integer
    bands without a nodata value are not read.

    Parameters
    ----------
    bands : sequence of FileBand
        The bands.
    nodata : 'auto' or float
        Nodata value; 'auto' for that of the files.

    Raises
    ------
    SceneError
        If a band can't be read.
    """
    return [bands[i] for i in _empty_indices([bands], nodata)]


def leave_out_empty(scenes: Sequence[Sequence[FileBand]], nodata: str | float, *, named: bool) -> list[list[FileBand]]:
    """Leave out the bands without any valid pixel in all scenes, with a warning.

    Parameters
    ----------
    scenes : sequence of sequence of FileBand
        The bands of each scene of a mosaic, or of one scene, in the same order.
    nodata : 'auto' or float
        Nodata value; 'auto' for that of the files.
    named : bool
        True if the bands were requested by name or number.

    Raises
    ------
    SceneError
        If empty bands were requested by name or number.
    """
    empty = _empty_indices(scenes, nodata)
    if empty:
        first = scenes[0]
        others = f" and {len(scenes) - 1} more" if len(scenes) > 1 else ""
        names = names_of(first[i] for i in empty)
        path = display_path(first[empty[0]].path)
        what = f"{path}{others}: {len(empty)} of {len(first)} bands hold no valid pixel: {names}"
        if named:
            msg = f"{what}, so no pixel is valid in every band; leave them out of scene.bands"
            raise SceneError(msg)
        logger.warning("%s: left out", what)
    return [[band for i, band in enumerate(bands) if i not in empty] for bands in scenes]


def _empty_indices(scenes: Sequence[Sequence[FileBand]], nodata: str | float) -> list[int]:
    """Return the indices of the bands that are empty in every scene; none if all bands seem to be empty."""
    count = len(scenes[0])
    candidates = [_candidates(bands, nodata) for bands in scenes]
    left = [i for i in range(count) if all(i in scene for scene in candidates)]
    for most in (_FIRST_WINDOWS, None):
        for scene in candidates:
            left = _search_scene({i: scene[i] for i in left}, most)
        if len(left) == count:
            return []
    return left


def _candidates(bands: Sequence[FileBand], nodata: str | float) -> dict[int, _Candidate]:
    """Bands of a scene that can have nodata pixels, by index."""
    candidates = {}
    for i, band in enumerate(bands):
        value = band.nodata if isinstance(nodata, str) else nodata
        if band.dtype in PIXEL_TYPES and (value is not None or np.dtype(band.dtype).kind == "f"):
            candidates[i] = _Candidate(band, value, isinstance(nodata, str))
    return candidates


def _search_scene(candidates: Mapping[int, _Candidate], most: int | None) -> list[int]:
    """Search bands of a scene for a valid pixel, file by file; return the indices of bands without one."""
    files: dict[object, list[_Candidate]] = {}
    for candidate in candidates.values():
        band = candidate.band
        files.setdefault((band.path, band.dtype, band.grid, band.block_shape), []).append(candidate)
    empty = {id(candidate) for in_file in files.values() for candidate in _search(in_file, most)}
    return [i for i, candidate in candidates.items() if id(candidate) in empty]


def names_of(bands: Iterable[FileBand]) -> str:
    """List band names for a message; only some of very many."""
    return listed_names([band.name for band in bands])


def _search(candidates: Sequence[_Candidate], most: int | None = None) -> list[_Candidate]:
    """Search bands of a file for a valid pixel; return those without one in `most` windows, or in all."""
    left = list(candidates)
    if not left:
        return left
    first = left[0].band
    bands_at_once = max(1, _BYTES // (first.block_shape[0] * first.block_shape[1] * np.dtype(first.dtype).itemsize))
    with _reader(first) as read:
        for window in _windows(first, min(len(left), bands_at_once), most):
            groups = [left[start : start + bands_at_once] for start in range(0, len(left), bands_at_once)]
            left = [
                candidate
                for group in groups
                for candidate, plane in zip(group, read([each.band for each in group], window), strict=True)
                if not _any_valid(plane, candidate)
            ]
            if not left:
                break
    return left


def _any_valid(plane: Planes, candidate: _Candidate) -> bool:
    """Return True if some pixel of a window is valid."""
    valid = np.ones(plane.shape, np.bool_)
    if candidate.band.array:
        stated = candidate.band.array
        array = stated if candidate.as_stated else replace(stated, nodata=())
        registry.mask_invalid_numbers(array, plane, valid)
    return bool(mask_invalid(plane[np.newaxis], (candidate.nodata,), valid).any())


def _windows(band: FileBand, bands_at_once: int, most: int | None) -> Iterator[Block]:
    """Windows of whole blocks: at most `most`, spread over the file from its middle, or all in order if it is None."""
    (rows, columns), (high, wide) = band.grid.shape, band.block_shape
    room = min(_WINDOW, _BYTES // (bands_at_once * np.dtype(band.dtype).itemsize))
    high *= max(1, min(ceil(rows / high), room // (high * wide)))
    blocks = split_into_blocks((rows, columns), (high, wide))
    count, (down, across) = len(blocks), blocks.shape
    middle = down // 2 * across + across // 2
    spread = ((middle + int(step * _GOLDEN % 1 * count)) % count for step in range(most or 0))
    for number in range(count) if most is None or most >= count else dict.fromkeys(spread):
        yield blocks[number]


@contextmanager
def _reader(band: FileBand) -> Iterator[Callable[[Sequence[FileBand], Block], Planes]]:
    """Yield a function that reads a window of bands of a file, shape (band, rows, columns)."""
    if band.array:
        yield _read_arrays
        return
    path = band.path
    try:
        if band.remote:
            yield partial(_read_remote, Handles())
            return
        with rasterio.Env(**gdal_options(path)), open_raster(path) as file:
            yield lambda bands, window: file.read([band.index for band in bands], window=window.window)
    except GDAL_ERRORS as error:
        raise read_error(path, "the file", error) from error


def _read_remote(handles: Handles, bands: Sequence[FileBand], window: Block) -> Planes:
    """Read a window of bands of a remote file within the time limit."""
    path = bands[0].path

    def read() -> Planes:
        with rasterio.Env(**gdal_options(path)):
            planes: Planes = handles.get(path, None).read([band.index for band in bands], window=window.window)
            return planes

    return run_within_limit(read, f"{display_path(path)}: {window} can't be read")


def _read_arrays(bands: Sequence[FileBand], window: Block) -> Planes:
    """Read a window of variables of a store; bands of one variable are read in one call."""
    planes, everywhere = np.empty((len(bands), *window.shape), bands[0].dtype), np.ones(window.shape, np.bool_)
    start = 0
    for ref, members in groupby(bands, key=variable_of):
        group = tuple(band.index - 1 for band in members)
        if ref:
            registry.ArrayReader(ref, group).read(window, planes[start : start + len(group)], everywhere)
        start += len(group)
    return planes
