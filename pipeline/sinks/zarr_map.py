"""The map as a Zarr store: its record, chunks and needs. Nothing of Zarr is imported here."""

from typing import Final

from pipeline.core.needs import Library, Needs
from pipeline.core.scene_info import SceneInfo
from pipeline.sinks.base import Sink, text_needs
from pipeline.sinks.overviews import level_shapes
from pipeline.sinks.raw_map import stored_bytes

CHUNK_SIDE: Final = 1024
"""Side of a chunk in pixels, unless the map is smaller."""

_LIBRARY: Final = Library("zarr", 95 * 10**6)
"""Zarr with its compressors and threads, and pyproj: measured as the memory of the program itself (decision 18)."""

_OVERHEAD: Final = 8192
"""Bytes of a file that are not labels, at most: the compressor's, and the rest of its last block on the disk."""

_METADATA: Final = 300_000
"""Bytes of the metadata of a level, at most: WKT several times, names and colours of 254 classes."""


def chunk_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Return the shape of the chunks of a map or overview of a shape, both (rows, columns)."""
    return min(CHUNK_SIDE, shape[0]), min(CHUNK_SIDE, shape[1])


def zarr_needs(info: SceneInfo, _classes: int) -> Needs:
    """Needs of the map of a scene while it is written: first the labels and the store, then the store and overviews."""
    level, *overviews = map(_level_bytes, level_shapes(info.map_grid.shape))
    labels = level + max(stored_bytes(info.map_grid.shape), sum(overviews))
    return Needs(disk=labels + 2 * text_needs(info, 0).disk, libraries=frozenset({_LIBRARY}))  # tags are there twice


def _level_bytes(shape: tuple[int, int]) -> int:
    """Most bytes of a level in a store: chunks at the edges are stored whole, and noisy labels hardly compress."""
    (rows, columns), (high, wide) = shape, chunk_shape(shape)
    chunks = -(-rows // high) * -(-columns // wide)
    coordinates = 8 * (rows + columns)
    return chunks * (high * wide * 257 // 256 + _OVERHEAD) + coordinates * 257 // 256 + _METADATA


ZARR: Final = Sink(
    key="labels",
    what="the map",
    ending=None,
    writer="pipeline.sinks.zarr_writer:open_map",
    endings=(".zarr",),
    form="a Zarr store",
    needs=zarr_needs,
    block_side=CHUNK_SIDE,
)
"""The labels of all pixels, as another format of the map."""
