"""Decimated previews of bands of Zarr and NetCDF stores, which have no overviews; each chunk is read once."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Planes
from pipeline.raster.file_bands import FileBand
from pipeline.raster.file_parts import variable_of
from pipeline.stores.variables import ArrayReader, mask_invalid_numbers


def read_reduced(bands: Sequence[FileBand], shape: tuple[int, int]) -> list[tuple[Planes, npt.NDArray[np.bool_]]]:
    """Read every n-th pixel of bands of stores: stored numbers and validity per band, both of a shape (rows, columns).

    Consecutive bands in the same chunks are read together. Validity is False for further nodata values and outside the
    valid range; the band's first nodata value (`FileBand.nodata`) is not applied. Raises SceneError, naming the store,
    when it can't be read.
    """
    previews = []
    for _, members in groupby(bands, key=_chunk_of_bands):
        previews += _read_group(list(members), shape)
    return previews


def _chunk_of_bands(band: FileBand) -> tuple[object, ...]:
    """Key shared by bands in the same chunks; all bands of a variable at once might take too much memory."""
    return variable_of(band), band.dtype, (band.index - 1) // (band.array.bands_per_chunk if band.array else 1)


def _read_group(bands: Sequence[FileBand], shape: tuple[int, int]) -> list[tuple[Planes, npt.NDArray[np.bool_]]]:
    """Read previews of bands in the same chunks, block by block."""
    first, ref = bands[0], variable_of(bands[0])
    if ref is None:
        msg = f"{first.path} is not a Zarr or NetCDF store"
        raise ValueError(msg)
    reader = ArrayReader(ref, tuple(band.index - 1 for band in bands))
    sampled = [
        ((np.arange(wanted) + 0.5) * count / wanted).astype(int)
        for wanted, count in zip(shape, first.grid.shape, strict=True)
    ]
    previews = np.empty((len(bands), *shape), first.dtype)
    for block in first.grid.blocks(first.block_shape):
        inside = [
            np.flatnonzero((indices >= part.start) & (indices < part.stop))
            for indices, part in zip(sampled, block.slices, strict=True)
        ]
        if not all(positions.size for positions in inside):
            continue
        data = np.empty((len(bands), *block.shape), first.dtype)
        reader.read(block, data, np.ones(block.shape, np.bool_))
        rows, columns = (sampled[axis][inside[axis]] - block.slices[axis].start for axis in (0, 1))
        previews[:, inside[0][:, np.newaxis], inside[1]] = data[:, rows[:, np.newaxis], columns]
    return [(preview, mask_invalid_numbers(ref, preview, np.ones(shape, np.bool_))) for preview in previews]
