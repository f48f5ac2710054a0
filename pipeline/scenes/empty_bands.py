"""Bands without any valid pixel: seen by a few blocks of each band, and proven by all of them."""

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
from pipeline.core.grid import Block
from pipeline.core.units import PIXEL_TYPES
from pipeline.formats import registry
from pipeline.geo.gdal import GDAL_ERRORS, archive_or_file, display_path, gdal_options, open_raster, run_within_limit
from pipeline.kernels.validity import mask_invalid
from pipeline.raster.file_bands import FileBand
from pipeline.raster.file_parts import variable_of
from pipeline.raster.readers import Handles

logger = logging.getLogger(__name__)

_WINDOW: Final = 2**16
"""Pixels read at once, at least: file blocks of single rows are read together."""

_BYTES: Final = 32 * 2**20
"""Most bytes read at once; one block of one band may exceed it."""

_FIRST: Final = 16
"""Windows read of each file, at most, as long as no other band is known to hold data."""

_GOLDEN: Final = (5**0.5 - 1) / 2
"""Steps of this share of the whole are spread evenly, however many they are."""


@dataclass(frozen=True)
class _Doubt:
    """A band that may hold no data at all."""

    band: FileBand
    nodata: float | None
    as_stated: bool
    """Whether further nodata values that a store states count: they don't where the config names one."""


def find_empty_bands(bands: Sequence[FileBand], nodata: str | float = "auto") -> list[FileBand]:
    """List the bands of a scene none of whose pixels holds data; none where no band seems to hold any.

    One window of each band is read as a rule: a valid pixel in it proves that the band is not empty. Of the rest some
    windows more are read and, where other bands hold data, in the end all of them, until a valid pixel is found. A
    band of integers without a nodata value is not read.

    Parameters
    ----------
    bands : sequence of FileBand
        The bands.
    nodata : 'auto' or float
        What marks pixels without data; 'auto' is what the files say.

    Raises
    ------
    SceneError
        When a band can't be read.
    """
    return [bands[place] for place in _empty_places([bands], nodata)]


def leave_out_empty(scenes: Sequence[Sequence[FileBand]], nodata: str | float, *, named: bool) -> list[list[FileBand]]:
    """Leave out the bands that hold no valid pixel in any scene of a mosaic, or in a single scene, with a warning.

    Parameters
    ----------
    scenes : sequence of sequence of FileBand
        The bands chosen of each scene, in the same order.
    nodata : 'auto' or float
        What marks pixels without data; 'auto' is what the files say.
    named : bool
        Whether each was asked for by name or number.

    Raises
    ------
    SceneError
        When empty ones were asked for.
    """
    empty = _empty_places(scenes, nodata)
    if empty:
        first = scenes[0]
        others = f" and {len(scenes) - 1} more" if len(scenes) > 1 else ""
        names = names_of(first[place] for place in empty)
        path = display_path(first[empty[0]].path)
        told = f"{path}{others}: {len(empty)} of {len(first)} bands hold no valid pixel: {names}"
        if named:
            msg = f"{told}; no pixel can have data in every band: leave them out of scene.bands"
            raise SceneError(msg)
        logger.warning("%s: left out", told)
    return [[band for place, band in enumerate(bands) if place not in empty] for bands in scenes]


def _empty_places(scenes: Sequence[Sequence[FileBand]], nodata: str | float) -> list[int]:
    """Places of the bands that are empty in every scene; none where all of them seem to be."""
    count = len(scenes[0])
    doubts = [_doubts(bands, nodata) for bands in scenes]
    left = [place for place in range(count) if all(place in scene for scene in doubts)]
    for most in (_FIRST, None):
        for scene in doubts:
            left = _search_scene({place: scene[place] for place in left}, most)
        if len(left) == count:
            return []
    return left


def _doubts(bands: Sequence[FileBand], nodata: str | float) -> dict[int, _Doubt]:
    """Bands of a scene in which pixels can be without data, by their places."""
    doubts = {}
    for place, band in enumerate(bands):
        value = band.nodata if isinstance(nodata, str) else nodata
        if band.dtype in PIXEL_TYPES and (value is not None or np.dtype(band.dtype).kind == "f"):
            doubts[place] = _Doubt(band, value, isinstance(nodata, str))
    return doubts


