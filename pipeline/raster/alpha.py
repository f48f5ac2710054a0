"""Which bands tagged as alpha are masks, and which hold data: told by a bounded part of their pixels."""

from collections.abc import Iterator
from itertools import pairwise, product
from math import ceil
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import ColorInterp, Compression
from rasterio.windows import Window

from pipeline.core.errors import SceneError
from pipeline.geo.gdal import GDAL_ERRORS, display_path

_SHARE_OF_DATA: Final = 0.01
"""Share of values between the two extremes of a band tagged as alpha above which it holds data."""

_BYTES: Final = 16 * 2**20
"""Most bytes decoded per band; one block of the file and one overview may exceed it."""

_BLOCKS: Final = 16
"""File blocks decoded per band, at most, where all of them are more than `_BYTES`."""

_REGIONS: Final = 32
"""Regions along each axis, at most, of which each stands for the pixels around one block."""

_OVERVIEW: Final = (128, 2048 * 2048)
"""Least side of the overview that is read, where there are several; most pixels."""

_SEQUENTIAL: Final = frozenset({"PNG", "JPEG", "WEBP", "GIF"})
"""Formats whose rows are decoded from the first on, so that the last one costs the whole file."""

_BLUR: Final = 32
"""Numbers by which 8-bit extremes may be off after JPEG compression."""


def sort_alphas(
    path: str, file: rasterio.DatasetReader, block_bytes: int, *, one_strip: bool
) -> tuple[list[int], list[int]]:
    """Indexes of the bands tagged as alpha that are masks, and of those that hold data.

    GDAL and rasterio tag the fourth of four 8-bit bands as alpha unless told otherwise: often it is near infrared.
    A band holds data where more than 1 % of its values are neither 0 nor its largest one.

    Parameters
    ----------
    path : str
        Of the file, for messages.
    file : DatasetReader
        Open.
    block_bytes : int
        Size of what is decoded at once to read a block.
    one_strip : bool
        Whether all rows are one strip, which is decoded from its start for each of them.

    Raises
    ------
    SceneError
        When a band can't be read.
    """
    tagged = [
        index for index, colour in zip(file.indexes, file.colorinterp, strict=True) if colour == ColorInterp.alpha
    ]
    data = []
    for index in tagged:
        try:
            share = _share_between(file, index, block_bytes, in_order=one_strip or file.driver in _SEQUENTIAL)
        except GDAL_ERRORS as error:
            why = f"({error.__cause__ or error}); the file is damaged or cut short"
            msg = f"{display_path(path)}: band {index}, tagged as alpha, can't be read {why}"
            raise SceneError(msg) from error
        if share > _SHARE_OF_DATA:
            data.append(index)
    return [index for index in tagged if index not in data], data


def _share_between(file: rasterio.DatasetReader, index: int, block_bytes: int, *, in_order: bool) -> float:
    """Share of a band's values that are neither 0 nor the largest one; estimated where the file is large."""
    rows, columns = file.block_shapes[index - 1]
    blur = _BLUR if file.compression == Compression.jpeg and file.dtypes[index - 1] == "uint8" else 0
    across, down = ceil(file.width / columns), ceil(file.height / rows)
    if across * down * block_bytes <= _BYTES:
        return float(_between(file.read(index), blur).mean())
    if in_order:
        first = max(1, _BYTES // (across * block_bytes)) * rows
        return float(_between(file.read(index, window=Window(0, 0, file.width, min(first, file.height))), blur).mean())
    regions = list(_regions(file.shape, (rows, columns)))
    seen = _overview(file, index)
    under = [region for region in regions if seen is None or _between(_part(seen, region, file.shape)).any()]
    if not under:
        return 0.0
    most = min(len(under), _BLOCKS, max(1, _BYTES // block_bytes))
    some = [under[int(place)] for place in (np.arange(most) + 0.5) * len(under) / most]
    values = np.concatenate(
        [file.read(index, window=_middle(region, (rows, columns), file)).ravel() for region in some]
    )
    return len(under) / len(regions) * float(_between(values, blur).mean())


def _between(values: npt.NDArray[Any], blur: int = 0) -> npt.NDArray[np.bool_]:
    """Whether values are neither 0 nor the largest one, nor next to these after lossy compression."""
    if not values.size:
        return np.zeros(0, np.bool_)
    largest = values.max()
    if blur and largest > 2 * blur:
        return np.asarray((values > blur) & (values < largest - blur))
    return np.asarray((values != 0) & (values != largest))


def _regions(shape: tuple[int, int], block: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Cut an image into regions of whole blocks."""
    axes = []
    for size, side in zip(shape, block, strict=True):
        count = ceil(size / side)
        edges = [count * i // min(count, _REGIONS) * side for i in range(min(count, _REGIONS))]
        axes.append([slice(start, stop) for start, stop in pairwise([*edges, size])])
    yield from product(*axes)


def _middle(region: tuple[slice, slice], block: tuple[int, int], file: rasterio.DatasetReader) -> Window:
    """The block in the middle of a region."""
    rows, columns = (
        slice(start := (part.start + (ceil((part.stop - part.start) / side) - 1) // 2 * side), min(start + side, size))
        for part, side, size in zip(region, block, file.shape, strict=True)
    )
    return Window.from_slices(rows, columns)


def _overview(file: rasterio.DatasetReader, index: int) -> npt.NDArray[Any] | None:
    """A small overview of a band that the file holds; None where it holds none.

    Overviews of true alphas are averages at times, so that their values prove nothing: they only tell where to look.
    """
    least, most = _OVERVIEW
    shapes = [(ceil(file.height / by), ceil(file.width / by)) for by in sorted(file.overviews(index), reverse=True)]
    shape = next((shape for shape in shapes if min(shape) >= least), shapes[-1] if shapes else None)
    return None if shape is None or shape[0] * shape[1] > most else file.read(index, out_shape=shape)


def _part(overview: npt.NDArray[Any], region: tuple[slice, slice], shape: tuple[int, int]) -> npt.NDArray[Any]:
    """The pixels of an overview that lie on a region of the image."""
    rows, columns = (
        slice(int(part.start / size * wide), ceil(part.stop / size * wide))
        for part, size, wide in zip(region, shape, overview.shape, strict=True)
    )
    return overview[rows, columns]
