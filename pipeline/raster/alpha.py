"""Decide which bands tagged as alpha are masks and which hold data, from a limited number of their pixels."""

from collections.abc import Iterator
from itertools import pairwise, product
from math import ceil
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import ColorInterp, Compression
from rasterio.windows import Window

from pipeline.geo.gdal import GDAL_ERRORS, read_error

_SHARE_OF_DATA: Final = 0.01
"""Fraction of values between the two extremes above which a band tagged as alpha holds data."""

_BYTES: Final = 16 * 2**20
"""Largest number of bytes decoded per band; one block of the file and one overview may exceed it."""

_BLOCKS: Final = 16
"""Largest number of file blocks decoded per band, if the whole band exceeds `_BYTES`."""

_REGIONS: Final = 32
"""Largest number of regions along each axis; one block represents its region."""

_OVERVIEW: Final = (128, 2048 * 2048)
"""Least side of the overview that is read, if there are several; largest number of its pixels."""

_SEQUENTIAL: Final = frozenset({"PNG", "JPEG", "WEBP", "GIF"})
"""Formats decoded in order from the first row, so that reading the last row decodes the whole file."""

_BLUR: Final = 32
"""Largest error of 8-bit extremes after JPEG compression."""


def sort_alphas(
    path: str, file: rasterio.DatasetReader, block_bytes: int, *, one_strip: bool
) -> tuple[list[int], list[int]]:
    """Return the indexes of the bands tagged as alpha that are masks, and of those that hold data.

    By default, GDAL and rasterio tag the fourth of four 8-bit bands as alpha, even if it is near infrared.
    A band holds data if more than 1 % of its values are neither 0 nor its largest value.

    Parameters
    ----------
    path : str
        Path of the file, for messages.
    file : DatasetReader
        The open file.
    block_bytes : int
        Bytes decoded at once to read a block.
    one_strip : bool
        Whether all rows are in one strip, which is decoded from its start for each row.

    Raises
    ------
    SceneError
        If a band can't be read.
    """
    tagged = [
        index for index, colour in zip(file.indexes, file.colorinterp, strict=True) if colour == ColorInterp.alpha
    ]
    data = []
    for index in tagged:
        try:
            share = _share_between(file, index, block_bytes, in_order=one_strip or file.driver in _SEQUENTIAL)
        except GDAL_ERRORS as error:
            raise read_error(path, f"band {index}, tagged as alpha,", error) from error
        if share > _SHARE_OF_DATA:
            data.append(index)
    return [index for index in tagged if index not in data], data


def _share_between(file: rasterio.DatasetReader, index: int, block_bytes: int, *, in_order: bool) -> float:
    """Fraction of a band's values that are neither 0 nor the largest one; estimated if the file is large."""
    rows, columns = file.block_shapes[index - 1]
    blur = _BLUR if file.compression == Compression.jpeg and file.dtypes[index - 1] == "uint8" else 0
    across, down = ceil(file.width / columns), ceil(file.height / rows)
    if across * down * block_bytes <= _BYTES:
        return float(_between(file.read(index), blur).mean())
    if in_order:
        first = max(1, _BYTES // (across * block_bytes)) * rows
        return float(_between(file.read(index, window=Window(0, 0, file.width, min(first, file.height))), blur).mean())
    regions = list(_regions(file.shape, (rows, columns)))
    overview = _overview(file, index)
    mixed = [region for region in regions if overview is None or _between(_part(overview, region, file.shape)).any()]
    if not mixed:
        return 0.0
    count = min(len(mixed), _BLOCKS, max(1, _BYTES // block_bytes))
    sampled = [mixed[int(position)] for position in (np.arange(count) + 0.5) * len(mixed) / count]
    values = np.concatenate(
        [file.read(index, window=_middle(region, (rows, columns), file)).ravel() for region in sampled]
    )
    return len(mixed) / len(regions) * float(_between(values, blur).mean())


def _between(values: npt.NDArray[Any], blur: int = 0) -> npt.NDArray[np.bool_]:
    """Whether values are neither 0 nor the largest value, nor within `blur` of these."""
    if not values.size:
        return np.zeros(0, np.bool_)
    largest = values.max()
    if blur and largest > 2 * blur:
        return np.asarray((values > blur) & (values < largest - blur))
    return np.asarray((values != 0) & (values != largest))


def _regions(shape: tuple[int, int], block: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Divide an image into regions of whole blocks."""
    axes = []
    for size, side in zip(shape, block, strict=True):
        count = ceil(size / side)
        edges = [count * i // min(count, _REGIONS) * side for i in range(min(count, _REGIONS))]
        axes.append([slice(start, stop) for start, stop in pairwise([*edges, size])])
    yield from product(*axes)


def _middle(region: tuple[slice, slice], block: tuple[int, int], file: rasterio.DatasetReader) -> Window:
    """Return the window of the block in the middle of a region."""
    rows, columns = (
        slice(start := (part.start + (ceil((part.stop - part.start) / side) - 1) // 2 * side), min(start + side, size))
        for part, side, size in zip(region, block, file.shape, strict=True)
    )
    return Window.from_slices(rows, columns)


def _overview(file: rasterio.DatasetReader, index: int) -> npt.NDArray[Any] | None:
    """Read a small overview of a band; None if the file has none that is small enough.

    Overviews of true alphas may be averages, so their values are no evidence: they only select regions to read.
    """
    least, most = _OVERVIEW
    shapes = [(ceil(file.height / by), ceil(file.width / by)) for by in sorted(file.overviews(index), reverse=True)]
    shape = next((shape for shape in shapes if min(shape) >= least), shapes[-1] if shapes else None)
    return None if shape is None or shape[0] * shape[1] > most else file.read(index, out_shape=shape)


def _part(overview: npt.NDArray[Any], region: tuple[slice, slice], shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Return the pixels of an overview that cover a region of the image."""
    rows, columns = (
        slice(int(part.start / size * wide), ceil(part.stop / size * wide))
        for part, size, wide in zip(region, shape, overview.shape, strict=True)
    )
    return overview[rows, columns]
