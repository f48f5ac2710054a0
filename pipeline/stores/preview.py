"""Reduced pictures of bands of Zarr and NetCDF stores, which have no overviews: each chunk is read once."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Planes
from pipeline.raster.file_bands import FileBand
from pipeline.raster.file_parts import variable_of
from pipeline.stores.variables import ArrayReader, mask_invalid_numbers


def read_reduced(bands: Sequence[FileBand], shape: tuple[int, int]) -> list[tuple[Planes, npt.NDArray[np.bool_]]]:
    """Read every n-th pixel of bands of stores; neighbours that are stored as one are read together.

    Parameters
    ----------
    bands : sequence of FileBand
        Bands of stores, as `describe_variable` gives them.
    shape : tuple of int
        (rows, columns) of the pictures.

    Returns
    -------
    list of (ndarray, ndarray)
        For each band its stored numbers, and True where neither a further nodata value nor the valid range says that
        there is no data; the band's own nodata value counts as data.

    Raises
    ------
    SceneError
        When a store is damaged.
    """
    pictures = []
    for _, members in groupby(bands, key=_stored_as_one):
        pictures += _read_group(list(members), shape)
    return pictures


def _stored_as_one(band: FileBand) -> tuple[object, ...]:
    """What bands share that the store decodes together: of all of a variable's, whole chunks might be too many."""
    return variable_of(band), band.dtype, (band.index - 1) // (band.array.bands_per_chunk if band.array else 1)


def _read_group(bands: Sequence[FileBand], shape: tuple[int, int]) -> list[tuple[Planes, npt.NDArray[np.bool_]]]:
    """Read bands of one chunk of bands, block by block."""
    first, ref = bands[0], variable_of(bands[0])
    if ref is None:
        msg = f"{first.path} is no store"
        raise ValueError(msg)
    reader = ArrayReader(ref, tuple(band.index - 1 for band in bands))
    picked = [
        ((np.arange(wanted) + 0.5) * count / wanted).astype(int)
        for wanted, count in zip(shape, first.grid.shape, strict=True)
    ]
    pictures = np.empty((len(bands), *shape), first.dtype)
    for block in first.grid.blocks(first.block_shape):
        inside = [
            np.flatnonzero((places >= part.start) & (places < part.stop))
            for places, part in zip(picked, block.slices, strict=True)
        ]
        if not all(places.size for places in inside):
            continue
        data = np.empty((len(bands), *block.shape), first.dtype)
        reader.read(block, data, np.ones(block.shape, np.bool_))
        rows, columns = (picked[axis][inside[axis]] - block.slices[axis].start for axis in (0, 1))
        pictures[:, inside[0][:, np.newaxis], inside[1]] = data[:, rows[:, np.newaxis], columns]
    return [(picture, mask_invalid_numbers(ref, picture, np.ones(shape, np.bool_))) for picture in pictures]