def _search_scene(doubts: Mapping[int, _Doubt], most: int | None) -> list[int]:
    """Look for a valid pixel in bands of a scene, file by file; give the places of those that seem to have none."""
    files: dict[object, list[_Doubt]] = {}
    for doubt in doubts.values():
        band = doubt.band
        files.setdefault((band.path, band.dtype, band.grid, band.block_shape), []).append(doubt)
    empty = {id(doubt) for of_file in files.values() for doubt in _search(of_file, most)}
    return [place for place, doubt in doubts.items() if id(doubt) in empty]


def names_of(bands: Iterable[FileBand]) -> str:
    """Names of bands in words, not all of very many."""
    return listed_names([band.name for band in bands])


def _search(doubts: Sequence[_Doubt], most: int | None = None) -> list[_Doubt]:
    """Look for a valid pixel in each band of a file; give the bands that have none in so many windows, or in all."""
    left = list(doubts)
    if not left:
        return left
    first = left[0].band
    together = max(1, _BYTES // (first.block_shape[0] * first.block_shape[1] * np.dtype(first.dtype).itemsize))
    with _reader(first) as read:
        for window in _windows(first, min(len(left), together), most):
            parts = [left[start : start + together] for start in range(0, len(left), together)]
            left = [
                doubt
                for part in parts
                for doubt, plane in zip(part, read([doubt.band for doubt in part], window), strict=True)
                if not _any_valid(plane, doubt)
            ]
            if not left:
                break
    return left


def _any_valid(plane: Planes, doubt: _Doubt) -> bool:
    """Whether some pixel of a window holds data."""
    valid = np.ones(plane.shape, np.bool_)
    if doubt.band.array:
        array = doubt.band.array if doubt.as_stated else replace(doubt.band.array, nodata=())
        registry.mask_invalid_numbers(array, plane, valid)
    return bool(mask_invalid(plane[np.newaxis], (doubt.nodata,), valid).any())


def _windows(band: FileBand, together: int, most: int | None) -> Iterator[Block]:
    """Windows of whole blocks: so many that are spread over the file, the one in the middle first, or all in order."""
    (rows, columns), (high, wide) = band.grid.shape, band.block_shape
    room = min(_WINDOW, _BYTES // (together * np.dtype(band.dtype).itemsize))
    high *= max(1, min(ceil(rows / high), room // (high * wide)))
    down, across = ceil(rows / high), ceil(columns / wide)
    count = down * across
    middle = down // 2 * across + across // 2
    spread = ((middle + int(step * _GOLDEN % 1 * count)) % count for step in range(most or 0))
    for place in range(count) if most is None or most >= count else dict.fromkeys(spread):
        row, column = divmod(place, across)
        top, left = row * high, column * wide
        yield Block(
            row=row,
            column=column,
            top=top,
            left=left,
            height=min(high, rows - top),
            width=min(wide, columns - left),
        )


@contextmanager
def _reader(band: FileBand) -> Iterator[Callable[[Sequence[FileBand], Block], Planes]]:
    """Give the function that reads a window of some bands of the same file, shape (band, rows, columns)."""
    if band.array:
        yield _read_arrays
        return
    path = band.path
    try:
        if band.remote:
            yield partial(_read_in_time, Handles())
            return
        with rasterio.Env(**gdal_options(path)), open_raster(path) as file:
            yield lambda bands, window: file.read([band.index for band in bands], window=window.window)
    except GDAL_ERRORS as error:
        damaged = f"the {archive_or_file(path)} is damaged or cut short"
        msg = f"{display_path(path)}: the file can't be read ({error.__cause__ or error}); {damaged}"
        raise SceneError(msg) from error


def _read_in_time(handles: Handles, bands: Sequence[FileBand], window: Block) -> Planes:
    """Read a window of bands of a file on another machine."""
    path = bands[0].path

    def read() -> Planes:
        with rasterio.Env(**gdal_options(path)):
            planes: Planes = handles.get(path, None).read([band.index for band in bands], window=window.window)
            return planes

    return run_within_limit(read, f"{display_path(path)}: {window} can't be read")


def _read_arrays(bands: Sequence[FileBand], window: Block) -> Planes:
    """Read a window of variables of a store: what it decodes as one in one call."""
    planes, everywhere = np.empty((len(bands), *window.shape), bands[0].dtype), np.ones(window.shape, np.bool_)
    start = 0
    for ref, members in groupby(bands, key=variable_of):
        group = tuple(band.index - 1 for band in members)
        if ref:
            registry.ArrayReader(ref, group).read(window, planes[start : start + len(group)], everywhere)
        start += len(group)
    return planes
